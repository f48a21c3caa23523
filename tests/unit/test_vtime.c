/* SPDX-License-Identifier: Apache-2.0 */
/* Guest time: starts at zero, stands still while paused, never moves otherwise, survives wrap-around. */
#include "tests/cmocka_all.h"

#include "guest/vtime.h"

static uint64_t host_now;
static uint64_t host_ticks(void) { return host_now; }
static const struct clock host_clock = {.ticks = host_ticks, .hz = 50000000};

static void starts_at_zero_and_paused(void **state)
{
	struct vm_time t;

	(void)state;
	host_now = 123456789;
	vm_time_init(&t, &host_clock);
	assert_int_equal(vm_time_tsc(&t), 0);
	host_now += 1000;
	assert_int_equal(vm_time_tsc(&t), 0);
	vm_time_resume(&t);
	assert_int_equal(vm_time_tsc(&t), 0);
	host_now += 50;
	assert_int_equal(vm_time_tsc(&t), 50);
	assert_int_equal(vm_time_ns(&t), 1000);
	assert_int_equal(vm_time_hz(&t), 50000000);
}

static void pause_freezes_and_resume_goes_on(void **state)
{
	struct vm_time t;

	(void)state;
	host_now = 1000;
	vm_time_init(&t, &host_clock);
	vm_time_resume(&t);
	host_now = 1700;
	vm_time_pause(&t);
	host_now = 1000000;
	assert_int_equal(vm_time_tsc(&t), 700);
	vm_time_resume(&t);
	host_now += 5;
	assert_int_equal(vm_time_tsc(&t), 705);
	assert_int_equal(vm_time_to_host(&t, 705), host_now);
}

static void host_counter_may_wrap(void **state)
{
	struct vm_time t;

	(void)state;
	host_now = UINT64_MAX - 9;
	vm_time_init(&t, &host_clock);
	vm_time_resume(&t);
	host_now += 30;
	assert_int_equal(vm_time_tsc(&t), 30);
	assert_int_equal(vm_time_to_host(&t, 40), 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts_at_zero_and_paused),
		cmocka_unit_test(pause_freezes_and_resume_goes_on),
		cmocka_unit_test(host_counter_may_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
