/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writable store against a table of names and contents, over a disk that
 * loses power. Each round opens the store, compares all of it, does random
 * operations, and is cut at a random write: any subset of the 512-byte pieces
 * written since the last flush survives. What was acknowledged must be there
 * after it; of the one operation that the cut interrupted, the old or the new
 * content, whole. All of that holds also when one of the two superblocks has gone
 * bad meanwhile, the newer one too: a cut alone never costs it, so that without
 * such damage nothing would tell room that one superblock has freed from room
 * that both have.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "io/kvlog.h"
#include "tests/fakes/fault_disk.h"
#include "tests/model/random.h"

#define RUNS 60
#define ROUNDS 12
#define STEPS_MAX 250
#define SUPERBLOCKS 8192 /* bytes where they are, */
#define SUPERBLOCK_APART 4096
#define SUPERBLOCK_BYTES 512
#define SMALL_DISK (1024u * 1024)
#define LARGE_DISK (4 * SMALL_DISK) /* housekeeping wins more here than a write keeps in reserve */
#define NAMES 24
#define BLOB_MAX 120000u

struct blob {
	bool there;
	uint32_t len;
	uint32_t seed; /* its bytes are made from this */
};

struct stream {
	struct kvlog_put *put;
	unsigned name;
	struct blob blob; /* what it will be */
	uint32_t done;
};

static struct fault_disk disk;
static struct kvlog *kv;
static void *memory;
static size_t memory_bytes;
static struct blob model[NAMES];
static struct stream streams[KVLOG_PUTS_MAX];
static struct random_state *rnd;
static unsigned bad_superblocks; /* that the next opening will find */
static unsigned interrupted = NAMES; /* the name whose last operation was not acknowledged */
static struct blob attempted;
static uint8_t bytes[BLOB_MAX], got[BLOB_MAX + 1];

static const char *name_of(unsigned n)
{
	static char text[32];

	snprintf(text, sizeof text, "%s/%02u", n % 3 ? "uploads" : "scripts/a", n);
	return text;
}

static void make_bytes(const struct blob *b)
{
	uint32_t x = b->seed;

	for (uint32_t i = 0; i < b->len; i++) {
		x = x * 1664525u + 1013904223u;
		bytes[i] = (uint8_t)(x >> 24);
	}
}

static struct blob random_blob(void)
{
	static const uint32_t edges[] = {0, 1, 300, 421, 500, 512, 1024, 32255, 32256, 32257, 64512, 64513};
	uint32_t len = (uint32_t)random_below(rnd, random_below(rnd, 3) ? 2000 : 25000);

	if (random_below(rnd, 4) == 0)
		len = edges[random_below(rnd, sizeof edges / sizeof edges[0])];
	if (random_below(rnd, 12) == 0)
		len = (uint32_t)random_below(rnd, BLOB_MAX);
	return (struct blob){true, len, (uint32_t)random_next(rnd)};
}

/* ---- comparing ---- */

static bool holds(unsigned n, const struct blob *b)
{
	struct kvlog_info info;
	struct error err;
	size_t len;

	if (kvlog_stat(kv, name_of(n), &info, &err) != ST_OK)
		return !b->there;
	if (!b->there || info.size != b->len)
		return false;
	if (kvlog_read(kv, name_of(n), info.version, 0, got, sizeof got, &len, &err) != ST_OK)
		fail_msg("%s: %s", name_of(n), err.text);
	make_bytes(b);
	return len == b->len && memcmp(got, bytes, len) == 0;
}

static void compare_all(void)
{
	char after[KVLOG_KEY_MAX + 1] = "";
	struct kvlog_stats stats;
	struct kvlog_info info;
	struct error err;
	unsigned count = 0, listed = 0;

	for (unsigned n = 0; n < NAMES; n++) {
		if (n == interrupted && holds(n, &attempted))
			model[n] = attempted;
		if (!holds(n, &model[n]))
			fail_msg("%s is not what was acknowledged", name_of(n));
		count += model[n].there;
	}
	while (kvlog_next(kv, "", after, &info) == ST_OK) {
		if (strcmp(info.key, after) <= 0)
			fail_msg("the list goes back from %s to %s", after, info.key);
		strcpy(after, info.key);
		listed++;
	}
	kvlog_stats(kv, &stats);
	if (listed != count || stats.keys != count || stats.damaged_keys || stats.damaged_bytes ||
	    stats.bad_superblocks != bad_superblocks)
		fail_msg("%u of %u names listed; damage: %u names, %llu bytes, %u superblocks of %u", listed, count,
			 stats.damaged_keys, (unsigned long long)stats.damaged_bytes, stats.bad_superblocks, bad_superblocks);
	if (!kvlog_check(kv, &err))
		fail_msg("%s", err.text);
}

/* ---- operations: each true when acknowledged ---- */

/* After a refusal nothing may have changed; after a cut the outcome is open. */
static void outcome(unsigned n, enum status st, struct blob after)
{
	if (st == ST_OK) {
		model[n] = after;
	} else if (disk.dead) {
		interrupted = n;
		attempted = after;
	} else if (st != ST_OVER_LIMIT) {
		fail_msg("%s: status %d without a cut", name_of(n), st);
	} else if (!holds(n, &model[n])) {
		fail_msg("%s changed although it was refused", name_of(n));
	}
}

static void put(struct blob b)
{
	unsigned n = (unsigned)random_below(rnd, NAMES);
	struct error err;

	make_bytes(&b);
	outcome(n, kvlog_put(kv, name_of(n), bytes, b.len, &err), b);
}

static void do_delete(void)
{
	unsigned n = (unsigned)random_below(rnd, NAMES);
	struct error err;
	enum status st = kvlog_delete(kv, name_of(n), &err);

	if (st == ST_NOT_FOUND) {
		if (model[n].there)
			fail_msg("%s is not found", name_of(n));
		return;
	}
	outcome(n, st, (struct blob){0});
}

static void begin_stream(struct stream *s)
{
	struct error err;

	s->name = (unsigned)random_below(rnd, NAMES);
	s->blob = random_blob();
	s->done = 0;
	if (kvlog_put_begin(kv, name_of(s->name), random_below(rnd, 2) ? s->blob.len : 0, &s->put, &err) != ST_OK)
		s->put = NULL;
}

static void end_stream(struct stream *s)
{
	struct error err;

	if (random_below(rnd, 6) == 0)
		kvlog_put_abort(s->put);
	else
		outcome(s->name, kvlog_put_commit(s->put, &err), s->blob);
	s->put = NULL;
}

static void do_stream(void)
{
	struct stream *s = &streams[random_below(rnd, KVLOG_PUTS_MAX)];
	struct error err;
	uint32_t n;

	if (!s->put) {
		begin_stream(s);
		return;
	}
	if (s->done == s->blob.len) {
		end_stream(s);
		return;
	}
	n = s->blob.len - s->done;
	if (n > 1 && random_below(rnd, 3))
		n = 1 + (uint32_t)random_below(rnd, n);
	make_bytes(&s->blob);
	if (kvlog_put_append(s->put, bytes + s->done, n, &err) == ST_OK) {
		s->done += n;
		return;
	}
	kvlog_put_abort(s->put);
	s->put = NULL;
}

static void do_read(void)
{
	unsigned n = (unsigned)random_below(rnd, NAMES);
	uint64_t offset;
	struct error err;
	size_t len, want;

	if (!model[n].there || model[n].len == 0)
		return;
	offset = random_below(rnd, model[n].len + 1);
	want = random_below(rnd, model[n].len + 1);
	if (kvlog_read(kv, name_of(n), 0, offset, got, want, &len, &err) != ST_OK) {
		if (!disk.dead)
			fail_msg("%s", err.text);
		return;
	}
	make_bytes(&model[n]);
	if (len != (want < model[n].len - offset ? want : model[n].len - offset) || memcmp(got, bytes + offset, len))
		fail_msg("%s: a range of it is wrong", name_of(n));
}

/* A step, or all of it as in idle time. */
static void do_housekeeping(void)
{
	unsigned steps = random_below(rnd, 4) ? 1 : 1000;
	struct error err;
	enum status st;

	do {
		st = kvlog_step(kv, &err);
	} while (st == ST_AGAIN && --steps);
	if (st != ST_OK && st != ST_AGAIN && !disk.dead)
		fail_msg("housekeeping: %s", err.text);
}

static void step(void)
{
	switch (random_below(rnd, 10)) {
	case 0: case 1: case 2: case 3: put(random_blob()); break;
	case 4: do_delete(); break;
	case 5: do_read(); break;
	case 6: case 7: do_stream(); break;
	default: do_housekeeping(); break;
	}
}

/* ---- rounds ---- */

static bool keep(void *ctx)
{
	return random_below(rnd, 100) < *(unsigned *)ctx;
}

/* What the runs must have been through to mean anything. */
static struct {
	uint64_t moves, cuts_at_superblocks, laps, superblocks_lost;
} seen;

/* One of them, older or newer, has a wrong bit when the power is back. */
static void lose_a_superblock(void)
{
	uint64_t at = random_below(rnd, 2) * SUPERBLOCK_APART + random_below(rnd, SUPERBLOCK_BYTES);

	fault_disk_xor(&disk, at, (uint8_t)(1u << random_below(rnd, 8)));
	bad_superblocks = 1;
	seen.superblocks_lost++;
}

static void cut(void)
{
	static const unsigned chances[] = {0, 100, 50, 90, 10};
	unsigned chance = chances[random_below(rnd, sizeof chances / sizeof chances[0])];

	struct kvlog_stats stats;

	kvlog_stats(kv, &stats);
	seen.moves += stats.moves;
	seen.laps += stats.written_bytes / disk.bytes;
	seen.cuts_at_superblocks += disk.cut_below && disk.cut_low == 0;
	fault_disk_power_on(&disk, keep, &chance);
	bad_superblocks = 0;
	if (random_below(rnd, 2))
		lose_a_superblock();
	memset(streams, 0, sizeof streams);
	memset(memory, 0xa5, memory_bytes); /* nothing of it may be relied upon */
}

static void reopen(void)
{
	struct block_range range = fault_disk_range(&disk);
	struct error err;

	if (kvlog_open(&range, false, memory, memory_bytes, &kv, &err) != ST_OK)
		fail_msg("not opened after a cut: %s", err.text);
}

static void one_round(void)
{
	unsigned steps = 1 + (unsigned)random_below(rnd, STEPS_MAX);
	struct error err;

	reopen();
	compare_all();
	interrupted = NAMES;
	/* A cut in the next opening, now and then. */
	disk.cut_at = disk.writes + 1 + random_below(rnd, random_below(rnd, 8) ? 2 * steps : 2);
	/* Superblocks are few among the writes, and the cut that matters most is the one at them. */
	if (random_below(rnd, 2)) {
		disk.cut_at += 4ull * steps;
		disk.cut_below = SUPERBLOCKS;
		disk.cut_low = 1 + (unsigned)random_below(rnd, 8);
	}
	if (random_below(rnd, 8) == 0)
		reopen();
	for (unsigned i = 0; i < steps && !disk.dead; i++) {
		step();
		if (!kvlog_check(kv, &err))
			fail_msg("%s", err.text);
	}
	cut();
}

/* The head is somewhere in the log, in its first lap or the second. */
static void fill(void)
{
	uint64_t puts = random_below(rnd, 2 * disk.bytes / BLOB_MAX);

	reopen();
	while (puts--)
		put((struct blob){true, BLOB_MAX - (uint32_t)random_below(rnd, BLOB_MAX / 4), (uint32_t)random_next(rnd)});
}

static uint64_t random_size(void)
{
	return random_below(rnd, 2) ? SMALL_DISK : LARGE_DISK - random_below(rnd, (LARGE_DISK - SMALL_DISK) / 4096) * 4096;
}

static void run(struct random_state *r)
{
	struct block_range range;
	struct error err;

	rnd = r;
	fault_disk_init(&disk, random_size(), random_below(r, 4) ? 512 : 4096);
	bad_superblocks = 0;
	range = fault_disk_range(&disk);
	memory_bytes = kvlog_memory_bytes(&range);
	memory = aligned_alloc(64, memory_bytes);
	memset(model, 0, sizeof model);
	memset(streams, 0, sizeof streams);
	interrupted = NAMES;
	assert_int_equal(kvlog_format(&range, random_next(r), memory, memory_bytes, &err), ST_OK);
	if (disk.bytes > SMALL_DISK)
		fill();
	for (unsigned i = 0; i < ROUNDS; i++)
		one_round();
	reopen();
	compare_all();
	free(memory);
	fault_disk_fini(&disk);
}

static void random_operations_and_cuts(void **state)
{
	(void)state;
	random_runs(RUNS, run);
	if (getenv("MODEL_SEED") || getenv("MODEL_RUNS"))
		return;
	assert_true(seen.moves > 300);
	assert_true(seen.laps > 20);
	assert_true(seen.cuts_at_superblocks > 50);
	assert_true(seen.superblocks_lost > 150);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(random_operations_and_cuts)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
