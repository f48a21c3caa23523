/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving a guest a page on first touch: the exit path's part of the room. The
 * largest leaf wins whose range is wholly absent RAM and for which a cleared
 * block is ready; else 4 KiB, from the pool or cleared on the spot.
 *
 * What can fail comes first (a frame, a chunk, the stage-2 tables, in that
 * order) and is undone on failure; then follows the commit, which cannot fail.
 * A 2 MiB that once had small pages keeps its chunk, and so is never asked of
 * the engine as one leaf again while its tables stand.
 */
#include "memmgr/internal.h"

struct placement {
	uint64_t gfn; /* first page of the leaf */
	enum leaf_size size;
	uint32_t frame;
	bool from_pool;
};

/* Puts back what a failed prepare does not need. */
static void unplace(struct memmgr *mm, const struct placement *p)
{
	if (p->from_pool)
		clear_put_back(mm, p->size, p->frame);
	else
		buddy_give(mm, p->frame, leaf_order[p->size]);
}

/* The part that cannot fail: frame table, counts, stage-2. The map's entry is the caller's. */
static void commit(struct gpmap *map, const struct placement *p)
{
	struct memmgr *mm = map->mm;
	unsigned order = leaf_order[p->size];

	frame_change(mm, p->frame, FRAME_GUEST, map->owner, p->gfn);
	map->present_pages += BIT(order);
	map->leaves[p->size]++;
	mm->promised -= BIT(order);
	map->ops->map_commit(map->s2, gfn(p->gfn), hfn(p->frame), order, S2_RWX, S2_WB);
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

static bool place_large(struct gpmap *map, uint64_t gfn_in, enum leaf_size size)
{
	unsigned order = leaf_order[size];
	struct placement p = {.gfn = align_down(gfn_in, BIT(order)), .size = size, .from_pool = true};

	if (!clear_ready(map->mm, size) || !wholly_absent(map, p.gfn, order))
		return false;
	if (map->ops->map_prepare(map->s2, gfn(p.gfn), order) != ST_OK)
		return false;
	clear_take(map->mm, size, &p.frame);
	for (uint64_t at = 0; at < BIT(order); at += CHUNK_PAGES)
		map->dir[(p.gfn + at) >> CHUNK_SHIFT] = gp_entry(GP_PRESENT, order, p.frame + (uint32_t)at);
	commit(map, &p);
	return true;
}

/* ---- 4 KiB ---- */

/* Takes the frame, cleared unless @overwrite. */
static bool take_page(struct memmgr *mm, struct placement *p, bool overwrite)
{
	p->from_pool = !overwrite && clear_take(mm, LEAF_4K, &p->frame);
	if (p->from_pool)
		return true;
	if (!block_take(mm, ORDER_4K, &p->frame))
		return false;
	if (!overwrite)
		clear_block(mm, p->frame, ORDER_4K);
	return true;
}

static enum status place_small(struct gpmap *map, struct placement *p, bool overwrite)
{
	uint64_t *dir = &map->dir[p->gfn >> CHUNK_SHIFT];
	bool new_chunk = gp_state(*dir) != GP_CHUNK;
	uint32_t chunk = gp_frame(*dir);
	enum status st;

	if (!take_page(map->mm, p, overwrite))
		return ST_NO_MEMORY;
	if (new_chunk && !gpmap_chunk_take(map, GP_ABSENT, &chunk)) {
		unplace(map->mm, p);
		return ST_NO_MEMORY;
	}
	st = map->ops->map_prepare(map->s2, gfn(p->gfn), ORDER_4K);
	if (st != ST_OK) {
		if (new_chunk)
			gpmap_chunk_free(map, chunk);
		unplace(map->mm, p);
		return st;
	}
	*dir = gp_entry(GP_CHUNK, 0, chunk);
	gpmap_chunk(map, *dir)[p->gfn & (CHUNK_PAGES - 1)] = gp_entry(GP_PRESENT, ORDER_4K, p->frame);
	commit(map, p);
	return ST_OK;
}

/* Populates an absent page; *p says how. */
static enum status populate(struct gpmap *map, uint64_t gfn, bool overwrite, struct placement *p)
{
	if (gp_state(map->dir[gfn >> CHUNK_SHIFT]) == GP_ABSENT) {
		for (unsigned size = LEAF_1G; size > LEAF_4K; size--) {
			p->size = (enum leaf_size)size;
			if (place_large(map, gfn, p->size))
				return ST_OK;
		}
	}
	*p = (struct placement){.gfn = gfn, .size = LEAF_4K};
	return place_small(map, p, overwrite);
}

/* ---- the callers ---- */

/* A fault on a present page: another vcpu or a stale translation was faster, or the engine refuses @access. */
static enum status fault_again(struct gpmap *map, gfn_t gfn, unsigned access)
{
	struct s2_leaf leaf;

	if (!map->ops->lookup(map->s2, gfn, &leaf) || (leaf.prot & access) != access)
		return ST_BAD_STATE;
	return ST_OK;
}

enum status gpmap_fault(struct gpmap *map, gfn_t gfn, unsigned access)
{
	struct memmgr *mm = map->mm;
	struct placement p;
	enum status st;
	uint64_t entry;

	if (gfn.v >= map->gfn_limit)
		return ST_BAD_ADDRESS;
	if (map->releasing)
		return ST_BAD_STATE;
	entry = gpmap_lookup(map, gfn.v);
	if (gp_state(entry) == GP_NONE)
		return ST_BAD_ADDRESS;
	if (gp_state(entry) == GP_PRESENT)
		return fault_again(map, gfn, access);
	st = populate(map, gfn.v, false, &p);
	if (st != ST_OK)
		return st;
	mm->touched[p.size]++;
	mm->touched_inline += p.size == LEAF_4K && !p.from_pool;
	return ST_OK;
}

enum status gpmap_populate(struct gpmap *map, gfn_t gfn, bool overwrite, void **va)
{
	struct placement p;
	enum status st;
	uint64_t entry;

	if (gfn.v >= map->gfn_limit)
		return ST_BAD_ADDRESS;
	if (map->releasing)
		return ST_BAD_STATE;
	entry = gpmap_lookup(map, gfn.v);
	if (gp_state(entry) == GP_NONE)
		return ST_BAD_ADDRESS;
	if (gp_state(entry) == GP_ABSENT) {
		st = populate(map, gfn.v, overwrite, &p);
		if (st != ST_OK)
			return st;
		entry = gpmap_lookup(map, gfn.v);
	}
	*va = frame_va(map->mm, gpmap_frame(entry, gfn.v));
	return ST_OK;
}
