/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timer queue against a naive array: random set, re-arm, cancel and run,
 * with the heap's order and back references checked after each step.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/timerq.h"
#include "tests/expect_panic.h"

#define TIMERS 37

static struct timerq q;
static struct timer *slots[TIMERS];
static struct timer timers[TIMERS];
static uint64_t naive[TIMERS]; /* TIMERQ_NEVER: not set */
static uint64_t last_deadline;
static unsigned fired;

static void check(void)
{
	uint64_t next = TIMERQ_NEVER;
	unsigned set = 0;

	for (unsigned i = 0; i < TIMERS; i++) {
		assert_true(timer_is_set(&timers[i]) == (naive[i] != TIMERQ_NEVER));
		next = naive[i] < next ? naive[i] : next;
		set += naive[i] != TIMERQ_NEVER;
	}
	assert_true(q.next == next && q.count == set);
	for (uint32_t i = 0; i < q.count; i++) {
		assert_int_equal(q.heap[i]->index, i + 1);
		assert_true(i == 0 || q.heap[(i - 1) / 2]->deadline <= q.heap[i]->deadline);
		assert_true(q.heap[i]->deadline == naive[q.heap[i] - timers]);
	}
}

static void on_expiry(struct timer *t, uint64_t now)
{
	unsigned i = (unsigned)(t - timers);

	assert_false(timer_is_set(t));
	assert_true(naive[i] <= now && naive[i] == t->deadline);
	assert_true(naive[i] >= last_deadline);
	last_deadline = naive[i];
	naive[i] = TIMERQ_NEVER;
	fired++;
	if (rand() % 3 == 0) { /* re-arm itself in the future, or cancel another */
		naive[i] = now + 1 + (uint64_t)rand() % 50;
		timerq_set(&q, t, naive[i]);
	} else if (rand() % 3 == 0) {
		i = (unsigned)rand() % TIMERS;
		naive[i] = TIMERQ_NEVER;
		timerq_cancel(&q, &timers[i]);
	}
}

static int reset(void **state)
{
	(void)state;
	timerq_init(&q, slots, TIMERS);
	for (unsigned i = 0; i < TIMERS; i++) {
		timer_init(&timers[i], on_expiry);
		naive[i] = TIMERQ_NEVER;
	}
	return 0;
}

static void random_against_naive(void **state)
{
	uint64_t now = 0;

	(void)state;
	srand(4);
	for (int step = 0; step < 100000; step++) {
		unsigned i = (unsigned)rand() % TIMERS, expired;

		switch (rand() % 4) {
		case 0:
		case 1:
			naive[i] = now + (uint64_t)rand() % 100;
			timerq_set(&q, &timers[i], naive[i]);
			break;
		case 2:
			naive[i] = TIMERQ_NEVER;
			timerq_cancel(&q, &timers[i]);
			break;
		default:
			now += (uint64_t)rand() % 20;
			last_deadline = 0;
			fired = 0;
			expired = timerq_run(&q, now);
			assert_int_equal(expired, fired);
			assert_true(q.next > now);
		}
		check();
	}
}

static unsigned past_calls;

static void rearm_in_the_past(struct timer *t, uint64_t now)
{
	past_calls++;
	timerq_set(&q, t, now - 1);
}

static void a_past_rearm_cannot_hold_the_cpu(void **state)
{
	struct timer *slot[2];
	struct timer t[2];

	(void)state;
	timerq_init(&q, slot, 2);
	for (unsigned i = 0; i < 2; i++) {
		timer_init(&t[i], rearm_in_the_past);
		timerq_set(&q, &t[i], 10);
	}
	past_calls = 0;
	assert_int_equal(timerq_run(&q, 100), 2);
	assert_int_equal(past_calls, 2);
	assert_true(q.next <= 100);
}

static void never_cancels_and_overflow_is_ours(void **state)
{
	struct timer *slot[1];
	struct timer a, b;

	(void)state;
	timerq_init(&q, slot, 1);
	timer_init(&a, rearm_in_the_past);
	timer_init(&b, rearm_in_the_past);
	timerq_set(&q, &a, 5);
	EXPECT_PANIC(timerq_set(&q, &b, 6));
	timerq_set(&q, &a, TIMERQ_NEVER);
	assert_false(timer_is_set(&a));
	assert_true(q.next == TIMERQ_NEVER);
	timerq_cancel(&q, &a);
	assert_int_equal(timerq_run(&q, UINT64_MAX), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(random_against_naive, reset),
		cmocka_unit_test_setup(a_past_rearm_cannot_hold_the_cpu, reset),
		cmocka_unit_test_setup(never_cancels_and_overflow_is_ours, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
