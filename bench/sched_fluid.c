/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far everybody is from the fluid optimum as time goes by, on the simulated
 * machine of the model tests: rows of machine, time and the greatest |received -
 * due| of anybody at that time, in slices, for the plot that bench/rivals.py makes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/bits.h"
#include "tests/model/sched_sim.h"
#include "tests/model/sched_window.h"

#define SEED 1u
#define SLICES 400u
#define STEPS 2u /* rows a slice */

static struct sim sim;

/* The greatest of all at this moment. */
static double greatest(const struct window *w)
{
	double most = 0;

	sim_account(&sim);
	for (unsigned i = 0; i < sim.entities; i++) {
		const struct sim_entity *x = &sim.entity[i];
		double error = (double)(x->used - x->used_before) - x->rate * (double)(sim.now - w->from);

		most = MAX(most, MAX(error, -error));
	}
	return most / SIM_SLICE;
}

/* Entities that always want to run, each a VM with shares of its own; turns end up to a tick late. */
static void run(unsigned cpus, unsigned entities)
{
	struct sched_config cfg = {.cpus = cpus};
	struct window w;

	sim_start(&sim, &cfg, SEED);
	sim.overrun = SIM_TICK;
	for (unsigned i = 0; i < entities; i++) {
		uint32_t shares = 1 + (uint32_t)random_below(&sim.random, 1024);
		struct sim_pool *p = sim_pool(&sim, NULL, 0, SCHED_NO_LIMIT, shares);
		struct sim_entity *x = p ? sim_entity(&sim, p, NULL) : NULL;

		if (!x)
			exit(1);
		sim_want(x, SIM_BURNER, 0, 0);
	}
	sim_run(&sim, 10 * SIM_SLICE);
	if (!window_begin(&w, &sim))
		exit(1);
	for (unsigned i = 1; i <= SLICES * STEPS; i++) {
		window_run(&w, SIM_SLICE / STEPS);
		printf("%u,%u %.2f %.3f\n", cpus, entities, (double)i / STEPS, greatest(&w));
	}
	sim_end(&sim);
}

int main(void)
{
	run(2, 10);
	run(4, 10);
	run(64, 250);
	return 0;
}
