/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vIC: the ratios of the paper's table, that a guest which waits is never left without its
 * interrupt, the threshold of the rate and the policy without it, and when there is a gap between IPIs.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>

#include "io/coalesce.h"
#include "lib/bits.h"
#include "tests/model/random.h"

#define HZ 1000000000ull

static struct coalesce c;
static struct coalesce_settings set;
static uint64_t now;

static int setup(void **state)
{
	(void)state;
	coalesce_init(&c);
	coalesce_settings_init(&set);
	now = 5 * HZ;
	return 0;
}

/* A guest with @in_flight commands, which sends another for each that it is told of. True: it was interrupted. */
static bool one_of(uint32_t in_flight)
{
	return coalesce_complete(&c, &set, in_flight - c.held, now, HZ);
}

/* Interrupts for @count completions, with @in_flight commands and at @iops, once two epochs have shown that rate. */
static unsigned steady(uint32_t in_flight, uint64_t iops, unsigned count)
{
	unsigned interrupts = 0;

	for (uint64_t end = now + HZ; now < end; now += HZ / iops)
		one_of(in_flight);
	for (unsigned i = 0; i < count; i++, now += HZ / iops)
		interrupts += one_of(in_flight);
	return interrupts;
}

static void test_table(void **state)
{
	static const struct {
		uint32_t in_flight;
		unsigned of_1200;
	} rows[] = {{1, 1200}, {3, 1200}, {4, 960},  {5, 960},	{7, 960},  {8, 900},  {9, 900}, {11, 900},
		    {12, 800}, {13, 800}, {15, 800}, {16, 600}, {24, 400}, {32, 300}, {64, 150}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		setup(NULL);
		assert_in_range(steady(rows[i].in_flight, 10000, 1200), rows[i].of_1200 - 1, rows[i].of_1200 + 1);
	}
}

static void test_slow_is_not_coalesced(void **state)
{
	(void)state;
	assert_int_equal(steady(16, 1000, 1200), 1200);
	setup(NULL);
	set.policy = COALESCE_CIF; /* the first form of it did */
	assert_in_range(steady(16, 500, 1200), 599, 601);
	setup(NULL);
	set.policy = COALESCE_OFF;
	assert_int_equal(steady(64, 100000, 1200), 1200);
}

/* A rate that ends is not believed any more at the first completion after the silence. */
static void test_silence(void **state)
{
	(void)state;
	assert_in_range(steady(32, 20000, 1200), 299, 301);
	now += 2 * HZ;
	for (unsigned i = 0; i < 10; i++, now += HZ / 10)
		assert_true(coalesce_complete(&c, &set, 32, now, HZ));
}

/*
 * Bursts of random length at random rates, as a guest sends them that waits for all to come back: when none is in
 * flight any more nothing is held, whatever the settings.
 */
static void test_never_stranded(void **state)
{
	struct random_state r = random_seed(7);

	(void)state;
	for (unsigned burst = 0; burst < 100000; burst++) {
		unsigned in_flight = 1 + (unsigned)random_below(&r, 64);
		bool held = false;

		if (random_below(&r, 100) == 0) {
			set.policy = (unsigned)random_below(&r, COALESCE_POLICIES);
			set.cif_min = 2 + (uint32_t)random_below(&r, 40);
			set.iops_min = (uint32_t)random_below(&r, 5000);
			assert_int_equal(coalesce_check(&set, NULL), ST_OK);
		}
		for (; in_flight; in_flight--) {
			held = !coalesce_complete(&c, &set, in_flight, now, HZ);
			now += random_below(&r, HZ / 5000);
		}
		assert_false(held);
	}
	assert_true(c.interrupts < c.completions * 97 / 100); /* something was held */
}

/* The gap holds while others are in flight and interrupts are held back; never for the last ones. */
static void test_gap(void **state)
{
	(void)state;
	assert_int_equal(coalesce_gap(&c, &set, 32, HZ), 0); /* nothing is known of its rate yet */
	steady(32, 20000, 100);
	assert_int_equal(coalesce_gap(&c, &set, 32, HZ), HZ / 10000);
	assert_int_equal(coalesce_gap(&c, &set, 4, HZ), HZ / 10000);
	assert_int_equal(coalesce_gap(&c, &set, 3, HZ), 0);
	set.gap_ns = 0;
	assert_int_equal(coalesce_gap(&c, &set, 32, HZ), 0);
	set.gap_ns = 1000;
	assert_int_equal(coalesce_gap(&c, &set, 32, HZ), HZ / 1000000);
	set.policy = COALESCE_OFF;
	assert_int_equal(coalesce_gap(&c, &set, 32, HZ), 0);
	setup(NULL);
	steady(32, 1000, 100); /* too slow */
	assert_int_equal(coalesce_gap(&c, &set, 32, HZ), 0);
}

static void test_settings(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(coalesce_check(&set, &err), ST_OK);
	set.cif_min = 1;
	assert_int_equal(coalesce_check(&set, &err), ST_INVALID);
	assert_string_equal(err.text, "cif_min is 1, it can be 2 to 256");
	coalesce_settings_init(&set);
	set.epoch_ns = 999999;
	assert_int_equal(coalesce_check(&set, &err), ST_INVALID);
	assert_string_equal(err.text, "epoch is 999999 ns, it can be 1000000 to 10000000000");
	coalesce_settings_init(&set);
	set.gap_ns = 1000001;
	assert_int_equal(coalesce_check(&set, &err), ST_INVALID);
	assert_string_equal(err.text, "gap is 1000001 ns, it can be 0 to 1000000");
	coalesce_settings_init(&set);
	set.policy = COALESCE_POLICIES;
	assert_int_equal(coalesce_check(&set, &err), ST_INVALID);
	coalesce_settings_init(&set);
	set.iops_min = COALESCE_IOPS_MIN_MAX + 1;
	assert_int_equal(coalesce_check(&set, &err), ST_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_table, setup),   cmocka_unit_test_setup(test_slow_is_not_coalesced, setup),
		cmocka_unit_test_setup(test_silence, setup), cmocka_unit_test_setup(test_never_stranded, setup),
		cmocka_unit_test_setup(test_gap, setup),     cmocka_unit_test_setup(test_settings, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
