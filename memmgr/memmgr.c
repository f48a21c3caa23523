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

_Static_assert(sizeof(struct memmgr) + sizeof(struct cell) <= PAGE_SIZE, "one CPU needs one frame besides the table");

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

static unsigned first_cpu(void) { return 0; }

/* Finds where struct memmgr, the cells and the table go: the end of the highest range that holds both. */
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
	uint64_t frames, table_bytes, head_bytes, need, start = 0;
	struct memmgr *mm;
	unsigned cpus;

	if (st != ST_OK)
		return st;
	last = &cfg->ram[cfg->ram_count - 1];
	frames = last->start.v + last->frames;
	table_bytes = align_up(frames * sizeof(struct frame), PAGE_SIZE);
	cpus = MAX(cfg->cpus, 1u);
	head_bytes = align_up(sizeof(struct memmgr) + cpus * sizeof(struct cell), PAGE_SIZE);
	need = (head_bytes + table_bytes) / PAGE_SIZE;
	st = place_table(cfg, need, &start, err);
	if (st != ST_OK)
		return st;

	mm = (struct memmgr *)((uint8_t *)cfg->direct_map + (start << PAGE_SHIFT));
	*mm = (struct memmgr){
		.table = (struct frame *)((uint8_t *)mm + head_bytes),
		.frames = frames,
		.direct_map = cfg->direct_map,
		.table_bytes = table_bytes,
		.cells = (struct cell *)(mm + 1),
		.cpus = cpus,
		.this_cpu = cfg->this_cpu ? cfg->this_cpu : first_cpu,
	};
	lock_init(&mm->lock, LOCK_MEMORY);
	cells_init(mm);
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
	struct cell *c;
	uint32_t frame;

	if (order > MEMMGR_MAX_ORDER)
		return ST_INVALID;
	c = cell_lock(mm);
	frame = block_take(mm, c, order);
	if (likely(frame != FRAME_NIL))
		frame_change(mm, c, frame, FRAME_HOST, OWNER_HOST, 0);
	cell_unlock(c);
	if (frame == FRAME_NIL)
		return ST_NO_MEMORY;
	*out = hfn(frame);
	return ST_OK;
}

/* A block that was cleared ahead; false when there is none of exactly that order. */
static bool alloc_cleared(struct memmgr *mm, unsigned order, hfn_t *out)
{
	uint32_t frame = FRAME_NIL;
	struct cell *c = cell_lock(mm);

	for (unsigned size = 0; size < LEAF_SIZES; size++)
		if (leaf_order[size] == order)
			frame = cell_take_cleared(mm, c, (enum leaf_size)size);
	if (frame != FRAME_NIL)
		frame_change(mm, c, frame, FRAME_HOST, OWNER_HOST, 0);
	cell_unlock(c);
	if (frame == FRAME_NIL)
		return false;
	*out = hfn(frame);
	return true;
}

enum status memmgr_alloc_zero(struct memmgr *mm, unsigned order, hfn_t *out)
{
	enum status st;

	if (alloc_cleared(mm, order, out))
		return ST_OK;
	st = memmgr_alloc(mm, order, out);
	if (st == ST_OK)
		clear_block(mm, (uint32_t)out->v, order);
	return st;
}

void memmgr_free(struct memmgr *mm, hfn_t frame, unsigned order)
{
	const struct frame *f;
	struct cell *c;

	ASSERT(frame.v < mm->frames && order <= MEMMGR_MAX_ORDER && is_aligned(frame.v, BIT(order)));
	f = frame_get(mm, (uint32_t)frame.v);
	ASSERT(f->state == FRAME_HOST && f->order == order);
	c = cell_lock(mm);
	frame_change(mm, c, (uint32_t)frame.v, FRAME_FREE, HELD_BY_TAKER, 0);
	block_give(mm, c, (uint32_t)frame.v, order);
	cell_unlock(c);
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

static unsigned leaving_maps(struct memmgr *mm)
{
	unsigned n = 0;

	lock_acquire(&mm->lock);
	list_for_each(it, &mm->leaving_maps)
		n++;
	lock_release(&mm->lock);
	return n;
}

/*
 * The next in turn, locked; NULL when another CPU is at work in it. It is found under a lock that ranks after its
 * own: so there is no waiting for it, and while it is found here it is not destroyed.
 */
static struct gpmap *next_leaving(struct memmgr *mm)
{
	struct gpmap *map = NULL;

	lock_acquire(&mm->lock);
	if (!list_empty(&mm->leaving_maps)) {
		map = list_entry(mm->leaving_maps.next, struct gpmap, leaving_node);
		list_remove(&map->leaving_node);
		list_push_back(&mm->leaving_maps, &map->leaving_node);
		if (!lock_try(&map->lock))
			map = NULL;
	}
	lock_release(&mm->lock);
	return map;
}

uint64_t memmgr_drain_leaving(struct memmgr *mm)
{
	uint64_t budget = DRAIN_BLOCKS;

	if (__atomic_load_n(&mm->leaving, __ATOMIC_RELAXED) == 0)
		return 0;
	for (unsigned n = leaving_maps(mm); n > 0 && budget > 0; n--) {
		struct gpmap *map = next_leaving(mm);

		if (!map)
			continue;
		budget -= gpmap_drain(map, budget);
		lock_release(&map->lock);
	}
	return __atomic_load_n(&mm->leaving, __ATOMIC_RELAXED);
}

static uint64_t cleared(const struct memmgr *mm, enum leaf_size size)
{
	uint64_t sum = mm->pool[size].count;

	for (unsigned cpu = 0; cpu < mm->cpus; cpu++)
		sum += mm->cells[cpu].cleared[size].count;
	return sum;
}

static uint64_t touched(const struct memmgr *mm, enum touch how)
{
	uint64_t sum = 0;

	for (unsigned cpu = 0; cpu < mm->cpus; cpu++)
		sum += mm->cells[cpu].touched[how];
	return sum;
}

void memmgr_stats(const struct memmgr *of, struct memmgr_stats *out)
{
	struct memmgr *mm = (struct memmgr *)of; /* the locks are no part of what is asked */

	cells_stop(mm);
	*out = (struct memmgr_stats){
		.table_bytes = mm->table_bytes,
		.promised = cells_promised(mm),
		.cleared_4k = cleared(mm, LEAF_4K),
		.cleared_2m = cleared(mm, LEAF_2M),
		.cleared_1g = cleared(mm, LEAF_1G),
		.fault_1g = touched(mm, TOUCH_1G),
		.fault_2m = touched(mm, TOUCH_2M),
		.fault_4k_pool = touched(mm, TOUCH_POOL),
		.fault_4k_inline = touched(mm, TOUCH_INLINE),
	};
	for (unsigned state = 0; state < FRAME_STATES; state++)
		out->frames[state] = cells_count(mm, (enum frame_state)state);
	cells_go(mm);
}
