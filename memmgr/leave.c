/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking pages from a guest. A frame whose translation some CPU may still hold
 * is LEAVING: it waits in the map's queue with the flush ticket that the engine
 * gave, and is free when the ticket is done. Tickets of one stage-2 only grow,
 * so the queue is in order and a poll looks at its front alone. Nobody waits.
 */
#include "memmgr/internal.h"

/* ---- leaving ---- */

static void free_block(struct memmgr *mm, uint32_t frame)
{
	unsigned order = frame_get(mm, frame)->order;

	frame_change(mm, frame, FRAME_FREE, HELD_BY_TAKER, 0);
	buddy_give(mm, frame, order);
}

static void leave(struct gpmap *map, uint32_t frame, struct flush_ticket ticket)
{
	struct memmgr *mm = map->mm;

	if (ticket.generation == 0) {
		free_block(mm, frame);
		return;
	}
	frame_change(mm, frame, FRAME_LEAVING, map->owner, ticket.generation);
	if (map->leaving.head == FRAME_NIL)
		list_push_back(&mm->leaving_maps, &map->leaving_node);
	frame_fifo_push(mm, &map->leaving, frame);
}

uint64_t gpmap_drain(struct gpmap *map, uint64_t blocks)
{
	struct memmgr *mm = map->mm;
	uint64_t done = 0;

	while (done < blocks && map->leaving.head != FRAME_NIL) {
		struct flush_ticket ticket = {.generation = frame_get(mm, map->leaving.head)->word};

		if (!map->ops->flush_done(map->s2, ticket))
			break;
		free_block(mm, frame_fifo_pop(mm, &map->leaving));
		done++;
	}
	if (map->leaving.head == FRAME_NIL)
		list_remove(&map->leaving_node);
	return done;
}

/* Removes the leaf at @gfn, whose entries the caller rewrites, and lets its frame leave. */
static void unmap_leaf(struct gpmap *map, uint64_t first, uint32_t frame, enum leaf_size size)
{
	unsigned order = leaf_order[size];

	map->present_pages -= BIT(order);
	map->leaves[size]--;
	leave(map, frame, map->ops->unmap(map->s2, gfn(first), order));
}

/* ---- splitting ---- */

/* 1 GiB into 512 leaves of 2 MiB: the directory's entries change only in the order they state. */
static enum status split_1g(struct gpmap *map, uint64_t gfn_in)
{
	uint64_t first = align_down(gfn_in, BIT(ORDER_1G));
	uint32_t frame = gp_frame(map->dir[first >> CHUNK_SHIFT]);
	enum status st = map->ops->split_prepare(map->s2, gfn(first), ORDER_2M);

	if (st != ST_OK)
		return st;
	frame_split_guest(map->mm, frame, ORDER_2M);
	for (uint64_t at = 0; at < BIT(ORDER_1G); at += CHUNK_PAGES)
		map->dir[(first + at) >> CHUNK_SHIFT] = gp_entry(GP_PRESENT, ORDER_2M, frame + (uint32_t)at);
	map->leaves[LEAF_1G]--;
	map->leaves[LEAF_2M] += BIT(ORDER_1G - ORDER_2M);
	/* The same translations in smaller pieces: a stale large one is harmless until the unmap's own ticket. */
	map->ops->split_commit(map->s2, gfn(first), ORDER_2M);
	return ST_OK;
}

static enum status split_2m(struct gpmap *map, uint64_t gfn_in)
{
	uint64_t first = align_down(gfn_in, CHUNK_PAGES);
	uint64_t *dir = &map->dir[first >> CHUNK_SHIFT];
	uint64_t *entries;
	uint32_t frame = gp_frame(*dir), chunk;
	enum status st;

	if (!gpmap_chunk_take(map, false, &chunk))
		return ST_NO_MEMORY;
	st = map->ops->split_prepare(map->s2, gfn(first), ORDER_4K);
	if (st != ST_OK) {
		gpmap_chunk_free(map, chunk);
		return st;
	}
	frame_split_guest(map->mm, frame, ORDER_4K);
	*dir = gp_entry(GP_CHUNK, 0, chunk);
	entries = gpmap_chunk(map, *dir);
	for (uint32_t i = 0; i < CHUNK_PAGES; i++)
		entries[i] = gp_entry(GP_PRESENT, ORDER_4K, frame + i);
	map->leaves[LEAF_2M]--;
	map->leaves[LEAF_4K] += CHUNK_PAGES;
	map->ops->split_commit(map->s2, gfn(first), ORDER_4K);
	return ST_OK;
}

enum status gpmap_remove(struct gpmap *map, gfn_t gfn)
{
	enum status st = ST_OK;
	uint64_t *slot;
	uint32_t frame;

	if (gfn.v >= map->gfn_limit || gp_state(gpmap_lookup(map, gfn.v)) == GP_NONE)
		return ST_BAD_ADDRESS;
	if (gp_state(gpmap_lookup(map, gfn.v)) != GP_PRESENT)
		return ST_BAD_STATE;
	if (gp_order(gpmap_lookup(map, gfn.v)) == ORDER_1G)
		st = split_1g(map, gfn.v);
	if (st == ST_OK && gp_order(gpmap_lookup(map, gfn.v)) == ORDER_2M)
		st = split_2m(map, gfn.v);
	if (st != ST_OK)
		return st;
	slot = gpmap_slot(map, gfn.v);
	frame = gp_frame(*slot);
	*slot = gp_entry(GP_ABSENT, 0, 0);
	map->generation++;
	map->mm->promised++;
	unmap_leaf(map, gfn.v, frame, LEAF_4K);
	return ST_OK;
}

/* ---- release ---- */

/* Drops one entry of the chunk at the cursor, and the chunk after its last. */
static void release_page(struct gpmap *map, uint64_t *dir)
{
	uint32_t chunk = gp_frame(*dir);
	uint64_t *slot = gpmap_slot(map, map->cursor);
	uint64_t entry = *slot;

	*slot = gp_entry(GP_NONE, 0, 0);
	map->ram_pages -= gp_state(entry) != GP_NONE;
	map->mm->promised -= gp_state(entry) == GP_ABSENT;
	if (gp_state(entry) == GP_PRESENT)
		unmap_leaf(map, map->cursor, gp_frame(entry), LEAF_4K);
	map->cursor++;
	if (!is_aligned(map->cursor, CHUNK_PAGES))
		return;
	*dir = gp_entry(GP_NONE, 0, 0);
	gpmap_chunk_free(map, chunk);
}

static void release_large(struct gpmap *map, uint64_t entry)
{
	unsigned order = gp_order(entry);
	uint64_t first = map->cursor;

	for (uint64_t at = 0; at < BIT(order); at += CHUNK_PAGES)
		map->dir[(first + at) >> CHUNK_SHIFT] = gp_entry(GP_NONE, 0, 0);
	map->ram_pages -= BIT(order);
	map->cursor += BIT(order);
	unmap_leaf(map, first, gp_frame(entry), leaf_size_of(order));
}

/* One entry or leaf at the cursor, which moves on. */
static void release_next(struct gpmap *map)
{
	uint64_t *dir = &map->dir[map->cursor >> CHUNK_SHIFT];

	switch (gp_state(*dir)) {
	case GP_CHUNK:
		release_page(map, dir);
		return;
	case GP_PRESENT:
		release_large(map, *dir);
		return;
	case GP_ABSENT:
		map->ram_pages -= CHUNK_PAGES;
		map->mm->promised -= CHUNK_PAGES;
		*dir = gp_entry(GP_NONE, 0, 0);
		break;
	case GP_NONE:
		break;
	}
	map->cursor += CHUNK_PAGES;
}

enum status gpmap_release_step(struct gpmap *map, uint64_t budget)
{
	uint64_t end = gpmap_dir_count(map) << CHUNK_SHIFT;

	map->releasing = true;
	map->generation++;
	for (uint64_t i = 0; i < budget && map->cursor < end; i++)
		release_next(map);
	gpmap_drain(map, budget);
	return map->cursor == end && map->leaving.head == FRAME_NIL ? ST_OK : ST_AGAIN;
}
