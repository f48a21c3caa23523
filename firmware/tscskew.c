/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each round bounds the difference from both sides: the other CPU read its TSC
 * after the one reading here and before the other. The tightest bounds of all rounds
 * hold together, so a slow round does no harm. Pure C.
 */
#include "firmware/tscsync.h"

#include "lib/bits.h"

int64_t tscsync_skew(const struct tscsync_round *rounds, unsigned count)
{
	int64_t least = INT64_MIN, most = INT64_MAX;

	for (unsigned i = 0; i < count; i++) {
		/* there = true time + skew, and before <= true time <= after. */
		least = MAX(least, (int64_t)(rounds[i].there - rounds[i].after));
		most = MIN(most, (int64_t)(rounds[i].there - rounds[i].before));
	}
	if (count && least > 0)
		return least;
	return count && most < 0 ? most : 0;
}
