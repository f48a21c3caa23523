/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which speculation side channels between guests and the host are closed, and
 * how. One pure decision from what the processor says of itself; run.c, entry.S
 * and load() act on it. The knob is mitigations=auto|off.
 */
#ifndef CORBEL_VMX_MITIGATIONS_H
#define CORBEL_VMX_MITIGATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What CPUID and IA32_ARCH_CAPABILITIES say; 0 for what does not exist. */
struct cpu_facts {
	uint64_t arch_capabilities;
	uint32_t leaf7_ebx, leaf7_edx; /* CPUID 7.0 */
	uint32_t leaf72_edx;           /* CPUID 7.2 */
	bool pred_cmd;                 /* IA32_PRED_CMD takes an IBPB (tried) */
	bool spec_ctrl;                /* IA32_SPEC_CTRL is there (tried) */
};

enum rsb_fill { RSB_NONE, RSB_LITE, RSB_FULL };

struct mitigations {
	bool off;              /* by the knob: nothing below is set */
	bool l1d_flush;        /* L1TF: empty the L1 data cache before entry */
	bool verw;             /* MDS, TAA, MMIO stale data, RFDS: overwrite CPU buffers before entry */
	bool clear_registers;  /* guest values do not linger in registers after exit */
	enum rsb_fill rsb;     /* Spectre v2: no guest return prediction is used after exit */
	bool spec_ctrl;        /* host and guest values of IA32_SPEC_CTRL may differ */
	bool switch_spec_ctrl; /* write the host's value at every exit, the guest's at every entry */
	uint32_t host_spec_ctrl;
	bool ibpb;             /* when a CPU goes from one VM to another */
	/* Vulnerable, and the processor (its microcode) offers no means, or we have none. */
	bool open_l1tf, open_buffers, open_v2, open_itlb;
};

struct mitigations mitigations_decide(const struct cpu_facts *facts, bool on);

/*
 * IA32_SPEC_CTRL of a guest. Most write it once, or when a task with a wish of its own runs: those writes exit, and if
 * the guest's value is the host's nothing is switched. A guest that writes it at every entry of its kernel (IBRS
 * without IBRS_ALL) soon has it without exits; then each exit must read it back, because the guest may have written it.
 */
#define SPEC_CTRL_WRITES_EXIT 32u /* so many of a vcpu's writes exit */
struct spec_ctrl {
	uint32_t value;  /* what the guest wrote last, as far as is known */
	uint32_t writes; /* that exited, up to SPEC_CTRL_WRITES_EXIT: from then on none does */
};

static inline bool spec_ctrl_is_passed(const struct spec_ctrl *s) { return s->writes >= SPEC_CTRL_WRITES_EXIT; }
/* The guest has written @value, which exited. */
void spec_ctrl_written(struct spec_ctrl *s, uint32_t value);
/* What the MSR must hold while the guest runs. */
uint32_t spec_ctrl_in_guest(const struct mitigations *m, const struct spec_ctrl *s);
/* Must it be written at each entry and exit? */
bool spec_ctrl_is_switched(const struct mitigations *m, const struct spec_ctrl *s);

/* One line for `info`: "mitigations: auto: VERW, ...; not covered: ..." Returns its length. */
size_t mitigations_describe(const struct mitigations *m, char *buf, size_t size);

#endif
