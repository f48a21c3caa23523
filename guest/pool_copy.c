/* SPDX-License-Identifier: Apache-2.0 */
/* See pool_copy.h. */
#include "guest/pool_copy.h"

#include "guest/machine.h"

_Static_assert(POOL_DEPTH_MAX + 1 <= MCLOCK_DEPTH_MAX, "each pool has its place in the tree");

void pool_copies_init(struct pool_copies *c, struct machine *m, const struct pool_copies_ops *ops)
{
	c->machine = m;
	c->ops = ops;
	list_init(&c->members);
}

static bool same(const struct pool_numbers *a, const struct pool_numbers *b)
{
	return a->unit == b->unit && rls_same(&a->rls, &b->rls);
}

static struct pool_copy *copy_of(struct pool_copies *c, unsigned id)
{
	return id == POOL_OWN_ROOT ? NULL : &c->at[id - 1];
}

/* Where a user of pool @p stands: NULL is the tree's root. Counts him. */
static struct mclock_pool *enter_pool(struct pool_copies *c, const struct pool *p)
{
	struct pool_copy *copy = copy_of(c, p->id);

	if (!copy)
		return NULL;
	if (copy->users++ == 0) {
		const struct pool *parent = pool_parent(p);
		struct mclock_pool *above = parent ? enter_pool(c, parent) : NULL;

		copy->parent = parent ? parent->id : POOL_OWN_ROOT;
		c->ops->pool_numbers(p, &copy->numbers);
		c->ops->begin(c, &copy->node, above, &copy->numbers);
	}
	return &copy->node;
}

static void leave_pool(struct pool_copies *c, unsigned id)
{
	for (struct pool_copy *copy = copy_of(c, id); copy && --copy->users == 0; copy = copy_of(c, copy->parent))
		c->ops->end(c, &copy->node);
}

static void place(struct pool_copies *c, struct pool_member *m, const struct pool *p)
{
	unsigned before = m->pool;

	c->ops->member_move(m, enter_pool(c, p));
	m->pool = p->id;
	leave_pool(c, before);
}

static void to_root(struct pool_copies *c, struct pool_member *m)
{
	unsigned before = m->pool;

	if (before == POOL_OWN_ROOT)
		return;
	c->ops->member_move(m, NULL);
	m->pool = POOL_OWN_ROOT;
	leave_pool(c, before);
}

/* False: some copy is of a pool that is gone, or is elsewhere now. */
static bool follow_pools(struct pool_copies *c)
{
	for (unsigned id = 1; id <= POOL_IDS; id++) {
		struct pool_copy *copy = copy_of(c, id);
		const struct pool *p, *parent;
		struct pool_numbers now;

		if (!copy || copy->users == 0)
			continue;
		p = pool_by_id(c->machine, id);
		parent = p ? pool_parent(p) : NULL;
		if (!parent || parent->id != copy->parent)
			return false;
		c->ops->pool_numbers(p, &now);
		if (same(&copy->numbers, &now))
			continue;
		copy->numbers = now;
		c->ops->set(c, &copy->node, &now);
	}
	return true;
}

void pool_copies_follow_one(struct pool_copies *c, struct pool_member *m)
{
	struct pool_numbers now;
	const struct vm *vm = c->ops->member_numbers(m, &now);
	const struct pool *p;

	if (!vm)
		return;
	p = vm->config.pool[0] ? pool_find(c->machine, vm->config.pool) : pool_by_id(c->machine, POOL_OWN_ROOT);
	if (p && p->id != m->pool)
		place(c, m, p);
	if (same(&m->numbers, &now))
		return;
	m->numbers = now;
	c->ops->member_set(m, &now);
}

/* Nothing goes to the device before they are where they belong: at the root nothing limits them. */
static void all_to_root(struct pool_copies *c)
{
	c->ops->hold(c);
	list_for_each(it, &c->members)
		to_root(c, list_entry(it, struct pool_member, link));
}

void pool_copies_follow(struct pool_copies *c)
{
	const struct host_ops *host = c->machine->host;
	unsigned long masked = host->mask();
	bool right = follow_pools(c);

	if (!right)
		all_to_root(c);
	host->unmask(masked);
	list_for_each(it, &c->members) {
		masked = host->mask();
		pool_copies_follow_one(c, list_entry(it, struct pool_member, link));
		host->unmask(masked);
	}
	masked = host->mask();
	if (!right)
		c->ops->let_go(c);
	host->unmask(masked);
}

void pool_copies_add(struct pool_copies *c, struct pool_member *m, const struct pool_numbers *n)
{
	m->pool = POOL_OWN_ROOT;
	m->numbers = *n;
	list_push_back(&c->members, &m->link);
}

void pool_copies_remove(struct pool_copies *c, struct pool_member *m)
{
	to_root(c, m);
	list_remove(&m->link);
}
