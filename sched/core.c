/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that share a core, where different pools are to be kept apart: at a
 * time the threads of a core run one pool. Who finds the core in another pool's
 * hands waits, and leaves a claim there: his pool and when he is due. Deadlines
 * are host times, so threads can compare them: one whose candidate is due later
 * than somebody who waits on a sibling thread gives way, and tells that thread.
 * A deadline that waits stands still and those of who runs move on, so nobody is
 * kept off for ever, and pools take turns in proportion to what they are due.
 *
 * The claims and pools of a core's threads are under one lock, that of its first
 * thread, taken under the queue's. A thread also looks by itself once a tick.
 */
#include "sched/internal.h"

static struct lock *lock_of(struct sched *s, const struct sched_cpu *c)
{
	return &cpu_of(s, s->core_of[c->id])->core_lock;
}

/* The host time by which it is due; the latency class is before all others. */
static int64_t due_of(const struct sched_cpu *c, const struct sched_entity *e)
{
	return is_boosted(e) ? INT64_MIN : later(deadline_of(e), c->omega);
}

static bool is_sibling(const struct sched *s, const struct sched_cpu *c, unsigned cpu)
{
	return cpu != c->id && s->core_of[cpu] == s->core_of[c->id];
}

static bool is_before(int64_t a, int64_t b)
{
	return a == INT64_MIN ? b != a : b != INT64_MIN && apart(a, b) < 0;
}

/* Does @d run another pool than @p, or does somebody of another one wait there who is due before @due? */
static bool stands_in_the_way(struct sched *s, const struct sched_cpu *d, const struct sched_pool *p, int64_t due)
{
	const struct sched_pool *there = peek(&d->core_pool);

	if (there && there != p)
		return true;
	if (!d->claim || d->claim == p || !is_before(d->claim_due, due))
		return false;
	sched_kick(s, d->id);
	return true;
}

bool core_refuses(struct sched *s, struct sched_cpu *c, const struct sched_entity *e)
{
	int64_t due = due_of(c, e);
	bool refused = false;

	lock_acquire(lock_of(s, c));
	for (unsigned i = 0; i < s->cpus; i++)
		refused |= is_sibling(s, c, i) && stands_in_the_way(s, &s->cpu[i], e->pool, due);
	if (!refused) {
		poke(&c->core_pool, e->pool);
	} else if (!c->claim || is_before(due, c->claim_due)) {
		poke(&c->claim, e->pool);
		c->claim_due = due;
	}
	lock_release(lock_of(s, c));
	return refused;
}

void core_retry(struct sched *s, struct sched_cpu *c)
{
	lock_acquire(lock_of(s, c));
	poke(&c->claim, NULL);
	lock_release(lock_of(s, c));
	for (unsigned i = 0; i < c->parked.count; i++) {
		if (c->parked.at[i].e->park == PARK_CORE)
			c->parked.at[i].key = 0;
	}
	heap_mend(&c->parked);
}

void core_leave(struct sched *s, struct sched_cpu *c)
{
	if (!peek(&s->separate_cores))
		return;
	lock_acquire(lock_of(s, c));
	poke(&c->core_pool, NULL);
	for (unsigned i = 0; i < s->cpus; i++) {
		if (is_sibling(s, c, i) && s->cpu[i].claim)
			sched_kick(s, i);
	}
	lock_release(lock_of(s, c));
}

bool sched_separate_cores(const struct sched *s)
{
	return peek(&s->separate_cores);
}

void sched_set_separate_cores(struct sched *s, bool separate)
{
	poke(&s->separate_cores, separate);
	for (unsigned i = 0; i < s->cpus; i++)
		sched_kick(s, i);
}
