/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What everybody should receive if CPU time were a fluid: the optimum that the
 * scheduler is measured against. Slow and obvious on purpose, in doubles, for
 * tests only.
 *
 * At each level of the tree, siblings i divide what their pool has: each gets
 * clamp(lambda x shares_i, floor_i, cap_i) with one lambda. A floor is the
 * reservation as far as there is demand for it, a cap the least of limit,
 * demand and one CPU for a leaf. With affinity not every division can be
 * realised; then lambda rises for all until somebody is held back by the CPUs
 * he may use, he keeps what he has, and it rises on for the others (weighted
 * max-min fairness; Bertsekas & Gallager, "Data Networks", section 6.5). Levels
 * are filled one after the other: for leaves of one pool that are bound to different
 * CPUs that is one choice of several, and nobody is measured by it.
 * A division can be realised, without a leaf on two CPUs at once, when a flow
 * from the tree through leaves and CPUs carries it (Gonzalez & Sahni, "Open
 * Shop Scheduling to Minimize Finish Time", 1976, the preemptive case).
 */
#ifndef CORBEL_TESTS_MODEL_SCHED_FLUID_H
#define CORBEL_TESTS_MODEL_SCHED_FLUID_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#define FLUID_CPUS 256u
#define FLUID_NO_LIMIT INFINITY

struct fluid_cpus {
	uint64_t bit[FLUID_CPUS / 64];
};

/* A pool, or a leaf, which is what runs. */
struct fluid_node {
	int parent;         /* index of a pool before this one; -1: the root, which is node 0 */
	bool leaf;
	double reservation; /* CPUs */
	double limit;       /* CPUs or FLUID_NO_LIMIT */
	double shares;
	double demand;      /* of a leaf: 0..1 CPU */
	struct fluid_cpus affinity; /* of a leaf: where it may run; what is not in @online does not count */
	double rate;        /* result: CPUs */
};

static inline bool fluid_has(const struct fluid_cpus *set, unsigned cpu) { return set->bit[cpu / 64] >> (cpu % 64) & 1; }
static inline void fluid_add(struct fluid_cpus *set, unsigned cpu) { set->bit[cpu / 64] |= 1ull << (cpu % 64); }
static inline void fluid_drop(struct fluid_cpus *set, unsigned cpu) { set->bit[cpu / 64] &= ~(1ull << (cpu % 64)); }
struct fluid_cpus fluid_first(unsigned cpus); /* CPUs 0 .. @cpus - 1 */

/*
 * Fills in the rates. @online: the CPUs that take part. False when the
 * reservations cannot all be served (the sum of a pool's children, or affinity,
 * asks for more than there is); rates are not touched then.
 */
bool fluid_solve(struct fluid_node *node, unsigned count, const struct fluid_cpus *online);

/* The same by the general way, also where everybody may run anywhere: each way checks the other. */
bool fluid_solve_by_flow(struct fluid_node *node, unsigned count, const struct fluid_cpus *online);

#endif
