/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one CPU owns: reached through GS, which holds the block's address for
 * ever (nothing runs in user mode, so there is no SWAPGS; a VM exit reloads the
 * base from the VMCS). Touched by its own CPU only, interrupt handlers of that
 * CPU included, unless a field says otherwise.
 */
#ifndef CORBEL_FIRMWARE_PERCPU_H
#define CORBEL_FIRMWARE_PERCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "firmware/topology.h"
#include "firmware/watchdog.h"
#include "lib/lock.h"
#include "guest/host.h"
#include "lib/x86_regs.h"
#include "sched/sched.h"

#define CPUS_MAX 256u

/* Selectors of the per-CPU GDT. */
#define SEL_NULL 0x00
#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_TSS 0x18 /* two slots */
#define GDT_SLOTS 5

/* Interrupt stack table slots, SDM 3A:6.14.5. Slot 0 means "stay on the current stack". */
enum ist {
	IST_NONE,
	IST_DOUBLE_FAULT,
	IST_NMI,
	IST_MACHINE_CHECK,
	IST_FAULT,
	IST_NESTED, /* not used by a gate: IST_FAULT is pointed here once a report is being printed */
	IST_COUNT
};

/* 64-bit task state segment, SDM 3A:7.7. */
struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7]; /* ist[n - 1] is slot n */
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t iomap_base;
} __attribute__((packed));
_Static_assert(sizeof(struct tss) == 104, "SDM 3A:7.7");
_Static_assert(offsetof(struct tss, ist) == 36, "SDM 3A:7.7");

#define NMI_TRACE_MAX 16

/* What the NMI handler writes down; read by the CPU itself outside of it. */
struct nmi_record {
	uint64_t count;    /* NMIs taken */
	uint64_t reported; /* count at the last report */
	uint64_t tsc, rip, rsp, rflags;
	const char *context; /* what was running, NULL when unknown */
	unsigned depth;
	uint64_t trace[NMI_TRACE_MAX];
};

struct task;
struct xsave_area;

struct percpu {
	struct percpu *self; /* at GS:0 */
	uint32_t id;         /* 0 = boot CPU */
	uint32_t apic_id;

	struct task *task;     /* host task that runs, NULL in the CPU loop */
	uint64_t loop_rsp;     /* the CPU loop's stack while a task runs */
	uint32_t preempt_held; /* > 0: a task is inside task_preempt_disable() */

	struct host_cpu host;  /* what guest/ sees of it; need_resched: the CPU loop should choose again */
	uint64_t task_ran;     /* ticks that a host task has had in turns in a row; below its slice */
	uint64_t turn_end;     /* host TSC at which the running task is told that its turn is over, or TIMERQ_NEVER */
	const struct sched_entity *running; /* NULL: between turns, or idle */
	struct sched_entity *last; /* whoever ran last, while something of it is left in the CPU */

	struct heart heart;

	struct xsave_area *fpu_owner; /* whose vector state the registers hold, NULL = nobody's */

	bool reporting; /* a fatal report is being printed by this CPU */
	struct nmi_record nmi;
	uint32_t nmi_wanted;  /* enum nmi_want of ipi.h; other CPUs set bits */
	uint32_t nmi_answers; /* NMIs that were asked for and have been taken; others read it */
	bool stopped;         /* halted for good, for another CPU's report; others read it */

	uint32_t start;       /* enum cpu_start of smp.c, until the CPU is in its loop */
	struct cpu_place place;
	struct lock_context locks; /* of CORBEL_LOCK_CHECKS builds */

	struct tss tss;
	uint64_t gdt[GDT_SLOTS];
} __attribute__((aligned(64)));

/* CPUs in use, the boot CPU included; their indices are 0 to cpu_count - 1. Rises while they are started. */
extern unsigned cpu_count;

/* The block of CPU @index, below cpu_count. */
struct percpu *percpu_of(unsigned index);

static inline struct percpu *this_cpu(void)
{
	struct percpu *p;

	__asm__ volatile("mov %%gs:0, %0" : "=r"(p));
	return p;
}

#endif
