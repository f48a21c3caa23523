/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A window of constant demand: what each entity of a simulated machine received
 * in it, and in the windows inside it, against the fluid optimum.
 */
#ifndef CORBEL_TESTS_MODEL_SCHED_WINDOW_H
#define CORBEL_TESTS_MODEL_SCHED_WINDOW_H

#include "tests/model/sched_sim.h"

struct window {
	struct sim *m;
	uint64_t from;
	double slowest;      /* least rate of those that want to run, in CPUs */
	/* Results; deviations as a part of what is allowed: 1 is the bar. */
	double worst;        /* of any window inside: 1 % of its due, or two slices and a tick */
	unsigned worst_entity;
	double worst_rounds; /* of the whole, if it has 100 rounds: 1 % of its due */
	unsigned worst_rounds_entity;
	double worst_level;  /* greatest difference between a pool's allowed CPU and the optimum's, in CPUs */
	unsigned worst_pool;
	uint64_t idle_beside_work; /* longest time that a CPU idled while somebody waited who could have run there */
};

/* False when reservations cannot all be served at once; then there is no optimum to compare with. */
bool window_begin(struct window *w, struct sim *m);
/* Runs for @ticks, looking twice a slice. */
void window_run(struct window *w, uint64_t ticks);
/* A round is over when the slowest has had a slice. */
uint64_t window_rounds(const struct window *w, unsigned rounds);
void window_end(struct window *w);
/* Prints who is off by more than @times what is allowed. */
void window_show(const struct window *w, double times);

#endif
