/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queues of a CPU: heaps with four children a node. A node's children share
 * a cache line because the keys lie beside the pointers, and half the levels of a
 * binary heap are half the moves (D. B. Johnson, "Priority queues with update and
 * finding minimum spanning trees", 1975). A turn takes one out and puts one in:
 * heap_exchange() does both on one way down.
 *
 * Entities do not know their place: a move then touches the heap's own lines only.
 * Whoever is taken from the middle is looked for, which only what is rare does (an
 * entity that leaves or changes where it may run), or finds it among the first few.
 */
#include "sched/internal.h"

#define CHILDREN HEAP_CHILDREN

static inline void sift_up(struct heap *h, unsigned slot, struct heap_slot what)
{
	struct heap_slot *at = h->at;

	while (slot) {
		unsigned parent = (slot - 1) / CHILDREN;

		if (at[parent].key <= what.key)
			break;
		at[slot] = at[parent];
		slot = parent;
	}
	at[slot] = what;
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

static inline void sift_down(struct heap *h, unsigned slot, struct heap_slot what)
{
	struct heap_slot *at = h->at;
	unsigned count = h->count, first = slot * CHILDREN + 1;

	while (first < count) {
		unsigned least = least_child(at, first, count);

		if (at[least].key >= what.key)
			break;
		at[slot] = at[least];
		slot = least;
		first = slot * CHILDREN + 1;
	}
	at[slot] = what;
}

void heap_push(struct heap *h, struct sched_entity *e, int64_t key)
{
	ASSERT(e->queue == HEAP_NONE);
	e->queue = h->id;
	sift_up(h, h->count++, (struct heap_slot){.key = key, .e = e});
}

struct sched_entity *heap_pop(struct heap *h)
{
	struct sched_entity *top = h->at[0].e;

	ASSERT(h->count && top->queue == h->id);
	top->queue = HEAP_NONE;
	if (--h->count)
		sift_down(h, 0, h->at[h->count]);
	return top;
}

struct sched_entity *heap_exchange(struct heap *h, struct sched_entity *e, int64_t key)
{
	struct sched_entity *top = h->at[0].e;

	ASSERT(h->count && e->queue == HEAP_NONE);
	top->queue = HEAP_NONE;
	e->queue = h->id;
	sift_down(h, 0, (struct heap_slot){.key = key, .e = e});
	return top;
}

void heap_remove(struct heap *h, struct sched_entity *e)
{
	unsigned slot = 0;
	struct heap_slot last;

	ASSERT(e->queue == h->id);
	while (h->at[slot].e != e)
		slot++;
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
		if (h->at[i].e->queue != h->id)
			return false;
		if (i && h->at[(i - 1) / CHILDREN].key > h->at[i].key)
			return false;
	}
	return true;
}
