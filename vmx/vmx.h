/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VT-x engine's public face: put a CPU into VMX operation, get the engine,
 * and let a host task have the FPU. Everything else goes through struct engine
 * (guest/engine.h).
 *
 * What the engine expects of the host, and reads from the CPU itself when
 * vmx_cpu_init() runs there: CR3, GDT, IDT, TSS, FS and GS bases and IA32_PAT are
 * final; NMI, double fault and machine check run on IST stacks (right after an
 * exit RSP points into a small save area); no host code uses SYSENTER, SYSCALL,
 * SWAPGS, TSC_AUX or debug registers, because the guest's values stay loaded
 * while the host runs.
 */
#ifndef CORBEL_VMX_VMX_H
#define CORBEL_VMX_VMX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/engine.h"
#include "lib/cpuset.h"
#include "lib/error.h"
#include "vmx/ctrl.h"

struct memmgr;

/* Outlives the engine. */
struct vmx_host {
	struct memmgr *mm;                  /* frames for VMX regions, tables and vcpus */
	unsigned (*this_cpu)(void);         /* 0-based index of the calling CPU, below VMX_CPUS_MAX */
	void (*kick_cpu)(unsigned cpu);     /* interrupts another CPU so that its guest exits; any context */
	/* Without a preemption timer: interrupt this CPU at host TSC @deadline (may be NULL where it exists). */
	void (*arm_timer)(uint64_t deadline);
	struct vmx_options options;         /* for tests: do without some features */
	bool mitigations;                   /* mitigations=auto; false: off */
	/*
	 * Bochs 2.7 delivers a virtual interrupt into a CLI section when a physical one arrives: ask for an
	 * interrupt window instead while one waits. Correct but one exit dearer on silicon.
	 */
	bool held_interrupt_quirk;
};

#define VMX_CPUS_MAX CPUSET_MAX

/*
 * Makes the calling CPU ready to run guests (VMXON included). Interrupts masked. The first call
 * builds what all CPUs share. ST_UNSUPPORTED: @err is one sentence naming each missing capability.
 */
MUST_CHECK enum status vmx_cpu_init(const struct vmx_host *host, struct error *err);

/* After vmx_cpu_init() succeeded once. */
const struct engine *vmx_engine(void);

/* "VT-x: virtual interrupts, preemption timer, ..."; returns the length. */
size_t vmx_describe(char *buf, size_t size);

/* "mitigations: off", or what is done and what is not covered; returns the length. */
size_t vmx_describe_mitigations(char *buf, size_t size);

/*
 * A host task that uses SSE is about to run on this CPU: moves a guest's XSAVE
 * state out of the registers and sets XCR0 to everything the CPU has. The register contents
 * are then undefined: the caller loads its own (FNINIT, XRSTOR). The next load() of a vcpu takes the FPU
 * back, so the caller must have saved its own state by then. Interrupts masked.
 */
void vmx_fpu_take(void);

/* Bytes of host memory that each VM and each vcpu takes in the engine, besides EPT tables below the root. */
uint64_t vmx_vm_bytes(void);
uint64_t vmx_vcpu_bytes(void);

#endif
