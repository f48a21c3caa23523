/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pieces of a request that has a job: where blocks are read from, where they
 * are written to, and what becomes of those that are only cleared. A piece is the
 * longest run that has one source or one target. Data reaches its place before the
 * bit that makes it valid is set, and the commit's flush comes between the two on
 * the medium.
 */
#include <string.h>

#include "io/layer_internal.h"

void advance_job(struct job *j, uint64_t bytes)
{
	if (j->request->op == BLOCK_READ || j->request->op == BLOCK_WRITE)
		segment_advance(&j->memory, bytes);
	j->at += bytes;
	j->left -= bytes;
	j->phase = PHASE_NEXT;
	if (j->left == 0 || j->at % LAYER_CLUSTER_BYTES == 0) {
		j->locked = 0;
		j->pool->again = true;
	}
}

/* ---- where blocks come from ---- */

enum source_kind { FROM_CLUSTER, FROM_BASE, FROM_NOTHING };

struct source {
	enum source_kind kind;
	uint32_t cluster;
	uint16_t blocks; /* which of those asked for have it; the lowest does */
};

/* What the base has of @bytes at @at. */
static uint64_t base_bytes(const struct layer *l, uint64_t at, uint64_t bytes)
{
	uint64_t size = l->base->sectors * l->base->sector_bytes;

	return at >= size ? 0 : MIN(bytes, size - at);
}

/* The source of the lowest of @blocks of cluster @index, looking from the chain's layer @from on. */
static enum turn find_source(struct job *j, uint32_t index, uint16_t blocks, unsigned from, struct source *out)
{
	const struct layer *l = j->layer;
	uint16_t lowest = blocks & (uint16_t)-blocks;
	uint64_t at;

	for (unsigned i = from; i < l->depth; i++) {
		const struct leaf_entry *e;
		struct page *leaf;
		enum turn t = get_leaf(j, l->chain[i], index, LOOK, &leaf);

		if (t != GO)
			return t;
		if (!leaf)
			continue;
		e = &leaf->leaf[index % FANOUT];
		if ((e->valid | e->zero) & lowest) {
			bool valid = e->valid & lowest;

			*out = (struct source){valid ? FROM_CLUSTER : FROM_NOTHING, e->cluster,
					       blocks & (valid ? e->valid : e->zero)};
			return GO;
		}
		blocks &= (uint16_t)~(e->valid | e->zero);
	}
	at = (uint64_t)index * LAYER_CLUSTER_BYTES + (uint64_t)bit_lowest(lowest) * LAYER_BLOCK_BYTES;
	*out = (struct source){l->base && base_bytes(l, at, 1) ? FROM_BASE : FROM_NOTHING, 0, blocks};
	return GO;
}

static unsigned first_block(const struct job *j) { return j->at % LAYER_CLUSTER_BYTES / LAYER_BLOCK_BYTES; }

/* Blocks from the first one of the job on, which lie in one cluster and are touched. */
static uint16_t blocks_ahead(const struct job *j)
{
	uint64_t offset = j->at % LAYER_CLUSTER_BYTES, end = MIN(offset + j->left, (uint64_t)LAYER_CLUSTER_BYTES);

	return (uint16_t)MASK((end - 1) / LAYER_BLOCK_BYTES, first_block(j));
}

/* Bytes from the job's place to the end of the run of set bits in @blocks that begins there. */
static uint64_t run_bytes(const struct job *j, uint16_t blocks)
{
	unsigned first = first_block(j), end = first;

	while (end < CLUSTER_BLOCKS && blocks >> end & 1)
		end++;
	return MIN((uint64_t)end * LAYER_BLOCK_BYTES - j->at % LAYER_CLUSTER_BYTES, j->left);
}

/* ---- reading ---- */

enum turn read_next_piece(struct job *j)
{
	uint32_t index = (uint32_t)(j->at / LAYER_CLUSTER_BYTES);
	struct segment_cursor c = j->memory;
	struct source s;
	enum turn t = find_source(j, index, blocks_ahead(j), 0, &s);

	if (t != GO)
		return t;
	j->piece = run_bytes(j, s.blocks);
	j->phase = PHASE_MOVED;
	if (s.kind == FROM_CLUSTER)
		return cluster_io(j, BLOCK_READ, s.cluster, j->at % LAYER_CLUSTER_BYTES, j->piece, false);
	if (s.kind == FROM_BASE && base_bytes(j->layer, j->at, j->piece) > 0) {
		j->piece = base_bytes(j->layer, j->at, j->piece);
		return layer_job_io(j, j->layer->base, BLOCK_READ, j->at / j->layer->base->sector_bytes, j->piece, false, NULL);
	}
	segment_clear(&c, j->piece);
	advance_job(j, j->piece);
	return GO;
}

/* ---- writing ---- */

static struct record *top_of(const struct job *j) { return &j->pool->records[j->layer->chain[0]]; }

/* A cluster for @e, whose leaf is dirty. */
static enum turn give_cluster(struct job *j, struct leaf_entry *e)
{
	struct layer_pool *p = j->pool;
	uint32_t piece;

	if (e->cluster)
		return GO;
	if (space_take(&p->clusters, &piece)) {
		e->cluster = piece + 1;
		top_of(j)->clusters++;
		return GO;
	}
	if (p->freed[0].clusters + p->freed[1].clusters > 0 && p->writable) {
		layer_commit_start(p);
		return WAIT;
	}
	p->stats.full++;
	return layer_end_job(j, ST_OVER_LIMIT, "the pool has no free cluster");
}

/* Writes to blocks that are the layer's own already. */
static enum turn write_in_place(struct job *j, const struct leaf_entry *e)
{
	bool zeroes = j->request->op == BLOCK_WRITE_ZEROES;

	j->piece = run_bytes(j, e->valid & blocks_ahead(j));
	j->phase = PHASE_MOVED;
	if (zeroes) {
		j->piece = MIN(j->piece, LAYER_BLOCK_BYTES - j->at % LAYER_BLOCK_BYTES);
		memset(j->buffer, 0, LAYER_BLOCK_BYTES);
	}
	return cluster_io(j, BLOCK_WRITE, e->cluster, j->at % LAYER_CLUSTER_BYTES, j->piece, zeroes);
}

/* The block's new part over what was read, and the whole of it to its place. */
enum turn store_filled(struct job *j)
{
	uint32_t offset = j->at % LAYER_BLOCK_BYTES, index = (uint32_t)(j->at / LAYER_CLUSTER_BYTES);
	struct segment_cursor c = j->memory;
	struct page *leaf;
	enum turn t = get_leaf(j, j->layer->chain[0], index, CHANGE, &leaf);

	if (t != GO)
		return t;
	ASSERT(leaf); /* nobody else changes it meanwhile */
	if (j->request->op == BLOCK_WRITE)
		segment_copy_from(&c, j->buffer + offset, j->piece);
	else
		memset(j->buffer + offset, 0, j->piece);
	j->blocks = (uint16_t)BIT(first_block(j));
	j->phase = PHASE_MARK;
	j->pool->stats.copied_blocks++;
	return cluster_io(j, BLOCK_WRITE, leaf->leaf[index % FANOUT].cluster, first_block(j) * LAYER_BLOCK_BYTES,
			  LAYER_BLOCK_BYTES, true);
}

/* Reads the block that is to be written in part. */
static enum turn fill_block(struct job *j)
{
	struct layer *l = j->layer;
	uint64_t start = align_down(j->at, LAYER_BLOCK_BYTES), bytes;
	struct source s;
	enum turn t = find_source(j, (uint32_t)(j->at / LAYER_CLUSTER_BYTES), (uint16_t)BIT(first_block(j)), 0, &s);

	if (t != GO)
		return t;
	j->piece = MIN(j->left, LAYER_BLOCK_BYTES - j->at % LAYER_BLOCK_BYTES);
	j->phase = PHASE_FILL;
	if (s.kind == FROM_CLUSTER)
		return cluster_io(j, BLOCK_READ, s.cluster, first_block(j) * LAYER_BLOCK_BYTES, LAYER_BLOCK_BYTES, true);
	memset(j->buffer, 0, LAYER_BLOCK_BYTES);
	bytes = s.kind == FROM_BASE ? base_bytes(l, start, LAYER_BLOCK_BYTES) : 0;
	j->io.status = ST_OK;
	return bytes ? layer_job_io(j, l->base, BLOCK_READ, start / l->base->sector_bytes, bytes, true, j->buffer) : GO;
}

/* Blocks from the first on that the request covers whole. */
static uint16_t whole_blocks(const struct job *j)
{
	uint64_t offset = j->at % LAYER_CLUSTER_BYTES, end = MIN(offset + j->left, (uint64_t)LAYER_CLUSTER_BYTES);
	unsigned first = (unsigned)((offset + LAYER_BLOCK_BYTES - 1) / LAYER_BLOCK_BYTES);
	unsigned behind = (unsigned)(end / LAYER_BLOCK_BYTES);

	return first < behind ? (uint16_t)MASK(behind - 1, first) : 0;
}

enum turn write_next_piece(struct job *j)
{
	uint32_t index = (uint32_t)(j->at / LAYER_CLUSTER_BYTES);
	uint8_t top = j->layer->chain[0];
	struct leaf_entry *e;
	struct page *leaf;
	enum turn t;
	uint16_t fresh;

	if (!lock_blocks(j, top, index, blocks_ahead(j)))
		return WAIT;
	t = get_leaf(j, top, index, LOOK, &leaf);
	if (t != GO)
		return t;
	if (leaf && leaf->leaf[index % FANOUT].valid >> first_block(j) & 1)
		return write_in_place(j, &leaf->leaf[index % FANOUT]);
	t = get_leaf(j, top, index, MAKE, &leaf);
	if (t != GO)
		return t;
	e = &leaf->leaf[index % FANOUT];
	t = give_cluster(j, e);
	if (t != GO)
		return t;
	fresh = whole_blocks(j) & (uint16_t)~e->valid;
	if (!(fresh >> first_block(j) & 1) || j->request->op == BLOCK_WRITE_ZEROES)
		return fill_block(j);
	j->piece = run_bytes(j, fresh);
	j->blocks = fresh & (uint16_t)MASK(first_block(j) + j->piece / LAYER_BLOCK_BYTES - 1, first_block(j));
	j->phase = PHASE_MARK;
	return cluster_io(j, BLOCK_WRITE, e->cluster, j->at % LAYER_CLUSTER_BYTES, j->piece, false);
}

/* What was written becomes valid. */
enum turn mark_blocks(struct job *j)
{
	uint32_t index = (uint32_t)(j->at / LAYER_CLUSTER_BYTES);
	struct leaf_entry *e;
	struct page *leaf;
	enum turn t = get_leaf(j, j->layer->chain[0], index, CHANGE, &leaf);

	if (t != GO)
		return t;
	ASSERT(leaf);
	e = &leaf->leaf[index % FANOUT];
	e->valid |= j->blocks;
	e->zero &= (uint16_t)~j->blocks;
	advance_job(j, j->piece);
	return GO;
}

/* ---- discarding and zeroing ---- */

/* @blocks of a cluster read as zeroes from now on; what has none left that is valid goes, if @frees. */
static void clear_entry(struct job *j, struct leaf_entry *e, uint16_t blocks, bool hides, bool frees)
{
	e->valid &= (uint16_t)~blocks;
	e->zero = hides ? e->zero | blocks : 0;
	if (!frees || !e->cluster || e->valid)
		return;
	layer_free_cluster(j->pool, e->cluster);
	e->cluster = 0;
	top_of(j)->clusters--;
}

/* Clears @blocks of the cluster that the job is at, and all of those behind it that are whole and in the same leaf. */
static enum turn clear_blocks(struct job *j, uint16_t blocks)
{
	struct layer_pool *p = j->pool;
	uint32_t index = (uint32_t)(j->at / LAYER_CLUSTER_BYTES);
	bool hides = j->layer->depth > 1 || j->layer->base, frees = j->request->op == BLOCK_DISCARD || j->request->unmap;
	struct page *leaf;
	enum turn t;

	if (!has_freed_room(p, 1)) {
		layer_commit_start(p);
		return WAIT;
	}
	t = get_leaf(j, j->layer->chain[0], index, hides ? MAKE : CHANGE, &leaf);
	if (t != GO)
		return t;
	for (;;) {
		if (leaf)
			clear_entry(j, &leaf->leaf[index % FANOUT], blocks, hides, frees);
		advance_job(j, j->piece);
		if (j->left < LAYER_CLUSTER_BYTES || j->at % LAYER_CLUSTER_BYTES || ++index % FANOUT == 0 ||
		    !has_freed_room(p, 1) || !lock_blocks(j, j->layer->chain[0], index, ALL_BLOCKS))
			return GO;
		j->piece = LAYER_CLUSTER_BYTES;
		blocks = ALL_BLOCKS;
	}
}

enum turn clear_next_piece(struct job *j)
{
	uint32_t index = (uint32_t)(j->at / LAYER_CLUSTER_BYTES);
	uint64_t offset = j->at % LAYER_CLUSTER_BYTES;
	uint16_t whole = whole_blocks(j);
	struct source s;
	enum turn t;

	if (!lock_blocks(j, j->layer->chain[0], index, ALL_BLOCKS))
		return WAIT;
	if (whole >> first_block(j) & 1) {
		j->piece = run_bytes(j, whole);
		return clear_blocks(j, whole);
	}
	/* Part of a block: a discard leaves it, zeroes are written to it unless it is zero. */
	if (j->request->op == BLOCK_WRITE_ZEROES) {
		t = find_source(j, index, (uint16_t)BIT(first_block(j)), 0, &s);
		if (t != GO)
			return t;
		if (s.kind != FROM_NOTHING)
			return write_next_piece(j);
	}
	j->piece = MIN(j->left, LAYER_BLOCK_BYTES - offset % LAYER_BLOCK_BYTES);
	advance_job(j, j->piece);
	return GO;
}
