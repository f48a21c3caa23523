/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A priority queue whose nodes live in what they stand for: no array that must be
 * large enough, no allocation. It is a leftist tree (C. A. Crane, "Linear lists and
 * priority queues as balanced binary trees", 1972): in each node the way to the
 * nearest hole is no longer on the right than on the left, so the right spine has
 * at most log2(n + 1) nodes, and two trees are merged along it. Parents are kept too,
 * so that any node can be taken out; that is O(log n) like the rest.
 *
 * Keys are compared by their difference, so that they may wrap: those in a tree at
 * one time lie within 2^63 of each other. Of equal keys any may come first. No locking.
 */
#ifndef CORBEL_LIB_LEFTIST_H
#define CORBEL_LIB_LEFTIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct leftist_node {
	uint64_t key;
	struct leftist_node *left, *right;
	struct leftist_node *up; /* itself while it is in no tree, NULL: it is the top */
	uint32_t distance;       /* to the nearest hole below, from 1 on */
};

struct leftist {
	struct leftist_node *top; /* the least key, NULL: empty */
};

static inline void leftist_init(struct leftist *t) { t->top = NULL; }
static inline void leftist_node_init(struct leftist_node *n) { n->up = n; }
static inline bool leftist_queued(const struct leftist_node *n) { return n->up != n; }
static inline bool leftist_before(uint64_t a, uint64_t b) { return (int64_t)(a - b) < 0; }

/* @n is in no tree. */
void leftist_push(struct leftist *t, struct leftist_node *n, uint64_t key);
/* @n is in @t. */
void leftist_remove(struct leftist *t, struct leftist_node *n);

/* @n, in @t or in no tree, stands in @t by @key. */
static inline void leftist_set(struct leftist *t, struct leftist_node *n, uint64_t key)
{
	if (leftist_queued(n)) {
		if (n->key == key)
			return;
		leftist_remove(t, n);
	}
	leftist_push(t, n, key);
}

/* The node after @n in a walk through all, which begins at the top; NULL at the end. In no order of keys. */
struct leftist_node *leftist_next(const struct leftist_node *n);
/* True when order, distances and parents are as they should be, in time of the tree's size; for tests and checks. */
bool leftist_check(const struct leftist *t);

#endif
