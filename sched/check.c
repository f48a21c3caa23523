/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks all there is and says whether it holds together: heaps in order and
 * holding what they should, every entity in one place, demand and rates that are
 * the sums of their parts, and time that is all accounted for. For tests and for
 * the monitor. It holds all locks of this room while it looks, so other CPUs wait
 * for it at their next call; each of them leaves order behind whenever it drops a lock.
 */
#include "sched/internal.h"

static bool queued_well(const struct sched_cpu *c, const struct heap *h)
{
	heap_for_each(it, h) {
		const struct sched_entity *e = it.e;

		if (e->state != SCHED_READY || e->cpu != c->id)
			return false;
		if (h->id == HEAP_FUTURE && e->key != e->eligible)
			return false;
		if ((h->id == HEAP_PARKED) != (e->park != PARK_NOT))
			return false;
	}
	return heap_holds(h);
}

static bool check_cpu(const struct sched_cpu *c)
{
	const struct heap *heaps[] = {&c->ready, &c->future, &c->parked};
	uint64_t rate = (c->running ? c->running->rate : 0) + (c->back ? c->back->rate : 0);

	for (unsigned i = 0; i < ARRAY_SIZE(heaps); i++) {
		if (!queued_well(c, heaps[i]))
			return false;
		heap_for_each(it, heaps[i])
			rate += it.e->rate;
	}
	if (c->running && (c->running->state != SCHED_RUNNING || c->running->cpu != c->id || c->running->held != c->id + 1))
		return false;
	if (c->since < c->started || c->since > c->now || cpu_busy(c, c->since) > c->since - c->started)
		return false;
	return rate == c->rate && c->waiting == c->ready.count + c->future.count;
}

/* READY in no heap, and neither back nor on its way nor with a CPU that has been told to put it: nobody would find it. */
static bool is_lost(const struct sched_cpu *c, const struct sched_entity *e)
{
	bool told = e->held && e->release_due;

	return e->state == SCHED_READY && e->queue == HEAP_NONE && e != c->back && !e->moving && !told;
}

static bool check_entity(struct sched *s, const struct sched_entity *e, const struct sched_pool *p)
{
	const struct sched_cpu *c = cpu_of(s, e->cpu);

	if (e->pool != p || e->state == SCHED_DETACHED || (e->state == SCHED_RUNNING) != (e == c->running))
		return false;
	if ((e->wake_pending && e->state != SCHED_RUNNING) || is_lost(c, e))
		return false;
	/* What it is charged or waited for since then must not be negative. */
	if (e->since > c->now || in_gang(e) != (e->gang_index < SCHED_GANG_MAX))
		return false;
	if (e->queue != HEAP_NONE && (e->state != SCHED_READY || !may_run_on(s, e, e->cpu)))
		return false;
	if (e->mask >= s->masks || !s->mask[e->mask].users || list_empty(&e->restricted) != (e->mask == ANYWHERE))
		return false;
	return e->gang_index == SCHED_GANG_MAX || p->gang.entity[e->gang_index] == e;
}

/* Figures count in all above, or where they did before a change that is not settled. */
static bool counts_well(const struct sched *s, const struct sched_pool *p)
{
	const struct sched_pool *at = p;

	if (p->unsettled)
		return s->unsettled && p->counted.count && p->counted.in[p->counted.count - 1] == &s->root;
	for (unsigned i = 0; i < p->counted.count; i++, at = at->parent)
		if (p->counted.in[i] != at)
			return false;
	return at == NULL;
}

static bool check_pool(struct sched *s, const struct sched_pool *p, uint64_t *used, unsigned *entities)
{
	unsigned leaves = 0, demand = 0;

	list_for_each(it, &p->leaves) {
		const struct sched_entity *e = list_entry(it, struct sched_entity, leaf);

		if (!check_entity(s, e, p))
			return false;
		leaves++;
		demand += (e->state == SCHED_READY || e->state == SCHED_RUNNING) && !e->attr.exclusive;
		*used += e->figures.used;
	}
	*entities += leaves;
	return leaves == p->leaf_count && demand == demand_of(p) && (!p->parent || p->depth == p->parent->depth + 1) &&
	       counts_well(s, p);
}

/* Children's reservations fit, and parents come first in the list. Uses what a plan, which is not under way, uses too. */
static bool check_tree(struct sched *s)
{
	list_for_each(it, &s->pools) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);

		p->promised = p->depth_then = 0;
	}
	list_for_each(it, &s->pools) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node), *parent = p->parent;

		if (p != &s->root && !parent->depth_then)
			return false;
		p->depth_then = 1; /* seen; then a child more each */
		if (!parent)
			continue;
		parent->promised += p->numbers.reservation;
		parent->depth_then++;
	}
	list_for_each(it, &s->pools) {
		const struct sched_pool *p = list_entry(it, struct sched_pool, node);

		if (p->promised > p->numbers.reservation || p->depth_then != p->children + 1)
			return false;
	}
	return true;
}

/* The tree's lock and those of all CPUs, which are more than a context notes: the first stands for them. */
static void stop_all(struct sched *s)
{
	lock_acquire(&s->lock);
	lock_acquire(&s->cpu[0].lock);
	for (unsigned cpu = 1; cpu < s->cpus; cpu++)
		lock_acquire_unnoted(&s->cpu[cpu].lock);
}

static void let_all_go(struct sched *s)
{
	for (unsigned cpu = s->cpus; cpu-- > 1;)
		lock_pass_on(&s->cpu[cpu].lock);
	lock_release(&s->cpu[0].lock);
	lock_release(&s->lock);
}

static bool check_all(struct sched *s)
{
	uint64_t used = s->root.departed.used, busy = 0;
	unsigned entities = 0;
	int64_t changed = 0;

	if (!check_tree(s))
		return false;
	for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
		if (!check_cpu(&s->cpu[cpu]))
			return false;
		busy += cpu_busy(&s->cpu[cpu], s->cpu[cpu].since);
	}
	list_for_each(it, &s->pools) {
		const struct sched_pool *p = list_entry(it, struct sched_pool, node);

		if (!check_pool(s, p, &used, &entities))
			return false;
		changed += demand_of(p) != demand_noted(p);
	}
	return used == busy && entities == s->entities && changed == (int64_t)peek(&s->stale) >> STALE_POOL_SHIFT;
}

bool sched_check(struct sched *s)
{
	bool holds;

	stop_all(s);
	holds = check_all(s);
	let_all_go(s);
	return holds;
}
