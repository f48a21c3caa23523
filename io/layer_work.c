/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What takes long: a snapshot is merged into its one child, and a layer is
 * deleted. Both go leaf by leaf, in a job of their own, while the layers are in use,
 * and leave a whole state behind at every commit: what a merge has moved is the
 * child's and not the snapshot's any more in the same commit, so it goes on where it was
 * after a power cut.
 *
 * Of a cluster that the child has nothing of, the whole is handed over without a copy;
 * else the blocks that the child lacks are copied, one by one.
 */
#include "io/layer_internal.h"

#define YIELD_AFTER 64u /* clusters in a step that waits for nothing */

static struct record *record_at_work(struct layer_pool *p) { return &p->records[p->work]; }

static enum turn next_cluster(struct job *j, uint32_t index)
{
	struct layer_pool *p = j->pool;

	p->work_index = index;
	j->locked = 0;
	if (p->op)
		p->op->steps++;
	p->again = true;
	if (++j->piece % YIELD_AFTER)
		return GO;
	p->work_yields = true;
	return WAIT;
}

/* ---- merging ---- */

/* The child takes its parent's place in the chain; all that is left of the parent is to be freed. */
static enum turn end_merge(struct job *j, unsigned child)
{
	struct layer_pool *p = j->pool;
	struct record *r = record_at_work(p), *c = &p->records[child];

	c->parent = r->parent;
	c->parent_id = r->parent_id;
	memcpy(c->base, r->base, sizeof c->base);
	memset(r->base, 0, sizeof r->base);
	r->parent = NO_RECORD;
	r->parent_id = 0;
	r->state = LAYER_DELETING;
	record_dirty(p, p->work);
	record_dirty(p, child);
	for (unsigned i = 0; i < LAYER_MAX; i++)
		if (p->layers[i].is_open)
			make_chain(&p->layers[i]);
	p->work_index = 0;
	j->phase = PHASE_DELETE;
	return GO;
}

/* The child's cluster is @ce, with nothing valid in it or nothing that it needs: the parent's entry ends. */
static void hand_over(struct layer_pool *p, struct leaf_entry *se, struct leaf_entry *ce, unsigned child)
{
	uint16_t free = (uint16_t)~(ce->valid | ce->zero), valid = se->valid & free;

	ce->zero |= se->zero & free;
	if (valid) {
		ce->cluster = se->cluster;
		ce->valid = valid;
		p->records[child].clusters++;
	} else if (se->cluster) {
		layer_free_cluster(p, se->cluster);
	}
	if (se->cluster)
		record_at_work(p)->clusters--;
	*se = (struct leaf_entry){0};
}

static enum turn merge_cluster(struct job *j, unsigned child, uint32_t index)
{
	struct layer_pool *p = j->pool;
	struct page *from, *to;
	struct leaf_entry *se, *ce;
	enum turn t;
	uint16_t wanted;

	if (!lock_blocks(j, child, index, ALL_BLOCKS))
		return WAIT;
	if (!has_freed_room(p, 1)) {
		layer_commit_start(p);
		return WAIT;
	}
	t = get_leaf(j, child, index, MAKE, &to);
	if (t == GO)
		t = get_leaf(j, p->work, index, CHANGE, &from);
	if (t != GO)
		return t;
	ASSERT(from);
	se = &from->leaf[index % FANOUT];
	ce = &to->leaf[index % FANOUT];
	wanted = se->valid & (uint16_t)~(ce->valid | ce->zero);
	if (!wanted || !ce->cluster) {
		hand_over(p, se, ce, child);
		return next_cluster(j, index + 1);
	}
	j->blocks = wanted & (uint16_t)-wanted;
	j->phase = PHASE_MERGE_READ;
	return cluster_io(j, BLOCK_READ, se->cluster, bit_lowest(wanted) * LAYER_BLOCK_BYTES, LAYER_BLOCK_BYTES, true);
}

/* Entries without anything, up to the leaf's end, are passed over. */
static uint32_t next_used(const struct page *leaf, uint32_t index)
{
	do {
		const struct leaf_entry *e = &leaf->leaf[index % FANOUT];

		if (e->cluster || e->zero)
			break;
	} while (++index % FANOUT);
	return index;
}

static enum turn merge_next(struct job *j)
{
	struct layer_pool *p = j->pool;
	struct page *leaf;
	unsigned child;
	uint32_t index;
	enum turn t;

	if (record_children(p, p->work, &child) != 1)
		return layer_end_job(j, ST_BAD_STATE, "what is to be merged has not one child");
	t = next_leaf(j, p->work, &p->work_index, &leaf);
	if (t != GO)
		return t;
	if (!leaf)
		return end_merge(j, child);
	if (leaf->kind != PAGE_LEAF)
		return GO;
	index = next_used(leaf, p->work_index);
	if (index / FANOUT == p->work_index / FANOUT)
		return merge_cluster(j, child, index);
	return next_cluster(j, index);
}

/* A block has been read for the child: to its cluster with it. */
static enum turn merge_write(struct job *j)
{
	struct layer_pool *p = j->pool;
	struct page *leaf;
	unsigned child;
	enum turn t;

	if (record_children(p, p->work, &child) != 1)
		return layer_end_job(j, ST_BAD_STATE, "what is to be merged has not one child");
	t = get_leaf(j, child, j->index, LOOK, &leaf);
	if (t != GO)
		return t;
	ASSERT(leaf); /* the cluster is locked */
	j->phase = PHASE_MERGE_WRITTEN;
	p->stats.copied_blocks++;
	return cluster_io(j, BLOCK_WRITE, leaf->leaf[j->index % FANOUT].cluster, bit_lowest(j->blocks) * LAYER_BLOCK_BYTES,
			  LAYER_BLOCK_BYTES, true);
}

static enum turn merge_mark(struct job *j)
{
	struct layer_pool *p = j->pool;
	struct page *leaf;
	enum turn t = get_leaf(j, j->record, j->index, CHANGE, &leaf);

	if (t != GO)
		return t;
	ASSERT(leaf);
	leaf->leaf[j->index % FANOUT].valid |= j->blocks;
	p->work_index = j->index;
	j->phase = PHASE_MERGE;
	return GO;
}

/* ---- deleting ---- */

/* Room for a deletion's changes; a full pool has it, for what others take ends before. */
static bool may_drop(struct layer_pool *p, const struct page *page)
{
	const struct page *above = &p->pages[page->above];

	/* Somebody who began to read before a merge's end still loads a page below. */
	if (page->children > 0)
		return false;
	if (!page->committing && (page->kind == PAGE_ROOT || !above->committing) && has_freed_room(p, FANOUT + 1) &&
	    p->meta.free > p->owed + DIRECTORY_BLOCKS + 2 && p->owed + 2 < p->page_count * 3 / 4)
		return true;
	layer_commit_start(p);
	return false;
}

static void free_leaf(struct layer_pool *p, struct page *page)
{
	for (unsigned i = 0; i < FANOUT; i++) {
		if (!page->leaf[i].cluster)
			continue;
		layer_free_cluster(p, page->leaf[i].cluster);
		record_at_work(p)->clusters--;
		if (p->op)
			p->op->steps++;
	}
}

static enum turn delete_next(struct job *j)
{
	struct layer_pool *p = j->pool;
	struct record *r = record_at_work(p);
	struct page *page, *above;
	uint32_t next = p->work_index; /* behind a node, which may have to wait and then is still to be found */
	enum turn t = next_leaf(j, p->work, &next, &page);

	if (t != GO)
		return t;
	if (!page)
		page = &p->pages[r->page];
	if (r->page && !may_drop(p, page))
		return WAIT;
	if (page->kind == PAGE_LEAF)
		free_leaf(p, page);
	if (r->page && page->kind != PAGE_ROOT) {
		above = &p->pages[page->above];
		layer_drop_page(p, page);
		layer_mark_dirty(p, above);
		return next_cluster(j, next);
	}
	if (r->page)
		layer_drop_page(p, page);
	record_dirty(p, p->work);
	*r = (struct record){.parent = NO_RECORD};
	return layer_end_job(j, ST_OK, NULL);
}

/* ---- the worker ---- */

enum turn work_step(struct job *j)
{
	if ((j->phase == PHASE_MERGE_READ || j->phase == PHASE_MERGE_WRITTEN) && j->io.status != ST_OK)
		return layer_end_job(j, j->io.status, NULL);
	if (!j->pool->writable)
		return layer_end_job(j, ST_IO, j->pool->stats.why_not);
	switch (j->phase) {
	case PHASE_MERGE_READ:
		return merge_write(j);
	case PHASE_MERGE_WRITTEN:
		return merge_mark(j);
	case PHASE_MERGE:
		return merge_next(j);
	default:
		return delete_next(j);
	}
}

void work_start(struct layer_pool *p, unsigned record)
{
	uint8_t *buffer = p->worker.buffer;

	p->worker = (struct job){.pool = p, .buffer = buffer,
				 .phase = p->records[record].state == LAYER_MERGING ? PHASE_MERGE : PHASE_DELETE};
	p->work = (uint8_t)record;
	p->work_index = 0;
	p->work_yields = false;
	p->again = true;
}
