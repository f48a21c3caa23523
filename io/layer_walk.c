/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk over all metadata when a pool is opened: the directory and every page
 * below it, one at a time. It marks what they use, which is how free space is
 * known, and no page that contradicts another, or itself, is found only when a
 * guest needs it.
 */
#include <string.h>

#include "io/layer_internal.h"

/* ---- the walk over all metadata ---- */

static enum status claim(const struct layer_pool *p, struct space *s, uint32_t number, const char *what, const char *layer,
			 struct error *err)
{
	if (number <= s->count && space_is_free(s, number - 1)) {
		space_claim(s, number - 1);
		return ST_OK;
	}
	return fail(err, ST_CORRUPT, "%s: layer '%s' has %s %u, which is somebody's already", p->range.device->name, layer,
		    what, number);
}

/* Reads the page of @e into the cache's page @at, where nothing else is yet. */
static enum status read_page(struct layer_pool *p, const struct node_entry *e, unsigned at, enum page_kind kind,
			     const char *layer, struct error *err)
{
	void *bytes = p->pages[at].bytes;
	uint64_t byte = ((uint64_t)META_FIRST + e->block - 1) * LAYER_BLOCK_BYTES;
	enum status st = claim(p, &p->meta, e->block, "block", layer, err);
	const char *fault;

	if (st == ST_OK)
		st = pool_io(&p->range, BLOCK_READ, byte, bytes, LAYER_BLOCK_BYTES, err);
	if (st != ST_OK)
		return st;
	fault = page_crc(bytes) != e->crc ? "the checksum is wrong" : layer_page_fault(bytes, kind, &p->super);
	if (!fault)
		return ST_OK;
	return fail(err, ST_CORRUPT, "%s: metadata block %u of layer '%s': %s", p->range.device->name, e->block, layer, fault);
}

static enum status walk_leaf(struct layer_pool *p, struct record *r, const struct node_entry *e, uint32_t index,
			     struct error *err)
{
	enum status st = read_page(p, e, 3, PAGE_LEAF, r->name, err);
	const struct leaf_entry *leaf = p->pages[3].leaf;

	for (unsigned i = 0; i < FANOUT && st == ST_OK; i++) {
		if (!leaf[i].cluster && !leaf[i].zero)
			continue;
		if ((uint64_t)(index + i) * LAYER_CLUSTER_BYTES >= r->bytes)
			return fail(err, ST_CORRUPT, "%s: layer '%s' has something behind its end", p->range.device->name,
				    r->name);
		if (!leaf[i].cluster)
			continue;
		r->clusters++;
		st = claim(p, &p->clusters, leaf[i].cluster, "cluster", r->name, err);
	}
	return st;
}

static enum status walk_node(struct layer_pool *p, struct record *r, const struct node_entry *e, uint32_t index,
			     struct error *err)
{
	enum status st = read_page(p, e, 2, PAGE_NODE, r->name, err);

	for (unsigned i = 0; i < FANOUT && st == ST_OK; i++)
		if (p->pages[2].node[i].block)
			st = walk_leaf(p, r, &p->pages[2].node[i], index + i * FANOUT, err);
	return st;
}

static enum status walk_layer(struct layer_pool *p, struct record *r, struct error *err)
{
	enum status st = r->root.block ? read_page(p, &r->root, 1, PAGE_ROOT, r->name, err) : ST_OK;

	for (unsigned i = 0; r->root.block && i < FANOUT && st == ST_OK; i++)
		if (p->pages[1].node[i].block)
			st = walk_node(p, r, &p->pages[1].node[i], i * FANOUT * FANOUT, err);
	return st;
}

/* ---- the directory ---- */

static enum status read_directory(struct layer_pool *p, struct error *err)
{
	for (unsigned b = 0; b < DIRECTORY_BLOCKS; b++) {
		const struct node_entry *e = &p->super.directory[b];
		const uint8_t *bytes = p->pages[1].bytes;
		const char *name = p->range.device->name;
		enum status st = ST_OK;

		memset(p->pages[1].bytes, 0, LAYER_BLOCK_BYTES);
		if (e->block)
			st = claim(p, &p->meta, e->block, "block", "(directory)", err);
		if (e->block && st == ST_OK)
			st = pool_io(&p->range, BLOCK_READ, ((uint64_t)META_FIRST + e->block - 1) * LAYER_BLOCK_BYTES,
				     p->pages[1].bytes, LAYER_BLOCK_BYTES, err);
		if (st != ST_OK)
			return st;
		if (e->block && page_crc(bytes) != e->crc)
			return fail(err, ST_CORRUPT, "%s: the checksum of block %u, of the directory, is wrong", name, e->block);
		for (unsigned i = 0; i < RECORDS_PER_BLOCK; i++) {
			struct record *r = &p->records[b * RECORDS_PER_BLOCK + i];
			const char *fault = layer_record_decode(bytes + i * RECORD_BYTES, &p->super, r);

			if (fault)
				return fail(err, ST_CORRUPT, "%s: %s, the %uth", name, fault, b * RECORDS_PER_BLOCK + i);
		}
	}
	return ST_OK;
}

/* What is wrong with record @i among the others, NULL: nothing. Finds its parent. */
static const char *tie_record(struct layer_pool *p, unsigned i)
{
	struct record *r = &p->records[i];

	for (unsigned k = 0; k < LAYER_MAX; k++) {
		const struct record *other = &p->records[k];

		if (!other->id || k == i)
			continue;
		if (other->id == r->id || strcmp(other->name, r->name) == 0)
			return "is there twice";
		if (other->id == r->parent_id)
			r->parent = (uint8_t)k;
	}
	return r->parent_id && r->parent == NO_RECORD ? "has no parent" : NULL;
}

static const char *family_fault(const struct layer_pool *p, unsigned i)
{
	unsigned child, children = record_children(p, i, &child);
	const struct record *r = &p->records[i];

	if (record_depth(p, i) > LAYER_DEPTH_MAX)
		return "stands on too many";
	if (children > 0 && (r->state == LAYER_LIVE || r->state == LAYER_DELETING || r->state == LAYER_FILLING))
		return "has children";
	if (children != 1 && r->state == LAYER_MERGING)
		return "has not one child to be merged into";
	if (r->parent != NO_RECORD && p->records[r->parent].bytes > r->bytes)
		return "is smaller than its parent";
	return NULL;
}

static enum status tie_directory(struct layer_pool *p, struct error *err)
{
	const char *fault = NULL;
	unsigned at = 0;

	for (unsigned turn = 0; turn < 2 && !fault; turn++)
		for (unsigned i = 0; i < LAYER_MAX && !fault; i++) {
			at = i;
			if (p->records[i].id)
				fault = turn == 0 ? tie_record(p, i) : family_fault(p, i);
		}
	if (fault)
		return fail(err, ST_CORRUPT, "%s: layer '%s' %s", p->range.device->name, p->records[at].name, fault);
	return ST_OK;
}

enum status pool_walk(struct layer_pool *p, struct error *err)
{
	enum status st = read_directory(p, err);

	if (st == ST_OK)
		st = tie_directory(p, err);
	for (unsigned i = 0; i < LAYER_MAX && st == ST_OK; i++)
		if (p->records[i].id)
			st = walk_layer(p, &p->records[i], err);
	return st;
}
