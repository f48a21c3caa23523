/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The multiplier is the quotient of the two rates as a binary fraction with 64
 * significant bits, by long division; 128-bit division is in no library that we
 * link, and this runs once for each clock.
 */
#include "guest/rate.h"

#include "lib/assert.h"
#include "lib/bits.h"

static struct ratio ratio_of(uint64_t num, uint64_t den)
{
	struct ratio r = {.mult = num / den};
	uint64_t rest = num % den;

	while (!(r.mult & BIT(63))) {
		rest <<= 1;
		r.mult <<= 1;
		if (rest >= den) {
			rest -= den;
			r.mult |= 1;
		}
		r.shift++;
	}
	return r;
}

void rate_init(struct rate *r, uint64_t tsc_hz, uint64_t hz)
{
	ASSERT(tsc_hz > 0 && tsc_hz <= BIT(62) && hz > 0 && hz <= BIT(62));
	r->to_ticks = ratio_of(hz, tsc_hz);
	r->to_tsc = ratio_of(tsc_hz, hz);
}
