/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of metadata in memory. A page is found by the one above it, so a page
 * with children in memory stays. Places are won back by a hand that goes round and
 * takes what was not used since it came by last; what a commit has yet to write
 * stays, and so many pages are never dirty at a time that nothing else is left.
 */
#include <string.h>

#include "io/layer_internal.h"
#include "lib/format.h"

#define DIRTY_SHARE 2u  /* a commit begins when more than one in so many pages is dirty */
#define RESERVE 16u     /* blocks: the directory twice, and room to delete in a full pool */

struct node_entry *entry_of(struct layer_pool *p, const struct page *page)
{
	if (page->kind == PAGE_ROOT)
		return &p->records[page->record].root;
	return &p->pages[page->above].node[page->place];
}

static uint16_t number_of(const struct layer_pool *p, const struct page *page)
{
	return (uint16_t)(page - p->pages);
}

/* ---- places ---- */

static void link_page(struct layer_pool *p, const struct page *page)
{
	if (page->kind == PAGE_ROOT)
		p->records[page->record].page = number_of(p, page);
	else
		p->pages[page->above].child[page->place] = number_of(p, page);
}

void forget_near(struct layer *l)
{
	for (unsigned i = 0; i < NEAR; i++)
		l->near[i].number = NO_LEAF;
}

static void forget_leaf(struct layer_pool *p, const struct page *page)
{
	uint32_t number = p->pages[page->above].place * FANOUT + page->place;
	struct layer *l = p->records[page->record].open;

	if (l && l->near[number % NEAR].leaf == page->leaf)
		l->near[number % NEAR].number = NO_LEAF;
}

void layer_free_page(struct layer_pool *p, struct page *page)
{
	if (page->kind == PAGE_LEAF)
		forget_leaf(p, page);
	if (page->kind == PAGE_ROOT) {
		p->records[page->record].page = 0;
	} else {
		p->pages[page->above].child[page->place] = 0;
		p->pages[page->above].children--;
	}
	page->state = PAGE_FREE;
}

static bool may_go(const struct page *page)
{
	return page->state == PAGE_READY && !page->dirty && !page->committing && page->children == 0;
}

/* Room for a page; NULL: none now. */
static struct page *find_room(struct layer_pool *p)
{
	for (unsigned i = 0; i < 4 * p->page_count; i++) {
		struct page *page = &p->pages[p->hand = p->hand % (p->page_count - 1) + 1];

		if (page->state == PAGE_FREE)
			return page;
		if (!may_go(page))
			continue;
		if (!page->used) {
			layer_free_page(p, page);
			return page;
		}
		page->used = false;
	}
	return NULL;
}

static bool is_loading(const struct job *j, const struct page *wanted)
{
	const struct page *page;

	if (!j->loading)
		return false;
	page = &j->pool->pages[j->loading];
	return page->kind == wanted->kind && page->record == wanted->record && page->above == wanted->above &&
	       page->place == wanted->place;
}

static bool somebody_loads(struct layer_pool *p, const struct page *wanted)
{
	if (is_loading(&p->worker, wanted))
		return true;
	list_for_each(it, &p->busy)
		if (is_loading(list_entry(it, struct job, link), wanted))
			return true;
	return false;
}

/* A place for @wanted, not linked yet; what is above it is held. */
static enum turn make_room(struct job *j, const struct page *wanted, struct page **out)
{
	struct layer_pool *p = j->pool;
	struct page *above = &p->pages[wanted->above], *page;

	above->children++;
	page = find_room(p);
	if (!page) {
		above->children--;
		if (p->owed > 0)
			layer_commit_start(p);
		return WAIT;
	}
	*page = (struct page){.bytes = page->bytes, .child = page->child, .above = wanted->above, .place = wanted->place,
			      .record = wanted->record, .kind = wanted->kind, .used = true};
	memset(page->child, 0, FANOUT * sizeof *page->child);
	*out = page;
	return GO;
}

/* ---- loading ---- */

static enum turn load(struct job *j, const struct page *wanted, uint32_t block)
{
	struct layer_pool *p = j->pool;
	struct page *page;
	enum turn t;

	if (somebody_loads(p, wanted))
		return WAIT;
	t = make_room(j, wanted, &page);
	if (t != GO)
		return t;
	page->state = PAGE_LOADING;
	j->loading = number_of(p, page);
	p->stats.page_loads++;
	if (layer_job_io(j, p->range.device, BLOCK_READ, meta_lba(p, block), LAYER_BLOCK_BYTES, true, page->bytes) == WAIT)
		return WAIT;
	return end_load(j);
}

enum turn end_load(struct job *j)
{
	struct layer_pool *p = j->pool;
	struct page *page = &p->pages[j->loading];
	const struct node_entry *e = entry_of(p, page);
	const char *fault = NULL;

	j->loading = 0;
	if (j->io.status == ST_OK)
		fault = page_crc(page->bytes) != e->crc ? "the checksum is wrong" :
							  layer_page_fault(page->bytes, page->kind, &p->super);
	if (j->io.status == ST_OK && !fault) {
		page->state = PAGE_READY;
		link_page(p, page);
		p->again = true;
		return GO;
	}
	if (fault)
		format(j->err.text, sizeof j->err.text, "metadata block %u of layer '%s': %s", e->block,
		       p->records[page->record].name, fault);
	layer_free_page(p, page);
	p->again = true;
	return layer_end_job(j, fault ? ST_CORRUPT : j->io.status, NULL);
}

/* ---- changing ---- */

bool has_reserve(const struct layer_pool *p, uint32_t pages)
{
	return p->meta.free >= (uint64_t)p->owed + pages + RESERVE;
}

void layer_mark_dirty(struct layer_pool *p, struct page *page)
{
	for (;; page = &p->pages[page->above]) {
		if (!page->dirty)
			p->owed++;
		page->dirty = true;
		if (page->kind == PAGE_ROOT)
			break;
	}
	if (p->owed > p->page_count / DIRTY_SHARE) {
		p->commit.wanted = true;
		p->again = true;
	}
}

/* Room in memory and on the medium for a leaf to become dirty, with what is above it. */
static enum turn check_reserve(struct job *j)
{
	struct layer_pool *p = j->pool;
	const uint32_t pages = 3;

	if (!p->writable)
		return layer_end_job(j, ST_IO, p->stats.why_not);
	if (p->owed + pages > p->page_count * 3 / 4) {
		layer_commit_start(p);
		return WAIT;
	}
	if (has_reserve(p, pages))
		return GO;
	if (may_free(p)) {
		layer_commit_start(p);
		return WAIT;
	}
	p->stats.full++;
	return layer_end_job(j, ST_OVER_LIMIT, "the pool has no space for metadata");
}

void layer_drop_page(struct layer_pool *p, struct page *page)
{
	struct node_entry *e = entry_of(p, page);

	ASSERT(page->children == 0 && !page->committing);
	layer_free_block(p, &p->freed[p->freed_now], e->block);
	*e = (struct node_entry){0};
	if (page->dirty)
		p->owed--;
	page->dirty = false;
	layer_free_page(p, page);
}

/* ---- walking down ---- */

/* The page @wanted describes; NULL when there is none and none is to be made. */
static enum turn step_down(struct job *j, const struct page *wanted, enum want want, struct page **out)
{
	struct layer_pool *p = j->pool;
	uint16_t there = wanted->kind == PAGE_ROOT ? p->records[wanted->record].page :
						     p->pages[wanted->above].child[wanted->place];
	uint32_t block = entry_of(p, wanted)->block;
	enum turn t = GO;

	*out = NULL;
	if (!there && !block && want != MAKE)
		return GO;
	if (!there && block)
		t = load(j, wanted, block);
	else if (!there)
		t = make_room(j, wanted, out);
	if (t != GO)
		return t;
	if (*out) {
		memset((*out)->bytes, 0, LAYER_BLOCK_BYTES);
		(*out)->state = PAGE_READY;
		link_page(p, *out);
	}
	there = wanted->kind == PAGE_ROOT ? p->records[wanted->record].page : p->pages[wanted->above].child[wanted->place];
	*out = &p->pages[there];
	(*out)->used = true;
	return GO;
}

static struct page wanted_page(unsigned record, enum page_kind kind, uint32_t index, uint16_t above)
{
	struct page w = {.record = (uint8_t)record, .kind = (uint8_t)kind, .above = above};

	if (kind != PAGE_ROOT)
		w.place = (uint16_t)(kind == PAGE_NODE ? index / (FANOUT * FANOUT) : index / FANOUT % FANOUT);
	return w;
}

enum turn get_leaf(struct job *j, unsigned record, uint32_t index, enum want want, struct page **out)
{
	struct layer_pool *p = j->pool;
	struct page *at = &p->pages[0];

	*out = NULL;
	for (enum page_kind kind = PAGE_ROOT; kind <= PAGE_LEAF; kind++) {
		struct page wanted = wanted_page(record, kind, index, number_of(p, at));
		enum turn t = step_down(j, &wanted, want, &at);

		if (t != GO || !at)
			return t;
	}
	if (want != LOOK) {
		enum turn t = at->dirty && p->writable ? GO : check_reserve(j);

		if (t != GO)
			return t;
		if (at->committing)
			return WAIT;
		layer_mark_dirty(p, at);
	}
	*out = at;
	return GO;
}

/* The first entry from @place on that has something below it; FANOUT: none. */
static unsigned next_place(const struct page *page, unsigned place)
{
	while (place < FANOUT && !page->child[place] && !page->node[place].block)
		place++;
	return place;
}

enum turn next_leaf(struct job *j, unsigned record, uint32_t *index, struct page **out)
{
	struct layer_pool *p = j->pool;
	struct page wanted = wanted_page(record, PAGE_ROOT, 0, 0), *root, *node;
	enum turn t = step_down(j, &wanted, LOOK, &root);
	unsigned place;

	*out = NULL;
	if (t != GO || !root)
		return t;
	place = next_place(root, *index / (FANOUT * FANOUT));
	if (place == FANOUT)
		return GO;
	if (place != *index / (FANOUT * FANOUT))
		*index = place * FANOUT * FANOUT;
	wanted = wanted_page(record, PAGE_NODE, *index, number_of(p, root));
	t = step_down(j, &wanted, LOOK, &node);
	if (t != GO)
		return t;
	place = next_place(node, *index / FANOUT % FANOUT);
	if (place == FANOUT) {
		*index = (*index / (FANOUT * FANOUT) + 1) * FANOUT * FANOUT;
		*out = node;
		return GO;
	}
	if (place != *index / FANOUT % FANOUT)
		*index = *index / (FANOUT * FANOUT) * (FANOUT * FANOUT) + place * FANOUT;
	wanted = wanted_page(record, PAGE_LEAF, *index, number_of(p, node));
	return step_down(j, &wanted, LOOK, out);
}
