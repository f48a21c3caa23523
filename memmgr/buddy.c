/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The binary buddy system (Knowlton, "A fast storage allocator", CACM 1965):
 * one list of free blocks per order, threaded through the frame table by index.
 * Taking finds the smallest sufficient order in a bit mask and splits; giving
 * merges while the buddy is free and whole. Both are bounded by the 19 orders.
 *
 * Taken blocks stay FREE: who takes one says by frame_change() what it becomes.
 */
#include "memmgr/internal.h"

/* After a block was taken off the list of @order. */
static void note_empty(struct memmgr *mm, unsigned order)
{
	if (mm->free[order].head == FRAME_NIL)
		mm->free_orders &= ~(1u << order);
}

void buddy_init(struct memmgr *mm)
{
	mm->free_orders = 0;
	for (unsigned order = 0; order < ORDERS; order++)
		frame_list_init(&mm->free[order]);
}

void buddy_seed(struct memmgr *mm, uint32_t frame, unsigned order)
{
	frame_list_push(mm, &mm->free[order], frame, order, HELD_BY_BUDDY);
	mm->free_orders |= 1u << order;
}

/* From a block that is too large: its first part; the rest goes on the lists, largest first. */
__attribute__((noinline)) static uint32_t take_larger(struct memmgr *mm, unsigned order)
{
	uint32_t enough = mm->free_orders & ~0u << order;
	unsigned have;
	uint32_t frame;

	if (enough == 0)
		return FRAME_NIL;
	have = bit_lowest(enough);
	frame = frame_list_pop(mm, &mm->free[have]);
	note_empty(mm, have);
	while (have > order) {
		have--;
		buddy_seed(mm, frame + (1u << have), have);
	}
	frame_shape(mm, frame, order, HELD_BY_TAKER);
	return frame;
}

uint32_t buddy_take(struct memmgr *mm, unsigned order)
{
	uint32_t frame = frame_list_pop(mm, &mm->free[order]);

	if (frame == FRAME_NIL)
		return take_larger(mm, order);
	note_empty(mm, order);
	return frame;
}

/*
 * True when the block's buddy is a free block of the same size on our lists. Whoever holds it may be changing it:
 * but onto and off our lists it comes under our lock only.
 */
static bool can_merge(const struct memmgr *mm, uint32_t buddy, unsigned order)
{
	if (order == MEMMGR_MAX_ORDER || buddy >= mm->frames)
		return false;
	return __atomic_load_n(&frame_get(mm, buddy)->head, __ATOMIC_RELAXED) ==
	       frame_head(FRAME_FREE, order, HELD_BY_BUDDY);
}

void buddy_give(struct memmgr *mm, uint32_t frame, unsigned order)
{
	uint32_t buddy = frame ^ 1u << order;

	const struct frame *f = frame_get(mm, frame);

	ASSERT(f->state == FRAME_FREE && f->owner != HELD_BY_BUDDY && is_aligned(frame, BIT(order)));
	while (can_merge(mm, buddy, order)) {
		frame_list_remove(mm, &mm->free[order], buddy);
		note_empty(mm, order);
		frame &= ~(1u << order);
		order++;
		buddy = frame ^ 1u << order;
	}
	buddy_seed(mm, frame, order);
}
