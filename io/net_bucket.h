/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token bucket, kept as one time: when what was taken so far is paid for at the bucket's rate (the virtual scheduling
 * form of the generic cell rate algorithm, ITU-T I.371). As long as that lies behind now, more may be taken, also more
 * than there is: a large piece is not refused but paid for afterwards, so that over time the rate is exact for pieces
 * of any size. How far the time may lie behind is what may be taken at once after a pause. No lock of its own.
 */
#ifndef CORBEL_IO_NET_BUCKET_H
#define CORBEL_IO_NET_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/bits.h"
#include "lib/clock.h"

#define NET_BUCKET_MOVE_MAX (1ull << 60) /* ticks, by one taking: times stay comparable */

struct net_bucket {
	uint64_t at;    /* ticks: by then what was taken is paid for */
	uint32_t parts; /* of 2^32 of a tick */
	uint64_t step;  /* ticks for each unit, times 2^32; 0: any number of them */
	uint64_t ahead; /* ticks by which `at` may lie behind */
};

/* From @now on @rate units a second (0: any number), @burst of them at once. What was taken too much is forgiven. */
static inline void net_bucket_set(struct net_bucket *b, uint64_t rate, uint64_t burst, uint64_t hz, uint64_t now)
{
	*b = (struct net_bucket){.at = b->at};
	if (rate == 0)
		return;
	b->step = mul_div(hz, 1ull << 32, rate);
	b->step += b->step != UINT64_MAX; /* up, so that a burst is not one more */
	b->ahead = MIN(mul_div(burst, hz, rate), NET_BUCKET_MOVE_MAX);
	b->at = MIN(MAX(b->at, now - MIN(now, b->ahead)), now);
}

/* Whether something may be taken. */
static inline bool net_bucket_lets(const struct net_bucket *b, uint64_t now) { return b->step == 0 || b->at < now; }

/* When net_bucket_lets() is true again. */
static inline uint64_t net_bucket_lets_at(const struct net_bucket *b) { return b->at + 1; }

static inline void net_bucket_take(struct net_bucket *b, uint64_t units, uint64_t now)
{
	unsigned __int128 move;
	uint64_t least = now - MIN(now, b->ahead), parts;

	if (b->step == 0)
		return;
	if (b->at < least) {
		b->at = least;
		b->parts = 0;
	}
	move = (unsigned __int128)units * b->step;
	parts = (uint64_t)b->parts + (uint32_t)move;
	b->at += (move >> 32 < NET_BUCKET_MOVE_MAX ? (uint64_t)(move >> 32) : NET_BUCKET_MOVE_MAX) + (parts >> 32);
	b->parts = (uint32_t)parts;
}

#endif
