/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clearing ahead: idle time keeps a pool of cleared blocks of each leaf size, so
 * that a guest's first touch costs a list operation instead of 512 stores (or
 * 262,144 for 2 MiB, which one exit may not take). Smallest pool first: the
 * 4 KiB one also feeds chunks and stage-2 tables.
 *
 * Cleared blocks are still free memory. When the buddy allocator runs out they
 * are given up again, and the clearing in progress with them.
 */
#include "memmgr/internal.h"

void clear_init(struct memmgr *mm, const struct memmgr_config *cfg)
{
	for (unsigned size = 0; size < LEAF_SIZES; size++)
		frame_list_init(&mm->pool[size]);
	mm->pool_target[LEAF_4K] = cfg->clear_ahead_4k;
	mm->pool_target[LEAF_2M] = cfg->clear_ahead_2m;
	mm->pool_target[LEAF_1G] = cfg->clear_ahead_1g;
	mm->clearing = (struct clearing){.frame = FRAME_NIL};
}

static void clear_pages(struct memmgr *mm, uint64_t frame, uint64_t pages)
{
	memset(frame_va(mm, (uint32_t)frame), 0, pages << PAGE_SHIFT);
}

void clear_put_back(struct memmgr *mm, enum leaf_size size, uint32_t frame)
{
	frame_list_push(mm, &mm->pool[size], frame, leaf_order[size], HELD_BY_POOL);
}

static void abandon_clearing(struct memmgr *mm)
{
	struct clearing *c = &mm->clearing;

	buddy_give(mm, c->frame, leaf_order[c->size]);
	c->frame = FRAME_NIL;
}

static bool give_up_one(struct memmgr *mm, enum leaf_size size)
{
	uint32_t frame = clear_take(mm, size);

	if (frame != FRAME_NIL) {
		buddy_give(mm, frame, leaf_order[size]);
		return true;
	}
	if (mm->clearing.frame != FRAME_NIL && mm->clearing.size == size) {
		abandon_clearing(mm);
		return true;
	}
	return false;
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

/* Begins a block for the first pool that wants one. ST_OK: nobody does. */
static enum status begin_block(struct memmgr *mm)
{
	enum status st = ST_OK;

	for (unsigned size = 0; size < LEAF_SIZES; size++) {
		uint32_t frame;

		if (mm->pool[size].count >= mm->pool_target[size])
			continue;
		st = ST_NO_MEMORY;
		frame = buddy_take(mm, leaf_order[size]);
		if (frame == FRAME_NIL)
			continue;
		frame_shape(mm, frame, leaf_order[size], HELD_BY_CLEARING);
		mm->clearing = (struct clearing){.frame = frame, .size = (enum leaf_size)size};
		return ST_AGAIN;
	}
	return st;
}

/* Clears up to @pages of the block begun; returns how many. */
static uint64_t advance(struct memmgr *mm, uint64_t pages)
{
	struct clearing *c = &mm->clearing;
	uint64_t left = BIT(leaf_order[c->size]) - c->done;
	uint64_t now = MIN(pages, left);

	clear_pages(mm, c->frame + c->done, now);
	c->done += now;
	if (now == left) {
		clear_put_back(mm, c->size, c->frame);
		c->frame = FRAME_NIL;
	}
	return now;
}

enum status memmgr_clear_step(struct memmgr *mm, uint64_t pages)
{
	for (;;) {
		if (mm->clearing.frame == FRAME_NIL) {
			enum status st = begin_block(mm);

			if (st != ST_AGAIN)
				return st;
		}
		if (pages == 0)
			return ST_AGAIN;
		pages -= advance(mm, pages);
	}
}
