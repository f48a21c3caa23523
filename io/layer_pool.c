/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools: their memory, made, opened, driven and grown. All that a pool needs lies in
 * one piece of memory, laid out by one function that also says how large it is.
 */
#include <string.h>

#include "io/layer_internal.h"
#include "lib/checked.h"
#include "lib/format.h"

#define ALIGN 64u
#define GROW_FACTOR 2u /* memory is laid out for a range that gets so many times as large */

/* ---- geometry ---- */

struct geometry {
	uint64_t data_first; /* bytes */
	uint32_t meta_blocks, clusters;
};

static uint64_t range_bytes(const struct block_range *range) { return range->count * range->device->sector_bytes; }

static uint64_t data_first(uint32_t meta_blocks)
{
	return align_up(((uint64_t)META_FIRST + meta_blocks) * LAYER_BLOCK_BYTES, LAYER_CLUSTER_BYTES);
}

static bool make_geometry(const struct block_range *range, struct geometry *out)
{
	uint64_t bytes = range_bytes(range), blocks = bytes / LAYER_BLOCK_BYTES / META_SHARE, clusters;

	if (bytes < LAYER_POOL_BYTES_MIN)
		return false;
	out->meta_blocks = (uint32_t)MIN(MAX(blocks, (uint64_t)META_BLOCKS_MIN), (uint64_t)SPACE_MAX);
	out->data_first = data_first(out->meta_blocks);
	clusters = (bytes - out->data_first) / LAYER_CLUSTER_BYTES;
	out->clusters = (uint32_t)MIN(clusters, (uint64_t)SPACE_MAX);
	return clusters <= SPACE_MAX;
}

/* ---- memory ---- */

/* Where the parts of a pool are, one after the other from @base; NULL: only to see how much they take. */
struct layout {
	uint8_t *base;
	size_t used;
	struct layer_pool *pool;
	struct page *pages;
	uint8_t *bytes;   /* of the pages */
	uint16_t *child;  /* likewise */
	uint8_t *buffers; /* jobs', the worker's, the superblock, the directory */
	uint32_t *freed[2];
	void *meta, *clusters;
};

static void *part(struct layout *l, size_t bytes, size_t align)
{
	size_t at = align_up(l->used, align);

	l->used = at + bytes;
	return l->base ? l->base + at : NULL;
}

static uint32_t most_clusters(uint32_t clusters)
{
	return (uint32_t)MIN((uint64_t)clusters * GROW_FACTOR, (uint64_t)SPACE_MAX);
}

#define BUFFERS (JOBS + 1 + 1 + DIRECTORY_BLOCKS)

static struct layout lay_out(void *base, uint32_t pages, const struct geometry *g)
{
	struct layout l = {.base = base};
	size_t freed = (FREED_BY_JOBS + pages + DIRECTORY_BLOCKS + 1) * sizeof(uint32_t);

	l.pool = part(&l, sizeof *l.pool, LAYER_BLOCK_BYTES);
	l.pages = part(&l, pages * sizeof *l.pages, ALIGN);
	l.bytes = part(&l, (size_t)pages * LAYER_BLOCK_BYTES, LAYER_BLOCK_BYTES);
	l.child = part(&l, (size_t)pages * FANOUT * sizeof *l.child, ALIGN);
	l.buffers = part(&l, (size_t)BUFFERS * LAYER_BLOCK_BYTES, LAYER_BLOCK_BYTES);
	for (unsigned i = 0; i < 2; i++)
		l.freed[i] = part(&l, freed, ALIGN);
	l.meta = part(&l, space_bytes(g->meta_blocks), ALIGN);
	l.clusters = part(&l, space_bytes(most_clusters(g->clusters)), ALIGN);
	return l;
}

/* The pool with its parts in their places, and nothing in them. */
static struct layer_pool *put_together(const struct layout *l, uint32_t pages, const struct geometry *g)
{
	struct layer_pool *p = l->pool;
	uint8_t *buffer = l->buffers;

	memset(p, 0, sizeof *p);
	memset(l->pages, 0, pages * sizeof *l->pages);
	memset(l->meta, 0, space_bytes(g->meta_blocks));
	memset(l->clusters, 0, space_bytes(most_clusters(g->clusters)));
	p->pages = l->pages;
	p->page_count = pages;
	for (uint32_t i = 0; i < pages; i++) {
		p->pages[i].bytes = l->bytes + (size_t)i * LAYER_BLOCK_BYTES;
		p->pages[i].child = l->child + (size_t)i * FANOUT;
	}
	for (unsigned i = 0; i < JOBS; i++, buffer += LAYER_BLOCK_BYTES)
		p->jobs[i].buffer = buffer;
	p->worker.buffer = buffer;
	p->commit.super = buffer += LAYER_BLOCK_BYTES;
	for (unsigned i = 0; i < DIRECTORY_BLOCKS; i++)
		p->commit.blocks[i] = buffer += LAYER_BLOCK_BYTES;
	for (unsigned i = 0; i < 2; i++)
		p->freed[i].piece = l->freed[i];
	space_init(&p->meta, l->meta, g->meta_blocks, g->meta_blocks);
	space_init(&p->clusters, l->clusters, g->clusters, most_clusters(g->clusters));
	space_give_all(&p->meta);
	space_give_all(&p->clusters);
	return p;
}

size_t layer_pool_memory(const struct block_range *range, uint32_t cache_pages)
{
	struct geometry g;

	if (!make_geometry(range, &g) || cache_pages < LAYER_CACHE_MIN || cache_pages > LAYER_CACHE_MAX)
		return 0;
	/* A pool that has grown has less metadata and more clusters than one made for the range as it is now. */
	g.clusters = (uint32_t)MIN(range_bytes(range) / LAYER_CLUSTER_BYTES, (uint64_t)SPACE_MAX);
	return lay_out(NULL, cache_pages + 1, &g).used;
}

/* ---- the medium, synchronously ---- */

enum status pool_io(const struct block_range *range, enum block_op op, uint64_t byte, void *data, uint32_t bytes,
		    struct error *err)
{
	uint32_t sector = range->device->sector_bytes;

	return block_run(range, op, byte / sector, op == BLOCK_FLUSH ? 0 : bytes / sector, data, err);
}

enum status layer_pool_format(const struct block_range *range, uint64_t id, struct error *err)
{
	struct super s = {.id = id, .next_layer = 1};
	uint8_t sector[BLOCK_SECTOR_MAX] = {0};
	struct geometry g;
	enum status st = ST_OK;

	if (!make_geometry(range, &g))
		return fail(err, ST_INVALID, "%s: a pool of layers has at least %llu MiB and at most %llu TiB",
			    range->device->name, LAYER_POOL_BYTES_MIN >> 20,
			    (unsigned long long)SPACE_MAX * LAYER_CLUSTER_BYTES >> 40);
	s.meta_blocks = g.meta_blocks;
	s.clusters = g.clusters;
	for (; s.generation < SUPER_SLOTS && st == ST_OK; s.generation++) {
		layer_super_encode(&s, sector);
		st = pool_io(range, BLOCK_WRITE, s.generation * LAYER_BLOCK_BYTES, sector, range->device->sector_bytes, err);
	}
	return st == ST_OK ? pool_io(range, BLOCK_FLUSH, 0, NULL, 0, err) : st;
}

static enum status read_supers(const struct block_range *range, struct super *out, struct error *err)
{
	uint8_t sector[BLOCK_SECTOR_MAX];
	enum status st[SUPER_SLOTS];
	struct super s[SUPER_SLOTS];
	const char *name = range->device->name;
	unsigned best;

	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		st[i] = pool_io(range, BLOCK_READ, i * LAYER_BLOCK_BYTES, sector, range->device->sector_bytes, err);
		if (st[i] == ST_OK)
			st[i] = layer_super_decode(sector, &s[i]);
	}
	for (unsigned i = 0; i < SUPER_SLOTS; i++)
		if (st[i] == ST_UNSUPPORTED)
			return fail(err, st[i], "%s: the pool needs features that are not known here: 0x%llx", name,
				    (unsigned long long)s[i].incompatible);
	if (st[0] != ST_OK && st[1] != ST_OK) {
		if (st[0] == ST_NOT_FOUND && st[1] == ST_NOT_FOUND)
			return fail(err, ST_NOT_FOUND, "%s: there is no pool of layers", name);
		if (st[0] == ST_IO && st[1] == ST_IO)
			return ST_IO;
		return fail(err, ST_CORRUPT, "%s: neither superblock of the pool is good", name);
	}
	best = st[1] == ST_OK && (st[0] != ST_OK || s[1].generation > s[0].generation);
	*out = s[best];
	return ST_OK;
}

/* ---- opening ---- */

static enum status check_super(const struct block_range *range, const struct super *s, size_t memory_bytes, uint32_t pages,
			       struct geometry *g, struct error *err)
{
	size_t wanted;

	*g = (struct geometry){data_first(s->meta_blocks), s->meta_blocks, s->clusters};
	if (!range_fits(g->data_first, (uint64_t)s->clusters * LAYER_CLUSTER_BYTES, range_bytes(range)))
		return fail(err, ST_TRUNCATED, "%s: the pool was made for %llu MiB, the range has %llu", range->device->name,
			    (unsigned long long)(g->data_first + (uint64_t)s->clusters * LAYER_CLUSTER_BYTES) >> 20,
			    (unsigned long long)range_bytes(range) >> 20);
	wanted = lay_out(NULL, pages + 1, g).used;
	if (wanted > memory_bytes)
		return fail(err, ST_NO_MEMORY, "%s: the pool takes %zu bytes of memory", range->device->name, wanted);
	return ST_OK;
}

static void init_pool(struct layer_pool *p, const struct block_range *range, const struct super *s)
{
	p->range = *range;
	p->sector_shift = bit_lowest(range->device->sector_bytes);
	p->super = *s;
	p->data_first = data_first(s->meta_blocks);
	p->cluster_shift = bit_lowest(LAYER_CLUSTER_BYTES) - p->sector_shift;
	p->block_shift = bit_lowest(LAYER_BLOCK_BYTES) - p->sector_shift;
	p->cluster_mask = (1u << p->cluster_shift) - 1;
	p->cluster_zero = range->first + (p->data_first >> p->sector_shift) - (p->cluster_mask + 1);
	p->device = range->device;
	p->immediate = range->device->immediate;
	p->came_back = came_back_even;
	p->flying_now = &p->flying[0];
	p->work = NO_RECORD;
	list_init(&p->idle);
	list_init(&p->busy);
	list_init(&p->waiting);
	list_init(&p->flushes);
	list_init(&p->commit.flushes);
	for (unsigned i = 0; i < JOBS; i++)
		list_push_back(&p->idle, &p->jobs[i].link);
	for (unsigned i = 0; i < COMMIT_WRITES; i++)
		p->commit.write[i].pool = p;
}

static void decide_writable(struct layer_pool *p)
{
	uint64_t unknown = p->super.read_only_compatible & ~FEATURES_READ_ONLY_COMPATIBLE;

	p->writable = true;
	if (p->range.device->read_only)
		format(p->stats.why_not, sizeof p->stats.why_not, "%s is read-only", p->range.device->name);
	else if (unknown)
		format(p->stats.why_not, sizeof p->stats.why_not, "features 0x%llx are not known here",
		       (unsigned long long)unknown);
	p->writable = p->stats.why_not[0] == '\0';
}

/* The next merge or deletion that was under way when the pool was closed or lost its power. */
static void take_up_work(struct layer_pool *p)
{
	for (unsigned i = 0; i < LAYER_MAX && p->writable && !p->work_failed && p->work == NO_RECORD; i++)
		if (p->records[i].id && (p->records[i].state == LAYER_MERGING || p->records[i].state == LAYER_DELETING))
			work_start(p, i);
}

enum status layer_pool_open(const struct block_range *range, void *memory, size_t memory_bytes, uint32_t cache_pages,
			    struct layer_pool **out, struct error *err)
{
	struct layer_pool *p;
	struct geometry g;
	struct layout l;
	struct super s;
	enum status st;

	if (cache_pages < LAYER_CACHE_MIN || cache_pages > LAYER_CACHE_MAX)
		return fail(err, ST_INVALID, "a pool holds %u to %u pages in memory", LAYER_CACHE_MIN, LAYER_CACHE_MAX);
	if (range->device->hooks)
		return fail(err, ST_UNSUPPORTED, "%s is a layer: a pool of layers cannot lie on it", range->device->name);
	st = read_supers(range, &s, err);
	if (st == ST_OK)
		st = check_super(range, &s, memory_bytes, cache_pages, &g, err);
	if (st != ST_OK)
		return st;
	l = lay_out(memory, cache_pages + 1, &g);
	p = put_together(&l, cache_pages + 1, &g);
	init_pool(p, range, &s);
	st = pool_walk(p, err);
	if (st != ST_OK)
		return st;
	decide_writable(p);
	take_up_work(p);
	*out = p;
	return ST_OK;
}

bool layer_pool_poll(struct layer_pool *p)
{
	struct block_device *d = p->range.device;
	bool moved = d->ops->poll(d) || p->again;

	for (unsigned i = 0; i < LAYER_MAX; i++)
		if (p->layers[i].is_open && p->layers[i].base)
			moved |= p->layers[i].base->ops->poll(p->layers[i].base);
	if (!p->op && p->work == NO_RECORD && p->again)
		take_up_work(p);
	if (p->again || p->work_yields) {
		moved = true;
		p->work_yields = false;
		pool_kick(p);
	}
	return moved;
}

bool layer_pool_is_idle(const struct layer_pool *p)
{
	return list_empty(&p->busy) && list_empty(&p->waiting) && list_empty(&p->flushes) && !p->op && p->work == NO_RECORD &&
	       p->commit.state == COMMIT_IDLE && p->commit.writing == 0 && p->flying[0] + p->flying[1] == 0;
}

enum status layer_pool_grow(struct layer_pool *p, const struct block_range *range, struct error *err)
{
	uint64_t clusters = (range_bytes(range) - p->data_first) / LAYER_CLUSTER_BYTES;
	uint32_t before = p->clusters.count, more;

	if (!p->writable)
		return fail(err, ST_DENIED, "the pool is read-only: %.180s", p->stats.why_not);
	if (range->device != p->range.device || range->first != p->range.first || range->count < p->range.count)
		return fail(err, ST_INVALID, "a pool grows at its end");
	more = space_extend(&p->clusters, (uint32_t)MIN(clusters, (uint64_t)SPACE_MAX));
	p->range = *range;
	if (more == 0)
		return ST_OK;
	p->super.clusters = before + more;
	/* The directory is as it was; the superblock is what has news. */
	p->directory_dirty |= 1;
	layer_commit_start(p);
	p->again = true;
	pool_kick(p);
	return ST_OK;
}
