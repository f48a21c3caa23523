/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queues of a CPU. Entities of about the same rate ask for the CPU in the order
 * in which they had it, so they stand in rows, each behind one with a lesser key,
 * and only the head of a row is in the heap. Among equals that leaves a few rows
 * and next to nothing to sort; when all rates differ it is a heap of all.
 *
 * The heap has four children a node. They share a cache line because the keys lie
 * beside the pointers, and half the levels of a binary heap are half the moves (D. B.
 * Johnson, "Priority queues with update and finding minimum spanning trees", 1975).
 * A turn takes one out and puts one in: heap_exchange() does both on one way down.
 *
 * Entities do not know their place: a move then touches the heap's own lines only.
 * Whoever is taken from the middle is looked for, which only what is rare does (an
 * entity that leaves or changes where it may run), or finds it among the first few.
 */
#include "sched/internal.h"

#define CHILDREN HEAP_CHILDREN

/* Stands for the last of a row where there is none: nobody comes behind it. */
static struct sched_entity nobody = {.key = NEVER};

void heap_begin(struct heap *h, enum heap_id id, struct heap_slot *slots, unsigned entities_max)
{
	*h = (struct heap){.at = slots + HEAP_AHEAD, .id = (uint8_t)id};
	for (unsigned i = 0; i < entities_max + HEAP_BEHIND; i++)
		h->at[i].key = NEVER;
	for (unsigned i = 0; i < HEAP_ROWS; i++)
		h->last[i] = &nobody;
}

static inline struct heap_slot *parent_of(const struct heap *h, const struct heap_slot *slot)
{
	return h->at + (slot - h->at - 1) / CHILDREN;
}

/* In bytes, which is a multiplication less than in slots. */
static inline struct heap_slot *children_of(const struct heap *h, const struct heap_slot *slot)
{
	return (struct heap_slot *)((char *)h->at + ((const char *)slot - (const char *)h->at) * CHILDREN) + 1;
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
	struct heap_slot *a = child + (child[1].key < child[0].key), *b = child + 2;

	b += b[1].key < b[0].key;
	return b->key < a->key ? b : a;
}

static inline void sift_down(struct heap *h, struct heap_slot *hole, struct heap_slot what)
{
	const struct heap_slot *end = h->at + h->rows;

	for (struct heap_slot *child; (child = children_of(h, hole)) < end;) {
		child = least_of(child);
		if (child->key >= what.key)
			break;
		*hole = *child;
		hole = child;
	}
	*hole = what;
}

/* Without its top, which nobody stands behind. */
static inline void drop_top(struct heap *h)
{
	struct heap_slot *slot = &h->at[--h->rows], last = *slot;

	slot->key = NEVER;
	if (h->rows)
		sift_down(h, h->at, last);
}

static inline void begin_row(struct heap *h, struct sched_entity *e, int64_t key)
{
	sift_up(h, &h->at[h->rows++], (struct heap_slot){.key = key, .e = e});
}

/* Whoever has gone is no longer the last of a row. */
static inline void forget_last(struct heap *h, const struct sched_entity *e, struct sched_entity *before)
{
	if (h->last[e->rate_row] == e)
		h->last[e->rate_row] = before ? before : &nobody;
}

/* True when @e stands in a row now; else it has to begin one. */
static inline bool line_up(struct heap *h, struct sched_entity *e, int64_t key)
{
	struct sched_entity *last;

	e->queue = h->id;
	e->key = key;
	if (h->id == HEAP_PARKED)
		return false;
	last = h->last[e->rate_row];
	h->last[e->rate_row] = e;
	if (last->key > key)
		return false;
	last->behind = e;
	return true;
}

void heap_push(struct heap *h, struct sched_entity *e, int64_t key)
{
	ASSERT(e->queue == HEAP_NONE);
	h->count++;
	if (!line_up(h, e, key))
		begin_row(h, e, key);
}

/* The top leaves; who stood behind it, if anybody, is to take its place. */
static inline struct sched_entity *leave_top(struct heap *h, struct sched_entity *top)
{
	struct sched_entity *next = top->behind;

	ASSERT(top->queue == h->id);
	top->queue = HEAP_NONE;
	top->behind = NULL;
	if (!next)
		forget_last(h, top, NULL);
	return next;
}

NOINLINE static struct sched_entity *pop_row(struct heap *h)
{
	struct sched_entity *top = h->at->e;

	(void)leave_top(h, top);
	drop_top(h);
	return top;
}

struct sched_entity *heap_pop(struct heap *h)
{
	struct sched_entity *top = h->at->e, *next = top->behind;

	ASSERT(top->queue == h->id);
	h->count--;
	if (unlikely(!next))
		return pop_row(h);
	top->queue = HEAP_NONE;
	top->behind = NULL;
	sift_down(h, h->at, (struct heap_slot){.key = next->key, .e = next});
	return top;
}

/* What is left of an exchange when a row ends or begins by it. */
NOINLINE static struct sched_entity *exchange_rows(struct heap *h, struct sched_entity *e, int64_t key)
{
	struct sched_entity *top = heap_top(h), *next = leave_top(h, top);
	bool lined_up = line_up(h, e, key);

	if (next)
		sift_down(h, h->at, (struct heap_slot){.key = next->key, .e = next});
	else if (lined_up)
		drop_top(h);
	else
		sift_down(h, h->at, (struct heap_slot){.key = key, .e = e});
	if (next && !lined_up)
		begin_row(h, e, key);
	return top;
}

struct sched_entity *heap_exchange(struct heap *h, struct sched_entity *e, int64_t key)
{
	struct sched_entity *top = h->at->e, *next = top->behind, *last = h->last[e->rate_row];

	ASSERT(top->queue == h->id && e->queue == HEAP_NONE);
	if (unlikely(!next || last->key > key))
		return exchange_rows(h, e, key);
	/* Nearly always: the one behind moves up, and the one that comes stands behind others. */
	h->last[e->rate_row] = last->behind = e;
	e->key = key;
	e->queue = h->id;
	top->queue = HEAP_NONE;
	top->behind = NULL;
	sift_down(h, h->at, (struct heap_slot){.key = next->key, .e = next});
	return top;
}

/* The head of a row goes; the next one takes its place, or the last slot does. */
static void behead(struct heap *h, struct heap_slot *slot)
{
	struct sched_entity *next = slot->e->behind;
	struct heap_slot last;

	if (next) {
		sift_down(h, slot, (struct heap_slot){.key = next->key, .e = next});
		return;
	}
	last = h->at[--h->rows];
	h->at[h->rows].key = NEVER;
	if (slot == h->at + h->rows)
		return;
	if (slot != h->at && parent_of(h, slot)->key > last.key)
		sift_up(h, slot, last);
	else
		sift_down(h, slot, last);
}

void heap_remove(struct heap *h, struct sched_entity *e)
{
	struct sched_entity *before = NULL;
	struct heap_slot *slot = h->at;

	ASSERT(e->queue == h->id);
	for (struct sched_entity *at = slot->e; at != e;) {
		before = at->behind ? at : NULL;
		at = at->behind ? at->behind : (++slot)->e;
	}
	h->count--;
	forget_last(h, e, before);
	if (before)
		before->behind = e->behind;
	else
		behead(h, slot);
	e->queue = HEAP_NONE;
	e->behind = NULL;
}

void heap_step(const struct heap *h, struct heap_at *at)
{
	at->passed++;
	if (!at->within && ++at->row < h->rows) {
		at->e = h->at[at->row].e;
		return;
	}
	if (!at->within) {
		at->within = true;
		at->row = 0;
		at->e = h->at[0].e;
	}
	at->e = at->e->behind;
	while (!at->e && ++at->row < h->rows)
		at->e = h->at[at->row].e->behind;
}

struct sched_entity *heap_take_all(struct heap *h)
{
	struct sched_entity *all = NULL, **link = &all;

	for (unsigned row = 0; row < h->rows; row++) {
		*link = h->at[row].e;
		h->at[row].key = NEVER;
		for (; *link; link = &(*link)->behind)
			(*link)->queue = HEAP_NONE;
	}
	for (unsigned i = 0; i < HEAP_ROWS; i++)
		h->last[i] = &nobody;
	h->rows = h->count = 0;
	return all;
}

void heap_mend(struct heap *h)
{
	if (h->rows < 2)
		return;
	for (struct heap_slot *slot = parent_of(h, &h->at[h->rows - 1]); slot >= h->at; slot--)
		sift_down(h, slot, *slot);
}

/* The entities of a row; 0 when it is not in order. */
static unsigned count_row(const struct heap *h, const struct heap_slot *head)
{
	int64_t key = head->key;
	unsigned count = 0;

	if (h->id != HEAP_PARKED && head->e->key != key)
		return 0;
	for (const struct sched_entity *e = head->e; e; e = e->behind) {
		if (e->queue != h->id || (count && e->key < key))
			return 0;
		key = e->key;
		count++;
	}
	return count;
}

bool heap_holds(const struct heap *h)
{
	unsigned count = 0;

	for (unsigned i = 0; i < h->rows; i++) {
		unsigned row = count_row(h, &h->at[i]);

		if (!row || (i && h->at[(i - 1) / CHILDREN].key > h->at[i].key))
			return false;
		count += row;
	}
	for (unsigned i = h->rows; i < h->rows + HEAP_BEHIND; i++) {
		if (h->at[i].key != NEVER)
			return false;
	}
	for (unsigned i = 0; i < HEAP_ROWS; i++) {
		if (h->last[i] != &nobody && (h->last[i]->behind || h->last[i]->queue != h->id || h->last[i]->rate_row != i))
			return false;
	}
	return count == h->count;
}
