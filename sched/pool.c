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

uint64_t pool_offered(const struct sched *s)
{
	return (uint64_t)(s->cpus - s->exclusive) * SCHED_ONE_CPU;
}

static uint64_t reserved_below(struct sched *s, const struct sched_pool *parent)
{
	uint64_t sum = 0;

	list_for_each(it, &s->pools) {
		const struct sched_pool *p = list_entry(it, struct sched_pool, node);

		if (p->parent == parent)
			sum += p->numbers.reservation;
	}
	return sum;
}

/* ---- checks ---- */

enum status pool_check_numbers(const struct rls *n, struct error *err)
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

enum status pool_does_not_fit(const struct sched_pool *p, uint64_t others, uint64_t wanted, uint64_t room,
			      struct error *err)
{
	return fail(err, ST_NOT_ADMITTED, "reservations of %llu + %llu ppm do not fit the %llu ppm of pool %s", show(others),
		    show(wanted), show(room), p->name);
}

/* May a new pool have reservation @wanted below @parent? */
static enum status admit(struct sched *s, const struct sched_pool *parent, uint64_t wanted, struct error *err)
{
	uint64_t others = reserved_below(s, parent);
	uint64_t room = parent == &s->root ? pool_offered(s) : parent->numbers.reservation;

	if (wanted > room || others > room - wanted)
		return pool_does_not_fit(parent, others, wanted, room, err);
	return ST_OK;
}

static enum status check_depth(const struct sched_pool *parent, struct error *err)
{
	if (parent->depth + 1 >= SCHED_DEPTH_MAX)
		return fail(err, ST_OVER_LIMIT, "pools nest at most %u deep", SCHED_DEPTH_MAX);
	return ST_OK;
}

/* ---- what a pool's place and numbers come to ---- */

uint64_t pool_limit_ticks(const struct sched *s, const struct rls *numbers)
{
	if (numbers->limit == SCHED_NO_LIMIT)
		return NO_LIMIT_TICKS;
	return MAX(mul_div(numbers->limit, s->window, SCHED_ONE_CPU), 1);
}

void pool_set_limited(struct sched_pool *p)
{
	bool limited = p->numbers.limit != SCHED_NO_LIMIT;

	poke(&p->limited, limited ? p : p->parent ? peek(&p->parent->limited) : NULL);
}

void pool_set_counted(struct sched_pool *p)
{
	p->counted.count = 0;
	for (struct sched_pool *at = p; at; at = at->parent)
		p->counted.in[p->counted.count++] = at;
	p->unsettled = false;
}

bool pool_counts_in(const struct sched_counted *counted, const struct sched_pool *p)
{
	for (unsigned i = 0; i < counted->count; i++)
		if (counted->in[i] == p)
			return true;
	return false;
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
	st = pool_check_numbers(numbers, err);
	if (!st)
		st = check_depth(parent, err);
	if (!st)
		st = admit(s, parent, numbers->reservation, err);
	if (!st) {
		*p = (struct sched_pool){.parent = parent, .numbers = *numbers};
		format(p->name, sizeof p->name, "%s", name);
		list_init(&p->leaves);
		list_push_back(&s->pools, &p->node);
		s->planned = NULL;
		parent->children++;
		p->depth = parent->depth + 1;
		p->limit_ticks = pool_limit_ticks(s, numbers);
		limit_changed(p);
		pool_set_limited(p);
		pool_set_counted(p);
		division_stale(s);
	}
	lock_release(&s->lock);
	return st;
}

enum status sched_pool_remove(struct sched *s, struct sched_pool *p, struct error *err)
{
	enum status st = ST_OK;

	lock_acquire(&s->lock);
	ASSERT(!s->unsettled);
	if (p == &s->root)
		st = fail(err, ST_DENIED, "the root pool stays");
	else if (p->children || p->leaf_count)
		st = fail(err, ST_BUSY, "pool %s has %u pools and %u entities", p->name, p->children, p->leaf_count);
	if (!st) {
		note_demand(s, p);
		p->parent->children--;
		list_remove(&p->node);
		s->planned = NULL;
		division_stale(s);
	}
	lock_release(&s->lock);
	return st;
}
