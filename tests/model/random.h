/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeds of model tests. Each seed is printed before its run, so that a failure
 * names it; MODEL_SEED=n runs that one alone, MODEL_RUNS=n runs n seeds.
 */
#ifndef CORBEL_TESTS_MODEL_RANDOM_H
#define CORBEL_TESTS_MODEL_RANDOM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct random_state {
	uint64_t x;
};

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016). */
static inline uint64_t random_next(struct random_state *r)
{
	r->x ^= r->x >> 12;
	r->x ^= r->x << 25;
	r->x ^= r->x >> 27;
	return r->x * 2685821657736338717ull;
}

/* 0 .. @below - 1 */
static inline uint64_t random_below(struct random_state *r, uint64_t below)
{
	return (random_next(r) >> 11) % below;
}

static inline struct random_state random_seed(uint64_t seed)
{
	struct random_state r = {seed * 0x9e3779b97f4a7c15ull + 1};

	random_next(&r);
	return r;
}

/* Calls @run with each seed. */
static inline void random_runs(unsigned runs, void (*run)(struct random_state *r))
{
	const char *one = getenv("MODEL_SEED");
	const char *many = getenv("MODEL_RUNS");
	uint64_t first = one ? strtoull(one, NULL, 0) : 1;
	uint64_t last = one ? first : many ? strtoull(many, NULL, 0) : runs;

	for (uint64_t seed = first; seed <= last; seed++) {
		struct random_state r = random_seed(seed);

		fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
		run(&r);
	}
}

#endif
