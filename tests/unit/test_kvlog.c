/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writable store: what its face promises, what it costs in requests, and what
 * remains of it when bytes of its image are wrong or its device fails. Power cuts
 * are tests/model/model_kvlog.c's.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/kvlog.h"
#include "lib/bits.h"
#include "tests/fakes/fault_disk.h"

#define DISK_BYTES (1024u * 1024)
#define ID 0x1122334455667788ull
#define PIECE 32256u /* data in a full record, sectors of 512 bytes */

static struct fault_disk disk;
static struct block_range range;
static void *memory;
static size_t memory_bytes;
static struct kvlog *kv;
static struct error err;
static uint8_t data[400000], back[400000];

static void fill(uint32_t seed)
{
	for (size_t i = 0; i < sizeof data; i++) {
		seed = seed * 1664525u + 1013904223u;
		data[i] = (uint8_t)(seed >> 24);
	}
}

static enum status open_store(bool read_only)
{
	memset(memory, 0xa5, memory_bytes);
	return kvlog_open(&range, read_only, memory, memory_bytes, &kv, &err);
}

static void make_store(uint64_t bytes, uint32_t sector)
{
	fault_disk_init(&disk, bytes, sector);
	range = fault_disk_range(&disk);
	memory_bytes = kvlog_memory_bytes(&range);
	memory = aligned_alloc(64, memory_bytes);
	assert_int_equal(kvlog_format(&range, ID, memory, memory_bytes, &err), ST_OK);
	assert_int_equal(open_store(false), ST_OK);
}

static int setup(void **state)
{
	(void)state;
	fill(1);
	make_store(DISK_BYTES, 512);
	return 0;
}

static int setup_4k(void **state)
{
	(void)state;
	fill(2);
	make_store(DISK_BYTES, 4096);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(memory);
	fault_disk_fini(&disk);
	return 0;
}

static void assert_put(const char *key, const void *content, size_t len)
{
	if (kvlog_put(kv, key, content, len, &err) != ST_OK)
		fail_msg("%s: %s", key, err.text);
}

static bool is_there(const char *key, const void *content, size_t len)
{
	struct kvlog_info info;
	size_t got;

	return kvlog_stat(kv, key, &info, &err) == ST_OK && info.size == len &&
	       kvlog_read(kv, key, info.version, 0, back, sizeof back, &got, &err) == ST_OK && got == len &&
	       memcmp(back, content, len) == 0;
}

static void assert_there(const char *key, const void *content, size_t len)
{
	if (!is_there(key, content, len))
		fail_msg("%s: %s", key, err.text);
}

static void check_refused(enum status got, enum status expected, const char *words, const char *call)
{
	if (got != expected || !strstr(err.text, words))
		fail_msg("%s: got %s, \"%s\"", call, status_name(got), got == ST_OK ? "" : err.text);
}

#define assert_refused(call, expected, words) check_refused(call, expected, words, #call)

/* ---- its face ---- */

static void blobs_of_all_sizes(void **state)
{
	static const size_t sizes[] = {0, 1, 440, 441, 447, 448, 449, 512, 513, 4000, 4096, 28671, 28672, 28673,
				       PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1, 100000};
	struct kvlog_stats s;
	char key[32];

	(void)state;
	for (int turn = 0; turn < 2; turn++) {
		for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
			snprintf(key, sizeof key, "size/%zu", sizes[i]);
			if (turn == 0)
				assert_put(key, data + i, sizes[i]);
			assert_there(key, data + i, sizes[i]);
		}
		assert_true(kvlog_check(kv, &err));
		assert_int_equal(open_store(false), ST_OK);
	}
	kvlog_stats(kv, &s);
	assert_int_equal(s.keys, ARRAY_SIZE(sizes));
	assert_int_equal(s.damaged_bytes + s.damaged_keys + s.bad_superblocks + s.unfinished, 0);
	assert_int_equal(s.used_bytes + s.free_bytes, s.size_bytes);
	assert_int_equal(s.opens, 3);
	assert_int_equal(s.id, ID);
}

static void names_have_rules(void **state)
{
	static const char *const bad[] = {"", "/", "/a", "a/", "a//b", ".", "..", "a/.", "a/../b", "a b", "a\tb", "\x7f", "a\x80"};
	static const char *const good[] = {"a", "a.b", "...", "a/b/c", "~", "a/.b", "x/..y"};
	char longest[KVLOG_KEY_MAX + 2];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(kvlog_put(kv, bad[i], "", 0, &err), ST_INVALID);
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		assert_put(good[i], good[i], strlen(good[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		assert_there(good[i], good[i], strlen(good[i]));
	memset(longest, 'n', sizeof longest);
	longest[KVLOG_KEY_MAX + 1] = '\0';
	assert_refused(kvlog_put(kv, longest, "", 0, &err), ST_INVALID, "at most 127 bytes");
	longest[KVLOG_KEY_MAX] = '\0';
	assert_put(longest, data, 321);
	assert_int_equal(open_store(false), ST_OK);
	assert_there(longest, data, 321);
	assert_refused(kvlog_put(kv, "a//b", "", 0, &err), ST_INVALID, "an empty part");
	assert_int_equal(kvlog_delete(kv, "a b", &err), ST_INVALID);
	assert_refused(kvlog_delete(kv, "none", &err), ST_NOT_FOUND, "no 'none'");
}

static void lists_in_order_by_prefix(void **state)
{
	static const char *const names[] = {"b/2", "a", "b/1", "c", "b", "b/1/x", "b-"};
	static const char *const sorted[] = {"a", "b", "b-", "b/1", "b/1/x", "b/2", "c"};
	struct kvlog_info info = {.key = ""};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		assert_put(names[i], data, i);
	for (unsigned i = 0; i < ARRAY_SIZE(sorted); i++) {
		char after[KVLOG_KEY_MAX + 1];

		strcpy(after, info.key);
		assert_int_equal(kvlog_next(kv, "", after, &info), ST_OK);
		assert_string_equal(info.key, sorted[i]);
	}
	assert_int_equal(kvlog_next(kv, "", "c", &info), ST_NOT_FOUND);
	assert_int_equal(kvlog_next(kv, "b/", "", &info), ST_OK);
	assert_string_equal(info.key, "b/1");
	assert_int_equal(kvlog_next(kv, "b/", "b/1/x", &info), ST_OK);
	assert_string_equal(info.key, "b/2");
	assert_int_equal(kvlog_next(kv, "b/", "b/2", &info), ST_NOT_FOUND);
	/* A cursor whose name is gone, and one from before the prefix. */
	assert_int_equal(kvlog_delete(kv, "b/1", &err), ST_OK);
	assert_int_equal(kvlog_next(kv, "b/", "b/1", &info), ST_OK);
	assert_string_equal(info.key, "b/1/x");
	assert_int_equal(kvlog_next(kv, "b/", "a", &info), ST_OK);
	assert_string_equal(info.key, "b/1/x");
	assert_int_equal(kvlog_next(kv, "zz", "", &info), ST_NOT_FOUND);
}

static void ranges_and_versions(void **state)
{
	struct kvlog_info old, fresh;
	size_t got;

	(void)state;
	assert_put("a", data, 100000);
	assert_int_equal(kvlog_stat(kv, "a", &old, &err), ST_OK);
	for (uint64_t at = 0; at <= 100000; at += 12345) {
		assert_int_equal(kvlog_read(kv, "a", old.version, at, back, 40000, &got, &err), ST_OK);
		assert_int_equal(got, MIN(40000, 100000 - at));
		assert_memory_equal(back, data + at, got);
	}
	assert_int_equal(kvlog_read(kv, "a", 0, 100000, back, 1, &got, &err), ST_OK);
	assert_int_equal(got, 0);
	assert_refused(kvlog_read(kv, "a", 0, 100001, back, 1, &got, &err), ST_INVALID, "none at 100001");
	assert_put("a", data, 100000);
	assert_int_equal(kvlog_stat(kv, "a", &fresh, &err), ST_OK);
	assert_true(fresh.version != old.version && fresh.version != 0);
	assert_refused(kvlog_read(kv, "a", old.version, 0, back, 1, &got, &err), ST_NOT_FOUND, "replaced");
	assert_refused(kvlog_read(kv, "b", 0, 0, back, 1, &got, &err), ST_NOT_FOUND, "no 'b'");
}

static void streams(void **state)
{
	struct kvlog_put *a, *b, *c;
	struct kvlog_stats s;

	(void)state;
	assert_put("x", "old", 3);
	assert_int_equal(kvlog_put_begin(kv, "x", 0, &a, &err), ST_OK);
	assert_int_equal(kvlog_put_begin(kv, "x", 90000, &b, &err), ST_OK);
	assert_refused(kvlog_put_begin(kv, "y", 0, &c, &err), ST_BUSY, "'x'");
	for (size_t at = 0; at < 90000; at += 1000) {
		assert_int_equal(kvlog_put_append(a, data + at, 1000, &err), ST_OK);
		assert_int_equal(kvlog_put_append(b, data + at + 7, 1000, &err), ST_OK);
	}
	assert_int_equal(kvlog_put_size(a), 90000);
	assert_string_equal(kvlog_put_key(a), "x");
	assert_there("x", "old", 3);
	assert_true(kvlog_check(kv, &err));
	assert_int_equal(kvlog_put_commit(b, &err), ST_OK);
	assert_there("x", data + 7, 90000);
	assert_int_equal(kvlog_put_commit(a, &err), ST_OK);
	assert_there("x", data, 90000);
	assert_int_equal(open_store(false), ST_OK);
	assert_there("x", data, 90000);
	/* One given up, one that the end of the machine gives up. */
	assert_int_equal(kvlog_put_begin(kv, "x", 0, &a, &err), ST_OK);
	assert_int_equal(kvlog_put_append(a, data + 9, 80000, &err), ST_OK);
	kvlog_put_abort(a);
	assert_int_equal(kvlog_put_begin(kv, "x", 0, &a, &err), ST_OK);
	assert_int_equal(kvlog_put_append(a, data + 9, 80000, &err), ST_OK);
	kvlog_stats(kv, &s);
	assert_int_equal(s.streams, 1);
	assert_int_equal(open_store(false), ST_OK);
	assert_there("x", data, 90000);
	kvlog_stats(kv, &s);
	assert_int_equal(s.streams, 0);
	assert_true(kvlog_check(kv, &err));
}

static void a_full_store_says_so_and_recovers(void **state)
{
	struct kvlog_stats s;
	struct kvlog_put *p;
	unsigned n = 0;
	char key[16];

	(void)state;
	for (;; n++) {
		snprintf(key, sizeof key, "k%u", n);
		if (kvlog_put(kv, key, data + n, 30000, &err) != ST_OK)
			break;
	}
	assert_non_null(strstr(err.text, "the store is full: 'k"));
	kvlog_stats(kv, &s);
	/* Three quarters of the log, less what a record does not fill. */
	assert_in_range(s.size_bytes, DISK_BYTES * 74 / 100, DISK_BYTES * 3 / 4);
	assert_true(s.free_bytes < 31000);
	assert_refused(kvlog_put_begin(kv, "big", 1 << 30, &p, &err), ST_OVER_LIMIT, "full");
	assert_int_equal(kvlog_put_begin(kv, "big", 0, &p, &err), ST_OVER_LIMIT);
	for (unsigned i = 0; i < n; i++) {
		snprintf(key, sizeof key, "k%u", i);
		assert_there(key, data + i, 30000);
	}
	/* Deleting is possible, and makes room. */
	assert_int_equal(kvlog_delete(kv, "k0", &err), ST_OK);
	assert_int_equal(kvlog_delete(kv, "k1", &err), ST_OK);
	assert_put("small", data, 30000);
	for (unsigned i = 0; i < 100; i++)
		assert_put("small", data + i, 30000);
	assert_there("small", data + 99, 30000);
	assert_int_equal(open_store(false), ST_OK);
	assert_there("small", data + 99, 30000);
	assert_there("k2", data + 2, 30000);
	assert_true(kvlog_check(kv, &err));
}

static void a_bound_on_names(void **state)
{
	struct kvlog_put *p;
	char key[16];

	(void)state;
	for (unsigned i = 0; i < KVLOG_KEYS_MAX; i++) {
		snprintf(key, sizeof key, "%04u", i * 7 % KVLOG_KEYS_MAX);
		assert_put(key, key, 4);
	}
	assert_refused(kvlog_put(kv, "more", "", 0, &err), ST_OVER_LIMIT, "has 1024 names");
	assert_int_equal(kvlog_put_begin(kv, "more", 0, &p, &err), ST_OVER_LIMIT);
	assert_put("0007", "new!", 4);
	assert_int_equal(open_store(false), ST_OK);
	for (unsigned i = 0; i < KVLOG_KEYS_MAX; i++) {
		snprintf(key, sizeof key, "%04u", i);
		assert_there(key, i == 7 ? "new!" : key, 4);
	}
	assert_int_equal(kvlog_delete(kv, "0500", &err), ST_OK);
	assert_put("more", "1", 1);
	assert_true(kvlog_check(kv, &err));
}

static void many_laps(void **state)
{
	struct kvlog_put *p;
	struct kvlog_stats s;
	char key[16];

	(void)state;
	/* Cold blobs that are carried along, one of several records, and a stream that stays open for laps. */
	assert_put("cold", data, 150000);
	assert_int_equal(kvlog_put_begin(kv, "slow", 0, &p, &err), ST_OK);
	for (unsigned i = 0; i < 600; i++) {
		snprintf(key, sizeof key, "hot%u", i % 5);
		assert_put(key, data + i, 20000);
		if (i % 4 == 0)
			assert_int_equal(kvlog_put_append(p, data + i / 4 * 1000, 1000, &err), ST_OK);
		for (unsigned k = 0; k < 3; k++) {
			enum status st = kvlog_step(kv, &err);

			if (st != ST_OK && st != ST_AGAIN)
				fail_msg("%s", err.text);
		}
	}
	assert_int_equal(kvlog_put_commit(p, &err), ST_OK);
	kvlog_stats(kv, &s);
	assert_true(s.moves > 50 && s.written_bytes > 12 * DISK_BYTES);
	assert_int_equal(open_store(false), ST_OK);
	assert_there("cold", data, 150000);
	assert_there("slow", data, 150000);
	for (unsigned i = 595; i < 600; i++) {
		snprintf(key, sizeof key, "hot%u", i % 5);
		assert_there(key, data + i, 20000);
	}
}

static void opening_what_is_no_store(void **state)
{
	struct block_range small = range;

	(void)state;
	small.count = 1000;
	assert_int_equal(kvlog_memory_bytes(&small), 0);
	assert_refused(kvlog_open(&small, false, memory, memory_bytes, &kv, &err), ST_INVALID, "at least 1024 KiB");
	assert_refused(kvlog_open(&range, false, memory, 4096, &kv, &err), ST_NO_MEMORY, "of memory");
	memset(disk.view, 0, 8192);
	assert_refused(open_store(false), ST_NOT_FOUND, "blank");
	disk.view[4096] = 1;
	assert_refused(open_store(false), ST_CORRUPT, "neither superblock, sectors 0 and 8");
	disk.bad_count = 16;
	assert_refused(open_store(false), ST_IO, "unreadable");
}

static void a_smaller_partition_than_it_was_made_for(void **state)
{
	(void)state;
	teardown(NULL);
	make_store(2 * DISK_BYTES, 512);
	range.count = DISK_BYTES / 512;
	assert_refused(open_store(false), ST_TRUNCATED, "the partition has room for");
	range.count = 2 * DISK_BYTES / 512;
	disk.device.sector_bytes = 1024;
	disk.device.sectors /= 2;
	range.count /= 2;
	assert_refused(open_store(false), ST_UNSUPPORTED, "sectors of 512 bytes");
}

static void read_only(void **state)
{
	struct kvlog_stats s;

	(void)state;
	assert_put("a", data, 50000);
	disk.device.read_only = true;
	assert_int_equal(open_store(false), ST_OK);
	assert_there("a", data, 50000);
	assert_refused(kvlog_put(kv, "b", "", 0, &err), ST_DENIED, "the device is read-only");
	assert_int_equal(kvlog_delete(kv, "a", &err), ST_DENIED);
	disk.device.read_only = false;
	assert_int_equal(open_store(true), ST_OK);
	kvlog_stats(kv, &s);
	assert_false(s.writable);
	assert_string_equal(s.why_not, "it was opened for reading");
	assert_int_equal(s.writes, 0);
	assert_int_equal(kvlog_step(kv, &err), ST_OK);
	assert_there("a", data, 50000);
}

/* docs/store.md promises these. */
static void what_it_costs(void **state)
{
	struct kvlog_stats a, b;
	size_t got;

	(void)state;
	assert_put("small", data, 300);
	kvlog_stats(kv, &a);
	assert_put("small", data, 300);
	kvlog_stats(kv, &b);
	assert_int_equal(b.writes - a.writes, 1);
	assert_int_equal(b.flushes - a.flushes, 1);
	assert_int_equal(b.written_bytes - a.written_bytes, 512);
	assert_int_equal(b.reads, a.reads);
	assert_put("large", data, 10 * PIECE);
	kvlog_stats(kv, &a);
	assert_int_equal(a.writes - b.writes, 10);
	assert_int_equal(a.flushes - b.flushes, 1);
	assert_int_equal(kvlog_read(kv, "large", 0, 0, back, 10 * PIECE, &got, &err), ST_OK);
	kvlog_stats(kv, &b);
	assert_int_equal(b.reads - a.reads, 10);
	for (unsigned i = 0; i < 100; i++) /* in small steps: one request for each record */
		assert_int_equal(kvlog_read(kv, "large", 0, i * 1000, back, 1000, &got, &err), ST_OK);
	kvlog_stats(kv, &a);
	assert_int_equal(a.reads - b.reads, 4);
	assert_int_equal(kvlog_read(kv, "small", 0, 0, back, 300, &got, &err), ST_OK);
	kvlog_stats(kv, &b);
	assert_int_equal(b.reads - a.reads, 1);
	assert_int_equal(kvlog_delete(kv, "small", &err), ST_OK);
	kvlog_stats(kv, &a);
	assert_int_equal(a.writes - b.writes, 1);
	assert_int_equal(a.flushes - b.flushes, 1);
}

/* ---- damage ---- */

struct sample {
	const char *key;
	uint32_t from, len;
};

static const struct sample samples[] = {
	{"one", 0, 100}, {"dir/two", 50, 1400}, {"three", 7, 0}, {"piece", 3, PIECE + 5000}, {"five", 0, 700},
};

static void put_samples(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(samples); i++)
		assert_put(samples[i].key, data + samples[i].from, samples[i].len);
	assert_int_equal(kvlog_delete(kv, "three", &err), ST_OK);
	assert_put("three", data, 0);
}

/* Every blob is as it was but for at most one, and of that one an error or a figure tells. */
static void check_damaged(uint64_t at)
{
	struct kvlog_stats s;
	unsigned wrong = 0;
	bool silent = false;

	if (open_store(true) != ST_OK)
		fail_msg("byte %llu: %s", (unsigned long long)at, err.text);
	kvlog_stats(kv, &s);
	for (unsigned i = 0; i < ARRAY_SIZE(samples); i++) {
		struct kvlog_info info;
		size_t got;

		if (is_there(samples[i].key, data + samples[i].from, samples[i].len))
			continue;
		wrong++;
		if (kvlog_stat(kv, samples[i].key, &info, &err) != ST_OK)
			silent |= s.damaged_bytes == 0;
		else if (kvlog_read(kv, samples[i].key, 0, 0, back, sizeof back, &got, &err) == ST_OK)
			silent = true; /* wrong bytes, or another size */
		else if (!strstr(err.text, samples[i].key) || !strstr(err.text, "cannot be read"))
			fail_msg("byte %llu: the sentence is \"%s\"", (unsigned long long)at, err.text);
	}
	if (wrong > 1 || silent)
		fail_msg("byte %llu: %u blobs are wrong%s", (unsigned long long)at, wrong, silent ? ", silently" : "");
	if (wrong && s.damaged_bytes + s.damaged_keys == 0)
		kvlog_stats(kv, &s);
	if (wrong && s.damaged_bytes + s.damaged_keys == 0)
		fail_msg("byte %llu: no figure tells of the damage", (unsigned long long)at);
	if (at < 8192 && at % 4096 < 512 && s.bad_superblocks != 1)
		fail_msg("byte %llu: %u bad superblocks", (unsigned long long)at, s.bad_superblocks);
	if (!kvlog_check(kv, &err))
		fail_msg("byte %llu: %s", (unsigned long long)at, err.text);
}

static void every_byte_wrong(void **state)
{
	uint64_t end;

	(void)state;
	put_samples();
	assert_int_equal(open_store(false), ST_OK); /* so that superblocks say where the log ends */
	end = 8192 + 512 * (1 + 4 + 1 + 64 + 11 + 3 + 1 + 1);
	for (uint64_t at = 0; at < end; at++) {
		/* Of the long blob's data one byte in 61. */
		if (at > 8192 + 7 * 512 && at < 8192 + 69 * 512 && at % 61)
			continue;
		fault_disk_xor(&disk, at, (uint8_t)(1 + at % 255));
		check_damaged(at);
		fault_disk_xor(&disk, at, (uint8_t)(1 + at % 255));
	}
}

/* At any moment either superblock may be lost: the log that the other one describes is whole. */
static void either_superblock_is_enough(void **state)
{
	uint8_t *other = aligned_alloc(64, memory_bytes);
	struct kvlog *again;
	struct kvlog_stats s;
	struct kvlog_info info;
	size_t got;

	(void)state;
	assert_put("cold", data, 200000);
	for (unsigned i = 0; i < 150; i++) {
		assert_put(i % 2 ? "hot" : "warm", data + i, 30000);
		for (unsigned slot = 0; slot < 2; slot++) {
			fault_disk_xor(&disk, slot * 4096 + 100, 1);
			assert_int_equal(kvlog_open(&range, true, other, memory_bytes, &again, &err), ST_OK);
			kvlog_stats(again, &s);
			if (s.bad_superblocks != 1 || s.damaged_bytes || s.damaged_keys)
				fail_msg("put %u, without superblock %u: %llu bytes, %u names damaged", i, slot,
					 (unsigned long long)s.damaged_bytes, s.damaged_keys);
			assert_int_equal(kvlog_stat(again, i % 2 ? "hot" : "warm", &info, &err), ST_OK);
			assert_int_equal(kvlog_read(again, info.key, 0, 0, back, 30000, &got, &err), ST_OK);
			assert_memory_equal(back, data + i, 30000);
			assert_int_equal(kvlog_read(again, "cold", 0, 0, back, 200000, &got, &err), ST_OK);
			assert_memory_equal(back, data, 200000);
			fault_disk_xor(&disk, slot * 4096 + 100, 1);
		}
	}
	kvlog_stats(kv, &s);
	assert_true(s.moves > 20);
	free(other);
}

/*
 * Room comes free when both superblocks say so, whether they are written at one go or by two goes of the same loop:
 * what tells them apart is the cost. At one go it is three flushes, of the log and behind each superblock.
 */
static void freeing_room_costs_two_superblocks_and_three_flushes(void **state)
{
	struct kvlog_stats before, after;
	unsigned seen = 0;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		kvlog_stats(kv, &before);
		assert_put("hot", data + i, 30000);
		kvlog_stats(kv, &after);
		if (after.generation - before.generation != 2)
			continue;
		assert_int_equal(after.flushes - before.flushes, 3 + 1);
		seen++;
	}
	assert_true(seen >= 3);
}

/* What housekeeping has won is free when it says that it is done: who writes then waits for no superblock. */
static void what_housekeeping_won_is_free_at_once(void **state)
{
	struct kvlog_stats before, after;
	unsigned seen = 0;

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		enum status st;

		kvlog_stats(kv, &before);
		while ((st = kvlog_step(kv, &err)) == ST_AGAIN)
			;
		assert_int_equal(st, ST_OK);
		kvlog_stats(kv, &after);
		seen += after.passed > before.passed;
		if (after.passed == before.passed) {
			assert_put("hot", data + i, 30000);
			continue;
		}
		before = after;
		assert_put("hot", data + i, 3 * PIECE - 1000);
		kvlog_stats(kv, &after);
		assert_int_equal(after.generation - before.generation, 0);
		assert_int_equal(after.flushes - before.flushes, 1);
	}
	assert_true(seen >= 3);
}

static bool keep_by_list(void *ctx)
{
	const char **list = ctx;

	return **list == '\0' || *(*list)++ == 'k';
}

/*
 * A cut leaves the second piece and the commit of a blob, not the first; the next life of the machine writes another
 * blob's first piece in its place, and is cut off, too. What then follows it by number is of the life before.
 */
static void leftovers_are_not_taken_for_what_follows(void **state)
{
	const char *list = "dk"; /* drop the first 512 bytes, keep all that follows */
	struct kvlog_stats s;
	struct kvlog_info info;
	struct kvlog_put *p;

	(void)state;
	disk.cut_at = disk.writes + 3;
	assert_int_equal(kvlog_put(kv, "never", data, 2 * PIECE + 10, &err), ST_IO);
	fault_disk_power_on(&disk, keep_by_list, &list);
	assert_int_equal(open_store(false), ST_OK);
	assert_int_equal(kvlog_stat(kv, "never", &info, &err), ST_NOT_FOUND);
	assert_int_equal(kvlog_put_begin(kv, "neither", 0, &p, &err), ST_OK);
	assert_int_equal(kvlog_put_append(p, data, PIECE + 1, &err), ST_OK);
	list = "k";
	fault_disk_power_on(&disk, keep_by_list, &list);
	assert_int_equal(open_store(false), ST_OK);
	kvlog_stats(kv, &s);
	assert_int_equal(s.keys + s.damaged_keys + s.damaged_bytes, 0);
}

/* Behind the superblock's mark: what was acknowledged last has no witness, what came before it has. */
static void damage_behind_the_mark(void **state)
{
	struct kvlog_stats s;

	(void)state;
	assert_put("first", data, 1000);
	assert_put("second", data, 100);
	fault_disk_xor(&disk, 8192 + 512 * 2, 1); /* data of "first" */
	assert_int_equal(open_store(true), ST_OK);
	assert_false(is_there("first", data, 1000));
	assert_non_null(strstr(err.text, "the data at sector 16 of fault disk does not match its checksum"));
	assert_there("second", data, 100);
	fault_disk_xor(&disk, 8192 + 512 * 2, 1);
	fault_disk_xor(&disk, 8192, 1); /* header of "first" */
	assert_int_equal(open_store(true), ST_OK);
	kvlog_stats(kv, &s);
	assert_int_equal(s.damaged_bytes, 512 * 3);
	assert_there("second", data, 100);
	fault_disk_xor(&disk, 8192, 1);
	assert_int_equal(open_store(true), ST_OK);
	assert_there("first", data, 1000);
}

/* Compaction comes by what is damaged: the names stay, and say so; the rest is moved. */
static void compaction_of_what_is_damaged(void **state)
{
	struct kvlog_stats s;
	struct kvlog_info info;
	struct kvlog_put *p;

	(void)state;
	put_samples();
	assert_int_equal(kvlog_put_begin(kv, "open", 0, &p, &err), ST_OK);
	assert_int_equal(kvlog_put_append(p, data, 3 * PIECE, &err), ST_OK);
	fault_disk_xor(&disk, 8192 + 100, 1);            /* "one", its data */
	fault_disk_xor(&disk, 8192 + 512, 1);            /* "dir/two", its header */
	fault_disk_xor(&disk, 8192 + 512 * 20, 1);       /* "piece", its piece */
	fault_disk_xor(&disk, 8192 + 512 * (86 + 20), 1); /* a piece of the open stream */
	for (unsigned i = 0; i < 60; i++)
		assert_put("hot", data + i, 30000);
	assert_true(kvlog_check(kv, &err));
	for (int turn = 0; turn < 2; turn++) {
		kvlog_stats(kv, &s);
		assert_int_equal(s.damaged_keys, 3);
		assert_there("five", data, 700);
		assert_there("three", data, 0);
		assert_there("hot", data + 59, 30000);
		assert_int_equal(kvlog_stat(kv, "one", &info, &err), ST_OK);
		assert_int_equal(info.size, 100);
		assert_false(is_there("one", data, 100));
		assert_non_null(strstr(err.text, "could not be read when it was to be moved"));
		assert_int_equal(kvlog_stat(kv, "dir/two", &info, &err), ST_OK);
		assert_false(is_there("piece", data + 3, PIECE + 5000));
		assert_non_null(strstr(err.text, "'piece': the part from byte 0 on cannot be read: it is lost"));
		if (turn == 0) {
			assert_refused(kvlog_put_commit(p, &err), ST_IO, "cannot be read back");
			assert_int_equal(open_store(false), ST_OK);
		}
	}
	assert_put("one", data, 100);
	assert_there("one", data, 100);
	assert_int_equal(kvlog_delete(kv, "piece", &err), ST_OK);
	kvlog_stats(kv, &s);
	assert_int_equal(s.damaged_keys, 1);
	assert_true(kvlog_check(kv, &err));
}

/* ---- a device that fails ---- */

static bool workload(bool acknowledged[ARRAY_SIZE(samples)])
{
	for (unsigned i = 0; i < ARRAY_SIZE(samples); i++) {
		err.text[0] = '\0';
		acknowledged[i] = kvlog_put(kv, samples[i].key, data + samples[i].from, samples[i].len, &err) == ST_OK;
		if (!acknowledged[i])
			return false;
	}
	return true;
}

/* Each request in turn fails, once or from then on; what was acknowledged is there afterwards. */
static void every_request_fails(void **state)
{
	bool done = false;

	for (uint64_t n = 1; !done; n++) {
		bool acknowledged[ARRAY_SIZE(samples)] = {false};
		struct kvlog_stats s;

		teardown(NULL);
		make_store(DISK_BYTES, 512);
		disk.fail_from = disk.requests + n;
		disk.fail_count = n % 2 ? 1 : UINT64_MAX / 2;
		done = workload(acknowledged);
		kvlog_stats(kv, &s);
		assert_int_equal(s.writable, done);
		if (!done) {
			assert_non_null(strstr(err.text, "fault disk"));
			assert_non_null(strstr(err.text, "made to fail"));
			assert_refused(kvlog_put(kv, "x", "", 0, &err), ST_DENIED, "read-only");
			assert_int_equal(kvlog_step(kv, &err), ST_OK);
		}
		disk.fail_from = 0;
		assert_int_equal(open_store(false), ST_OK);
		for (unsigned i = 0; i < ARRAY_SIZE(samples); i++)
			if (acknowledged[i])
				assert_there(samples[i].key, data + samples[i].from, samples[i].len);
		assert_put("after", data, 600);
	}
	(void)state;
}

static void a_device_that_fails_while_opening(void **state)
{
	struct kvlog_stats s;
	unsigned refused = 0;

	(void)state;
	put_samples();
	for (uint64_t n = 1; n < 60; n++) {
		enum status st;

		disk.fail_from = disk.requests + n;
		disk.fail_count = 1;
		st = open_store(false);
		disk.fail_from = 0;
		refused += st != ST_OK;
		if (st != ST_OK)
			continue;
		kvlog_stats(kv, &s);
		/* One failed read is tried again; one failed write makes it read-only. */
		for (unsigned i = 0; i < ARRAY_SIZE(samples); i++)
			assert_there(samples[i].key, data + samples[i].from, samples[i].len);
		assert_true(s.writable || strstr(s.why_not, "made to fail"));
		assert_int_equal(s.damaged_bytes, 0);
	}
	assert_int_equal(refused, 0);
}

static void a_sector_that_cannot_be_read(void **state)
{
	size_t got;

	(void)state;
	put_samples();
	assert_int_equal(open_store(false), ST_OK);
	disk.bad_first = 16 + 3; /* data of "dir/two", whose header is at 17 */
	disk.bad_count = 1;
	assert_refused(kvlog_read(kv, "dir/two", 0, 0, back, 1400, &got, &err), ST_IO, "'dir/two': the part from byte 0 on");
	assert_non_null(strstr(err.text, "from 17 failed: unreadable sector"));
	assert_there("one", data, 100);
	assert_there("piece", data + 3, PIECE + 5000);
	/* The long blob's second record lies in a bad place: its first part is still good. */
	disk.bad_first = 16 + 6 + 64 + 2;
	assert_int_equal(kvlog_read(kv, "piece", 0, 0, back, PIECE, &got, &err), ST_OK);
	assert_memory_equal(back, data + 3, PIECE);
	assert_refused(kvlog_read(kv, "piece", 0, PIECE, back, 10, &got, &err), ST_IO, "the part from byte 32256 on");
}

int main(void)
{
#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_STORE(blobs_of_all_sizes),
		cmocka_unit_test_setup_teardown(blobs_of_all_sizes, setup_4k, teardown),
		WITH_STORE(names_have_rules),
		WITH_STORE(lists_in_order_by_prefix),
		WITH_STORE(ranges_and_versions),
		WITH_STORE(streams),
		WITH_STORE(a_full_store_says_so_and_recovers),
		WITH_STORE(a_bound_on_names),
		WITH_STORE(many_laps),
		WITH_STORE(opening_what_is_no_store),
		WITH_STORE(a_smaller_partition_than_it_was_made_for),
		WITH_STORE(read_only),
		WITH_STORE(what_it_costs),
		WITH_STORE(every_byte_wrong),
		WITH_STORE(either_superblock_is_enough),
		WITH_STORE(freeing_room_costs_two_superblocks_and_three_flushes),
		WITH_STORE(what_housekeeping_won_is_free_at_once),
		WITH_STORE(leftovers_are_not_taken_for_what_follows),
		WITH_STORE(damage_behind_the_mark),
		WITH_STORE(compaction_of_what_is_damaged),
		WITH_STORE(every_request_fails),
		WITH_STORE(a_device_that_fails_while_opening),
		WITH_STORE(a_sector_that_cannot_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
