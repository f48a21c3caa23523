/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests that come, touch, write, lose pages and go, while the host takes and
 * returns frames, clears ahead and flushes late, against a naive machine: an
 * array of page states for each guest, and what each last wrote.
 *
 * The proof that matters is by content. Each guest, and the host, writes its own
 * secret into whatever it gets. A page that a guest sees for the first time must
 * be all zero, and one that it wrote must hold what it wrote, whatever happened
 * in between; the fake stage 2 panics when a frame is mapped that a CPU may
 * still reach through another guest's stale translation.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "memmgr/internal.h"
#include "tests/fakes/fake_stage2.h"
#include "tests/fakes/ram.h"
#include "tests/model/random.h"

#define FRAMES 8192u /* 32 MiB */
#define GUESTS 4u
#define LIMIT 3000u
#define HOST_BLOCKS 64u
#define STEPS 3000
#define PINS 24u /* of a guest at a time */

enum page { PAGE_NONE, PAGE_ABSENT, PAGE_PRESENT };

struct guest {
	bool live, releasing;
	struct stage2 *s2;
	struct gpmap *map;
	uint8_t page[LIMIT];
	uint64_t secret[LIMIT]; /* what the page holds, 0: zero */
	unsigned pins;
	struct {
		uint64_t at, last; /* pages that it reaches */
		void *va;
		uint32_t leaf;
	} pin[PINS];
};

struct host_block {
	bool live;
	hfn_t frame;
	unsigned order;
	uint64_t secret;
};

static struct ram ram;
static struct memmgr *mm;
static struct guest guests[GUESTS];
static struct host_block host_blocks[HOST_BLOCKS];

static void fill(void *page, uint64_t secret)
{
	uint64_t *p = page;

	for (unsigned i = 0; i < PAGE_SIZE / sizeof *p; i++)
		p[i] = secret;
}

static void holds(const void *page, uint64_t secret)
{
	const uint64_t *p = page;

	assert_true(p[0] == secret && memcmp(p, p + 1, PAGE_SIZE - sizeof *p) == 0);
}

static void not_stale(hfn_t frame, unsigned order)
{
	for (uint64_t i = 0; i < BIT(order); i++)
		assert_false(fake_stage2_stale(hfn(frame.v + i)));
}

/* ---- what guests do ---- */

static void do_create(struct random_state *r, struct guest *g)
{
	uint16_t owner = (uint16_t)(g - guests + 1);
	enum status st;

	memset(g, 0, sizeof *g);
	g->s2 = fake_stage2_create(LIMIT);
	fake_stage2_use_tickets(g->s2, random_below(r, 4) != 0);
	st = gpmap_create(mm, owner, LIMIT, &fake_stage2_ops, g->s2, &g->map);
	g->live = st == ST_OK;
	if (!g->live) {
		assert_int_equal(st, ST_NO_MEMORY);
		fake_stage2_destroy(g->s2);
	}
}

static void do_add_ram(struct random_state *r, struct guest *g)
{
	uint64_t start = random_below(r, LIMIT), pages = 1 + random_below(r, LIMIT - start);
	enum status st;

	if (random_below(r, 2) == 0) { /* often aligned, so that large leaves happen */
		start = align_down(start, 512);
		pages = MIN(align_up(pages, 512), LIMIT - start);
	}
	st = gpmap_add_ram(g->map, gfn(start), pages);
	for (uint64_t i = 0; i < pages; i++) {
		if (g->page[start + i] != PAGE_NONE) {
			assert_int_equal(st, ST_EXISTS);
			return;
		}
	}
	assert_true(st == ST_OK || st == ST_NOT_ADMITTED || st == ST_NO_MEMORY);
	if (st == ST_OK)
		memset(g->page + start, PAGE_ABSENT, pages);
}

/* What became present around @at must be one naturally aligned leaf of zeros. */
static void absorb(struct guest *g, uint64_t at)
{
	struct s2_leaf leaf;

	assert_true(fake_stage2_ops.lookup(g->s2, gfn(at), &leaf));
	for (uint64_t i = 0; i < BIT(leaf.order); i++) {
		uint64_t page = leaf.gfn.v + i;

		assert_true(page < LIMIT);
		assert_int_equal(g->page[page], PAGE_ABSENT);
		g->page[page] = PAGE_PRESENT;
		g->secret[page] = 0;
		assert_ptr_equal(gpmap_va(g->map, gfn(page)), memmgr_va(mm, hfn(leaf.hfn.v + i)));
	}
}

static void check_zero_leaf(struct guest *g, uint64_t at)
{
	struct s2_leaf leaf;

	assert_true(fake_stage2_ops.lookup(g->s2, gfn(at), &leaf));
	for (uint64_t i = 0; i < BIT(leaf.order); i++)
		holds(gpmap_va(g->map, gfn(leaf.gfn.v + i)), 0);
}

static void do_fault(struct random_state *r, struct guest *g, uint64_t at)
{
	enum status st = gpmap_fault(g->map, gfn(at), S2_READ << random_below(r, 3));

	if (g->page[at] == PAGE_NONE) {
		assert_int_equal(st, ST_BAD_ADDRESS);
	} else if (g->page[at] == PAGE_PRESENT) {
		assert_int_equal(st, ST_OK);
	} else if (st == ST_OK) {
		absorb(g, at);
		check_zero_leaf(g, at);
	} else {
		assert_int_equal(st, ST_NO_MEMORY);
	}
}

static void do_populate(struct random_state *r, struct guest *g, uint64_t at)
{
	bool write = random_below(r, 2) == 0;
	enum status st;
	void *va;

	st = gpmap_populate(g->map, gfn(at), &va);
	if (g->page[at] == PAGE_NONE) {
		assert_int_equal(st, ST_BAD_ADDRESS);
		return;
	}
	if (st != ST_OK) {
		assert_int_equal(st, ST_NO_MEMORY);
		assert_int_equal(g->page[at], PAGE_ABSENT);
		return;
	}
	if (g->page[at] == PAGE_ABSENT) {
		absorb(g, at);
		check_zero_leaf(g, at);
	} else {
		holds(va, g->secret[at]);
	}
	if (write) {
		g->secret[at] = random_next(r) | 1;
		fill(va, g->secret[at]);
	}
	assert_ptr_equal(va, gpmap_va(g->map, gfn(at)));
}

static void do_write(struct random_state *r, struct guest *g, uint64_t at)
{
	void *va = gpmap_va(g->map, gfn(at));

	assert_int_equal(va != NULL, g->page[at] == PAGE_PRESENT);
	if (!va)
		return;
	holds(va, g->secret[at]);
	g->secret[at] = random_next(r) | 1;
	fill(va, g->secret[at]);
}

/* The leaf is as it was when it was pinned, or the page would be elsewhere. */
static bool leaf_is_pinned(const struct guest *g, uint64_t at)
{
	struct s2_leaf leaf;

	if (!fake_stage2_ops.lookup(g->s2, gfn(at), &leaf))
		return false;
	for (unsigned i = 0; i < g->pins; i++)
		if (g->pin[i].at - leaf.gfn.v < BIT(leaf.order))
			return true;
	return false;
}

static void do_pin(struct random_state *r, struct guest *g, uint64_t at)
{
	gpa_t where = gpa(at * PAGE_SIZE + random_below(r, PAGE_SIZE));
	struct gpmap_pin p;
	enum status st;

	if (g->pins == PINS)
		return;
	st = gpmap_pin(g->map, where, &p);
	if (g->page[at] == PAGE_NONE) {
		assert_int_equal(st, ST_BAD_ADDRESS);
		return;
	}
	if (st != ST_OK) {
		assert_int_equal(st, ST_NO_MEMORY);
		return;
	}
	if (g->page[at] == PAGE_ABSENT)
		absorb(g, at);
	assert_ptr_equal((uint8_t *)p.va - (where.v & PAGE_MASK), gpmap_va(g->map, gfn(at)));
	assert_true(p.bytes != 0 && is_aligned(where.v + p.bytes, PAGE_SIZE));
	g->pin[g->pins].at = at;
	g->pin[g->pins].last = MIN((where.v + p.bytes - 1) / PAGE_SIZE, at + 8);
	g->pin[g->pins].leaf = p.leaf;
	g->pin[g->pins++].va = (uint8_t *)p.va - (where.v & PAGE_MASK);
}

/* All that it reached is where it was, and holds what the guest wrote. */
static void do_unpin(struct random_state *r, struct guest *g)
{
	unsigned n = g->pins ? (unsigned)random_below(r, g->pins) : 0;

	if (g->pins == 0)
		return;
	for (uint64_t at = g->pin[n].at; at <= g->pin[n].last && !g->releasing; at++) {
		uint8_t *va = (uint8_t *)g->pin[n].va + (at - g->pin[n].at) * PAGE_SIZE;

		assert_ptr_equal(gpmap_va(g->map, gfn(at)), va);
		holds(va, g->secret[at]);
	}
	gpmap_unpin(g->map, g->pin[n].leaf);
	g->pin[n] = g->pin[--g->pins];
}

static void do_remove(struct guest *g, uint64_t at)
{
	bool pinned = leaf_is_pinned(g, at);
	enum status st = gpmap_remove(g->map, gfn(at));

	if (pinned && g->page[at] == PAGE_PRESENT) {
		assert_int_equal(st, ST_BUSY);
		return;
	}

	if (g->page[at] == PAGE_NONE)
		assert_int_equal(st, ST_BAD_ADDRESS);
	else if (g->page[at] == PAGE_ABSENT)
		assert_int_equal(st, ST_BAD_STATE);
	else if (st == ST_OK)
		g->page[at] = PAGE_ABSENT;
	else
		assert_int_equal(st, ST_NO_MEMORY);
}

static void do_release(struct random_state *r, struct guest *g)
{
	struct gpmap_stats stats;
	enum status st = gpmap_release_step(g->map, random_below(r, 400));

	g->releasing = true;
	assert_true((st == ST_BUSY) == (g->pins > 0));
	if (g->pins)
		do_unpin(r, g);
	assert_int_equal(gpmap_fault(g->map, gfn(0), S2_READ) == ST_OK, false);
	if (st != ST_OK)
		return;
	gpmap_stats(g->map, &stats);
	assert_true(stats.present_pages == 0 && stats.leaving_pages == 0);
	gpmap_destroy(g->map);
	fake_stage2_destroy(g->s2);
	g->live = g->releasing = false;
}

static void guest_step(struct random_state *r, struct guest *g)
{
	uint64_t at = random_below(r, LIMIT);

	if (!g->live) {
		if (random_below(r, 4) == 0)
			do_create(r, g);
		return;
	}
	if (random_below(r, 3) == 0)
		fake_stage2_flush(g->s2, random_below(r, 200));
	if (random_below(r, 10) == 0)
		fake_stage2_fail_prepare(g->s2, 1);
	if (g->releasing || random_below(r, 150) == 0) {
		do_release(r, g);
		return;
	}
	switch (random_below(r, 12)) {
	case 0:
		do_add_ram(r, g);
		break;
	case 1:
	case 2:
	case 3:
		do_fault(r, g, at);
		break;
	case 4:
	case 5:
		do_populate(r, g, at);
		break;
	case 6:
		do_remove(g, at);
		break;
	case 7:
		do_pin(r, g, at);
		break;
	case 8:
		do_unpin(r, g);
		break;
	default:
		do_write(r, g, at);
	}
	if (g->live)
		fake_stage2_fail_prepare(g->s2, 0);
}

/* ---- what the host does ---- */

static void host_step(struct random_state *r)
{
	struct host_block *b = &host_blocks[random_below(r, HOST_BLOCKS)];

	if (b->live) {
		for (uint64_t i = 0; i < BIT(b->order); i++)
			holds(memmgr_va(mm, hfn(b->frame.v + i)), b->secret);
		memmgr_free(mm, b->frame, b->order);
		b->live = false;
		return;
	}
	b->order = (unsigned)random_below(r, 10);
	if (memmgr_alloc(mm, b->order, &b->frame) != ST_OK)
		return;
	not_stale(b->frame, b->order);
	b->secret = random_next(r) | 1;
	for (uint64_t i = 0; i < BIT(b->order); i++)
		fill(memmgr_va(mm, hfn(b->frame.v + i)), b->secret);
	b->live = true;
}

static void idle_step(struct random_state *r)
{
	uint64_t left = memmgr_drain_leaving(mm);
	struct memmgr_stats stats;
	enum status st = memmgr_clear_step(mm, random_below(r, 700));

	assert_true(st == ST_OK || st == ST_AGAIN || st == ST_NO_MEMORY);
	memmgr_stats(mm, &stats);
	assert_true(stats.frames[FRAME_LEAVING] == left);
}

static void compare(const struct guest *g)
{
	uint64_t ram_pages = 0, present = 0;
	struct gpmap_stats stats;

	if (!g->live || g->releasing)
		return;
	for (uint64_t at = 0; at < LIMIT; at++) {
		ram_pages += g->page[at] != PAGE_NONE;
		present += g->page[at] == PAGE_PRESENT;
		assert_int_equal(gpmap_va(g->map, gfn(at)) != NULL, g->page[at] == PAGE_PRESENT);
	}
	gpmap_stats(g->map, &stats);
	assert_true(stats.ram_pages == ram_pages && stats.present_pages == present);
	assert_true(stats.overhead_bytes <= gpmap_overhead_bytes(LIMIT, LIMIT));
}

static void finish(void)
{
	struct memmgr_stats stats;

	for (unsigned i = 0; i < HOST_BLOCKS; i++) {
		if (host_blocks[i].live)
			memmgr_free(mm, host_blocks[i].frame, host_blocks[i].order);
	}
	for (struct guest *g = guests; g < guests + GUESTS; g++) {
		if (!g->live)
			continue;
		for (; g->pins; g->pins--)
			gpmap_unpin(g->map, g->pin[g->pins - 1].leaf);
		while (gpmap_release_step(g->map, 1000) == ST_AGAIN)
			fake_stage2_flush_all(g->s2);
		gpmap_destroy(g->map);
		fake_stage2_destroy(g->s2);
		g->live = false;
	}
	ram_check(mm);
	memmgr_stats(mm, &stats);
	assert_true(stats.frames[FRAME_HOST] == 1 + stats.table_bytes / PAGE_SIZE && stats.promised == 0);
	assert_true(stats.frames[FRAME_FREE] + stats.frames[FRAME_HOST] == FRAMES);
}

static void run(struct random_state *r)
{
	memset(host_blocks, 0, sizeof host_blocks);
	ram_dirty(&ram);
	mm = ram_memmgr(&ram, random_below(r, 30), random_below(r, 6), 0);
	for (int i = 0; i < STEPS; i++) {
		for (unsigned n = 0; n < 4; n++)
			guest_step(r, &guests[random_below(r, GUESTS)]);
		if (random_below(r, 3) == 0)
			host_step(r);
		if (random_below(r, 8) == 0)
			idle_step(r);
		compare(&guests[random_below(r, GUESTS)]);
		ram_check(mm);
	}
	finish();
}

static void against_a_naive_machine(void **state)
{
	(void)state;
	ram = ram_map((uint64_t)FRAMES << PAGE_SHIFT);
	random_runs(8, run);
	ram_unmap(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(against_a_naive_machine)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
