/* SPDX-License-Identifier: Apache-2.0 */
/* Layers as block devices, what is said of them and of their pool, and the check for tests. */
#include <string.h>

#include "io/layer_internal.h"
#include "lib/format.h"

#define CLEAR_BYTES_MAX (8u << 20) /* of one discard: 128 clusters, done in one go when all is in memory */
#define REQUEST_BYTES_MAX (1u << 20)

static const char *base_of(const struct layer *l)
{
	return l->pool->records[l->chain[l->depth - 1]].base;
}

static enum status check_base(const struct layer_pool *p, const struct layer *l, const struct block_device *base,
			      struct error *err)
{
	const char *name = base_of(l);

	if (!base)
		return name[0] ? fail(err, ST_INVALID, "the layer stands on '%s', which is not given", name) : ST_OK;
	if (!name[0])
		return fail(err, ST_INVALID, "the layer has no base, and one is given");
	if (base->sector_bytes > p->range.device->sector_bytes)
		return fail(err, ST_INVALID, "%s has sectors of %u bytes, larger than the pool's of %u", base->name,
			    base->sector_bytes, p->range.device->sector_bytes);
	return ST_OK;
}

static const struct block_ops layer_ops = {.submit = layer_submit, .poll = layer_poll, .cancel = layer_cancel};

static void make_device(struct layer *l, const struct record *r)
{
	const struct block_device *d = l->pool->range.device;
	uint32_t sector = d->sector_bytes;

	l->device = (struct block_device){
		.ops = &layer_ops, .sector_bytes = sector, .block_bytes = LAYER_BLOCK_BYTES,
		.max_count = REQUEST_BYTES_MAX / sector,
		.max_clear = CLEAR_BYTES_MAX / sector, .sectors = r->bytes / sector,
		.read_only = (r->state != LAYER_LIVE && r->state != LAYER_FILLING) || !l->pool->writable,
		.volatile_cache = true, .discard = true,
		.write_zeroes = true, .hooks = true, .discard_sectors = LAYER_BLOCK_BYTES / sector, .relax = d->relax,
	};
	format(l->device.name, sizeof l->device.name, "%.47s", r->name);
}

static unsigned record_named(const struct layer_pool *p, const char *name)
{
	for (unsigned i = 0; i < LAYER_MAX; i++)
		if (p->records[i].id && strcmp(p->records[i].name, name) == 0)
			return i;
	return NO_RECORD;
}

static enum status check_state(const char *name, enum layer_state state, bool filling, struct error *err)
{
	if (filling)
		return state == LAYER_FILLING ? ST_OK : fail(err, ST_BAD_STATE, "layer '%s' is not being filled", name);
	if (state == LAYER_FILLING)
		return fail(err, ST_BAD_STATE, "layer '%s' is an unfinished import: delete it", name);
	if (state != LAYER_LIVE && state != LAYER_FROZEN)
		return fail(err, ST_BAD_STATE, "layer '%s' is being %s", name, state == LAYER_MERGING ? "merged" : "deleted");
	return ST_OK;
}

static enum status open_layer(struct layer_pool *p, const char *name, struct block_device *base, bool filling,
			      struct layer **out, struct error *err)
{
	unsigned record = record_named(p, name), i = 0;
	struct record *r = &p->records[record % LAYER_MAX];
	struct layer *l;
	enum status st;

	if (record == NO_RECORD)
		return fail(err, ST_NOT_FOUND, "there is no layer of that name");
	if (r->open)
		return fail(err, ST_BUSY, "layer '%s' is open already", name);
	st = check_state(name, r->state, filling, err);
	if (st != ST_OK)
		return st;
	while (p->layers[i].is_open)
		i++;
	l = &p->layers[i];
	*l = (struct layer){.pool = p, .base = base, .chain = {(uint8_t)record}};
	forget_near(l);
	make_chain(l);
	st = check_base(p, l, base, err);
	if (st != ST_OK)
		return st;
	make_device(l, r);
	l->is_open = true;
	r->open = l;
	*out = l;
	return ST_OK;
}

enum status layer_open(struct layer_pool *p, const char *name, struct block_device *base, struct layer **out,
		       struct error *err)
{
	return open_layer(p, name, base, false, out, err);
}

enum status layer_open_filling(struct layer_pool *p, const char *name, struct layer **out, struct error *err)
{
	return open_layer(p, name, NULL, true, out, err);
}

void layer_close(struct layer *l)
{
	ASSERT(l->is_open);
	l->pool->records[l->chain[0]].open = NULL;
	l->is_open = false;
}

struct block_device *layer_device(struct layer *l) { return &l->device; }

/* ---- what is said ---- */

void layer_pool_stats(const struct layer_pool *p, struct layer_pool_stats *out)
{
	*out = p->stats;
	out->id = p->super.id;
	out->generation = p->super.generation;
	out->clusters = p->clusters.count;
	out->clusters_free = p->clusters.free;
	out->meta_blocks = p->meta.count;
	out->meta_blocks_free = p->meta.free;
	out->writable = p->writable;
	out->layers = 0;
	for (unsigned i = 0; i < LAYER_MAX; i++)
		out->layers += p->records[i].id != 0;
}

static void fill_info(const struct layer_pool *p, unsigned record, struct layer_info *out)
{
	const struct record *r = &p->records[record];
	unsigned last;

	*out = (struct layer_info){.bytes = r->bytes, .own_bytes = (uint64_t)r->clusters * LAYER_CLUSTER_BYTES,
				   .state = r->state, .children = record_children(p, record, &last),
				   .depth = record_depth(p, record), .is_open = r->open != NULL};
	format(out->name, sizeof out->name, "%s", r->name);
	format(out->base, sizeof out->base, "%s", r->base);
	if (r->parent != NO_RECORD)
		format(out->parent, sizeof out->parent, "%s", p->records[r->parent].name);
}

enum status layer_list(const struct layer_pool *p, unsigned index, struct layer_info *out, unsigned *next)
{
	while (index < LAYER_MAX && !p->records[index].id)
		index++;
	if (index >= LAYER_MAX)
		return ST_NOT_FOUND;
	fill_info(p, index, out);
	*next = index + 1;
	return ST_OK;
}

enum status layer_find(const struct layer_pool *p, const char *name, struct layer_info *out, struct error *err)
{
	unsigned record = record_named(p, name);

	if (record == NO_RECORD)
		return fail(err, ST_NOT_FOUND, "there is no layer of that name");
	fill_info(p, record, out);
	return ST_OK;
}

static uint32_t count_dirty(const struct layer_pool *p)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i < p->page_count; i++)
		n += (p->pages[i].state == PAGE_READY && p->pages[i].dirty) + (p->pages[i].committing == COMMITTING);
	return n;
}

bool layer_pool_check(const struct layer_pool *p, struct error *err)
{
	uint64_t used = p->freed[0].clusters + p->freed[1].clusters;

	for (unsigned i = 0; i < LAYER_MAX; i++)
		used += p->records[i].clusters;
	if (used + p->clusters.free != p->clusters.count) {
		(void)fail(err, ST_CORRUPT, "%llu clusters in use and %u free are not %u", (unsigned long long)used,
			   p->clusters.free, p->clusters.count);
		return false;
	}
	if (p->writable && count_dirty(p) != p->owed) {
		(void)fail(err, ST_CORRUPT, "%u pages are dirty, %u blocks are owed", count_dirty(p), p->owed);
		return false;
	}
	return true;
}
