/* SPDX-License-Identifier: Apache-2.0 */
/* Partition tables of both kinds: found, absent, and wrong in each field. */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "io/partition.h"
#include "lib/bits.h"
#include "tests/fakes/fault_disk.h"
#include "tests/fakes/partition_tables.h"

#define SECTORS 4096u

static struct fault_disk disk;
static struct block_range found;
static struct error err;
static uint8_t *image;

static int setup(void **state)
{
	(void)state;
	fault_disk_init(&disk, SECTORS * 512, 512);
	image = disk.view;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fault_disk_fini(&disk);
	return 0;
}

static enum status find(void)
{
	uint8_t *buffer = malloc(BLOCK_SECTOR_MAX);
	enum status st;

	err.text[0] = '\0';
	st = partition_find(&disk.device, buffer, &found, &err);
	free(buffer);
	return st;
}

static void assert_refused(const char *words)
{
	enum status st = find();

	if (st != ST_CORRUPT || !strstr(err.text, words))
		fail_msg("%s: \"%s\"; wanted \"%s\"", status_name(st), err.text, words);
}

static void master_boot_record(void **state)
{
	(void)state;
	assert_int_equal(find(), ST_NOT_FOUND);
	table_mbr_entry(image, 0, 0x83, 63, 100);
	assert_int_equal(find(), ST_NOT_FOUND);
	assert_string_equal(err.text, "fault disk has no partition for a store");
	table_mbr_entry(image, 3, PARTITION_MBR_TYPE, 2048, 2048);
	assert_int_equal(find(), ST_OK);
	assert_ptr_equal(found.device, &disk.device);
	assert_int_equal(found.first, 2048);
	assert_int_equal(found.count, 2048);
	table_mbr_entry(image, 1, PARTITION_MBR_TYPE, 100, 10); /* the first counts */
	assert_int_equal(find(), ST_OK);
	assert_int_equal(found.first, 100);
	image[510] = 0;
	assert_int_equal(find(), ST_NOT_FOUND);
}

static void master_boot_record_that_lies(void **state)
{
	static const uint32_t wrong[][2] = {{2048, 2049}, {4096, 1}, {0, 10}, {100, 0}, {0xffffffff, 0xffffffff}, {1, 0xffffffff}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		table_mbr_entry(image, 0, PARTITION_MBR_TYPE, wrong[i][0], wrong[i][1]);
		assert_refused("is not inside its 4096");
	}
}

static void guid_table(void **state)
{
	(void)state;
	table_gpt(image, SECTORS, 512, 128, 2048, 4000);
	assert_int_equal(find(), ST_OK);
	assert_int_equal(found.first, 2048);
	assert_int_equal(found.count, 1953);
	table_gpt(image, SECTORS, 512, 256, 100, 100);
	assert_int_equal(find(), ST_OK);
	assert_int_equal(found.count, 1);
	/* Nothing of ours in it, whatever the protective record says besides. */
	table_mbr_entry(image, 1, PARTITION_MBR_TYPE, 100, 10);
	image[2 * 512 + 5 * 256] ^= 1;
	table_gpt_mend(image, SECTORS, 512, 1);
	assert_int_equal(find(), ST_NOT_FOUND);
}

static void guid_table_of_large_sectors(void **state)
{
	(void)state;
	disk.device.sector_bytes = 4096;
	disk.device.sectors = SECTORS / 8;
	table_gpt(image, SECTORS / 8, 4096, 128, 100, 400);
	assert_int_equal(find(), ST_OK);
	assert_int_equal(found.first, 100);
	assert_int_equal(found.count, 301);
}

/* Any one byte of the first table may be wrong: the second takes its place. */
static void the_second_table(void **state)
{
	(void)state;
	table_gpt(image, SECTORS, 512, 128, 2048, 4000);
	for (uint32_t at = 512; at < 34 * 512; at += at < 1024 ? 1 : 37) {
		image[at] ^= 0x40;
		if (find() != ST_OK || found.first != 2048 || found.count != 1953)
			fail_msg("byte %u: %s", at, err.text);
		image[at] ^= 0x40;
	}
	image[512 + 30] ^= 1;
	image[(SECTORS - 1) * 512 + 30] ^= 1;
	assert_refused("GUID partition table at sector 1: the header's checksum is wrong");
}

/* Field by field, with checksums that hold, in both tables. */
static void guid_tables_that_lie(void **state)
{
	static const struct {
		unsigned at, bytes;
		uint64_t value;
		const char *words;
	} cases[] = {
		{0, 8, 0, "there is no header"},
		{8, 4, 0x20000, "there is no header"},
		{12, 4, 91, "size is wrong"},
		{12, 4, 513, "size is wrong"},
		{24, 8, 7, "another sector's"},
		{40, 8, 5000, "usable sectors"},
		{48, 8, 4096, "usable sectors"},
		{48, 8, 3000, "is not among the usable ones"},
		{40, 8, 2049, "is not among the usable ones"},
		{72, 8, 4090, "entries are not inside"},
		{72, 8, UINT64_MAX, "entries are not inside"},
		{80, 4, 0, "entries are not inside"},
		{80, 4, 0xffffffff, "entries are not inside"},
		{84, 4, 64, "size of an entry"},
		{84, 4, 192, "size of an entry"},
		{84, 4, 0x80000000, "size of an entry"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t headers[2] = {1, SECTORS - 1};

		table_gpt(image, SECTORS, 512, 128, 2048, 4000);
		for (unsigned k = 0; k < 2; k++) {
			uint8_t *p = image + headers[k] * 512 + cases[i].at;

			memcpy(p, &cases[i].value, cases[i].bytes);
			table_gpt_mend(image, SECTORS, 512, headers[k]);
		}
		assert_refused(cases[i].words);
	}
	table_gpt(image, SECTORS, 512, 128, 4000, 2048);
	assert_refused("is not among the usable ones");
	table_gpt(image, SECTORS, 512, 128, 0, 0);
	assert_int_equal(find(), ST_NOT_FOUND);
}

static void a_disk_that_fails(void **state)
{
	(void)state;
	table_gpt(image, SECTORS, 512, 128, 2048, 4000);
	disk.bad_count = 1;
	assert_int_equal(find(), ST_IO);
	assert_non_null(strstr(err.text, "from 0 failed: unreadable sector"));
	disk.bad_first = 1;
	assert_int_equal(find(), ST_OK);
	disk.bad_first = 2;
	assert_int_equal(find(), ST_OK);
	disk.bad_count = SECTORS;
	assert_int_equal(find(), ST_IO);
}

/* All partitions, one after the other, whatever they are for. */
static void listing(void **state)
{
	uint8_t *buffer = malloc(BLOCK_SECTOR_MAX), *entry;
	struct partition p;

	(void)state;
	assert_int_equal(partition_next(&disk.device, buffer, 1, &p, &err), ST_NOT_FOUND);
	table_mbr_entry(image, 0, 0x83, 63, 100);
	table_mbr_entry(image, 2, PARTITION_MBR_TYPE, 163, 7);
	assert_int_equal(partition_next(&disk.device, buffer, 1, &p, &err), ST_OK);
	assert_true(p.number == 1 && p.mbr_type == 0x83 && p.range.first == 63 && p.range.count == 100);
	assert_int_equal(partition_next(&disk.device, buffer, 2, &p, &err), ST_OK);
	assert_true(p.number == 3 && p.mbr_type == PARTITION_MBR_TYPE && p.range.count == 7 && p.name[0] == '\0');
	assert_int_equal(partition_next(&disk.device, buffer, 4, &p, &err), ST_NOT_FOUND);
	assert_string_equal(err.text, "fault disk has no more partitions");
	table_mbr_entry(image, 2, 0x83, 163, SECTORS);
	assert_int_equal(partition_next(&disk.device, buffer, 2, &p, &err), ST_CORRUPT);
	assert_non_null(strstr(err.text, "partition 3, 4096 sectors from 163"));
	memset(image, 0, SECTORS * 512);
	table_gpt(image, SECTORS, 512, 128, 100, 299);
	entry = image + 2 * 512 + 5 * 128;
	memcpy(image + 2 * 512 + 9 * 128, entry, 128);
	entry = image + 2 * 512 + 9 * 128;
	memset(entry, 0x77, 16);
	put_le64(entry + 32, 300);
	put_le64(entry + 40, 300);
	for (unsigned i = 0; i < 36; i++)
		put_le16(entry + 56 + 2 * i, i == 1 ? 0x263a : (uint16_t)('a' + i % 26));
	table_gpt_mend(image, SECTORS, 512, 1);
	assert_int_equal(partition_next(&disk.device, buffer, 1, &p, &err), ST_OK);
	assert_true(p.number == 1 && p.gpt_type[0] == 1);
	assert_int_equal(partition_next(&disk.device, buffer, 2, &p, &err), ST_OK);
	assert_true(p.number == 6 && p.range.first == 100 && p.range.count == 200 && p.mbr_type == 0);
	assert_int_equal(partition_next(&disk.device, buffer, p.number + 1, &p, &err), ST_OK);
	assert_true(p.number == 10 && p.range.first == 300 && p.range.count == 1 && p.gpt_type[0] == 0x77);
	assert_string_equal(p.name, "a?cdefghijklmnopqrstuvwxyzabcdefghij");
	assert_int_equal(partition_next(&disk.device, buffer, p.number + 1, &p, &err), ST_NOT_FOUND);
	free(buffer);
}

int main(void)
{
#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_DISK(master_boot_record),
		WITH_DISK(listing),
		WITH_DISK(master_boot_record_that_lies),
		WITH_DISK(guid_table),
		WITH_DISK(guid_table_of_large_sectors),
		WITH_DISK(the_second_table),
		WITH_DISK(guid_tables_that_lie),
		WITH_DISK(a_disk_that_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
