/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clearing ahead: idle time keeps a pool of cleared blocks of each leaf size, so
 * that a guest's first touch costs a list operation instead of 512 stores (or
 * 262,144 for 2 MiB, which one exit may not take). Smallest pool first: the
 * 4 KiB one also feeds chunks and stage-2 tables.
 *
 * Cleared blocks are still free memory. When the buddy allocator runs out they
 * are given up again, and the clearing in progress with them. Every idle CPU
 * clears a block of its own, page by page under its cell's lock and no other: who
 * needs the block after all waits for one page at most, and takes it.
 */
#include "memmgr/internal.h"

void clear_init(struct memmgr *mm, const struct memmgr_config *cfg)
{
	for (unsigned size = 0; size < LEAF_SIZES; size++)
		frame_list_init(&mm->pool[size]);
	mm->pool_target[LEAF_4K] = cfg->clear_ahead_4k;
	mm->pool_target[LEAF_2M] = cfg->clear_ahead_2m;
	mm->pool_target[LEAF_1G] = cfg->clear_ahead_1g;
}

void clear_abandon(struct memmgr *mm, struct cell *c)
{
	mm->clearing[c->clearing.size]--;
	clear_note(mm, c->clearing.size);
	buddy_give(mm, c->clearing.frame, leaf_order[c->clearing.size]);
	c->clearing.frame = FRAME_NIL;
}

static bool give_up_one(struct memmgr *mm, enum leaf_size size)
{
	uint32_t frame = frame_list_pop(mm, &mm->pool[size]);

	if (frame == FRAME_NIL)
		return false;
	clear_note(mm, size);
	buddy_give(mm, frame, leaf_order[size]);
	return true;
}

bool clear_give_up(struct memmgr *mm, unsigned order)
{
	unsigned first = 0;

	/* The smallest that suffices costs least; below that, blocks may merge into one that does. */
	while (first < LEAF_1G && leaf_order[first] < order)
		first++;
	for (unsigned size = first; size < LEAF_SIZES; size++) {
		if (give_up_one(mm, (enum leaf_size)size))
			return true;
	}
	while (first-- > 0) {
		if (give_up_one(mm, (enum leaf_size)first))
			return true;
	}
	return false;
}

static bool is_full(const struct memmgr *mm, enum leaf_size size)
{
	return __atomic_load_n(&mm->stocked[size], __ATOMIC_RELAXED) >=
	       __atomic_load_n(&mm->pool_target[size], __ATOMIC_RELAXED);
}

static bool all_full(const struct memmgr *mm)
{
	return is_full(mm, LEAF_4K) && is_full(mm, LEAF_2M) && is_full(mm, LEAF_1G);
}

/* Begins a block for the first pool that wants one. ST_OK: nobody does. Both locks are held. */
static enum status begin_block(struct memmgr *mm, struct cell *c)
{
	enum status st = ST_OK;

	for (unsigned size = 0; size < LEAF_SIZES; size++) {
		uint32_t frame;

		if (is_full(mm, (enum leaf_size)size))
			continue;
		st = ST_NO_MEMORY;
		frame = mm->searching ? FRAME_NIL : buddy_take(mm, leaf_order[size]);
		if (frame == FRAME_NIL)
			continue;
		frame_shape(mm, frame, leaf_order[size], HELD_BY_CLEARING);
		c->clearing = (struct clearing){.frame = frame, .size = (enum leaf_size)size};
		mm->clearing[size]++;
		clear_note(mm, (enum leaf_size)size);
		return ST_AGAIN;
	}
	return st;
}

static void finish_block(struct memmgr *mm, struct cell *c)
{
	enum leaf_size size = c->clearing.size;

	lock_acquire(&mm->lock);
	mm->clearing[size]--;
	frame_list_push(mm, &mm->pool[size], c->clearing.frame, leaf_order[size], HELD_BY_POOL);
	clear_note(mm, size);
	lock_release(&mm->lock);
	c->clearing.frame = FRAME_NIL;
}

static void clear_page(struct memmgr *mm, struct cell *c)
{
	clear_block(mm, c->clearing.frame + (uint32_t)c->clearing.done, ORDER_4K);
	c->clearing.done++;
	if (c->clearing.done == BIT(leaf_order[c->clearing.size]))
		finish_block(mm, c);
}

/* Goes on with this CPU's block or begins one; clears one page of it if @clear. */
static enum status step(struct memmgr *mm, bool clear)
{
	struct cell *c = cell_lock(mm);
	enum status st = ST_AGAIN;

	if (c->clearing.frame == FRAME_NIL && all_full(mm)) {
		st = ST_OK;
	} else if (c->clearing.frame == FRAME_NIL) {
		lock_acquire(&mm->lock);
		st = begin_block(mm, c);
		lock_release(&mm->lock);
	}
	if (st == ST_AGAIN && clear)
		clear_page(mm, c);
	cell_unlock(c);
	return st;
}

enum status memmgr_clear_step(struct memmgr *mm, uint64_t pages)
{
	for (;;) {
		enum status st = step(mm, pages > 0);

		if (st != ST_AGAIN || pages == 0)
			return st;
		pages--;
	}
}
