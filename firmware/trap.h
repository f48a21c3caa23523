/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exceptions and interrupts: one entry for all 256 vectors. Exceptions, NMI,
 * double fault and machine check run on stacks of their own (IST), interrupts on
 * the current stack. An exception at an address listed in .extable resumes at
 * its fix-up; any other ends in a report. Nothing here waits for a device
 * without a bound, and nothing takes a lock.
 */
#ifndef CORBEL_FIRMWARE_TRAP_H
#define CORBEL_FIRMWARE_TRAP_H

#include <stddef.h>
#include <stdint.h>

/* As trap_entry.S pushes it. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector;
	uint64_t error; /* 0 where the CPU pushes none */
	uint64_t rip, cs, rflags, rsp, ss;
};
_Static_assert(sizeof(struct trap_frame) == 22 * 8, "trap_entry.S: 15 registers, vector, error and the CPU's five");

/*
 * Says what was running, for reports: "vm web vcpu 0", "host task control". Any
 * context, no locks; static or long-lived text; NULL when nothing is known. The
 * hook may be NULL.
 */
extern const char *(*trap_context)(void);

/* Fills the IDT, once; every CPU then loads it. */
void trap_init(void);
void trap_load_idt(void);

/* Called by trap_entry.S alone. */
void trap_dispatch(struct trap_frame *f);

/*
 * Logs an NMI that came since the last call, with registers and backtrace from
 * the record; for the CPU loop, interrupts masked. A second NMI that finds the
 * first still unreported prints from the handler: the CPU is stuck.
 */
void trap_report_nmi(void);

#endif
