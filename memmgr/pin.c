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

static inline struct leaf_place place_of(uint64_t entry, uint64_t gfn_at)
{
	uint64_t first = align_down(gfn_at, BIT(gp_order(entry)));

	return (struct leaf_place){first, gpmap_frame(entry, gfn_at) - (uint32_t)(gfn_at - first)};
}

/*
 * The map's lock is all that this takes: a device pins and unpins for each request. The walk that adds pins up
 * (check.c) compares them only when nobody had that lock meanwhile.
 */
static inline void count_pin(struct gpmap *map, uint32_t frame, uint32_t change)
{
	struct frame *f = &map->mm->table[frame];

	ASSERT(f->state == FRAME_GUEST);
	__atomic_store_n(&f->next, f->next + change, __ATOMIC_RELAXED);
	__atomic_store_n(&map->pins, map->pins + (uint64_t)(int32_t)change, __ATOMIC_RELAXED);
}

__attribute__((always_inline)) static inline enum status pin_present(struct gpmap *map, uint64_t entry, gpa_t at,
								     void **va, uint64_t *bytes)
{
	uint64_t gfn_at = gpa_to_gfn(at).v;
	struct leaf_place leaf = place_of(entry, gfn_at);
	uint64_t end = (leaf.first + BIT(gp_order(entry))) << PAGE_SHIFT;

	if (unlikely(frame_pins(map->mm, leaf.frame) == UINT32_MAX))
		return ST_OVER_LIMIT;
	count_pin(map, leaf.frame, 1);
	*va = (uint8_t *)frame_va(map->mm, leaf.frame) + (at.v - (leaf.first << PAGE_SHIFT));
	*bytes = MIN(*bytes, end - at.v);
	return ST_OK;
}

__attribute__((noinline)) static enum status pin_absent(struct gpmap *map, gpa_t at, void **va, uint64_t *bytes)
{
	void *page;
	enum status st = gpmap_populate_locked(map, gpa_to_gfn(at), &page);

	return st == ST_OK ? pin_present(map, gpmap_lookup(map, gpa_to_gfn(at).v), at, va, bytes) : st;
}

enum status gpmap_pin(struct gpmap *map, gpa_t at, void **va, uint64_t *bytes)
{
	uint64_t gfn_at = gpa_to_gfn(at).v, entry = 0;
	enum status st;

	lock_acquire(&map->lock);
	if (likely(gfn_at < map->gfn_limit && !map->releasing))
		entry = gpmap_lookup(map, gfn_at);
	if (likely(gp_state(entry) == GP_PRESENT))
		st = pin_present(map, entry, at, va, bytes);
	else
		st = pin_absent(map, at, va, bytes);
	lock_release(&map->lock);
	return st;
}

/* A pinned leaf is neither split nor taken: what decided then decides now. */
void gpmap_unpin(struct gpmap *map, gpa_t at)
{
	uint64_t gfn_at = gpa_to_gfn(at).v, entry;
	uint32_t frame;

	lock_acquire(&map->lock);
	ASSERT(gfn_at < map->gfn_limit);
	entry = gpmap_lookup(map, gfn_at);
	ASSERT(gp_state(entry) == GP_PRESENT);
	frame = place_of(entry, gfn_at).frame;
	ASSERT(frame_pins(map->mm, frame) != 0);
	count_pin(map, frame, UINT32_MAX);
	lock_release(&map->lock);
}

bool gpmap_is_pinned(const struct gpmap *map, uint64_t gfn_at)
{
	return frame_pins(map->mm, place_of(gpmap_lookup(map, gfn_at), gfn_at).frame) != 0;
}
