/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of pools and who is admitted to it. A reservation is a promise, so it
 * is refused where it could not be kept: the children's sum to at most the
 * pool's, and the root's is what the CPUs offer.
 */
#include "sched/internal.h"

#include "lib/clock.h"
#include "lib/format.h"

static unsigned long long show(uint64_t v)
{
	return v;
}

bool pool_is_below(const struct sched_pool *p, const struct sched_pool *top)
{
	while (p && p != top)
		p = p->parent;
	return p != NULL;
}

static uint64_t offered(const struct sched *s)
{
	return (uint64_t)(s->cpus - s->exclusive) * SCHED_ONE_CPU;
}

static uint64_t reserved_below(struct sched *s, const struct sched_pool *parent, const struct sched_pool *without)
{
	uint64_t sum = 0;

	list_for_each(it, &s->pools) {
		const struct sched_pool *p = list_entry(it, struct sched_pool, node);

		if (p != without && p->parent == parent)
			sum += p->numbers.reservation;
	}
	return sum;
}

/* ---- checks ---- */

static enum status check_numbers(const struct rls *n, struct error *err)
{
	if (n->shares < 1 || n->shares > SCHED_SHARES_MAX)
		return fail(err, ST_INVALID, "shares are 1 to %u, not %u", SCHED_SHARES_MAX, n->shares);
	if (n->reservation > n->limit)
		return fail(err, ST_INVALID, "the reservation of %llu ppm is above the limit of %llu ppm", show(n->reservation),
			    show(n->limit));
	if (n->limit == 0)
		return fail(err, ST_INVALID, "a limit of 0 would never let anything run");
	return ST_OK;
}

/* May @p, new or known, have reservation @wanted below @parent? */
static enum status admit(struct sched *s, const struct sched_pool *p, const struct sched_pool *parent, uint64_t wanted,
			 struct error *err)
{
	uint64_t others = reserved_below(s, parent, p);
	uint64_t room = parent == &s->root ? offered(s) : parent->numbers.reservation;

	if (wanted > room || others > room - wanted)
		return fail(err, ST_NOT_ADMITTED, "reservations of %llu + %llu ppm do not fit the %llu ppm of pool %s",
			    show(others), show(wanted), show(room), parent->name);
	return ST_OK;
}

static enum status check_depth(const struct sched_pool *parent, unsigned levels, struct error *err)
{
	if (parent->depth + levels >= SCHED_DEPTH_MAX)
		return fail(err, ST_OVER_LIMIT, "pools nest at most %u deep", SCHED_DEPTH_MAX);
	return ST_OK;
}

/* ---- what follows from a change ---- */

static void refresh(struct sched *s)
{
	list_for_each(it, &s->pools) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);
		bool limited = p->numbers.limit != SCHED_NO_LIMIT;
		uint64_t ticks = limited ? mul_div(p->numbers.limit, s->window, SCHED_ONE_CPU) : 0;

		p->depth = p->parent ? p->parent->depth + 1 : 0;
		poke(&p->limit_ticks, limited ? MAX(ticks, 1) : NO_LIMIT_TICKS);
		poke(&p->limited, limited ? p : p->parent ? p->parent->limited : NULL);
	}
	division_stale(s);
}

/* ---- interface ---- */

struct sched_pool *sched_root(struct sched *s)
{
	return &s->root;
}

enum status sched_pool_add(struct sched *s, struct sched_pool *p, struct sched_pool *parent, const char *name,
			   const struct rls *numbers, struct error *err)
{
	enum status st;

	lock_acquire(&s->lock);
	parent = parent ? parent : &s->root;
	st = check_numbers(numbers, err);
	if (!st)
		st = check_depth(parent, 1, err);
	if (!st)
		st = admit(s, p, parent, numbers->reservation, err);
	if (!st) {
		*p = (struct sched_pool){.parent = parent, .numbers = *numbers};
		format(p->name, sizeof p->name, "%s", name);
		list_init(&p->leaves);
		list_push_back(&s->pools, &p->node);
		parent->children++;
		refresh(s);
	}
	lock_release(&s->lock);
	return st;
}

static enum status check_set(struct sched *s, const struct sched_pool *p, const struct rls *numbers, struct error *err)
{
	enum status st = check_numbers(numbers, err);
	uint64_t below;

	if (st)
		return st;
	if (p == &s->root)
		return fail(err, ST_DENIED, "the root pool's numbers are the machine's");
	below = reserved_below(s, p, NULL);
	if (below > numbers->reservation)
		return fail(err, ST_NOT_ADMITTED, "reservations of %llu ppm below pool %s do not fit its %llu ppm", show(below),
			    p->name, show(numbers->reservation));
	return admit(s, p, p->parent, numbers->reservation, err);
}

enum status sched_pool_set(struct sched *s, struct sched_pool *p, const struct rls *numbers, struct error *err)
{
	enum status st;

	lock_acquire(&s->lock);
	st = check_set(s, p, numbers, err);
	if (!st) {
		struct rls before = p->numbers;

		p->numbers = *numbers;
		st = affinity_admit(s, err);
		if (st)
			p->numbers = before;
		else
			refresh(s);
	}
	lock_release(&s->lock);
	if (!st)
		division_kick(s);
	return st;
}

static unsigned levels_below(struct sched *s, const struct sched_pool *top)
{
	unsigned deepest = top->depth;

	list_for_each(it, &s->pools) {
		const struct sched_pool *p = list_entry(it, struct sched_pool, node);

		if (pool_is_below(p, top))
			deepest = MAX(deepest, p->depth);
	}
	return deepest - top->depth + 1;
}

static enum status check_move(struct sched *s, const struct sched_pool *p, const struct sched_pool *parent, struct error *err)
{
	enum status st;

	if (p == &s->root)
		return fail(err, ST_DENIED, "the root pool stays where it is");
	if (pool_is_below(parent, p))
		return fail(err, ST_INVALID, "pool %s would be below itself", p->name);
	st = check_depth(parent, levels_below(s, p), err);
	return st ? st : admit(s, p, parent, p->numbers.reservation, err);
}

/* Parents come before their children in the list: all below @p go to its end, in order. */
static void resort(struct sched *s, const struct sched_pool *top)
{
	struct list moved;

	list_init(&moved);
	list_for_each_safe(it, &s->pools) {
		if (pool_is_below(list_entry(it, struct sched_pool, node), top)) {
			list_remove(it);
			list_push_back(&moved, it);
		}
	}
	list_for_each_safe(it, &moved) {
		list_remove(it);
		list_push_back(&s->pools, it);
	}
}

enum status sched_pool_move(struct sched *s, struct sched_pool *p, struct sched_pool *parent, struct error *err)
{
	enum status st;

	lock_acquire(&s->lock);
	parent = parent ? parent : &s->root;
	st = check_move(s, p, parent, err);
	if (!st && parent != p->parent) {
		p->parent->children--;
		parent->children++;
		poke(&p->parent, parent);
		resort(s, p);
		refresh(s);
	}
	lock_release(&s->lock);
	if (!st)
		division_kick(s);
	return st;
}

enum status sched_pool_remove(struct sched *s, struct sched_pool *p, struct error *err)
{
	enum status st = ST_OK;

	lock_acquire(&s->lock);
	if (p == &s->root)
		st = fail(err, ST_DENIED, "the root pool stays");
	else if (p->children || p->leaf_count)
		st = fail(err, ST_BUSY, "pool %s has %u pools and %u entities", p->name, p->children, p->leaf_count);
	if (!st) {
		figures_add(&p->parent->departed, &p->departed);
		p->parent->children--;
		list_remove(&p->node);
		refresh(s);
	}
	lock_release(&s->lock);
	return st;
}
