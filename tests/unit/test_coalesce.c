/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vIC: the ratios of the paper's table, that a guest which waits is never left without its
 * interrupt, the threshold of the rate and the policy without it, and the gap between IPIs.
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

/* Interrupts for @count completions, with @in_flight commands and at @iops, once two epochs have shown that rate. */
static unsigned steady(uint32_t in_flight, uint64_t iops, unsigned count)
{
	unsigned interrupts = 0;

	for (uint64_t end = now + HZ; now < end; now += HZ / iops)
		coalesce_complete(&c, &set, in_flight, now, HZ);
	for (unsigned i = 0; i < count; i++, now += HZ / iops)
		interrupts += coalesce_complete(&c, &set, in_flight, now, HZ);
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
			set.policy = (enum coalesce_policy)random_below(&r, 3);
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

static void test_gap(void **state)
{
	unsigned kicks = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++, now += HZ / 50000) /* each 20 us */
		kicks += coalesce_may_kick(&c, &set, now, HZ);
	assert_int_equal(kicks, 200);
	assert_int_equal(c.held_kicks, 800);
	set.gap_us = 0;
	assert_true(coalesce_may_kick(&c, &set, now, HZ) && coalesce_may_kick(&c, &set, now, HZ));
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
	set.epoch_ms = 0;
	assert_int_equal(coalesce_check(&set, &err), ST_INVALID);
	assert_string_equal(err.text, "an epoch of 0 ms is out of range, it can be 1 to 10000");
	coalesce_settings_init(&set);
	set.gap_us = 1001;
	assert_int_equal(coalesce_check(&set, &err), ST_INVALID);
	assert_string_equal(err.text, "a gap of 1001 us is more than 1000");
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
