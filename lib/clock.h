/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where host time comes from: a tick counter (the TSC on the machine, a variable
 * in tests) and its rate. Nothing else; tests drive it by hand. The calls are
 * cheap and safe in any context.
 */
#ifndef CORBEL_LIB_CLOCK_H
#define CORBEL_LIB_CLOCK_H

#include <stdint.h>

struct clock {
	uint64_t (*ticks)(void); /* monotonic host ticks */
	uint64_t hz;             /* ticks per second, calibrated, never 0 */
};

/* a * b / c with a 128-bit product; c != 0, the result must fit (saturates). */
static inline uint64_t mul_div(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t hi, lo;
	unsigned __int128 p = (unsigned __int128)a * b;

	hi = (uint64_t)(p >> 64);
	lo = (uint64_t)p;
	if (hi == 0)
		return lo / c;
	if (hi >= c)
		return UINT64_MAX;
	/* Long division by shift and subtract: rare, and needs no run-time library. */
	for (int i = 0; i < 64; i++) {
		uint64_t carry = hi >> 63;

		hi = hi << 1 | lo >> 63;
		lo <<= 1;
		if (carry || hi >= c) {
			hi -= c;
			lo |= 1;
		}
	}
	return lo;
}

static inline uint64_t ticks_to_ns(uint64_t ticks, uint64_t hz) { return mul_div(ticks, 1000000000ull, hz); }
static inline uint64_t ns_to_ticks(uint64_t ns, uint64_t hz) { return mul_div(ns, hz, 1000000000ull); }

#endif
