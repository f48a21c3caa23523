/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame table: who owns each block of host memory. Nobody else writes an
 * entry, so that the counts by state are right by construction and a change of
 * owner that the rules do not know stops the machine where it happens. Callers
 * hold the lock that an entry belongs to (internal.h).
 */
#include "memmgr/internal.h"

/* legal[from] has BIT(to). A guest's frame is only freed at once when no CPU can hold its translation. */
static const uint8_t legal[UINT8_MAX + 1] = {
	[FRAME_FREE] = BIT(FRAME_HOST) | BIT(FRAME_GUEST),
	[FRAME_HOST] = BIT(FRAME_FREE),
	[FRAME_GUEST] = BIT(FRAME_LEAVING) | BIT(FRAME_FREE),
	[FRAME_LEAVING] = BIT(FRAME_FREE),
};

const uint8_t leaf_order[LEAF_SIZES] = {ORDER_4K, ORDER_2M, ORDER_1G};

static inline void set_head(struct frame *f, enum frame_state state, unsigned order, uint16_t owner)
{
	__atomic_store_n(&f->head, frame_head(state, order, owner), __ATOMIC_RELAXED);
}

/* The largest order that is aligned at @start and ends by @end. */
static unsigned fitting_order(uint64_t start, uint64_t end)
{
	unsigned fits = bit_highest(end - start);
	unsigned aligned = start == 0 ? MEMMGR_MAX_ORDER : bit_lowest(start);

	fits = MIN(fits, aligned);
	return MIN(fits, MEMMGR_MAX_ORDER);
}

void frame_tile(struct memmgr *mm, uint64_t start, uint64_t end, enum frame_state state,
		void (*each)(struct memmgr *mm, uint32_t frame, unsigned order))
{
	ASSERT(start <= end && end <= mm->frames);
	while (start < end) {
		unsigned order = fitting_order(start, end);

		mm->table[start] = (struct frame){.state = (uint8_t)state, .order = (uint8_t)order};
		mm->tiled[state] += BIT(order);
		if (each)
			each(mm, (uint32_t)start, order);
		start += BIT(order);
	}
}

void frame_change(struct memmgr *mm, struct cell *c, uint32_t frame, enum frame_state to, uint16_t owner,
		  uint64_t word)
{
	struct frame *f = &mm->table[frame];
	unsigned order = f->order;

	ASSERT(legal[f->state] & BIT(to));
	ASSERT(f->state != FRAME_GUEST || f->next == 0);
	c->count[f->state] -= BIT(order);
	c->count[to] += BIT(order);
	set_head(f, to, order, owner);
	f->word = word;
}

static void shape(struct memmgr *mm, uint32_t frame, unsigned order, enum free_holder holder, uint32_t next)
{
	struct frame *f = &mm->table[frame];

	set_head(f, FRAME_FREE, order, (uint16_t)holder);
	f->next = next;
	f->word = FRAME_NIL;
}

void frame_shape(struct memmgr *mm, uint32_t frame, unsigned order, enum free_holder holder)
{
	shape(mm, frame, order, holder, FRAME_NIL);
}

void frame_split_guest(struct memmgr *mm, uint32_t frame, unsigned order)
{
	struct frame *f = &mm->table[frame];
	struct frame part = *f;
	uint64_t parts = BIT(part.order - order);

	ASSERT(part.state == FRAME_GUEST && part.order > order && part.next == 0);
	for (uint64_t i = 0; i < parts; i++) {
		set_head(f, FRAME_GUEST, order, part.owner);
		f->next = 0;
		f->word = part.word + (i << order);
		f += BIT(order);
	}
}

void frame_list_init(struct frame_list *list)
{
	*list = (struct frame_list){.head = FRAME_NIL};
}

static inline void set_first(struct frame_list *list, uint32_t frame)
{
	__atomic_store_n(&list->head, frame, __ATOMIC_RELAXED);
}

void frame_list_push(struct memmgr *mm, struct frame_list *list, uint32_t frame, unsigned order,
		     enum free_holder holder)
{
	uint32_t next = list->head;

	shape(mm, frame, order, holder, next);
	if (next != FRAME_NIL)
		mm->table[next].word = frame;
	set_first(list, frame);
	list->count++;
}

void frame_list_remove(struct memmgr *mm, struct frame_list *list, uint32_t frame)
{
	struct frame *f = &mm->table[frame];

	if (f->word == FRAME_NIL)
		set_first(list, f->next);
	else
		mm->table[f->word].next = f->next;
	if (f->next != FRAME_NIL)
		mm->table[f->next].word = f->word;
	list->count--;
}

uint32_t frame_list_pop(struct memmgr *mm, struct frame_list *list)
{
	uint32_t frame = list->head, next;

	if (frame == FRAME_NIL)
		return FRAME_NIL;
	next = mm->table[frame].next;
	__atomic_store_n(&mm->table[frame].owner, (uint16_t)HELD_BY_TAKER, __ATOMIC_RELAXED);
	if (next != FRAME_NIL)
		mm->table[next].word = FRAME_NIL;
	set_first(list, next);
	list->count--;
	return frame;
}

void frame_list_move(struct memmgr *mm, struct frame_list *from, struct frame_list *to, uint32_t count)
{
	uint32_t first = from->head, last = first, rest;

	ASSERT(count > 0 && count <= from->count && to->head == FRAME_NIL);
	for (uint32_t i = 1; i < count; i++)
		last = mm->table[last].next;
	rest = mm->table[last].next;
	mm->table[last].next = FRAME_NIL;
	if (rest != FRAME_NIL)
		mm->table[rest].word = FRAME_NIL;
	set_first(from, rest);
	from->count -= count;
	set_first(to, first);
	to->count = count;
}

void frame_fifo_init(struct frame_fifo *fifo)
{
	*fifo = (struct frame_fifo){.head = FRAME_NIL, .tail = FRAME_NIL};
}

void frame_fifo_push(struct memmgr *mm, struct frame_fifo *fifo, uint32_t frame)
{
	struct frame *f = &mm->table[frame];

	f->next = FRAME_NIL;
	if (fifo->tail == FRAME_NIL)
		fifo->head = frame;
	else
		mm->table[fifo->tail].next = frame;
	fifo->tail = frame;
	fifo->frames += BIT(f->order);
}

uint32_t frame_fifo_pop(struct memmgr *mm, struct frame_fifo *fifo)
{
	uint32_t frame = fifo->head;

	ASSERT(frame != FRAME_NIL);
	fifo->frames -= BIT(mm->table[frame].order);
	fifo->head = mm->table[frame].next;
	if (fifo->head == FRAME_NIL)
		fifo->tail = FRAME_NIL;
	return frame;
}
