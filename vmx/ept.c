/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One guest's EPT tables behind struct stage2_ops. Tables are linked by prepare
 * and never unlinked by unmap, so a commit only writes leaves. Where a large leaf
 * takes the place of an empty table, the table is retired: processors may still
 * cache its address, so its frame is freed once every CPU has flushed. Entries
 * are single 64-bit stores: a processor walking concurrently sees old or new.
 *
 * Raising a generation and becoming active cross: the one stores the generation
 * and then reads who is active, the other stores that it is active and then reads
 * the generation, both in one order for all (SEQ_CST). So either the ticket waits
 * for the CPU, or the CPU flushes before it enters.
 */
#include "vmx/ept.h"

#include "lib/assert.h"

static uint64_t *table(const struct stage2 *s2, hfn_t frame) { return s2->frames->va(s2->frames->ctx, frame); }

/* What an entry points to is whole before the entry is seen. */
static void store(uint64_t *slot, uint64_t entry) { __atomic_store_n(slot, entry, __ATOMIC_RELEASE); }
static uint64_t load(const uint64_t *slot) { return __atomic_load_n(slot, __ATOMIC_ACQUIRE); }

static unsigned level_of(unsigned order)
{
	ASSERT(order == ORDER_4K || order == ORDER_2M || order == ORDER_1G);
	return order / EPT_INDEX_BITS;
}

static void clear_table(uint64_t *t)
{
	for (unsigned i = 0; i < EPT_ENTRIES; i++)
		t[i] = EPT_ENTRY_NONE;
}

static bool all_none(const uint64_t *t)
{
	for (unsigned i = 0; i < EPT_ENTRIES; i++)
		if (ept_present(t[i]))
			return false;
	return true;
}

/* ---- generations ---- */

bool ept_awaits(const struct stage2 *s2, unsigned cpu, uint64_t generation)
{
	return cpuset_has(&s2->active, cpu) && __atomic_load_n(&s2->seen[cpu], __ATOMIC_ACQUIRE) < generation;
}

bool ept_all_seen(const struct stage2 *s2, uint64_t generation)
{
	for (unsigned cpu = cpuset_next(&s2->active, 0); cpu < CPUSET_MAX; cpu = cpuset_next(&s2->active, cpu + 1))
		if (ept_awaits(s2, cpu, generation))
			return false;
	return true;
}

static void free_retired(struct stage2 *s2)
{
	while (s2->retired) {
		hfn_t frame = hfn(s2->retired - 1);
		uint64_t next = table(s2, frame)[0] & ~EPT_SUPPRESS_VE;

		s2->frames->free(s2->frames->ctx, frame);
		s2->tables--;
		s2->retired = next >> PAGE_SHIFT;
	}
}

/* Polled: a CPU that flushes has no lock to free under. */
static void poll_retired(struct stage2 *s2)
{
	if (unlikely(s2->retired) && ept_all_seen(s2, s2->retired_generation))
		free_retired(s2);
}

void ept_sync(struct stage2 *s2, unsigned cpu)
{
	uint64_t generation;

	ASSERT(cpu < EPT_CPUS_MAX);
	ept_activate(s2, cpu);
	/* Read first: what is raised while we flush is not seen yet. */
	generation = __atomic_load_n(&s2->generation, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&s2->seen[cpu], __ATOMIC_RELAXED) == generation)
		return;
	s2->invalidate(s2);
	__atomic_store_n(&s2->seen[cpu], generation, __ATOMIC_RELEASE);
}

void ept_put(struct stage2 *s2, unsigned cpu) { cpuset_remove(&s2->active, cpu); }

static struct flush_ticket lowered(struct stage2 *s2)
{
	uint64_t generation = __atomic_add_fetch(&s2->generation, 1, __ATOMIC_SEQ_CST);

	s2->raised(s2);
	return (struct flush_ticket){generation};
}

static bool flush_done(struct stage2 *s2, struct flush_ticket ticket)
{
	unsigned cpu = s2->this_cpu();

	if (ept_awaits(s2, cpu, ticket.generation))
		ept_sync(s2, cpu);
	poll_retired(s2);
	return ticket.generation == 0 || ept_all_seen(s2, ticket.generation);
}

/* ---- frames of tables ---- */

static enum status new_table(struct stage2 *s2, hfn_t *out)
{
	hfn_t frame;

	if (!s2->frames->alloc(s2->frames->ctx, &frame))
		return ST_NO_MEMORY;
	clear_table(table(s2, frame));
	s2->tables++;
	*out = frame;
	return ST_OK;
}

/*
 * The frame is freed later; until then it stays a table of holes. The list runs
 * through entry 0: without rights, its address bits mean nothing to a processor.
 */
static void retire(struct stage2 *s2, hfn_t frame)
{
	table(s2, frame)[0] = EPT_ENTRY_NONE | s2->retired << PAGE_SHIFT;
	s2->retired = frame.v + 1;
	s2->last_table = NULL;
	s2->retired_generation = lowered(s2).generation;
}

enum status ept_init(struct stage2 *s2, const struct ept_frames *frames)
{
	s2->frames = frames;
	s2->generation = 1;
	return new_table(s2, &s2->root);
}

static void free_table(struct stage2 *s2, hfn_t frame, unsigned level)
{
	const uint64_t *t = table(s2, frame);

	for (unsigned i = 0; level > 0 && i < EPT_ENTRIES; i++)
		if (ept_present(t[i]) && !ept_is_leaf(t[i], level))
			free_table(s2, ept_frame(t[i]), level - 1);
	s2->frames->free(s2->frames->ctx, frame);
	s2->tables--;
}

void ept_destroy(struct stage2 *s2)
{
	free_retired(s2);
	free_table(s2, s2->root, EPT_LEVELS - 1);
	for (; s2->reserved; s2->reserved--, s2->tables--)
		s2->frames->free(s2->frames->ctx, s2->reserve[s2->reserved - 1]);
	ASSERT(s2->tables == 0);
}

uint64_t ept_pointer(const struct stage2 *s2)
{
	return hfn_to_hpa(s2->root).v | EPTP_WALK_4 | EPTP_MEMTYPE_WB |
	       (s2->use_accessed_dirty ? EPTP_ACCESSED_DIRTY : 0);
}

/* ---- the format ---- */

uint64_t ept_leaf_entry(hfn_t frame, unsigned order, unsigned prot, enum s2_memtype mt)
{
	uint64_t memtype = mt == S2_WB ? 6 : 0;

	ASSERT((prot & ~S2_RWX) == 0 && (prot & S2_READ));
	ASSERT(is_aligned(frame.v, 1ull << order));
	return hfn_to_hpa(frame).v | prot | memtype << EPT_MEMTYPE_SHIFT | (order == ORDER_4K ? 0 : EPT_LEAF) |
	       EPT_SUPPRESS_VE;
}

const char *ept_entry_fault(uint64_t entry, unsigned level, unsigned phys_bits, bool exec_only)
{
	uint64_t memtype = FIELD(entry, 5, 3);

	if (!ept_present(entry))
		return NULL;
	if ((entry & EPT_W) && !(entry & EPT_R))
		return "write without read";
	if (!(entry & EPT_R) && !exec_only)
		return "execute without read on a processor without execute-only pages";
	if (entry & EPT_ADDR_MASK & ~MASK(phys_bits - 1, 0))
		return "address beyond the physical-address width";
	if (!ept_is_leaf(entry, level))
		return entry & MASK(7, 3) ? "reserved bits 7:3 set in an entry that points to a table" : NULL;
	if (level == 3)
		return "leaf in the PML4 table";
	if (level > 0 && (entry & MASK(level * EPT_INDEX_BITS + PAGE_SHIFT - 1, PAGE_SHIFT)))
		return "address of a large leaf not aligned to its size";
	if (memtype == 2 || memtype == 3 || memtype == 7)
		return "reserved memory type";
	return NULL;
}

/* ---- walking ---- */

/*
 * The entry for @g at the lowest level that exists, not below @level; *at is its
 * level. It is a hole, a leaf, or (at *at == level) a table.
 */
static uint64_t *walk_down(struct stage2 *s2, gfn_t g, unsigned level, unsigned *at)
{
	uint64_t *t = table(s2, s2->root);

	ASSERT(g.v < EPT_GFN_LIMIT);
	for (unsigned l = EPT_LEVELS - 1;; l--) {
		uint64_t *slot = &t[ept_index(g, l)];

		if (l == 0) {
			s2->last_table = t;
			s2->last_region = g.v >> EPT_INDEX_BITS;
		}
		if (l == level || !ept_present(*slot) || ept_is_leaf(*slot, l)) {
			*at = l;
			return slot;
		}
		t = table(s2, ept_frame(*slot));
	}
}

/*
 * The same. A prepare and its commit, and the touches that follow, mostly end in
 * one table, which leaves the tree in retire() only: so the last one is kept.
 */
static inline bool in_last_table(const struct stage2 *s2, gfn_t g)
{
	return s2->last_table && g.v >> EPT_INDEX_BITS == s2->last_region;
}

static inline uint64_t *find(struct stage2 *s2, gfn_t g, unsigned level, unsigned *at)
{
	if (level == 0 && in_last_table(s2, g)) {
		*at = 0;
		return &s2->last_table[ept_index(g, 0)];
	}
	return walk_down(s2, g, level, at);
}

/* The leaf of exactly @order at @g. */
static uint64_t *leaf(struct stage2 *s2, gfn_t g, unsigned order)
{
	unsigned at, level = level_of(order);
	uint64_t *slot = find(s2, g, level, &at);

	ASSERT(at == level && ept_present(*slot) && ept_is_leaf(*slot, level));
	return slot;
}

__attribute__((noinline)) static enum status link_tables(struct stage2 *s2, gfn_t g, unsigned order)
{
	unsigned at, level = level_of(order);
	uint64_t *slot;

	if (g.v >= EPT_GFN_LIMIT)
		return ST_BAD_ADDRESS;
	if (order == ORDER_1G && !s2->use_1g)
		return ST_UNSUPPORTED;
	poll_retired(s2);
	/* A linked table of holes changes nothing that a guest can see, so a failure half-way needs no undoing. */
	while (slot = find(s2, g, level, &at), at > level) {
		hfn_t frame;
		enum status st = new_table(s2, &frame);

		if (st != ST_OK)
			return st;
		ASSERT(!ept_present(*slot));
		store(slot, hfn_to_hpa(frame).v | EPT_RWX | EPT_SUPPRESS_VE);
	}
	if (level > 0 && ept_present(*slot) && (ept_is_leaf(*slot, level) || !all_none(table(s2, ept_frame(*slot)))))
		return ST_EXISTS;
	return ST_OK;
}

static enum status map_prepare(struct stage2 *s2, gfn_t g, unsigned order)
{
	if (likely(order == ORDER_4K && in_last_table(s2, g)))
		return ST_OK;
	return link_tables(s2, g, order);
}

/* A large leaf takes the place of an empty table. */
__attribute__((noinline)) static void replace_table(struct stage2 *s2, uint64_t *slot, unsigned level, uint64_t entry)
{
	uint64_t old = *slot;

	ASSERT(!ept_is_leaf(old, level) && all_none(table(s2, ept_frame(old))));
	store(slot, entry);
	retire(s2, ept_frame(old));
}

static void map_commit(struct stage2 *s2, gfn_t g, hfn_t frame, unsigned order, unsigned prot, enum s2_memtype mt)
{
	unsigned at, level = level_of(order);
	uint64_t *slot = find(s2, g, level, &at);
	uint64_t entry = ept_leaf_entry(frame, order, prot, mt);

	ASSERT(at == level && is_aligned(g.v, 1ull << order));
	if (likely(!ept_present(*slot)))
		store(slot, entry);
	else
		replace_table(s2, slot, level, entry);
}

/* ---- splitting ---- */

/* Levels between the leaf over @g and @order: so many tables a split takes. */
static unsigned split_tables(struct stage2 *s2, gfn_t g, unsigned order)
{
	unsigned at;
	uint64_t *slot = find(s2, g, 0, &at);

	ASSERT(ept_present(*slot) && ept_is_leaf(*slot, at) && at >= level_of(order));
	return at - level_of(order);
}

static enum status split_prepare(struct stage2 *s2, gfn_t g, unsigned order)
{
	unsigned need = split_tables(s2, g, order);

	while (s2->reserved < need) {
		enum status st = new_table(s2, &s2->reserve[s2->reserved]);

		if (st != ST_OK)
			return st;
		s2->reserved++;
	}
	return ST_OK;
}

/* Replaces the leaf at @slot of @level by a table of leaves one level down, with the same rights and A/D bits. */
static void split_one(struct stage2 *s2, uint64_t *slot, unsigned level)
{
	uint64_t old = *slot, child = old, step = PAGE_SIZE << ((level - 1) * EPT_INDEX_BITS);
	uint64_t *t;

	ASSERT(s2->reserved > 0);
	t = table(s2, s2->reserve[--s2->reserved]);
	if (level == 1)
		child &= ~EPT_LEAF;
	for (unsigned i = 0; i < EPT_ENTRIES; i++, child += step)
		t[i] = child;
	store(slot, hfn_to_hpa(s2->reserve[s2->reserved]).v | EPT_RWX | EPT_SUPPRESS_VE);
}

static struct flush_ticket split_commit(struct stage2 *s2, gfn_t g, unsigned order)
{
	unsigned count = split_tables(s2, g, order), at;

	if (count == 0)
		return (struct flush_ticket){0};
	for (; count; count--) {
		uint64_t *slot = find(s2, g, 0, &at);

		split_one(s2, slot, at);
	}
	return lowered(s2);
}

/* ---- changing leaves ---- */

static struct flush_ticket unmap(struct stage2 *s2, gfn_t g, unsigned order)
{
	store(leaf(s2, g, order), EPT_ENTRY_NONE);
	return lowered(s2);
}

static struct flush_ticket protect(struct stage2 *s2, gfn_t g, unsigned order, unsigned prot)
{
	uint64_t *slot = leaf(s2, g, order), old = *slot;

	ASSERT((prot & ~S2_RWX) == 0 && (prot & S2_READ));
	store(slot, (old & ~EPT_RWX) | prot);
	/* More rights: a processor that still caches fewer faults once and looks again. */
	if ((old & EPT_RWX & ~(uint64_t)prot) == 0)
		return (struct flush_ticket){0};
	return lowered(s2);
}

static struct flush_ticket harvest(struct stage2 *s2, gfn_t g, bool *accessed, bool *dirty)
{
	unsigned at;
	uint64_t *slot = find(s2, g, 0, &at), old;

	ASSERT(ept_present(*slot) && ept_is_leaf(*slot, at));
	/* Processors set these bits by locked operations; so do we clear them. */
	old = __atomic_fetch_and(slot, ~(EPT_ACCESSED | EPT_DIRTY), __ATOMIC_SEQ_CST);
	*accessed = old & EPT_ACCESSED;
	*dirty = old & EPT_DIRTY;
	/* Until a flush a processor may use its cached copy and not set them again. */
	return *accessed || *dirty ? lowered(s2) : (struct flush_ticket){0};
}

/* ---- reading ---- */

static void describe(uint64_t entry, gfn_t g, unsigned level, struct s2_leaf *out)
{
	unsigned order = level * EPT_INDEX_BITS;

	*out = (struct s2_leaf){
		.gfn = gfn(align_down(g.v, 1ull << order)),
		.hfn = hfn(align_down(ept_frame(entry).v, 1ull << order)),
		.order = order,
		.prot = entry & EPT_RWX,
		.memtype = FIELD(entry, 5, 3) == 6 ? S2_WB : S2_UC,
		.accessed = entry & EPT_ACCESSED,
		.dirty = entry & EPT_DIRTY,
	};
}

static bool lookup(struct stage2 *s2, gfn_t g, struct s2_leaf *out)
{
	unsigned at;
	uint64_t *slot;

	if (g.v >= EPT_GFN_LIMIT)
		return false;
	slot = find(s2, g, 0, &at);
	if (!ept_present(*slot))
		return false;
	describe(*slot, g, at, out);
	return true;
}

/* Depth-first over one table; false when @fn asked to stop. The depth is EPT_LEVELS at most. */
static bool walk_table(struct stage2 *s2, hfn_t frame, unsigned level, gfn_t base,
		       bool (*fn)(void *ctx, const struct s2_leaf *leaf), void *ctx)
{
	const uint64_t *t = table(s2, frame);

	for (unsigned i = 0; i < EPT_ENTRIES; i++) {
		gfn_t g = gfn(base.v + ((uint64_t)i << (level * EPT_INDEX_BITS)));
		uint64_t entry = load(&t[i]);
		struct s2_leaf found;

		if (!ept_present(entry))
			continue;
		if (!ept_is_leaf(entry, level)) {
			if (!walk_table(s2, ept_frame(entry), level - 1, g, fn, ctx))
				return false;
			continue;
		}
		describe(entry, g, level, &found);
		if (!fn(ctx, &found))
			return false;
	}
	return true;
}

static void walk(struct stage2 *s2, bool (*fn)(void *ctx, const struct s2_leaf *leaf), void *ctx)
{
	walk_table(s2, s2->root, EPT_LEVELS - 1, gfn(0), fn, ctx);
}

const struct stage2_ops ept_ops = {
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
