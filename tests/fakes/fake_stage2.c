/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three levels: 1 GiB slots, each a leaf or a table of 2 MiB slots, each a leaf
 * or a table of 4 KiB slots, as in EPT below its top level. Tables stay once
 * made, so that an emptied one stands in the way of a larger leaf as it does in
 * hardware.
 */
#include "tests/fakes/fake_stage2.h"

#include <stdlib.h>

#include "lib/assert.h"

#define FANOUT 512u

struct slot {
	struct slot *table; /* the level below, or NULL */
	uint64_t frame;
	unsigned prot; /* 0: no leaf */
	enum s2_memtype memtype;
};

struct stale {
	uint64_t frame, frames, generation;
	struct stale *next;
};

struct stage2 {
	struct slot *top;
	uint64_t gfn_limit, top_slots;
	uint64_t leaves[ORDER_1G + 1];
	unsigned fail_prepare;
	bool use_tickets;
	uint64_t issued, completed;
	struct stale *stale;
	uint64_t split_gfn; /* what split_prepare reserved, + 1 */
	unsigned split_order;
	struct stage2 *next; /* all fakes of the process */
};

static struct stage2 *all;

struct stage2 *fake_stage2_create(uint64_t gfn_limit)
{
	struct stage2 *s2 = calloc(1, sizeof *s2);

	s2->gfn_limit = gfn_limit;
	s2->top_slots = (gfn_limit + BIT(ORDER_1G) - 1) >> ORDER_1G;
	s2->top = calloc(s2->top_slots, sizeof *s2->top);
	s2->next = all;
	all = s2;
	return s2;
}

static void free_table(struct slot *table, uint64_t slots)
{
	for (uint64_t i = 0; i < slots; i++) {
		if (table[i].table)
			free_table(table[i].table, FANOUT);
	}
	free(table);
}

static void complete(struct stage2 *s2, uint64_t generation)
{
	struct stale **at = &s2->stale;

	s2->completed = generation;
	while (*at) {
		struct stale *s = *at;

		if (s->generation > generation) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		free(s);
	}
}

void fake_stage2_destroy(struct stage2 *s2)
{
	struct stage2 **at = &all;

	while (*at != s2)
		at = &(*at)->next;
	*at = s2->next;
	complete(s2, UINT64_MAX);
	free_table(s2->top, s2->top_slots);
	free(s2);
}

bool fake_stage2_fail_prepare(struct stage2 *s2, unsigned nth)
{
	bool waiting = s2->fail_prepare != 0;

	s2->fail_prepare = nth;
	return waiting;
}

void fake_stage2_use_tickets(struct stage2 *s2, bool on) { s2->use_tickets = on; }
uint64_t fake_stage2_leaves(const struct stage2 *s2, unsigned order) { return s2->leaves[order]; }

void fake_stage2_flush(struct stage2 *s2, uint64_t tickets)
{
	complete(s2, MIN(s2->completed + tickets, s2->issued));
}

void fake_stage2_flush_all(struct stage2 *s2) { complete(s2, s2->issued); }

bool fake_stage2_stale(hfn_t frame)
{
	for (struct stage2 *s2 = all; s2; s2 = s2->next) {
		for (struct stale *s = s2->stale; s; s = s->next) {
			if (frame.v >= s->frame && frame.v - s->frame < s->frames)
				return true;
		}
	}
	return false;
}

static unsigned below(unsigned order)
{
	ASSERT(order == ORDER_1G || order == ORDER_2M);
	return order - 9;
}

/* The slot for @order over @gfn, made if @make; NULL when a table or leaf above it is missing or in the way. */
static struct slot *find(struct stage2 *s2, uint64_t gfn, unsigned order, bool make)
{
	struct slot *slot;

	ASSERT(gfn < s2->gfn_limit);
	slot = &s2->top[gfn >> ORDER_1G];
	for (unsigned at = ORDER_1G; at > order;) {
		if (!slot->table && make && slot->prot == 0)
			slot->table = calloc(FANOUT, sizeof *slot);
		if (!slot->table)
			return NULL;
		at = below(at);
		slot = &slot->table[(gfn >> at) % FANOUT];
	}
	return slot;
}

/* The slot of the leaf over @gfn, and its order; NULL for a hole. */
static struct slot *find_leaf(struct stage2 *s2, uint64_t gfn, unsigned *order)
{
	for (unsigned at = ORDER_1G;; at = below(at)) {
		struct slot *slot = find(s2, gfn, at, false);

		if (!slot)
			return NULL;
		if (slot->prot != 0) {
			*order = at;
			return slot;
		}
		if (at == ORDER_4K)
			return NULL;
	}
}

static bool prepare_fails(struct stage2 *s2)
{
	return s2->fail_prepare != 0 && --s2->fail_prepare == 0;
}

static enum status map_prepare(struct stage2 *s2, gfn_t gfn, unsigned order)
{
	struct slot *slot;

	ASSERT(is_aligned(gfn.v, BIT(order)) && gfn.v + BIT(order) <= align_up(s2->gfn_limit, BIT(ORDER_1G)));
	if (prepare_fails(s2))
		return ST_NO_MEMORY;
	slot = find(s2, gfn.v, order, true);
	ASSERT(slot && slot->prot == 0);
	return slot->table ? ST_EXISTS : ST_OK;
}

static void check_not_stale(uint64_t frame, unsigned order)
{
	for (struct stage2 *s2 = all; s2; s2 = s2->next) {
		for (struct stale *s = s2->stale; s; s = s->next)
			ASSERT(s->frame >= frame + BIT(order) || frame >= s->frame + s->frames);
	}
}

static void map_commit(struct stage2 *s2, gfn_t gfn, hfn_t hfn, unsigned order, unsigned prot, enum s2_memtype mt)
{
	struct slot *slot = find(s2, gfn.v, order, false);

	ASSERT(slot && slot->prot == 0 && !slot->table && prot != 0);
	ASSERT(is_aligned(hfn.v, BIT(order)));
	check_not_stale(hfn.v, order);
	*slot = (struct slot){.frame = hfn.v, .prot = prot, .memtype = mt};
	s2->leaves[order]++;
}

static enum status split_prepare(struct stage2 *s2, gfn_t gfn, unsigned order)
{
	unsigned have;

	ASSERT(find_leaf(s2, gfn.v, &have) && order == below(have));
	if (prepare_fails(s2))
		return ST_NO_MEMORY;
	s2->split_gfn = align_down(gfn.v, BIT(have)) + 1;
	s2->split_order = order;
	return ST_OK;
}

static struct flush_ticket split_commit(struct stage2 *s2, gfn_t gfn, unsigned order)
{
	unsigned have;
	struct slot *slot = find_leaf(s2, gfn.v, &have);
	struct slot part = *slot;

	ASSERT(s2->split_gfn == align_down(gfn.v, BIT(have)) + 1 && s2->split_order == order);
	s2->split_gfn = 0;
	slot->prot = 0;
	slot->table = calloc(FANOUT, sizeof *slot);
	for (unsigned i = 0; i < FANOUT; i++) {
		slot->table[i] = part;
		part.frame += BIT(order);
	}
	s2->leaves[have]--;
	s2->leaves[order] += FANOUT;
	return (struct flush_ticket){0};
}

static struct flush_ticket unmap(struct stage2 *s2, gfn_t gfn, unsigned order)
{
	struct slot *slot = find(s2, gfn.v, order, false);
	struct stale *s;

	ASSERT(slot && slot->prot != 0 && is_aligned(gfn.v, BIT(order)));
	slot->prot = 0;
	s2->leaves[order]--;
	if (!s2->use_tickets)
		return (struct flush_ticket){0};
	s = calloc(1, sizeof *s);
	*s = (struct stale){.frame = slot->frame, .frames = BIT(order), .generation = ++s2->issued, .next = s2->stale};
	s2->stale = s;
	return (struct flush_ticket){s2->issued};
}

static struct flush_ticket protect(struct stage2 *s2, gfn_t gfn, unsigned order, unsigned prot)
{
	struct slot *slot = find(s2, gfn.v, order, false);

	ASSERT(slot && slot->prot != 0 && prot != 0);
	slot->prot = prot;
	return (struct flush_ticket){s2->use_tickets ? ++s2->issued : 0};
}

static struct flush_ticket harvest(struct stage2 *s2, gfn_t gfn, bool *accessed, bool *dirty)
{
	(void)s2;
	(void)gfn;
	*accessed = *dirty = false;
	return (struct flush_ticket){0};
}

static bool flush_done(struct stage2 *s2, struct flush_ticket ticket)
{
	ASSERT(ticket.generation <= s2->issued);
	return ticket.generation <= s2->completed;
}

static struct s2_leaf describe(const struct slot *slot, uint64_t gfn_in, unsigned order)
{
	return (struct s2_leaf){
		.gfn = gfn(align_down(gfn_in, BIT(order))),
		.hfn = hfn(slot->frame),
		.order = order,
		.prot = slot->prot,
		.memtype = slot->memtype,
	};
}

static bool lookup(struct stage2 *s2, gfn_t gfn, struct s2_leaf *out)
{
	unsigned order;
	struct slot *slot = find_leaf(s2, gfn.v, &order);

	if (!slot)
		return false;
	*out = describe(slot, gfn.v, order);
	return true;
}

static bool walk_table(const struct slot *table, uint64_t slots, uint64_t base, unsigned order,
		       bool (*fn)(void *ctx, const struct s2_leaf *leaf), void *ctx)
{
	for (uint64_t i = 0; i < slots; i++) {
		struct s2_leaf leaf = describe(&table[i], base + (i << order), order);

		if (table[i].prot != 0 && !fn(ctx, &leaf))
			return false;
		if (table[i].table && !walk_table(table[i].table, FANOUT, base + (i << order), below(order), fn, ctx))
			return false;
	}
	return true;
}

static void walk(struct stage2 *s2, bool (*fn)(void *ctx, const struct s2_leaf *leaf), void *ctx)
{
	walk_table(s2->top, s2->top_slots, 0, ORDER_1G, fn, ctx);
}

bool fake_stage2_corrupt(struct stage2 *s2, gfn_t gfn)
{
	unsigned order;
	struct slot *slot = find_leaf(s2, gfn.v, &order);

	if (!slot)
		return false;
	slot->frame ^= BIT(order);
	return true;
}

const struct stage2_ops fake_stage2_ops = {
	.map_prepare = map_prepare,
	.map_commit = map_commit,
	.split_prepare = split_prepare,
	.split_commit = split_commit,
	.unmap = unmap,
	.protect = protect,
	.harvest = harvest,
	.flush_done = flush_done,
	.lookup = lookup,
	.walk = walk,
};
