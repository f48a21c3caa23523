/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clock rates against exact 128-bit arithmetic: no tick early, none late by more
 * than the stated error, and both directions agree at every tick.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>

#include "guest/rate.h"
#include "lib/bits.h"
#include "tests/expect_panic.h"

static const uint64_t tsc_rates[] = {1000000, 4000000, 50000000, 1000000007, 2893300000, 5800000000};
static const uint64_t clock_rates[] = {32768, 1193182, 3579545, 1000000000};

static uint64_t exact(uint64_t v, uint64_t num, uint64_t den)
{
	return (uint64_t)((unsigned __int128)v * num / den);
}

static uint64_t random_below(uint64_t limit)
{
	uint64_t v = (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();

	return v % limit;
}

static void ticks_are_exact_or_one_late(void **state)
{
	struct rate r;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(tsc_rates); i++) {
		for (unsigned j = 0; j < ARRAY_SIZE(clock_rates); j++) {
			rate_init(&r, tsc_rates[i], clock_rates[j]);
			for (unsigned n = 0; n < 20000; n++) {
				uint64_t tsc = random_below(n % 2 ? BIT(50) : 1000);
				uint64_t want = exact(tsc, clock_rates[j], tsc_rates[i]), got = rate_ticks(&r, tsc);

				assert_true(got == want || got + 1 == want);
			}
		}
	}
}

static void deadlines_are_the_first_moment(void **state)
{
	struct rate r;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(tsc_rates); i++) {
		for (unsigned j = 0; j < ARRAY_SIZE(clock_rates); j++) {
			rate_init(&r, tsc_rates[i], clock_rates[j]);
			for (unsigned n = 0; n < 20000; n++) {
				uint64_t tick = 1 + random_below(n % 2 ? BIT(45) : 1000);
				uint64_t tsc = rate_tsc(&r, tick);

				assert_true(rate_ticks(&r, tsc) >= tick);
				assert_true(tsc == 0 || rate_ticks(&r, tsc - 1) < tick);
			}
		}
	}
}

static void a_year_without_drift(void **state)
{
	const uint64_t seconds = 366ull * 86400;
	struct rate r;

	(void)state;
	rate_init(&r, 2893300000, 1193182);
	assert_in_range(rate_ticks(&r, seconds * 2893300000), seconds * 1193182 - 1, seconds * 1193182);
	rate_init(&r, 2893300000, 3579545);
	assert_in_range(rate_ticks(&r, seconds * 2893300000), seconds * 3579545 - 1, seconds * 3579545);
}

static void equal_rates_are_the_identity(void **state)
{
	struct rate r;

	(void)state;
	rate_init(&r, 12345, 12345);
	assert_true(rate_ticks(&r, 987654321012345) == 987654321012345);
	assert_true(rate_tsc(&r, 987654321012345) == 987654321012345);
	EXPECT_PANIC(rate_init(&r, 0, 1));
	EXPECT_PANIC(rate_init(&r, 1, BIT(63)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ticks_are_exact_or_one_late),
		cmocka_unit_test(deadlines_are_the_first_moment),
		cmocka_unit_test(a_year_without_drift),
		cmocka_unit_test(equal_rates_are_the_identity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
