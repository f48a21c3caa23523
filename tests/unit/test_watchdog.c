/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a CPU counts as stuck: only without passes, only awake, once, and not before
 * its time; and the setting.
 */
#include "tests/cmocka_all.h"

#include "firmware/watchdog.h"

#define PATIENCE 100u

static void passes_keep_it_fine(void **state)
{
	struct watch w = {0};

	(void)state;
	for (uint64_t now = 1000; now < 2000; now += 50)
		assert_int_equal(watch_judge(&w, false, now, now, PATIENCE), WATCH_FINE);
}

static void stuck_is_said_once(void **state)
{
	struct watch w = {0};

	(void)state;
	assert_int_equal(watch_judge(&w, false, 7, 1000, PATIENCE), WATCH_FINE);
	assert_int_equal(watch_judge(&w, false, 7, 1099, PATIENCE), WATCH_FINE);
	assert_int_equal(watch_judge(&w, false, 7, 1100, PATIENCE), WATCH_STUCK);
	assert_int_equal(w.since, 1000);
	assert_int_equal(watch_judge(&w, false, 7, 1300, PATIENCE), WATCH_FINE);
	assert_int_equal(watch_judge(&w, false, 8, 1400, PATIENCE), WATCH_BACK);
	assert_int_equal(watch_judge(&w, false, 8, 1499, PATIENCE), WATCH_FINE);
	assert_int_equal(watch_judge(&w, false, 8, 1500, PATIENCE), WATCH_STUCK);
}

/* A sleeper passes nothing; its time begins when it is seen awake. */
static void sleep_is_no_fault(void **state)
{
	struct watch w = {0};

	(void)state;
	assert_int_equal(watch_judge(&w, true, 7, 1000, PATIENCE), WATCH_FINE);
	assert_int_equal(watch_judge(&w, true, 7, 5000, PATIENCE), WATCH_FINE);
	assert_int_equal(watch_judge(&w, false, 7, 5099, PATIENCE), WATCH_FINE);
	assert_int_equal(watch_judge(&w, false, 7, 5100, PATIENCE), WATCH_STUCK);
	assert_int_equal(watch_judge(&w, true, 7, 5200, PATIENCE), WATCH_BACK);
}

static void setting(void **state)
{
	const struct knob *k = &watchdog_knobs.rows[0];
	struct error err;

	(void)state;
	assert_int_equal(watchdog_timeout_ns(), k->otherwise);
	assert_int_equal(knob_check(k, NULL, 1999999999, &err), ST_INVALID);
	assert_int_equal(knob_check(k, NULL, 2000000000, &err), ST_OK);
	k->set(NULL, 2000000000);
	assert_int_equal(watchdog_timeout_ns(), 2000000000);
	assert_int_equal(k->get(NULL), 2000000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passes_keep_it_fine),
		cmocka_unit_test(stuck_is_said_once),
		cmocka_unit_test(sleep_is_no_fault),
		cmocka_unit_test(setting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
