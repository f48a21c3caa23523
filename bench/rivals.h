/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schedulers that ours is compared with, on one CPU, written for this purpose
 * from their published descriptions: the Completely Fair Scheduler of Linux
 * (its kernel documentation, sched-design-CFS) and lottery scheduling
 * (Waldspurger & Weihl, OSDI 1994). All three have one face here, by index.
 */
#ifndef CORBEL_BENCH_RIVALS_H
#define CORBEL_BENCH_RIVALS_H

#include <stdbool.h>
#include <stdint.h>

#define RIVAL_ENTITIES 1024u

/* Times are in ticks, weights as shares: 1,000 is usual. */
struct rival {
	const char *name;
	void (*start)(uint64_t slice);
	/* Adds entity @i, asleep. */
	void (*add)(unsigned i, uint32_t weight);
	/* True when the CPU should choose again at once. */
	bool (*wake)(unsigned i, uint64_t now);
	/* -1: nobody. */
	int (*pick)(uint64_t now, uint64_t *slice_end);
	void (*charge)(uint64_t now, bool blocks);
};

extern const struct rival ours, cfs, lottery;

#endif
