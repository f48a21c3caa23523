/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages that devices use: their host address is known outside of an exit, so they
 * stay. The count is the leaf's, in the frame table's entry of its first frame: a
 * page of a large leaf keeps the whole of it, which costs memory management little
 * (rings are few, data is pinned for the length of a request) and a pin no more
 * than an addition under the map's lock.
 */
#include "memmgr/internal.h"

/*
 * The first frame of the leaf that @entry is of, by how far from the leaf's first byte the address lies. An entry names
 * its own leaf, but for those of more than 2 MiB: there it names the first frame of its 2 MiB.
 */
static inline uint32_t leaf_frame(uint64_t entry, uint64_t offset)
{
	return gp_frame(entry) - (uint32_t)align_down(offset >> PAGE_SHIFT, CHUNK_PAGES);
}

static inline uint64_t leaf_bytes(uint64_t entry) { return PAGE_SIZE << gp_order(entry); }

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
								     struct gpmap_pin *out)
{
	uint64_t size = leaf_bytes(entry), offset = at.v & (size - 1);
	uint32_t frame = leaf_frame(entry, offset);
	uint8_t *leaf = frame_va(map->mm, frame);

	if (unlikely(frame_pins(map->mm, frame) == UINT32_MAX))
		return ST_OVER_LIMIT;
	count_pin(map, frame, 1);
	out->va = leaf + offset;
	out->bytes = size - offset;
	out->leaf = frame;
	return ST_OK;
}

/* Not by what the map has at hand. The lock is held, and released. Out of line, so that a pin saves no registers. */
__attribute__((noinline)) static enum status pin_absent(struct gpmap *map, gpa_t at, struct gpmap_pin *out)
{
	void *page;
	enum status st = gpmap_populate_locked(map, gpa_to_gfn(at), &page);

	if (st == ST_OK)
		st = pin_present(map, gpmap_lookup(map, gpa_to_gfn(at).v), at, out);
	lock_release(&map->lock);
	return st;
}

enum status gpmap_pin(struct gpmap *map, gpa_t at, struct gpmap_pin *out)
{
	uint64_t gfn_at = gpa_to_gfn(at).v, entry;
	enum status st;

	lock_acquire(&map->lock);
	if (unlikely(gfn_at >= map->gfn_limit || map->releasing))
		return pin_absent(map, at, out);
	entry = gpmap_lookup(map, gfn_at);
	if (unlikely(gp_state(entry) != GP_PRESENT))
		return pin_absent(map, at, out);
	st = pin_present(map, entry, at, out);
	lock_release(&map->lock);
	return st;
}

/* A pinned leaf is neither split nor taken: it is what it was then. */
void gpmap_unpin(struct gpmap *map, uint32_t leaf)
{
	lock_acquire(&map->lock);
	ASSERT(leaf < map->mm->frames && frame_get(map->mm, leaf)->owner == map->owner);
	ASSERT(frame_pins(map->mm, leaf) != 0);
	count_pin(map, leaf, UINT32_MAX);
	lock_release(&map->lock);
}

bool gpmap_is_pinned(const struct gpmap *map, uint64_t gfn_at)
{
	uint64_t entry = gpmap_lookup(map, gfn_at);

	return frame_pins(map->mm, leaf_frame(entry, (gfn_at << PAGE_SHIFT) & (leaf_bytes(entry) - 1))) != 0;
}
