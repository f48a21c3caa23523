/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EPT tables: the entry format, every stage-2 operation at every size, failure of
 * each table allocation in turn, flush tickets over several CPUs, and a long random
 * run against an array of what should be mapped.
 */
#include "tests/cmocka_all.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "tests/expect_panic.h"
#include "vmx/ept.h"

#define FRAMES 256
#define FIRST_FRAME 0x100
#define GIB_GFN (1ull << ORDER_1G)

static alignas(4096) uint8_t memory[FRAMES][PAGE_SIZE];
static bool used[FRAMES];
static unsigned in_use, fail_after; /* allocations until the failing one; 0: never */
static unsigned invalidations[4], raises, cpu;
static struct stage2 s2;

static bool frame_alloc(void *ctx, hfn_t *out)
{
	(void)ctx;
	if (fail_after && --fail_after == 0)
		return false;
	for (unsigned i = 0; i < FRAMES; i++) {
		if (used[i])
			continue;
		used[i] = true;
		in_use++;
		memset(memory[i], 0xa5, PAGE_SIZE); /* content is undefined */
		*out = hfn(FIRST_FRAME + i);
		return true;
	}
	return false;
}

static void frame_free(void *ctx, hfn_t frame)
{
	(void)ctx;
	assert_true(used[frame.v - FIRST_FRAME]);
	used[frame.v - FIRST_FRAME] = false;
	in_use--;
	memset(memory[frame.v - FIRST_FRAME], 0x5a, PAGE_SIZE);
}

static void *frame_va(void *ctx, hfn_t frame)
{
	(void)ctx;
	assert_true(frame.v >= FIRST_FRAME && frame.v < FIRST_FRAME + FRAMES && used[frame.v - FIRST_FRAME]);
	return memory[frame.v - FIRST_FRAME];
}

static const struct ept_frames frames = {.alloc = frame_alloc, .free = frame_free, .va = frame_va};

static void invalidate(struct stage2 *s)
{
	assert_ptr_equal(s, &s2);
	invalidations[cpu]++;
}
static unsigned this_cpu(void) { return cpu; }
static void raised(struct stage2 *s)
{
	assert_ptr_equal(s, &s2);
	raises++;
}

static int setup(void **state)
{
	(void)state;
	memset(used, 0, sizeof used);
	memset(invalidations, 0, sizeof invalidations);
	in_use = fail_after = raises = cpu = 0;
	s2 = (struct stage2){.invalidate = invalidate, .this_cpu = this_cpu, .raised = raised, .use_1g = true};
	assert_int_equal(ept_init(&s2, &frames), ST_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ept_destroy(&s2);
	assert_int_equal(in_use, 0);
	return 0;
}

static void map(uint64_t g, uint64_t h, unsigned order, unsigned prot, enum s2_memtype mt)
{
	assert_int_equal(ept_ops.map_prepare(&s2, gfn(g), order), ST_OK);
	ept_ops.map_commit(&s2, gfn(g), hfn(h), order, prot, mt);
}

static void expect_leaf(uint64_t at, uint64_t g, uint64_t h, unsigned order, unsigned prot, enum s2_memtype mt)
{
	struct s2_leaf leaf;

	assert_true(ept_ops.lookup(&s2, gfn(at), &leaf));
	assert_int_equal(leaf.gfn.v, g);
	assert_int_equal(leaf.hfn.v, h);
	assert_int_equal(leaf.order, order);
	assert_int_equal(leaf.prot, prot);
	assert_int_equal(leaf.memtype, mt);
}

static void expect_hole(uint64_t g)
{
	struct s2_leaf leaf;

	assert_false(ept_ops.lookup(&s2, gfn(g), &leaf));
}

/* The raw entry of @g, found by hand. */
static uint64_t *raw(uint64_t g, unsigned level)
{
	uint64_t *t = frame_va(NULL, s2.root);

	for (unsigned l = 3; l > level; l--)
		t = frame_va(NULL, hfn((t[g >> (9 * l) & 511] & EPT_ADDR_MASK) >> PAGE_SHIFT));
	return &t[g >> (9 * level) & 511];
}

/* ---- the format ---- */

static void pointer(void **state)
{
	(void)state;
	assert_int_equal(ept_pointer(&s2), (s2.root.v << 12) | 0x1e);
	s2.use_accessed_dirty = true;
	assert_int_equal(ept_pointer(&s2), (s2.root.v << 12) | 0x5e);
}

static void leaf_entries(void **state)
{
	(void)state;
	assert_int_equal(ept_leaf_entry(hfn(0x12345), ORDER_4K, S2_RWX, S2_WB), 0x8000000012345037);
	assert_int_equal(ept_leaf_entry(hfn(0x200), ORDER_2M, S2_READ | S2_WRITE, S2_UC), 0x8000000000200083);
	assert_int_equal(ept_leaf_entry(hfn(0x40000), ORDER_1G, S2_READ | S2_EXEC, S2_WB), 0x80000000400000b5);
	EXPECT_PANIC((void)ept_leaf_entry(hfn(1), ORDER_2M, S2_RWX, S2_WB));
	EXPECT_PANIC((void)ept_leaf_entry(hfn(0), ORDER_4K, S2_WRITE, S2_WB));
}

static void misconfigurations(void **state)
{
	const uint64_t leaf = 0x8000000000200000 | EPT_LEAF | 6 << 3 | EPT_RWX;

	(void)state;
	assert_null(ept_entry_fault(leaf, 1, 40, false));
	assert_null(ept_entry_fault(EPT_ENTRY_NONE, 1, 40, false));
	assert_null(ept_entry_fault(0x5000 | EPT_RWX, 2, 40, false));
	assert_non_null(ept_entry_fault(EPT_W, 0, 40, true));
	assert_non_null(ept_entry_fault(EPT_W | EPT_X, 0, 40, true));
	assert_non_null(ept_entry_fault(EPT_X, 0, 40, false));
	assert_null(ept_entry_fault(EPT_X | 6 << 3, 0, 40, true));
	assert_non_null(ept_entry_fault(leaf | BIT(40), 1, 40, false));
	assert_non_null(ept_entry_fault(leaf | 0x1000, 1, 40, false));
	assert_non_null(ept_entry_fault(leaf, 2, 40, false));
	assert_non_null(ept_entry_fault(leaf, 3, 40, false));
	assert_non_null(ept_entry_fault(0x5000 | EPT_RWX | BIT(3), 2, 40, false));
	for (unsigned type = 0; type < 8; type++) {
		bool good = type == 0 || type == 1 || type == 4 || type == 5 || type == 6;
		uint64_t entry = (leaf & ~EPT_MEMTYPE_MASK) | (uint64_t)type << 3;

		assert_true(!ept_entry_fault(entry, 1, 40, false) == good);
	}
}

/* Every entry of every table: no misconfiguration, bit 63 set. */
static void check_tables(hfn_t frame, unsigned level)
{
	const uint64_t *t = frame_va(NULL, frame);

	for (unsigned i = 0; i < EPT_ENTRIES; i++) {
		assert_true(t[i] & EPT_SUPPRESS_VE);
		assert_null(ept_entry_fault(t[i], level, 40, false));
		if (ept_present(t[i]) && !ept_is_leaf(t[i], level))
			check_tables(ept_frame(t[i]), level - 1);
	}
}

/* ---- operations ---- */

static void map_and_look_up_each_size(void **state)
{
	(void)state;
	map(5, 0x777, ORDER_4K, S2_RWX, S2_WB);
	map(0x400, 0x10200, ORDER_2M, S2_READ | S2_WRITE, S2_UC);
	map(3 * GIB_GFN, 7 * GIB_GFN, ORDER_1G, S2_READ, S2_WB);
	expect_leaf(5, 5, 0x777, ORDER_4K, S2_RWX, S2_WB);
	expect_leaf(0x4ff, 0x400, 0x10200, ORDER_2M, S2_READ | S2_WRITE, S2_UC);
	expect_leaf(3 * GIB_GFN + 12345, 3 * GIB_GFN, 7 * GIB_GFN, ORDER_1G, S2_READ, S2_WB);
	expect_hole(4);
	expect_hole(6);
	expect_hole(0x3ff);
	expect_hole(0x600);
	expect_hole(EPT_GFN_LIMIT - 1);
	expect_hole(EPT_GFN_LIMIT);
	check_tables(s2.root, 3);
	assert_int_equal(raises, 0);
}

static void out_of_range_and_unsupported(void **state)
{
	(void)state;
	assert_int_equal(ept_ops.map_prepare(&s2, gfn(EPT_GFN_LIMIT), ORDER_4K), ST_BAD_ADDRESS);
	s2.use_1g = false;
	assert_int_equal(ept_ops.map_prepare(&s2, gfn(0), ORDER_1G), ST_UNSUPPORTED);
}

static void mistakes_of_the_caller_panic(void **state)
{
	(void)state;
	map(0, 0x1000, ORDER_4K, S2_RWX, S2_WB);
	EXPECT_PANIC(ept_ops.map_commit(&s2, gfn(0), hfn(2), ORDER_4K, S2_RWX, S2_WB));
	EXPECT_PANIC(ept_ops.map_commit(&s2, gfn(GIB_GFN), hfn(2), ORDER_4K, S2_RWX, S2_WB));
	EXPECT_PANIC(ept_ops.map_commit(&s2, gfn(0), hfn(0x200), ORDER_2M, S2_RWX, S2_WB));
	EXPECT_PANIC((void)ept_ops.unmap(&s2, gfn(1), ORDER_4K));
	EXPECT_PANIC((void)ept_ops.unmap(&s2, gfn(0), ORDER_2M));
	EXPECT_PANIC((void)ept_ops.protect(&s2, gfn(1), ORDER_4K, S2_READ));
	EXPECT_PANIC((void)ept_ops.split_commit(&s2, gfn(9), ORDER_4K));
}

static void unmap_returns_a_growing_ticket(void **state)
{
	struct flush_ticket first, second;

	(void)state;
	map(1, 0x1001, ORDER_4K, S2_RWX, S2_WB);
	map(2, 0x1002, ORDER_4K, S2_RWX, S2_WB);
	first = ept_ops.unmap(&s2, gfn(1), ORDER_4K);
	second = ept_ops.unmap(&s2, gfn(2), ORDER_4K);
	expect_hole(1);
	expect_hole(2);
	assert_true(first.generation > 0 && second.generation > first.generation);
	assert_int_equal(raises, 2);
	assert_int_equal(*raw(1, 0), EPT_ENTRY_NONE);
	map(1, 0x2001, ORDER_4K, S2_READ, S2_WB);
	expect_leaf(1, 1, 0x2001, ORDER_4K, S2_READ, S2_WB);
}

static void protect_flushes_only_when_it_lowers(void **state)
{
	(void)state;
	map(1, 0x1001, ORDER_4K, S2_READ, S2_WB);
	assert_int_equal(ept_ops.protect(&s2, gfn(1), ORDER_4K, S2_RWX).generation, 0);
	expect_leaf(1, 1, 0x1001, ORDER_4K, S2_RWX, S2_WB);
	assert_int_not_equal(ept_ops.protect(&s2, gfn(1), ORDER_4K, S2_READ | S2_WRITE).generation, 0);
	expect_leaf(1, 1, 0x1001, ORDER_4K, S2_READ | S2_WRITE, S2_WB);
	/* One right up, one down. */
	assert_int_not_equal(ept_ops.protect(&s2, gfn(1), ORDER_4K, S2_READ | S2_EXEC).generation, 0);
	assert_int_equal(raises, 2);
}

static void harvest_reads_and_clears(void **state)
{
	bool accessed = true, dirty = true;

	(void)state;
	map(0x200, 0x10200, ORDER_2M, S2_RWX, S2_WB);
	assert_int_equal(ept_ops.harvest(&s2, gfn(0x2ab), &accessed, &dirty).generation, 0);
	assert_false(accessed || dirty);
	*raw(0x200, 1) |= EPT_ACCESSED | EPT_DIRTY;
	assert_int_not_equal(ept_ops.harvest(&s2, gfn(0x2ab), &accessed, &dirty).generation, 0);
	assert_true(accessed && dirty);
	ept_ops.harvest(&s2, gfn(0x2ab), &accessed, &dirty);
	assert_false(accessed || dirty);
	*raw(0x200, 1) |= EPT_ACCESSED;
	ept_ops.harvest(&s2, gfn(0x200), &accessed, &dirty);
	assert_true(accessed && !dirty);
}

static void split_keeps_translations_and_bits(void **state)
{
	(void)state;
	map(GIB_GFN, 4 * GIB_GFN, ORDER_1G, S2_READ | S2_EXEC, S2_WB);
	*raw(GIB_GFN, 2) |= EPT_ACCESSED | EPT_DIRTY;
	assert_int_equal(ept_ops.split_prepare(&s2, gfn(GIB_GFN + 0x12345), ORDER_4K), ST_OK);
	assert_int_not_equal(ept_ops.split_commit(&s2, gfn(GIB_GFN + 0x12345), ORDER_4K).generation, 0);
	expect_leaf(GIB_GFN + 0x12345, GIB_GFN + 0x12345, 4 * GIB_GFN + 0x12345, ORDER_4K, S2_READ | S2_EXEC, S2_WB);
	expect_leaf(GIB_GFN + 0x123ff, GIB_GFN + 0x123ff, 4 * GIB_GFN + 0x123ff, ORDER_4K, S2_READ | S2_EXEC, S2_WB);
	expect_leaf(GIB_GFN + 0x12400, GIB_GFN + 0x12400, 4 * GIB_GFN + 0x12400, ORDER_2M, S2_READ | S2_EXEC, S2_WB);
	expect_leaf(2 * GIB_GFN - 1, 2 * GIB_GFN - 0x200, 5 * GIB_GFN - 0x200, ORDER_2M, S2_READ | S2_EXEC, S2_WB);
	assert_true(*raw(GIB_GFN + 0x12345, 0) & EPT_DIRTY);
	check_tables(s2.root, 3);
	/* Already that small: nothing to do, nothing to flush. */
	assert_int_equal(ept_ops.split_prepare(&s2, gfn(GIB_GFN + 0x12345), ORDER_4K), ST_OK);
	assert_int_equal(ept_ops.split_commit(&s2, gfn(GIB_GFN + 0x12345), ORDER_4K).generation, 0);
}

static void split_without_prepare_panics(void **state)
{
	(void)state;
	map(0, 0, ORDER_2M, S2_RWX, S2_WB);
	EXPECT_PANIC((void)ept_ops.split_commit(&s2, gfn(0), ORDER_4K));
}

static bool collect(void *ctx, const struct s2_leaf *leaf)
{
	uint64_t *seen = ctx;

	seen[++seen[0]] = leaf->gfn.v;
	return seen[0] < 3;
}

static void walk_rises_and_stops(void **state)
{
	uint64_t seen[8] = {0};

	(void)state;
	map(3 * GIB_GFN, 0, ORDER_1G, S2_READ, S2_WB);
	map(0x200, 0x400, ORDER_2M, S2_READ, S2_WB);
	map(511ull << 27, 0x9, ORDER_4K, S2_READ, S2_WB);
	map(7, 0x9, ORDER_4K, S2_READ, S2_WB);
	ept_ops.walk(&s2, collect, seen);
	assert_int_equal(seen[0], 3);
	assert_true(seen[1] == 7 && seen[2] == 0x200 && seen[3] == 3 * GIB_GFN);
}

/* ---- failing allocations ---- */

/* Table allocation number n fails, n = 1, 2, 3, ..., until the scenario passes: nothing visible changes before that. */
static void every_allocation_fails_once(void **state)
{
	unsigned n;

	(void)state;
	for (n = 1;; n++) {
		enum status st;

		fail_after = n;
		st = ept_ops.map_prepare(&s2, gfn(5ull << 27), ORDER_4K);
		if (st == ST_OK)
			break;
		assert_int_equal(st, ST_NO_MEMORY);
		expect_hole(5ull << 27);
		ept_destroy(&s2);
		assert_int_equal(in_use, 0);
		fail_after = 0;
		s2 = (struct stage2){.invalidate = invalidate, .this_cpu = this_cpu, .raised = raised, .use_1g = true};
		assert_int_equal(ept_init(&s2, &frames), ST_OK);
	}
	assert_int_equal(n, 4); /* three tables below the root */
	fail_after = 0;
	ept_ops.map_commit(&s2, gfn(5ull << 27), hfn(1), ORDER_4K, S2_RWX, S2_WB);
}

static void split_prepare_fails_clean(void **state)
{
	(void)state;
	map(0, 0, ORDER_1G, S2_RWX, S2_WB);
	for (unsigned n = 1; n <= 2; n++) {
		fail_after = n;
		assert_int_equal(ept_ops.split_prepare(&s2, gfn(9), ORDER_4K), ST_NO_MEMORY);
		expect_leaf(9, 0, 0, ORDER_1G, S2_RWX, S2_WB);
		fail_after = 0;
	}
	assert_int_equal(ept_ops.split_prepare(&s2, gfn(9), ORDER_4K), ST_OK);
	ept_ops.split_commit(&s2, gfn(9), ORDER_4K);
	expect_leaf(9, 9, 9, ORDER_4K, S2_RWX, S2_WB);
}

static void no_root_no_stage2(void **state)
{
	struct stage2 none = {.use_1g = true};

	(void)state;
	fail_after = 1;
	assert_int_equal(ept_init(&none, &frames), ST_NO_MEMORY);
}

/* ---- flush tickets ---- */

static void a_fresh_cpu_flushes_before_its_first_entry(void **state)
{
	(void)state;
	assert_true(ept_stale(&s2, 0));
	ept_sync(&s2, 0);
	assert_int_equal(invalidations[0], 1);
	assert_false(ept_stale(&s2, 0));
	ept_sync(&s2, 0);
	assert_int_equal(invalidations[0], 1);
}

static void a_ticket_waits_for_every_cpu_that_ran(void **state)
{
	struct flush_ticket t;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		cpu = i;
		ept_sync(&s2, i);
	}
	cpu = 0;
	map(1, 1, ORDER_4K, S2_RWX, S2_WB);
	t = ept_ops.unmap(&s2, gfn(1), ORDER_4K);
	/* The asking CPU flushes itself at once; the others at their next entry. */
	assert_false(ept_ops.flush_done(&s2, t));
	assert_int_equal(invalidations[0], 2);
	assert_true(ept_stale(&s2, 1) && ept_stale(&s2, 2));
	cpu = 1;
	ept_sync(&s2, 1);
	assert_false(ept_ops.flush_done(&s2, t));
	cpu = 2;
	ept_sync(&s2, 2);
	assert_true(ept_ops.flush_done(&s2, t));
	/* A CPU that never ran the guest caches nothing. */
	assert_int_equal(invalidations[3], 0);
}

/* A CPU that put its vcpu holds no ticket up, and flushes before it enters again. */
static void a_cpu_that_put_does_not_count(void **state)
{
	struct flush_ticket t;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		cpu = i;
		ept_sync(&s2, i);
	}
	cpu = 0;
	map(1, 1, ORDER_4K, S2_RWX, S2_WB);
	t = ept_ops.unmap(&s2, gfn(1), ORDER_4K);
	assert_true(ept_awaits(&s2, 0, t.generation) && ept_awaits(&s2, 1, t.generation));
	assert_false(ept_awaits(&s2, 1, t.generation - 1) || ept_awaits(&s2, 2, t.generation));
	assert_false(ept_ops.flush_done(&s2, t));
	cpu = 1;
	ept_put(&s2, 1);
	cpu = 0;
	assert_false(ept_awaits(&s2, 1, t.generation));
	assert_true(ept_ops.flush_done(&s2, t));
	cpu = 1;
	assert_true(ept_stale(&s2, 1));
	ept_sync(&s2, 1);
	assert_int_equal(invalidations[1], 2);
	/* With nothing raised meanwhile, coming back costs no flush. */
	ept_put(&s2, 1);
	ept_sync(&s2, 1);
	assert_int_equal(invalidations[1], 2);
}

static void the_last_of_256_cpus_counts(void **state)
{
	struct flush_ticket t;

	(void)state;
	cpu = 3;
	ept_sync(&s2, EPT_CPUS_MAX - 1);
	cpu = 0;
	map(1, 1, ORDER_4K, S2_RWX, S2_WB);
	t = ept_ops.unmap(&s2, gfn(1), ORDER_4K);
	assert_false(ept_ops.flush_done(&s2, t));
	cpu = 3;
	ept_sync(&s2, EPT_CPUS_MAX - 1);
	cpu = 0;
	assert_true(ept_ops.flush_done(&s2, t));
}

static void a_guest_that_never_ran_needs_no_flush(void **state)
{
	(void)state;
	map(1, 1, ORDER_4K, S2_RWX, S2_WB);
	assert_true(ept_ops.flush_done(&s2, ept_ops.unmap(&s2, gfn(1), ORDER_4K)));
	assert_int_equal(invalidations[0], 0);
	assert_true(ept_ops.flush_done(&s2, (struct flush_ticket){0}));
}

/* A large leaf takes the place of an empty table: its frame stays until all CPUs have flushed. */
static void an_empty_table_is_retired(void **state)
{
	unsigned before;

	(void)state;
	ept_sync(&s2, 0);
	cpu = 1;
	ept_sync(&s2, 1);
	cpu = 0;
	map(0x200, 1, ORDER_4K, S2_RWX, S2_WB);
	ept_ops.unmap(&s2, gfn(0x200), ORDER_4K);
	before = in_use;
	map(0x200, 0x400, ORDER_2M, S2_RWX, S2_WB);
	expect_leaf(0x3ff, 0x200, 0x400, ORDER_2M, S2_RWX, S2_WB);
	assert_int_equal(in_use, before);
	assert_true(ept_stale(&s2, 0));
	ept_sync(&s2, 0);
	assert_int_equal(in_use, before);
	assert_true(ept_ops.flush_done(&s2, (struct flush_ticket){0}));
	assert_int_equal(in_use, before);
	cpu = 1;
	ept_sync(&s2, 1);
	/* Freed by the next poll or prepare, which are under the map's lock. */
	assert_true(ept_ops.flush_done(&s2, (struct flush_ticket){0}));
	assert_int_equal(in_use, before - 1);
}

/* Two tables retired before any flush; destruction frees what is still retired. */
static void retired_tables_queue(void **state)
{
	(void)state;
	ept_sync(&s2, 0);
	for (uint64_t g = 0; g < 0x400; g += 0x200) {
		map(g, 1, ORDER_4K, S2_RWX, S2_WB);
		ept_ops.unmap(&s2, gfn(g), ORDER_4K);
		map(g, g, ORDER_2M, S2_RWX, S2_WB);
	}
	assert_int_not_equal(s2.retired, 0);
}

/* ---- a long random run ---- */

#define MODEL_BLOCKS 4  /* of 2 MiB */
#define MODEL_PAGES (MODEL_BLOCKS * 512)

static struct {
	bool mapped;
	uint64_t frame;
	unsigned prot;
} model[MODEL_PAGES];
static unsigned block_order[MODEL_BLOCKS]; /* ORDER_2M while one leaf covers it */

static void model_small(unsigned g)
{
	unsigned block = g / 512;

	if (block_order[block] == ORDER_2M) {
		assert_int_equal(ept_ops.split_prepare(&s2, gfn(g), ORDER_4K), ST_OK);
		ept_ops.split_commit(&s2, gfn(g), ORDER_4K);
		block_order[block] = ORDER_4K;
	} else if (model[g].mapped) {
		ept_ops.unmap(&s2, gfn(g), ORDER_4K);
		model[g].mapped = false;
	} else {
		map(g, 0x5000 + g, ORDER_4K, S2_RWX, S2_WB);
		model[g].mapped = true;
		model[g].frame = 0x5000 + g;
		model[g].prot = S2_RWX;
	}
}

static bool block_empty(unsigned block)
{
	for (unsigned i = 0; i < 512; i++)
		if (model[block * 512 + i].mapped)
			return false;
	return true;
}

static void model_large(unsigned block)
{
	bool whole = block_order[block] == ORDER_2M;

	if (whole)
		ept_ops.unmap(&s2, gfn(block * 512), ORDER_2M);
	else if (block_empty(block))
		map(block * 512, 0x8000 + block * 512, ORDER_2M, S2_READ, S2_WB);
	else
		return;
	block_order[block] = whole ? ORDER_4K : ORDER_2M;
	for (unsigned i = 0; i < 512; i++) {
		model[block * 512 + i].mapped = !whole;
		model[block * 512 + i].frame = 0x8000 + block * 512 + i;
		model[block * 512 + i].prot = S2_READ;
	}
}

static void model_protect(unsigned g)
{
	unsigned prot = S2_READ | (unsigned)(rand() & (S2_WRITE | S2_EXEC));

	if (!model[g].mapped || block_order[g / 512] == ORDER_2M)
		return;
	ept_ops.protect(&s2, gfn(g), ORDER_4K, prot);
	model[g].prot = prot;
}

static void model_compare(void)
{
	for (unsigned g = 0; g < MODEL_PAGES; g++) {
		struct s2_leaf leaf;
		bool found = ept_ops.lookup(&s2, gfn(g), &leaf);

		assert_int_equal(found, model[g].mapped);
		if (!found)
			continue;
		assert_int_equal(leaf.hfn.v + (g - leaf.gfn.v), model[g].frame);
		assert_int_equal(leaf.prot, model[g].prot);
		assert_int_equal(leaf.order, block_order[g / 512]);
	}
	check_tables(s2.root, 3);
}

static void random_operations(void **state)
{
	(void)state;
	srand(7);
	memset(model, 0, sizeof model);
	for (unsigned i = 0; i < MODEL_BLOCKS; i++)
		block_order[i] = ORDER_4K;
	for (unsigned step = 0; step < 20000; step++) {
		unsigned g = (unsigned)rand() % MODEL_PAGES;

		switch (rand() % 16) {
		case 0:
			model_large(g / 512);
			break;
		case 1:
			ept_sync(&s2, 0);
			break;
		case 2:
		case 3:
			model_protect(g);
			break;
		default:
			/* Mostly near the start of a block, so that blocks become empty again. */
			model_small(g / 512 * 512 + (unsigned)rand() % 4);
		}
		if (step % 1000 == 0)
			model_compare();
	}
	model_compare();
}

#define EPT_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EPT_TEST(pointer),
		EPT_TEST(leaf_entries),
		cmocka_unit_test(misconfigurations),
		EPT_TEST(map_and_look_up_each_size),
		EPT_TEST(out_of_range_and_unsupported),
		EPT_TEST(mistakes_of_the_caller_panic),
		EPT_TEST(unmap_returns_a_growing_ticket),
		EPT_TEST(protect_flushes_only_when_it_lowers),
		EPT_TEST(harvest_reads_and_clears),
		EPT_TEST(split_keeps_translations_and_bits),
		EPT_TEST(split_without_prepare_panics),
		EPT_TEST(walk_rises_and_stops),
		EPT_TEST(every_allocation_fails_once),
		EPT_TEST(split_prepare_fails_clean),
		EPT_TEST(no_root_no_stage2),
		EPT_TEST(a_fresh_cpu_flushes_before_its_first_entry),
		EPT_TEST(a_ticket_waits_for_every_cpu_that_ran),
		EPT_TEST(a_cpu_that_put_does_not_count),
		EPT_TEST(the_last_of_256_cpus_counts),
		EPT_TEST(a_guest_that_never_ran_needs_no_flush),
		EPT_TEST(an_empty_table_is_retired),
		EPT_TEST(retired_tables_queue),
		EPT_TEST(random_operations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
