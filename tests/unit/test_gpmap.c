/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's memory call by call: declaring and admitting RAM, the size that a
 * first touch picks, writing by the host, removal with splits, flush tickets,
 * release, and every allocation and prepare failed in turn.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "memmgr/internal.h"
#include "tests/expect_panic.h"
#include "tests/fakes/fake_stage2.h"
#include "tests/fakes/ram.h"

#define FRAMES 16384ull /* 64 MiB */
#define LIMIT 8192ull
#define BUDGET 1000

static struct ram ram;
static struct memmgr *mm;
static struct stage2 *s2;
static struct gpmap *map;

static void make_map(uint64_t limit)
{
	s2 = fake_stage2_create(limit);
	assert_int_equal(gpmap_create(mm, 7, limit, &fake_stage2_ops, s2, &map), ST_OK);
}

static int setup(void **state)
{
	(void)state;
	ram = ram_map(FRAMES << PAGE_SHIFT);
	ram_dirty(&ram);
	mm = ram_memmgr(&ram, 8, 4, 0);
	make_map(LIMIT);
	return 0;
}

static void release(void)
{
	while (gpmap_release_step(map, 100) == ST_AGAIN) {
		ram_check(mm);
		fake_stage2_flush_all(s2);
	}
	assert_true(fake_stage2_leaves(s2, ORDER_4K) == 0 && fake_stage2_leaves(s2, ORDER_2M) == 0);
	gpmap_destroy(map);
	fake_stage2_destroy(s2);
	ram_check(mm);
}

/* Everything goes back: a test that leaks a frame or a promise fails here. */
static int teardown(void **state)
{
	struct memmgr_stats stats;

	(void)state;
	release();
	memmgr_stats(mm, &stats);
	assert_true(stats.promised == 0 && stats.frames[FRAME_GUEST] == 0 && stats.frames[FRAME_LEAVING] == 0);
	assert_true(stats.frames[FRAME_HOST] == 1 + stats.table_bytes / PAGE_SIZE);
	ram_unmap(&ram);
	return 0;
}

static bool page_is(const void *page, uint8_t byte)
{
	const uint8_t *p = page;

	return p[0] == byte && memcmp(p, p + 1, PAGE_SIZE - 1) == 0;
}

static void touch(uint64_t at, enum status want)
{
	assert_int_equal(gpmap_fault(map, gfn(at), S2_WRITE), want);
}

/* Takes frames for the host until @keep are free; returns how many. */
static uint64_t hog(uint64_t keep, hfn_t *hogged)
{
	uint64_t n = 0;

	while (cells_count(mm, FRAME_FREE) > keep)
		assert_int_equal(memmgr_alloc(mm, 0, &hogged[n++]), ST_OK);
	return n;
}

static void unhog(const hfn_t *hogged, uint64_t n)
{
	while (n-- > 0)
		memmgr_free(mm, hogged[n], 0);
}

/* ---- creating and declaring ---- */

static void create_refuses(void **state)
{
	struct gpmap *other = NULL;

	(void)state;
	assert_int_equal(gpmap_create(mm, 0, LIMIT, &fake_stage2_ops, s2, &other), ST_INVALID);
	assert_int_equal(gpmap_create(mm, 8, 0, &fake_stage2_ops, s2, &other), ST_INVALID);
	assert_int_equal(gpmap_create(mm, 7, LIMIT, &fake_stage2_ops, s2, &other), ST_EXISTS);
	assert_int_equal(gpmap_create(mm, 8, BIT(36), &fake_stage2_ops, s2, &other), ST_OVER_LIMIT);
	assert_int_equal(gpmap_create(mm, 8, UINT64_MAX, &fake_stage2_ops, s2, &other), ST_OVER_LIMIT);
	assert_int_equal(gpmap_create(mm, 8, BIT(34), &fake_stage2_ops, s2, &other), ST_NO_MEMORY);
	assert_null(other);
}

static void add_ram_refuses(void **state)
{
	(void)state;
	assert_int_equal(gpmap_add_ram(map, gfn(0), 0), ST_INVALID);
	assert_int_equal(gpmap_add_ram(map, gfn(1), LIMIT), ST_INVALID);
	assert_int_equal(gpmap_add_ram(map, gfn(LIMIT + 1), 1), ST_INVALID);
	assert_int_equal(gpmap_add_ram(map, gfn(UINT64_MAX), 2), ST_INVALID);
	assert_int_equal(gpmap_add_ram(map, gfn(1), UINT64_MAX), ST_INVALID);
	assert_int_equal(gpmap_add_ram(map, gfn(100), 1000), ST_OK);
	assert_int_equal(gpmap_add_ram(map, gfn(0), 101), ST_EXISTS);
	assert_int_equal(gpmap_add_ram(map, gfn(1099), 1), ST_EXISTS);
	assert_int_equal(gpmap_add_ram(map, gfn(512), 512), ST_EXISTS);
	assert_int_equal(gpmap_add_ram(map, gfn(1100), 1), ST_OK);
	assert_int_equal(gpmap_add_ram(map, gfn(99), 1), ST_OK);
	ram_check(mm);
}

static void edges_are_exact(void **state)
{
	struct gpmap_stats stats;

	(void)state;
	assert_int_equal(gpmap_add_ram(map, gfn(0), 160), ST_OK);
	assert_int_equal(gpmap_add_ram(map, gfn(256), 1000), ST_OK);
	touch(159, ST_OK);
	touch(160, ST_BAD_ADDRESS);
	touch(255, ST_BAD_ADDRESS);
	touch(256, ST_OK);
	touch(1255, ST_OK);
	touch(1256, ST_BAD_ADDRESS);
	touch(LIMIT, ST_BAD_ADDRESS);
	touch(UINT64_MAX, ST_BAD_ADDRESS);
	assert_null(gpmap_va(map, gfn(160)));
	assert_null(gpmap_va(map, gfn(0)));
	assert_null(gpmap_va(map, gfn(UINT64_MAX)));
	assert_non_null(gpmap_va(map, gfn(159)));
	gpmap_stats(map, &stats);
	assert_true(stats.ram_pages == 1160 && stats.present_pages == 3 && stats.leaves_4k == 3);
	ram_check(mm);
}

static void what_does_not_fit_is_not_admitted(void **state)
{
	struct stage2 *s2b = fake_stage2_create(BIT(20));
	struct gpmap *second;
	struct memmgr_stats stats;

	(void)state;
	assert_int_equal(gpmap_create(mm, 8, BIT(20), &fake_stage2_ops, s2b, &second), ST_OK);
	assert_int_equal(gpmap_add_ram(second, gfn(0), BIT(20)), ST_NOT_ADMITTED);
	assert_int_equal(gpmap_add_ram(map, gfn(0), LIMIT), ST_OK);
	memmgr_stats(mm, &stats);
	/* What is left is nearly all, but the second guest needs a little more than its pages. */
	assert_int_equal(gpmap_add_ram(second, gfn(0), stats.frames[FRAME_FREE] - stats.promised), ST_NOT_ADMITTED);
	assert_int_equal(gpmap_add_ram(second, gfn(0), 4096), ST_OK);
	ram_check(mm);
	/* Both may now touch all they were promised. */
	for (uint64_t at = 0; at < LIMIT; at++)
		touch(at, ST_OK);
	for (uint64_t at = 0; at < 4096; at++)
		assert_int_equal(gpmap_fault(second, gfn(at), S2_READ), ST_OK);
	ram_check(mm);
	while (gpmap_release_step(second, BUDGET) == ST_AGAIN)
		continue;
	gpmap_destroy(second);
	fake_stage2_destroy(s2b);
}

/* ---- first touch ---- */

static void a_cleared_2m_block_is_taken_when_all_is_absent(void **state)
{
	struct memmgr_stats stats;
	struct s2_leaf leaf;

	(void)state;
	assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_OK);
	assert_int_equal(gpmap_add_ram(map, gfn(0), 3 * 512), ST_OK);
	touch(512 + 77, ST_OK);
	assert_true(fake_stage2_ops.lookup(s2, gfn(1023), &leaf));
	assert_true(leaf.order == ORDER_2M && leaf.gfn.v == 512 && leaf.prot == S2_RWX && leaf.memtype == S2_WB);
	for (uint64_t at = 512; at < 1024; at++)
		assert_true(page_is(gpmap_va(map, gfn(at)), 0));
	assert_null(gpmap_va(map, gfn(511)));
	memmgr_stats(mm, &stats);
	assert_true(stats.fault_2m == 1 && stats.cleared_2m == 3 && stats.frames[FRAME_GUEST] == 512);
	touch(600, ST_OK); /* present: another vcpu was faster */
	memmgr_stats(mm, &stats);
	assert_true(stats.fault_2m == 1);
}

static void without_blocks_4k_comes_from_the_pool_then_inline(void **state)
{
	struct memmgr_stats stats;

	(void)state;
	mm->pool_target[LEAF_2M] = 0;
	assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_OK);
	assert_int_equal(gpmap_add_ram(map, gfn(0), 512), ST_OK);
	for (uint64_t at = 0; at < 10; at++) {
		touch(at, ST_OK);
		assert_true(page_is(gpmap_va(map, gfn(at)), 0));
	}
	memmgr_stats(mm, &stats);
	assert_true(stats.fault_4k_pool == 7 && stats.fault_4k_inline == 3); /* one of 8 became the chunk */
	assert_true(stats.cleared_4k == 0);
	/* Blocks that become ready later do not disturb a 2 MiB that has small pages. */
	mm->pool_target[LEAF_2M] = 1;
	assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_OK);
	touch(100, ST_OK);
	memmgr_stats(mm, &stats);
	assert_true(stats.fault_2m == 0);
}

static void a_2m_with_a_hole_gets_small_pages(void **state)
{
	struct memmgr_stats stats;

	(void)state;
	assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_OK);
	assert_int_equal(gpmap_add_ram(map, gfn(1), 511), ST_OK);
	touch(1, ST_OK);
	memmgr_stats(mm, &stats);
	assert_true(stats.fault_2m == 0 && stats.fault_4k_pool == 1);
}

/* A stage-2 that refuses the large leaf gets a small one, and nothing is lost. */
static void a_refused_large_leaf_falls_back(void **state)
{
	struct memmgr_stats stats;

	(void)state;
	assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_OK);
	assert_int_equal(gpmap_add_ram(map, gfn(0), 512), ST_OK);
	fake_stage2_fail_prepare(s2, 1);
	touch(0, ST_OK);
	memmgr_stats(mm, &stats);
	assert_true(stats.fault_2m == 0 && stats.fault_4k_pool == 1 && stats.cleared_2m == 4);
	ram_check(mm);
}

static void access_that_stays_refused_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(gpmap_add_ram(map, gfn(0), 512), ST_OK);
	touch(3, ST_OK);
	fake_stage2_ops.protect(s2, gfn(3), ORDER_4K, S2_READ);
	assert_int_equal(gpmap_fault(map, gfn(3), S2_READ), ST_OK);
	assert_int_equal(gpmap_fault(map, gfn(3), S2_WRITE), ST_BAD_STATE);
	fake_stage2_ops.protect(s2, gfn(3), ORDER_4K, S2_RWX);
}

static void one_gigabyte_leaf(void **state)
{
	struct ram big = ram_map(3ull << 30);
	struct memmgr *small_mm = mm;
	struct gpmap *small_map = map;
	struct stage2 *small_s2 = s2;
	struct gpmap_stats stats;

	(void)state;
	mm = ram_memmgr(&big, 1, 1, 1);
	assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_OK);
	make_map(3 * 512); /* a map that ends before a GiB does */
	assert_int_equal(gpmap_add_ram(map, gfn(0), 3 * 512), ST_OK);
	touch(5, ST_OK);
	gpmap_stats(map, &stats);
	assert_true(stats.leaves_1g == 0 && stats.leaves_2m == 1);
	release();
	assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_OK);
	make_map(2 * BIT(ORDER_1G));
	assert_int_equal(gpmap_add_ram(map, gfn(0), BIT(ORDER_1G) - 200), ST_OK);
	touch(5000, ST_OK); /* the GiB is not RAM to its end: 2 MiB */
	gpmap_stats(map, &stats);
	assert_true(stats.leaves_1g == 0 && stats.leaves_2m == 1);
	assert_int_equal(gpmap_add_ram(map, gfn(BIT(ORDER_1G)), BIT(ORDER_1G)), ST_OK);
	touch(BIT(ORDER_1G) + 5000, ST_OK);
	gpmap_stats(map, &stats);
	assert_true(stats.leaves_1g == 1 && stats.present_pages == BIT(ORDER_1G) + 512);
	memset(gpmap_va(map, gfn(2 * BIT(ORDER_1G) - 1)), 9, PAGE_SIZE);
	ram_check(mm);
	fake_stage2_use_tickets(s2, true);
	assert_int_equal(gpmap_remove(map, gfn(BIT(ORDER_1G) + 77777)), ST_OK);
	assert_null(gpmap_va(map, gfn(BIT(ORDER_1G) + 77777)));
	assert_true(page_is(gpmap_va(map, gfn(2 * BIT(ORDER_1G) - 1)), 9));
	gpmap_stats(map, &stats);
	assert_true(stats.leaves_1g == 0 && stats.leaves_2m == 512 && stats.leaves_4k == 511);
	ram_check(mm);
	release();
	ram_unmap(&big);
	mm = small_mm;
	map = small_map;
	s2 = small_s2;
}

/* ---- the host's side ---- */

static void populate_gives_cleared_pages(void **state)
{
	void *va = NULL, *again;

	(void)state;
	assert_int_equal(gpmap_add_ram(map, gfn(0), 300), ST_OK);
	assert_int_equal(gpmap_populate(map, gfn(300), &va), ST_BAD_ADDRESS);
	assert_int_equal(gpmap_populate(map, gfn(LIMIT), &va), ST_BAD_ADDRESS);
	assert_null(va);
	assert_int_equal(gpmap_populate(map, gfn(0), &va), ST_OK);
	assert_true(page_is(va, 0));
	assert_ptr_equal(va, gpmap_va(map, gfn(0)));
	memset(va, 3, PAGE_SIZE);
	assert_int_equal(gpmap_populate(map, gfn(0), &again), ST_OK);
	assert_ptr_equal(va, again);
	assert_true(page_is(va, 3));
	assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_OK);
	assert_int_equal(gpmap_populate(map, gfn(1), &va), ST_OK);
	assert_true(page_is(va, 0));
	ram_check(mm);
}

static void copies_stay_in_their_page(void **state)
{
	uint8_t got[16] = {0}, *va;

	(void)state;
	assert_int_equal(gpmap_add_ram(map, gfn(0), 300), ST_OK);
	assert_int_equal(gpmap_write(map, gpa(300 * PAGE_SIZE), "x", 1), ST_BAD_ADDRESS);
	assert_int_equal(gpmap_read(map, gpa(LIMIT * PAGE_SIZE), got, 1), ST_BAD_ADDRESS);
	assert_int_equal(gpmap_write(map, gpa(5 * PAGE_SIZE + 4090), "sixabc", 6), ST_OK);
	assert_int_equal(gpmap_fill(map, gpa(5 * PAGE_SIZE + 4080), 7, 4), ST_OK);
	assert_int_equal(gpmap_read(map, gpa(5 * PAGE_SIZE + 4080), got, 16), ST_OK);
	assert_memory_equal(got, "\7\7\7\7\0\0\0\0\0\0sixabc", 16);
	va = gpmap_va(map, gfn(5));
	assert_true(va[4079] == 0 && memcmp(va, va + 1, 4079) == 0);
	assert_int_equal(gpmap_read(map, gpa(6 * PAGE_SIZE), got, 16), ST_OK); /* absent: populated, cleared */
	assert_true(got[0] == 0 && memcmp(got, got + 1, 15) == 0);
	assert_non_null(gpmap_va(map, gfn(6)));
	EXPECT_PANIC((void)!gpmap_read(map, gpa(4090), got, 7));
}

/* ---- removal ---- */

static void remove_answers(void **state)
{
	(void)state;
	assert_int_equal(gpmap_add_ram(map, gfn(0), 10), ST_OK);
	assert_int_equal(gpmap_remove(map, gfn(LIMIT)), ST_BAD_ADDRESS);
	assert_int_equal(gpmap_remove(map, gfn(10)), ST_BAD_ADDRESS);
	assert_int_equal(gpmap_remove(map, gfn(9)), ST_BAD_STATE);
	touch(9, ST_OK);
	assert_int_equal(gpmap_remove(map, gfn(9)), ST_OK);
	assert_int_equal(gpmap_remove(map, gfn(9)), ST_BAD_STATE);
	touch(9, ST_OK);
	assert_true(page_is(gpmap_va(map, gfn(9)), 0));
	ram_check(mm);
}

static void a_frame_leaves_until_its_flush(void **state)
{
	struct memmgr_stats stats;
	hfn_t first, second;

	(void)state;
	fake_stage2_use_tickets(s2, true);
	assert_int_equal(gpmap_add_ram(map, gfn(0), 10), ST_OK);
	touch(0, ST_OK);
	touch(1, ST_OK);
	first = memmgr_hfn(mm, gpmap_va(map, gfn(0)));
	second = memmgr_hfn(mm, gpmap_va(map, gfn(1)));
	assert_int_equal(gpmap_remove(map, gfn(0)), ST_OK);
	assert_int_equal(gpmap_remove(map, gfn(1)), ST_OK);
	assert_int_equal(memmgr_drain_leaving(mm), 2);
	assert_int_equal(frame_get(mm, (uint32_t)first.v)->state, FRAME_LEAVING);
	ram_check(mm);
	fake_stage2_flush(s2, 1);
	assert_int_equal(memmgr_drain_leaving(mm), 1);
	assert_int_equal(frame_get(mm, (uint32_t)first.v)->state, FRAME_FREE);
	assert_int_equal(frame_get(mm, (uint32_t)second.v)->state, FRAME_LEAVING);
	memmgr_stats(mm, &stats);
	assert_true(stats.frames[FRAME_LEAVING] == 1);
	fake_stage2_flush_all(s2);
	assert_int_equal(memmgr_drain_leaving(mm), 0);
	ram_check(mm);
}

static void removal_from_2m_splits(void **state)
{
	struct gpmap_stats stats;

	(void)state;
	assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_OK);
	assert_int_equal(gpmap_add_ram(map, gfn(0), 1024), ST_OK);
	touch(700, ST_OK);
	for (uint64_t at = 512; at < 1024; at++)
		memset(gpmap_va(map, gfn(at)), (int)(at & 0xff), PAGE_SIZE);
	fake_stage2_fail_prepare(s2, 1);
	assert_int_equal(gpmap_remove(map, gfn(700)), ST_NO_MEMORY);
	gpmap_stats(map, &stats);
	assert_true(stats.leaves_2m == 1 && stats.leaves_4k == 0);
	ram_check(mm);
	assert_int_equal(gpmap_remove(map, gfn(700)), ST_OK);
	gpmap_stats(map, &stats);
	assert_true(stats.leaves_2m == 0 && stats.leaves_4k == 511 && stats.present_pages == 511);
	for (uint64_t at = 512; at < 1024; at++) {
		if (at != 700)
			assert_true(page_is(gpmap_va(map, gfn(at)), at & 0xff));
	}
	touch(700, ST_OK);
	assert_true(page_is(gpmap_va(map, gfn(700)), 0));
	ram_check(mm);
}

/* ---- release ---- */

static void release_is_bounded_and_final(void **state)
{
	struct gpmap_stats stats;
	unsigned steps = 0;
	enum status st;

	(void)state;
	fake_stage2_use_tickets(s2, true);
	assert_int_equal(gpmap_add_ram(map, gfn(0), 700), ST_OK);
	for (uint64_t at = 0; at < 700; at++)
		touch(at, ST_OK);
	assert_int_equal(gpmap_release_step(map, 50), ST_AGAIN);
	gpmap_stats(map, &stats);
	assert_true(stats.present_pages == 650 && stats.leaving_pages == 50);
	touch(0, ST_BAD_STATE);
	assert_int_equal(gpmap_add_ram(map, gfn(1000), 1), ST_BAD_STATE);
	while (gpmap_release_step(map, 50) == ST_AGAIN && steps++ < 1000)
		ram_check(mm);
	assert_int_equal(steps, 1001); /* nobody flushed: the frames may not be free */
	gpmap_stats(map, &stats);
	assert_true(stats.present_pages == 0 && stats.ram_pages == 0 && stats.leaving_pages == 700);
	fake_stage2_flush_all(s2);
	for (steps = 0, st = ST_AGAIN; st == ST_AGAIN; steps++)
		st = gpmap_release_step(map, 50);
	assert_int_equal(steps, 14);
}

static void destroy_needs_release(void **state)
{
	(void)state;
	assert_int_equal(gpmap_add_ram(map, gfn(0), 1), ST_OK);
	EXPECT_PANIC(gpmap_destroy(map));
	assert_int_equal(gpmap_release_step(map, 0), ST_AGAIN);
	EXPECT_PANIC(gpmap_destroy(map));
}

/* ---- failures in turn ---- */

/* A large first touch, a page for the host, a small first touch, a split: one prepare each. */
static enum status scenario(void)
{
	enum status st = gpmap_fault(map, gfn(5), S2_READ);
	void *va;

	if (st == ST_OK)
		st = gpmap_populate(map, gfn(1030), &va);
	if (st == ST_OK)
		st = gpmap_fault(map, gfn(2050), S2_READ);
	return st == ST_OK ? gpmap_remove(map, gfn(5)) : st;
}

static void start_over(void)
{
	release();
	make_map(LIMIT);
	assert_int_equal(gpmap_add_ram(map, gfn(0), 4096), ST_OK);
}

static void every_prepare_failed_in_turn(void **state)
{
	bool reached = true;
	unsigned n, failed = 0;

	(void)state;
	mm->pool_target[LEAF_4K] = 0;
	mm->pool_target[LEAF_2M] = 1;
	for (n = 1; reached; n++) {
		enum status st;

		start_over();
		assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_OK);
		fake_stage2_fail_prepare(s2, n);
		st = scenario();
		reached = !fake_stage2_fail_prepare(s2, 0);
		assert_true(st == ST_OK || (st == ST_NO_MEMORY && reached));
		failed += st != ST_OK;
		ram_check(mm);
		/* Nothing is left half done: the same again works. */
		if (st != ST_OK)
			assert_int_equal(scenario(), ST_OK);
		ram_check(mm);
	}
	/* Four prepares, of which the large leaf's falls back by itself. */
	assert_int_equal(n, 6);
	assert_int_equal(failed, 3);
}

static void every_allocation_failed_in_turn(void **state)
{
	static hfn_t hogged[FRAMES];
	uint64_t failures = 0, free_before, n, keep;
	enum status st = ST_NO_MEMORY;

	(void)state;
	mm->pool_target[LEAF_4K] = 0;
	mm->pool_target[LEAF_2M] = 0;
	for (keep = 0; st != ST_OK; keep++) {
		start_over();
		n = hog(keep, hogged);
		free_before = cells_count(mm, FRAME_FREE);
		st = gpmap_fault(map, gfn(5), S2_READ);
		if (st == ST_OK)
			st = gpmap_fault(map, gfn(600), S2_READ);
		if (st != ST_OK) {
			assert_int_equal(st, ST_NO_MEMORY);
			failures++;
		}
		/* A failed touch keeps nothing: what is gone is what the touches that worked hold. */
		assert_true(cells_count(mm, FRAME_FREE) == free_before - map->present_pages - map->chunks);
		assert_true(map->chunks == map->present_pages);
		ram_check(mm);
		unhog(hogged, n);
	}
	assert_true(failures == 4 && keep == 5);
	for (keep = 0, failures = 0, st = ST_NO_MEMORY; st != ST_OK; keep++) {
		release();
		n = hog(keep, hogged);
		s2 = fake_stage2_create(LIMIT);
		st = gpmap_create(mm, 7, LIMIT, &fake_stage2_ops, s2, &map);
		if (st == ST_OK && keep > 0)
			ram_check(mm);
		unhog(hogged, n);
		if (st != ST_OK) {
			failures++;
			fake_stage2_destroy(s2);
			make_map(LIMIT);
		}
	}
	assert_true(failures == 1 && keep == 2);
}

/* Admission sets aside what the edges need, so a declaration that is admitted succeeds. */
static void an_admitted_declaration_has_its_chunks(void **state)
{
	static hfn_t hogged[FRAMES];
	enum status st = ST_NOT_ADMITTED;
	uint64_t n, keep;

	(void)state;
	for (keep = 0; st != ST_OK; keep++) {
		n = hog(keep, hogged);
		st = gpmap_add_ram(map, gfn(510), 4);
		assert_true(st == ST_OK || st == ST_NOT_ADMITTED);
		assert_int_equal(map->chunks, st == ST_OK ? 2 : 0);
		ram_check(mm);
		unhog(hogged, n);
	}
	assert_true(keep > 6 && map->headroom >= 2);
}

static void overhead_is_as_told(void **state)
{
	struct gpmap_stats stats;

	(void)state;
	assert_true(gpmap_overhead_bytes(LIMIT, LIMIT) == PAGE_SIZE + LIMIT * 8);
	mm->pool_target[LEAF_2M] = 0;
	assert_int_equal(gpmap_add_ram(map, gfn(0), LIMIT), ST_OK);
	gpmap_stats(map, &stats);
	assert_true(stats.overhead_bytes == PAGE_SIZE); /* nothing touched, no chunk */
	for (uint64_t at = 0; at < LIMIT; at++)
		touch(at, ST_OK);
	gpmap_stats(map, &stats);
	assert_true(stats.overhead_bytes == gpmap_overhead_bytes(LIMIT, LIMIT));
	/* 4 TiB: 8 bytes a page and the directory, rounded to a block. */
	assert_true(gpmap_overhead_bytes(BIT(30), BIT(30)) == (8ull << 30) + (32ull << 20));
}

/* ---- pins ---- */

static struct gpmap_pin pin(gpa_t at, uint64_t want)
{
	struct gpmap_pin p = {.bytes = 0};

	assert_int_equal(gpmap_pin(map, at, &p), ST_OK);
	assert_int_equal(p.bytes, want);
	return p;
}

static void a_pinned_page_stays(void **state)
{
	struct gpmap_pin first, second;
	struct gpmap_stats stats;

	(void)state;
	mm->pool_target[LEAF_2M] = 0;
	assert_int_equal(gpmap_add_ram(map, gfn(100), 10), ST_OK);
	first = pin(gpa(105 * PAGE_SIZE + 0x123), PAGE_SIZE - 0x123);
	assert_ptr_equal(first.va, (uint8_t *)gpmap_va(map, gfn(105)) + 0x123);
	assert_true(page_is(gpmap_va(map, gfn(105)), 0));
	second = pin(gpa(105 * PAGE_SIZE + 0xfff), 1);
	assert_ptr_equal(second.va, (uint8_t *)gpmap_va(map, gfn(105)) + 0xfff);
	assert_int_equal(gpmap_remove(map, gfn(105)), ST_BUSY);
	ram_check(mm);
	gpmap_stats(map, &stats);
	assert_int_equal(stats.pins, 2);
	gpmap_unpin(map, first.leaf);
	assert_int_equal(gpmap_remove(map, gfn(105)), ST_BUSY);
	gpmap_unpin(map, second.leaf);
	assert_int_equal(gpmap_remove(map, gfn(105)), ST_OK);
	assert_int_equal(gpmap_remove(map, gfn(105)), ST_BAD_STATE);
	ram_check(mm);
}

static void a_pin_keeps_its_whole_leaf(void **state)
{
	struct gpmap_pin p;

	(void)state;
	assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_OK);
	assert_int_equal(gpmap_add_ram(map, gfn(0), 1024), ST_OK);
	touch(600, ST_OK);
	assert_int_equal(map->leaves[LEAF_2M], 1);
	p = pin(gpa(700 * PAGE_SIZE + 8), (1024 - 700) * PAGE_SIZE - 8);
	ram_check(mm);
	assert_int_equal(gpmap_remove(map, gfn(512)), ST_BUSY);
	assert_int_equal(gpmap_remove(map, gfn(1023)), ST_BUSY);
	assert_int_equal(map->leaves[LEAF_2M], 1);
	assert_int_equal(p.leaf, gp_frame(gpmap_lookup(map, 512)));
	gpmap_unpin(map, p.leaf);
	assert_int_equal(gpmap_remove(map, gfn(512)), ST_OK);
	assert_int_equal(map->leaves[LEAF_2M], 0);
	/* What came of the split is pinned page by page. */
	p = pin(gpa(513 * PAGE_SIZE), PAGE_SIZE);
	assert_int_equal(gpmap_remove(map, gfn(514)), ST_OK);
	assert_int_equal(gpmap_remove(map, gfn(513)), ST_BUSY);
	gpmap_unpin(map, p.leaf);
	ram_check(mm);
}

static void pin_refuses(void **state)
{
	struct gpmap_pin p = {.va = map, .bytes = 1, .leaf = 2};

	(void)state;
	mm->pool_target[LEAF_2M] = 0;
	assert_int_equal(gpmap_add_ram(map, gfn(100), 10), ST_OK);
	assert_int_equal(gpmap_pin(map, gpa(99 * PAGE_SIZE), &p), ST_BAD_ADDRESS);
	assert_int_equal(gpmap_pin(map, gpa(LIMIT * PAGE_SIZE), &p), ST_BAD_ADDRESS);
	assert_int_equal(gpmap_pin(map, gpa(UINT64_MAX), &p), ST_BAD_ADDRESS);
	touch(100, ST_OK);
	mm->table[gp_frame(gpmap_lookup(map, 100))].next = UINT32_MAX;
	assert_int_equal(gpmap_pin(map, gpa(100 * PAGE_SIZE), &p), ST_OVER_LIMIT);
	mm->table[gp_frame(gpmap_lookup(map, 100))].next = 0;
	assert_true(p.va == map && p.bytes == 1 && p.leaf == 2);
	EXPECT_PANIC(gpmap_unpin(map, gp_frame(gpmap_lookup(map, 100))));
	lock_release(&map->lock);
	EXPECT_PANIC(gpmap_unpin(map, UINT32_MAX));
	lock_release(&map->lock);
}

static void release_waits_for_pins(void **state)
{
	struct gpmap_pin p, other;

	(void)state;
	assert_int_equal(gpmap_add_ram(map, gfn(100), 10), ST_OK);
	p = pin(gpa(105 * PAGE_SIZE), PAGE_SIZE);
	assert_int_equal(gpmap_release_step(map, 100), ST_BUSY);
	assert_int_equal(map->ram_pages, 10);
	assert_int_equal(gpmap_pin(map, gpa(105 * PAGE_SIZE), &other), ST_BAD_STATE);
	gpmap_unpin(map, p.leaf);
	assert_true(gpmap_release_step(map, 100) != ST_BUSY);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(create_refuses),
		CASE(add_ram_refuses),
		CASE(edges_are_exact),
		CASE(what_does_not_fit_is_not_admitted),
		CASE(a_cleared_2m_block_is_taken_when_all_is_absent),
		CASE(without_blocks_4k_comes_from_the_pool_then_inline),
		CASE(a_2m_with_a_hole_gets_small_pages),
		CASE(a_refused_large_leaf_falls_back),
		CASE(access_that_stays_refused_is_an_error),
		CASE(one_gigabyte_leaf),
		CASE(populate_gives_cleared_pages),
		CASE(copies_stay_in_their_page),
		CASE(remove_answers),
		CASE(a_frame_leaves_until_its_flush),
		CASE(removal_from_2m_splits),
		CASE(release_is_bounded_and_final),
		CASE(destroy_needs_release),
		CASE(every_prepare_failed_in_turn),
		CASE(every_allocation_failed_in_turn),
		CASE(an_admitted_declaration_has_its_chunks),
		CASE(overhead_is_as_told),
		CASE(a_pinned_page_stays),
		CASE(a_pin_keeps_its_whole_leaf),
		CASE(pin_refuses),
		CASE(release_waits_for_pins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
