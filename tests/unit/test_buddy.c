/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocator and the cleared pools: sizes, alignment, merging back to the
 * first state, clearing by steps, and giving cleared blocks up under pressure.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "memmgr/internal.h"
#include "tests/fakes/ram.h"

#define FRAMES 8192ull /* 32 MiB */

static struct ram ram;

static int setup(void **state)
{
	(void)state;
	ram = ram_map(FRAMES << PAGE_SHIFT);
	ram_dirty(&ram);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ram_unmap(&ram);
	return 0;
}

static bool is_zero(const void *p, uint64_t bytes)
{
	const uint64_t *v = p;

	for (uint64_t i = 0; i < bytes / sizeof *v; i++) {
		if (v[i] != 0)
			return false;
	}
	return true;
}

static void every_order_is_aligned_and_merges_back(void **state)
{
	struct memmgr *mm = ram_memmgr(&ram, 0, 0, 0);
	struct frame_list before[ORDERS];
	hfn_t frame[ORDERS];

	(void)state;
	memcpy(before, mm->free, sizeof before);
	for (unsigned order = 0; order <= 12; order++) {
		assert_int_equal(memmgr_alloc(mm, order, &frame[order]), order < 12 ? ST_OK : ST_NO_MEMORY);
		if (order == 12)
			break;
		assert_true(is_aligned(frame[order].v, BIT(order)));
		memset(memmgr_va(mm, frame[order]), (int)order, PAGE_SIZE << order);
		ram_check(mm);
	}
	for (unsigned order = 0; order < 12; order += 2)
		memmgr_free(mm, frame[order], order);
	for (unsigned order = 1; order < 12; order += 2)
		memmgr_free(mm, frame[order], order);
	cell_reclaim(mm, 0);
	for (unsigned order = 0; order < ORDERS; order++)
		assert_int_equal(mm->free[order].count, before[order].count);
	ram_check(mm);
}

static void too_large_an_order_is_an_answer(void **state)
{
	struct memmgr *mm = ram_memmgr(&ram, 0, 0, 0);
	hfn_t frame = hfn(77);

	(void)state;
	assert_int_equal(memmgr_alloc(mm, MEMMGR_MAX_ORDER + 1, &frame), ST_INVALID);
	assert_int_equal(memmgr_alloc_zero(mm, MEMMGR_MAX_ORDER + 1, &frame), ST_INVALID);
	assert_int_equal(memmgr_alloc(mm, MEMMGR_MAX_ORDER, &frame), ST_NO_MEMORY);
	assert_true(frame.v == 77);
}

static void zeroed_means_all_of_it(void **state)
{
	struct memmgr *mm = ram_memmgr(&ram, 1, 1, 0);
	hfn_t frame;

	(void)state;
	assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_OK);
	for (unsigned order = 0; order < 11; order++) {
		assert_int_equal(memmgr_alloc_zero(mm, order, &frame), ST_OK);
		assert_true(is_zero(memmgr_va(mm, frame), PAGE_SIZE << order));
	}
	assert_true(mm->pool[LEAF_4K].count == 0 && mm->pool[LEAF_2M].count == 0);
	ram_check(mm);
}

static void clearing_goes_on_where_it_stopped(void **state)
{
	struct memmgr *mm = ram_memmgr(&ram, 2, 1, 0);
	struct memmgr_stats stats;
	unsigned steps = 0;

	(void)state;
	assert_int_equal(memmgr_clear_step(mm, 0), ST_AGAIN);
	assert_int_equal(memmgr_clear_step(mm, 1), ST_AGAIN);
	memmgr_stats(mm, &stats);
	assert_true(stats.cleared_4k == 1 && stats.cleared_2m == 0);
	while (memmgr_clear_step(mm, 10) == ST_AGAIN) {
		ram_check(mm);
		steps++;
	}
	assert_int_equal(steps, 51); /* 513 pages were left; the 52nd step says that it is done */
	memmgr_stats(mm, &stats);
	assert_true(stats.cleared_4k == 2 && stats.cleared_2m == 1);
	assert_int_equal(memmgr_clear_step(mm, 10), ST_OK);
	assert_true(is_zero(frame_va(mm, mm->pool[LEAF_2M].head), PAGE_SIZE << ORDER_2M));
	ram_check(mm);
}

/* 15 cleared blocks of 2 MiB are nearly all memory; the host must still get its frames. */
static void cleared_blocks_are_given_up_under_pressure(void **state)
{
	struct memmgr *mm = ram_memmgr(&ram, 100, 64, 0);
	struct memmgr_stats stats;
	uint64_t taken = 0;
	hfn_t frame;

	(void)state;
	assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_NO_MEMORY);
	memmgr_stats(mm, &stats);
	assert_true(stats.cleared_2m >= 14 && stats.cleared_4k == 100);
	ram_check(mm);
	assert_int_equal(memmgr_alloc(mm, 11, &frame), ST_OK); /* 8 MiB: only after merging */
	ram_check(mm);
	memmgr_free(mm, frame, 11);
	assert_int_equal(memmgr_clear_step(mm, 700), ST_AGAIN); /* one half cleared */
	assert_true(mm->cells[0].clearing.frame != FRAME_NIL);
	while (memmgr_alloc(mm, 0, &frame) == ST_OK)
		taken++;
	assert_true(taken == stats.frames[FRAME_FREE]);
	memmgr_stats(mm, &stats);
	assert_true(stats.cleared_2m == 0 && stats.cleared_4k == 0 && stats.frames[FRAME_FREE] == 0);
	assert_int_equal(memmgr_clear_step(mm, 1), ST_NO_MEMORY);
	ram_check(mm);
}

/* What lies behind the table may look like a free buddy: it must not be asked. */
static void the_end_of_the_table_is_the_end(void **state)
{
	const struct mem_range ranges[] = {{hfn(0), 1000}, {hfn(1024), 2}};
	struct memmgr_config cfg = {.ram = ranges, .ram_count = 2, .direct_map = ram.base};
	struct memmgr *mm;
	struct error err;
	hfn_t frame;

	(void)state;
	assert_int_equal(memmgr_init(&cfg, &mm, &err), ST_OK);
	do
		assert_int_equal(memmgr_alloc(mm, 1, &frame), ST_OK);
	while (frame.v != 1024);
	mm->table[1026] = (struct frame){.state = FRAME_FREE, .order = 1, .next = FRAME_NIL, .word = FRAME_NIL};
	memmgr_free(mm, frame, 1);
	ram_check(mm);
}

static void one_gigabyte_ahead(void **state)
{
	struct ram big = ram_map(3ull << 30);
	struct memmgr *mm = ram_memmgr(&big, 0, 0, 1);
	struct memmgr_stats stats;
	unsigned steps = 0;

	(void)state;
	while (memmgr_clear_step(mm, 4096) == ST_AGAIN)
		steps++;
	assert_int_equal(steps, 63);
	memmgr_stats(mm, &stats);
	assert_true(stats.cleared_1g == 1);
	ram_check(mm);
	ram_unmap(&big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_order_is_aligned_and_merges_back, setup, teardown),
		cmocka_unit_test_setup_teardown(too_large_an_order_is_an_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(zeroed_means_all_of_it, setup, teardown),
		cmocka_unit_test_setup_teardown(clearing_goes_on_where_it_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(cleared_blocks_are_given_up_under_pressure, setup, teardown),
		cmocka_unit_test_setup_teardown(the_end_of_the_table_is_the_end, setup, teardown),
		cmocka_unit_test(one_gigabyte_ahead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
