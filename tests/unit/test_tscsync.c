/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a ping-pong proves about two TSCs: never more than it can, and the tightest
 * of all rounds.
 */
#include "tests/cmocka_all.h"

#include "firmware/tscsync.h"

/* The other CPU reads @lag ticks after the asker, @trip ticks go by in all; its TSC is ahead by @skew. */
static struct tscsync_round round_of(uint64_t at, uint64_t lag, uint64_t trip, int64_t skew)
{
	return (struct tscsync_round){.before = at, .there = at + lag + (uint64_t)skew, .after = at + trip};
}

static void agreement(void **state)
{
	struct tscsync_round r[] = {round_of(1000, 3, 18, 0), round_of(2000, 17, 18, 0), round_of(3000, 0, 18, 0)};

	(void)state;
	assert_int_equal(tscsync_skew(r, 3), 0);
	assert_int_equal(tscsync_skew(r, 0), 0);
}

/* Only what lies beyond the round trip is certain. */
static void ahead_and_behind(void **state)
{
	struct tscsync_round ahead[] = {round_of(1000, 9, 18, 100), round_of(2000, 2, 500, 100)};
	struct tscsync_round behind[] = {round_of(1000, 9, 18, -100), round_of(2000, 400, 500, -100)};
	struct tscsync_round hidden[] = {round_of(1000, 9, 18, 8)};

	(void)state;
	assert_int_equal(tscsync_skew(ahead, 2), 91);
	assert_int_equal(tscsync_skew(behind, 2), -91);
	assert_int_equal(tscsync_skew(hidden, 1), 0);
}

static void far_apart(void **state)
{
	struct tscsync_round r[] = {{.before = 1ull << 62, .there = 5, .after = (1ull << 62) + 20}};

	(void)state;
	assert_int_equal(tscsync_skew(r, 1), 5 - (1ll << 62));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agreement),
		cmocka_unit_test(ahead_and_behind),
		cmocka_unit_test(far_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
