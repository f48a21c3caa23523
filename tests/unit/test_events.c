/* SPDX-License-Identifier: Apache-2.0 */
/* The event ring: numbers, cursors, what a slow reader is told, names and patterns. */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/vm.h"
#include "lua/events.h"

static struct events events;
static uint64_t ticks;

static uint64_t read_ticks(void)
{
	return ticks;
}

static const struct clock by_hand = {.ticks = read_ticks, .hz = 1000};

static int setup(void **state)
{
	(void)state;
	ticks = 50;
	events_init(&events, &by_hand, NULL);
	return 0;
}

static void records_come_in_order(void **state)
{
	static struct vm vm = {.id = 7, .config.name = "alpha"};
	uint64_t cursor = 0, missed = 0;
	const struct event_record *e;

	(void)state;
	assert_null(events_next(&events, &cursor, &missed));
	ticks += 2000;
	events_post(&events, EVENT_VM_CRASHED, &vm, "triple\x1b fault %d", 3);
	events_post(&events, EVENT_STORE, NULL, "%s", "");
	e = events_next(&events, &cursor, &missed);
	assert_non_null(e);
	assert_int_equal(e->seq, 0);
	assert_int_equal(e->time_ns, 2000000000);
	assert_int_equal(e->vm, 7);
	assert_string_equal(e->vm_name, "alpha");
	assert_string_equal(e->text, "triple? fault 3");
	e = events_next(&events, &cursor, &missed);
	assert_int_equal(e->seq, 1);
	assert_int_equal(e->vm, 0);
	assert_string_equal(e->vm_name, "");
	assert_null(events_next(&events, &cursor, &missed));
	assert_int_equal(missed, 0);
	cursor = 99; /* from the future: nothing there */
	assert_null(events_next(&events, &cursor, &missed));
}

static void nobody_reads_ten_thousand(void **state)
{
	uint64_t cursor = 3, missed = 0, expected = 10000 - EVENTS_MAX;
	const struct event_record *e;

	(void)state;
	for (int i = 0; i < 10000; i++)
		events_post(&events, EVENT_LOGIN, NULL, "%d", i);
	assert_int_equal(events_oldest(&events), expected);
	while ((e = events_next(&events, &cursor, &missed)))
		assert_int_equal(e->seq, expected++);
	assert_int_equal(expected, 10000);
	assert_int_equal(missed, 10000 - EVENTS_MAX - 3);
}

static void a_long_text_is_cut(void **state)
{
	char text[3 * EVENT_TEXT_MAX];
	uint64_t cursor = 0, missed = 0;

	(void)state;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	events_post(&events, EVENT_FAULT, NULL, "%s", text);
	assert_int_equal(strlen(events_next(&events, &cursor, &missed)->text), EVENT_TEXT_MAX - 1);
}

static void patterns(void **state)
{
	(void)state;
	for (unsigned k = 0; k < EVENT_KINDS; k++)
		assert_true(event_matches(event_kind_name(k), k) && event_matches("*", k));
	assert_true(event_matches("vm", EVENT_VM_PAUSED));
	assert_false(event_matches("v", EVENT_VM_PAUSED));
	assert_false(event_matches("", EVENT_VM_PAUSED));
	assert_false(event_matches("vm.pause", EVENT_VM_PAUSED));
	assert_true(event_matches("login", EVENT_LOGIN_FAILED));
	assert_true(event_pattern_good("store"));
	assert_false(event_pattern_good("vm.dead"));
	assert_string_equal(event_kind_name(EVENT_KINDS), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(records_come_in_order, setup),
		cmocka_unit_test_setup(nobody_reads_ten_thousand, setup),
		cmocka_unit_test_setup(a_long_text_is_cut, setup),
		cmocka_unit_test_setup(patterns, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
