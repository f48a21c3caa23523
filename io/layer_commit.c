/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A commit: all pages that are dirty when it begins go to free blocks, leaves
 * before nodes before roots, since each takes in the checksum of what is below; then
 * the blocks of the directory whose records changed. A flush makes them durable
 * together with all data written before. Then one superblock, and a flush again. Until that
 * one is on the medium the other superblock holds, and nothing it leads to was
 * touched.
 *
 * What a commit sets free is used again only when it is durable, and, of clusters, when
 * no request is under way any more that was passed on before: it could read, or write,
 * what has got another owner. Requests carry a parity for that; it turns
 * when there is something to wait for.
 */
#include <string.h>

#include "io/layer_internal.h"
#include "lib/format.h"

#define R_ROOT_AT 40u /* in a record: docs/storage.md */

/* ---- what becomes free ---- */

static void add_freed(struct freed *list, uint32_t piece)
{
	list->piece[list->count++] = piece;
}

void layer_free_cluster(struct layer_pool *p, uint32_t cluster)
{
	struct freed *list = &p->freed[p->freed_now];

	add_freed(list, cluster - 1);
	list->clusters++;
}

void layer_free_block(struct layer_pool *p, struct freed *list, uint32_t block)
{
	(void)p;
	if (block)
		add_freed(list, (uint32_t)(META_BIT | (block - 1)));
}

bool may_free(const struct layer_pool *p)
{
	return p->writable && (p->freed[0].count > 0 || p->freed[1].count > 0 || p->commit.state != COMMIT_IDLE);
}

void layer_watch(struct layer_pool *p)
{
	p->watching = p->limbo || p->op_state == OP_QUIESCE || p->op_state == OP_DRAIN;
}

bool turn_parity(struct layer_pool *p)
{
	unsigned next = p->parity ^ 1;

	if (p->flying[next] > 0)
		return false;
	/* An operation that waits for that one has its answer. */
	p->op_drained = true;
	p->parity = next;
	p->flying_now = &p->flying[next];
	p->came_back = next ? came_back_odd : came_back_even;
	return true;
}

void end_limbo(struct layer_pool *p)
{
	struct freed *list = &p->freed[p->freed_now ^ 1];

	if (!p->limbo)
		return;
	if (list->clusters > 0 && !p->turned)
		p->turned = turn_parity(p);
	/* Blocks of metadata are read by ourselves alone, and not any more. */
	if (list->clusters > 0 && (!p->turned || p->flying[p->parity ^ 1] > 0))
		return;
	for (uint32_t i = 0; i < list->count; i++) {
		uint32_t piece = list->piece[i];

		space_give(piece & META_BIT ? &p->meta : &p->clusters, piece & (uint32_t)~META_BIT);
	}
	list->count = list->clusters = 0;
	p->limbo = false;
	layer_watch(p);
	p->again = true;
}

static void release(struct layer_pool *p)
{
	p->limbo = true;
	p->turned = false;
	layer_watch(p);
	end_limbo(p);
}

/* ---- failure ---- */

void pool_fails(struct layer_pool *p, const char *why)
{
	struct list *lists[] = {&p->commit.flushes, &p->flushes};

	if (p->writable)
		format(p->stats.why_not, sizeof p->stats.why_not, "%.200s", why);
	p->writable = false;
	for (unsigned i = 0; i < LAYER_MAX; i++)
		forget_near(&p->layers[i]);
	p->commit.state = COMMIT_IDLE;
	p->commit.wanted = false;
	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++)
		while (!list_empty(lists[i])) {
			struct block_request *r = list_entry(lists[i]->next, struct block_request, link);

			list_remove(&r->link);
			if (r->error)
				format(r->error->text, sizeof r->error->text, "%s", p->stats.why_not);
			layer_end_request(p, r, ST_IO);
		}
	p->again = true;
}

/* ---- writing ---- */

static void write_done(struct commit_write *w)
{
	struct layer_pool *p = w->pool;

	w->busy = false;
	p->commit.writing--;
	if (w->page)
		p->pages[w->page].committing = NOT_COMMITTING;
	if (w->io.status != ST_OK && p->writable)
		pool_fails(p, p->commit.err.text);
	p->again = true;
}

static void write_complete(struct block_request *r)
{
	struct commit_write *w = container_of(r, struct commit_write, io);

	write_done(w);
	pool_kick(w->pool);
}

static void submit_write(struct layer_pool *p, enum block_op op, uint64_t lba, void *data, uint32_t bytes, uint16_t page)
{
	struct commit_write *w = p->commit.write;

	while (w->busy)
		w++;
	w->segment = (struct io_segment){data, bytes};
	w->page = page;
	w->busy = true;
	w->io = (struct block_request){.op = op, .lba = lba, .count = bytes >> p->sector_shift, .segments = &w->segment,
				       .segment_count = 1, .complete = write_complete, .error = &p->commit.err};
	p->commit.writing++;
	p->range.device->ops->submit(p->range.device, &w->io);
	if (w->io.done)
		write_done(w);
}

/* A free block for a page of metadata, whose old one becomes free with this commit. */
static struct node_entry move_block(struct layer_pool *p, const struct node_entry *old, const void *bytes)
{
	uint32_t block;
	bool found = space_take(&p->meta, &block);

	ASSERT(found); /* has_reserve() saw to it */
	layer_free_block(p, &p->freed[p->freed_now ^ 1], old->block);
	p->stats.commit_blocks++;
	return (struct node_entry){block + 1, page_crc(bytes), p->super.generation + 1};
}

static void write_page(struct layer_pool *p, uint16_t number)
{
	struct page *page = &p->pages[number];
	struct node_entry *e = entry_of(p, page), moved = move_block(p, e, page->bytes);

	p->owed--;
	*e = moved;
	if (page->kind == PAGE_ROOT)
		memcpy(p->commit.blocks[page->record / RECORDS_PER_BLOCK] +
			       page->record % RECORDS_PER_BLOCK * RECORD_BYTES + R_ROOT_AT, e, sizeof *e);
	page->committing = COMMITTING_WRITES;
	submit_write(p, BLOCK_WRITE, meta_lba(p, e->block), page->bytes, LAYER_BLOCK_BYTES, number);
}

/* Begins to write the next page or block of the directory; false: all are begun. */
static bool write_next(struct layer_pool *p)
{
	struct commit *c = &p->commit;

	for (;;) {
		while (++c->hand < p->page_count) {
			const struct page *page = &p->pages[c->hand];

			if (page->committing == COMMITTING && page->kind == c->kind) {
				write_page(p, (uint16_t)c->hand);
				return true;
			}
		}
		if (c->kind == PAGE_ROOT)
			break;
		c->kind--;
		c->hand = 0;
	}
	if (c->directory) {
		unsigned i = bit_lowest(c->directory);

		c->directory &= c->directory - 1;
		p->super.directory[i] = move_block(p, &p->super.directory[i], c->blocks[i]);
		submit_write(p, BLOCK_WRITE, meta_lba(p, p->super.directory[i].block), c->blocks[i], LAYER_BLOCK_BYTES, 0);
		return true;
	}
	return false;
}

static void write_super(struct layer_pool *p)
{
	uint64_t slot = ++p->super.generation % SUPER_SLOTS;
	uint32_t bytes = p->range.device->sector_bytes;

	memset(p->commit.super, 0, bytes);
	layer_super_encode(&p->super, p->commit.super);
	p->stats.commit_blocks++;
	submit_write(p, BLOCK_WRITE, p->range.first + (slot * LAYER_BLOCK_BYTES >> p->sector_shift), p->commit.super, bytes, 0);
}

/* ---- the course of it ---- */

/* Who does not know it would take half a copy for a whole one. */
static void say_features(struct layer_pool *p)
{
	p->super.incompatible &= ~FEATURE_FILLING;
	for (unsigned i = 0; i < LAYER_MAX; i++)
		if (p->records[i].id && p->records[i].state == LAYER_FILLING)
			p->super.incompatible |= FEATURE_FILLING;
}

/* Takes what is dirty now; what changes from now on is the next one's. */
static void gather(struct layer_pool *p)
{
	struct commit *c = &p->commit;
	bool any = p->directory_dirty;

	c->directory = p->directory_dirty;
	p->directory_dirty = 0;
	for (uint32_t i = 1; i < p->page_count; i++) {
		struct page *page = &p->pages[i];

		if (page->state != PAGE_READY || !page->dirty)
			continue;
		page->dirty = false;
		page->committing = COMMITTING;
		any = true;
		if (page->kind == PAGE_ROOT)
			c->directory |= (uint32_t)BIT(page->record / RECORDS_PER_BLOCK);
	}
	for (unsigned i = 0; i < LAYER_MAX; i++)
		layer_record_encode(&p->records[i], c->blocks[i / RECORDS_PER_BLOCK] + i % RECORDS_PER_BLOCK * RECORD_BYTES);
	say_features(p);
	while (!list_empty(&p->flushes)) {
		struct list *r = p->flushes.next;

		list_remove(r);
		list_push_back(&c->flushes, r);
	}
	c->nothing_new = !any;
}

void layer_commit_start(struct layer_pool *p)
{
	struct commit *c = &p->commit;

	if (!p->writable)
		return;
	c->wanted = true;
	if (c->state != COMMIT_IDLE || c->writing > 0 || p->freed[p->freed_now ^ 1].count > 0)
		return;
	c->wanted = false;
	gather(p);
	c->started++;
	p->freed_now ^= 1;
	c->kind = PAGE_LEAF;
	c->hand = 0;
	c->state = COMMIT_PAGES;
	p->again = true;
}

static void finish(struct layer_pool *p)
{
	struct commit *c = &p->commit;
	struct list done;

	c->state = COMMIT_IDLE;
	c->finished = c->started;
	p->stats.commits++;
	release(p);
	list_init(&done);
	while (!list_empty(&c->flushes)) {
		struct list *r = c->flushes.next;

		list_remove(r);
		list_push_back(&done, r);
	}
	while (!list_empty(&done)) {
		struct block_request *r = list_entry(done.next, struct block_request, link);

		list_remove(&r->link);
		layer_end_request(p, r, ST_OK);
	}
}

void layer_commit_step(struct layer_pool *p)
{
	struct commit *c = &p->commit;

	if (c->state == COMMIT_IDLE && c->wanted)
		layer_commit_start(p);
	while (c->state != COMMIT_IDLE) {
		if (c->state == COMMIT_PAGES) {
			while (c->state == COMMIT_PAGES && c->writing < COMMIT_WRITES && write_next(p))
				continue;
		}
		if (c->writing > 0 || c->state == COMMIT_IDLE)
			return;
		if (c->state == COMMIT_LAST_FLUSH || (c->state == COMMIT_FLUSH && c->nothing_new)) {
			finish(p);
			return;
		}
		c->state++;
		if (c->state == COMMIT_SUPER)
			write_super(p);
		else
			submit_write(p, BLOCK_FLUSH, 0, NULL, 0, 0);
	}
}
