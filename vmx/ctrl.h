/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a processor's VMX can do, and the control words that follow from it. Pure:
 * the capability MSRs come in as values, so that every model of processor is a
 * row in a host test. What the engine cannot do without is one table; a
 * processor that lacks some of it gets one sentence that names each.
 */
#ifndef CORBEL_VMX_CTRL_H
#define CORBEL_VMX_CTRL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

/* IA32_VMX_BASIC, SDM 3:A.1. */
#define VMX_BASIC_REVISION_MASK MASK(30, 0)
#define VMX_BASIC_SIZE(b) FIELD(b, 44, 32)
#define VMX_BASIC_MEMTYPE(b) FIELD(b, 53, 50)
#define VMX_BASIC_TRUE_CONTROLS BIT(55)

/* IA32_VMX_MISC, A.6. */
#define VMX_MISC_TIMER_SHIFT(m) ((unsigned)FIELD(m, 4, 0))
#define VMX_MISC_STORES_LMA BIT(5)
#define VMX_MISC_ACTIVITY_HLT BIT(6)
#define VMX_MISC_ACTIVITY_SHUTDOWN BIT(7)
#define VMX_MISC_ACTIVITY_WAIT_SIPI BIT(8)
#define VMX_MISC_CR3_TARGETS(m) FIELD(m, 24, 16)
#define VMX_MISC_INJECT_LENGTH_0 BIT(30)

/* IA32_VMX_EPT_VPID_CAP, A.10. */
#define EPT_CAP_EXEC_ONLY BIT(0)
#define EPT_CAP_WALK_4 BIT(6)
#define EPT_CAP_WALK_5 BIT(7)
#define EPT_CAP_UC BIT(8)
#define EPT_CAP_WB BIT(14)
#define EPT_CAP_2M BIT(16)
#define EPT_CAP_1G BIT(17)
#define EPT_CAP_INVEPT BIT(20)
#define EPT_CAP_ACCESSED_DIRTY BIT(21)
#define EPT_CAP_INVEPT_SINGLE BIT(25)
#define EPT_CAP_INVEPT_ALL BIT(26)
#define VPID_CAP_INVVPID BIT(32)
#define VPID_CAP_ADDRESS BIT(40)
#define VPID_CAP_SINGLE BIT(41)
#define VPID_CAP_ALL BIT(42)
#define VPID_CAP_SINGLE_RETAIN_GLOBALS BIT(43)

/* The capability MSRs, 0 for one that does not exist. */
struct vmx_caps {
	bool vmx;                    /* CPUID.1:ECX.VMX */
	uint64_t feature_control;    /* IA32_FEATURE_CONTROL; locked with VMX off means unusable */
	uint64_t basic, misc;
	uint64_t pin, proc, exit, entry; /* the TRUE_ forms where VMX_BASIC_TRUE_CONTROLS says so */
	uint64_t proc2;
	uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	uint64_t ept_vpid;
	unsigned phys_bits;          /* CPUID 80000008h:EAX[7:0] */
};

/* Leave something out that the processor has, to test the fallback. */
struct vmx_options {
	bool no_virtual_interrupts;
	bool no_preemption_timer;
	bool no_pause_loop;
};

/* Control words for a guest in real mode with all APIC virtualisation that is constant, and what they give. */
struct vmx_controls {
	uint32_t pin, proc, proc2, exit, entry;
	bool virtual_interrupts; /* with APIC-register and x2APIC virtualisation */
	bool preemption_timer;
	unsigned timer_shift;    /* the timer counts TSC >> this */
	bool x2apic;             /* x2APIC virtualisation (TPR alone without virtual_interrupts) */
	bool rdtscp, invpcid, xsaves, encls;
	bool pause_loop;         /* PROC2_PAUSE_LOOP may be set, for guests with several vcpus; it is not in proc2 */
	bool ept_1g, ept_accessed_dirty, ept_exec_only;
	bool invvpid_retain_globals;
};

/*
 * ST_UNSUPPORTED: the processor lacks something; @err is one sentence that names
 * each missing capability. @opt may be NULL.
 */
MUST_CHECK enum status ctrl_compute(const struct vmx_caps *caps, const struct vmx_options *opt,
				    struct vmx_controls *out, struct error *err);

/* One word: what is wanted and what must be set, inside what may be set; @cap as in the capability MSRs. */
static inline uint32_t ctrl_word(uint64_t cap, uint32_t want)
{
	return (want | (uint32_t)cap) & (uint32_t)(cap >> 32);
}

/* CR0 or CR4 as VMX operation demands: fixed-0 MSR bits set, bits outside the fixed-1 MSR cleared (A.7, A.8). */
static inline uint64_t ctrl_fixed(uint64_t value, uint64_t fixed0, uint64_t fixed1)
{
	return (value | fixed0) & fixed1;
}

/* What is optional and present, for `info`: "virtual interrupts, preemption timer, 1 GiB EPT pages". */
size_t ctrl_describe(const struct vmx_controls *c, char *buf, size_t size);

#endif
