/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers in a pool: what operations write, what is refused, a full pool, disks that
 * fail, answer late or with garbage, and damage at every byte. What random requests
 * and power cuts do is in tests/model/model_layer.c.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/layer_internal.h"
#include "io/volume.h"
#include "lib/crc32c.h"
#include "tests/fakes/fault_disk.h"

#define MIB (1u << 20)
#define DISK_BYTES (8 * MIB)
#define PAGES 64u

static struct fault_disk disk;
static struct block_range range;
static struct layer_pool *pool;
static void *memory;
static size_t memory_bytes;
static struct layer_op op;
static struct error err;
static uint8_t data[256 * 1024], back[256 * 1024];
static struct volume_ram base;
static uint8_t base_memory[2 * MIB];

static void assert_says(enum status got, enum status want, const char *words)
{
	if (got != want || !strstr(err.text, words))
		fail_msg("%s: \"%s\"; wanted %s, \"%s\"", status_name(got), err.text, status_name(want), words);
}

static enum status open_pool(void)
{
	err.text[0] = '\0';
	return layer_pool_open(&range, memory, memory_bytes, PAGES, &pool, &err);
}

static void reopen(void)
{
	while (disk.held_count > 0)
		layer_pool_poll(pool);
	memset(memory, 0xa5, memory_bytes);
	if (open_pool() != ST_OK)
		fail_msg("%s", err.text);
}

static void make_pool(uint64_t bytes, uint32_t sector)
{
	fault_disk_init(&disk, bytes, sector);
	range = fault_disk_range(&disk);
	memory_bytes = layer_pool_memory(&range, PAGES);
	memory = aligned_alloc(4096, align_up(memory_bytes, 4096));
	assert_int_equal(layer_pool_format(&range, 77, &err), ST_OK);
	reopen();
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 31 + (i >> 9) + 1);
	for (size_t i = 0; i < sizeof base_memory; i++)
		base_memory[i] = (uint8_t)(i * 7 + (i >> 12) + 3);
	assert_int_equal(volume_ram_init(&base, base_memory, sizeof base_memory, 512, "base", &err), ST_OK);
}

static int setup(void **state)
{
	(void)state;
	make_pool(DISK_BYTES, 512);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(memory);
	fault_disk_fini(&disk);
	return 0;
}

/* ---- short words ---- */

static enum status finish(enum status began)
{
	if (began != ST_OK)
		return began;
	for (unsigned i = 0; !op.done && i < 100000; i++)
		layer_pool_poll(pool);
	assert_true(op.done);
	if (op.status != ST_OK)
		err = op.err;
	return op.status;
}

static void must(enum status st)
{
	if (st != ST_OK)
		fail_msg("%s: %s", status_name(st), err.text);
}

static struct block_device *open_layer(const char *name, struct block_device *below)
{
	struct layer *l;

	must(layer_open(pool, name, below, &l, &err));
	return layer_device(l);
}

static struct block_device *create(const char *name, uint64_t bytes, bool on_base)
{
	must(finish(layer_create(pool, name, bytes, on_base ? "base" : NULL, &op, &err)));
	return open_layer(name, on_base ? &base.device : NULL);
}

static void close_layer(struct block_device *d) { layer_close(container_of(d, struct layer, device)); }

static enum status run(struct block_device *d, enum block_op kind, uint64_t byte, uint64_t bytes, void *buf)
{
	struct block_range all = {d, 0, d->sectors};

	err.text[0] = '\0';
	return block_run(&all, kind, byte / d->sector_bytes, bytes / d->sector_bytes, buf, &err);
}

static void assert_holds(struct block_device *d, uint64_t byte, const void *want, uint64_t bytes)
{
	memset(back, 0xee, bytes);
	must(run(d, BLOCK_READ, byte, bytes, back));
	assert_memory_equal(back, want, bytes);
}

static struct layer_pool_stats stats(void)
{
	struct layer_pool_stats s;

	layer_pool_stats(pool, &s);
	assert_true(layer_pool_check(pool, &err));
	return s;
}

static struct layer_info info_of(const char *name)
{
	struct layer_info info;

	must(layer_find(pool, name, &info, &err));
	return info;
}

/* ---- data ---- */

static void reads_and_writes(void **state)
{
	static const uint8_t zeroes[8192];
	struct block_device *d = create("data", 1ull << 40, false);

	(void)state;
	assert_holds(d, 12345 * 512ull, zeroes, 4096);
	must(run(d, BLOCK_WRITE, (1ull << 40) - 200 * 1024, 200 * 1024, data));
	must(run(d, BLOCK_WRITE, 65536 - 700 * 2 + 376, 3 * 512, data)); /* sectors across a cluster's edge */
	assert_holds(d, (1ull << 40) - 200 * 1024, data, 200 * 1024);
	assert_holds(d, 64512, data, 1536);
	must(run(d, BLOCK_FLUSH, 0, 0, NULL));
	reopen();
	d = open_layer("data", NULL);
	assert_holds(d, (1ull << 40) - 200 * 1024, data, 200 * 1024);
	assert_holds(d, 64512, data, 1536);
	assert_holds(d, 64512 + 1536, zeroes, 8192);
	assert_int_equal(info_of("data").own_bytes, 6 * 65536);
}

/* One block written costs one block, whatever is below; a sector costs the block that it is in. */
static void a_small_write_copies_little(void **state)
{
	struct block_device *d = create("root", 4 * MIB, true);
	uint64_t before = disk.written_bytes, copied = stats().copied_blocks;

	(void)state;
	must(run(d, BLOCK_WRITE, 5 * 4096, 4096, data));
	assert_int_equal(disk.written_bytes - before, 4096);
	assert_int_equal(stats().copied_blocks, copied);
	must(run(d, BLOCK_WRITE, 9 * 4096 + 512, 512, data));
	assert_int_equal(disk.written_bytes - before, 2 * 4096);
	assert_int_equal(stats().copied_blocks, copied + 1);
	must(run(d, BLOCK_WRITE, 9 * 4096 + 1024, 512, data));
	assert_int_equal(disk.written_bytes - before, 2 * 4096 + 512);
	assert_holds(d, 9 * 4096, base_memory + 9 * 4096, 512);
	assert_holds(d, 9 * 4096 + 512, data, 512);
	assert_holds(d, 9 * 4096 + 1536, base_memory + 9 * 4096 + 1536, 2560);
	assert_holds(d, 5 * 4096, data, 4096);
	assert_holds(d, 6 * 4096, base_memory + 6 * 4096, 4096);
	/* Behind the base's end there are zeroes. */
	memset(data, 0, 4096);
	assert_holds(d, 2 * MIB, data, 4096);
}

/* A clone of 100 GiB is a block of the directory and a superblock, however much is written in it. */
static void a_clone_writes_two_blocks(void **state)
{
	struct block_device *d = create("big", 100ull << 30, false);
	uint64_t writes, flushes, bytes;

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		must(run(d, BLOCK_WRITE, i * (5ull << 30), 4096, data + i));
	must(finish(layer_snapshot(pool, "big", "big@1", &op, &err)));
	for (unsigned i = 0; i < 2; i++) {
		writes = disk.writes;
		flushes = disk.flushes;
		bytes = disk.written_bytes;
		if (i == 0)
			must(finish(layer_clone(pool, "big@1", "twin", &op, &err)));
		else
			must(finish(layer_snapshot(pool, "big", "big@2", &op, &err)));
		assert_int_equal(disk.writes - writes, 1 + 1 + i * 0);
		assert_int_equal(disk.flushes - flushes, 2);
		assert_int_equal(disk.written_bytes - bytes, 4096 + 512);
	}
	d = open_layer("twin", NULL);
	for (unsigned i = 0; i < 20; i++)
		assert_holds(d, i * (5ull << 30), data + i, 4096);
}

static void snapshots_stay(void **state)
{
	struct block_device *d = create("v", 4 * MIB, true), *s, *c;

	(void)state;
	must(run(d, BLOCK_WRITE, 0, 65536, data));
	must(finish(layer_snapshot(pool, "v", "v@1", &op, &err)));
	must(run(d, BLOCK_WRITE, 4096, 4096, data + 100));
	must(run(d, BLOCK_DISCARD, 32768, 8192, NULL));
	s = open_layer("v@1", &base.device);
	assert_true(s->read_only);
	assert_holds(s, 0, data, 65536);
	assert_holds(d, 4096, data + 100, 4096);
	memset(back + 100000, 0, 8192);
	assert_holds(d, 32768, back + 100000, 8192);
	assert_holds(d, 65536, base_memory + 65536, 4096);
	must(finish(layer_clone(pool, "v@1", "c", &op, &err)));
	c = open_layer("c", &base.device);
	must(run(c, BLOCK_WRITE, 0, 512, data + 7));
	assert_holds(c, 512, data + 512, 65536 - 512);
	assert_holds(s, 0, data, 65536);
	assert_int_equal(info_of("v@1").children, 2);
	assert_int_equal(info_of("c").depth, 2);
	assert_string_equal(info_of("c").parent, "v@1");
	assert_string_equal(info_of("v@1").base, "base");
}

/* A merge while the child is in use: clusters are handed over, or their blocks copied; the child does not notice. */
/* A volume's old name becomes its snapshot's, whatever their lengths. */
static void names_of_any_length(void **state)
{
	static const char *const names[] = {"a-volume-with-a-long-name", "s", "snapshot", "t@1"};
	struct block_device *d = create(names[0], MIB, false);

	(void)state;
	must(run(d, BLOCK_WRITE, 0, 4096, data));
	for (unsigned i = 1; i < ARRAY_SIZE(names); i++) {
		must(finish(layer_snapshot(pool, names[0], names[i], &op, &err)));
		close_layer(d);
		reopen();
		d = open_layer(names[0], NULL);
		assert_holds(d, 0, data, 4096);
		assert_string_equal(info_of(names[0]).parent, names[i]);
	}
}

static void merging(void **state)
{
	struct block_device *d = create("v", 4 * MIB, true);
	uint64_t copied;

	(void)state;
	must(run(d, BLOCK_WRITE, 0, 4 * 65536, data));
	must(run(d, BLOCK_WRITE_ZEROES, 5 * 65536, 65536, NULL));
	must(finish(layer_snapshot(pool, "v", "v@1", &op, &err)));
	must(run(d, BLOCK_WRITE, 65536, 8 * 4096, data + 5));      /* half a cluster of it */
	must(run(d, BLOCK_WRITE, 2 * 65536, 65536, data + 9));     /* all of one */
	must(run(d, BLOCK_DISCARD, 3 * 65536, 65536, NULL));
	copied = stats().copied_blocks;
	must(finish(layer_merge(pool, "v@1", &op, &err)));
	assert_int_equal(stats().copied_blocks - copied, 8);
	assert_int_equal(layer_find(pool, "v@1", &(struct layer_info){.bytes = 0}, &err), ST_NOT_FOUND);
	assert_int_equal(info_of("v").depth, 1);
	assert_string_equal(info_of("v").base, "base");
	assert_int_equal(info_of("v").own_bytes, 3 * 65536);
	for (unsigned turn = 0; turn < 2; turn++) {
		assert_holds(d, 0, data, 65536);
		assert_holds(d, 65536, data + 5, 32768);
		assert_holds(d, 65536 + 32768, data + 65536 + 32768, 32768);
		assert_holds(d, 2 * 65536, data + 9, 65536);
		memset(back + 100000, 0, 65536);
		assert_holds(d, 3 * 65536, back + 100000, 65536);
		assert_holds(d, 4 * 65536, base_memory + 4 * 65536, 65536);
		assert_holds(d, 5 * 65536, back + 100000, 65536);
		must(run(d, BLOCK_FLUSH, 0, 0, NULL));
		reopen();
		d = open_layer("v", &base.device);
	}
	assert_int_equal(stats().clusters - stats().clusters_free, 3);
}

static void deleting_frees(void **state)
{
	struct block_device *d;
	uint64_t clusters = stats().clusters_free, blocks = stats().meta_blocks_free;

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		d = create("v", 40ull << 30, false);
		for (unsigned i = 0; i < 14; i++)
			must(run(d, BLOCK_WRITE, i * 2800ull * MIB, 4096, data));
		must(run(d, BLOCK_FLUSH, 0, 0, NULL));
		assert_int_equal(stats().clusters_free, clusters - 14);
		if (round == 1) {
			reopen();
			open_layer("v", NULL);
			d = NULL;
		}
		if (d)
			close_layer(d);
		else
			layer_close(&pool->layers[0]);
		must(finish(layer_delete(pool, "v", &op, &err)));
		assert_int_equal(op.steps_total, 14);
		assert_int_equal(stats().clusters_free, clusters);
		/* The directory has its block now. */
		assert_int_equal(stats().meta_blocks_free, blocks - 1);
	}
	reopen();
	assert_int_equal(stats().clusters_free, clusters);
	assert_int_equal(stats().layers, 0);
}

/* Many clusters at a time, from one leaf into the next, from and to the middle of a block. */
static void long_discards(void **state)
{
	static const uint8_t zeroes[65536];
	struct block_device *d = create("v", 40 * MIB, true);
	uint64_t start = 12 * MIB + 512, end = start + 8 * MIB, free;

	(void)state;
	for (unsigned i = 0; i < 12; i++)
		must(run(d, BLOCK_WRITE, (11 + i) * MIB, 65536, data + i));
	must(run(d, BLOCK_WRITE, 12 * MIB, 65536, data));
	must(run(d, BLOCK_WRITE, 20 * MIB, 65536, data));
	must(run(d, BLOCK_FLUSH, 0, 0, NULL));
	free = stats().clusters_free;
	must(run(d, BLOCK_DISCARD, start, 8 * MIB, NULL));
	must(run(d, BLOCK_FLUSH, 0, 0, NULL));
	assert_int_equal(stats().clusters_free, free + 7);
	for (unsigned turn = 0; turn < 2; turn++) {
		assert_holds(d, 12 * MIB, data, 4096); /* part of a block is left */
		assert_holds(d, 12 * MIB + 4096, zeroes, 61440);
		for (unsigned i = 2; i < 9; i++)
			assert_holds(d, (11 + i) * MIB, zeroes, 65536);
		assert_holds(d, end - 512, data, 65536); /* likewise */
		assert_holds(d, 11 * MIB, data, 65536);
		assert_holds(d, 22 * MIB, data + 11, 65536);
		reopen();
		d = open_layer("v", &base.device);
	}
	free = stats().clusters_free;
	assert_says(run(d, BLOCK_DISCARD, 0, 8 * MIB + 512, NULL), ST_INVALID, "a request has at most");
	must(run(d, BLOCK_WRITE_ZEROES, 16 * MIB + 100 * 512, 7 * MIB, NULL));
	assert_int_equal(stats().clusters_free, free);
	assert_holds(d, 22 * MIB, zeroes, 65536);
}

/* ---- a full pool ---- */

static void full_and_freed_and_grown(void **state)
{
	struct block_device *d = create("v", 64 * MIB, false);
	struct block_range smaller = {&disk.device, 0, 5 * MIB / 512};
	uint64_t at = 0;
	enum status st;

	(void)state;
	while ((st = run(d, BLOCK_WRITE, at, 65536, data)) == ST_OK)
		at += 65536;
	assert_says(st, ST_OVER_LIMIT, "the pool has no free cluster");
	assert_int_equal(at / 65536, stats().clusters);
	must(run(d, BLOCK_WRITE, 65536, 65536, data)); /* what is there can be written */
	must(run(d, BLOCK_FLUSH, 0, 0, NULL));
	must(run(d, BLOCK_DISCARD, 65536, 4 * 65536, NULL));
	for (unsigned i = 0; i < 4; i++)
		must(run(d, BLOCK_WRITE, at + i * 65536, 65536, data + i));
	assert_says(run(d, BLOCK_WRITE, 65536, 512, data), ST_OVER_LIMIT, "no free cluster");
	for (unsigned i = 0; i < 4; i++)
		assert_holds(d, at + i * 65536, data + i, 65536);
	assert_says(layer_pool_grow(pool, &smaller, &err), ST_INVALID, "grows at its end");
	/* A pool that was made on a part of the range takes the rest. */
	must(run(d, BLOCK_FLUSH, 0, 0, NULL));
	assert_int_equal(stats().full, 2);
}

static void growing(void **state)
{
	struct block_range whole = range, part = {&disk.device, 0, 5 * MIB / 512};
	struct block_device *d;
	uint64_t at = 0;

	(void)state;
	range = part;
	must(layer_pool_format(&range, 5, &err));
	reopen();
	d = create("v", 64 * MIB, false);
	while (run(d, BLOCK_WRITE, at, 65536, data) == ST_OK)
		at += 65536;
	must(layer_pool_grow(pool, &whole, &err));
	must(run(d, BLOCK_WRITE, at, 65536, data));
	must(run(d, BLOCK_FLUSH, 0, 0, NULL));
	assert_true(stats().clusters > at / 65536 + 40);
	range = whole;
	reopen();
	d = open_layer("v", NULL);
	assert_holds(d, at, data, 65536);
	range = part;
	assert_says(open_pool(), ST_TRUNCATED, "the range has 5");
}

/* With every block of metadata in use, what frees still works. */
static void full_of_metadata(void **state)
{
	struct block_device *d = create("v", 1ull << 40, false);
	unsigned n = 0;
	enum status st;

	(void)state;
	while ((st = run(d, BLOCK_WRITE, n * (16ull << 20), 4096, data)) == ST_OK) {
		must(run(d, BLOCK_FLUSH, 0, 0, NULL));
		n++;
	}
	assert_says(st, ST_OVER_LIMIT, "no space for metadata");
	assert_true(n > 10);
	must(run(d, BLOCK_FLUSH, 0, 0, NULL));
	reopen();
	must(finish(layer_delete(pool, "v", &op, &err)));
	assert_int_equal(stats().meta_blocks_free, stats().meta_blocks - 1);
}

/* ---- what is refused ---- */

static void refusals(void **state)
{
	struct block_device *d;
	struct layer *l;
	char name[16];

	(void)state;
	assert_says(layer_create(pool, "a b", MIB, NULL, &op, &err), ST_INVALID, "no name");
	assert_says(layer_create(pool, "a", 1000, NULL, &op, &err), ST_INVALID, "not 1000");
	assert_says(layer_create(pool, "a", 0, NULL, &op, &err), ST_INVALID, "not 0");
	assert_says(layer_create(pool, "a", (1ull << 40) + 4096, NULL, &op, &err), ST_INVALID, "at most");
	d = create("a", MIB, true);
	assert_says(layer_create(pool, "a", MIB, NULL, &op, &err), ST_EXISTS, "'a' already");
	assert_says(layer_open(pool, "a", &base.device, &l, &err), ST_BUSY, "open already");
	assert_says(layer_delete(pool, "a", &op, &err), ST_BUSY, "in use");
	assert_says(layer_delete(pool, "b", &op, &err), ST_NOT_FOUND, "no layer");
	assert_says(layer_clone(pool, "a", "b", &op, &err), ST_BAD_STATE, "a live volume, not a snapshot");
	assert_says(layer_merge(pool, "a", &op, &err), ST_BAD_STATE, "a live volume");
	must(finish(layer_snapshot(pool, "a", "s", &op, &err)));
	assert_says(layer_snapshot(pool, "s", "t", &op, &err), ST_BAD_STATE, "a snapshot, not a live volume");
	assert_says(layer_delete(pool, "s", &op, &err), ST_BAD_STATE, "'a' stands on 's'");
	assert_says(layer_open(pool, "s", NULL, &l, &err), ST_INVALID, "'base', which is not given");
	must(finish(layer_clone(pool, "s", "c", &op, &err)));
	assert_says(layer_merge(pool, "s", &op, &err), ST_BAD_STATE, "2 children");
	close_layer(d);
	must(finish(layer_delete(pool, "c", &op, &err)));
	for (unsigned i = 3; i <= LAYER_DEPTH_MAX; i++) {
		snprintf(name, sizeof name, "s%u", i);
		must(finish(layer_snapshot(pool, "a", name, &op, &err)));
	}
	assert_says(layer_snapshot(pool, "a", "more", &op, &err), ST_OVER_LIMIT, "stands on 7 others");
	assert_says(layer_clone(pool, "s8", "b", &op, &err), ST_OK, "");
	must(finish(ST_OK));
	assert_int_equal(info_of("a").depth, 8);
	assert_says(layer_resize(pool, "a", 4096, &op, &err), ST_INVALID, "can become larger");
	for (unsigned i = stats().layers; i < LAYER_MAX; i++) {
		snprintf(name, sizeof name, "v%u", i);
		must(finish(layer_create(pool, name, MIB, NULL, &op, &err)));
	}
	assert_says(layer_create(pool, "one", MIB, NULL, &op, &err), ST_OVER_LIMIT, "64 layers already");
	reopen();
	assert_int_equal(stats().layers, 64);
}

static void one_operation_at_a_time(void **state)
{
	struct layer_op other;
	struct layer_pool *second;

	(void)state;
	disk.late = true;
	must(layer_create(pool, "a", MIB, NULL, &op, &err));
	assert_false(op.done);
	assert_says(layer_create(pool, "b", MIB, NULL, &other, &err), ST_BUSY, "another operation");
	disk.late = false;
	must(finish(ST_OK));
	/* A pool does not lie on a layer. */
	range = (struct block_range){open_layer("a", NULL), 0, MIB / 512};
	assert_says(layer_pool_open(&range, memory, memory_bytes, PAGES, &second, &err), ST_UNSUPPORTED, "is a layer");
}

static void resizing(void **state)
{
	struct block_device *d = create("v", MIB, false);

	(void)state;
	assert_says(run(d, BLOCK_WRITE, MIB, 4096, data), ST_INVALID, "the range has");
	must(finish(layer_resize(pool, "v", 3 * MIB, &op, &err)));
	must(run(d, BLOCK_WRITE, 3 * MIB - 4096, 4096, data));
	must(run(d, BLOCK_FLUSH, 0, 0, NULL));
	reopen();
	d = open_layer("v", NULL);
	assert_int_equal(d->sectors, 3 * MIB / 512);
	assert_holds(d, 3 * MIB - 4096, data, 4096);
}

static bool never(void *ctx)
{
	(void)ctx;
	return false;
}

/* Until it is whole it is nobody's, also in a pool that is opened again, and who knows no such layers opens none. */
static void a_layer_that_is_filled(void **state)
{
	struct layer *l, *none;

	(void)state;
	must(finish(layer_create_filling(pool, "v", MIB, &op, &err)));
	assert_int_equal(pool->super.incompatible, FEATURE_FILLING);
	reopen();
	assert_int_equal(pool->super.incompatible, FEATURE_FILLING);
	assert_says(layer_open(pool, "v", NULL, &none, &err), ST_BAD_STATE, "delete it");
	assert_says(layer_snapshot(pool, "v", "s", &op, &err), ST_BAD_STATE, "unfinished import");
	assert_says(layer_resize(pool, "v", 2 * MIB, &op, &err), ST_BAD_STATE, "unfinished import");
	assert_says(layer_merge(pool, "v", &op, &err), ST_BAD_STATE, "unfinished import");
	must(layer_open_filling(pool, "v", &l, &err));
	must(run(layer_device(l), BLOCK_WRITE, 0, 8192, data));
	must(finish(layer_complete(pool, "v", &op, &err)));
	assert_int_equal(pool->super.incompatible, 0);
	layer_close(l);
	assert_says(layer_complete(pool, "v", &op, &err), ST_BAD_STATE, "not an unfinished import");
	assert_says(layer_open_filling(pool, "v", &l, &err), ST_BAD_STATE, "not being filled");
	/* What was written is as durable as the state, without a flush. */
	fault_disk_power_on(&disk, never, NULL);
	reopen();
	assert_holds(open_layer("v", NULL), 0, data, 8192);
	must(finish(layer_create_filling(pool, "w", MIB, &op, &err)));
	reopen();
	must(finish(layer_delete(pool, "w", &op, &err)));
	assert_int_equal(pool->super.incompatible, 0);
}

static void superblocks(void **state)
{
	uint8_t *super[2] = {disk.view, disk.view + 4096};
	struct super s;

	(void)state;
	create("v", MIB, false);
	/* Either alone is enough; the later one holds. */
	fault_disk_xor(&disk, 4096 + 100, 1);
	reopen();
	assert_int_equal(stats().layers, 1);
	fault_disk_xor(&disk, 4096 + 100, 1);
	fault_disk_xor(&disk, 100, 1);
	reopen();
	assert_int_equal(stats().layers, 0);
	fault_disk_xor(&disk, 4096 + 100, 1);
	assert_says(open_pool(), ST_CORRUPT, "neither superblock");
	fault_disk_xor(&disk, 4096 + 100, 1);
	fault_disk_xor(&disk, 100, 1);
	for (unsigned kind = 0; kind < 3; kind++) {
		assert_int_equal(layer_super_decode(super[0], &s), ST_OK);
		s.compatible = kind == 0;
		s.read_only_compatible = kind == 1;
		s.incompatible = kind == 2 ? 0x10 : 0;
		layer_super_encode(&s, super[0]);
		if (kind == 2) {
			assert_says(open_pool(), ST_UNSUPPORTED, "not known here: 0x10");
			break;
		}
		reopen();
		assert_int_equal(stats().writable, kind == 0);
		assert_true(open_layer("v", NULL)->read_only == (kind == 1));
		if (kind == 1)
			assert_says(layer_create(pool, "w", MIB, NULL, &op, &err), ST_DENIED, "features 0x1");
	}
	memset(disk.view, 0, 8192);
	assert_says(open_pool(), ST_NOT_FOUND, "there is no pool");
	disk.bad_count = 20;
	assert_says(open_pool(), ST_IO, "unreadable sector");
}

/* ---- trouble ---- */

/* Every byte of metadata, wrong in turn: the pool is refused with a sentence, or was not using it. */
static void damage_everywhere(void **state)
{
	unsigned refused = 0, taken = 0;
	uint64_t end = pool->data_first;

	(void)state;
	(void)create("v", 32 * MIB, true);
	must(run(&pool->layers[0].device, BLOCK_WRITE, 0, 65536, data));
	must(run(&pool->layers[0].device, BLOCK_DISCARD, 20 * MIB, 65536, NULL));
	must(finish(layer_snapshot(pool, "v", "s", &op, &err)));
	must(run(&pool->layers[0].device, BLOCK_WRITE, 4096, 8192, data));
	must(run(&pool->layers[0].device, BLOCK_FLUSH, 0, 0, NULL));
	for (uint64_t at = 0; at < end; at += at < 8192 ? 1 : 37) {
		fault_disk_xor(&disk, at, 0x41);
		if (open_pool() == ST_OK) {
			taken++;
		} else {
			refused++;
			assert_true(err.text[0]);
		}
		fault_disk_xor(&disk, at, 0x41);
	}
	assert_true(refused > 500);
	assert_true(taken > 500);
	reopen();
}

#define DIRECTORYS 0xd1d1u /* stands for the directory's block */

/* Fields that are wrong under good checksums. */
static void wrong_fields(void **state)
{
	static const struct {
		unsigned page; /* 0: directory, 1: root, 2: node, 3: leaf */
		unsigned at;
		uint64_t value;
		unsigned bytes;
		const char *words;
	} cases[] = {
		{0, 0, 99, 8, "number is wrong"}, {0, 8, 7, 8, "number is wrong"}, {0, 16, 5, 8, "size is wrong"},
		{0, 16, 0, 8, "size is wrong"}, {0, 16, 1ull << 41, 8, "size is wrong"}, {0, 32, 0, 4, "state is wrong"},
		{0, 32, LAYER_FILLING, 4, "state is wrong"}, {0, 32, 6, 4, "state is wrong"}, {0, 32, LAYER_MERGING, 4, "has not one child"}, {0, 36, 1, 4, "nothing belongs"},
		{0, 40, 1u << 20, 4, "behind the metadata"}, {0, 44, 1, 4, "checksum is wrong"},
		{0, 48, 1u << 30, 8, "later generation"}, {0, 56, ' ', 1, "names are wrong"}, {0, 56, 0, 1, "names are wrong"},
		{0, 60, 'x', 1, "names are wrong"}, {0, 190, 1, 1, "nothing belongs"}, {0, 256 + 8, 1, 8, "not empty"},
		{0, 16, 4096, 8, "behind its end"}, {1, 0, DIRECTORYS, 4, "somebody's already"}, {1, 16 + 4, 1, 4, "neither empty"},
		{2, 0, 0xffffffff, 4, "behind the metadata"}, {2, 8, 1u << 30, 8, "later generation"},
		{2, 4, 0, 4, "checksum is wrong"}, {3, 0, 4000, 4, "behind the last"}, {3, 16, 1, 4, "somebody's already"},
		{3, 0, 0, 4, "in no cluster"}, {3, 6, 1, 2, "valid and zero"}, {3, 8, 1, 8, "without the feature"},
	};
	uint8_t *good = malloc(DISK_BYTES);
	struct block_device *d = create("v", 32 * MIB, false);

	(void)state;
	must(run(d, BLOCK_WRITE, 0, 2 * 65536, data));
	must(run(d, BLOCK_FLUSH, 0, 0, NULL));
	memcpy(good, disk.view, DISK_BYTES);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t *page[4], *super = disk.view + pool->super.generation % 2 * 4096;
		struct super s;
		uint64_t value;

		memcpy(disk.view, good, DISK_BYTES);
		assert_int_equal(layer_super_decode(super, &s), ST_OK);
		page[0] = disk.view + (META_FIRST + s.directory[0].block - 1) * 4096ull;
		page[1] = disk.view + (META_FIRST + get_le32(page[0] + 40) - 1) * 4096ull;
		for (unsigned k = 2; k < 4; k++)
			page[k] = disk.view + (META_FIRST + get_le32(page[k - 1]) - 1) * 4096ull;
		value = cases[i].value == DIRECTORYS ? s.directory[0].block : cases[i].value;
		memcpy(page[cases[i].page] + cases[i].at, &value, cases[i].bytes);
		/* Checksums from here up are made right. */
		for (unsigned k = cases[i].page; k > 0; k--)
			put_le32(k == 1 ? page[0] + 44 : page[k - 1] + 4, page_crc(page[k]));
		s.directory[0].crc = page_crc(page[0]);
		layer_super_encode(&s, super);
		assert_says(open_pool(), ST_CORRUPT, cases[i].words);
	}
	free(good);
}

/* Each request of a course of writes, flushes and operations fails in turn; what was acknowledged is there after. */
static void each_request_fails(void **state)
{
	(void)state;
	for (unsigned n = 1; n < 80; n++) {
		bool first = false, second = false, snapped = false;
		struct block_device *d;

		memset(disk.view, 0, DISK_BYTES);
		must(layer_pool_format(&range, n, &err));
		reopen();
		d = create("v", 4 * MIB, true);
		disk.fail_from = disk.requests + n;
		disk.fail_count = 1;
		if (run(d, BLOCK_WRITE, 4096 - 512, 40960, data) == ST_OK)
			first = run(d, BLOCK_FLUSH, 0, 0, NULL) == ST_OK;
		if (first)
			snapped = finish(layer_snapshot(pool, "v", "s", &op, &err)) == ST_OK;
		if (snapped && run(d, BLOCK_WRITE, 8192, 8192, data + 99) == ST_OK)
			second = run(d, BLOCK_FLUSH, 0, 0, NULL) == ST_OK;
		if (second && finish(layer_merge(pool, "s", &op, &err)) == ST_OK && n > 60) {
			disk.fail_from = 0;
			break;
		}
		disk.fail_from = 0;
		reopen();
		d = open_layer("v", &base.device);
		if (first)
			assert_holds(d, 4096 - 512, data, 4096 + 512);
		if (first && !snapped)
			assert_holds(d, 8192, data + 4096 + 512, 8192);
		if (second)
			assert_holds(d, 8192, data + 99, 8192);
		assert_holds(d, 0, base_memory, 4096 - 512);
		for (unsigned i = 0; !layer_pool_is_idle(pool) && i < 1000; i++)
			layer_pool_poll(pool);
		assert_true(layer_pool_is_idle(pool));
		if (second)
			assert_holds(d, 8192, data + 99, 8192);
	}
}

static void a_disk_that_fails_writes(void **state)
{
	struct block_device *d = create("v", 4 * MIB, false);

	(void)state;
	must(run(d, BLOCK_WRITE, 0, 8192, data));
	must(run(d, BLOCK_FLUSH, 0, 0, NULL));
	disk.fail_writes = true;
	assert_says(run(d, BLOCK_WRITE, 0, 4096, data), ST_IO, "made to fail");
	assert_true(stats().writable); /* a sector's trouble is the guest's to see */
	disk.fail_writes = false;
	must(run(d, BLOCK_WRITE, 65536, 4096, data));
	disk.fail_flushes = true;
	assert_says(run(d, BLOCK_FLUSH, 0, 0, NULL), ST_IO, "made to fail");
	assert_false(stats().writable); /* what the medium holds is not known any more */
	disk.fail_flushes = false;
	assert_says(run(d, BLOCK_WRITE, 0, 4096, data), ST_IO, "made to fail");
	assert_says(run(d, BLOCK_FLUSH, 0, 0, NULL), ST_IO, "made to fail");
	assert_says(layer_create(pool, "w", MIB, NULL, &op, &err), ST_DENIED, "read-only");
	assert_holds(d, 0, data, 8192);
	disk.gone = true;
	assert_says(run(d, BLOCK_READ, 0, 4096, back), ST_IO, "gone");
}

static void a_disk_with_garbage(void **state)
{
	struct block_device *d = create("v", 4 * MIB, false);

	(void)state;
	must(run(d, BLOCK_WRITE, 0, 8192, data));
	must(run(d, BLOCK_FLUSH, 0, 0, NULL));
	reopen();
	d = open_layer("v", NULL);
	disk.garbage = true;
	assert_says(run(d, BLOCK_READ, 0, 4096, back), ST_CORRUPT, "the checksum is wrong");
	disk.garbage = false;
	assert_says(open_pool(), ST_CORRUPT, "checksum");
}

/* Nothing that a request still reads, or writes, is given to anybody else. */
static void late_requests_keep_their_clusters(void **state)
{
	struct io_segment s = {back, 4096};
	struct block_request r = {.op = BLOCK_READ, .lba = 0, .count = 8, .segments = &s, .segment_count = 1};
	struct block_device *a = create("a", MIB, false), *b = create("b", 64 * MIB, false);
	uint64_t at = 0;

	(void)state;
	must(run(a, BLOCK_WRITE, 0, 65536, data));
	must(run(a, BLOCK_FLUSH, 0, 0, NULL));
	a->ops->submit(a, &r);
	assert_int_equal(disk.held_count, 1);
	/* The disk takes its time with this one. */
	list_remove(&r.link);
	disk.held_count--;
	must(run(a, BLOCK_DISCARD, 0, 65536, NULL));
	must(run(a, BLOCK_FLUSH, 0, 0, NULL));
	while (at < (stats().clusters - 1) * 65536ull && run(b, BLOCK_WRITE, at, 65536, data + 50) == ST_OK)
		at += 65536;
	assert_int_equal(stats().clusters_free, 0);
	assert_int_equal(at / 65536, stats().clusters - 1);
	/* Now it is done, and reads what it was to read. */
	list_push_back(&disk.held, &r.link);
	disk.held_count++;
	while (!r.done)
		layer_pool_poll(pool);
	assert_memory_equal(back, data, 4096);
	while (layer_pool_poll(pool))
		continue;
	must(run(b, BLOCK_WRITE, at, 65536, data));
	assert_int_equal(stats().clusters_free, 0);
}

/* A commit for somebody else begins at each moment of a deletion, which has to wait for pages that this one writes. */
static void a_deletion_among_commits(void **state)
{
	struct block_device *a, *b;
	unsigned polls = 100;

	(void)state;
	for (unsigned at = 0; at < polls; at++) {
		struct io_segment s = {back, 4096};
		struct block_request w = {.op = BLOCK_WRITE, .count = 8, .segments = &s, .segment_count = 1},
				     f = {.op = BLOCK_FLUSH};

		a = create("a", 32 * MIB, false);
		must(run(a, BLOCK_WRITE, 0, 4096, data));
		must(run(a, BLOCK_WRITE, 16 * MIB, 4096, data));
		b = create("b", MIB, false);
		must(run(b, BLOCK_FLUSH, 0, 0, NULL));
		close_layer(a);
		close_layer(b);
		reopen(); /* leaves are loaded one by one */
		b = open_layer("b", NULL);
		b->ops->submit(b, &w);
		must(layer_delete(pool, "a", &op, &err));
		for (polls = 0; !op.done && polls < 1000; polls++) {
			if (polls == at)
				b->ops->submit(b, &f);
			layer_pool_poll(pool);
		}
		while (!w.done || (polls > at && !f.done))
			layer_pool_poll(pool);
		assert_true(op.done);
		must(op.status);
		close_layer(b);
		must(finish(layer_delete(pool, "b", &op, &err)));
	}
}

/* A snapshot waits for what is under way, and holds what comes meanwhile. */
static void a_snapshot_among_requests(void **state)
{
	static struct block_request r[12];
	static struct io_segment s[12];
	struct block_device *d = create("v", 4 * MIB, false), *other = create("w", 4 * MIB, false);

	(void)state;
	must(run(d, BLOCK_WRITE, 0, 65536, data));
	must(run(other, BLOCK_WRITE, 0, 65536, data));
	for (unsigned i = 0; i < 12; i++) {
		s[i] = (struct io_segment){data + 100 + i, 4096};
		r[i] = (struct block_request){.op = BLOCK_WRITE, .lba = i % 4 * 8, .count = 8, .segments = &s[i], .segment_count = 1};
		if (i == 8)
			must(layer_snapshot(pool, "v", "s", &op, &err));
		/* Four before the snapshot in place, four on new blocks; four behind it, which are the child's. */
		if (i >= 4 && i < 8)
			r[i].lba += 200;
		d->ops->submit(d, &r[i]);
	}
	assert_false(r[11].done);
	/* Another volume is not held. */
	must(run(other, BLOCK_WRITE, 0, 4096, data + 9));
	must(finish(ST_OK));
	for (unsigned i = 0; i < 12; i++) {
		while (!r[i].done)
			layer_pool_poll(pool);
		assert_int_equal(r[i].status, ST_OK);
	}
	for (unsigned i = 0; i < 4; i++)
		assert_holds(d, i * 4096, data + 108 + i, 4096);
	d = open_layer("s", NULL);
	for (unsigned i = 0; i < 4; i++) {
		assert_holds(d, i * 4096, data + 100 + i, 4096);
		assert_holds(d, (200 + i * 8) * 512, data + 104 + i, 4096);
	}
}

static void sectors_of_4096(void **state)
{
	struct block_device *d;

	(void)state;
	teardown(NULL);
	make_pool(DISK_BYTES, 4096);
	d = create("v", 4 * MIB, true);
	assert_int_equal(d->sector_bytes, 4096);
	must(run(d, BLOCK_WRITE, 4096, 8192, data));
	must(run(d, BLOCK_FLUSH, 0, 0, NULL));
	assert_holds(d, 0, base_memory, 4096);
	assert_holds(d, 4096, data, 8192);
	assert_holds(d, 12288, base_memory + 12288, 65536);
}

static void many_at_a_time(void **state)
{
	static struct block_request r[64];
	static struct io_segment s[64];
	struct block_device *d = create("v", 32 * MIB, true);

	(void)state;
	for (unsigned i = 0; i < 64; i++) {
		s[i] = (struct io_segment){data + i * 512, 4096};
		r[i] = (struct block_request){.op = BLOCK_WRITE, .lba = i * 24, .count = 8, .segments = &s[i], .segment_count = 1};
		assert_int_equal(block_check(d, &r[i], &err), ST_OK);
		d->ops->submit(d, &r[i]);
	}
	assert_true(d->ops->cancel(d, &r[63]));
	assert_false(d->ops->cancel(d, &r[0]));
	for (unsigned i = 0; i < 63; i++)
		while (!r[i].done)
			layer_pool_poll(pool);
	assert_false(r[63].done);
	assert_true(disk.held_most > 8);
	for (unsigned i = 0; i < 63; i++)
		assert_holds(d, i * 24 * 512, data + i * 512, 4096);
}

static void space_of_any_size(void **state)
{
	static const uint32_t counts[] = {1, 63, 64, 65, 4096, 4097, 300000};
	uint32_t piece;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
		uint32_t n = counts[i], most = n + n / 2;
		void *bits = calloc(1, space_bytes(most));
		struct space s;

		space_init(&s, bits, n, most);
		assert_false(space_take(&s, &piece));
		space_give_all(&s);
		assert_int_equal(s.free, n);
		for (uint32_t k = 0; k < n; k++) {
			assert_true(space_take(&s, &piece));
			assert_int_equal(piece, k);
		}
		assert_false(space_take(&s, &piece));
		space_give(&s, n / 2);
		if (n > 1)
			space_give(&s, n - 1 == n / 2 ? 0 : n - 1);
		space_claim(&s, n / 2);
		assert_int_equal(s.free, n > 1);
		assert_int_equal(space_extend(&s, UINT32_MAX), most - n);
		assert_int_equal(s.count, most);
		assert_int_equal(s.free, most - n + (n > 1));
		free(bits);
	}
}

static void give_up(const char *text)
{
	fprintf(stderr, "%s\n", text);
	abort();
}

int main(void)
{
#define WITH_POOL(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(space_of_any_size),
		WITH_POOL(reads_and_writes),
		WITH_POOL(a_small_write_copies_little),
		WITH_POOL(a_clone_writes_two_blocks),
		WITH_POOL(snapshots_stay),
		WITH_POOL(names_of_any_length),
		WITH_POOL(merging),
		WITH_POOL(deleting_frees),
		WITH_POOL(long_discards),
		WITH_POOL(full_and_freed_and_grown),
		WITH_POOL(growing),
		WITH_POOL(full_of_metadata),
		WITH_POOL(refusals),
		WITH_POOL(one_operation_at_a_time),
		WITH_POOL(resizing),
		WITH_POOL(superblocks), WITH_POOL(a_layer_that_is_filled),
		WITH_POOL(damage_everywhere),
		WITH_POOL(wrong_fields),
		WITH_POOL(each_request_fails),
		WITH_POOL(a_disk_that_fails_writes),
		WITH_POOL(a_disk_with_garbage),
		WITH_POOL(late_requests_keep_their_clusters),
		WITH_POOL(a_deletion_among_commits),
		WITH_POOL(a_snapshot_among_requests),
		WITH_POOL(sectors_of_4096),
		WITH_POOL(many_at_a_time),
	};

	panic_set_handler(give_up);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
