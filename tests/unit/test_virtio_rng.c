/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entropy device by virtio 1.2 section 5.4: how much it gives, a source that
 * runs dry, memory that comes later, what is no buffer for it.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "io/virtio_rng.h"
#include "lib/bits.h"
#include "tests/fakes/virtio_driver.h"

#define PAGES 16u
#define DATA 0x4000u
#define NEXT VIRTQ_DESC_F_NEXT
#define WRITE VIRTQ_DESC_F_WRITE

static struct fake_guest_mem mem;
static struct virtio_rng rng;
static struct driver drv;
static struct driver_ring ring;
static unsigned source; /* bytes that it has */

static size_t fill(void *ctx, void *out, size_t bytes)
{
	size_t n = bytes < source ? bytes : source;

	assert_ptr_equal(ctx, &source);
	assert_in_range(bytes, 1, VIRTIO_RNG_BYTES_MAX);
	memset(out, 0x77, n);
	source -= (unsigned)n;
	return n;
}

static const struct virtio_rng_ops ops = {.fill = fill, .cost = 500};

static void bring_up(void)
{
	driver_ring_init(&ring, &mem, 0x1000, VIRTIO_RNG_QUEUE_SIZE);
	assert_true(driver_negotiate(&drv, rng.device.offered & ~VIRTIO_F_EVENT_IDX) & VIRTIO_STATUS_FEATURES_OK);
	driver_queue(&drv, 0, &ring);
	driver_ok(&drv);
	driver_work(&drv);
}

static int setup(void **state)
{
	(void)state;
	source = 1000;
	fake_guest_mem_init(&mem, PAGES, 1);
	virtio_rng_init(&rng, &mem.mem, &ops, &source);
	driver_attach(&drv, &rng.device);
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

static void ask(uint16_t head, uint64_t at, uint32_t bytes)
{
	driver_desc(&ring, head, at, bytes, WRITE, 0);
	driver_offer(&ring, head);
	driver_kick(&drv, 0);
	driver_work(&drv);
}

static void expect(uint32_t head, uint32_t bytes)
{
	uint32_t id, written;

	assert_true(driver_used(&ring, &id, &written));
	assert_int_equal(id, head);
	assert_int_equal(written, bytes);
}

static void expect_none(void)
{
	uint32_t id, written;

	assert_false(driver_used(&ring, &id, &written));
}

static unsigned filled(uint64_t at, unsigned bytes)
{
	unsigned n = 0;

	for (unsigned i = 0; i < bytes; i++) {
		uint8_t byte;

		fake_guest_mem_read(&mem, at + i, &byte, 1);
		n += byte == 0x77;
	}
	return n;
}

static void it_gives(void **state)
{
	(void)state;
	ask(0, DATA, 32);
	expect(0, 32);
	assert_int_equal(filled(DATA, 64), 32);
	ask(1, 0x5ff0, 48); /* over a page */
	expect(1, 48);
	assert_int_equal(filled(0x5ff0, 100), 48);
	assert_int_equal(drv.interrupts[1], 2);
	assert_int_equal(rng.bytes, 80);
	assert_int_equal(rng.device.id, 4);
}

static void no_more_than_a_seed(void **state)
{
	(void)state;
	ask(0, DATA, 4096);
	expect(0, VIRTIO_RNG_BYTES_MAX);
	assert_int_equal(filled(DATA, 4096), VIRTIO_RNG_BYTES_MAX);
}

static void several_buffers(void **state)
{
	(void)state;
	driver_desc(&ring, 0, DATA, 10, NEXT | WRITE, 1);
	driver_desc(&ring, 1, DATA + 100, 20, NEXT | WRITE, 2);
	driver_desc(&ring, 2, DATA + 200, 100, WRITE, 0);
	driver_offer(&ring, 0);
	driver_kick(&drv, 0);
	expect(0, 64);
	assert_int_equal(filled(DATA, 100), 10);
	assert_int_equal(filled(DATA + 100, 100), 20);
	assert_int_equal(filled(DATA + 200, 100), 34);
}

static void a_source_that_runs_dry(void **state)
{
	(void)state;
	source = 10;
	ask(0, DATA, 32);
	expect(0, 10); /* some are better than none */
	ask(0, DATA, 32);
	expect_none();
	driver_kick(&drv, 0);
	expect_none();
	virtio_rng_ready(&rng); /* it has none after all */
	driver_work(&drv);
	expect_none();
	source = 100;
	virtio_rng_ready(&rng);
	driver_work(&drv);
	expect(0, 32);
}

static void later_and_moved(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 2; n++) {
		mem.later_at = n;
		ask(0, 0x5ff0, 48);
		expect_none();
		fake_guest_mem_move(&mem);
		assert_int_equal(fake_guest_mem_answer(&mem, 9), 1);
		driver_work(&drv);
		expect(0, 48);
		assert_int_equal(filled(0x5ff0, 100), 48);
		fake_guest_mem_fill(&mem, 0x5ff0, 0, 100);
	}
}

static void wrong_buffers(void **state)
{
	(void)state;
	ask(0, PAGES * PAGE_SIZE - 16, 48);
	assert_string_equal(drv.why, "a buffer outside memory");
	driver_status(&drv, 0);
	bring_up();
	driver_desc(&ring, 0, DATA, 16, 0, 0);
	driver_offer(&ring, 0);
	driver_kick(&drv, 0);
	assert_string_equal(drv.why, "a readable buffer for the entropy device");
	assert_int_equal(drv.broken, 2);
}

static void a_reset_while_it_waits(void **state)
{
	(void)state;
	mem.later_at = 1;
	ask(0, DATA, 32);
	driver_status(&drv, 0);
	assert_int_equal(driver_read_status(&drv), 0);
	assert_int_equal(mem.cancels, 1);
	bring_up();
	source = 0;
	ask(0, DATA, 32);
	driver_status(&drv, 0); /* a chain that waits for the source */
	assert_int_equal(driver_read_status(&drv), 0);
	source = 100;
	bring_up();
	mem.later_at = 1;
	mem.too_late = 100;
	ask(0, DATA, 32);
	driver_status(&drv, 0);
	assert_int_not_equal(driver_read_status(&drv), 0);
	fake_guest_mem_answer(&mem, 9);
	assert_int_equal(driver_read_status(&drv), 0);
	assert_int_equal(drv.resets_done, 1);
	assert_int_equal(filled(DATA, 64), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(it_gives), T(no_more_than_a_seed), T(several_buffers), T(a_source_that_runs_dry), T(later_and_moved),
		T(wrong_buffers), T(a_reset_while_it_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
