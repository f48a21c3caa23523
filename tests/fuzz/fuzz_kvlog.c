/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images of the writable store with anything in them. The input is a list of
 * changes to a good image, each with the choice to make checksums right again, so
 * that the fields behind them are reached as well. Such a store is refused with a
 * sentence, or it keeps the rules of its index while it is read and written to.
 */
#include <stdlib.h>
#include <string.h>

#include "io/kvlog_internal.h"
#include "lib/crc32c.h"
#include "tests/fakes/fault_disk.h"

#define DISK_BYTES (1024u * 1024)
#define UNIT 512u
#define ID 0x1122334455667788ull
/* In a record's header. */
#define AT_CRC 4
#define AT_SEQ 8
#define AT_LEN 52
#define AT_DATA_CRC 56
#define AT_KEY_LEN 62

static struct fault_disk disk;
static struct block_range range;
static uint8_t *good;
static void *memory;
static size_t memory_bytes;

static void must(bool good_so_far)
{
	if (!good_so_far)
		abort();
}

static void make_good_image(void)
{
	static uint8_t data[70000];
	struct error err;
	struct kvlog *kv;

	fault_disk_init(&disk, DISK_BYTES, UNIT);
	range = fault_disk_range(&disk);
	memory_bytes = kvlog_memory_bytes(&range);
	memory = aligned_alloc(64, memory_bytes);
	memset(data, 0x5a, sizeof data);
	must(kvlog_format(&range, ID, memory, memory_bytes, &err) == ST_OK);
	must(kvlog_open(&range, false, memory, memory_bytes, &kv, &err) == ST_OK);
	must(kvlog_put(kv, "a", data, 10, &err) == ST_OK);
	must(kvlog_put(kv, "b/c", data, 1000, &err) == ST_OK);
	must(kvlog_put(kv, "long", data, sizeof data, &err) == ST_OK);
	must(kvlog_delete(kv, "a", &err) == ST_OK);
	must(kvlog_put(kv, "a", data, 0, &err) == ST_OK);
	good = malloc(DISK_BYTES);
	memcpy(good, disk.view, DISK_BYTES);
}

/* Makes the checksums at @p, a unit of the image, right: a superblock's, or a record's. */
static void mend(uint8_t *p, size_t left)
{
	uint32_t seed = seed_of(ID), len = get_le32(p + AT_LEN);
	size_t key_len = p[AT_KEY_LEN], offset = RECORD_HEADER + key_len;

	if (get_le64(p) == SUPER_MAGIC)
		put_le32(p + SUPER_BYTES - 4, crc32c(0, p, SUPER_BYTES - 4));
	if (get_le32(p) != RECORD_MAGIC)
		return;
	if (offset + len > UNIT)
		offset = UNIT;
	if (len <= left - offset)
		put_le32(p + AT_DATA_CRC, crc32c(seed, p + offset, len));
	put_le32(p + AT_CRC, crc32c(seed, p + AT_SEQ, RECORD_HEADER - AT_SEQ + key_len));
}

/* Changes: unit (2 bytes, the top bit: mend), offset in it (2), count (1), bytes. */
static void change(const uint8_t *data, size_t size)
{
	while (size >= 5) {
		uint32_t unit = get_le16(data) & 0x7ff, at = get_le16(data + 2) % UNIT, count = data[4];
		bool mending = get_le16(data) & BIT(15);

		data += 5;
		size -= 5;
		count = (uint32_t)MIN(MIN((size_t)count, size), (size_t)(UNIT - at));
		memcpy(disk.view + unit * UNIT + at, data, count);
		if (mending)
			mend(disk.view + unit * UNIT, DISK_BYTES - unit * UNIT);
		data += count;
		size -= count;
	}
}

static void read_all(struct kvlog *kv)
{
	static uint8_t buf[100000];
	struct kvlog_info info = {.key = ""};
	struct error err;
	unsigned n = 0;
	size_t got;

	for (; kvlog_next(kv, "", info.key, &info) == ST_OK; n++) {
		uint64_t offsets[] = {0, info.size / 2, info.size};

		must(kvlog_check_key(info.key, &err) == ST_OK && n < KVLOG_KEYS_MAX);
		for (unsigned i = 0; i < ARRAY_SIZE(offsets); i++) {
			err.text[0] = '\0';
			if (kvlog_read(kv, info.key, info.version, offsets[i], buf, sizeof buf, &got, &err) != ST_OK)
				must(err.text[0]);
			else
				must(got == MIN(info.size - offsets[i], sizeof buf));
		}
	}
}

static void use(struct kvlog *kv)
{
	static const uint8_t data[40000];
	struct kvlog_stats stats;
	struct error err;

	must(kvlog_check(kv, &err));
	read_all(kv);
	for (unsigned i = 0; i < 16; i++) {
		enum status st = kvlog_put(kv, i % 2 ? "b/c" : "new", data, i % 8 ? 1000 : sizeof data, &err);

		must(st == ST_OK || err.text[0]);
		st = kvlog_step(kv, &err);
		must(st == ST_OK || st == ST_AGAIN || err.text[0]);
		must(kvlog_check(kv, &err));
	}
	if (kvlog_delete(kv, "long", &err) != ST_OK)
		must(err.text[0]);
	must(kvlog_check(kv, &err));
	kvlog_stats(kv, &stats);
	read_all(kv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = {{0}};
	struct kvlog *kv;

	if (!good)
		make_good_image();
	memcpy(disk.view, good, DISK_BYTES);
	change(data, size);
	for (int turn = 0; turn < 2; turn++) {
		if (kvlog_open(&range, false, memory, memory_bytes, &kv, &err) != ST_OK) {
			must(err.text[0]);
			return 0;
		}
		use(kv);
	}
	return 0;
}
