/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's page map: made, declared, looked up, counted, freed. Two levels: a
 * directory entry per 2 MiB says for the whole of it "no RAM", "absent" or
 * "present in a large leaf", and only where pages differ names a chunk of 512
 * entries. Large leaves therefore cost 8 bytes per 2 MiB, small ones 8 bytes a page.
 *
 * RAM is admitted when it is declared: what all maps may still ask for, and the
 * chunks and stage-2 tables that go with it, stays within what is free. This
 * slice has no means to take memory back from a guest, so a promise is a floor.
 * Both sums are spread over the CPUs' cells, which stand still while it is decided.
 */
#include "memmgr/internal.h"

#define GFN_LIMIT_MAX BIT(36) /* 256 TiB: the directory is then one block of the largest order */
#define HEADROOM_FIXED 8      /* upper stage-2 levels and the chunks at both edges of a range */

/* ---- making and freeing ---- */

static unsigned order_for(uint64_t bytes)
{
	uint64_t pages = (bytes + PAGE_SIZE - 1) >> PAGE_SHIFT;

	return pages <= 1 ? 0 : bit_highest(pages - 1) + 1;
}

static uint64_t map_bytes(uint64_t gfn_limit)
{
	return sizeof(struct gpmap) + ((gfn_limit + CHUNK_PAGES - 1) >> CHUNK_SHIFT) * sizeof(uint64_t);
}

static uint64_t chunks_for(uint64_t pages) { return (pages + CHUNK_PAGES - 1) >> CHUNK_SHIFT; }

uint64_t gpmap_overhead_bytes(uint64_t gfn_limit, uint64_t ram_pages)
{
	/* A second range may begin in the middle of a chunk. */
	uint64_t chunks = MIN(chunks_for(gfn_limit), chunks_for(ram_pages) + 1);

	return (BIT(order_for(map_bytes(gfn_limit))) + chunks) << PAGE_SHIFT;
}

static bool owner_has_map(const struct memmgr *mm, uint16_t owner)
{
	list_for_each(it, &mm->maps) {
		if (list_entry(it, struct gpmap, node)->owner == owner)
			return true;
	}
	return false;
}

/* Puts the map into the list; false when its owner has one. */
static bool enlist(struct gpmap *map)
{
	struct memmgr *mm = map->mm;
	struct cell *c = cell_lock(mm);
	bool first;

	lock_acquire(&mm->lock);
	first = !owner_has_map(mm, map->owner);
	if (first)
		list_push_back(&mm->maps, &map->node);
	lock_release(&mm->lock);
	cell_unlock(c);
	return first;
}

enum status gpmap_create(struct memmgr *mm, uint16_t owner, uint64_t gfn_limit, const struct stage2_ops *ops,
			 struct stage2 *s2, struct gpmap **out)
{
	struct gpmap *map;
	enum status st;
	hfn_t frame;
	unsigned order;

	if (owner == OWNER_HOST || gfn_limit == 0)
		return ST_INVALID;
	order = gfn_limit < GFN_LIMIT_MAX ? order_for(map_bytes(gfn_limit)) : MEMMGR_MAX_ORDER + 1;
	if (order > MEMMGR_MAX_ORDER)
		return ST_OVER_LIMIT;
	st = memmgr_alloc(mm, order, &frame);
	if (st != ST_OK)
		return st;

	map = memmgr_va(mm, frame);
	*map = (struct gpmap){
		.mm = mm, .ops = ops, .s2 = s2, .gfn_limit = gfn_limit, .owner = owner, .order = (uint8_t)order};
	for (uint64_t i = 0; i < gpmap_dir_count(map); i++)
		map->dir[i] = gp_entry(GP_NONE, 0, 0);
	lock_init(&map->lock, LOCK_STAGE2);
	frame_fifo_init(&map->leaving);
	list_init(&map->leaving_node);
	if (!enlist(map)) {
		memmgr_free(mm, frame, order);
		return ST_EXISTS;
	}
	*out = map;
	return ST_OK;
}

/*
 * Who polls may have found the map in the list of those with frames leaving: then it holds the lock. With none
 * leaving nobody finds it any more.
 */
static bool is_released(struct gpmap *map)
{
	bool empty;

	lock_acquire(&map->lock);
	empty = map->present_pages == 0 && map->ram_pages == 0 && map->chunks == 0 && map->leaving.head == FRAME_NIL;
	lock_release(&map->lock);
	return empty;
}

void gpmap_destroy(struct gpmap *map)
{
	struct memmgr *mm = map->mm;
	struct cell *c;

	ASSERT(is_released(map));
	c = cell_lock(mm);
	lock_acquire(&mm->lock);
	list_remove(&map->node);
	c->promised -= map->headroom;
	lock_release(&mm->lock);
	cell_unlock(c);
	memmgr_free(mm, memmgr_hfn(mm, map), map->order);
}

bool gpmap_chunk_take(struct gpmap *map, bool absent, uint32_t *out)
{
	enum status st;
	hfn_t frame;

	st = absent ? memmgr_alloc_zero(map->mm, 0, &frame) : memmgr_alloc(map->mm, 0, &frame);
	if (st != ST_OK)
		return false;
	*out = (uint32_t)frame.v;
	return true;
}

void gpmap_chunk_free(struct gpmap *map, uint32_t chunk) { memmgr_free(map->mm, hfn(chunk), 0); }

/* ---- declaring RAM ---- */

static bool range_is_none(const struct gpmap *map, uint64_t start, uint64_t end)
{
	while (start < end) {
		uint64_t entry = map->dir[start >> CHUNK_SHIFT];

		if (gp_state(gpmap_lookup(map, start)) != GP_NONE)
			return false;
		/* An entry for the whole 2 MiB answers for the rest of it. */
		start = gp_state(entry) == GP_CHUNK ? start + 1 : align_down(start, CHUNK_PAGES) + CHUNK_PAGES;
	}
	return true;
}

/* The frames that @pages of RAM may take besides themselves: a chunk and a stage-2 table per 2 MiB. */
static uint64_t headroom_for(uint64_t pages)
{
	return 2 * ((pages >> CHUNK_SHIFT) + 1) + (pages >> ORDER_1G) + HEADROOM_FIXED;
}

/* Makes @gfn's 2 MiB a chunk of GP_NONE, when the range covers it in part only. */
static bool make_edge_chunk(struct gpmap *map, uint64_t gfn)
{
	uint64_t *dir = &map->dir[gfn >> CHUNK_SHIFT], *entries;
	struct cell *c;
	uint32_t chunk;

	if (gp_state(*dir) == GP_CHUNK)
		return true;
	if (!gpmap_chunk_take(map, false, &chunk))
		return false;
	entries = frame_va(map->mm, chunk);
	for (unsigned i = 0; i < CHUNK_PAGES; i++)
		entries[i] = gp_entry(GP_NONE, 0, 0);
	c = cell_lock(map->mm);
	gpmap_chunk_link(map, dir, chunk);
	cell_unlock(c);
	return true;
}

/*
 * An edge chunk that a failure leaves behind says the same as the entry it
 * replaced, and the release frees it.
 */
static bool make_edges(struct gpmap *map, uint64_t start, uint64_t end)
{
	if (!is_aligned(start, CHUNK_PAGES) && !make_edge_chunk(map, start))
		return false;
	return is_aligned(end, CHUNK_PAGES) || make_edge_chunk(map, end - 1);
}

static void declare(struct gpmap *map, uint64_t start, uint64_t end)
{
	while (start < end) {
		uint64_t *entry = &map->dir[start >> CHUNK_SHIFT];

		if (gp_state(*entry) == GP_CHUNK) {
			gp_store(&gpmap_chunk(map, *entry)[start & (CHUNK_PAGES - 1)], gp_entry(GP_ABSENT, 0, 0));
			start++;
		} else {
			gp_store(entry, gp_entry(GP_ABSENT, 0, 0));
			start += CHUNK_PAGES;
		}
	}
}

/* Promises @want more frames if that many are neither taken nor promised. */
static bool admit(struct gpmap *map, uint64_t want)
{
	struct memmgr *mm = map->mm;
	uint64_t free, promised;
	bool fits;

	cells_stop(mm);
	free = cells_count(mm, FRAME_FREE);
	promised = cells_promised(mm);
	fits = promised <= free && want <= free - promised;
	if (fits) {
		/* As headroom, of which the pages become RAM when they are declared. */
		mm->cells[0].promised += want;
		map->headroom += want;
	}
	cells_go(mm);
	return fits;
}

static void take_back(struct gpmap *map, uint64_t want)
{
	struct cell *c = cell_lock(map->mm);

	c->promised -= want;
	map->headroom -= want;
	cell_unlock(c);
}

static enum status add_ram(struct gpmap *map, uint64_t start, uint64_t pages)
{
	uint64_t want = pages + headroom_for(pages);
	struct cell *c;

	if (map->releasing)
		return ST_BAD_STATE;
	if (pages == 0 || start > map->gfn_limit || pages > map->gfn_limit - start)
		return ST_INVALID;
	if (!range_is_none(map, start, start + pages))
		return ST_EXISTS;
	if (!admit(map, want))
		return ST_NOT_ADMITTED;
	if (!make_edges(map, start, start + pages)) {
		take_back(map, want);
		return ST_NO_MEMORY;
	}
	c = cell_lock(map->mm);
	declare(map, start, start + pages);
	map->ram_pages += pages;
	map->headroom -= pages;
	cell_unlock(c);
	return ST_OK;
}

enum status gpmap_add_ram(struct gpmap *map, gfn_t start, uint64_t pages)
{
	enum status st;

	lock_acquire(&map->lock);
	st = add_ram(map, start.v, pages);
	lock_release(&map->lock);
	return st;
}

/* ---- looking up ---- */

enum leaf_size leaf_size_of(unsigned order)
{
	switch (order) {
	case ORDER_4K:
		return LEAF_4K;
	case ORDER_2M:
		return LEAF_2M;
	default:
		ASSERT(order == ORDER_1G);
		return LEAF_1G;
	}
}

void *gpmap_va(const struct gpmap *map, gfn_t gfn)
{
	uint64_t entry;

	if (gfn.v >= map->gfn_limit)
		return NULL;
	entry = gpmap_lookup(map, gfn.v);
	if (gp_state(entry) != GP_PRESENT)
		return NULL;
	return frame_va(map->mm, gpmap_frame(entry, gfn.v));
}

const uint64_t *gpmap_generation(const struct gpmap *map) { return &map->generation; }

void gpmap_stats(const struct gpmap *of, struct gpmap_stats *out)
{
	struct gpmap *map = (struct gpmap *)of; /* the lock is no part of what is asked */

	lock_acquire(&map->lock);
	*out = (struct gpmap_stats){
		.ram_pages = map->ram_pages,
		.present_pages = map->present_pages,
		.leaves_4k = map->leaves[LEAF_4K],
		.leaves_2m = map->leaves[LEAF_2M],
		.leaves_1g = map->leaves[LEAF_1G],
		.pins = map->pins,
		.leaving_pages = map->leaving.frames,
		.overhead_bytes = (BIT(map->order) + map->chunks) << PAGE_SHIFT,
	};
	lock_release(&map->lock);
}
