/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processor: what it offers, and its own tables (GDT, TSS, per-CPU block).
 */
#ifndef CORBEL_FIRMWARE_CPU_H
#define CORBEL_FIRMWARE_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware/percpu.h"
#include "lib/error.h"

/* What firmware itself needs to know. The engine and the guests' CPUID read the leaves themselves. */
struct cpu_features {
	char vendor[13], brand[49];
	uint32_t signature; /* leaf 1 EAX: family, model, stepping */
	uint32_t max_leaf, max_ext_leaf;
	uint8_t phys_bits, linear_bits;
	bool nx, page_1g, smep, smap, umip, pge, pat, mtrr, mce;
	bool x2apic, tsc_deadline, invariant_tsc, rdrand, rdseed, vmx;
	bool xsave, xsaveopt;
	uint64_t xcr0;        /* components of user state that the host enables */
	uint32_t xsave_bytes; /* area size for them */
};

extern struct cpu_features the_cpu;

/*
 * Sets up the boot CPU far enough for faults to be reported: GS, GDT, TSS with
 * one early stack for all faults, IDT. The first thing in C; no log, no memory.
 */
void cpu_early_init(void);

/*
 * The same for another CPU, on that CPU: @p has its number and its stacks for faults.
 */
void cpu_load_tables(struct percpu *p);

/* Fills the_cpu from CPUID. */
void cpu_detect(void);

/*
 * Sets CR0, CR4, EFER, PAT and XCR0 as the design states. The page tables in use
 * map no user page. ST_UNSUPPORTED, naming what is missing, on a CPU that cannot run us.
 */
enum status cpu_enable(struct error *err) MUST_CHECK;

/*
 * On another CPU: ST_UNSUPPORTED with a sentence when it does not have the features of the boot CPU, else
 * cpu_enable(); the control registers must then read as they do on the boot CPU.
 */
enum status cpu_enable_same(struct error *err) MUST_CHECK;

/*
 * Guarded stacks for faults of the CPU with block @p, in place of the early one. After paging is up. On failure none
 * is left of another CPU's.
 */
enum status cpu_create_ist_stacks(struct percpu *p) MUST_CHECK;
void cpu_destroy_ist_stacks(struct percpu *p);

/* A CPU that has been started: its block becomes the one of index cpu_count, which must be its id. */
void cpu_add(struct percpu *p);

/* Up to 64 bits of entropy: RDRAND where there is one, always mixed with the TSC. */
uint64_t hv_seed(void);

/* Random bytes for secrets, from RDSEED or RDRAND alone (firmware/entropy.h). The control task's. */
enum status cpu_entropy(void *out, size_t len, struct error *err) MUST_CHECK;

#endif
