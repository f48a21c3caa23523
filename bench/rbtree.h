/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A red-black tree with its least element at hand, for the CFS baseline. After
 * Cormen, Leiserson, Rivest & Stein, "Introduction to Algorithms", chapter 13;
 * nodes are embedded, equal keys keep their order of arrival.
 */
#ifndef CORBEL_BENCH_RBTREE_H
#define CORBEL_BENCH_RBTREE_H

#include <stdbool.h>
#include <stdint.h>

struct rbnode {
	struct rbnode *parent, *child[2]; /* left, right; the tree's nil at the ends */
	bool red;
	uint64_t key; /* compared as a difference, so that it may wrap */
};

struct rbtree {
	struct rbnode *root, *least;
	struct rbnode nil;
};

void rb_init(struct rbtree *t);
void rb_insert(struct rbtree *t, struct rbnode *n, uint64_t key);
void rb_remove(struct rbtree *t, struct rbnode *n);
/* NULL when empty. */
static inline struct rbnode *rb_least(const struct rbtree *t) { return t->least; }

#endif
