/* SPDX-License-Identifier: Apache-2.0 */
/* io/mclock.c behind the face that its rivals have. */
#include <string.h>

#include "bench/io_rivals.h"
#include "io/mclock.h"

static struct {
	struct mclock_config cfg;
	struct mclock_pool root;
	struct mclock_client client[IO_RIVAL_CLIENTS];
	struct mclock_request queue[IO_RIVAL_CLIENTS][IO_RIVAL_QUEUE], *last[IO_RIVAL_CLIENTS];
} q;

static void start(uint64_t hz)
{
	memset(&q, 0, sizeof q);
	q.cfg = (struct mclock_config){.hz = hz, .request_bytes = 256 << 10, .limit_slack = hz / 100, .burst = 2};
	mclock_root_init(&q.root, &q.cfg);
}

static void put(unsigned i, struct mclock_request *r, uint64_t now)
{
	r->arrived = now;
	r->bytes = MCLOCK_SMALL;
	r->cost = MCLOCK_COST_ONE;
	mclock_add(&q.client[i], r);
}

static void add(unsigned i, const struct rls *numbers, uint64_t now)
{
	mclock_client_init(&q.client[i], &q.root, MCLOCK_REQUESTS, numbers, now);
	for (unsigned n = 0; n < IO_RIVAL_QUEUE; n++)
		put(i, &q.queue[i][n], now);
}

static int pick(uint64_t now, uint64_t *next)
{
	struct mclock_request *r = mclock_pick(&q.root, now, next);

	if (!r)
		return -1;
	q.last[r->client - q.client] = r;
	return (int)(r->client - q.client);
}

static void again(unsigned i, uint64_t now) { put(i, q.last[i], now); }

const struct io_rival io_ours = {"Corbel", start, add, pick, again};
