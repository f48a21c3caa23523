/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory map: rounding, overlap, claims, allocation, limits; and random
 * ranges against a page-by-page model.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>

#include "firmware/memmap.h"
#include "lib/bits.h"

#define MIB 0x100000ull
#define MODEL_PAGES 256u
#define HOLE 0xff

static struct memmap map;
static struct error err;

static void expect(const struct memmap_entry *want, unsigned count)
{
	assert_int_equal(map.count, count);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(map.entry[i].start, want[i].start);
		assert_int_equal(map.entry[i].end, want[i].end);
		assert_int_equal(map.entry[i].type, want[i].type);
	}
}

static void well_formed(void)
{
	for (unsigned i = 0; i < map.count; i++) {
		const struct memmap_entry *e = &map.entry[i];

		assert_true(e->start < e->end);
		assert_true(is_aligned(e->start | e->end, PAGE_SIZE));
		if (i == 0)
			continue;
		assert_true(e[-1].end <= e->start);
		assert_false(e[-1].end == e->start && e[-1].type == e->type);
	}
}

static void rounds_to_pages(void **state)
{
	const struct memmap_range in[] = {
		{0x100, 0x9fb00, MEMMAP_RAM},          /* shrinks to 1000-9f000 */
		{0x9fc00, 0x400, MEMMAP_RESERVED},     /* grows to 9f000-a0000 */
		{MIB, 0, MEMMAP_RESERVED},             /* empty */
		{0x200100, 0x200, MEMMAP_RAM},         /* less than a page */
	};

	(void)state;
	assert_int_equal(memmap_build(&map, in, ARRAY_SIZE(in), &err), ST_OK);
	expect((struct memmap_entry[]){{0x1000, 0x9f000, MEMMAP_RAM}, {0x9f000, 0xa0000, MEMMAP_RESERVED}}, 2);
}

static void stronger_type_holds(void **state)
{
	const struct memmap_range in[] = {
		{3 * MIB, MIB, MEMMAP_RESERVED},
		{0, 8 * MIB, MEMMAP_RAM},
		{5 * MIB, MIB, MEMMAP_ACPI},
		{4 * MIB, MIB, MEMMAP_RESERVED}, /* joins its neighbour */
		{5 * MIB, MIB, MEMMAP_RAM},      /* weaker: no change */
	};

	(void)state;
	assert_int_equal(memmap_build(&map, in, ARRAY_SIZE(in), &err), ST_OK);
	expect((struct memmap_entry[]){{0, 3 * MIB, MEMMAP_RAM},
				       {3 * MIB, 5 * MIB, MEMMAP_RESERVED},
				       {5 * MIB, 6 * MIB, MEMMAP_ACPI},
				       {6 * MIB, 8 * MIB, MEMMAP_RAM}},
	       4);
	assert_int_equal(memmap_bytes(&map, MEMMAP_RAM), 5 * MIB);
	assert_ptr_equal(memmap_find(&map, 5 * MIB), &map.entry[2]);
	assert_null(memmap_find(&map, 8 * MIB));
}

static void claims_only_ram(void **state)
{
	const struct memmap_range in[] = {{0, 2 * MIB, MEMMAP_RAM}, {2 * MIB, MIB, MEMMAP_RESERVED}};

	(void)state;
	assert_int_equal(memmap_build(&map, in, ARRAY_SIZE(in), &err), ST_OK);
	assert_int_equal(memmap_claim(&map, hpa(MIB + 1), 4 * MIB, MEMMAP_MODULE, &err), ST_OK);
	expect((struct memmap_entry[]){{0, MIB, MEMMAP_RAM},
				       {MIB, 2 * MIB, MEMMAP_MODULE},
				       {2 * MIB, 3 * MIB, MEMMAP_RESERVED}},
	       3);
	assert_int_equal(memmap_claim(&map, hpa(0), 0, MEMMAP_BOARD, &err), ST_OK);
	assert_int_equal(map.count, 3);
	assert_int_equal(memmap_claim(&map, hpa(UINT64_MAX), 2, MEMMAP_BOARD, &err), ST_INVALID);
	assert_non_null(strstr(err.text, "wraps around"));
}

static void allocates_from_the_top(void **state)
{
	const struct memmap_range in[] = {{MIB, 3 * MIB, MEMMAP_RAM}, {8 * MIB, MIB, MEMMAP_RAM}};
	hpa_t at;

	(void)state;
	assert_int_equal(memmap_build(&map, in, ARRAY_SIZE(in), &err), ST_OK);
	assert_int_equal(memmap_alloc(&map, PAGE_SIZE, PAGE_SIZE, UINT64_MAX, &at), ST_OK);
	assert_int_equal(at.v, 9 * MIB - PAGE_SIZE);
	assert_int_equal(memmap_alloc(&map, PAGE_SIZE, 2 * MIB, 8 * MIB, &at), ST_OK);
	assert_int_equal(at.v, 2 * MIB);
	assert_int_equal(memmap_alloc(&map, 2 * MIB, PAGE_SIZE, 8 * MIB, &at), ST_NO_MEMORY);
	assert_int_equal(memmap_alloc(&map, PAGE_SIZE, PAGE_SIZE, MIB, &at), ST_NO_MEMORY);
	assert_int_equal(memmap_bytes(&map, MEMMAP_BOOT), 2 * PAGE_SIZE);
	well_formed();
}

/* Where a CPU can be started: in the low pages kept for that, else in free RAM below 1 MiB, never in page 0. */
static void start_page(void **state)
{
	const struct memmap_range low[] = {{0, 0x9f000, MEMMAP_RAM}, {MIB, MIB, MEMMAP_RAM}};
	const struct memmap_range high[] = {{0, PAGE_SIZE, MEMMAP_RAM}, {0x50000, 0x10000, MEMMAP_RAM}, {MIB, MIB, MEMMAP_RAM}};
	const struct memmap_range none[] = {{0, PAGE_SIZE, MEMMAP_RAM}, {MIB, MIB, MEMMAP_RAM}};
	hpa_t at = {0};

	(void)state;
	assert_int_equal(memmap_build(&map, low, ARRAY_SIZE(low), &err), ST_OK);
	assert_int_equal(memmap_claim(&map, hpa(0), 0x10000, MEMMAP_LOW, &err), ST_OK);
	assert_int_equal(memmap_start_page(&map, &at), ST_OK);
	assert_int_equal(at.v, 0xf000);
	assert_int_equal(memmap_build(&map, high, ARRAY_SIZE(high), &err), ST_OK);
	assert_int_equal(memmap_claim(&map, hpa(0), 0x10000, MEMMAP_LOW, &err), ST_OK);
	assert_int_equal(memmap_start_page(&map, &at), ST_OK);
	assert_int_equal(at.v, 0x5f000);
	assert_int_equal(memmap_find(&map, at.v)->type, MEMMAP_BOOT);
	assert_int_equal(memmap_build(&map, none, ARRAY_SIZE(none), &err), ST_OK);
	assert_int_equal(memmap_claim(&map, hpa(0), 0x10000, MEMMAP_LOW, &err), ST_OK);
	assert_int_equal(memmap_start_page(&map, &at), ST_NO_MEMORY);
}

static void refuses_bad_input(void **state)
{
	const struct memmap_range wraps = {UINT64_MAX - 100, 200, MEMMAP_RAM};
	static struct memmap_range many[MEMMAP_MAX];

	(void)state;
	assert_int_equal(memmap_build(&map, &wraps, 1, &err), ST_INVALID);
	assert_non_null(strstr(err.text, "range 0"));
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct memmap_range){i * 2 * PAGE_SIZE, PAGE_SIZE, MEMMAP_RAM};
	assert_int_equal(memmap_build(&map, many, ARRAY_SIZE(many), &err), ST_OVER_LIMIT);
}

/* The same operations on an array of one type a page. */
static uint8_t model[MODEL_PAGES];

static void compare_with_model(void)
{
	well_formed();
	for (unsigned p = 0; p < MODEL_PAGES; p++) {
		const struct memmap_entry *e = memmap_find(&map, p * PAGE_SIZE);

		assert_int_equal(e ? (uint8_t)e->type : HOLE, model[p]);
	}
}

static void model_build(const struct memmap_range *in, unsigned count)
{
	memset(model, HOLE, sizeof(model));
	for (unsigned i = 0; i < count; i++)
		for (unsigned p = 0; p < MODEL_PAGES; p++) {
			uint64_t lo = p * PAGE_SIZE, hi = lo + PAGE_SIZE, end = in[i].start + in[i].len;
			bool covers = in[i].type == MEMMAP_RAM ? in[i].start <= lo && hi <= end
							       : in[i].len && in[i].start < hi && lo < end;

			if (covers && (model[p] == HOLE || in[i].type > model[p]))
				model[p] = (uint8_t)in[i].type;
		}
}

static void random_ranges(void **state)
{
	(void)state;
	srand(1);
	for (int round = 0; round < 500; round++) {
		struct memmap_range in[12];
		unsigned count = 1 + (unsigned)rand() % ARRAY_SIZE(in);
		uint64_t start = (uint64_t)rand() % (MODEL_PAGES * PAGE_SIZE);
		uint64_t len = (uint64_t)rand() % (MODEL_PAGES * PAGE_SIZE - start);

		for (unsigned i = 0; i < count; i++) {
			in[i].start = (uint64_t)rand() % (MODEL_PAGES * PAGE_SIZE);
			in[i].len = (uint64_t)rand() % (MODEL_PAGES * PAGE_SIZE - in[i].start);
			in[i].type = (enum memmap_type)(rand() % (MEMMAP_UNUSABLE + 1));
		}
		assert_int_equal(memmap_build(&map, in, count, &err), ST_OK);
		model_build(in, count);
		compare_with_model();
		assert_int_equal(memmap_claim(&map, hpa(start), len, MEMMAP_IMAGE, &err), ST_OK);
		for (unsigned p = 0; p < MODEL_PAGES; p++)
			if (len && start < (p + 1) * PAGE_SIZE && p * PAGE_SIZE < start + len && model[p] == MEMMAP_RAM)
				model[p] = MEMMAP_IMAGE;
		compare_with_model();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rounds_to_pages),     cmocka_unit_test(stronger_type_holds),
		cmocka_unit_test(claims_only_ram),     cmocka_unit_test(allocates_from_the_top),
		cmocka_unit_test(start_page),          cmocka_unit_test(refuses_bad_input),
		cmocka_unit_test(random_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
