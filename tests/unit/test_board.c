/* SPDX-License-Identifier: Apache-2.0 */
/* Board trees: what is read, what has a default, what is refused by name; every byte of a blob flipped. */
#include "tests/cmocka_all.h"

#include <libfdt.h>
#include <stdlib.h>

#include "firmware/board.h"
#include "lib/bits.h"

#define BLOB_BYTES 4096

static uint64_t storage[BLOB_BYTES / 8];
static void *const blob = storage;
static struct board board;
static struct error err;

const struct board_blob board_blobs[] = {{"pc", storage, BLOB_BYTES}, {"other", storage, BLOB_BYTES}};
const uint32_t board_blob_count = 2;

static int path(const char *name)
{
	return fdt_path_offset(blob, name);
}

static int full_tree(void **state)
{
	int node;

	(void)state;
	assert_int_equal(fdt_create_empty_tree(blob, BLOB_BYTES), 0);
	fdt_setprop_string(blob, 0, "model", "Test\nboard");
	fdt_add_subnode(blob, 0, "chosen");
	fdt_setprop_string(blob, path("/chosen"), "corbel,log", "/a");
	fdt_setprop_string(blob, path("/chosen"), "corbel,management", "/b");
	fdt_setprop_u32(blob, path("/chosen"), "corbel,shutdown-port", 0x8900);
	fdt_add_subnode(blob, 0, "a");
	fdt_setprop_string(blob, path("/a"), "compatible", "ns16550a");
	fdt_setprop_u32(blob, path("/a"), "corbel,port", 0x3f8);
	fdt_add_subnode(blob, 0, "b");
	fdt_setprop_string(blob, path("/b"), "compatible", "ns16550");
	fdt_setprop_u32(blob, path("/b"), "corbel,port", 0x1000);
	fdt_setprop_u32(blob, path("/b"), "corbel,irq", 10);
	fdt_setprop_u32(blob, path("/b"), "current-speed", 921600);
	fdt_setprop_u32(blob, path("/b"), "clock-frequency", 14745600);
	fdt_setprop_string(blob, path("/chosen"), "corbel,store", "/d");
	fdt_add_subnode(blob, 0, "d");
	fdt_setprop_string(blob, path("/d"), "compatible", "corbel,ata-pio");
	fdt_setprop_u32(blob, path("/d"), "corbel,port", 0x1e8);
	fdt_setprop_u32(blob, path("/d"), "corbel,control-port", 0x3ee);
	fdt_setprop_u32(blob, path("/d"), "corbel,drive", 1);
	node = fdt_add_subnode(blob, 0, "reserved-memory");
	fdt_setprop_u32(blob, node, "#address-cells", 2);
	fdt_setprop_u32(blob, path("/reserved-memory"), "#size-cells", 1);
	fdt_add_subnode(blob, path("/reserved-memory"), "frame");
	fdt_appendprop_u64(blob, path("/reserved-memory/frame"), "reg", 0x123456000);
	fdt_appendprop_u32(blob, path("/reserved-memory/frame"), "reg", 0x2000);
	fdt_add_subnode(blob, path("/reserved-memory"), "dynamic");
	return 0;
}

static enum status read_board(void)
{
	return board_read(blob, BLOB_BYTES, &board, &err);
}

static void reads(void **state)
{
	(void)state;
	assert_int_equal(read_board(), ST_OK);
	assert_string_equal(board.model, "Test?board");
	assert_true(board.log.named);
	assert_int_equal(board.log.port, 0x3f8);
	assert_int_equal(board.log.irq, 4);
	assert_int_equal(board.log.baud, 115200);
	assert_int_equal(board.log.clock_hz, 1843200);
	assert_int_equal(board.management.port, 0x1000);
	assert_int_equal(board.management.irq, 10);
	assert_int_equal(board.management.baud, 921600);
	assert_int_equal(board.reserved_count, 1);
	assert_int_equal(board.reserved[0].start, 0x123456000);
	assert_int_equal(board.reserved[0].len, 0x2000);
	assert_int_equal(board.shutdown_port, 0x8900);
	assert_true(board.store_disk.named);
	assert_int_equal(board.store_disk.command, 0x1e8);
	assert_int_equal(board.store_disk.control, 0x3ee);
	assert_int_equal(board.store_disk.drive, 1);
}

static void may_say_nothing(void **state)
{
	(void)state;
	assert_int_equal(fdt_create_empty_tree(blob, BLOB_BYTES), 0);
	assert_int_equal(read_board(), ST_OK);
	assert_false(board.log.named);
	assert_false(board.management.named);
	assert_false(board.store_disk.named);
	assert_int_equal(board.reserved_count, 0);
	fdt_add_subnode(blob, 0, "chosen");
	assert_int_equal(read_board(), ST_OK);
}

static void expect_error(const char *node, const char *property)
{
	assert_int_equal(read_board(), ST_INVALID);
	if (!strstr(err.text, node) || !strstr(err.text, property))
		fail_msg("'%s' does not name %s and %s", err.text, node, property);
}

static void refuses_disks_by_name(void **state)
{
	(void)state;
	fdt_setprop_string(blob, path("/chosen"), "corbel,store", "/nowhere");
	expect_error("/chosen", "corbel,store");
	full_tree(NULL);
	fdt_setprop_string(blob, path("/chosen"), "corbel,store", "/a"); /* a UART */
	expect_error("/a", "compatible");
	full_tree(NULL);
	fdt_delprop(blob, path("/d"), "corbel,port");
	expect_error("/d", "corbel,port");
	full_tree(NULL);
	fdt_delprop(blob, path("/d"), "corbel,control-port");
	expect_error("/d", "corbel,control-port");
	full_tree(NULL);
	fdt_setprop_u32(blob, path("/d"), "corbel,drive", 2);
	expect_error("/d", "corbel,drive");
}

static void refuses_by_name(void **state)
{
	(void)state;
	fdt_setprop_string(blob, path("/chosen"), "corbel,log", "/nowhere");
	expect_error("/chosen", "corbel,log");
	full_tree(NULL);
	fdt_setprop(blob, path("/chosen"), "corbel,log", "/a", 2); /* no end */
	expect_error("/chosen", "corbel,log");
	full_tree(NULL);
	fdt_setprop_string(blob, path("/a"), "compatible", "arm,pl011");
	expect_error("/a", "compatible");
	full_tree(NULL);
	fdt_delprop(blob, path("/a"), "corbel,port");
	expect_error("/a", "corbel,port");
	full_tree(NULL);
	fdt_setprop_u64(blob, path("/a"), "corbel,port", 0x3f8);
	expect_error("/a", "corbel,port");
	full_tree(NULL);
	fdt_setprop_u32(blob, path("/a"), "corbel,port", 0xffff);
	expect_error("/a", "corbel,port");
	full_tree(NULL);
	fdt_delprop(blob, path("/b"), "corbel,irq");
	expect_error("/b", "corbel,irq");
	full_tree(NULL);
	fdt_setprop_u32(blob, path("/b"), "corbel,irq", 16);
	expect_error("/b", "corbel,irq");
	full_tree(NULL);
	fdt_setprop_u32(blob, path("/b"), "current-speed", 0);
	expect_error("/b", "current-speed");
	full_tree(NULL);
	fdt_setprop_u32(blob, path("/b"), "current-speed", 921601);
	expect_error("/b", "current-speed");
	full_tree(NULL);
	fdt_setprop_u32(blob, path("/chosen"), "corbel,shutdown-port", 0x10000);
	expect_error("/chosen", "corbel,shutdown-port");
}

static void refuses_bad_ranges(void **state)
{
	(void)state;
	fdt_appendprop_u32(blob, path("/reserved-memory/frame"), "reg", 1);
	expect_error("/reserved-memory/frame", "reg");
	full_tree(NULL);
	fdt_setprop_u32(blob, path("/reserved-memory"), "#size-cells", 0);
	expect_error("/reserved-memory", "cells");
	full_tree(NULL);
	fdt_appendprop_u64(blob, path("/reserved-memory/frame"), "reg", UINT64_MAX);
	fdt_appendprop_u32(blob, path("/reserved-memory/frame"), "reg", 2);
	expect_error("/reserved-memory/frame", "wraps");
	full_tree(NULL);
	for (unsigned i = 0; i < BOARD_RESERVED_MAX; i++) {
		fdt_appendprop_u64(blob, path("/reserved-memory/frame"), "reg", i * 0x10000);
		fdt_appendprop_u32(blob, path("/reserved-memory/frame"), "reg", 0x1000);
	}
	expect_error("/reserved-memory/frame", "too many");
}

static void damaged_blob(void **state)
{
	static uint8_t saved[BLOB_BYTES];
	uint32_t used;

	(void)state;
	assert_int_equal(fdt_pack(blob), 0);
	used = fdt_totalsize(blob);
	memcpy(saved, blob, used);
	for (uint32_t size = 0; size < used; size++) {
		uint64_t *exact = malloc(size + 8);

		memcpy(exact, blob, size);
		assert_int_not_equal(board_read(exact, size, &board, &err), ST_OK);
		free(exact);
	}
	for (uint32_t i = 0; i < used; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			uint64_t *exact = malloc(used);

			memcpy(exact, saved, used);
			((uint8_t *)exact)[i] ^= (uint8_t)BIT(bit);
			(void)!board_read(exact, used, &board, &err);
			free(exact);
		}
}

static void names(void **state)
{
	const struct board_blob *found;

	(void)state;
	assert_int_equal(board_find("other", &found, &err), ST_OK);
	assert_ptr_equal(found, &board_blobs[1]);
	assert_int_equal(board_find("pd\x1b", &found, &err), ST_NOT_FOUND);
	assert_string_equal(err.text, "board=pd?: there is no such board; there are: pc other");
	assert_int_equal(board_usual_irq(0x2f8), 3);
	assert_int_equal(board_usual_irq(0x2f9), 0);
}

#define TEST(name) cmocka_unit_test_setup(name, full_tree)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reads),        TEST(may_say_nothing), TEST(refuses_by_name), TEST(refuses_disks_by_name),
		TEST(refuses_bad_ranges),
		TEST(damaged_blob), TEST(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
