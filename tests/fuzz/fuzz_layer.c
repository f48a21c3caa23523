/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools of layers with anything in their metadata. The input is a list of changes
 * to a good pool, each with the choice to make all checksums above it right again, so
 * that the fields behind them are reached as well. Such a pool is refused with a
 * sentence, or it keeps its rules while its layers are read, written to, merged and
 * deleted, and is a good one afterwards.
 */
#include <stdlib.h>
#include <string.h>

#include "io/layer_internal.h"
#include "lib/crc32c.h"
#include "tests/fakes/fault_disk.h"

#define DISK_BYTES (6u << 20)
#define UNIT 512u
#define PAGES 32u

static struct fault_disk disk;
static struct block_range range;
static uint8_t *good;
static void *memory;
static size_t memory_bytes;
static struct layer_pool *pool;
static struct layer_op op;
static struct error err;
static uint8_t data[65536], back[65536];
/* Checksums made right for this input, by level. What leads in circles is mended once: it is refused in any case. */
#define LEVELS 4u
static uint32_t mended[LEVELS][DISK_BYTES / LAYER_BLOCK_BYTES];
static bool is_mended[LEVELS][DISK_BYTES / LAYER_BLOCK_BYTES];

static void must(bool good_so_far)
{
	if (!good_so_far)
		abort();
}

static void crash(const char *text)
{
	(void)text;
	abort();
}

static enum status finish(enum status st)
{
	for (unsigned i = 0; st == ST_OK && !op.done; i++) {
		layer_pool_poll(pool);
		must(i < 100000);
	}
	return st == ST_OK ? op.status : st;
}

static enum status run(struct layer *l, enum block_op kind, uint64_t byte, uint64_t bytes, void *buf)
{
	struct block_device *d = layer_device(l);
	struct block_range all = {d, 0, d->sectors};

	return block_run(&all, kind, byte / UNIT, bytes / UNIT, buf, &err);
}

static enum status open_pool(void)
{
	err.text[0] = '\0';
	return layer_pool_open(&range, memory, memory_bytes, PAGES, &pool, &err);
}

static void make_good_pool(void)
{
	struct layer *l;

	panic_set_handler(crash);
	fault_disk_init(&disk, DISK_BYTES, UNIT);
	range = fault_disk_range(&disk);
	memory_bytes = layer_pool_memory(&range, PAGES);
	memory = aligned_alloc(4096, align_up(memory_bytes, 4096));
	memset(data, 0x5a, sizeof data);
	must(layer_pool_format(&range, 1, &err) == ST_OK && open_pool() == ST_OK);
	must(finish(layer_create(pool, "a", 40u << 20, NULL, &op, &err)) == ST_OK);
	must(layer_open(pool, "a", NULL, &l, &err) == ST_OK);
	must(run(l, BLOCK_WRITE, 0, 65536, data) == ST_OK && run(l, BLOCK_WRITE, 20u << 20, 4096, data) == ST_OK);
	must(finish(layer_snapshot(pool, "a", "s", &op, &err)) == ST_OK);
	must(run(l, BLOCK_WRITE, 4096, 8192, data) == ST_OK && run(l, BLOCK_DISCARD, 20u << 20, 65536, NULL) == ST_OK);
	must(finish(layer_create(pool, "b", 1u << 20, NULL, &op, &err)) == ST_OK);
	must(run(l, BLOCK_FLUSH, 0, 0, NULL) == ST_OK);
	good = malloc(DISK_BYTES);
	memcpy(good, disk.view, DISK_BYTES);
}

static uint8_t *block_at(uint32_t block)
{
	uint64_t at = ((uint64_t)META_FIRST + block - 1) * LAYER_BLOCK_BYTES;

	return block && at + LAYER_BLOCK_BYTES <= DISK_BYTES ? disk.view + at : NULL;
}

static void mend(uint8_t *p, unsigned first, unsigned stride, unsigned count, unsigned levels);

/* The checksum of @p, a block with @levels levels below, once those are right. */
static uint32_t right_crc(uint8_t *p, unsigned levels)
{
	size_t block = (size_t)(p - disk.view) / LAYER_BLOCK_BYTES;

	if (is_mended[levels][block])
		return mended[levels][block];
	is_mended[levels][block] = true;
	mended[levels][block] = 0; /* for who leads back here */
	if (levels == 3)
		mend(p, 40, RECORD_BYTES, RECORDS_PER_BLOCK, 2);
	else if (levels > 0)
		mend(p, 0, 16, FANOUT, levels - 1);
	return mended[levels][block] = page_crc(p);
}

/* Right checksums below @p, a page or the directory of entries @stride apart, of @levels more levels. */
static void mend(uint8_t *p, unsigned first, unsigned stride, unsigned count, unsigned levels)
{
	for (unsigned i = 0; i < count; i++) {
		uint8_t *e = p + first + i * stride, *below = block_at(get_le32(e));

		if (below)
			put_le32(e + 4, right_crc(below, levels));
	}
}

static void mend_all(void)
{
	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		uint8_t *p = disk.view + i * LAYER_BLOCK_BYTES;
		struct super s;

		/* The page counts up from the leaves: nothing is mended twice in a row that leads back to itself. */
		mend(p, 64, 16, DIRECTORY_BLOCKS, 3);
		if (layer_super_decode(good + i * LAYER_BLOCK_BYTES, &s) == ST_OK)
			put_le32(p + SUPER_BYTES - 4, crc32c(0, p, SUPER_BYTES - 4));
	}
}

/* Changes: block of the metadata, 0 and 1 the superblocks (1 byte), offset (2), count (1), bytes. */
static void change(const uint8_t *in, size_t size)
{
	while (size >= 4) {
		uint32_t block = in[0] % 66, at = get_le16(in + 1) % LAYER_BLOCK_BYTES, count = in[3];
		uint8_t *p = disk.view + (block < 2 ? block : META_FIRST + block - 2) * LAYER_BLOCK_BYTES;

		in += 4;
		size -= 4;
		count = (uint32_t)MIN(MIN((size_t)count, size), (size_t)(LAYER_BLOCK_BYTES - at));
		memcpy(p + at, in, count);
		in += count;
		size -= count;
	}
}

static void use_layer(const char *name, bool writes)
{
	static const uint64_t places[] = {0, 4096, 20u << 20, (20u << 20) + 65536, 39u << 20};
	struct layer *l;

	if (layer_open(pool, name, NULL, &l, &err) != ST_OK) {
		must(err.text[0]);
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		uint64_t at = places[i] % (layer_device(l)->sectors * UNIT);
		uint64_t bytes = MIN(8192, layer_device(l)->sectors * UNIT - at);

		must(run(l, BLOCK_READ, at, bytes, back) == ST_OK);
		if (!writes || layer_device(l)->read_only)
			continue;
		if (run(l, BLOCK_WRITE, at, bytes, data) != ST_OK)
			must(err.text[0]);
		must(layer_pool_check(pool, &err));
	}
	must(run(l, BLOCK_FLUSH, 0, 0, NULL) == ST_OK);
	layer_close(l);
}

static void use(void)
{
	struct layer_info info;
	unsigned next = 0;

	must(layer_pool_check(pool, &err));
	while (layer_list(pool, next, &info, &next) == ST_OK)
		use_layer(info.name, true);
	for (unsigned i = 0; i < 1000 && !layer_pool_is_idle(pool); i++)
		layer_pool_poll(pool);
	must(layer_pool_is_idle(pool));
	for (next = 0; layer_list(pool, next, &info, &next) == ST_OK;) {
		enum status st = finish(info.children == 1 ? layer_merge(pool, info.name, &op, &err) :
							     layer_delete(pool, info.name, &op, &err));

		must(layer_pool_check(pool, &err));
		if (st == ST_OK)
			next = 0;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *in, size_t size)
{
	if (!good)
		make_good_pool();
	if (size < 1)
		return 0;
	memcpy(disk.view, good, DISK_BYTES);
	list_init(&disk.held);
	disk.held_count = 0;
	change(in + 1, size - 1);
	memset(is_mended, 0, sizeof is_mended);
	if (in[0] & 1)
		mend_all();
	if (open_pool() != ST_OK) {
		must(err.text[0]);
		return 0;
	}
	use();
	must(open_pool() == ST_OK);
	must(layer_pool_check(pool, &err));
	return 0;
}
