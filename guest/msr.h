/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model-specific registers of a guest: an allow-list. What is not on it is
 * #GP, counted and never logged. Registers that the engine switches are asked
 * of it; the rest is plain storage in struct msr_state with the checks that
 * the SDM states (volume 4 chapter 2, volume 3 chapters 11 and 17).
 */
#ifndef CORBEL_GUEST_MSR_H
#define CORBEL_GUEST_MSR_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/exit.h"
#include "lib/status.h"

struct vcpu;

#define MTRR_FIXED_COUNT 11
#define MTRR_VARIABLE_COUNT 8

struct msr_state {
	uint64_t tsc_adjust;  /* guest TSC - vm_time: IA32_TSC_ADJUST, also moved by writes to IA32_TSC */
	uint64_t misc_enable;
	uint64_t mtrr_def_type;
	uint64_t mtrr_fixed[MTRR_FIXED_COUNT];
	struct { uint64_t base, mask; } mtrr_variable[MTRR_VARIABLE_COUNT];
};

/* Values as firmware leaves them for an operating system: MTRRs on, RAM WB, the hole below 4 GiB UC. */
void msr_reset(struct vcpu *vcpu);
/* Second part of the reset, once vm->cpuid says how wide physical addresses are. */
void msr_settle(struct vcpu *vcpu);
/* ST_INVALID: #GP. @out is written on success only. */
enum status msr_read(struct vcpu *vcpu, uint32_t index, uint64_t *out);
enum status msr_write(struct vcpu *vcpu, uint32_t index, uint64_t value);

/* EXIT_RDMSR and EXIT_WRMSR: the same with the value in rdx:rax, and #GP raised. */
enum disposition msr_exit_read(struct vcpu *vcpu);
enum disposition msr_exit_write(struct vcpu *vcpu);

#endif
