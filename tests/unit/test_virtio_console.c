/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console by virtio 1.2 section 5.3: what is printed and typed, long and in odd
 * pieces, the emergency character, the terminal's size, memory that comes later.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "io/virtio_console.h"
#include "lib/bits.h"
#include "tests/fakes/virtio_driver.h"

#define PAGES 32u
#define DATA 0x8000u
#define NEXT VIRTQ_DESC_F_NEXT
#define WRITE VIRTQ_DESC_F_WRITE
#define RX VIRTIO_CONSOLE_RECEIVE
#define TX VIRTIO_CONSOLE_TRANSMIT

static struct fake_guest_mem mem;
static struct virtio_console con;
static struct driver drv;
static struct driver_ring ring[VIRTIO_CONSOLE_QUEUES];
static char printed[65536];
static size_t printed_bytes, longest;
static const char *typed;

static void on_write(void *ctx, const uint8_t *data, size_t bytes)
{
	assert_ptr_equal(ctx, &printed);
	memcpy(printed + printed_bytes, data, bytes);
	printed_bytes += bytes;
	longest = MAX(longest, bytes);
}

static size_t on_read(void *ctx, uint8_t *out, size_t max)
{
	size_t n = strlen(typed);

	(void)ctx;
	n = n < max ? n : max;
	memcpy(out, typed, n);
	typed += n;
	return n;
}

static bool heard;
static void on_listens(void *ctx, bool on)
{
	(void)ctx;
	assert_int_not_equal(on, heard);
	heard = on;
}

static const struct virtio_console_ops ops = {.write = on_write, .read = on_read, .listens = on_listens};

static void bring_up(void)
{
	assert_true(driver_negotiate(&drv, con.device.offered & ~VIRTIO_F_EVENT_IDX) & VIRTIO_STATUS_FEATURES_OK);
	for (unsigned i = 0; i < VIRTIO_CONSOLE_QUEUES; i++) {
		driver_ring_init(&ring[i], &mem, 0x1000 + 0x2000 * i, VIRTIO_CONSOLE_QUEUE_SIZE);
		driver_queue(&drv, i, &ring[i]);
	}
	driver_ok(&drv);
	driver_work(&drv);
}

static int setup(void **state)
{
	(void)state;
	typed = "";
	printed_bytes = longest = 0;
	heard = false;
	fake_guest_mem_init(&mem, PAGES, 1);
	virtio_console_init(&con, &mem.mem, &ops, printed);
	driver_attach(&drv, &con.device);
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
	driver_desc(&ring[queue], head, at, bytes, queue == RX ? WRITE : 0, 0);
	driver_offer(&ring[queue], head);
	driver_kick(&drv, queue);
	driver_work(&drv);
}

static void expect(unsigned queue, uint32_t head, uint32_t bytes)
{
	uint32_t id, written;

	assert_true(driver_used(&ring[queue], &id, &written));
	assert_int_equal(id, head);
	assert_int_equal(written, bytes);
}

static void expect_none(unsigned queue)
{
	uint32_t id, written;

	assert_false(driver_used(&ring[queue], &id, &written));
}

static void expect_printed(const char *text)
{
	assert_int_equal(printed_bytes, strlen(text));
	assert_memory_equal(printed, text, printed_bytes);
	printed_bytes = 0;
}

static void expect_text(uint64_t at, const char *text)
{
	char got[512];

	fake_guest_mem_read(&mem, at, got, strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

static void it_prints(void **state)
{
	(void)state;
	fake_guest_mem_write(&mem, DATA, "hello", 5);
	offer(TX, 3, DATA, 5);
	expect(TX, 3, 0);
	expect_printed("hello");
	assert_int_equal(drv.interrupts[1 + TX], 1);
	/* In odd pieces, over a page. */
	fake_guest_mem_write(&mem, 0x8ffe, "a page", 6);
	driver_desc(&ring[TX], 0, DATA, 1, NEXT, 1);
	driver_desc(&ring[TX], 1, 0x8ffe, 6, NEXT, 2);
	driver_desc(&ring[TX], 2, DATA + 1, 3, 0, 0);
	driver_offer(&ring[TX], 0);
	driver_kick(&drv, TX);
	driver_work(&drv);
	expect(TX, 0, 0);
	expect_printed("ha pageell");
}

/* A long text is taken in bounded pieces, the first of them by the kick. */
static void a_long_text(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20000; i += 4)
		fake_guest_mem_write(&mem, DATA + i, &i, 4);
	driver_desc(&ring[TX], 0, DATA, 20000, 0, 0);
	driver_offer(&ring[TX], 0);
	driver_kick(&drv, TX);
	assert_in_range(printed_bytes, 1, 1000);
	assert_true(drv.deferred);
	expect_none(TX);
	driver_work(&drv);
	expect(TX, 0, 0);
	assert_int_equal(printed_bytes, 20000);
	for (unsigned i = 0; i < 20000; i += 4)
		assert_int_equal(get_le32(printed + i), i);
	assert_in_range(longest, 1, 128);
}

static void a_buffer_with_nothing_to_print(void **state)
{
	(void)state;
	driver_desc(&ring[TX], 0, DATA, 16, WRITE, 0);
	driver_offer(&ring[TX], 0);
	driver_kick(&drv, TX);
	driver_work(&drv);
	expect(TX, 0, 0);
	expect_printed("");
}

static void it_is_typed_at(void **state)
{
	(void)state;
	offer(RX, 0, DATA, 16);
	offer(RX, 1, DATA + 0x100, 16);
	expect_none(RX);
	typed = "ls\n";
	virtio_console_input(&con);
	driver_work(&drv);
	expect(RX, 0, 3);
	expect_none(RX);
	expect_text(DATA, "ls\n");
	assert_int_equal(drv.interrupts[1 + RX], 1);
	typed = "a text that does not fit into one";
	virtio_console_input(&con);
	driver_work(&drv);
	expect(RX, 1, 16);
	expect_text(DATA + 0x100, "a text that does");
	expect_none(RX);
	offer(RX, 2, 0xaff8, 400); /* the rest when there is a buffer; over a page */
	expect(RX, 2, 17);
	expect_text(0xaff8, " not fit into one");
	/* What is no use is given back, the next one taken. */
	typed = "x";
	driver_desc(&ring[RX], 3, DATA, 16, 0, 0);
	driver_offer(&ring[RX], 3);
	offer(RX, 4, DATA, 16);
	expect(RX, 3, 0);
	expect(RX, 4, 1);
}

static void memory_comes_later(void **state)
{
	(void)state;
	fake_guest_mem_write(&mem, 0x8ffe, "page", 4);
	for (unsigned n = 1; n <= 2; n++) {
		mem.later_at = n;
		offer(TX, 0, 0x8ffe, 4);
		expect_none(TX);
		fake_guest_mem_move(&mem);
		assert_int_equal(fake_guest_mem_answer(&mem, 9), 1);
		driver_work(&drv);
		expect(TX, 0, 0);
		expect_printed("page");
		mem.later_at = n;
		typed = "typed";
		offer(RX, 0, 0xaffe, 16);
		expect_none(RX);
		fake_guest_mem_move(&mem);
		assert_int_equal(fake_guest_mem_answer(&mem, 9), 1);
		driver_work(&drv);
		expect(RX, 0, 5);
		expect_text(0xaffe, "typed");
	}
}

static void buffers_outside_memory(void **state)
{
	(void)state;
	offer(TX, 0, PAGES * PAGE_SIZE - 1, 2);
	assert_string_equal(drv.why, "a buffer outside memory");
	driver_status(&drv, 0);
	bring_up();
	offer(RX, 0, PAGES * PAGE_SIZE, 2);
	assert_int_equal(drv.broken, 2);
	assert_true(driver_read_status(&drv) & VIRTIO_STATUS_NEEDS_RESET);
}

static void the_configuration_space(void **state)
{
	(void)state;
	assert_int_equal(driver_config(&drv, VIRTIO_CONSOLE_CFG_COLS, 4), 0);
	assert_int_equal(driver_config(&drv, VIRTIO_CONSOLE_CFG_MAX_PORTS, 4), 1);
	virtio_console_resize(&con, 132, 50);
	assert_int_equal(driver_config(&drv, VIRTIO_CONSOLE_CFG_COLS, 2), 132);
	assert_int_equal(driver_config(&drv, VIRTIO_CONSOLE_CFG_ROWS, 2), 50);
	assert_int_equal(drv.interrupts[0], 1);
	assert_int_equal(con.device.config_generation, 1);
	/* Each write but that of the emergency character is nothing. */
	for (uint32_t at = 0; at < 20; at++)
		for (unsigned bytes = 1; bytes <= 8; bytes *= 2)
			if (at != VIRTIO_CONSOLE_CFG_EMERG_WR)
				driver_set_config(&drv, at, bytes, 0x4141414141414141);
	assert_int_equal(driver_config(&drv, VIRTIO_CONSOLE_CFG_COLS, 2), 132);
	expect_printed("");
	driver_set_config(&drv, VIRTIO_CONSOLE_CFG_EMERG_WR, 4, 'E');
	expect_printed("E");
	driver_status(&drv, 0);
	driver_set_config(&drv, VIRTIO_CONSOLE_CFG_EMERG_WR, 4, 'F'); /* was not negotiated */
	expect_printed("");
}

/* What is typed goes elsewhere while no driver waits for it. */
static void the_owner_knows_whether_a_driver_listens(void **state)
{
	(void)state;
	assert_true(heard);
	driver_status(&drv, 0);
	assert_false(heard);
	bring_up();
	assert_true(heard);
}

static void resets(void **state)
{
	(void)state;
	offer(RX, 0, DATA, 16); /* waits for somebody to type */
	mem.later_at = 1;
	mem.too_late = 100;
	offer(TX, 0, DATA, 16); /* for memory */
	driver_status(&drv, 0);
	assert_int_not_equal(driver_read_status(&drv), 0);
	typed = "late";
	virtio_console_input(&con);
	driver_work(&drv);
	fake_guest_mem_answer(&mem, 9);
	assert_int_equal(driver_read_status(&drv), 0);
	expect_none(RX);
	expect_none(TX);
	expect_printed("");
	bring_up();
	offer(RX, 0, DATA, 16);
	expect(RX, 0, 4);
	/* One queue alone. */
	offer(RX, 1, DATA, 16);
	assert_true(driver_queue_reset(&drv, RX));
	fake_guest_mem_write(&mem, DATA, "on", 2);
	offer(TX, 0, DATA, 2);
	expect(TX, 0, 0);
	expect_printed("on");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(it_prints), T(a_long_text), T(a_buffer_with_nothing_to_print), T(it_is_typed_at), T(memory_comes_later),
		T(buffers_outside_memory), T(the_configuration_space),
		T(the_owner_knows_whether_a_driver_listens), T(resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
