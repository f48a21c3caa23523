/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loader information: a good one of each kind, then each field wrong, then every
 * truncation of a good one (none may be accepted, none may be read past its end).
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>

#include "firmware/bootinfo.h"
#include "lib/bits.h"
#include "tests/fakes/phys_buffer.h"

#define BASE 0x10000u

static uint8_t image[8192];
static uint32_t used;
static struct boot_info info;
static struct error err;

static void put32(uint32_t v)
{
	put_le32(image + used, v);
	used += 4;
}

static void put64(uint64_t v)
{
	put_le64(image + used, v);
	used += 8;
}

/* Reads a copy of exactly @len bytes, so that ASan sees an access beyond them. */
static enum status read_bytes(unsigned protocol, uint32_t at, uint32_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct phys_buffer b = {.base = BASE, .bytes = copy, .len = len};
	struct phys_reader mem = phys_buffer_reader(&b);
	enum status st;

	memcpy(copy, image, len);
	st = bootinfo_read(&mem, protocol, hpa(BASE + at), &info, &err);
	free(copy);
	return st;
}

/* ---- multiboot2 ---- */

static void tag(uint32_t type, const void *payload, uint32_t len)
{
	put32(type);
	put32(8 + len);
	memcpy(image + used, payload, len);
	used = (uint32_t)align_up(used + len, 8);
}

static void begin_mb2(void)
{
	memset(image, 0, sizeof(image));
	used = 8;
}

static void end_mb2(void)
{
	tag(MB2_INFO_END, "", 0);
	put_le32(image, used);
}

static void tag_memmap(uint32_t entry_size, unsigned count)
{
	uint8_t t[8 + 256 * 24] = {0};

	put_le32(t, entry_size);
	for (unsigned i = 0; i < count; i++) {
		put_le64(t + 8 + i * 24, i * 0x100000ull);
		put_le64(t + 16 + i * 24, 0x80000);
		put_le32(t + 24 + i * 24, i + 1);
	}
	tag(MB2_INFO_MEMMAP, t, 8 + count * 24);
}

static void good_mb2(void)
{
	uint8_t module[8 + 6];
	uint8_t rsdp[36] = "RSD PTR ";

	begin_mb2();
	tag(MB2_INFO_CMDLINE, "board=pc x", 11);
	tag(MB2_INFO_LOADER, "GRUB", 5);
	put_le32(module, 0x400000);
	put_le32(module + 4, 0x400123);
	memcpy(module + 8, "store", 6);
	tag(MB2_INFO_MODULE, module, sizeof(module));
	tag(99, "unknown", 8);
	tag_memmap(24, 6);
	tag(MB2_INFO_ACPI_NEW, rsdp, 36);
	tag(MB2_INFO_ACPI_OLD, rsdp, 20);
	end_mb2();
}

static void multiboot2(void **state)
{
	static const enum memmap_type types[] = {MEMMAP_RAM, MEMMAP_RESERVED, MEMMAP_ACPI,
						 MEMMAP_NVS, MEMMAP_UNUSABLE, MEMMAP_RESERVED};

	(void)state;
	good_mb2();
	assert_int_equal(read_bytes(BOOT_MULTIBOOT2, 0, used), ST_OK);
	assert_string_equal(info.cmdline, "board=pc x");
	assert_string_equal(info.loader, "GRUB");
	assert_int_equal(info.module_count, 1);
	assert_int_equal(info.module[0].start, 0x400000);
	assert_int_equal(info.module[0].len, 0x123);
	assert_string_equal(info.module[0].args, "store");
	assert_int_equal(info.range_count, 6);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(info.range[i].type, types[i]);
	assert_int_equal(info.range[2].start, 0x200000);
	assert_int_equal(info.rsdp_len, 36);
}

static void multiboot2_truncated(void **state)
{
	(void)state;
	good_mb2();
	for (uint32_t len = 0; len < used; len++)
		assert_int_not_equal(read_bytes(BOOT_MULTIBOOT2, 0, len), ST_OK);
	/* A total size that lies, within the memory there is. */
	for (uint32_t len = 0; len < used; len++) {
		put_le32(image, len);
		assert_int_not_equal(read_bytes(BOOT_MULTIBOOT2, 0, used), ST_OK);
	}
}

static void expect_mb2_error(enum status want, const char *text)
{
	end_mb2();
	assert_int_equal(read_bytes(BOOT_MULTIBOOT2, 0, used), want);
	assert_non_null(strstr(err.text, text));
}

static void multiboot2_bad(void **state)
{
	uint8_t module[16] = {0};
	char line[BOOT_CMDLINE_MAX + 8];

	(void)state;
	begin_mb2();
	expect_mb2_error(ST_NOT_FOUND, "no memory map");

	begin_mb2();
	tag(MB2_INFO_CMDLINE, "no end", 6);
	expect_mb2_error(ST_CORRUPT, "command line without end");

	memset(line, 'a', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	begin_mb2();
	tag(MB2_INFO_CMDLINE, line, sizeof(line));
	expect_mb2_error(ST_OVER_LIMIT, "longer than");

	begin_mb2();
	put_le32(module, 0x2000);
	put_le32(module + 4, 0x1000);
	tag(MB2_INFO_MODULE, module, 9);
	expect_mb2_error(ST_CORRUPT, "0x2000 to 0x1000");

	begin_mb2();
	tag(MB2_INFO_MODULE, module, 8);
	expect_mb2_error(ST_TRUNCATED, "module tag");

	begin_mb2();
	tag_memmap(16, 1);
	expect_mb2_error(ST_CORRUPT, "entries of 16 bytes");

	begin_mb2();
	tag_memmap(24, BOOT_RANGES_MAX + 1);
	expect_mb2_error(ST_OVER_LIMIT, "memory ranges");

	put_le32(module + 4, 0x3000);
	begin_mb2();
	for (unsigned i = 0; i <= BOOT_MODULES_MAX; i++)
		tag(MB2_INFO_MODULE, module, 9);
	expect_mb2_error(ST_OVER_LIMIT, "modules");

	begin_mb2();
	put32(1);
	put32(0xfffffff0u);
	expect_mb2_error(ST_CORRUPT, "offset 8");
}

/* ---- PVH ---- */

static uint32_t good_pvh(void)
{
	uint32_t at;

	memset(image, 0, sizeof(image));
	used = 0x40;
	memcpy(image + used, "board=bochs", 12); /* at 0x40 */
	used = 0x60;
	put64(0x500000); /* module list */
	put64(0x1000);
	put64(BASE + 0x40);
	put64(0);
	for (unsigned i = 0; i < 3; i++) { /* memory map at 0x80 */
		put64(i * 0x100000ull);
		put64(0x100000);
		put32(i + 1);
		put32(0);
	}
	at = used;
	put32(PVH_MAGIC);
	put32(1);
	put32(0);
	put32(1);
	put64(BASE + 0x60);
	put64(BASE + 0x40);
	put64(0xe0000);
	put64(BASE + 0x80);
	put32(3);
	put32(0);
	return at;
}

static void pvh(void **state)
{
	uint32_t at = good_pvh();

	(void)state;
	assert_int_equal(read_bytes(BOOT_PVH, at, used), ST_OK);
	assert_string_equal(info.cmdline, "board=bochs");
	assert_int_equal(info.module_count, 1);
	assert_int_equal(info.module[0].start, 0x500000);
	assert_int_equal(info.module[0].len, 0x1000);
	assert_string_equal(info.module[0].args, "board=bochs");
	assert_int_equal(info.range_count, 3);
	assert_int_equal(info.range[2].type, MEMMAP_ACPI);
	assert_int_equal(info.rsdp_at, 0xe0000);
}

static void pvh_bad(void **state)
{
	uint32_t at = good_pvh();

	(void)state;
	for (uint32_t len = 0; len < used; len++)
		assert_int_not_equal(read_bytes(BOOT_PVH, at, len), ST_OK);

	put_le32(image + at, 0);
	assert_int_equal(read_bytes(BOOT_PVH, at, used), ST_CORRUPT);
	at = good_pvh();
	put_le32(image + at + 4, 0);
	assert_int_equal(read_bytes(BOOT_PVH, at, used), ST_UNSUPPORTED);
	at = good_pvh();
	put_le32(image + at + 12, 1000);
	assert_int_not_equal(read_bytes(BOOT_PVH, at, used), ST_OK);
	at = good_pvh();
	put_le64(image + at + 16, UINT64_MAX - 8);
	assert_int_equal(read_bytes(BOOT_PVH, at, used), ST_BAD_ADDRESS);
	at = good_pvh();
	put_le64(image + at + 24, BASE + used - 1);
	image[used - 1] = 'x'; /* a command line that runs off the end of memory */
	assert_int_equal(read_bytes(BOOT_PVH, at, used), ST_OVER_LIMIT);
	at = good_pvh();
	put_le32(image + at + 48, UINT32_MAX);
	assert_int_not_equal(read_bytes(BOOT_PVH, at, used), ST_OK);
	assert_int_equal(read_bytes(7, at, used), ST_UNSUPPORTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(multiboot2), cmocka_unit_test(multiboot2_truncated), cmocka_unit_test(multiboot2_bad),
		cmocka_unit_test(pvh),        cmocka_unit_test(pvh_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
