/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A clock that runs at a fixed rate off the guest TSC: the PIT, the PM timer and
 * the RTC are such clocks, so that they never drift against each other. Both
 * directions are a multiplication and a shift, prepared once; the error is below
 * 2^-60 of the value, and a deadline computed for a tick never comes before it.
 */
#ifndef CORBEL_GUEST_RATE_H
#define CORBEL_GUEST_RATE_H

#include <stdint.h>

struct ratio {
	uint64_t mult;
	unsigned shift; /* value * mult >> shift */
};

struct rate {
	struct ratio to_ticks, to_tsc;
};

/* A clock of @hz where the TSC runs at @tsc_hz; both in 1..2^62. */
void rate_init(struct rate *r, uint64_t tsc_hz, uint64_t hz);

static inline uint64_t ratio_apply(const struct ratio *r, uint64_t v)
{
	return (uint64_t)((unsigned __int128)v * r->mult >> r->shift);
}

/* Whole ticks of the clock from TSC 0 to @tsc; the result must fit. */
static inline uint64_t rate_ticks(const struct rate *r, uint64_t tsc) { return ratio_apply(&r->to_ticks, tsc); }

/* The first TSC value at which rate_ticks() is at least @ticks. */
static inline uint64_t rate_tsc(const struct rate *r, uint64_t ticks)
{
	uint64_t tsc = ratio_apply(&r->to_tsc, ticks); /* rounded down: at most two below */

	while (rate_ticks(r, tsc) < ticks)
		tsc++;
	return tsc;
}

#endif
