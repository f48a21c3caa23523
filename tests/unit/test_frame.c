/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking the RAM over: where the table goes, holes, RAM above 4 GiB, 4 TiB, and
 * every memory map that must be refused. All RAM is dirty where that is
 * affordable: a read of an unwritten table entry would show.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "memmgr/internal.h"
#include "tests/expect_panic.h"
#include "tests/fakes/ram.h"

#define MIB_FRAMES 256ull
#define GIB_FRAMES BIT(ORDER_1G)

static enum status init(struct ram *ram, const struct mem_range *ranges, unsigned count, struct memmgr **mm,
			struct error *err)
{
	struct memmgr_config cfg = {.ram = ranges, .ram_count = count, .direct_map = ram->base};

	return memmgr_init(&cfg, mm, err);
}

static void refused(const struct mem_range *ranges, unsigned count, enum status want, const char *word)
{
	struct ram ram = ram_map(PAGE_SIZE);
	struct memmgr *mm = NULL;
	struct error err;

	assert_int_equal(init(&ram, ranges, count, &mm, &err), want);
	assert_null(mm);
	if (!strstr(err.text, word))
		fail_msg("'%s' not in: %s", word, err.text);
	ram_unmap(&ram);
}

static void bad_memory_maps_are_refused(void **state)
{
	const struct mem_range unsorted[] = {{hfn(1000), 10}, {hfn(0), 10}};
	const struct mem_range overlap[] = {{hfn(0), 10}, {hfn(9), 10}};
	const struct mem_range empty[] = {{hfn(0), 10}, {hfn(20), 0}};
	const struct mem_range high[] = {{hfn(BIT(32) - 2), 2}};
	const struct mem_range wraps[] = {{hfn(16), UINT64_MAX - 8}};
	const struct mem_range far_apart[] = {{hfn(0), 16 * MIB_FRAMES}, {hfn(1024 * GIB_FRAMES), 16 * MIB_FRAMES}};

	(void)state;
	refused(NULL, 0, ST_INVALID, "no usable RAM");
	refused(unsorted, 2, ST_INVALID, "range 1 at frame 0x0");
	refused(overlap, 2, ST_INVALID, "range 1 at frame 0x9");
	refused(empty, 2, ST_INVALID, "range 1");
	refused(high, 1, ST_OVER_LIMIT, "16 TiB");
	refused(wraps, 1, ST_OVER_LIMIT, "16 TiB");
	refused(far_apart, 2, ST_NO_MEMORY, "needs 4194372 KiB in one piece, the largest RAM range has 16384 KiB");
}

static uint64_t sum(const struct memmgr_stats *s)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < FRAME_STATES; i++)
		total += s->frames[i];
	return total;
}

static void holes_are_absent(void **state)
{
	const struct mem_range ranges[] = {
		{hfn(1), 158},	   /* below 640 KiB, odd edges */
		{hfn(256), 3000},  /* touches the next */
		{hfn(3256), 1000},
		{hfn(5001), 777},
	};
	struct ram ram = ram_map(5778ull << PAGE_SHIFT);
	struct memmgr_stats stats;
	struct memmgr *mm;
	struct error err;

	(void)state;
	ram_dirty(&ram);
	assert_int_equal(init(&ram, ranges, 4, &mm, &err), ST_OK);
	memmgr_stats(mm, &stats);
	assert_true(sum(&stats) == 5778);
	assert_true(stats.frames[FRAME_ABSENT] == 5778 - 158 - 4000 - 777);
	assert_true(stats.table_bytes == align_up(5778 * 16, PAGE_SIZE));
	assert_true(stats.frames[FRAME_HOST] == 1 + stats.table_bytes / PAGE_SIZE);
	/* At the end of the highest range. */
	assert_true(memmgr_hfn(mm, mm).v == 5778 - stats.frames[FRAME_HOST]);
	ram_check(mm);
	ram_unmap(&ram);
}

static void the_table_avoids_a_range_too_small(void **state)
{
	/* 8,225 frames: 33 for the table and one in front; the second range is one short. */
	const struct mem_range ranges[] = {{hfn(0), 4096}, {hfn(8192), 33}};
	struct ram ram = ram_map(8225ull << PAGE_SHIFT);
	struct memmgr *mm;
	struct error err;

	(void)state;
	ram_dirty(&ram);
	assert_int_equal(init(&ram, ranges, 2, &mm, &err), ST_OK);
	assert_true(memmgr_hfn(mm, mm).v == 4096 - 34);
	ram_check(mm);
	ram_unmap(&ram);
}

/* Every frame can be had once and given back, whatever the holes. */
static void all_frames_can_be_taken(void **state)
{
	const struct mem_range ranges[] = {{hfn(3), 700}, {hfn(1025), 2048}};
	struct ram ram = ram_map(3073ull << PAGE_SHIFT);
	static bool taken[3073];
	struct memmgr_stats before, after;
	struct memmgr *mm;
	struct error err;
	hfn_t frame;

	(void)state;
	ram_dirty(&ram);
	assert_int_equal(init(&ram, ranges, 2, &mm, &err), ST_OK);
	memmgr_stats(mm, &before);
	for (uint64_t i = 0; i < before.frames[FRAME_FREE]; i++) {
		assert_int_equal(memmgr_alloc(mm, 0, &frame), ST_OK);
		assert_true(frame.v < 3073 && !taken[frame.v]);
		assert_true((frame.v >= 3 && frame.v < 703) || frame.v >= 1025);
		taken[frame.v] = true;
	}
	assert_int_equal(memmgr_alloc(mm, 0, &frame), ST_NO_MEMORY);
	ram_check(mm);
	for (uint64_t i = 0; i < 3073; i++) {
		if (taken[i])
			memmgr_free(mm, hfn(i), 0);
	}
	memmgr_stats(mm, &after);
	assert_memory_equal(&before, &after, sizeof before);
	ram_check(mm);
	ram_unmap(&ram);
}

static void ram_above_4g(void **state)
{
	const struct mem_range ranges[] = {{hfn(256), 3 * GIB_FRAMES - 256}, {hfn(4 * GIB_FRAMES), 3 * GIB_FRAMES}};
	struct ram ram = ram_map(7 * GIB_FRAMES << PAGE_SHIFT);
	struct memmgr *mm;
	struct error err;
	hfn_t frame;

	(void)state;
	assert_int_equal(init(&ram, ranges, 2, &mm, &err), ST_OK);
	ram_check(mm);
	for (unsigned i = 0; i < 4; i++) { /* GiB 1, 2, 4 and 5: the first and last are cut into */
		assert_int_equal(memmgr_alloc(mm, ORDER_1G, &frame), ST_OK);
		assert_true(is_aligned(frame.v, GIB_FRAMES) && frame.v != 3 * GIB_FRAMES);
		memset(memmgr_va(mm, frame), 1, 64);
	}
	assert_int_equal(memmgr_alloc(mm, ORDER_1G, &frame), ST_NO_MEMORY);
	ram_check(mm);
	ram_unmap(&ram);
}

static void four_terabytes(void **state)
{
	const uint64_t frames = 4096 * GIB_FRAMES;
	struct ram ram = ram_map(frames << PAGE_SHIFT);
	struct memmgr *mm = ram_memmgr(&ram, 0, 0, 0);
	struct memmgr_stats stats;
	hfn_t big, page;

	(void)state;
	memmgr_stats(mm, &stats);
	assert_true(stats.table_bytes == 16ull << 30);
	assert_true(sum(&stats) == frames);
	for (unsigned i = 0; i < 4079; i++) /* 16 GiB and a page are the table's */
		assert_int_equal(memmgr_alloc(mm, ORDER_1G, &big), ST_OK);
	assert_int_equal(memmgr_alloc(mm, ORDER_1G, &page), ST_NO_MEMORY);
	assert_int_equal(memmgr_alloc(mm, 0, &page), ST_OK);
	assert_true(page.v > 4079 * GIB_FRAMES);
	assert_ptr_equal(memmgr_va(mm, page), (uint8_t *)ram.base + (page.v << PAGE_SHIFT));
	ram_check(mm);
	memmgr_free(mm, big, ORDER_1G);
	ram_check(mm);
	ram_unmap(&ram);
}

static void wrong_frees_stop_the_machine(void **state)
{
	struct ram ram = ram_map(1024 << PAGE_SHIFT);
	struct memmgr *mm = ram_memmgr(&ram, 0, 0, 0);
	hfn_t pair, page;

	(void)state;
	assert_int_equal(memmgr_alloc(mm, 1, &pair), ST_OK);
	assert_int_equal(memmgr_alloc(mm, 0, &page), ST_OK);
	EXPECT_PANIC(memmgr_free(mm, pair, 0));
	EXPECT_PANIC(memmgr_free(mm, page, 1));
	EXPECT_PANIC(memmgr_free(mm, hfn(1024), 0));
	memmgr_free(mm, page, 0);
	EXPECT_PANIC(memmgr_free(mm, page, 0));
	EXPECT_PANIC(memmgr_va(mm, hfn(1024)));
	ram_check(mm);
	ram_unmap(&ram);
}

static void an_illegal_change_of_owner_stops_the_machine(void **state)
{
	struct ram ram = ram_map(1024 << PAGE_SHIFT);
	struct memmgr *mm = ram_memmgr(&ram, 0, 0, 0);
	hfn_t page;

	(void)state;
	assert_int_equal(memmgr_alloc(mm, 0, &page), ST_OK);
	EXPECT_PANIC(frame_change(mm, &mm->cells[0], (uint32_t)page.v, FRAME_GUEST, 1, 0));
	EXPECT_PANIC(frame_change(mm, &mm->cells[0], (uint32_t)page.v, FRAME_LEAVING, 1, 0));
	frame_change(mm, &mm->cells[0], (uint32_t)page.v, FRAME_FREE, HELD_BY_BUDDY, 0);
	EXPECT_PANIC(frame_change(mm, &mm->cells[0], (uint32_t)page.v, FRAME_LEAVING, 1, 0));
	ram_unmap(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_memory_maps_are_refused),
		cmocka_unit_test(holes_are_absent),
		cmocka_unit_test(the_table_avoids_a_range_too_small),
		cmocka_unit_test(all_frames_can_be_taken),
		cmocka_unit_test(ram_above_4g),
		cmocka_unit_test(four_terabytes),
		cmocka_unit_test(wrong_frees_stop_the_machine),
		cmocka_unit_test(an_illegal_change_of_owner_stops_the_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
