/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of many pools at once, in three parts, so that no section with interrupts masked grows with what is
 * in the pools. The plan does all that takes long: what each pool would be, whether that can be admitted, and what
 * order it comes to. It reads what its caller alone writes, so it needs no lock. The commit puts it in force at
 * one moment, a few stores for each pool. What was used stays with the pools where it was used: that is settled a
 * pool at a time, and what is used between the commit and a pool's own step counts where it counted before.
 */
#include "sched/internal.h"

/* ---- the plan: what each would be ---- */

static struct sched_pool *parent_then(struct sched *s, const struct sched_pool *p)
{
	if (!p->change)
		return p->parent;
	return p->change->parent ? p->change->parent : &s->root;
}

/* From @p up to the root; SCHED_DEPTH_MAX when it takes that many steps or more. *loop: it came back to @p. */
static unsigned steps_up(struct sched *s, const struct sched_pool *p, bool *loop)
{
	const struct sched_pool *at = p;
	unsigned steps = 0;

	while (at != &s->root && steps < SCHED_DEPTH_MAX) {
		at = parent_then(s, at);
		steps++;
		*loop |= at == p;
	}
	return steps;
}

/* A loop that is longer than pools may nest is too deep: it is refused all the same. */
static enum status check_places(struct sched *s, struct error *err)
{
	bool deep = false;

	list_for_each(it, &s->pools) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);
		bool loop = false;

		p->depth_then = steps_up(s, p, &loop);
		deep |= p->depth_then == SCHED_DEPTH_MAX;
		if (loop)
			return fail(err, ST_INVALID, "pool %s would be below itself", p->name);
	}
	return deep ? fail(err, ST_OVER_LIMIT, "pools nest at most %u deep", SCHED_DEPTH_MAX) : ST_OK;
}

static void sum_promises(struct sched *s)
{
	list_for_each(it, &s->pools)
		list_entry(it, struct sched_pool, node)->promised = list_entry(it, struct sched_pool, node)->newest = 0;
	list_for_each(it, &s->pools) {
		const struct sched_pool *p = list_entry(it, struct sched_pool, node);
		struct sched_pool *parent = p == &s->root ? NULL : parent_then(s, p);
		uint64_t wanted = numbers_then(p)->reservation;

		if (!parent)
			continue;
		parent->promised += MIN(wanted, UINT64_MAX - parent->promised);
		if (p->change && wanted > 0)
			parent->newest = wanted;
	}
}

/* The children's reservations sum to at most the pool's. */
static enum status check_promises(struct sched *s, struct error *err)
{
	sum_promises(s);
	list_for_each(it, &s->pools) {
		const struct sched_pool *p = list_entry(it, struct sched_pool, node);
		uint64_t room = p == &s->root ? pool_offered(s) : numbers_then(p)->reservation;

		if (p->promised <= room)
			continue;
		if (p->newest)
			return pool_does_not_fit(p, p->promised - p->newest, p->newest, room, err);
		return fail(err, ST_NOT_ADMITTED, "reservations of %llu ppm below pool %s do not fit its %llu ppm",
			    (unsigned long long)p->promised, p->name, (unsigned long long)room);
	}
	return ST_OK;
}

static enum status check_changes(struct sched *s, const struct sched_change *changes, unsigned count, struct error *err)
{
	enum status st = ST_OK;

	for (unsigned i = 0; i < count && !st; i++) {
		if (changes[i].pool == &s->root)
			return fail(err, ST_DENIED, "the root pool's place and numbers are the machine's");
		st = pool_check_numbers(&changes[i].numbers, err);
	}
	if (!st)
		st = check_places(s, err);
	if (!st)
		st = check_promises(s, err);
	return st ? st : affinity_admit(s, err);
}

/* Parents come before their children, wherever branches go. */
static void prepare(struct sched *s)
{
	struct sched_pool **end = &s->order;

	list_for_each(it, &s->pools) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);

		p->moves = p->parent && parent_then(s, p) != p->parent;
		p->limit_then = pool_limit_ticks(s, numbers_then(p));
	}
	for (unsigned depth = 0; depth < SCHED_DEPTH_MAX; depth++) {
		list_for_each(it, &s->pools) {
			struct sched_pool *p = list_entry(it, struct sched_pool, node);

			if (p->depth_then != depth)
				continue;
			*end = p;
			end = &p->next_then;
		}
	}
	*end = NULL;
}

enum status sched_pool_plan(struct sched *s, const struct sched_change *changes, unsigned count, struct error *err)
{
	enum status st;

	for (unsigned i = 0; i < count; i++)
		changes[i].pool->change = &changes[i];
	st = check_changes(s, changes, count, err);
	s->planned = st ? NULL : changes;
	if (!st)
		prepare(s);
	for (unsigned i = 0; i < count; i++)
		changes[i].pool->change = NULL;
	return st;
}

/* ---- the commit ---- */

/* It leaves its parent for the root: two that change sides would else be below each other for a moment. */
static void take_numbers(struct sched *s, const struct sched_change *c)
{
	struct sched_pool *p = c->pool;

	p->numbers = c->numbers;
	if (p->limit_then != p->limit_ticks)
		limit_changed(p);
	poke(&p->limit_ticks, p->limit_then);
	if (!p->moves)
		return;
	p->parent->children--;
	poke(&p->parent, &s->root);
}

static void take_place(struct sched *s, const struct sched_change *c)
{
	struct sched_pool *parent = c->parent ? c->parent : &s->root;

	if (!c->pool->moves)
		return;
	parent->children++;
	poke(&c->pool->parent, parent);
}

/*
 * CPUs walk up from limited pool to limited pool meanwhile. What is above a pool while all that moves is below the root
 * was above it before and will be afterwards: whatever they see of each half, they never come round in a circle.
 */
static void commit(struct sched *s, const struct sched_change *changes, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		take_numbers(s, &changes[i]);
	list_for_each(it, &s->pools)
		pool_set_limited(list_entry(it, struct sched_pool, node));
	for (unsigned i = 0; i < count; i++)
		take_place(s, &changes[i]);
	list_init(&s->pools);
	for (struct sched_pool *p = s->order; p; p = p->next_then) {
		list_push_back(&s->pools, &p->node);
		p->depth = p->depth_then;
		p->unsettled |= p->moves || (p->parent && p->parent->unsettled);
		s->unsettled |= p->unsettled;
		pool_set_limited(p);
	}
	division_stale(s);
}

void sched_pool_commit(struct sched *s, const struct sched_change *changes, unsigned count)
{
	lock_acquire(&s->lock);
	ASSERT(s->planned == changes);
	commit(s, changes, count);
	s->planned = NULL;
	lock_release(&s->lock);
	division_kick(s);
}

/* ---- what has been used ---- */

/* What its entities have come to was so below the pools that it has left, and not below those that it has come to. */
static void settle(struct sched *s, struct sched_pool *p)
{
	const struct sched_counted before = p->counted;
	struct sched_figures used = {0};

	pool_sum_own(s, p, &used);
	pool_set_counted(p);
	for (unsigned i = 0; i < before.count; i++)
		if (!pool_counts_in(&p->counted, before.in[i]))
			figures_add(&before.in[i]->departed, &used);
	for (unsigned i = 0; i < p->counted.count; i++)
		if (!pool_counts_in(&before, p->counted.in[i]))
			figures_subtract(&p->counted.in[i]->departed, &used);
}

bool sched_pool_settle(struct sched *s)
{
	bool worked = false;

	lock_acquire(&s->lock);
	for (struct list *it = s->pools.next; s->unsettled && !worked && it != &s->pools; it = it->next) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);

		if (!p->unsettled)
			continue;
		worked = !list_empty(&p->leaves);
		if (worked)
			settle(s, p);
		else
			pool_set_counted(p);
	}
	s->unsettled = worked; /* else it has come to the end */
	lock_release(&s->lock);
	return worked;
}

/* ---- all in one ---- */

enum status sched_pool_change(struct sched *s, const struct sched_change *changes, unsigned count, struct error *err)
{
	enum status st;

	lock_acquire(&s->lock);
	st = sched_pool_plan(s, changes, count, err);
	if (!st)
		commit(s, changes, count);
	s->planned = NULL;
	lock_release(&s->lock);
	if (st)
		return st;
	division_kick(s);
	while (sched_pool_settle(s))
		;
	return ST_OK;
}

enum status sched_pool_set(struct sched *s, struct sched_pool *p, const struct rls *numbers, struct error *err)
{
	const struct sched_change change = {.pool = p, .parent = peek(&p->parent), .numbers = *numbers};

	return sched_pool_change(s, &change, 1, err);
}

/* The numbers are read without the lock: who changes a pool that moves is one, the caller. */
enum status sched_pool_move(struct sched *s, struct sched_pool *p, struct sched_pool *parent, struct error *err)
{
	const struct sched_change change = {.pool = p, .parent = parent, .numbers = p->numbers};

	return sched_pool_change(s, &change, 1, err);
}
