/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic on outside values, bits and byte order, and mul_div against
 * 128-bit arithmetic, at and around every edge.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>

#include "lib/bits.h"
#include "lib/checked.h"
#include "lib/clock.h"
#include "lib/rls.h"

static void overflow_is_seen(void **state)
{
	uint64_t v;

	(void)state;
	assert_false(add_overflows(UINT64_MAX - 1, 1, &v));
	assert_true(v == UINT64_MAX);
	assert_true(add_overflows(UINT64_MAX, 1, &v));
	assert_false(mul_overflows(UINT64_MAX, 1, &v));
	assert_true(mul_overflows(BIT(32), BIT(32), &v));
}

static void ranges(void **state)
{
	(void)state;
	assert_true(range_fits(0, 10, 10));
	assert_true(range_fits(10, 0, 10));
	assert_false(range_fits(11, 0, 10));
	assert_false(range_fits(1, 10, 10));
	assert_false(range_fits(1, UINT64_MAX, 10)); /* the sum would wrap to 0 */
	assert_true(range_fits(0, UINT64_MAX, UINT64_MAX));
}

static void bits_and_fields(void **state)
{
	(void)state;
	assert_true(MASK(63, 0) == UINT64_MAX);
	assert_true(MASK(0, 0) == 1);
	assert_true(MASK(11, 4) == 0xff0);
	assert_true(FIELD(0xabcdef, 15, 8) == 0xcd);
	assert_int_equal(bit_lowest(BIT(63) | BIT(5)), 5);
	assert_int_equal(bit_highest(BIT(63) | BIT(5)), 63);
	assert_true(align_up(1, 4096) == 4096 && align_up(4096, 4096) == 4096);
	assert_true(align_down(8191, 4096) == 4096);
	assert_true(is_aligned(0, 8) && !is_aligned(4, 8));
}

static void byte_order(void **state)
{
	uint8_t b[9] = {0};

	(void)state;
	put_le64(b + 1, 0x0807060504030201ull); /* unaligned on purpose */
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(b[i + 1], i + 1);
	assert_true(get_be64(b + 1) == 0x0102030405060708ull);
	put_be32(b + 1, 0x11223344);
	assert_true(get_le32(b + 1) == 0x44332211);
	put_be16(b + 1, 0x55aa);
	assert_true(get_le16(b + 1) == 0xaa55);
}

static void mul_div_one(uint64_t a, uint64_t b, uint64_t c)
{
	unsigned __int128 exact = (unsigned __int128)a * b / c;

	assert_true(mul_div(a, b, c) == (exact > UINT64_MAX ? UINT64_MAX : (uint64_t)exact));
}

static uint64_t random64(void)
{
	uint64_t v = (uint64_t)rand() << 62 ^ (uint64_t)rand() << 31 ^ (uint64_t)rand();

	return v >> rand() % 64;
}

static void mul_div_is_exact(void **state)
{
	(void)state;
	mul_div_one(UINT64_MAX, UINT64_MAX, UINT64_MAX);
	mul_div_one(UINT64_MAX, UINT64_MAX, UINT64_MAX - 1);
	mul_div_one(UINT64_MAX, 1000000000, 3000000000ull);
	mul_div_one(0, 5, 7);
	mul_div_one(BIT(63), 2, BIT(63) + 1);
	srand(2);
	for (int i = 0; i < 200000; i++)
		mul_div_one(random64(), random64(), random64() | 1);
	assert_true(ticks_to_ns(3000000000ull, 3000000000ull) == 1000000000ull);
	assert_true(ns_to_ticks(1000000, 2500000000ull) == 2500000);
}

static void rls_bounds(void **state)
{
	struct rls good = {1, 1, RLS_SHARES_MAX}, over = {2, 1, 1}, none = {0, 1, 0}, many = {0, 1, RLS_SHARES_MAX + 1};

	(void)state;
	assert_true(rls_valid(&good));
	assert_false(rls_valid(&over));
	assert_false(rls_valid(&none));
	assert_false(rls_valid(&many));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(overflow_is_seen), cmocka_unit_test(ranges),	    cmocka_unit_test(bits_and_fields),
		cmocka_unit_test(byte_order),	    cmocka_unit_test(mul_div_is_exact), cmocka_unit_test(rls_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
