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

static enum status does_not_fit(const struct sched_pool *p, uint64_t others, uint64_t wanted, uint64_t room,
				struct error *err)
{
	return fail(err, ST_NOT_ADMITTED, "reservations of %llu + %llu ppm do not fit the %llu ppm of pool %s", show(others),
		    show(wanted), show(room), p->name);
}

/* May a new pool have reservation @wanted below @parent? */
static enum status admit(struct sched *s, const struct sched_pool *parent, uint64_t wanted, struct error *err)
{
	uint64_t others = reserved_below(s, parent);
	uint64_t room = parent == &s->root ? offered(s) : parent->numbers.reservation;

	if (wanted > room || others > room - wanted)
		return does_not_fit(parent, others, wanted, room, err);
	return ST_OK;
}

static enum status check_depth(const struct sched_pool *parent, struct error *err)
{
	if (parent->depth + 1 >= SCHED_DEPTH_MAX)
		return fail(err, ST_OVER_LIMIT, "pools nest at most %u deep", SCHED_DEPTH_MAX);
	return ST_OK;
}

/* ---- what follows from a change ---- */

static void refresh(struct sched *s)
{
	list_for_each(it, &s->pools) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);
		bool limited = p->numbers.limit != SCHED_NO_LIMIT;
		/* A little is kept back, for turns that end late just when nothing is left: a 64th of a tick per CPU. */
		uint64_t ticks = limited ? mul_div(p->numbers.limit, s->window - s->tick / 64, SCHED_ONE_CPU) : 0;

		ticks = limited ? MAX(ticks, 1) : NO_LIMIT_TICKS;
		if (ticks != p->limit_ticks)
			limit_changed(p);
		p->depth = p->parent ? p->parent->depth + 1 : 0;
		poke(&p->limit_ticks, ticks);
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
		st = check_depth(parent, err);
	if (!st)
		st = admit(s, parent, numbers->reservation, err);
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

/* ---- changes of many at once: what each would be ---- */

static struct sched_pool *parent_then(struct sched *s, const struct sched_pool *p)
{
	if (!p->change)
		return p->parent;
	return p->change->parent ? p->change->parent : &s->root;
}

static const struct rls *numbers_then(const struct sched_pool *p)
{
	return p->change ? &p->change->numbers : &p->numbers;
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
		const struct sched_pool *p = list_entry(it, struct sched_pool, node);
		bool loop = false;

		deep |= steps_up(s, p, &loop) == SCHED_DEPTH_MAX;
		if (loop)
			return fail(err, ST_INVALID, "pool %s would be below itself", p->name);
	}
	return deep ? fail(err, ST_OVER_LIMIT, "pools nest at most %u deep", SCHED_DEPTH_MAX) : ST_OK;
}

static bool any_moves(struct sched *s, const struct sched_change *changes, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (parent_then(s, changes[i].pool) != changes[i].pool->parent)
			return true;
	return false;
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
		uint64_t room = p == &s->root ? offered(s) : numbers_then(p)->reservation;

		if (p->promised <= room)
			continue;
		if (p->newest)
			return does_not_fit(p, p->promised - p->newest, p->newest, room, err);
		return fail(err, ST_NOT_ADMITTED, "reservations of %llu ppm below pool %s do not fit its %llu ppm",
			    show(p->promised), p->name, show(room));
	}
	return ST_OK;
}

static enum status check_changes(struct sched *s, const struct sched_change *changes, unsigned count, struct error *err)
{
	enum status st = ST_OK;

	for (unsigned i = 0; i < count && !st; i++) {
		if (changes[i].pool == &s->root)
			return fail(err, ST_DENIED, "the root pool's place and numbers are the machine's");
		st = check_numbers(&changes[i].numbers, err);
	}
	if (!st && any_moves(s, changes, count))
		st = check_places(s, err);
	return st ? st : check_promises(s, err);
}

/* ---- and doing it ---- */

/* Parents come before their children in the list, wherever branches have gone. */
static void resort(struct sched *s)
{
	struct list sorted;
	bool loop = false;

	list_for_each(it, &s->pools) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);

		p->depth = steps_up(s, p, &loop);
	}
	list_init(&sorted);
	for (unsigned depth = 0; !list_empty(&s->pools); depth++) {
		list_for_each_safe(it, &s->pools) {
			if (list_entry(it, struct sched_pool, node)->depth != depth)
				continue;
			list_remove(it);
			list_push_back(&sorted, it);
		}
	}
	list_for_each_safe(it, &sorted) {
		list_remove(it);
		list_push_back(&s->pools, it);
	}
}

/* What it used until now was used below the parent that it leaves, and was not below the one that it comes to. */
static void reparent(struct sched *s, struct sched_pool *p, struct sched_pool *parent)
{
	struct sched_figures used;

	if (parent == p->parent)
		return;
	pool_sum(s, p, &used);
	figures_add(&p->parent->departed, &used);
	figures_subtract(&parent->departed, &used);
	p->parent->children--;
	parent->children++;
	poke(&p->parent, parent);
}

/* By way of the root: two that change sides would for a moment be below each other. */
static void move_all(struct sched *s, const struct sched_change *changes, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (changes[i].pool->parent != parent_then(s, changes[i].pool))
			reparent(s, changes[i].pool, &s->root);
	for (unsigned i = 0; i < count; i++)
		reparent(s, changes[i].pool, parent_then(s, changes[i].pool));
}

static void swap_numbers(struct sched_pool *p, struct rls *other)
{
	struct rls mine = p->numbers;

	p->numbers = *other;
	*other = mine;
}

/* Whether confined entities' CPUs can carry them is asked with the new numbers in place. */
static enum status try_numbers(struct sched *s, const struct sched_change *changes, unsigned count, bool keep,
			       struct error *err)
{
	enum status st;

	for (unsigned i = 0; i < count; i++) {
		changes[i].pool->before = changes[i].numbers;
		swap_numbers(changes[i].pool, &changes[i].pool->before);
	}
	st = affinity_admit(s, err);
	for (unsigned i = 0; i < count && (st || !keep); i++)
		changes[i].pool->numbers = changes[i].pool->before;
	return st;
}

enum status sched_pool_change(struct sched *s, const struct sched_change *changes, unsigned count, bool commit,
			      struct error *err)
{
	enum status st;
	bool moves;

	lock_acquire(&s->lock);
	for (unsigned i = 0; i < count; i++)
		changes[i].pool->change = &changes[i];
	st = check_changes(s, changes, count, err);
	if (!st)
		st = try_numbers(s, changes, count, commit, err);
	moves = !st && commit && any_moves(s, changes, count);
	if (moves)
		move_all(s, changes, count);
	for (unsigned i = 0; i < count; i++)
		changes[i].pool->change = NULL;
	if (moves)
		resort(s);
	if (!st && commit)
		refresh(s);
	lock_release(&s->lock);
	if (!st)
		division_kick(s);
	return st;
}

enum status sched_pool_set(struct sched *s, struct sched_pool *p, const struct rls *numbers, struct error *err)
{
	const struct sched_change change = {.pool = p, .parent = peek(&p->parent), .numbers = *numbers};

	return sched_pool_change(s, &change, 1, true, err);
}

/* The numbers are read without the lock: who changes a pool that moves is one, the caller. */
enum status sched_pool_move(struct sched *s, struct sched_pool *p, struct sched_pool *parent, struct error *err)
{
	const struct sched_change change = {.pool = p, .parent = parent, .numbers = p->numbers};

	return sched_pool_change(s, &change, 1, true, err);
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
		note_demand(s, p);
		p->parent->children--;
		list_remove(&p->node);
		refresh(s);
	}
	lock_release(&s->lock);
	return st;
}
