/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queues of a CPU: heaps with four children a node. A node's children share
 * one or two cache lines because the keys lie beside the pointers, and half the
 * levels of a binary heap are half the moves (D. B. Johnson, "Priority queues
 * with update and finding minimum spanning trees", 1975). Entities know their
 * place, so that any can be taken out.
 */
#include "sched/internal.h"

#define CHILDREN 4u

static inline void place(struct heap *h, unsigned slot, struct heap_slot what)
{
	h->at[slot] = what;
	what.e->slot = slot;
}

static inline void sift_up(struct heap *h, unsigned slot, struct heap_slot what)
{
	while (slot) {
		unsigned parent = (slot - 1) / CHILDREN;

		if (h->at[parent].key <= what.key)
			break;
		place(h, slot, h->at[parent]);
		slot = parent;
	}
	place(h, slot, what);
}

/* The least of the children of a node that has some. A full node is a match of two semifinals: no loop, no branch. */
static inline unsigned least_child(const struct heap_slot *at, unsigned first, unsigned count)
{
	const struct heap_slot *child = at + first;
	unsigned least = 0;

	if (likely(first + CHILDREN <= count)) {
		unsigned a = child[1].key < child[0].key, b = 2 + (child[3].key < child[2].key);

		return first + (child[b].key < child[a].key ? b : a);
	}
	for (unsigned i = 1; first + i < count; i++) {
		if (child[i].key < child[least].key)
			least = i;
	}
	return first + least;
}

/* Heaps' own fields stay in registers: what is stored on the way might be anything to the compiler. */
static inline void sift_down(struct heap *h, unsigned slot, struct heap_slot what)
{
	struct heap_slot *at = h->at;
	unsigned count = h->count, first = slot * CHILDREN + 1;

	while (first < count) {
		unsigned least = least_child(at, first, count);
		struct heap_slot up = at[least];

		if (up.key >= what.key)
			break;
		at[slot] = up;
		up.e->slot = slot;
		slot = least;
		first = slot * CHILDREN + 1;
	}
	at[slot] = what;
	what.e->slot = slot;
}

void heap_push(struct heap *h, struct sched_entity *e, int64_t key)
{
	ASSERT(e->queue == HEAP_NONE);
	e->queue = h->id;
	sift_up(h, h->count++, (struct heap_slot){.key = key, .e = e});
}

void heap_remove(struct heap *h, struct sched_entity *e)
{
	unsigned slot = e->slot;
	struct heap_slot last;

	ASSERT(e->queue == h->id);
	e->queue = HEAP_NONE;
	last = h->at[--h->count];
	if (slot == h->count)
		return;
	if (slot && h->at[(slot - 1) / CHILDREN].key > last.key)
		sift_up(h, slot, last);
	else
		sift_down(h, slot, last);
}

void heap_mend(struct heap *h)
{
	if (h->count < 2)
		return;
	for (unsigned slot = (h->count - 2) / CHILDREN + 1; slot-- > 0;)
		sift_down(h, slot, h->at[slot]);
}

bool heap_holds(const struct heap *h)
{
	for (unsigned i = 0; i < h->count; i++) {
		if (h->at[i].e->queue != h->id || h->at[i].e->slot != i)
			return false;
		if (i && h->at[(i - 1) / CHILDREN].key > h->at[i].key)
			return false;
	}
	return true;
}
