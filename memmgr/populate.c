/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving a guest a page on first touch: the exit path's part of the room. The
 * largest leaf wins whose range is wholly absent RAM and for which a cleared
 * block is ready; else 4 KiB, from the pool or cleared on the spot.
 *
 * What can fail comes first (a chunk, the stage-2 tables, a frame, in that order);
 * tables that were linked in vain are harmless and stay for the next time. Then
 * follows the commit, which cannot fail, under the CPU's own cell. A 2 MiB that
 * once had small pages keeps its chunk, and so is never asked of the engine as one
 * leaf again while its tables stand.
 *
 * The map is locked meanwhile: of vcpus that touch one page at the same time the
 * first finds it absent, the others find it mapped and go on.
 */
#include "memmgr/internal.h"

/* The part that cannot fail: frame table, counts, stage-2. The map's entry is the caller's. @c is held. */
static inline void commit(struct gpmap *map, struct cell *c, uint64_t first, uint32_t frame, enum leaf_size size,
			  enum touch how)
{
	unsigned order = leaf_order[size];

	frame_give_guest(map->mm, c, frame, order, map->owner, first);
	map->present_pages += BIT(order);
	map->leaves[size]++;
	c->promised -= BIT(order);
	c->touched[how]++;
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

static void commit_large(struct gpmap *map, struct cell *c, uint64_t first, uint32_t frame, enum leaf_size size)
{
	unsigned order = leaf_order[size];

	for (uint64_t at = 0; at < BIT(order); at += CHUNK_PAGES)
		gp_store(&map->dir[(first + at) >> CHUNK_SHIFT], gp_entry(GP_PRESENT, order, frame + (uint32_t)at));
	commit(map, c, first, frame, size, size == LEAF_1G ? TOUCH_1G : TOUCH_2M);
}

/* False when there is no room for the leaf, or no cleared block after all. */
static bool place_large(struct gpmap *map, uint64_t gfn_in, enum leaf_size size)
{
	unsigned order = leaf_order[size];
	uint64_t first = align_down(gfn_in, BIT(order));
	struct cell *c;
	uint32_t frame;

	if (!wholly_absent(map, first, order))
		return false;
	if (map->ops->map_prepare(map->s2, gfn(first), order) != ST_OK)
		return false;
	c = cell_lock(map->mm);
	frame = cell_take_cleared(map->mm, c, size);
	if (likely(frame != FRAME_NIL))
		commit_large(map, c, first, frame, size);
	cell_unlock(c);
	return frame != FRAME_NIL;
}

/* ---- 4 KiB ---- */

/* What no pool had, cleared here; FRAME_NIL when memory is out. */
__attribute__((noinline)) static uint32_t take_inline(struct memmgr *mm, struct cell *c)
{
	uint32_t frame = block_take(mm, c, ORDER_4K);

	if (frame != FRAME_NIL)
		clear_block(mm, frame, ORDER_4K);
	return frame;
}

/* Into @slot of the 2 MiB's chunk, which is put into the directory first if @chunk is not FRAME_NIL. */
static inline enum status place_small(struct gpmap *map, uint64_t gfn_at, uint64_t *slot, uint32_t chunk)
{
	enum touch how = TOUCH_POOL;
	enum status st = map->ops->map_prepare(map->s2, gfn(gfn_at), ORDER_4K);
	uint32_t frame;
	struct cell *c;

	if (unlikely(st != ST_OK))
		return st;
	c = cell_lock(map->mm);
	frame = cell_take_cleared(map->mm, c, LEAF_4K);
	if (unlikely(frame == FRAME_NIL)) {
		how = TOUCH_INLINE;
		frame = take_inline(map->mm, c);
	}
	if (likely(frame != FRAME_NIL)) {
		gp_store(slot, gp_entry(GP_PRESENT, ORDER_4K, frame));
		if (unlikely(chunk != FRAME_NIL))
			gpmap_chunk_link(map, &map->dir[gfn_at >> CHUNK_SHIFT], chunk);
		commit(map, c, gfn_at, frame, LEAF_4K, how);
	}
	cell_unlock(c);
	return likely(frame != FRAME_NIL) ? ST_OK : ST_NO_MEMORY;
}

/* Into a 2 MiB that is wholly absent: large if it can be, else with a new chunk. */
__attribute__((noinline)) static enum status place_first(struct gpmap *map, uint64_t gfn_at)
{
	uint64_t *entries;
	uint32_t chunk;
	enum status st;

	if (frame_list_peek(&map->mm->pool[LEAF_1G]) && place_large(map, gfn_at, LEAF_1G))
		return ST_OK;
	if (cell_has_cleared(map->mm, LEAF_2M) && place_large(map, gfn_at, LEAF_2M))
		return ST_OK;
	if (!gpmap_chunk_take(map, true, &chunk))
		return ST_NO_MEMORY;
	entries = frame_va(map->mm, chunk);
	st = place_small(map, gfn_at, &entries[gfn_at & (CHUNK_PAGES - 1)], chunk);
	if (st != ST_OK)
		gpmap_chunk_free(map, chunk);
	return st;
}

/* Populates an absent page, whose entry is *@slot. */
static inline enum status populate(struct gpmap *map, uint64_t gfn_at, uint64_t *slot)
{
	if (likely(gp_state(map->dir[gfn_at >> CHUNK_SHIFT]) == GP_CHUNK))
		return place_small(map, gfn_at, slot, FRAME_NIL);
	return place_first(map, gfn_at);
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

static inline enum status fault(struct gpmap *map, gfn_t gfn, unsigned access)
{
	uint64_t *slot = &map->dir[gfn.v >> CHUNK_SHIFT], entry = *slot;
	bool small = gp_state(entry) == GP_CHUNK;

	if (unlikely(map->releasing))
		return ST_BAD_STATE;
	if (likely(small))
		slot = &gpmap_chunk(map, entry)[gfn.v & (CHUNK_PAGES - 1)];
	if (unlikely(gp_state(*slot) != GP_ABSENT))
		return gp_state(*slot) == GP_NONE ? ST_BAD_ADDRESS : fault_again(map, gfn, access);
	return likely(small) ? place_small(map, gfn.v, slot, FRAME_NIL) : place_first(map, gfn.v);
}

enum status gpmap_fault(struct gpmap *map, gfn_t gfn, unsigned access)
{
	enum status st;

	/* Devices come here at each access: they take no lock. */
	if (unlikely(gfn.v >= map->gfn_limit || gp_state(gp_load(&map->dir[gfn.v >> CHUNK_SHIFT])) == GP_NONE))
		return ST_BAD_ADDRESS;
	lock_acquire(&map->lock);
	st = fault(map, gfn, access);
	lock_release(&map->lock);
	return st;
}

enum status gpmap_populate_locked(struct gpmap *map, gfn_t gfn, void **va)
{
	uint64_t *slot, entry;
	enum status st;

	if (gfn.v >= map->gfn_limit)
		return ST_BAD_ADDRESS;
	if (map->releasing)
		return ST_BAD_STATE;
	slot = gpmap_slot(map, gfn.v);
	if (gp_state(*slot) == GP_NONE)
		return ST_BAD_ADDRESS;
	if (gp_state(*slot) == GP_ABSENT) {
		st = populate(map, gfn.v, slot);
		if (st != ST_OK)
			return st;
	}
	entry = gpmap_lookup(map, gfn.v);
	*va = frame_va(map->mm, gpmap_frame(entry, gfn.v));
	return ST_OK;
}

__attribute__((noinline)) static enum status populate_absent(struct gpmap *map, gfn_t gfn, void **va)
{
	enum status st;

	lock_acquire(&map->lock);
	st = gpmap_populate_locked(map, gfn, va);
	lock_release(&map->lock);
	return st;
}

/* Emulation comes here for each operand, RAM or not: only what is absent takes the lock. */
enum status gpmap_populate(struct gpmap *map, gfn_t gfn, void **va)
{
	uint64_t entry;

	if (unlikely(gfn.v >= map->gfn_limit))
		return ST_BAD_ADDRESS;
	entry = gpmap_lookup(map, gfn.v);
	if (unlikely(gp_state(entry) == GP_ABSENT || __atomic_load_n(&map->releasing, __ATOMIC_RELAXED)))
		return populate_absent(map, gfn, va);
	if (gp_state(entry) == GP_NONE)
		return ST_BAD_ADDRESS;
	*va = frame_va(map->mm, gpmap_frame(entry, gfn.v));
	return ST_OK;
}
