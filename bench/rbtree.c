/* SPDX-License-Identifier: Apache-2.0 */
/* Left and right are children 0 and 1, so that each case of the book is written once for both. */
#include "bench/rbtree.h"

#include <stddef.h>

void rb_init(struct rbtree *t)
{
	t->nil = (struct rbnode){.red = false};
	t->root = &t->nil;
	t->least = NULL;
}

static inline unsigned side_of(const struct rbnode *n)
{
	return n->parent->child[1] == n;
}

static inline void replace(struct rbtree *t, struct rbnode *old, struct rbnode *new)
{
	if (old->parent == &t->nil)
		t->root = new;
	else
		old->parent->child[side_of(old)] = new;
	new->parent = old->parent;
}

/* @n goes down to @side, its child on the other side takes its place. */
static void rotate(struct rbtree *t, struct rbnode *n, unsigned side)
{
	struct rbnode *up = n->child[!side];

	n->child[!side] = up->child[side];
	if (up->child[side] != &t->nil)
		up->child[side]->parent = n;
	replace(t, n, up);
	up->child[side] = n;
	n->parent = up;
}

static void balance_insert(struct rbtree *t, struct rbnode *n)
{
	while (n->parent->red) {
		struct rbnode *up = n->parent, *top = up->parent;
		unsigned side = side_of(up);
		struct rbnode *uncle = top->child[!side];

		if (uncle->red) {
			up->red = uncle->red = false;
			top->red = true;
			n = top;
			continue;
		}
		if (side_of(n) != side) {
			n = up;
			rotate(t, n, side);
			up = n->parent;
		}
		up->red = false;
		top->red = true;
		rotate(t, top, !side);
	}
	t->root->red = false;
}

void rb_insert(struct rbtree *t, struct rbnode *n, uint64_t key)
{
	struct rbnode *at = t->root, *up = &t->nil;
	unsigned side = 0;
	bool least = true;

	while (at != &t->nil) {
		up = at;
		side = (int64_t)(key - at->key) >= 0;
		least = least && !side;
		at = at->child[side];
	}
	*n = (struct rbnode){.parent = up, .child = {&t->nil, &t->nil}, .red = true, .key = key};
	if (up == &t->nil)
		t->root = n;
	else
		up->child[side] = n;
	if (least)
		t->least = n;
	balance_insert(t, n);
}

static struct rbnode *next_of(struct rbtree *t, struct rbnode *n)
{
	if (n->child[1] != &t->nil) {
		for (n = n->child[1]; n->child[0] != &t->nil;)
			n = n->child[0];
		return n;
	}
	while (n->parent != &t->nil && side_of(n) == 1)
		n = n->parent;
	return n->parent == &t->nil ? NULL : n->parent;
}

/* @n has one black too many below its sibling. */
static void balance_remove(struct rbtree *t, struct rbnode *n)
{
	while (n != t->root && !n->red) {
		unsigned side = side_of(n);
		struct rbnode *other = n->parent->child[!side];

		if (other->red) {
			other->red = false;
			n->parent->red = true;
			rotate(t, n->parent, side);
			other = n->parent->child[!side];
		}
		if (!other->child[0]->red && !other->child[1]->red) {
			other->red = true;
			n = n->parent;
			continue;
		}
		if (!other->child[!side]->red) {
			other->child[side]->red = false;
			other->red = true;
			rotate(t, other, !side);
			other = n->parent->child[!side];
		}
		other->red = n->parent->red;
		n->parent->red = false;
		other->child[!side]->red = false;
		rotate(t, n->parent, side);
		n = t->root;
	}
	n->red = false;
}

void rb_remove(struct rbtree *t, struct rbnode *n)
{
	struct rbnode *gap, *next = n;
	bool was_red = n->red;

	if (t->least == n)
		t->least = next_of(t, n);
	if (n->child[0] == &t->nil || n->child[1] == &t->nil) {
		gap = n->child[n->child[0] == &t->nil];
		replace(t, n, gap);
	} else {
		for (next = n->child[1]; next->child[0] != &t->nil;)
			next = next->child[0];
		was_red = next->red;
		gap = next->child[1];
		if (next->parent == n) {
			gap->parent = next;
		} else {
			replace(t, next, gap);
			next->child[1] = n->child[1];
			next->child[1]->parent = next;
		}
		replace(t, n, next);
		next->child[0] = n->child[0];
		next->child[0]->parent = next;
		next->red = n->red;
	}
	if (!was_red)
		balance_remove(t, gap);
	t->nil.parent = NULL;
}
