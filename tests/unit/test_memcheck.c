/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walker must see what it is there for: each case breaks one rule in the
 * live structures of a machine with two guests, and the sentence must name it.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "memmgr/internal.h"
#include "tests/fakes/fake_stage2.h"
#include "tests/fakes/ram.h"

#define FRAMES 8192ull
#define LIMIT 2048ull

static struct ram ram;
static struct memmgr *mm;
static struct stage2 *s2[2];
static struct gpmap *map[2];

/* Two guests with large and small leaves, one frame leaving, one pool in progress. */
static int setup(void **state)
{
	(void)state;
	ram = ram_map(FRAMES << PAGE_SHIFT);
	mm = ram_memmgr(&ram, 3, 2, 0);
	assert_int_equal(memmgr_clear_step(mm, UINT64_MAX), ST_OK);
	for (unsigned i = 0; i < 2; i++) {
		s2[i] = fake_stage2_create(LIMIT);
		fake_stage2_use_tickets(s2[i], true);
		assert_int_equal(gpmap_create(mm, (uint16_t)(i + 1), LIMIT, &fake_stage2_ops, s2[i], &map[i]), ST_OK);
		assert_int_equal(gpmap_add_ram(map[i], gfn(0), 1500), ST_OK);
		assert_int_equal(gpmap_fault(map[i], gfn(0), S2_READ), ST_OK);
		for (uint64_t at = 1024; at < 1034; at++)
			assert_int_equal(gpmap_fault(map[i], gfn(at), S2_READ), ST_OK);
		assert_int_equal(gpmap_remove(map[i], gfn(1024)), ST_OK);
		assert_int_equal(gpmap_remove(map[i], gfn(1025)), ST_OK);
	}
	assert_int_equal(memmgr_clear_step(mm, 100), ST_AGAIN);
	ram_check(mm);
	return 0;
}

/* Nothing is taken apart in order: the structures are broken. */
static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++)
		fake_stage2_destroy(s2[i]);
	ram_unmap(&ram);
	return 0;
}

static void sees(const char *words)
{
	struct error err = {{0}};

	assert_false(memmgr_check(mm, &err));
	if (!strstr(err.text, words))
		fail_msg("'%s' not in: %s", words, err.text);
}

static struct frame *frame_of(struct gpmap *m, uint64_t at) { return &mm->table[gp_frame(gpmap_lookup(m, at))]; }

static void a_frame_of_two_guests(void **state)
{
	(void)state;
	*gpmap_slot(map[0], 1030) = *gpmap_slot(map[1], 1030);
	sees("says guest 1 page 0x406 order 0, the map says");
}

static void a_page_without_its_frame(void **state)
{
	(void)state;
	*gpmap_slot(map[0], 1100) = *gpmap_slot(map[1], 1030);
	sees("guest 1 page 0x44c has frame");
}

static void a_wrong_owner(void **state)
{
	(void)state;
	frame_of(map[0], 1030)->owner = 9;
	sees("belongs to guest 9, which has no page 0x406");
}

static void a_wrong_state(void **state)
{
	(void)state;
	frame_of(map[0], 1030)->state = FRAME_SHARED;
	sees("is shared");
}

static void a_wrong_order(void **state)
{
	(void)state;
	frame_of(map[0], 0)->order = 30;
	sees("is no block");
}

static void a_lost_pin(void **state)
{
	(void)state;
	frame_of(map[0], 1030)->next = 1;
	sees("guest 1: its frames are pinned 1 times, the map says 0");
}

static void a_pin_of_nothing(void **state)
{
	(void)state;
	map[1]->pins = 2;
	sees("guest 2: its frames are pinned 0 times, the map says 2");
}

static void a_wrong_count(void **state)
{
	(void)state;
	mm->cells[0].count[FRAME_HOST]++;
	sees("host frames, the count says");
}

static void a_lost_free_block(void **state)
{
	unsigned order = bit_lowest(mm->free_orders);

	(void)state;
	mm->free[order].head = FRAME_NIL;
	sees("free list of order");
}

static void a_lost_free_list(void **state)
{
	unsigned order = bit_lowest(mm->free_orders);

	(void)state;
	frame_list_init(&mm->free[order]);
	mm->free_orders &= ~(1u << order);
	sees("listed");
}

static void a_broken_link(void **state)
{
	(void)state;
	mm->table[mm->pool[LEAF_4K].head].word = 5;
	sees("on the free list of order 0");
}

static void a_ring_in_a_list(void **state)
{
	(void)state;
	mm->table[mm->pool[LEAF_4K].head].next = mm->pool[LEAF_4K].head;
	sees("free list of order 0");
}

static void a_wrong_mask(void **state)
{
	(void)state;
	mm->free_orders ^= BIT(17);
	sees("mask");
}

static void unmerged_buddies(void **state)
{
	uint32_t frame = buddy_take(mm, 1);

	(void)state;
	buddy_seed(mm, frame, 0);
	buddy_seed(mm, frame + 1, 0);
	sees("are not merged");
}

static void a_block_between_lists(void **state)
{
	(void)state;
	assert_true(buddy_take(mm, 0) != FRAME_NIL);
	sees("is held by");
}

static void a_forgotten_clearing(void **state)
{
	(void)state;
	mm->cells[0].clearing.frame = FRAME_NIL;
	sees("free blocks:");
}

static void stage2_maps_another_frame(void **state)
{
	(void)state;
	assert_true(fake_stage2_corrupt(s2[0], gfn(1030)));
	sees("guest 1: stage 2 maps page 0x406");
}

static void stage2_maps_too_much(void **state)
{
	(void)state;
	assert_int_equal(fake_stage2_ops.map_prepare(s2[0], gfn(1200), 0), ST_OK);
	fake_stage2_ops.map_commit(s2[0], gfn(1200), hfn(3), 0, S2_RWX, S2_WB);
	sees("guest 1: stage 2 maps page 0x4b0");
}

static void stage2_lacks_a_leaf(void **state)
{
	(void)state;
	fake_stage2_ops.unmap(s2[0], gfn(1030), 0);
	sees("guest 1: stage 2 has 8 leaves, the map 9");
}

static void stage2_has_a_wrong_type(void **state)
{
	(void)state;
	fake_stage2_ops.unmap(s2[0], gfn(1030), 0);
	fake_stage2_flush_all(s2[0]);
	fake_stage2_ops.map_commit(s2[0], gfn(1030), hfn(gp_frame(gpmap_lookup(map[0], 1030))), 0, S2_RWX, S2_UC);
	sees("guest 1: stage 2 maps page 0x406");
}

static void a_page_count_is_wrong(void **state)
{
	(void)state;
	map[1]->present_pages--;
	sees("guest 2: found 1500 RAM pages, 520 present");
}

static void a_chunk_that_is_not_ours(void **state)
{
	(void)state;
	map[1]->dir[2] = gp_entry(GP_CHUNK, 0, gp_frame(map[1]->dir[0]));
	sees("guest 2");
}

static void a_leaving_frame_out_of_turn(void **state)
{
	struct frame *first = &mm->table[map[0]->leaving.head];

	(void)state;
	first->word = 99;
	sees("queue of leaving frames");
}

static void a_leaving_frame_lost(void **state)
{
	(void)state;
	frame_fifo_pop(mm, &map[0]->leaving);
	sees("1 leaving frames are in no map");
}

static void a_promise_miscounted(void **state)
{
	(void)state;
	mm->cells[0].promised--;
	sees("guests may ask for");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_frame_of_two_guests),
		CASE(a_page_without_its_frame),
		CASE(a_wrong_owner),
		CASE(a_wrong_state),
		CASE(a_wrong_order),
		CASE(a_lost_pin),
		CASE(a_pin_of_nothing),
		CASE(a_wrong_count),
		CASE(a_lost_free_block),
		CASE(a_lost_free_list),
		CASE(a_broken_link),
		CASE(a_ring_in_a_list),
		CASE(a_wrong_mask),
		CASE(unmerged_buddies),
		CASE(a_block_between_lists),
		CASE(a_forgotten_clearing),
		CASE(stage2_maps_another_frame),
		CASE(stage2_maps_too_much),
		CASE(stage2_lacks_a_leaf),
		CASE(stage2_has_a_wrong_type),
		CASE(a_page_count_is_wrong),
		CASE(a_chunk_that_is_not_ours),
		CASE(a_leaving_frame_out_of_turn),
		CASE(a_leaving_frame_lost),
		CASE(a_promise_miscounted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
