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

void heap_begin(struct heap *h, enum heap_id id, struct heap_slot *slots, unsigned entities_max)
{
	*h = (struct heap){.at = slots + HEAP_AHEAD, .id = (uint8_t)id};
	for (unsigned i = 0; i < entities_max + HEAP_BEHIND; i++)
		h->at[i].key = NEVER;
}

static inline struct heap_slot *parent_of(const struct heap *h, const struct heap_slot *slot)
{
	return h->at + (slot - h->at - 1) / CHILDREN;
}

static inline struct heap_slot *children_of(const struct heap *h, const struct heap_slot *slot)
{
	return h->at + (slot - h->at) * CHILDREN + 1;
}

static inline void sift_up(struct heap *h, struct heap_slot *hole, struct heap_slot what)
{
	while (hole != h->at) {
		struct heap_slot *parent = parent_of(h, hole);

		if (parent->key <= what.key)
			break;
		*hole = *parent;
		hole = parent;
	}
	*hole = what;
}

/* Two semifinals and a final, without a branch to be guessed. What is not there has the greatest key of all. */
static inline struct heap_slot *least_of(struct heap_slot *child)
{
	struct heap_slot *a = child + (child[1].key < child[0].key), *b = child + 2 + (child[3].key < child[2].key);

	return b->key < a->key ? b : a;
}

static inline void sift_down(struct heap *h, struct heap_slot *hole, struct heap_slot what)
{
	const struct heap_slot *end = h->at + h->count;

	for (struct heap_slot *child; (child = children_of(h, hole)) < end;) {
		child = least_of(child);
		if (child->key >= what.key)
			break;
		*hole = *child;
		hole = child;
	}
	*hole = what;
}

/* Shortens the heap by its last slot, and returns what was there. */
static inline struct heap_slot take_last(struct heap *h)
{
	struct heap_slot *slot = &h->at[--h->count], last = *slot;

	slot->key = NEVER;
	return last;
}

void heap_push(struct heap *h, struct sched_entity *e, int64_t key)
{
	ASSERT(e->queue == HEAP_NONE);
	e->queue = h->id;
	sift_up(h, &h->at[h->count++], (struct heap_slot){.key = key, .e = e});
}

struct sched_entity *heap_pop(struct heap *h)
{
	struct sched_entity *top = h->at[0].e;
	struct heap_slot last;

	ASSERT(h->count && top->queue == h->id);
	top->queue = HEAP_NONE;
	last = take_last(h);
	if (h->count)
		sift_down(h, h->at, last);
	return top;
}

struct sched_entity *heap_exchange(struct heap *h, struct sched_entity *e, int64_t key)
{
	struct sched_entity *top = h->at[0].e;

	ASSERT(h->count && e->queue == HEAP_NONE);
	top->queue = HEAP_NONE;
	e->queue = h->id;
	sift_down(h, h->at, (struct heap_slot){.key = key, .e = e});
	return top;
}

void heap_remove(struct heap *h, struct sched_entity *e)
{
	struct heap_slot *slot = h->at, last;

	ASSERT(e->queue == h->id);
	while (slot->e != e)
		slot++;
	e->queue = HEAP_NONE;
	last = take_last(h);
	if (slot == h->at + h->count)
		return;
	if (slot != h->at && parent_of(h, slot)->key > last.key)
		sift_up(h, slot, last);
	else
		sift_down(h, slot, last);
}

void heap_mend(struct heap *h)
{
	if (h->count < 2)
		return;
	for (struct heap_slot *slot = parent_of(h, &h->at[h->count - 1]); slot >= h->at; slot--)
		sift_down(h, slot, *slot);
}

bool heap_holds(const struct heap *h)
{
	for (unsigned i = 0; i < h->count; i++) {
		if (h->at[i].e->queue != h->id)
			return false;
		if (i && h->at[(i - 1) / CHILDREN].key > h->at[i].key)
			return false;
	}
	for (unsigned i = h->count; i < h->count + HEAP_BEHIND; i++) {
		if (h->at[i].key != NEVER)
			return false;
	}
	return true;
}
