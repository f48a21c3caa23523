/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lottery baseline: each turn goes to the holder of a ticket drawn at random,
 * by a tree of partial sums, the paper's way for many clients. Who used only a
 * part f of its turn holds 1/f as many tickets until it wins again (compensation
 * tickets). A wake preempts nobody.
 */
#include "bench/rivals.h"

#define LEAVES RIVAL_ENTITIES /* a power of two */
#define COMPENSATION_MAX 64u

static struct {
	uint64_t sum[2 * LEAVES]; /* node i has children 2i and 2i + 1; leaf i is node LEAVES + i */
	uint32_t tickets[LEAVES];
	uint64_t compensated[LEAVES]; /* what it holds until it wins again */
	uint64_t random, since, slice;
	int running;
} q;

static void start(uint64_t slice)
{
	for (unsigned i = 0; i < 2 * LEAVES; i++)
		q.sum[i] = 0;
	q.random = 88172645463325252ull;
	q.slice = slice;
	q.running = -1;
}

static void add(unsigned i, uint32_t weight)
{
	q.tickets[i] = weight;
	q.compensated[i] = weight;
}

static inline void hold(unsigned i, uint64_t tickets)
{
	uint64_t change = tickets - q.sum[LEAVES + i];

	for (unsigned at = LEAVES + i; at; at /= 2)
		q.sum[at] += change;
}

static bool wake(unsigned i, uint64_t now)
{
	(void)now;
	if (q.sum[LEAVES + i] == 0 && q.running != (int)i)
		hold(i, q.compensated[i]);
	return q.running < 0;
}

/* xorshift64 (Marsaglia 2003). */
static inline uint64_t draw(void)
{
	q.random ^= q.random << 13;
	q.random ^= q.random >> 7;
	q.random ^= q.random << 17;
	return q.random;
}

static int pick(uint64_t now, uint64_t *slice_end)
{
	unsigned at = 1;
	uint64_t winner;

	*slice_end = UINT64_MAX;
	if (q.sum[1] == 0)
		return -1;
	winner = (uint64_t)((unsigned __int128)draw() * q.sum[1] >> 64);
	while (at < LEAVES) {
		at *= 2;
		if (winner >= q.sum[at]) {
			winner -= q.sum[at];
			at++;
		}
	}
	q.running = (int)(at - LEAVES);
	q.since = now;
	*slice_end = now + q.slice;
	return q.running;
}

static uint64_t compensate(uint64_t tickets, uint64_t ran)
{
	if (ran >= q.slice)
		return tickets;
	return ran * COMPENSATION_MAX < q.slice ? tickets * COMPENSATION_MAX : tickets * q.slice / ran;
}

static void charge(uint64_t now, bool blocks)
{
	unsigned i = (unsigned)q.running;

	q.running = -1;
	q.compensated[i] = compensate(q.tickets[i], now - q.since);
	if (blocks)
		hold(i, 0);
	else if (q.compensated[i] != q.sum[LEAVES + i])
		hold(i, q.compensated[i]);
}

const struct rival lottery = {"lottery", start, add, wake, pick, charge};
