/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which CPUs share a core, a package, a last-level cache: from what CPUID says on
 * each of them. Pure C; the leaves' values are arguments.
 */
#ifndef CORBEL_FIRMWARE_TOPOLOGY_H
#define CORBEL_FIRMWARE_TOPOLOGY_H

#include <stddef.h>
#include <stdint.h>

#define TOPOLOGY_LEVELS_MAX 8u
#define TOPOLOGY_CACHES_MAX 8u

/* One subleaf, as CPUID returned it. */
struct topology_leaf {
	uint32_t eax, ebx, ecx, edx;
};

/* What one CPU says. Arrays end at the first invalid subleaf, or are full. */
struct topology_source {
	uint32_t leaf1_ebx, leaf1_edx;
	struct topology_leaf level[TOPOLOGY_LEVELS_MAX]; /* leaf 1Fh, else 0Bh; all zero when there is neither */
	struct topology_leaf cache[TOPOLOGY_CACHES_MAX]; /* leaf 4 */
};

/* Where a CPU is: parts of its APIC id. Equal numbers mean a shared core, cache or package. */
struct cpu_place {
	uint32_t apic_id;
	uint32_t core, llc, package;
	uint32_t llc_kib; /* size of the last-level cache; 0: not told */
};

/* Works out the place of the CPU that said @s. */
void topology_place(const struct topology_source *s, struct cpu_place *out);

/*
 * The processor's own APIC id: 32 bits where leaf 0Bh or 1Fh has them, else the 8 of leaf 1.
 */
uint32_t topology_apic_id(const struct topology_source *s);

/* Dense numbers for the scheduler: each CPU's core and cache as the lowest index of a CPU that shares it. */
void topology_number(const struct cpu_place *place, unsigned count, uint16_t *core_of, uint16_t *llc_of);

/* "1 package, 2 cores, 4 threads, 1 last-level cache of 8192 KiB"; returns the length. */
size_t topology_describe(const struct cpu_place *place, unsigned count, char *buf, size_t size);

/* "0-3 16-19 300": their APIC ids in the order given, runs joined; cut to fit. Returns the length. */
size_t topology_ids(const struct cpu_place *place, unsigned count, char *buf, size_t size);

/* Reads this CPU's leaves (topology_read.c). */
void topology_read(struct topology_source *out);

#endif
