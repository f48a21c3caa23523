/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks: threads count under one without losing a step, whoever tries does not
 * wait, and an order that could dead-lock is refused at its first use.
 */
#include "tests/cmocka_all.h"

#include <pthread.h>
#include <sched.h>

#include "lib/lock.h"
#include "tests/expect_panic.h"

#define THREADS 4
#define STEPS 20000u

static _Thread_local struct lock_context mine;

static struct lock_context *my_context(void) { return &mine; }

static void give_way(void) { sched_yield(); }

static struct lock counting;
static uint64_t counted;

static void *count(void *seed)
{
	mine.seed = (uint32_t)(uintptr_t)seed;
	for (unsigned i = 0; i < STEPS; i++) {
		lock_acquire(&counting);
		counted++;
		lock_release(&counting);
	}
	return NULL;
}

static void threads_exclude_each_other(void **state)
{
	pthread_t thread[THREADS];

	(void)state;
	lock_init(&counting, LOCK_VM);
	counted = 0;
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, count, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(counted, THREADS * STEPS);
}

static void trying_does_not_wait(void **state)
{
	struct lock l;

	(void)state;
	lock_init(&l, LOCK_VM);
	assert_true(lock_try(&l));
	assert_true(lock_is_mine(&l));
	assert_false(lock_try(&l));
	lock_release(&l);
	assert_false(lock_is_mine(&l));
	assert_true(lock_try(&l));
	lock_release(&l);
}

static void order_is_held(void **state)
{
	struct lock vm, timers, cpu0, cpu1;

	(void)state;
	lock_init(&vm, LOCK_VM);
	lock_init(&timers, LOCK_TIMERS);
	lock_init(&cpu0, LOCK_SCHED_CPU);
	lock_init(&cpu1, LOCK_SCHED_CPU);
	lock_acquire(&vm);
	lock_acquire(&timers);
	lock_acquire(&cpu0);
	lock_acquire_next(&cpu1);
	EXPECT_PANIC(lock_acquire(&vm));
	lock_release(&timers); /* not the last one taken */
	EXPECT_PANIC(lock_acquire(&timers));
	EXPECT_PANIC(lock_release(&timers));
	lock_release(&cpu0);
	EXPECT_PANIC(lock_acquire(&cpu0));
	lock_release(&cpu1);
	lock_release(&vm);
	assert_int_equal(mine.depth, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_exclude_each_other),
		cmocka_unit_test(trying_does_not_wait),
		cmocka_unit_test(order_is_held),
	};

	lock_set_context(my_context);
	lock_set_waiting(give_way);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
