/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FIFO: full, empty, index wrap at 2^32, and a producer thread against a
 * consumer thread, where every byte must arrive once and in order.
 */
#include "tests/cmocka_all.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "lib/ring.h"
#include "tests/expect_panic.h"

#define STREAM (1u << 20)

static void full_refuses_and_counts(void **state)
{
	uint8_t buf[4], b;
	struct ring r;

	(void)state;
	ring_init(&r, buf, sizeof buf);
	assert_false(ring_get(&r, &b));
	for (uint8_t i = 0; i < 4; i++)
		assert_true(ring_put(&r, i));
	assert_false(ring_put(&r, 9));
	assert_true(r.dropped == 1 && ring_used(&r) == 4 && ring_free(&r) == 0);
	assert_int_equal(ring_write(&r, "x", 1), 0);
	assert_true(r.dropped == 1);
	for (uint8_t i = 0; i < 4; i++) {
		assert_true(ring_get(&r, &b));
		assert_int_equal(b, i);
	}
	assert_false(ring_get(&r, &b));
	EXPECT_PANIC(ring_init(&r, buf, 3));
}

static void indexes_wrap(void **state)
{
	uint8_t buf[8], out[8];
	struct ring r;

	(void)state;
	ring_init(&r, buf, sizeof buf);
	r.head = r.tail = UINT32_MAX - 2;
	assert_int_equal(ring_write(&r, "abcdefghij", 10), 8);
	assert_int_equal(ring_used(&r), 8);
	assert_int_equal(ring_read(&r, out, 5), 5);
	assert_memory_equal(out, "abcde", 5);
	assert_int_equal(ring_write(&r, "klm", 3), 3);
	assert_int_equal(ring_read(&r, out, sizeof out), 6);
	assert_memory_equal(out, "fghklm", 6);
}

static void *produce(void *arg)
{
	struct ring *r = arg;
	uint8_t chunk[13];
	uint32_t sent = 0;

	while (sent < STREAM) {
		size_t n = sizeof chunk < STREAM - sent ? sizeof chunk : STREAM - sent, done;

		for (size_t i = 0; i < n; i++)
			chunk[i] = (uint8_t)((sent + i) * 31 >> 3);
		done = ring_write(r, chunk, n);
		sent += (uint32_t)done;
		if (done == 0)
			sched_yield();
	}
	return NULL;
}

static void two_threads_lose_nothing(void **state)
{
	uint8_t buf[64], out[17];
	struct ring r;
	pthread_t thread;
	uint32_t got = 0;

	(void)state;
	ring_init(&r, buf, sizeof buf);
	assert_int_equal(pthread_create(&thread, NULL, produce, &r), 0);
	while (got < STREAM) {
		size_t n = ring_read(&r, out, sizeof out);

		for (size_t i = 0; i < n; i++, got++)
			assert_int_equal(out[i], (uint8_t)(got * 31 >> 3));
		if (n == 0)
			sched_yield();
	}
	pthread_join(thread, NULL);
	assert_int_equal(ring_used(&r), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_refuses_and_counts),
		cmocka_unit_test(indexes_wrap),
		cmocka_unit_test(two_threads_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
