/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CFS baseline: a red-black tree by virtual run time, which is time run over
 * weight; the least runs, for its part of a period. The period is the latency
 * target, or longer when so many run that turns would fall below the granularity. Who
 * wakes starts half a latency before the least virtual time, and preempts who is
 * ahead of it by a granularity. Linux's defaults have latency : granularity
 * as 8 : 1; ours here is a granularity of one slice, to give all rivals turns alike.
 */
#include "bench/rivals.h"

#include <stddef.h>

#include "bench/rbtree.h"

#define WEIGHT_ONE 1000u
#define LATENCY_TURNS 8u

struct cfs_entity {
	struct rbnode node;
	uint64_t virtual_time;
	uint32_t weight, inverse; /* 2^32 / weight: dividing is multiplying */
	bool queued;
};

static struct {
	struct rbtree tree;
	struct cfs_entity entity[RIVAL_ENTITIES];
	struct cfs_entity *running;
	uint64_t granularity, latency;
	uint64_t least;  /* virtual time that never goes back */
	uint64_t weight; /* of all that are runnable */
	unsigned count;
	uint64_t since;
} q;

static void start(uint64_t slice)
{
	rb_init(&q.tree);
	q.running = NULL;
	q.granularity = slice;
	q.latency = slice * LATENCY_TURNS;
	q.least = q.weight = q.since = 0;
	q.count = 0;
}

static void add(unsigned i, uint32_t weight)
{
	q.entity[i] = (struct cfs_entity){
		.weight = weight, .inverse = (uint32_t)((1ull << 32) / weight), .virtual_time = q.least};
}

static inline uint64_t weighted(const struct cfs_entity *e, uint64_t ticks)
{
	return (uint64_t)((unsigned __int128)(ticks * WEIGHT_ONE) * e->inverse >> 32);
}

static inline void raise_least(void)
{
	struct rbnode *first = rb_least(&q.tree);
	uint64_t least = q.least;

	if (q.running)
		least = q.running->virtual_time;
	if (first && (!q.running || (int64_t)(first->key - least) < 0))
		least = first->key;
	if ((int64_t)(least - q.least) > 0)
		q.least = least;
}

static inline void update(uint64_t now)
{
	if (!q.running)
		return;
	q.running->virtual_time += weighted(q.running, now - q.since);
	q.since = now;
	raise_least();
}

static bool wake(unsigned i, uint64_t now)
{
	struct cfs_entity *e = &q.entity[i];
	uint64_t floor;

	if (e->queued || e == q.running)
		return false;
	update(now);
	floor = q.least - q.latency / 2;
	if ((int64_t)(e->virtual_time - floor) < 0)
		e->virtual_time = floor;
	e->queued = true;
	rb_insert(&q.tree, &e->node, e->virtual_time);
	q.weight += e->weight;
	q.count++;
	return !q.running || (int64_t)(q.running->virtual_time - e->virtual_time) > (int64_t)weighted(e, q.granularity);
}

static inline uint64_t slice_of(const struct cfs_entity *e)
{
	uint64_t period = q.count > LATENCY_TURNS ? q.count * q.granularity : q.latency;

	return period * e->weight / q.weight;
}

static int pick(uint64_t now, uint64_t *slice_end)
{
	struct rbnode *first = rb_least(&q.tree);
	struct cfs_entity *e;

	*slice_end = UINT64_MAX;
	if (!first)
		return -1;
	e = (struct cfs_entity *)((char *)first - offsetof(struct cfs_entity, node));
	rb_remove(&q.tree, first);
	e->queued = false;
	q.running = e;
	q.since = now;
	*slice_end = now + slice_of(e);
	return (int)(e - q.entity);
}

static void charge(uint64_t now, bool blocks)
{
	struct cfs_entity *e = q.running;

	update(now);
	q.running = NULL;
	if (blocks) {
		q.weight -= e->weight;
		q.count--;
		return;
	}
	e->queued = true;
	rb_insert(&q.tree, &e->node, e->virtual_time);
}

const struct rival cfs = {"cfs", start, add, wake, pick, charge};
