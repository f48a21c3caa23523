/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The medium's structures, as docs/storage.md has them: to bytes, and from bytes
 * with every field checked. What a superblock does not vouch for by a checksum
 * is not believed; what it does is checked all the same, for the one who wrote it
 * may have been wrong.
 */
#include <string.h>

#include "io/layer_internal.h"
#include "lib/checked.h"
#include "lib/crc32c.h"

/* Superblock. */
enum {
	S_MAGIC = 0, S_COMPATIBLE = 8, S_READ_ONLY_COMPATIBLE = 16, S_INCOMPATIBLE = 24, S_ID = 32, S_GENERATION = 40,
	S_NEXT_LAYER = 48, S_META_BLOCKS = 56, S_CLUSTERS = 60, S_DIRECTORY = 64, S_CRC = SUPER_BYTES - 4
};
/* Record. */
enum {
	R_ID = 0, R_PARENT = 8, R_BYTES = 16, R_CREATED = 24, R_STATE = 32, R_ROOT = 40, R_NAME = 56, R_BASE = 120, R_END = 184
};

static void put_entry(uint8_t *p, const struct node_entry *e) { memcpy(p, e, sizeof *e); }
static void get_entry(const uint8_t *p, struct node_entry *e) { memcpy(e, p, sizeof *e); }

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* ---- superblock ---- */

void layer_super_encode(const struct super *s, uint8_t *p)
{
	memset(p, 0, SUPER_BYTES);
	put_le64(p + S_MAGIC, SUPER_MAGIC);
	put_le64(p + S_COMPATIBLE, s->compatible);
	put_le64(p + S_READ_ONLY_COMPATIBLE, s->read_only_compatible);
	put_le64(p + S_INCOMPATIBLE, s->incompatible);
	put_le64(p + S_ID, s->id);
	put_le64(p + S_GENERATION, s->generation);
	put_le64(p + S_NEXT_LAYER, s->next_layer);
	put_le32(p + S_META_BLOCKS, s->meta_blocks);
	put_le32(p + S_CLUSTERS, s->clusters);
	for (unsigned i = 0; i < DIRECTORY_BLOCKS; i++)
		put_entry(p + S_DIRECTORY + i * sizeof s->directory[0], &s->directory[i]);
	put_le32(p + S_CRC, crc32c(0, p, S_CRC));
}

enum status layer_super_decode(const uint8_t *p, struct super *out)
{
	struct super s = {
		.compatible = get_le64(p + S_COMPATIBLE), .read_only_compatible = get_le64(p + S_READ_ONLY_COMPATIBLE),
		.incompatible = get_le64(p + S_INCOMPATIBLE), .id = get_le64(p + S_ID),
		.generation = get_le64(p + S_GENERATION), .next_layer = get_le64(p + S_NEXT_LAYER),
		.meta_blocks = get_le32(p + S_META_BLOCKS), .clusters = get_le32(p + S_CLUSTERS),
	};

	if (get_le64(p + S_MAGIC) != SUPER_MAGIC)
		return ST_NOT_FOUND;
	if (get_le32(p + S_CRC) != crc32c(0, p, S_CRC))
		return ST_CORRUPT;
	/* What an unknown incompatible feature does to the rest nobody knows. */
	*out = s;
	if (s.incompatible & ~FEATURES_INCOMPATIBLE)
		return ST_UNSUPPORTED;
	for (unsigned i = 0; i < DIRECTORY_BLOCKS; i++) {
		get_entry(p + S_DIRECTORY + i * sizeof s.directory[0], &s.directory[i]);
		if (node_fault(&s.directory[i], &s))
			return ST_CORRUPT;
	}
	if (s.meta_blocks < META_BLOCKS_MIN || s.meta_blocks > SPACE_MAX || s.clusters == 0 || s.clusters > SPACE_MAX)
		return ST_CORRUPT;
	*out = s;
	return ST_OK;
}

/* ---- entries and pages ---- */

uint32_t page_crc(const void *bytes)
{
	return crc32c(0, bytes, LAYER_BLOCK_BYTES);
}

const char *node_fault(const struct node_entry *e, const struct super *s)
{
	if (e->block == 0)
		return e->crc || e->generation ? "an entry is neither empty nor one" : NULL;
	if (e->block > s->meta_blocks)
		return "an entry points behind the metadata";
	if (e->generation > s->generation)
		return "an entry is of a later generation";
	return NULL;
}

const char *leaf_fault(const struct leaf_entry *e, const struct super *s)
{
	if (e->cluster > s->clusters)
		return "a cluster lies behind the last";
	if (e->valid && !e->cluster)
		return "blocks are valid in no cluster";
	if (e->valid & e->zero)
		return "a block is valid and zero";
	/* A checksum would go stale with the first write: who keeps them says so by a feature. */
	if (e->checksum)
		return "there is a checksum without the feature";
	return NULL;
}

const char *layer_page_fault(const void *bytes, enum page_kind kind, const struct super *s)
{
	const struct node_entry *node = bytes;
	const struct leaf_entry *leaf = bytes;
	const char *fault = NULL;

	for (unsigned i = 0; i < FANOUT && !fault; i++)
		fault = kind == PAGE_LEAF ? leaf_fault(&leaf[i], s) : node_fault(&node[i], s);
	return fault;
}

/* ---- records ---- */

void layer_record_encode(const struct record *r, uint8_t *p)
{
	memset(p, 0, RECORD_BYTES);
	if (r->id == 0)
		return;
	put_le64(p + R_ID, r->id);
	put_le64(p + R_PARENT, r->parent_id);
	put_le64(p + R_BYTES, r->bytes);
	put_le64(p + R_CREATED, r->created);
	put_le32(p + R_STATE, r->state);
	put_entry(p + R_ROOT, &r->root);
	/* Behind a name's end may be the end of a longer one that the layer had before. */
	memcpy(p + R_NAME, r->name, strlen(r->name));
	memcpy(p + R_BASE, r->base, strlen(r->base));
}

/* 1 to 63 printable characters, zeroes behind. */
static bool is_text(const uint8_t *p, bool may_be_empty)
{
	size_t len = 0;

	while (len < LAYER_NAME_MAX && p[len])
		len++;
	if (len == LAYER_NAME_MAX || (len == 0 && !may_be_empty) || !is_zero(p + len, LAYER_NAME_MAX - len))
		return false;
	for (size_t i = 0; i < len; i++)
		if (p[i] <= ' ' || p[i] > '~')
			return false;
	return true;
}

const char *layer_record_decode(const uint8_t *p, const struct super *s, struct record *out)
{
	struct record r = {
		.id = get_le64(p + R_ID), .parent_id = get_le64(p + R_PARENT), .bytes = get_le64(p + R_BYTES),
		.created = get_le64(p + R_CREATED), .state = (enum layer_state)get_le32(p + R_STATE), .parent = NO_RECORD,
	};

	*out = (struct record){.parent = NO_RECORD};
	if (r.id == 0)
		return is_zero(p, RECORD_BYTES) ? NULL : "a free record is not empty";
	get_entry(p + R_ROOT, &r.root);
	if (r.id >= s->next_layer || r.parent_id >= r.id)
		return "a record's number is wrong";
	if (r.bytes == 0 || r.bytes > LAYER_BYTES_MAX || r.bytes % LAYER_BLOCK_BYTES)
		return "a record's size is wrong";
	if (r.state < LAYER_LIVE || r.state > LAYER_FILLING || (r.state == LAYER_FILLING && !(s->incompatible & FEATURE_FILLING)))
		return "a record's state is wrong";
	if (!is_text(p + R_NAME, false) || !is_text(p + R_BASE, true) || (p[R_BASE] && r.parent_id))
		return "a record's names are wrong";
	if (!is_zero(p + R_STATE + 4, 4) || !is_zero(p + R_END, RECORD_BYTES - R_END))
		return "a record has something where nothing belongs";
	memcpy(r.name, p + R_NAME, LAYER_NAME_MAX);
	memcpy(r.base, p + R_BASE, LAYER_NAME_MAX);
	*out = r;
	return node_fault(&r.root, s);
}
