/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving a guest a page on first touch: the exit path's part of the room. The
 * largest leaf wins whose range is wholly absent RAM and for which a cleared
 * block is ready; else 4 KiB, from the pool or cleared on the spot.
 *
 * What can fail comes first (a chunk, a frame, the stage-2 tables, in that
 * order) and is undone on failure; then follows the commit, which cannot fail.
 * A 2 MiB that once had small pages keeps its chunk, and so is never asked of
 * the engine as one leaf again while its tables stand.
 */
#include "memmgr/internal.h"

/* The part that cannot fail: frame table, counts, stage-2. The map's entry is the caller's. */
static inline void commit(struct gpmap *map, uint64_t first, uint32_t frame, enum leaf_size size)
{
	unsigned order = leaf_order[size];

	frame_change(map->mm, frame, FRAME_GUEST, map->owner, first);
	map->present_pages += BIT(order);
	map->leaves[size]++;
	map->mm->promised -= BIT(order);
	map->ops->map_commit(map->s2, gfn(first), hfn(frame), order, S2_RWX, S2_WB);
}

/* ---- large leaves ---- */

/* True when all of [gfn, gfn + 2^order) is absent RAM without a chunk. */
static bool wholly_absent(const struct gpmap *map, uint64_t gfn, unsigned order)
{
	uint64_t first = gfn >> CHUNK_SHIFT;
	uint64_t count = BIT(order - CHUNK_SHIFT);

	if (first + count > gpmap_dir_count(map))
		return false;
	for (uint64_t i = 0; i < count; i++) {
		if (gp_state(map->dir[first + i]) != GP_ABSENT)
			return false;
	}
	return true;
}

/* A cleared block of that size is ready. */
static bool place_large(struct gpmap *map, uint64_t gfn_in, enum leaf_size size)
{
	unsigned order = leaf_order[size];
	uint64_t first = align_down(gfn_in, BIT(order));
	uint32_t frame;

	if (!wholly_absent(map, first, order))
		return false;
	if (map->ops->map_prepare(map->s2, gfn(first), order) != ST_OK)
		return false;
	frame = clear_take(map->mm, size);
	for (uint64_t at = 0; at < BIT(order); at += CHUNK_PAGES)
		map->dir[(first + at) >> CHUNK_SHIFT] = gp_entry(GP_PRESENT, order, frame + (uint32_t)at);
	commit(map, first, frame, size);
	return true;
}

/* ---- 4 KiB ---- */

/* Takes the frame, cleared unless @overwrite; FRAME_NIL when memory is out. *how: from the pool or not. */
static uint32_t take_page(struct memmgr *mm, bool overwrite, enum touch *how)
{
	uint32_t frame = overwrite ? FRAME_NIL : clear_take(mm, LEAF_4K);

	*how = TOUCH_POOL;
	if (likely(frame != FRAME_NIL))
		return frame;
	*how = TOUCH_INLINE;
	frame = block_take(mm, ORDER_4K);
	if (frame != FRAME_NIL && !overwrite)
		clear_block(mm, frame, ORDER_4K);
	return frame;
}

/* Puts back what a failed prepare does not need. */
static void put_page_back(struct memmgr *mm, uint32_t frame, enum touch how)
{
	if (how == TOUCH_POOL)
		clear_put_back(mm, LEAF_4K, frame);
	else
		buddy_give(mm, frame, ORDER_4K);
}

/* Into a 2 MiB that has its chunk, of which @slot is the page's entry. */
static enum status place_small(struct gpmap *map, uint64_t gfn_at, uint64_t *slot, bool overwrite, enum touch *how)
{
	uint32_t frame = take_page(map->mm, overwrite, how);
	enum status st;

	if (unlikely(frame == FRAME_NIL))
		return ST_NO_MEMORY;
	st = map->ops->map_prepare(map->s2, gfn(gfn_at), ORDER_4K);
	if (unlikely(st != ST_OK)) {
		put_page_back(map->mm, frame, *how);
		return st;
	}
	*slot = gp_entry(GP_PRESENT, ORDER_4K, frame);
	commit(map, gfn_at, frame, LEAF_4K);
	return ST_OK;
}

/* Into a 2 MiB that is wholly absent: large if it can be, else with a new chunk. */
static enum status place_first(struct gpmap *map, uint64_t gfn_at, bool overwrite, enum touch *how)
{
	uint64_t dir, *slot;
	uint32_t chunk;
	enum status st;

	*how = TOUCH_1G;
	if (clear_ready(map->mm, LEAF_1G) && place_large(map, gfn_at, LEAF_1G))
		return ST_OK;
	*how = TOUCH_2M;
	if (clear_ready(map->mm, LEAF_2M) && place_large(map, gfn_at, LEAF_2M))
		return ST_OK;
	if (!gpmap_chunk_take(map, true, &chunk))
		return ST_NO_MEMORY;
	dir = gp_entry(GP_CHUNK, 0, chunk);
	slot = &gpmap_chunk(map, dir)[gfn_at & (CHUNK_PAGES - 1)];
	st = place_small(map, gfn_at, slot, overwrite, how);
	if (st == ST_OK)
		map->dir[gfn_at >> CHUNK_SHIFT] = dir;
	else
		gpmap_chunk_free(map, chunk);
	return st;
}

/* Populates an absent page, whose entry is *@slot. */
static inline enum status populate(struct gpmap *map, uint64_t gfn_at, uint64_t *slot, bool overwrite, enum touch *how)
{
	if (likely(gp_state(map->dir[gfn_at >> CHUNK_SHIFT]) == GP_CHUNK))
		return place_small(map, gfn_at, slot, overwrite, how);
	return place_first(map, gfn_at, overwrite, how);
}

/* ---- the callers ---- */

/* A fault on a present page: another vcpu or a stale translation was faster, or the engine refuses @access. */
__attribute__((noinline)) static enum status fault_again(struct gpmap *map, gfn_t gfn, unsigned access)
{
	struct s2_leaf leaf;

	if (!map->ops->lookup(map->s2, gfn, &leaf) || (leaf.prot & access) != access)
		return ST_BAD_STATE;
	return ST_OK;
}

enum status gpmap_fault(struct gpmap *map, gfn_t gfn, unsigned access)
{
	enum touch how;
	enum status st;
	uint64_t *slot;

	if (gfn.v >= map->gfn_limit)
		return ST_BAD_ADDRESS;
	if (map->releasing)
		return ST_BAD_STATE;
	slot = gpmap_slot(map, gfn.v);
	if (unlikely(gp_state(*slot) != GP_ABSENT))
		return gp_state(*slot) == GP_NONE ? ST_BAD_ADDRESS : fault_again(map, gfn, access);
	st = populate(map, gfn.v, slot, false, &how);
	if (st == ST_OK)
		map->mm->touched[how]++;
	return st;
}

enum status gpmap_populate(struct gpmap *map, gfn_t gfn, bool overwrite, void **va)
{
	enum touch how;
	enum status st;
	uint64_t *slot, entry;

	if (gfn.v >= map->gfn_limit)
		return ST_BAD_ADDRESS;
	if (map->releasing)
		return ST_BAD_STATE;
	slot = gpmap_slot(map, gfn.v);
	if (gp_state(*slot) == GP_NONE)
		return ST_BAD_ADDRESS;
	if (gp_state(*slot) == GP_ABSENT) {
		st = populate(map, gfn.v, slot, overwrite, &how);
		if (st != ST_OK)
			return st;
	}
	entry = gpmap_lookup(map, gfn.v);
	*va = frame_va(map->mm, gpmap_frame(entry, gfn.v));
	return ST_OK;
}
