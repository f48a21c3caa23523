/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages that devices use: their host address is known outside of an exit, so they
 * stay. The count is the leaf's, in the frame table's entry of its first frame: a
 * page of a large leaf keeps the whole of it, which costs memory management little
 * (rings are few, data is pinned for the length of a request) and a pin no more
 * than an addition under the map's lock.
 */
#include "memmgr/internal.h"

/* Of the leaf over @gfn_at, whose entry is @entry: its first page and frame. */
struct leaf_place {
	uint64_t first;
	uint32_t frame;
};

static struct leaf_place place_of(uint64_t entry, uint64_t gfn_at)
{
	uint64_t first = align_down(gfn_at, BIT(gp_order(entry)));

	return (struct leaf_place){first, gpmap_frame(entry, gfn_at) - (uint32_t)(gfn_at - first)};
}

static void count_pin(struct gpmap *map, uint32_t frame, bool more)
{
	struct cell *c = cell_lock(map->mm);

	frame_pin(map->mm, frame, more);
	map->pins += more ? 1 : (uint64_t)-1;
	cell_unlock(c);
}

static enum status pin_locked(struct gpmap *map, gpa_t at, void **va, uint64_t *bytes)
{
	uint64_t gfn_at = gpa_to_gfn(at).v, entry, room;
	struct leaf_place leaf;
	void *page;
	enum status st = gpmap_populate_locked(map, gpa_to_gfn(at), &page);

	if (st != ST_OK)
		return st;
	entry = gpmap_lookup(map, gfn_at);
	leaf = place_of(entry, gfn_at);
	if (frame_pins(map->mm, leaf.frame) == UINT32_MAX)
		return ST_OVER_LIMIT;
	count_pin(map, leaf.frame, true);
	*va = (uint8_t *)page + (at.v & PAGE_MASK);
	room = ((leaf.first + BIT(gp_order(entry))) << PAGE_SHIFT) - at.v;
	*bytes = MIN(*bytes, room);
	return ST_OK;
}

enum status gpmap_pin(struct gpmap *map, gpa_t at, void **va, uint64_t *bytes)
{
	enum status st;

	lock_acquire(&map->lock);
	st = pin_locked(map, at, va, bytes);
	lock_release(&map->lock);
	return st;
}

/* A pinned leaf is neither split nor taken: what decided then decides now. */
void gpmap_unpin(struct gpmap *map, gpa_t at)
{
	uint64_t gfn_at = gpa_to_gfn(at).v, entry;

	lock_acquire(&map->lock);
	ASSERT(gfn_at < map->gfn_limit);
	entry = gpmap_lookup(map, gfn_at);
	ASSERT(gp_state(entry) == GP_PRESENT && gpmap_is_pinned(map, gfn_at));
	count_pin(map, place_of(entry, gfn_at).frame, false);
	lock_release(&map->lock);
}

bool gpmap_is_pinned(const struct gpmap *map, uint64_t gfn_at)
{
	return frame_pins(map->mm, place_of(gpmap_lookup(map, gfn_at), gfn_at).frame) != 0;
}
