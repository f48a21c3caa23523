/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking pages from a guest. A frame whose translation some CPU may still hold
 * is LEAVING: it waits in the map's queue with the flush ticket that the engine
 * gave, and is free when the ticket is done. Tickets of one stage-2 only grow,
 * so the queue is in order and a poll looks at its front alone. Nobody waits.
 *
 * Every change comes under the map's lock, and whole under the CPU's cell.
 */
#include "memmgr/internal.h"

/* ---- leaving ---- */

/* Straight to the allocator, where it can merge. */
static void free_block(struct memmgr *mm, struct cell *c, uint32_t frame)
{
	unsigned order = frame_get(mm, frame)->order;

	frame_change(mm, c, frame, FRAME_FREE, HELD_BY_TAKER, 0);
	lock_acquire(&mm->lock);
	buddy_give(mm, frame, order);
	lock_release(&mm->lock);
}

static void count_leaving(struct memmgr *mm, uint64_t frames)
{
	__atomic_fetch_add(&mm->leaving, frames, __ATOMIC_RELAXED);
}

static void leave(struct gpmap *map, struct cell *c, uint32_t frame, struct flush_ticket ticket)
{
	struct memmgr *mm = map->mm;

	if (ticket.generation == 0) {
		free_block(mm, c, frame);
		return;
	}
	frame_change(mm, c, frame, FRAME_LEAVING, map->owner, ticket.generation);
	count_leaving(mm, BIT(frame_get(mm, frame)->order));
	if (map->leaving.head == FRAME_NIL) {
		lock_acquire(&mm->lock);
		list_push_back(&mm->leaving_maps, &map->leaving_node);
		lock_release(&mm->lock);
	}
	frame_fifo_push(mm, &map->leaving, frame);
}

/* Frees the first of the queue. */
static void free_first(struct gpmap *map)
{
	struct memmgr *mm = map->mm;
	struct cell *c = cell_lock(mm);
	uint32_t frame = frame_fifo_pop(mm, &map->leaving);

	count_leaving(mm, -BIT(frame_get(mm, frame)->order));
	free_block(mm, c, frame);
	if (map->leaving.head == FRAME_NIL) {
		lock_acquire(&mm->lock);
		list_remove(&map->leaving_node);
		lock_release(&mm->lock);
	}
	cell_unlock(c);
}

uint64_t gpmap_drain(struct gpmap *map, uint64_t blocks)
{
	uint64_t done = 0;

	while (done < blocks && map->leaving.head != FRAME_NIL) {
		struct flush_ticket ticket = {.generation = frame_get(map->mm, map->leaving.head)->word};

		if (!map->ops->flush_done(map->s2, ticket))
			break;
		free_first(map);
		done++;
	}
	return done;
}

/* Whoever sees the new number sees that the page is gone. */
static void count_taken(struct gpmap *map)
{
	__atomic_store_n(&map->generation, map->generation + 1, __ATOMIC_RELEASE);
}

/* Removes the leaf at @gfn, whose entries the caller rewrites, and lets its frame leave. */
static void unmap_leaf(struct gpmap *map, struct cell *c, uint64_t first, uint32_t frame, enum leaf_size size)
{
	unsigned order = leaf_order[size];

	map->present_pages -= BIT(order);
	map->leaves[size]--;
	leave(map, c, frame, map->ops->unmap(map->s2, gfn(first), order));
}

/* ---- splitting ---- */

/* 1 GiB into 512 leaves of 2 MiB: the directory's entries change only in the order they state. */
static enum status split_1g(struct gpmap *map, uint64_t gfn_in)
{
	uint64_t first = align_down(gfn_in, BIT(ORDER_1G));
	uint32_t frame = gp_frame(map->dir[first >> CHUNK_SHIFT]);
	enum status st = map->ops->split_prepare(map->s2, gfn(first), ORDER_2M);
	struct cell *c;

	if (st != ST_OK)
		return st;
	c = cell_lock(map->mm);
	frame_split_guest(map->mm, frame, ORDER_2M);
	for (uint64_t at = 0; at < BIT(ORDER_1G); at += CHUNK_PAGES)
		gp_store(&map->dir[(first + at) >> CHUNK_SHIFT], gp_entry(GP_PRESENT, ORDER_2M, frame + (uint32_t)at));
	map->leaves[LEAF_1G]--;
	map->leaves[LEAF_2M] += BIT(ORDER_1G - ORDER_2M);
	/* The same translations in smaller pieces: a stale large one is harmless until the unmap's own ticket. */
	map->ops->split_commit(map->s2, gfn(first), ORDER_2M);
	cell_unlock(c);
	return ST_OK;
}

static enum status split_2m(struct gpmap *map, uint64_t gfn_in)
{
	uint64_t first = align_down(gfn_in, CHUNK_PAGES);
	uint64_t *dir = &map->dir[first >> CHUNK_SHIFT];
	uint64_t *entries;
	uint32_t frame = gp_frame(*dir), chunk;
	struct cell *c;
	enum status st;

	if (!gpmap_chunk_take(map, false, &chunk))
		return ST_NO_MEMORY;
	st = map->ops->split_prepare(map->s2, gfn(first), ORDER_4K);
	if (st != ST_OK) {
		gpmap_chunk_free(map, chunk);
		return st;
	}
	entries = frame_va(map->mm, chunk);
	for (uint32_t i = 0; i < CHUNK_PAGES; i++)
		entries[i] = gp_entry(GP_PRESENT, ORDER_4K, frame + i);
	c = cell_lock(map->mm);
	frame_split_guest(map->mm, frame, ORDER_4K);
	gpmap_chunk_link(map, dir, chunk);
	map->leaves[LEAF_2M]--;
	map->leaves[LEAF_4K] += CHUNK_PAGES;
	map->ops->split_commit(map->s2, gfn(first), ORDER_4K);
	cell_unlock(c);
	return ST_OK;
}

/* The leaf over @gfn, which is present, becomes small ones. */
static enum status split(struct gpmap *map, uint64_t gfn)
{
	enum status st = ST_OK;

	if (gp_order(gpmap_lookup(map, gfn)) == ORDER_1G)
		st = split_1g(map, gfn);
	if (st == ST_OK && gp_order(gpmap_lookup(map, gfn)) == ORDER_2M)
		st = split_2m(map, gfn);
	return st;
}

static enum status take_page(struct gpmap *map, uint64_t gfn)
{
	enum gp_state state = gp_state(gpmap_lookup(map, gfn));
	enum status st;
	uint64_t *slot;
	uint32_t frame;
	struct cell *c;

	if (state != GP_PRESENT)
		return state == GP_NONE ? ST_BAD_ADDRESS : ST_BAD_STATE;
	if (gpmap_is_pinned(map, gfn))
		return ST_BUSY;
	st = split(map, gfn);
	if (st != ST_OK)
		return st;
	slot = gpmap_slot(map, gfn);
	frame = gp_frame(*slot);
	c = cell_lock(map->mm);
	gp_store(slot, gp_entry(GP_ABSENT, 0, 0));
	count_taken(map);
	c->promised++;
	unmap_leaf(map, c, gfn, frame, LEAF_4K);
	cell_unlock(c);
	return ST_OK;
}

enum status gpmap_remove(struct gpmap *map, gfn_t gfn)
{
	enum status st;

	if (gfn.v >= map->gfn_limit)
		return ST_BAD_ADDRESS;
	lock_acquire(&map->lock);
	st = take_page(map, gfn.v);
	lock_release(&map->lock);
	return st;
}

/* ---- release ---- */

/* Drops one entry of the chunk at the cursor; true when it was the chunk's last, which is then in no directory. */
static bool release_page(struct gpmap *map, struct cell *c, uint64_t *dir)
{
	uint64_t *slot = gpmap_slot(map, map->cursor);
	uint64_t entry = *slot;

	gp_store(slot, gp_entry(GP_NONE, 0, 0));
	map->ram_pages -= gp_state(entry) != GP_NONE;
	c->promised -= gp_state(entry) == GP_ABSENT;
	if (gp_state(entry) == GP_PRESENT)
		unmap_leaf(map, c, map->cursor, gp_frame(entry), LEAF_4K);
	map->cursor++;
	if (!is_aligned(map->cursor, CHUNK_PAGES))
		return false;
	gp_store(dir, gp_entry(GP_NONE, 0, 0));
	map->chunks--;
	return true;
}

static void release_large(struct gpmap *map, struct cell *c, uint64_t entry)
{
	unsigned order = gp_order(entry);
	uint64_t first = map->cursor;

	for (uint64_t at = 0; at < BIT(order); at += CHUNK_PAGES)
		gp_store(&map->dir[(first + at) >> CHUNK_SHIFT], gp_entry(GP_NONE, 0, 0));
	map->ram_pages -= BIT(order);
	map->cursor += BIT(order);
	unmap_leaf(map, c, first, gp_frame(entry), leaf_size_of(order));
}

static void release_absent(struct gpmap *map, struct cell *c, uint64_t *dir)
{
	map->ram_pages -= CHUNK_PAGES;
	c->promised -= CHUNK_PAGES;
	gp_store(dir, gp_entry(GP_NONE, 0, 0));
	map->cursor += CHUNK_PAGES;
}

/* One entry or leaf at the cursor, which moves on. */
static void release_next(struct gpmap *map)
{
	uint64_t *dir = &map->dir[map->cursor >> CHUNK_SHIFT], entry = *dir;
	struct cell *c = cell_lock(map->mm);
	bool chunk_done = false;

	switch (gp_state(entry)) {
	case GP_CHUNK:
		chunk_done = release_page(map, c, dir);
		break;
	case GP_PRESENT:
		release_large(map, c, entry);
		break;
	case GP_ABSENT:
		release_absent(map, c, dir);
		break;
	case GP_NONE:
		map->cursor += CHUNK_PAGES;
		break;
	}
	cell_unlock(c);
	if (chunk_done)
		gpmap_chunk_free(map, gp_frame(entry));
}

enum status gpmap_release_step(struct gpmap *map, uint64_t budget)
{
	uint64_t end = gpmap_dir_count(map) << CHUNK_SHIFT;
	bool done;

	lock_acquire(&map->lock);
	__atomic_store_n(&map->releasing, true, __ATOMIC_RELAXED);
	if (map->pins) {
		lock_release(&map->lock);
		return ST_BUSY;
	}
	count_taken(map);
	for (uint64_t i = 0; i < budget && map->cursor < end; i++)
		release_next(map);
	gpmap_drain(map, budget);
	done = map->cursor == end && map->leaving.head == FRAME_NIL;
	lock_release(&map->lock);
	return done ? ST_OK : ST_AGAIN;
}
