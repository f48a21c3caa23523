/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What silicon demands and an emulator forgives, as a shadow of the engine's
 * dealings with the processor: which VMCS is active where and launched, what must
 * be flushed before an entry, what an exit must have restored. Every rule is a pure
 * function that returns NULL, or a sentence when the rule is broken. CORBEL_DEBUG
 * builds feed it (CHECK below) and stop the machine at the first sentence; the
 * host's tests break each rule once.
 *
 * It keeps its own record on purpose: it must not believe the engine's.
 */
#ifndef CORBEL_VMX_CHECK_H
#define CORBEL_VMX_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cpuset.h"

/* One VMCS region (SDM volume 3, section 24.11.1: clear or active on one CPU; launched). */
struct check_vmcs {
	int active_on;       /* CPU, -1: clear */
	bool launched;
	bool cleared_once;   /* VMCLEAR initialises what the region holds besides fields */
	struct cpuset vpid_stale; /* CPUs that may cache translations made stale under this VPID */
};

/* One guest's stage-2 translation: a CPU must INVEPT after a lowering and before it enters. */
struct check_stage2 {
	struct cpuset stale;
};

struct check_cpu {
	const struct check_vmcs *current;
	bool on; /* in VMX operation */
};

/* What an exit must leave as it was (27.5), and what it sets to fixed values. */
struct check_host {
	uint64_t cr0, cr3, cr4, efer, pat;
	uint64_t fs_base, gs_base, gdt_base, idt_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t dr7, debugctl, rflags, spec_ctrl;
	uint16_t tr;
};

void check_vmcs_init(struct check_vmcs *v);
const char *check_vmclear(struct check_cpu *cpu, struct check_vmcs *v, int index);
const char *check_vmptrld(struct check_cpu *cpu, struct check_vmcs *v, int index);
/* The region's frame is about to be reused. */
const char *check_vmcs_free(const struct check_vmcs *v);
/* A VMREAD or VMWRITE that means @v. */
const char *check_access(const struct check_cpu *cpu, const struct check_vmcs *v);

/* Linear translations under this VPID changed, or the VPID had another owner: every CPU's copies are stale. */
void check_vpid_stale(struct check_vmcs *v);
void check_invvpid(struct check_vmcs *v, int index);
/* A right was lowered or a leaf or table removed, or the root had another owner. */
void check_lowered(struct check_stage2 *s2);
void check_invept(struct check_stage2 *s2, int index);

/* Right before VMLAUNCH (@launch) or VMRESUME. */
const char *check_entry(const struct check_cpu *cpu, struct check_vmcs *v, const struct check_stage2 *s2, int index,
			bool launch);
/* After an exit: @now against what the host had when VMX operation began. */
const char *check_host_restored(const struct check_host *before, const struct check_host *now);

/* IA32_FEATURE_CONTROL as it must be before VMXON (23.7). */
const char *check_feature_control(uint64_t value);
/* A VMXON or VMCS region: alignment, width, revision (24.2, A.1). */
const char *check_region(uint64_t address, uint32_t first_word, uint64_t basic, unsigned phys_bits);

#ifdef CORBEL_DEBUG
#define CHECKING 1
#else
#define CHECKING 0
#endif

/* Stops the machine when @sentence is one. Costs nothing in release builds. */
#define CHECK(sentence)                                                                                                \
	do {                                                                                                           \
		const char *broken_rule = CHECKING ? (sentence) : 0;                                                   \
		if (broken_rule)                                                                                       \
			panic("%s:%d: %s", __FILE__, __LINE__, broken_rule);                                           \
	} while (0)
/* Keeps the record, in CORBEL_DEBUG builds. */
#define CHECK_NOTE(call)                                                                                               \
	do {                                                                                                           \
		if (CHECKING)                                                                                          \
			call;                                                                                          \
	} while (0)

#endif
