/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame table: who owns each block of host memory. Nobody else writes an
 * entry, so that the counts by state are right by construction and a change of
 * owner that the rules do not know stops the machine where it happens.
 */
#include "memmgr/internal.h"

/* legal[from] has BIT(to). A guest's frame is only freed at once when no CPU can hold its translation. */
static const uint8_t legal[FRAME_STATES] = {
	[FRAME_FREE] = BIT(FRAME_HOST) | BIT(FRAME_GUEST),
	[FRAME_HOST] = BIT(FRAME_FREE),
	[FRAME_GUEST] = BIT(FRAME_LEAVING) | BIT(FRAME_FREE),
	[FRAME_LEAVING] = BIT(FRAME_FREE),
};

const uint8_t leaf_order[LEAF_SIZES] = {ORDER_4K, ORDER_2M, ORDER_1G};

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
		mm->count[state] += BIT(order);
		if (each)
			each(mm, (uint32_t)start, order);
		start += BIT(order);
	}
}

void frame_change(struct memmgr *mm, uint32_t frame, enum frame_state to, uint16_t owner, uint64_t word)
{
	struct frame *f = &mm->table[frame];

	ASSERT(f->state < FRAME_STATES && legal[f->state] & BIT(to));
	mm->count[f->state] -= BIT(f->order);
	mm->count[to] += BIT(f->order);
	f->state = (uint8_t)to;
	f->owner = owner;
	f->next = FRAME_NIL;
	f->word = word;
}

void frame_shape(struct memmgr *mm, uint32_t frame, unsigned order, enum free_holder holder)
{
	mm->table[frame] = (struct frame){
		.state = FRAME_FREE,
		.order = (uint8_t)order,
		.owner = (uint16_t)holder,
		.next = FRAME_NIL,
		.word = FRAME_NIL,
	};
}

void frame_split_guest(struct memmgr *mm, uint32_t frame, unsigned order)
{
	struct frame *f = &mm->table[frame];
	struct frame part = *f;
	uint64_t parts = BIT(part.order - order);

	ASSERT(part.state == FRAME_GUEST && part.order > order);
	part.order = (uint8_t)order;
	for (uint64_t i = 0; i < parts; i++) {
		*f = part;
		f += BIT(order);
		part.word += BIT(order);
	}
}

void frame_list_init(struct frame_list *list)
{
	*list = (struct frame_list){.head = FRAME_NIL};
}

void frame_list_push(struct memmgr *mm, struct frame_list *list, uint32_t frame, unsigned order,
		     enum free_holder holder)
{
	uint32_t next = list->head;

	frame_shape(mm, frame, order, holder);
	mm->table[frame].next = next;
	if (next != FRAME_NIL)
		mm->table[next].word = frame;
	list->head = frame;
	list->count++;
}

void frame_list_remove(struct memmgr *mm, struct frame_list *list, uint32_t frame)
{
	struct frame *f = &mm->table[frame];

	if (f->word == FRAME_NIL)
		list->head = f->next;
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
	mm->table[frame].owner = HELD_BY_TAKER;
	if (next != FRAME_NIL)
		mm->table[next].word = FRAME_NIL;
	list->head = next;
	list->count--;
	return frame;
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
