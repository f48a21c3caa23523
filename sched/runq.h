/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heaps of a CPU's queue, of four children a node and with the keys beside the
 * pointers; runq.c explains them. An entity is in one of them at most.
 */
#ifndef CORBEL_SCHED_RUNQ_H
#define CORBEL_SCHED_RUNQ_H

#include "lib/bits.h"
#include "sched/sched.h"

#define NEVER INT64_MAX

struct heap_slot {
	int64_t key;
	struct sched_entity *e;
};

#define HEAP_ROWS 32u /* one for rates up to each power of two */

struct heap {
	struct heap_slot *at;
	unsigned rows, count;   /* slots in use, entities */
	uint8_t id;
	struct sched_entity *last[HEAP_ROWS]; /* of the row that grows; one with the greatest key of all: none does */
};

enum heap_id { HEAP_NONE, HEAP_READY, HEAP_FUTURE, HEAP_PARKED };

#define HEAP_CHILDREN 4u
#define HEAP_AHEAD (HEAP_CHILDREN - 1)  /* slots before the first: the children of a node are a cache line */
#define HEAP_BEHIND HEAP_CHILDREN       /* slots after the last that are never used: a node's children are always there */

/* @slots: entities_max + HEAP_AHEAD + HEAP_BEHIND of them, aligned to a cache line. */
void heap_begin(struct heap *h, enum heap_id id, struct heap_slot *slots, unsigned entities_max);
void heap_push(struct heap *h, struct sched_entity *e, int64_t key);
/* The same where that is all there is to do nearly always: @e stands behind the last of its row. Not for the parked. */
static inline void heap_line_up(struct heap *h, struct sched_entity *e, int64_t key)
{
	struct sched_entity *last = h->last[e->rate_row];

	if (unlikely(last->key > key)) {
		heap_push(h, e, key);
		return;
	}
	h->last[e->rate_row] = last->behind = e;
	e->key = key;
	e->queue = h->id;
	h->count++;
}
/* Takes the top out, of a heap that has one. */
struct sched_entity *heap_pop(struct heap *h);
/* The same, and @e comes in: less work than one after the other. */
struct sched_entity *heap_exchange(struct heap *h, struct sched_entity *e, int64_t key);
/* Anybody; looks for it from the top on. */
void heap_remove(struct heap *h, struct sched_entity *e);
/* Empties it and returns all, linked by `behind`. */
struct sched_entity *heap_take_all(struct heap *h);
/* Makes the one of those who are parked, who stand in no rows, a heap again after keys were changed in place. */
void heap_mend(struct heap *h);
bool heap_holds(const struct heap *h);

static inline struct sched_entity *heap_top(const struct heap *h) { return h->count ? h->at[0].e : NULL; }

/* Walks all in no order, but the heads of the first rows come first. */
struct heap_at {
	struct sched_entity *e; /* NULL: that was all */
	unsigned row, passed;   /* how many came before it */
	bool within;
};

static inline struct heap_at heap_walk(const struct heap *h) { return (struct heap_at){.e = heap_top(h)}; }
void heap_step(const struct heap *h, struct heap_at *at);
#define heap_for_each(it, h) for (struct heap_at it = heap_walk(h); (it).e; heap_step((h), &(it)))

#endif
