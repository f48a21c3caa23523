/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balloon by virtio 1.2 section 5.5: page numbers in any framing, the target and
 * what the driver says, statistics that are asked for, memory that comes later.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "io/virtio_balloon.h"
#include "lib/bits.h"
#include "tests/fakes/virtio_driver.h"

#define PAGES 32u
#define DATA 0x10000u
#define NEXT VIRTQ_DESC_F_NEXT
#define WRITE VIRTQ_DESC_F_WRITE
#define INFLATE VIRTIO_BALLOON_INFLATE
#define DEFLATE VIRTIO_BALLOON_DEFLATE
#define STATS VIRTIO_BALLOON_STATSQ

static struct fake_guest_mem mem;
static struct virtio_balloon balloon;
static struct driver drv;
static struct driver_ring ring[VIRTIO_BALLOON_QUEUES];
static uint64_t given[4096], taken[4096];
static unsigned givens, takens, asked, actual_calls;
static uint64_t values[VIRTIO_BALLOON_STATS];
static uint32_t present, actual;

static bool on_inflate(void *ctx, gfn_t f)
{
	assert_ptr_equal(ctx, given);
	given[givens++] = f.v;
	return f.v < 1000;
}

static void on_deflate(void *ctx, gfn_t f)
{
	(void)ctx;
	taken[takens++] = f.v;
}

static void on_stats(void *ctx, const uint64_t v[VIRTIO_BALLOON_STATS], uint32_t which)
{
	(void)ctx;
	memcpy(values, v, sizeof values);
	present = which;
	asked++;
}

static void on_actual(void *ctx, uint32_t pages)
{
	(void)ctx;
	actual = pages;
	actual_calls++;
}

static const struct virtio_balloon_ops ops = {on_inflate, on_deflate, on_stats, on_actual, .page_cost = 3000};

static void bring_up(void)
{
	assert_true(driver_negotiate(&drv, balloon.device.offered & ~VIRTIO_F_EVENT_IDX) & VIRTIO_STATUS_FEATURES_OK);
	for (unsigned i = 0; i < VIRTIO_BALLOON_QUEUES; i++) {
		driver_ring_init(&ring[i], &mem, 0x1000 + 0x2000 * i, VIRTIO_BALLOON_QUEUE_SIZE);
		driver_queue(&drv, i, &ring[i]);
	}
	driver_ok(&drv);
	driver_work(&drv);
}

static int setup(void **state)
{
	(void)state;
	givens = takens = asked = actual_calls = 0;
	fake_guest_mem_init(&mem, PAGES, 1);
	virtio_balloon_init(&balloon, &mem.mem, &ops, given);
	driver_attach(&drv, &balloon.device);
	bring_up();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_true(driver_stop(&drv, &mem));
	fake_guest_mem_fini(&mem);
	return 0;
}

static void offer(unsigned queue, uint16_t head, uint64_t at, uint32_t bytes)
{
	driver_desc(&ring[queue], head, at, bytes, 0, 0);
	driver_offer(&ring[queue], head);
	driver_kick(&drv, queue);
	driver_work(&drv);
}

static void expect(unsigned queue, uint32_t head)
{
	uint32_t id, written;

	assert_true(driver_used(&ring[queue], &id, &written));
	assert_int_equal(id, head);
	assert_int_equal(written, 0);
}

static void expect_none(unsigned queue)
{
	uint32_t id, written;

	assert_false(driver_used(&ring[queue], &id, &written));
}

static void numbers(uint64_t at, uint32_t first, unsigned count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t v = first + i;

		fake_guest_mem_write(&mem, at + 4ull * i, &v, 4);
	}
}

static void pages_come_and_go(void **state)
{
	(void)state;
	numbers(DATA, 10, 256);
	offer(INFLATE, 5, DATA, 1024);
	expect(INFLATE, 5);
	assert_int_equal(givens, 256);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(given[i], 10 + i);
	assert_int_equal(balloon.inflated, 256);
	numbers(DATA, 20, 2);
	offer(DEFLATE, 6, DATA, 8);
	expect(DEFLATE, 6);
	assert_int_equal(takens, 2);
	assert_int_equal(taken[1], 21);
	assert_int_equal(balloon.deflated, 2);
	assert_int_equal(drv.interrupts[1 + INFLATE], 1);
	/* What the memory side does not take is counted, and is no error of the driver's. */
	numbers(DATA, 0xffffffff, 1);
	offer(INFLATE, 0, DATA, 4);
	expect(INFLATE, 0);
	assert_int_equal(given[256], 0xffffffff);
	assert_int_equal(balloon.refused, 1);
	assert_int_equal(drv.broken, 0);
}

/* Taking pages is dear: a kick takes a few, the worker the rest. */
static void a_kick_takes_a_few(void **state)
{
	(void)state;
	numbers(DATA, 0, 256);
	driver_desc(&ring[INFLATE], 0, DATA, 1024, 0, 0);
	driver_offer(&ring[INFLATE], 0);
	driver_kick(&drv, INFLATE);
	assert_in_range(givens, 1, VIRTIO_INLINE_BUDGET / 3000);
	assert_true(drv.deferred);
	driver_work(&drv);
	assert_int_equal(givens, 256);
}

static void any_framing(void **state)
{
	(void)state;
	numbers(DATA, 100, 4);
	/* 16 bytes as 3, 1, 7, 3 across a page, and 2 that are no number. */
	fake_guest_mem_write(&mem, 0x12ffd, "\x66", 1);
	for (unsigned i = 0; i < 16; i++) {
		uint8_t byte;

		fake_guest_mem_read(&mem, DATA + i, &byte, 1);
		fake_guest_mem_write(&mem, 0x12ff8 + i, &byte, 1);
	}
	driver_desc(&ring[INFLATE], 0, 0x12ff8, 3, NEXT, 1);
	driver_desc(&ring[INFLATE], 1, 0x12ffb, 1, NEXT, 2);
	driver_desc(&ring[INFLATE], 2, 0x12ffc, 7, NEXT, 3);
	driver_desc(&ring[INFLATE], 3, 0x13003, 5, NEXT, 4);
	driver_desc(&ring[INFLATE], 4, DATA, 2, 0, 0);
	driver_offer(&ring[INFLATE], 0);
	driver_kick(&drv, INFLATE);
	driver_work(&drv);
	expect(INFLATE, 0);
	assert_int_equal(givens, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(given[i], 100 + i);
	/* The two left over are not the beginning of the next chain's first. */
	offer(INFLATE, 0, DATA, 4);
	assert_int_equal(given[4], 100);
	/* A writable buffer has no numbers. */
	driver_desc(&ring[INFLATE], 0, DATA, 8, WRITE, 0);
	driver_offer(&ring[INFLATE], 0);
	driver_kick(&drv, INFLATE);
	driver_work(&drv);
	assert_int_equal(givens, 5);
}

static void target_and_actual(void **state)
{
	(void)state;
	assert_int_equal(driver_config(&drv, VIRTIO_BALLOON_CFG_NUM_PAGES, 4), 0);
	virtio_balloon_target(&balloon, 5000);
	assert_int_equal(driver_config(&drv, VIRTIO_BALLOON_CFG_NUM_PAGES, 4), 5000);
	assert_int_equal(drv.interrupts[0], 1);
	driver_set_config(&drv, VIRTIO_BALLOON_CFG_ACTUAL, 4, 4711);
	assert_int_equal(actual, 4711);
	assert_int_equal(virtio_balloon_actual(&balloon), 4711);
	for (unsigned i = 0; i < 4; i++) /* byte by byte, as old drivers do */
		driver_set_config(&drv, VIRTIO_BALLOON_CFG_ACTUAL + i, 1, 0x12345678 >> 8 * i & 0xff);
	assert_int_equal(actual, 0x12345678);
	assert_int_equal(actual_calls, 5);
	for (uint32_t at = 0; at < 16; at++)
		for (unsigned bytes = 1; bytes <= 8; bytes *= 2)
			if (at < 4 || at + bytes > 8)
				driver_set_config(&drv, at, bytes, ~0ull);
	assert_int_equal(driver_config(&drv, VIRTIO_BALLOON_CFG_NUM_PAGES, 4), 5000);
	assert_int_equal(actual_calls, 5);
	driver_status(&drv, 0);
	assert_int_equal(virtio_balloon_actual(&balloon), 0);
	assert_int_equal(driver_config(&drv, VIRTIO_BALLOON_CFG_NUM_PAGES, 4), 5000);
}

static void stat(uint64_t at, uint16_t tag, uint64_t value)
{
	fake_guest_mem_write(&mem, at, &tag, 2);
	fake_guest_mem_write(&mem, at + 2, &value, 8);
}

static void statistics(void **state)
{
	(void)state;
	stat(DATA, VIRTIO_BALLOON_S_MEMFREE, 123456789012);
	stat(DATA + 10, 99, 1); /* unknown to us */
	stat(DATA + 20, VIRTIO_BALLOON_S_MEMTOT, 7);
	offer(STATS, 0, DATA, 35); /* and half of one */
	assert_int_equal(asked, 1);
	assert_int_equal(present, BIT(VIRTIO_BALLOON_S_MEMFREE) | BIT(VIRTIO_BALLOON_S_MEMTOT));
	assert_true(values[VIRTIO_BALLOON_S_MEMFREE] == 123456789012);
	expect_none(STATS); /* it is kept for the next question */
	virtio_balloon_ask(&balloon);
	(void)driver_work(&drv);
	assert_false(driver_no_notify(&ring[STATS])); /* or its answer would not be noticed */
	expect(STATS, 0);
	assert_int_equal(drv.interrupts[1 + STATS], 1);
	/* Asked twice before the guest answers is asked once more. */
	virtio_balloon_ask(&balloon);
	stat(DATA, VIRTIO_BALLOON_S_SWAP_IN, 1);
	offer(STATS, 1, DATA, 10);
	assert_int_equal(asked, 2);
	assert_int_equal(present, BIT(VIRTIO_BALLOON_S_SWAP_IN));
	expect(STATS, 1);
	/* None at all. */
	driver_desc(&ring[STATS], 0, DATA, 10, WRITE, 0);
	driver_offer(&ring[STATS], 0);
	driver_kick(&drv, STATS);
	driver_work(&drv);
	assert_int_equal(asked, 2);
}

static void memory_comes_later(void **state)
{
	(void)state;
	numbers(0x12ffe, 50, 2);
	stat(0x14ffd, VIRTIO_BALLOON_S_CACHES, 9);
	for (unsigned n = 1; n <= 3; n++) {
		mem.later_at = n;
		offer(INFLATE, 0, 0x12ffe, 8);
		expect_none(INFLATE);
		fake_guest_mem_move(&mem);
		assert_int_equal(fake_guest_mem_answer(&mem, 9), 1);
		driver_work(&drv);
		expect(INFLATE, 0);
		assert_int_equal(givens, 2 * n);
		assert_int_equal(given[2 * n - 2], 50);
		assert_int_equal(given[2 * n - 1], 51);
	}
	mem.later_at = 2;
	offer(STATS, 0, 0x14ffd, 10);
	assert_int_equal(asked, 0);
	fake_guest_mem_answer(&mem, 9);
	driver_work(&drv);
	assert_int_equal(asked, 1);
	assert_int_equal(values[VIRTIO_BALLOON_S_CACHES], 9);
}

static void buffers_outside_memory(void **state)
{
	(void)state;
	for (unsigned queue = 0; queue < VIRTIO_BALLOON_QUEUES; queue++) {
		offer(queue, 0, PAGES * PAGE_SIZE - 2, 40);
		assert_int_equal(drv.broken, queue + 1);
		assert_string_equal(drv.why, "a buffer outside memory");
		driver_status(&drv, 0);
		bring_up();
	}
	assert_int_equal(givens + takens + asked, 0);
}

static void resets(void **state)
{
	(void)state;
	stat(DATA, VIRTIO_BALLOON_S_MEMFREE, 1);
	offer(STATS, 0, DATA, 10); /* kept here */
	mem.later_at = 1;
	numbers(DATA, 1, 1);
	offer(INFLATE, 0, DATA, 4); /* waits for memory */
	driver_status(&drv, 0);
	assert_int_equal(driver_read_status(&drv), 0);
	virtio_balloon_ask(&balloon); /* nobody is there */
	bring_up();
	assert_int_equal(givens, 0);
	offer(INFLATE, 0, DATA, 4);
	assert_int_equal(given[0], 1);
	/* The question is still open. */
	stat(DATA, VIRTIO_BALLOON_S_MEMFREE, 1);
	offer(STATS, 0, DATA, 10);
	expect(STATS, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(pages_come_and_go), T(a_kick_takes_a_few), T(any_framing), T(target_and_actual), T(statistics),
		T(memory_comes_later), T(buffers_outside_memory), T(resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
