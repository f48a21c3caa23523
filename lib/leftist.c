/* SPDX-License-Identifier: Apache-2.0 */
/* Everything is a merge along right spines, and mending distances on the way back up. */
#include "lib/leftist.h"

#include "lib/assert.h"

static uint32_t distance(const struct leftist_node *n) { return n ? n->distance : 0; }

/* Puts @n's children in order and renews its distance; false when that stays as it was. */
static bool mend(struct leftist_node *n)
{
	struct leftist_node *left = n->left;
	uint32_t was = n->distance;

	if (distance(left) < distance(n->right)) {
		n->left = n->right;
		n->right = left;
	}
	n->distance = distance(n->right) + 1;
	return n->distance != was;
}

/* The top of both together; the caller sets its parent. */
static struct leftist_node *merge(struct leftist_node *a, struct leftist_node *b)
{
	struct leftist_node *top = NULL, *last = NULL;

	/* Down: of both spines the lesser node is next. */
	while (a && b) {
		struct leftist_node *least = leftist_before(b->key, a->key) ? b : a;

		if (least == a)
			a = a->right;
		else
			b = b->right;
		if (last)
			last->right = least;
		else
			top = least;
		least->up = last;
		last = least;
	}
	a = a ? a : b;
	if (!last)
		return a;
	last->right = a;
	if (a)
		a->up = last;
	/* And up again. */
	for (struct leftist_node *n = last; n; n = n->up)
		mend(n);
	return top;
}

static void set_top(struct leftist *t, struct leftist_node *n)
{
	t->top = n;
	if (n)
		n->up = NULL;
}

void leftist_push(struct leftist *t, struct leftist_node *n, uint64_t key)
{
	ASSERT(!leftist_queued(n));
	*n = (struct leftist_node){.key = key, .distance = 1};
	set_top(t, merge(t->top, n));
}

void leftist_remove(struct leftist *t, struct leftist_node *n)
{
	struct leftist_node *up = n->up, *rest;

	ASSERT(leftist_queued(n));
	if (n->left)
		n->left->up = NULL; /* where merge() stops on its way up */
	rest = merge(n->left, n->right);
	leftist_node_init(n);
	if (!up) {
		set_top(t, rest);
		return;
	}
	if (up->left == n)
		up->left = rest;
	else
		up->right = rest;
	if (rest)
		rest->up = up;
	/* Distances above change only as long as each changes its parent's: that ends after O(log n). */
	while (up && mend(up))
		up = up->up;
}

static bool child_is_right(const struct leftist_node *n, const struct leftist_node *child)
{
	return !child || (child->up == n && !leftist_before(child->key, n->key));
}

struct leftist_node *leftist_next(const struct leftist_node *n)
{
	if (n->left)
		return n->left;
	if (n->right)
		return n->right;
	for (const struct leftist_node *up = n->up; up; n = up, up = n->up)
		if (n == up->left && up->right)
			return up->right;
	return NULL;
}

bool leftist_check(const struct leftist *t)
{
	if (t->top && t->top->up)
		return false;
	for (const struct leftist_node *n = t->top; n; n = leftist_next(n))
		if (!child_is_right(n, n->left) || !child_is_right(n, n->right) ||
		    distance(n->left) < distance(n->right) || n->distance != distance(n->right) + 1)
			return false;
	return true;
}
