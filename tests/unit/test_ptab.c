/* SPDX-License-Identifier: Apache-2.0 */
/* Page tables: leaf sizes, splitting, holes, running out of tables, walks. */
#include "tests/cmocka_all.h"
#include "tests/expect_panic.h"

#include "firmware/ptab.h"
#include "lib/bits.h"
#include "tests/fakes/ptab_pool.h"

#define KIB4 0x1000ull
#define MIB2 0x200000ull
#define GIB1 0x40000000ull
#define VA 0xffff800000000000ull
#define RW (PTE_W | PTE_NX)
#define R PTE_NX

static struct ptab_pool pool;
static struct ptab t;

static void start(unsigned limit, unsigned order)
{
	ptab_pool_init(&pool, &t, limit, order);
}

static void expect_leaf(uint64_t va, uint64_t start_va, uint64_t pa, uint64_t len, uint64_t attrs)
{
	struct ptab_leaf l;

	assert_true(ptab_lookup(&t, va, &l));
	assert_int_equal(l.va, start_va);
	assert_int_equal(l.pa.v, pa);
	assert_int_equal(l.len, len);
	assert_int_equal(l.attrs, attrs);
}

static void expect_hole(uint64_t va)
{
	struct ptab_leaf l;

	assert_false(ptab_lookup(&t, va, &l));
}

static void largest_leaves(void **state)
{
	(void)state;
	start(PTAB_POOL_TABLES, ORDER_1G);
	/* 4 KiB up to 2 MiB, 2 MiB up to 1 GiB, one of 1 GiB, and back down. */
	assert_int_equal(ptab_map(&t, VA + GIB1 - MIB2 - KIB4, hpa(GIB1 - MIB2 - KIB4), 2 * KIB4 + 2 * MIB2 + GIB1, RW),
			 ST_OK);
	expect_hole(VA + GIB1 - MIB2 - 2 * KIB4);
	expect_leaf(VA + GIB1 - MIB2 - 1, VA + GIB1 - MIB2 - KIB4, GIB1 - MIB2 - KIB4, KIB4, RW);
	expect_leaf(VA + GIB1 - 1, VA + GIB1 - MIB2, GIB1 - MIB2, MIB2, RW);
	expect_leaf(VA + GIB1 + 123456, VA + GIB1, GIB1, GIB1, RW);
	expect_leaf(VA + 2 * GIB1, VA + 2 * GIB1, 2 * GIB1, MIB2, RW);
	expect_leaf(VA + 2 * GIB1 + MIB2, VA + 2 * GIB1 + MIB2, 2 * GIB1 + MIB2, KIB4, RW);
	expect_hole(VA + 2 * GIB1 + MIB2 + KIB4);
}

static void size_limits(void **state)
{
	(void)state;
	start(PTAB_POOL_TABLES, ORDER_2M);
	assert_int_equal(ptab_map(&t, VA, hpa(0), GIB1, RW), ST_OK);
	expect_leaf(VA, VA, 0, MIB2, RW);
	/* Virtual and physical addresses that do not line up can only be 4 KiB. */
	start(PTAB_POOL_TABLES, ORDER_1G);
	assert_int_equal(ptab_map(&t, VA, hpa(KIB4), MIB2, RW), ST_OK);
	expect_leaf(VA + MIB2 - KIB4, VA + MIB2 - KIB4, MIB2, KIB4, RW);
}

static void protect_splits(void **state)
{
	(void)state;
	start(PTAB_POOL_TABLES, ORDER_1G);
	assert_int_equal(ptab_map(&t, VA, hpa(0), GIB1, RW | PTE_G), ST_OK);
	assert_int_equal(ptab_protect(&t, VA + MIB2 - KIB4, MIB2 + 2 * KIB4, R | PTE_G), ST_OK);
	expect_leaf(VA + MIB2 - 2 * KIB4, VA + MIB2 - 2 * KIB4, MIB2 - 2 * KIB4, KIB4, RW | PTE_G);
	expect_leaf(VA + MIB2 - KIB4, VA + MIB2 - KIB4, MIB2 - KIB4, KIB4, R | PTE_G);
	expect_leaf(VA + MIB2, VA + MIB2, MIB2, MIB2, R | PTE_G);
	expect_leaf(VA + 2 * MIB2, VA + 2 * MIB2, 2 * MIB2, KIB4, R | PTE_G);
	expect_leaf(VA + 2 * MIB2 + KIB4, VA + 2 * MIB2 + KIB4, 2 * MIB2 + KIB4, KIB4, RW | PTE_G);
	expect_leaf(VA + 3 * MIB2, VA + 3 * MIB2, 3 * MIB2, MIB2, RW | PTE_G);
	/* Nothing changes where nothing is. */
	assert_int_equal(ptab_protect(&t, VA + 4 * GIB1, GIB1, R), ST_OK);
	expect_hole(VA + 4 * GIB1);
}

static void unmap(void **state)
{
	(void)state;
	start(PTAB_POOL_TABLES, ORDER_1G);
	assert_int_equal(ptab_map(&t, VA, hpa(0x5000), 2 * KIB4, RW), ST_OK);
	assert_int_equal(ptab_unmap_4k(&t, VA).v, 0x5000);
	expect_hole(VA);
	expect_leaf(VA + KIB4, VA + KIB4, 0x6000, KIB4, RW);
	EXPECT_PANIC((void)ptab_unmap_4k(&t, VA));
	EXPECT_PANIC((void)!ptab_map(&t, VA + KIB4, hpa(0), KIB4, RW));
}

static void out_of_tables(void **state)
{
	(void)state;
	for (unsigned limit = 1; limit < 4; limit++) {
		start(limit, ORDER_1G);
		assert_int_equal(ptab_map(&t, VA, hpa(0), KIB4, RW), ST_NO_MEMORY);
		expect_hole(VA);
	}
	start(2, ORDER_1G);
	assert_int_equal(ptab_map(&t, VA, hpa(0), GIB1, RW), ST_OK);
	assert_int_equal(ptab_protect(&t, VA, KIB4, R), ST_NO_MEMORY);
	expect_leaf(VA, VA, 0, GIB1, RW);
}

struct seen {
	unsigned leaves;
	uint64_t bytes, last_end;
	unsigned stop_after;
};

static bool count_leaf(void *ctx, const struct ptab_leaf *l)
{
	struct seen *s = ctx;

	assert_true(l->va >= s->last_end);
	s->last_end = l->va + l->len;
	s->leaves++;
	s->bytes += l->len;
	return s->leaves != s->stop_after;
}

static void walk(void **state)
{
	struct seen all = {0}, some = {.stop_after = 2};

	(void)state;
	start(PTAB_POOL_TABLES, ORDER_1G);
	assert_int_equal(ptab_map(&t, 0x1000, hpa(0), KIB4, RW), ST_OK);
	assert_int_equal(ptab_map(&t, VA, hpa(0), 2 * GIB1 + MIB2, RW), ST_OK);
	assert_int_equal(ptab_map(&t, 0xffffffff80000000ull, hpa(0), KIB4, 0), ST_OK);
	ptab_walk(&t, count_leaf, &all);
	assert_int_equal(all.leaves, 5);
	assert_int_equal(all.bytes, 2 * GIB1 + MIB2 + 2 * KIB4);
	assert_int_equal(all.last_end, 0xffffffff80001000ull);
	ptab_walk(&t, count_leaf, &some);
	assert_int_equal(some.leaves, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(largest_leaves), cmocka_unit_test(size_limits),   cmocka_unit_test(protect_splits),
		cmocka_unit_test(unmap),          cmocka_unit_test(out_of_tables), cmocka_unit_test(walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
