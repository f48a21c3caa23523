/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A binary min-heap of timer pointers, root at slot 0; every timer knows its
 * slot, so that a re-arm or cancel starts where the timer is (Williams,
 * "Algorithm 232: Heapsort", CACM 1964). next mirrors the root's deadline.
 */
#include "lib/timerq.h"

#include "lib/assert.h"

void timerq_init(struct timerq *q, struct timer **slots, uint32_t capacity)
{
	*q = (struct timerq){.next = TIMERQ_NEVER, .heap = slots, .capacity = capacity};
}

void timer_init(struct timer *t, void (*expired)(struct timer *t, uint64_t now))
{
	*t = (struct timer){.expired = expired};
}

static void place(struct timerq *q, uint32_t slot, struct timer *t)
{
	q->heap[slot] = t;
	t->index = slot + 1;
}

static void sift_up(struct timerq *q, uint32_t slot, struct timer *t)
{
	while (slot > 0) {
		uint32_t parent = (slot - 1) / 2;

		if (q->heap[parent]->deadline <= t->deadline)
			break;
		place(q, slot, q->heap[parent]);
		slot = parent;
	}
	place(q, slot, t);
}

static void sift_down(struct timerq *q, uint32_t slot, struct timer *t)
{
	for (;;) {
		uint32_t child = 2 * slot + 1;

		if (child >= q->count)
			break;
		if (child + 1 < q->count && q->heap[child + 1]->deadline < q->heap[child]->deadline)
			child++;
		if (t->deadline <= q->heap[child]->deadline)
			break;
		place(q, slot, q->heap[child]);
		slot = child;
	}
	place(q, slot, t);
}

/* Puts @t, whose deadline is any, where it belongs, starting from @slot. */
static void settle(struct timerq *q, uint32_t slot, struct timer *t)
{
	if (slot > 0 && t->deadline < q->heap[(slot - 1) / 2]->deadline)
		sift_up(q, slot, t);
	else
		sift_down(q, slot, t);
}

static void update_next(struct timerq *q)
{
	q->next = q->count > 0 ? q->heap[0]->deadline : TIMERQ_NEVER;
}

void timerq_set(struct timerq *q, struct timer *t, uint64_t deadline)
{
	if (deadline == TIMERQ_NEVER) {
		timerq_cancel(q, t);
		return;
	}
	if (!timer_is_set(t)) {
		ASSERT(q->count < q->capacity);
		place(q, q->count++, t);
	}
	ASSERT(t->index <= q->count && q->heap[t->index - 1] == t);
	t->deadline = deadline;
	settle(q, t->index - 1, t);
	update_next(q);
}

void timerq_cancel(struct timerq *q, struct timer *t)
{
	uint32_t slot;
	struct timer *last;

	if (!timer_is_set(t))
		return;
	slot = t->index - 1;
	ASSERT(slot < q->count && q->heap[slot] == t);
	t->index = 0;
	last = q->heap[--q->count];
	if (last != t)
		settle(q, slot, last);
	update_next(q);
}

/* The last one takes the root's place, and sinks. */
static __attribute__((noinline)) void refill_root(struct timerq *q)
{
	sift_down(q, 0, q->heap[q->count]);
	q->next = q->heap[0]->deadline;
}

static struct timer *take_root(struct timerq *q)
{
	struct timer *t = q->heap[0];

	t->index = 0;
	q->next = TIMERQ_NEVER;
	if (--q->count > 0)
		refill_root(q);
	return t;
}

unsigned timerq_run(struct timerq *q, uint64_t now)
{
	unsigned left = q->count, done = 0;

	/* next says what the root's deadline is; one that is empty is never due. */
	for (; left > 0 && q->next <= now && q->count > 0; left--) {
		struct timer *t = take_root(q);

		done++;
		t->expired(t, now);
	}
	return done;
}
