/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each CPU's cell: a few free frames in front of what all CPUs share (Bonwick and
 * Adams, "Magazines and Vmem", USENIX 2001, is the idea; a cell here is one
 * magazine, filled and emptied by batches). A CPU takes the shared lock once for a
 * batch. When memory runs out the cells are emptied one by one, and nothing goes
 * into a cell until that search is over: no frame is lost to a cache.
 */
#include "memmgr/internal.h"

void cells_init(struct memmgr *mm)
{
	for (unsigned cpu = 0; cpu < mm->cpus; cpu++) {
		struct cell *c = &mm->cells[cpu];

		*c = (struct cell){.clearing = {.frame = FRAME_NIL}};
		lock_init(&c->lock, LOCK_MEMORY_CPU);
		frame_list_init(&c->plain);
		for (unsigned size = 0; size < LEAF_SIZES; size++)
			frame_list_init(&c->cleared[size]);
	}
}

/* ---- all of them ---- */

void cells_stop(struct memmgr *mm)
{
	for (unsigned cpu = 0; cpu < mm->cpus; cpu++)
		lock_acquire_unnoted(&mm->cells[cpu].lock);
	lock_acquire(&mm->lock);
}

void cells_go(struct memmgr *mm)
{
	lock_release(&mm->lock);
	for (unsigned cpu = 0; cpu < mm->cpus; cpu++)
		lock_pass_on(&mm->cells[cpu].lock);
}

uint64_t cells_count(const struct memmgr *mm, enum frame_state state)
{
	uint64_t sum = mm->tiled[state];

	for (unsigned cpu = 0; cpu < mm->cpus; cpu++)
		sum += mm->cells[cpu].count[state];
	return sum;
}

uint64_t cells_promised(const struct memmgr *mm)
{
	uint64_t sum = 0;

	for (unsigned cpu = 0; cpu < mm->cpus; cpu++)
		sum += mm->cells[cpu].promised;
	return sum;
}

/* ---- taking ---- */

static uint32_t batch_of(const struct memmgr *mm, enum leaf_size size)
{
	static const uint32_t most[LEAF_SIZES] = {CELL_CLEARED_4K, CELL_CLEARED_2M, 1};
	uint32_t share = mm->pool[size].count / CELL_POOL_SHARE + 1;

	return mm->searching ? 1 : MIN(most[size], share);
}

__attribute__((noinline)) uint32_t cell_refill_cleared(struct memmgr *mm, struct cell *c, enum leaf_size size)
{
	if (!frame_list_peek(&mm->pool[size]))
		return FRAME_NIL;
	lock_acquire(&mm->lock);
	if (mm->pool[size].head != FRAME_NIL)
		frame_list_move(mm, &mm->pool[size], &c->cleared[size], batch_of(mm, size));
	clear_note(mm, size);
	lock_release(&mm->lock);
	return frame_list_pop(mm, &c->cleared[size]);
}

/* A block of 2^@order, from the pools at last. Under memmgr.lock. */
static uint32_t take_shared(struct memmgr *mm, unsigned order)
{
	uint32_t frame = buddy_take(mm, order);

	/* Each turn returns one cleared block to the allocator, so this ends. */
	while (unlikely(frame == FRAME_NIL) && clear_give_up(mm, order))
		frame = buddy_take(mm, order);
	return frame;
}

/* One frame, and what is left of the smallest free block, or of one of a batch's size, for the cell. */
static uint32_t take_batch(struct memmgr *mm, struct cell *c)
{
	unsigned order = mm->free_orders ? bit_lowest(mm->free_orders) : 0;
	uint32_t first;

	order = mm->searching ? 0 : MIN(order, CELL_PLAIN_ORDER);
	first = take_shared(mm, order);
	if (order == 0 || first == FRAME_NIL)
		return first;
	for (uint32_t i = BIT(order) - 1; i > 0; i--)
		frame_list_push(mm, &c->plain, first + i, ORDER_4K, HELD_BY_CELL);
	frame_shape(mm, first, ORDER_4K, HELD_BY_TAKER);
	return first;
}

static uint32_t take(struct memmgr *mm, struct cell *c, unsigned order)
{
	uint32_t frame;

	lock_acquire(&mm->lock);
	frame = order == ORDER_4K ? take_batch(mm, c) : take_shared(mm, order);
	lock_release(&mm->lock);
	return frame;
}

static void count_searching(struct memmgr *mm, uint32_t change)
{
	lock_acquire(&mm->lock);
	__atomic_store_n(&mm->searching, mm->searching + change, __ATOMIC_RELAXED);
	lock_release(&mm->lock);
}

/* The allocator is empty: asks it again after each cell that was emptied into it. */
__attribute__((noinline)) static uint32_t search_cells(struct memmgr *mm, struct cell *c, unsigned order)
{
	uint32_t frame = FRAME_NIL;

	cell_unlock(c);
	count_searching(mm, 1);
	for (unsigned cpu = 0; cpu < mm->cpus && frame == FRAME_NIL; cpu++) {
		cell_reclaim(mm, cpu);
		lock_acquire(&c->lock);
		frame = take(mm, c, order);
		if (frame == FRAME_NIL)
			cell_unlock(c);
	}
	if (frame == FRAME_NIL)
		lock_acquire(&c->lock);
	count_searching(mm, -1u);
	return frame;
}

uint32_t block_take(struct memmgr *mm, struct cell *c, unsigned order)
{
	uint32_t frame = order == ORDER_4K ? frame_list_pop(mm, &c->plain) : FRAME_NIL;

	if (likely(frame != FRAME_NIL))
		return frame;
	frame = take(mm, c, order);
	return likely(frame != FRAME_NIL) ? frame : search_cells(mm, c, order);
}

/* ---- giving ---- */

static void give_list(struct memmgr *mm, struct frame_list *list, unsigned order, uint32_t most)
{
	while (most-- > 0 && list->head != FRAME_NIL)
		buddy_give(mm, frame_list_pop(mm, list), order);
}

void block_give(struct memmgr *mm, struct cell *c, uint32_t frame, unsigned order)
{
	bool keep = order == ORDER_4K && !__atomic_load_n(&mm->searching, __ATOMIC_RELAXED);

	if (keep)
		frame_list_push(mm, &c->plain, frame, order, HELD_BY_CELL);
	if (keep && likely(c->plain.count <= CELL_PLAIN_MAX))
		return;
	lock_acquire(&mm->lock);
	if (keep)
		give_list(mm, &c->plain, ORDER_4K, CELL_PLAIN_BATCH);
	else
		buddy_give(mm, frame, order);
	lock_release(&mm->lock);
}

void cell_reclaim(struct memmgr *mm, unsigned cpu)
{
	struct cell *c = &mm->cells[cpu];

	lock_acquire(&c->lock);
	lock_acquire(&mm->lock);
	give_list(mm, &c->plain, ORDER_4K, UINT32_MAX);
	for (unsigned size = 0; size < LEAF_SIZES; size++)
		give_list(mm, &c->cleared[size], leaf_order[size], UINT32_MAX);
	if (c->clearing.frame != FRAME_NIL)
		clear_abandon(mm, c);
	lock_release(&mm->lock);
	lock_release(&c->lock);
}
