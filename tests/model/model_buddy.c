/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random allocations and frees over random memory maps against a naive
 * allocator: one byte a frame says who has it. Every answer must be right: a
 * block is aligned, inside RAM and nobody else's; "no memory" is only said when
 * no aligned run of free frames is left. Clearing ahead runs in between and
 * must not change either.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "memmgr/internal.h"
#include "tests/fakes/ram.h"
#include "tests/model/random.h"

#define FRAMES 6000u
#define BLOCKS 2000u
#define STEPS 6000
#define RANGES_MAX 6u

struct block {
	hfn_t frame;
	unsigned order;
	uint64_t tag;
	bool live;
};

static struct ram ram;
static struct memmgr *mm;
static uint8_t used[FRAMES]; /* 1: not RAM, the table's, or in a live block */
static struct block blocks[BLOCKS];

/* Sorted disjoint ranges, some touching, with a first one that holds the table for sure. */
static unsigned random_map(struct random_state *r, struct mem_range *ranges)
{
	uint64_t at = random_below(r, 50);
	unsigned count = 0;

	memset(used, 1, sizeof used);
	while (count < RANGES_MAX && at < FRAMES - 100) {
		uint64_t most = FRAMES - at;
		uint64_t frames = count == 0 ? 100 + random_below(r, 3000) : 1 + random_below(r, most);

		ranges[count++] = (struct mem_range){hfn(at), frames};
		memset(used + at, 0, frames);
		at += frames + (random_below(r, 3) == 0 ? 0 : random_below(r, 700));
	}
	return count;
}

static void start(struct random_state *r)
{
	struct mem_range ranges[RANGES_MAX];
	struct memmgr_config cfg = {
		.ram = ranges,
		.ram_count = random_map(r, ranges),
		.direct_map = ram.base,
		.clear_ahead_4k = random_below(r, 20),
		.clear_ahead_2m = random_below(r, 4),
	};
	struct memmgr_stats stats;
	struct error err;
	uint64_t table;

	memset(blocks, 0, sizeof blocks);
	ram_dirty(&ram);
	assert_int_equal(memmgr_init(&cfg, &mm, &err), ST_OK);
	memmgr_stats(mm, &stats);
	table = memmgr_hfn(mm, mm).v;
	for (uint64_t i = 0; i < stats.frames[FRAME_HOST]; i++) {
		assert_int_equal(used[table + i], 0);
		used[table + i] = 1;
	}
}

static bool naive_has(unsigned order)
{
	for (uint64_t at = 0; at + BIT(order) <= FRAMES; at += BIT(order)) {
		if (!memchr(used + at, 1, BIT(order)))
			return true;
	}
	return false;
}

/* Every frame of a block carries the block's tag, so that an overlap shows in memory too. */
static void write_tags(const struct block *b)
{
	for (uint64_t i = 0; i < BIT(b->order); i++)
		*(uint64_t *)memmgr_va(mm, hfn(b->frame.v + i)) = b->tag + i;
}

static void check_tags(const struct block *b)
{
	for (uint64_t i = 0; i < BIT(b->order); i++)
		assert_true(*(uint64_t *)memmgr_va(mm, hfn(b->frame.v + i)) == b->tag + i);
}

static void check_zero(const struct block *b)
{
	const uint8_t *p = memmgr_va(mm, b->frame);

	assert_true(p[0] == 0 && memcmp(p, p + 1, (PAGE_SIZE << b->order) - 1) == 0);
}

static void do_alloc(struct random_state *r, struct block *b)
{
	unsigned order = (unsigned)random_below(r, random_below(r, 8) == 0 ? 12 : 4);
	bool zero = random_below(r, 4) == 0;
	enum status st;
	hfn_t frame;

	st = zero ? memmgr_alloc_zero(mm, order, &frame) : memmgr_alloc(mm, order, &frame);
	if (!naive_has(order)) {
		assert_int_equal(st, ST_NO_MEMORY);
		return;
	}
	assert_int_equal(st, ST_OK);
	assert_true(is_aligned(frame.v, BIT(order)) && frame.v + BIT(order) <= FRAMES);
	assert_null(memchr(used + frame.v, 1, BIT(order)));
	memset(used + frame.v, 1, BIT(order));
	*b = (struct block){frame, order, random_next(r), true};
	if (zero)
		check_zero(b);
	write_tags(b);
}

static void do_free(struct block *b)
{
	check_tags(b);
	memset(used + b->frame.v, 0, BIT(b->order));
	memmgr_free(mm, b->frame, b->order);
	b->live = false;
}

static void run(struct random_state *r)
{
	unsigned fill = 0;

	start(r);
	ram_check(mm);
	for (int i = 0; i < STEPS; i++) {
		struct block *b = &blocks[random_below(r, BLOCKS)];

		if (i % 1500 == 0)
			fill = 1 + (unsigned)random_below(r, 3); /* phases that fill and phases that drain */
		if (random_below(r, 20) == 0)
			assert_true(memmgr_clear_step(mm, random_below(r, 300)) != ST_INVALID);
		if (b->live && random_below(r, 4) >= fill)
			do_free(b);
		else if (!b->live && random_below(r, 4) < fill)
			do_alloc(r, b);
		ram_check(mm);
	}
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (blocks[i].live)
			do_free(&blocks[i]);
	}
	ram_check(mm);
}

static void against_a_map_of_bytes(void **state)
{
	(void)state;
	ram = ram_map((uint64_t)FRAMES << PAGE_SHIFT);
	random_runs(12, run);
	ram_unmap(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(against_a_map_of_bytes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
