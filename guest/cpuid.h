/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What CPUID tells a guest: an allow-list over the host's answers, computed once
 * per VM into a table that is indexed directly, and the masks that follow from
 * it for control registers and MSRs. A feature bit is there only when the whole
 * of what it promises works.
 */
#ifndef CORBEL_GUEST_CPUID_H
#define CORBEL_GUEST_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/x86_regs.h"

#include "guest/exit.h"

struct vcpu;
struct vm;

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

#define CPUID_BASIC_MAX CPUID_FREQUENCY /* the highest basic leaf that we show */
#define CPUID_EXTENDED_COUNT 9          /* 0x80000000..0x80000008 */
#define CPUID_CACHE_SUBLEAVES 8
#define CPUID_FEATURE_SUBLEAVES 3
#define CPUID_TOPOLOGY_SUBLEAVES 2
#define CPUID_XSAVE_COMPONENTS 20       /* of XCR0 and XSS that we know of */

/* Signature and features under each of our two names. */
struct cpuid_hypervisor {
	struct cpuid_regs signature, features;
};

struct cpuid_table {
	struct cpuid_regs basic[CPUID_BASIC_MAX + 1];
	struct cpuid_regs extended[CPUID_EXTENDED_COUNT];
	struct cpuid_regs cache[CPUID_CACHE_SUBLEAVES];
	struct cpuid_regs feature[CPUID_FEATURE_SUBLEAVES];
	struct cpuid_regs topology[CPUID_TOPOLOGY_SUBLEAVES];
	struct cpuid_regs xsave[CPUID_XSAVE_COMPONENTS];
	struct cpuid_hypervisor corbel, kvm;
	/* What follows from the features shown. */
	uint64_t cr4_allowed, xcr0_allowed, efer_allowed, physical_mask, pte_reserved, spec_ctrl_allowed;
	uint64_t arch_capabilities;
	bool arch_capabilities_shown, pred_cmd_shown, flush_cmd_shown;
};

/* Fills vm->cpuid. vcpu 0 exists in the engine and is loaded: it is asked which MSRs work. */
void cpuid_build(struct vm *vm);
/* EXIT_CPUID: answers from rax and rcx into rax, rbx, rcx, rdx. */
enum disposition cpuid_exit(struct vcpu *v);

#endif
