/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading qcow2 images: images made here byte by byte with clusters of 512 bytes
 * to 2 MiB, images of qemu-img's, when that is installed, and images with every
 * field wrong.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/qcow2.h"
#include "lib/bits.h"
#include "tests/fakes/fault_disk.h"
#include "tests/fakes/file_disk.h"

#define MIB (1u << 20)
#define FILE_BYTES (16 * MIB)
#define IMAGE_BYTES (6ull * MIB)

static struct fault_disk disk;
static struct qcow2 image;
static struct error err;
static uint8_t back[MIB], want[MIB];
static uint64_t cluster;
static uint8_t *file;

/* Data cluster n of the image, for those with n % 5 < 3; n % 5 == 3 is zeroes by flag, 4 is nowhere. */
static void fill(uint64_t byte, uint8_t *p, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++, byte++)
		p[i] = byte / cluster % 5 < 3 ? (uint8_t)(byte * 13 + (byte >> 9) + 1) : 0;
}

static void make_image(unsigned bits, unsigned version)
{
	uint64_t per_table, tables, l1, at, entries = (IMAGE_BYTES + BIT(bits) - 1) >> bits;

	cluster = BIT(bits);
	per_table = cluster / 8;
	tables = (entries + per_table - 1) / per_table;
	memset(disk.view, 0, FILE_BYTES);
	file = disk.view;
	put_be32(file, 0x514649fb);
	put_be32(file + 4, version);
	put_be32(file + 20, bits);
	put_be64(file + 24, IMAGE_BYTES);
	put_be32(file + 36, (uint32_t)tables);
	l1 = cluster;
	put_be64(file + 40, l1);
	put_be32(file + 100, version == 3 ? 104 : 0);
	at = align_up(l1 + tables * 8, cluster);
	for (uint64_t t = 0; t < tables; t++) {
		uint64_t table = at;

		put_be64(file + l1 + t * 8, table | BIT(63));
		at += cluster;
		for (uint64_t i = 0; i < per_table && t * per_table + i < entries; i++) {
			uint64_t n = t * per_table + i;

			if (n % 5 == 3 && version == 3)
				put_be64(file + table + i * 8, 1);
			if (n % 5 >= 3)
				continue;
			put_be64(file + table + i * 8, at | BIT(63));
			fill(n * cluster, file + at, cluster);
			at += cluster;
		}
	}
	if (at > FILE_BYTES)
		fail_msg("the file is too small");
}

static enum status open_image(void)
{
	err.text[0] = '\0';
	return qcow2_open(&image, &disk.device, "image", &err);
}

static enum status read_image(uint64_t byte, uint64_t bytes)
{
	struct block_range all = {&image.device, 0, image.device.sectors};

	err.text[0] = '\0';
	return block_run(&all, BLOCK_READ, byte / 512, bytes / 512, back, &err);
}

static void assert_says(enum status got, enum status wanted, const char *words)
{
	if (got != wanted || !strstr(err.text, words))
		fail_msg("%s: \"%s\"; wanted %s, \"%s\"", status_name(got), err.text, status_name(wanted), words);
}

static void assert_reads(uint64_t byte, uint64_t bytes)
{
	enum status st = read_image(byte, bytes);

	if (st != ST_OK)
		fail_msg("%llu: %s", (unsigned long long)byte, err.text);
	fill(byte, want, bytes);
	assert_memory_equal(back, want, bytes);
}

static int setup(void **state)
{
	(void)state;
	fault_disk_init(&disk, FILE_BYTES, 512);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fault_disk_fini(&disk);
	return 0;
}

static void every_cluster_size(void **state)
{
	(void)state;
	for (unsigned bits = 9; bits <= 21; bits++) {
		make_image(bits, bits % 2 ? 2 : 3);
		if (open_image() != ST_OK)
			fail_msg("%s", err.text);
		assert_int_equal(image.device.sectors, IMAGE_BYTES / 512);
		assert_true(image.device.read_only);
		assert_reads(0, 512);
		assert_reads(IMAGE_BYTES - 512, 512);
		for (uint64_t at = 0; at < IMAGE_BYTES; at += 256 * 1024 - 512)
			assert_reads(at, MIN(256 * 1024ull, IMAGE_BYTES - at));
	}
}

/* More at once than there are jobs, in any order, with what the tables need pushed out meanwhile. */
static unsigned seed;
static unsigned pick(void *ctx, unsigned count)
{
	(void)ctx;
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 16) % count;
}

static void many_at_a_time(void **state)
{
	static struct block_request r[40];
	static struct io_segment s[40];
	static uint8_t memory[40][2048];

	(void)state;
	make_image(9, 3);
	assert_int_equal(open_image(), ST_OK);
	disk.pick = pick;
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 40; i++) {
			uint64_t lba = pick(NULL, (unsigned)(IMAGE_BYTES / 512 - 4));

			s[i] = (struct io_segment){memory[i], 2048};
			r[i] = (struct block_request){.op = BLOCK_READ, .lba = lba, .count = 4, .segments = &s[i], .segment_count = 1};
			image.device.ops->submit(&image.device, &r[i]);
			fill(lba * 512, want + i * 2048, 2048);
		}
		for (unsigned i = 0; i < 40; i++) {
			while (!r[i].done)
				image.device.ops->poll(&image.device);
			assert_int_equal(r[i].status, ST_OK);
			assert_memory_equal(memory[i], want + i * 2048, 2048);
		}
	}
}

/* With the entries in memory a read is passed on. */
static void passed_on(void **state)
{
	uint64_t requests;

	(void)state;
	make_image(16, 3);
	assert_int_equal(open_image(), ST_OK);
	assert_reads(65536, 4096);
	requests = disk.requests;
	assert_reads(65536 + 4096, 4096);
	assert_int_equal(disk.requests - requests, 1);
}

/* A file that ends in its last cluster: zeroes are behind. */
static void a_file_cut_short(void **state)
{
	(void)state;
	make_image(16, 3);
	disk.device.sectors = 0;
	for (unsigned n = 0; n < 96; n++) {
		uint64_t e = get_be64(file + (get_be64(file + 65536) & MASK(55, 9)) + n * 8) & MASK(55, 9);

		disk.device.sectors = MAX(disk.device.sectors, e / 512 + 3);
	}
	assert_int_equal(open_image(), ST_OK);
	assert_int_equal(read_image(95 * 65536, 65536), ST_OK);
	fill(95 * 65536, want, 3 * 512);
	memset(want + 3 * 512, 0, 65536 - 3 * 512);
	assert_memory_equal(back, want, 65536);
}

static void refused_headers(void **state)
{
	static const struct {
		unsigned at, bytes;
		uint64_t value;
		enum status st;
		const char *words;
	} cases[] = {
		{0, 4, 0x514649fa, ST_NOT_FOUND, "no qcow2 image"}, {4, 4, 1, ST_UNSUPPORTED, "version 1"},
		{4, 4, 4, ST_UNSUPPORTED, "version 4"}, {20, 4, 8, ST_CORRUPT, "2 to the 8"}, {20, 4, 22, ST_CORRUPT, "2 to the 22"},
		{20, 4, 0xffffffff, ST_CORRUPT, "2 to the"}, {24, 8, 0, ST_CORRUPT, "of 0 bytes"}, {24, 8, 513, ST_CORRUPT, "of 513"},
		{24, 8, ~0ull, ST_CORRUPT, "an image of"}, {24, 8, 1ull << 50, ST_CORRUPT, "too few"}, {32, 4, 2, ST_UNSUPPORTED, "encrypted"},
		{36, 4, 0, ST_CORRUPT, "0 entries"}, {36, 4, 0xffffffff, ST_CORRUPT, "not inside the file"}, {40, 8, 0, ST_CORRUPT, "not inside"},
		{40, 8, 512, ST_CORRUPT, "not inside"}, {40, 8, 1ull << 40, ST_CORRUPT, "not inside"}, {40, 8, ~0xffffull, ST_CORRUPT, "not inside"},
		{72, 8, 2, ST_CORRUPT, "marked corrupt"}, {72, 8, 4, ST_UNSUPPORTED, "another file"}, {72, 8, 16, ST_UNSUPPORTED, "extended"},
		{72, 8, 1ull << 40, ST_UNSUPPORTED, "0x10000000000"}, {72, 8, 1, ST_OK, ""}, {100, 4, 96, ST_CORRUPT, "header of 96"},
		{100, 4, 105, ST_CORRUPT, "header of 105"}, {100, 4, 0x20000, ST_CORRUPT, "header of"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		make_image(16, 3);
		if (cases[i].bytes == 4)
			put_be32(file + cases[i].at, (uint32_t)cases[i].value);
		else
			put_be64(file + cases[i].at, cases[i].value);
		assert_says(open_image(), cases[i].st, cases[i].words);
	}
	make_image(16, 3);
	put_be64(file + 8, 200);
	put_be32(file + 16, 9);
	memcpy(file + 200, "base\x1b.img", 9);
	assert_says(open_image(), ST_UNSUPPORTED, "'base");
	assert_null(strchr(err.text, '\x1b'));
	put_be32(file + 16, 5000);
	assert_says(open_image(), ST_CORRUPT, "name is not inside");
	put_be64(file + 8, ~0ull);
	assert_says(open_image(), ST_CORRUPT, "name is not inside");
	disk.gone = true;
	assert_says(open_image(), ST_IO, "gone");
	disk.gone = false;
	disk.device.sector_bytes = 4096;
	assert_says(open_image(), ST_UNSUPPORTED, "sectors of 4096");
}

static void wrong_entries(void **state)
{
	static const struct { bool first; uint64_t value; enum status st; const char *words; } cases[] = {
		{true, 1, ST_CORRUPT, "reserved bits"}, {true, BIT(62) | 65536, ST_CORRUPT, "reserved bits"},
		{true, 512, ST_CORRUPT, "middle of a cluster"}, {true, BIT(40), ST_CORRUPT, "behind the file's end"},
		{true, FILE_BYTES, ST_CORRUPT, "behind the file's end"}, {false, BIT(56), ST_CORRUPT, "reserved bits"},
		{false, 2, ST_CORRUPT, "reserved bits"}, {false, 4096, ST_CORRUPT, "middle of a cluster"},
		{false, BIT(50), ST_CORRUPT, "behind the file's end"}, {false, BIT(62) | 5, ST_UNSUPPORTED, "compressed"},
		{true, 0, ST_OK, ""}, {false, 0, ST_OK, ""}, {false, 1, ST_OK, ""}, {false, 65536 | 1, ST_OK, ""},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t table;

		make_image(16, 3);
		table = get_be64(file + 65536) & MASK(55, 9);
		put_be64(file + (cases[i].first ? 65536 : table), cases[i].value);
		assert_int_equal(open_image(), ST_OK);
		assert_says(read_image(4096, 4096), cases[i].st, cases[i].words);
		if (cases[i].st == ST_OK) {
			memset(want, 0, 4096);
			assert_memory_equal(back, want, 4096);
		}
		/* The next request finds the same. */
		assert_says(read_image(8192, 4096), cases[i].st, cases[i].words);
	}
	/* In version 2 the flag for zeroes is a reserved bit. */
	make_image(16, 2);
	put_be64(file + (get_be64(file + 65536) & MASK(55, 9)), 1);
	assert_int_equal(open_image(), ST_OK);
	assert_says(read_image(0, 4096), ST_CORRUPT, "reserved bits");
}

static void failing_files(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 3; n++) {
		make_image(16, 3);
		assert_int_equal(open_image(), ST_OK);
		disk.fail_from = disk.requests + n;
		disk.fail_count = 1;
		assert_says(read_image(0, 4096), ST_IO, "made to fail");
		assert_reads(0, 4096);
		assert_reads(0, 200 * 1024);
	}
	assert_int_equal(image.device.ops->poll(&image.device), false);
}

/* What qemu-img makes; without it, nothing is tested here. */
static void images_of_qemu(void **state)
{
	static const char *const options[] = {"compat=1.1", "compat=0.10", "compat=1.1,cluster_size=512", "compat=1.1,cluster_size=2M",
		"compat=1.1,lazy_refcounts=on", "compat=1.1,preallocation=metadata"};
	char raw[] = "/tmp/corbel-raw-XXXXXX", out[] = "/tmp/corbel-qcow2-XXXXXX", command[256];
	int fds[2] = {mkstemp(raw), mkstemp(out)};
	struct file_disk f;

	(void)state;
	if (system("command -v qemu-img >/dev/null") != 0)
		skip();
	cluster = 65536;
	assert_true(fds[0] >= 0 && fds[1] >= 0);
	for (uint64_t at = 0; at < IMAGE_BYTES; at += sizeof want) {
		fill(at, want, sizeof want);
		assert_int_equal(write(fds[0], want, sizeof want), sizeof want);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		snprintf(command, sizeof command, "qemu-img convert -f raw -O qcow2 -o %s %s %s", options[i], raw, out);
		assert_int_equal(system(command), 0);
		assert_true(file_disk_open(&f, out, 0));
		if (qcow2_open(&image, &f.device, "image", &err) != ST_OK)
			fail_msg("%s: %s", options[i], err.text);
		for (uint64_t at = 0; at < IMAGE_BYTES; at += 512 * 1024)
			assert_reads(at, 512 * 1024);
		close(f.fd);
	}
	snprintf(command, sizeof command, "qemu-img convert -c -f raw -O qcow2 %s %s", raw, out);
	assert_int_equal(system(command), 0);
	assert_true(file_disk_open(&f, out, 0));
	assert_int_equal(qcow2_open(&image, &f.device, "image", &err), ST_OK);
	assert_says(read_image(0, 4096), ST_UNSUPPORTED, "compressed");
	close(f.fd);
	close(fds[0]);
	close(fds[1]);
	unlink(raw);
	unlink(out);
}

int main(void)
{
#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_DISK(every_cluster_size),
		WITH_DISK(many_at_a_time),
		WITH_DISK(passed_on),
		WITH_DISK(a_file_cut_short),
		WITH_DISK(refused_headers),
		WITH_DISK(wrong_entries),
		WITH_DISK(failing_files),
		WITH_DISK(images_of_qemu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
