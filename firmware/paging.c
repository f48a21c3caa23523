/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live page tables. They are built below 4 GiB while the loader's identity
 * map still reaches their pages; from the switch on, tables are reached through
 * the direct map that they themselves contain.
 *
 * Every mapping is global: there is one host address space and no PCID.
 */
#include "firmware/paging.h"

#include <string.h>

#include "firmware/cpu.h"
#include "firmware/paging_check.h"
#include "firmware/ptab.h"
#include "firmware/stack.h"
#include "firmware/symtab.h"
#include "lib/bits.h"
#include "lib/checked.h"
#include "lib/x86_asm.h"

#define RX PTE_G
#define R (PTE_G | PTE_NX)
#define RW (PTE_G | PTE_NX | PTE_W)
#define UC (PTE_PWT | PTE_PCD)
#define IDENTITY_LIMIT (4ull << 30)
#define VIEWS_MAX 48

/* board/corbel.ld */
extern const uint8_t boot_phys_start[], boot_text_phys_end[];
extern const uint8_t text_start[], text_end[], rodata_start[], rodata_end[], data_start[], data_end[];

/* A range mapped in the device window. */
struct view {
	uint64_t pa, len, va;
	uint64_t attrs;
};

static struct memmap *memory;
static bool live;            /* our tables are in CR3 */
static uint64_t table_pages;
static bool (*frame_get)(hpa_t *frame);
static void (*frame_put)(hpa_t frame);
static struct view views[VIEWS_MAX];
static unsigned view_count;
static uint64_t window_next = WINDOW_BASE;

static bool get_frame(hpa_t *out)
{
	if (frame_get)
		return frame_get(out);
	return memmap_alloc(memory, PAGE_SIZE, PAGE_SIZE, live ? DIRECT_MAP_BYTES : IDENTITY_LIMIT, out) == ST_OK;
}

static uint64_t *table_entries(void *ctx, hpa_t table)
{
	(void)ctx;
	return live ? direct_map(table) : (uint64_t *)table.v;
}

static bool alloc_table(void *ctx, hpa_t *out)
{
	if (!get_frame(out))
		return false;
	memset(table_entries(ctx, *out), 0, PAGE_SIZE);
	table_pages++;
	return true;
}

static struct ptab host = {.alloc = alloc_table, .entries = table_entries};

static enum status map_image_part(const uint8_t *start, const uint8_t *end, uint64_t attrs)
{
	uint64_t va = (uint64_t)start;

	return ptab_map(&host, va, hpa(va - IMAGE_OFFSET), (uint64_t)(end - start), attrs);
}

static enum status map_image(void)
{
	enum status st = map_image_part(text_start, text_end, RX);

	if (st == ST_OK)
		st = map_image_part(rodata_start, rodata_end, R);
	if (st == ST_OK)
		st = map_image_part(data_start, data_end, RW);
	return st;
}

static bool in_direct_map(enum memmap_type type)
{
	return type != MEMMAP_RESERVED && type != MEMMAP_UNUSABLE;
}

/*
 * Runs of neighbouring entries, so that a claim in the middle of RAM does not
 * cost the large pages around it. Returns how many.
 */
static unsigned collect_runs(struct span *runs)
{
	unsigned n = 0;

	for (unsigned i = 0; i < memory->count; i++) {
		const struct memmap_entry *e = &memory->entry[i];
		uint64_t end = MIN(e->end, DIRECT_MAP_BYTES);

		if (!in_direct_map(e->type) || e->start >= end)
			continue;
		if (n > 0 && runs[n - 1].end == e->start)
			runs[n - 1].end = end;
		else
			runs[n++] = (struct span){e->start, end};
	}
	return n;
}

static enum status map_direct(void)
{
	/* A copy: mapping takes tables out of the map while it goes. */
	static struct span runs[MEMMAP_MAX];
	unsigned n = collect_runs(runs);
	enum status st = ST_OK;

	for (unsigned i = 0; i < n && st == ST_OK; i++)
		st = ptab_map(&host, DIRECT_MAP_BASE + runs[i].start, hpa(runs[i].start), runs[i].end - runs[i].start,
			      RW);
	return st;
}

/* Takes the right to write from [start, end) of physical memory in the direct map. */
static enum status seal(uint64_t start, uint64_t end)
{
	return ptab_protect(&host, DIRECT_MAP_BASE + start, end - start, R);
}

static enum status build(void)
{
	enum status st;

	if (!alloc_table(NULL, &host.root))
		return ST_NO_MEMORY;
	st = map_image();
	if (st == ST_OK)
		st = map_direct();
	if (st == ST_OK)
		st = seal((uint64_t)boot_phys_start, (uint64_t)boot_text_phys_end);
	if (st == ST_OK)
		st = seal((uint64_t)text_start - IMAGE_OFFSET, (uint64_t)rodata_end - IMAGE_OFFSET);
	return st;
}

enum status paging_init(struct memmap *map, struct error *err)
{
	memory = map;
	host.max_order = the_cpu.page_1g ? ORDER_1G : ORDER_2M;
	if (build() != ST_OK)
		return fail(err, ST_NO_MEMORY, "no memory below 4 GiB for the page tables (%llu KiB used)",
			    (unsigned long long)table_pages * PAGE_SIZE / 1024);
	write_cr3(host.root.v);
	live = true;
	return ST_OK;
}

void paging_set_frame_source(bool (*get)(hpa_t *frame), void (*put)(hpa_t frame))
{
	frame_get = get;
	frame_put = put;
}

/* ---- the device window ---- */

static uint64_t window_map(uint64_t at, uint64_t len, uint64_t attrs)
{
	uint64_t start = align_down(at, PAGE_SIZE), end = align_up(at + len, PAGE_SIZE);
	struct view *v;

	for (unsigned i = 0; i < view_count; i++) {
		v = &views[i];
		if (v->attrs == attrs && v->pa <= start && end <= v->pa + v->len)
			return v->va + (at - v->pa);
	}
	if (view_count == VIEWS_MAX || end - start > WINDOW_BASE + WINDOW_BYTES - window_next)
		return 0;
	if (ptab_map(&host, window_next, hpa(start), end - start, attrs) != ST_OK)
		return 0;
	v = &views[view_count++];
	*v = (struct view){.pa = start, .len = end - start, .va = window_next, .attrs = attrs};
	window_next += v->len;
	return v->va + (at - start);
}

/* Addresses beyond what the CPU has would set reserved bits in a leaf. */
static bool is_physical(uint64_t at, uint64_t len)
{
	return len != 0 && range_fits(at, len, BIT(the_cpu.phys_bits));
}

volatile void *mmio_map(hpa_t at, uint64_t len)
{
	return is_physical(at.v, len) ? (volatile void *)window_map(at.v, len, RW | UC) : NULL;
}

static bool is_direct(uint64_t at, uint64_t len)
{
	struct ptab_leaf leaf;

	for (uint64_t page = align_down(at, PAGE_SIZE); page < at + len; page = leaf.va - DIRECT_MAP_BASE + leaf.len)
		if (!ptab_lookup(&host, DIRECT_MAP_BASE + page, &leaf))
			return false;
	return true;
}

static const void *window_read(void *ctx, hpa_t at, uint64_t len)
{
	(void)ctx;
	if (!is_physical(at.v, len))
		return NULL;
	if (range_fits(at.v, len, DIRECT_MAP_BYTES) && is_direct(at.v, len))
		return direct_map(at);
	return (const void *)window_map(at.v, len, R);
}

const struct phys_reader phys_window = {.map = window_read};

/* ---- stacks ---- */

enum status paging_map_stack_page(uint64_t va)
{
	hpa_t frame;

	if (!get_frame(&frame))
		return ST_NO_MEMORY;
	return ptab_map(&host, va, frame, PAGE_SIZE, RW);
}

void paging_unmap_stack_page(uint64_t va)
{
	hpa_t frame = ptab_unmap_4k(&host, va);

	invlpg((const void *)va);
	if (frame_put)
		frame_put(frame);
}

/* ---- self-check ---- */

struct guard_check {
	struct error *err;
	bool ok;
};

static void check_guard(void *ctx, const struct stack *s)
{
	struct guard_check *g = ctx;
	struct ptab_leaf leaf;

	if (!g->ok || !s->guarded)
		return;
	g->ok = !ptab_lookup(&host, s->lo - PAGE_SIZE, &leaf) && !ptab_lookup(&host, s->hi, &leaf);
	if (!g->ok)
		(void)fail(g->err, ST_CORRUPT, "page tables: stack '%s' has no guard page", s->name);
}

bool paging_selfcheck(struct error *err, unsigned *leaves)
{
	const struct paging_rules rules = {
		.direct = {DIRECT_MAP_BASE, DIRECT_MAP_BASE + DIRECT_MAP_BYTES},
		.window = {WINDOW_BASE, WINDOW_BASE + WINDOW_BYTES},
		.stacks = {STACKS_BASE, STACKS_BASE + STACKS_BYTES},
		.text = {(uint64_t)text_start, (uint64_t)text_end},
		.rodata = {(uint64_t)rodata_start, (uint64_t)rodata_end},
		.data = {(uint64_t)data_start, (uint64_t)data_end},
		.image_offset = IMAGE_OFFSET,
		.boot_text = {(uint64_t)boot_phys_start, (uint64_t)boot_text_phys_end},
		.map = memory,
	};
	struct guard_check g = {.err = err, .ok = true};
	struct ptab now = host;

	/* What the CPU uses, not what we believe it uses. */
	now.root = hpa(read_cr3() & PTE_ADDR_MASK);
	if (!paging_check(&now, &rules, err, leaves))
		return false;
	stack_for_each(check_guard, &g);
	return g.ok;
}

uint64_t paging_table_bytes(void)
{
	return table_pages * PAGE_SIZE;
}
