/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking the RAM over, and the hypervisor's own frames.
 *
 * At boot the ranges are tiled into the largest aligned blocks, holes into
 * ABSENT ones, so that the work depends on the number of ranges and not on the
 * size of memory. The table covers holes too: 16 bytes a frame buys a lookup
 * that is one addition. Memory that far apart that this hurts does not fit, and
 * is refused with a sentence.
 */
#include "memmgr/internal.h"

#define FRAMES_MAX ((uint64_t)FRAME_NIL) /* frame numbers are 32-bit and FRAME_NIL is none */
#define KIB 1024ull
#define DRAIN_BLOCKS 64u /* freed in one poll: bounds the step */

_Static_assert(sizeof(struct memmgr) <= PAGE_SIZE, "one frame in front of the table is set aside for it");

/* ---- boot ---- */

static enum status check_ranges(const struct memmgr_config *cfg, struct error *err)
{
	uint64_t end = 0;

	if (cfg->ram_count == 0)
		return fail(err, ST_INVALID, "memory map: no usable RAM range");
	for (unsigned i = 0; i < cfg->ram_count; i++) {
		const struct mem_range *r = &cfg->ram[i];

		if (r->frames == 0 || r->start.v < end)
			return fail(err, ST_INVALID,
				    "memory map: range %u at frame 0x%llx is empty or overlaps the one before", i,
				    (unsigned long long)r->start.v);
		if (r->start.v > FRAMES_MAX || r->frames > FRAMES_MAX - r->start.v)
			return fail(err, ST_OVER_LIMIT, "memory map: range %u at frame 0x%llx reaches beyond 16 TiB", i,
				    (unsigned long long)r->start.v);
		end = r->start.v + r->frames;
	}
	return ST_OK;
}

/* Finds where struct memmgr and the table go: the end of the highest range that holds both. */
static enum status place_table(const struct memmgr_config *cfg, uint64_t need, uint64_t *start, struct error *err)
{
	uint64_t largest = 0;

	for (unsigned i = cfg->ram_count; i-- > 0;) {
		const struct mem_range *r = &cfg->ram[i];

		if (r->frames >= need) {
			*start = r->start.v + r->frames - need;
			return ST_OK;
		}
		largest = MAX(largest, r->frames);
	}
	return fail(err, ST_NO_MEMORY,
		    "the frame table needs %llu KiB in one piece, the largest RAM range has %llu KiB",
		    (unsigned long long)(need * PAGE_SIZE / KIB), (unsigned long long)(largest * PAGE_SIZE / KIB));
}

static void tile_free(struct memmgr *mm, uint64_t start, uint64_t end, uint64_t table_start, uint64_t table_end)
{
	if (table_start < start || table_start >= end) {
		frame_tile(mm, start, end, FRAME_FREE, buddy_seed);
		return;
	}
	frame_tile(mm, start, table_start, FRAME_FREE, buddy_seed);
	frame_tile(mm, table_start, table_end, FRAME_HOST, NULL);
	frame_tile(mm, table_end, end, FRAME_FREE, buddy_seed);
}

/* Ranges that touch are tiled as one: no two free buddies may be left unmerged. */
static void tile_all(struct memmgr *mm, const struct memmgr_config *cfg, uint64_t table_start, uint64_t table_end)
{
	uint64_t at = 0;
	unsigned i = 0;

	while (i < cfg->ram_count) {
		uint64_t start = cfg->ram[i].start.v;
		uint64_t end = start + cfg->ram[i].frames;

		for (i++; i < cfg->ram_count && cfg->ram[i].start.v == end; i++)
			end += cfg->ram[i].frames;
		frame_tile(mm, at, start, FRAME_ABSENT, NULL);
		tile_free(mm, start, end, table_start, table_end);
		at = end;
	}
}

enum status memmgr_init(const struct memmgr_config *cfg, struct memmgr **out, struct error *err)
{
	enum status st = check_ranges(cfg, err);
	const struct mem_range *last;
	uint64_t frames, table_bytes, need, start = 0;
	struct memmgr *mm;

	if (st != ST_OK)
		return st;
	last = &cfg->ram[cfg->ram_count - 1];
	frames = last->start.v + last->frames;
	table_bytes = align_up(frames * sizeof(struct frame), PAGE_SIZE);
	need = 1 + table_bytes / PAGE_SIZE;
	st = place_table(cfg, need, &start, err);
	if (st != ST_OK)
		return st;

	mm = (struct memmgr *)((uint8_t *)cfg->direct_map + (start << PAGE_SHIFT));
	*mm = (struct memmgr){
		.table = (struct frame *)((uint8_t *)mm + PAGE_SIZE),
		.frames = frames,
		.direct_map = cfg->direct_map,
		.table_bytes = table_bytes,
	};
	list_init(&mm->maps);
	list_init(&mm->leaving_maps);
	buddy_init(mm);
	clear_init(mm, cfg);
	tile_all(mm, cfg, start, start + need);
	*out = mm;
	return ST_OK;
}

/* ---- the hypervisor's own frames ---- */

enum status memmgr_alloc(struct memmgr *mm, unsigned order, hfn_t *out)
{
	uint32_t frame;

	if (order > MEMMGR_MAX_ORDER)
		return ST_INVALID;
	frame = block_take(mm, order);
	if (frame == FRAME_NIL)
		return ST_NO_MEMORY;
	frame_change(mm, frame, FRAME_HOST, OWNER_HOST, 0);
	*out = hfn(frame);
	return ST_OK;
}

enum status memmgr_alloc_zero(struct memmgr *mm, unsigned order, hfn_t *out)
{
	enum status st;
	uint32_t frame;

	for (unsigned size = 0; size < LEAF_SIZES; size++) {
		frame = leaf_order[size] == order ? clear_take(mm, (enum leaf_size)size) : FRAME_NIL;
		if (frame == FRAME_NIL)
			continue;
		frame_change(mm, frame, FRAME_HOST, OWNER_HOST, 0);
		*out = hfn(frame);
		return ST_OK;
	}
	st = memmgr_alloc(mm, order, out);
	if (st == ST_OK)
		clear_block(mm, (uint32_t)out->v, order);
	return st;
}

void memmgr_free(struct memmgr *mm, hfn_t frame, unsigned order)
{
	const struct frame *f;

	ASSERT(frame.v < mm->frames && order <= MEMMGR_MAX_ORDER && is_aligned(frame.v, BIT(order)));
	f = frame_get(mm, (uint32_t)frame.v);
	ASSERT(f->state == FRAME_HOST && f->order == order);
	frame_change(mm, (uint32_t)frame.v, FRAME_FREE, HELD_BY_TAKER, 0);
	buddy_give(mm, (uint32_t)frame.v, order);
}

void *memmgr_va(const struct memmgr *mm, hfn_t frame)
{
	ASSERT(frame.v < mm->frames);
	return frame_va(mm, (uint32_t)frame.v);
}

hfn_t memmgr_hfn(const struct memmgr *mm, const void *va)
{
	uint64_t frame = (uint64_t)((uintptr_t)va - (uintptr_t)mm->direct_map) >> PAGE_SHIFT;

	ASSERT(frame < mm->frames);
	return hfn(frame);
}

/* ---- leaving frames and figures ---- */

uint64_t memmgr_drain_leaving(struct memmgr *mm)
{
	uint64_t budget = DRAIN_BLOCKS;

	list_for_each_safe(it, &mm->leaving_maps)
		budget -= gpmap_drain(list_entry(it, struct gpmap, leaving_node), budget);
	return mm->count[FRAME_LEAVING];
}

void memmgr_stats(const struct memmgr *mm, struct memmgr_stats *out)
{
	*out = (struct memmgr_stats){
		.table_bytes = mm->table_bytes,
		.promised = mm->promised,
		.cleared_4k = mm->pool[LEAF_4K].count,
		.cleared_2m = mm->pool[LEAF_2M].count,
		.cleared_1g = mm->pool[LEAF_1G].count,
		.fault_1g = mm->touched[TOUCH_1G],
		.fault_2m = mm->touched[TOUCH_2M],
		.fault_4k_pool = mm->touched[TOUCH_POOL],
		.fault_4k_inline = mm->touched[TOUCH_INLINE],
	};
	memcpy(out->frames, mm->count, sizeof out->frames);
}
