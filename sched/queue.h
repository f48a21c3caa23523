/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the turns do with the queue of a CPU at every call, in line: queue.c has
 * the rest. All of it under the CPU's lock.
 */
#ifndef CORBEL_SCHED_QUEUE_H
#define CORBEL_SCHED_QUEUE_H

#include "sched/internal.h"

/* From the last cut on @c runs nothing, nor works for anybody; and from now on it does again. */
void cpu_rest(struct sched_cpu *c);
void cpu_end_rest(struct sched_cpu *c);
/* What was parked and may run again. */
void cpu_unpark_due(struct sched *s, struct sched_cpu *c);
/* Who is eligible by virtual time @virtual. */
void cpu_promote_due(struct sched_cpu *c, int64_t virtual);
/* Out of whichever heap it is in; the caller publishes. */
void cpu_take_out(struct sched_cpu *c, struct sched_entity *e);
/* READY again, the long way. Who may not stay here is nowhere until it is put and released. */
void cpu_requeue(struct sched *s, struct sched_cpu *c, struct sched_entity *e);

/* Of a CPU that has begun. */
static inline uint64_t advance(struct sched_cpu *c, uint64_t now)
{
	now = MAX(now, c->now);
	c->now = now;
	return now;
}

/*
 * From a charge to the pick that follows the CPU works for whoever was charged: one that blocks and is woken all the
 * time would take a part of it from the others that nobody pays. Its tags follow at its next charge (aftermath), until
 * then the time counts as served to none of those who belong here.
 */
static inline void book_aftermath(struct sched_cpu *c, struct sched_entity *e, uint64_t elapsed)
{
	bump(&e->figures.used, elapsed);
	poke(&c->busy_then, c->busy_then + elapsed);
	e->aftermath += elapsed;
	/* What it waits, or is held back for, begins now. */
	if (e->since == c->since)
		e->since = e->parked_since = c->now;
}

/* Gives the time from the charge to @now, or to c->now, to the one that was charged. */
static inline void cut_aftermath(struct sched_cpu *c, struct sched_entity *e, uint64_t now)
{
	uint64_t elapsed = advance(c, now) - c->since;

	if (elapsed)
		book_aftermath(c, e, elapsed);
	c->since = c->now;
}

static inline void set_state(struct sched_entity *e, struct sched_cpu *c, enum sched_state state)
{
	e->since = c->now;
	poke(&e->state, state);
	if (unlikely(in_gang(e)))
		gang_note(e);
}

static inline void push_ready(struct sched_cpu *c, struct sched_entity *e) { heap_line_up(&c->ready, e, deadline_of(e)); }

/* The first key of an empty one is NEVER. */
static inline bool one_is_due(const struct heap *h, int64_t time) { return h->at[0].key <= time; }

#endif
