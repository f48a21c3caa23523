/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walker that proves the ownership rules, from both ends: every block of
 * the table against the structure that should hold it, and every structure
 * against the table. It stops at the first violation and says where. A corrupt
 * list cannot hang it: every walk is bounded by a count. All CPUs' cells are
 * stopped meanwhile, so that every change is seen whole or not at all; tables
 * that a prepare links at the same time are holes.
 */
#include "memmgr/internal.h"

typedef unsigned long long ull;

/* What one walk over the table finds, to be matched by the other walks. */
struct census {
	uint64_t frames[FRAME_STATES];
	uint64_t free_blocks[HELD_BY_CLEARING + 1];
	uint64_t guest_blocks, leaving_frames;
};

struct leaf_walk {
	const struct gpmap *map;
	struct error *err;
	uint64_t leaves, end; /* end: first gfn after the last leaf */
	bool ok;
};

static const char *const state_name[FRAME_STATES] = {"absent", "free", "host", "guest", "shared", "leaving"};

#define VIOLATION(err, ...) (fail(err, ST_CORRUPT, __VA_ARGS__), false)

/* ---- the table ---- */

static const struct gpmap *map_of(const struct memmgr *mm, uint16_t owner)
{
	list_for_each(it, &mm->maps) {
		const struct gpmap *map = list_entry(it, struct gpmap, node);

		if (map->owner == owner)
			return map;
	}
	return NULL;
}

static bool check_guest_block(const struct memmgr *mm, uint64_t at, const struct frame *f, struct error *err)
{
	const struct gpmap *map = map_of(mm, f->owner);
	uint64_t entry;

	if (!map || f->word >= map->gfn_limit)
		return VIOLATION(err, "frame 0x%llx belongs to guest %u, which has no page 0x%llx", (ull)at, f->owner,
				 (ull)f->word);
	entry = gpmap_lookup(map, f->word);
	if (gp_state(entry) != GP_PRESENT || gp_order(entry) != f->order || gpmap_frame(entry, f->word) != at)
		return VIOLATION(err, "frame 0x%llx says guest %u page 0x%llx order %u, the map says 0x%llx", (ull)at,
				 f->owner, (ull)f->word, f->order, (ull)entry);
	return true;
}

/* A free block whose free buddy has its size should be one with it. */
static bool check_merged(const struct memmgr *mm, uint64_t at, const struct frame *f, struct error *err)
{
	uint64_t buddy = at ^ BIT(f->order);
	const struct frame *b;

	if (f->owner != HELD_BY_BUDDY || f->order == MEMMGR_MAX_ORDER || buddy >= mm->frames)
		return true;
	b = frame_get(mm, (uint32_t)buddy);
	if (b->state == FRAME_FREE && b->owner == HELD_BY_BUDDY && b->order == f->order)
		return VIOLATION(err, "free frames 0x%llx and 0x%llx of order %u are not merged", (ull)at, (ull)buddy,
				 f->order);
	return true;
}

static bool check_block(const struct memmgr *mm, uint64_t at, struct census *c, struct error *err)
{
	const struct frame *f = frame_get(mm, (uint32_t)at);

	if (f->state >= FRAME_STATES || f->order > MEMMGR_MAX_ORDER || !is_aligned(at, BIT(f->order)) ||
	    BIT(f->order) > mm->frames - at)
		return VIOLATION(err, "frame 0x%llx: state %u order %u is no block", (ull)at, f->state, f->order);
	c->frames[f->state] += BIT(f->order);
	switch ((enum frame_state)f->state) {
	case FRAME_FREE:
		if (f->owner > HELD_BY_CLEARING)
			return VIOLATION(err, "free frame 0x%llx is held by %u", (ull)at, f->owner);
		c->free_blocks[f->owner]++;
		return check_merged(mm, at, f, err);
	case FRAME_GUEST:
		c->guest_blocks++;
		return check_guest_block(mm, at, f, err);
	case FRAME_LEAVING:
		c->leaving_frames += BIT(f->order);
		if (!map_of(mm, f->owner))
			return VIOLATION(err, "frame 0x%llx leaves guest %u, which has no map", (ull)at, f->owner);
		return true;
	case FRAME_SHARED:
		return VIOLATION(err, "frame 0x%llx is shared, and nothing makes that yet", (ull)at);
	default:
		if (f->owner != OWNER_HOST)
			return VIOLATION(err, "%s frame 0x%llx has owner %u", state_name[f->state], (ull)at, f->owner);
		return true;
	}
}

static bool check_table(const struct memmgr *mm, struct census *c, struct error *err)
{
	for (uint64_t at = 0; at < mm->frames; at += BIT(frame_get(mm, (uint32_t)at)->order)) {
		if (!check_block(mm, at, c, err))
			return false;
	}
	for (unsigned s = 0; s < FRAME_STATES; s++) {
		uint64_t counted = cells_count(mm, (enum frame_state)s);

		if (c->frames[s] != counted)
			return VIOLATION(err, "the table has %llu %s frames, the count says %llu", (ull)c->frames[s],
					 state_name[s], (ull)counted);
	}
	return true;
}

/* ---- free lists, pools and cells ---- */

static bool check_list(const struct memmgr *mm, const struct frame_list *list, unsigned order, enum free_holder holder,
		       struct error *err)
{
	uint32_t at = list->head, back = FRAME_NIL;

	for (uint32_t i = 0; i < list->count; i++) {
		const struct frame *f;

		if (at >= mm->frames)
			return VIOLATION(err, "free list of order %u ends after %u of %u blocks", order, i,
					 list->count);
		f = frame_get(mm, at);
		if (f->state != FRAME_FREE || f->order != order || f->owner != holder || f->word != back)
			return VIOLATION(err, "frame 0x%x on the free list of order %u: state %u order %u holder %u",
					 at, order, f->state, f->order, f->owner);
		back = at;
		at = f->next;
	}
	if (at != FRAME_NIL)
		return VIOLATION(err, "free list of order %u goes on after %u blocks", order, list->count);
	return true;
}

/* What lists hold, by holder. */
struct listed {
	uint64_t blocks[HELD_BY_CLEARING + 1];
	uint64_t clearing[LEAF_SIZES];
};

static bool count_list(const struct memmgr *mm, const struct frame_list *list, unsigned order, enum free_holder holder,
		       struct listed *l, struct error *err)
{
	l->blocks[holder] += list->count;
	return check_list(mm, list, order, holder, err);
}

static bool check_buddy(const struct memmgr *mm, struct listed *l, struct error *err)
{
	for (unsigned order = 0; order < ORDERS; order++) {
		const struct frame_list *list = &mm->free[order];

		if (!count_list(mm, list, order, HELD_BY_BUDDY, l, err))
			return false;
		if ((list->count != 0) != ((mm->free_orders >> order & 1) != 0))
			return VIOLATION(err, "mask 0x%x is wrong about order %u with %u blocks", mm->free_orders,
					 order, list->count);
	}
	return true;
}

static bool check_cell(const struct memmgr *mm, const struct cell *c, struct listed *l, struct error *err)
{
	if (!count_list(mm, &c->plain, ORDER_4K, HELD_BY_CELL, l, err))
		return false;
	for (unsigned size = 0; size < LEAF_SIZES; size++)
		if (!count_list(mm, &c->cleared[size], leaf_order[size], HELD_BY_POOL, l, err))
			return false;
	if (c->clearing.frame == FRAME_NIL)
		return true;
	l->blocks[HELD_BY_CLEARING]++;
	l->clearing[c->clearing.size]++;
	return true;
}

static bool check_free(const struct memmgr *mm, const struct census *c, struct error *err)
{
	struct listed l = {0};

	if (!check_buddy(mm, &l, err))
		return false;
	for (unsigned size = 0; size < LEAF_SIZES; size++)
		if (!count_list(mm, &mm->pool[size], leaf_order[size], HELD_BY_POOL, &l, err))
			return false;
	for (unsigned cpu = 0; cpu < mm->cpus; cpu++)
		if (!check_cell(mm, &mm->cells[cpu], &l, err))
			return false;
	for (unsigned size = 0; size < LEAF_SIZES; size++)
		if (mm->stocked[size] != mm->pool[size].count + mm->clearing[size])
			return VIOLATION(err, "pool of order %u: %u ready, %llu being cleared, %llu counted",
					 leaf_order[size], mm->pool[size].count, (ull)mm->clearing[size],
					 (ull)mm->stocked[size]);
	if (memcmp(l.blocks, c->free_blocks, sizeof l.blocks) != 0 ||
	    memcmp(l.clearing, mm->clearing, sizeof l.clearing) != 0)
		return VIOLATION(err,
				 "free blocks: %llu listed, %llu pooled, %llu in cells, %llu being cleared; "
				 "the table has %llu, %llu, %llu, %llu",
				 (ull)l.blocks[HELD_BY_BUDDY], (ull)l.blocks[HELD_BY_POOL],
				 (ull)l.blocks[HELD_BY_CELL], (ull)l.blocks[HELD_BY_CLEARING],
				 (ull)c->free_blocks[HELD_BY_BUDDY], (ull)c->free_blocks[HELD_BY_POOL],
				 (ull)c->free_blocks[HELD_BY_CELL], (ull)c->free_blocks[HELD_BY_CLEARING]);
	return true;
}

/* ---- maps and stage 2 ---- */

struct map_census {
	uint64_t ram, present, chunks, pins;
	uint64_t leaves[LEAF_SIZES];
};

/* One deciding entry, for @pages pages from @gfn. */
static bool check_entry(const struct gpmap *map, uint64_t gfn_at, uint64_t entry, uint64_t pages, struct map_census *c,
			struct error *err)
{
	const struct frame *f;
	uint64_t first;

	c->ram += gp_state(entry) == GP_NONE ? 0 : pages;
	if (gp_state(entry) != GP_PRESENT)
		return true;
	c->present += pages;
	first = align_down(gfn_at, BIT(gp_order(entry)));
	c->leaves[leaf_size_of(gp_order(entry))] += first == gfn_at;
	if (gp_frame(entry) >= map->mm->frames || gp_frame(entry) < gfn_at - first)
		return VIOLATION(err, "guest %u page 0x%llx has frame 0x%x beyond memory", map->owner, (ull)gfn_at,
				 gp_frame(entry));
	f = frame_get(map->mm, gp_frame(entry) - (uint32_t)(gfn_at - first));
	if (f->state != FRAME_GUEST || f->owner != map->owner || f->order != gp_order(entry) || f->word != first)
		return VIOLATION(err, "guest %u page 0x%llx has frame 0x%x, which is %s of %u for page 0x%llx",
				 map->owner, (ull)gfn_at, gp_frame(entry),
				 f->state < FRAME_STATES ? state_name[f->state] : "?", f->owner, (ull)f->word);
	c->pins += first == gfn_at ? __atomic_load_n(&f->next, __ATOMIC_RELAXED) : 0;
	return true;
}

static bool check_chunk(const struct gpmap *map, uint64_t first, struct map_census *c, struct error *err)
{
	uint64_t dir = map->dir[first >> CHUNK_SHIFT];
	const struct frame *f = gp_frame(dir) < map->mm->frames ? frame_get(map->mm, gp_frame(dir)) : NULL;

	c->chunks++;
	if (!f)
		return VIOLATION(err, "guest %u: chunk at page 0x%llx is frame 0x%x beyond memory", map->owner,
				 (ull)first, gp_frame(dir));
	if (f->state != FRAME_HOST || f->order != 0)
		return VIOLATION(err, "guest %u: chunk at page 0x%llx is frame 0x%x in state %u", map->owner,
				 (ull)first, gp_frame(dir), f->state);
	for (uint64_t i = 0; i < CHUNK_PAGES; i++) {
		uint64_t entry = gpmap_chunk(map, dir)[i];

		if (gp_state(entry) == GP_CHUNK || gp_order(entry) != 0 ||
		    (first + i >= map->gfn_limit && gp_state(entry) != GP_NONE))
			return VIOLATION(err, "guest %u page 0x%llx: bad entry 0x%llx", map->owner, (ull)(first + i),
					 (ull)entry);
		if (!check_entry(map, first + i, entry, 1, c, err))
			return false;
	}
	return true;
}

static bool check_leaf(void *ctx, const struct s2_leaf *leaf)
{
	struct leaf_walk *w = ctx;
	uint64_t entry = leaf->gfn.v < w->map->gfn_limit ? gpmap_lookup(w->map, leaf->gfn.v) : gp_entry(GP_NONE, 0, 0);

	w->ok = gp_state(entry) == GP_PRESENT && gp_order(entry) == leaf->order && leaf->gfn.v >= w->end &&
		gpmap_frame(entry, leaf->gfn.v) == leaf->hfn.v && is_aligned(leaf->gfn.v, BIT(leaf->order)) &&
		leaf->prot == S2_RWX && leaf->memtype == S2_WB;
	w->leaves++;
	w->end = leaf->gfn.v + BIT(leaf->order);
	if (!w->ok)
		fail(w->err, ST_CORRUPT,
		     "guest %u: stage 2 maps page 0x%llx to 0x%llx order %u prot %u type %d, the map says 0x%llx",
		     w->map->owner, (ull)leaf->gfn.v, (ull)leaf->hfn.v, leaf->order, leaf->prot, (int)leaf->memtype,
		     (ull)entry);
	return w->ok;
}

static bool check_stage2(const struct gpmap *map, struct error *err)
{
	struct leaf_walk w = {.map = map, .err = err, .ok = true};
	uint64_t leaves = map->leaves[LEAF_4K] + map->leaves[LEAF_2M] + map->leaves[LEAF_1G];

	map->ops->walk(map->s2, check_leaf, &w);
	if (w.ok && w.leaves != leaves)
		return VIOLATION(err, "guest %u: stage 2 has %llu leaves, the map %llu", map->owner, (ull)w.leaves,
				 (ull)leaves);
	return w.ok;
}

static bool check_leaving(const struct gpmap *map, struct census *c, struct error *err)
{
	const struct memmgr *mm = map->mm;
	uint32_t at = map->leaving.head, last = FRAME_NIL;
	uint64_t frames = 0, generation = 0;

	while (at != FRAME_NIL && frames < map->leaving.frames) {
		const struct frame *f = at < mm->frames ? frame_get(mm, at) : NULL;

		if (!f || f->state != FRAME_LEAVING || f->owner != map->owner || f->word < generation)
			return VIOLATION(err, "guest %u: frame 0x%x does not belong in its queue of leaving frames",
					 map->owner, at);
		frames += BIT(f->order);
		generation = f->word;
		last = at;
		at = f->next;
	}
	if (at != FRAME_NIL || last != map->leaving.tail || frames != map->leaving.frames ||
	    list_empty(&map->leaving_node) != (frames == 0))
		return VIOLATION(err, "guest %u: queue of %llu leaving frames has %llu", map->owner,
				 (ull)map->leaving.frames, (ull)frames);
	c->leaving_frames -= frames;
	return true;
}

/* Pins come and go under the map's lock alone: the ticket of whoever takes it next, when nobody has it; else 0. */
static uint64_t undisturbed(const struct gpmap *map)
{
	uint32_t next = __atomic_load_n(&map->lock.next, __ATOMIC_SEQ_CST);

	return __atomic_load_n(&map->lock.serving, __ATOMIC_SEQ_CST) == next ? BIT(32) | next : 0;
}

/* @before: undisturbed() before the pins were added up. */
static bool check_map_sums(const struct gpmap *map, const struct map_census *c, uint64_t before, struct error *err)
{
	uint64_t pins = __atomic_load_n(&map->pins, __ATOMIC_RELAXED);
	bool leaves_equal = memcmp(c->leaves, map->leaves, sizeof c->leaves) == 0;

	if (c->ram != map->ram_pages || c->present != map->present_pages || c->chunks != map->chunks || !leaves_equal)
		return VIOLATION(err,
				 "guest %u: found %llu RAM pages, %llu present, %llu chunks; counted %llu, %llu, %llu",
				 map->owner, (ull)c->ram, (ull)c->present, (ull)c->chunks, (ull)map->ram_pages,
				 (ull)map->present_pages, (ull)map->chunks);
	if (before && before == undisturbed(map) && c->pins != pins)
		return VIOLATION(err, "guest %u: its frames are pinned %llu times, the map says %llu", map->owner,
				 (ull)c->pins, (ull)pins);
	return true;
}

static bool check_map(const struct gpmap *map, struct census *census, uint64_t *promised, struct error *err)
{
	struct map_census c = {0};
	uint64_t before = undisturbed(map);

	for (uint64_t i = 0; i < gpmap_dir_count(map); i++) {
		uint64_t first = i << CHUNK_SHIFT;
		bool ok = gp_state(map->dir[i]) == GP_CHUNK
				  ? check_chunk(map, first, &c, err)
				  : check_entry(map, first, map->dir[i], CHUNK_PAGES, &c, err);

		if (!ok)
			return false;
	}
	for (unsigned size = 0; size < LEAF_SIZES; size++)
		census->guest_blocks -= c.leaves[size];
	*promised += c.ram - c.present + map->headroom;
	return check_map_sums(map, &c, before, err) && check_leaving(map, census, err) && check_stage2(map, err);
}

static bool check_all(const struct memmgr *mm, struct error *err)
{
	struct census census = {0};
	uint64_t promised = 0;

	if (!check_table(mm, &census, err) || !check_free(mm, &census, err))
		return false;
	list_for_each(it, &mm->maps) {
		if (!check_map(list_entry(it, struct gpmap, node), &census, &promised, err))
			return false;
	}
	if (census.guest_blocks != 0 || census.leaving_frames != 0)
		return VIOLATION(err, "%llu guest blocks and %llu leaving frames are in no map",
				 (ull)census.guest_blocks, (ull)census.leaving_frames);
	if (census.frames[FRAME_LEAVING] != __atomic_load_n(&mm->leaving, __ATOMIC_RELAXED))
		return VIOLATION(err, "%llu frames are leaving, the count says %llu",
				 (ull)census.frames[FRAME_LEAVING], (ull)mm->leaving);
	if (promised != cells_promised(mm))
		return VIOLATION(err, "guests may ask for %llu frames, the count says %llu", (ull)promised,
				 (ull)cells_promised(mm));
	return true;
}

bool memmgr_check(struct memmgr *mm, struct error *err)
{
	bool ok;

	cells_stop(mm);
	ok = check_all(mm, err);
	cells_go(mm);
	return ok;
}
