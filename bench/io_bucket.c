/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token bucket for each client behind one round robin: limits, and nothing else. A bucket
 * holds at most ten milliseconds of its rate, one request at least; whose is empty is passed over.
 */
#include <string.h>

#include "bench/io_rivals.h"

#define ONE (1ull << 20) /* a request, in tokens */

static struct {
	uint64_t hz;
	unsigned count, at;
	struct client {
		uint64_t rate, most; /* tokens a tick, times 2^20; in the bucket */
		uint64_t tokens, filled;
		unsigned waiting;
	} client[IO_RIVAL_CLIENTS];
} q;

static void start(uint64_t hz)
{
	memset(&q, 0, sizeof q);
	q.hz = hz;
}

static void add(unsigned i, const struct rls *numbers, uint64_t now)
{
	struct client *c = &q.client[i];

	*c = (struct client){.waiting = IO_RIVAL_QUEUE, .filled = now};
	if (numbers->limit != RLS_UNLIMITED) {
		c->rate = (uint64_t)(((unsigned __int128)numbers->limit << 40) / q.hz);
		c->most = numbers->limit * ONE / 100 + ONE;
	}
	q.count = i + 1;
}

/* True when it may send; otherwise *next is no later than when it may. */
static int may_send(struct client *c, uint64_t now, uint64_t *next)
{
	uint64_t when;

	if (!c->waiting)
		return 0;
	if (!c->rate)
		return 1;
	c->tokens += ((unsigned __int128)(now - c->filled) * c->rate) >> 20;
	c->tokens = c->tokens < c->most ? c->tokens : c->most;
	c->filled = now;
	if (c->tokens >= ONE)
		return 1;
	when = now + ((ONE - c->tokens) << 20) / c->rate + 1;
	*next = when < *next ? when : *next;
	return 0;
}

static int pick(uint64_t now, uint64_t *next)
{
	*next = UINT64_MAX;
	for (unsigned n = 0; n < q.count; n++) {
		struct client *c = &q.client[q.at];
		unsigned i = q.at;

		q.at = q.at + 1 < q.count ? q.at + 1 : 0;
		if (!may_send(c, now, next))
			continue;
		c->tokens -= c->rate ? ONE : 0;
		c->waiting--;
		return (int)i;
	}
	return -1;
}

static void again(unsigned i, uint64_t now)
{
	(void)now;
	q.client[i].waiting++;
}

const struct io_rival io_bucket = {"token bucket", start, add, pick, again};
