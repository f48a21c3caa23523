/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Levels count from 0 (4 KiB leaves) to 3 (the root, PML4). An entry at level n
 * covers 2^(12 + 9n) bytes; leaves exist at levels 0 to 2. SDM 3A:4.5.
 */
#include "firmware/ptab.h"

#include "lib/assert.h"
#include "lib/bits.h"

#define ROOT_LEVEL 3u
#define LEVEL_BITS 9u
#define CANONICAL_SIGN BIT(47)
#define CANONICAL_HIGH MASK(63, 48)
#define ATTR_MASK (PTE_W | PTE_U | PTE_PWT | PTE_PCD | PTE_G | PTE_NX)

static unsigned level_shift(unsigned level)
{
	return PAGE_SHIFT + LEVEL_BITS * level;
}

static unsigned slot_of(uint64_t va, unsigned level)
{
	return (unsigned)(va >> level_shift(level)) & (PTAB_ENTRIES - 1);
}

static bool is_leaf(uint64_t entry, unsigned level)
{
	return (entry & PTE_P) && (level == 0 || (entry & PTE_PS));
}

static hpa_t entry_pa(uint64_t entry, unsigned level)
{
	/* Bit 12 of a large leaf is its PAT bit, not an address bit; it is never set here. */
	return hpa(entry & PTE_ADDR_MASK & ~(BIT(level_shift(level)) - 1));
}

static uint64_t make_leaf(hpa_t pa, uint64_t attrs, unsigned level)
{
	/* Accessed and dirty set at once: nobody reads them, and the CPU need not write them. */
	return pa.v | (attrs & ATTR_MASK) | PTE_P | PTE_A | PTE_D | (level > 0 ? PTE_PS : 0);
}

static uint64_t *table_of(const struct ptab *t, uint64_t entry)
{
	return t->entries(t->ctx, hpa(entry & PTE_ADDR_MASK));
}

/* Replaces a large leaf by a table of the next smaller size with the same meaning. */
static bool split(struct ptab *t, uint64_t *entry, unsigned level)
{
	hpa_t table, pa = entry_pa(*entry, level);
	uint64_t *sub;

	if (!t->alloc(t->ctx, &table))
		return false;
	sub = t->entries(t->ctx, table);
	for (unsigned i = 0; i < PTAB_ENTRIES; i++)
		sub[i] = make_leaf(hpa(pa.v + ((uint64_t)i << level_shift(level - 1))), *entry, level - 1);
	*entry = table.v | PTE_P | PTE_W;
	return true;
}

/*
 * The entry for @va at @level, making tables and splitting leaves on the way.
 * NULL when no table could be had.
 */
static uint64_t *descend(struct ptab *t, uint64_t va, unsigned level)
{
	uint64_t *table = t->entries(t->ctx, t->root);

	for (unsigned l = ROOT_LEVEL; l > level; l--) {
		uint64_t *entry = &table[slot_of(va, l)];
		hpa_t fresh;

		if (is_leaf(*entry, l) && !split(t, entry, l))
			return NULL;
		if (!(*entry & PTE_P)) {
			if (!t->alloc(t->ctx, &fresh))
				return NULL;
			*entry = fresh.v | PTE_P | PTE_W;
		}
		table = table_of(t, *entry);
	}
	return &table[slot_of(va, level)];
}

/* The existing entry that decides about @va: a leaf or a hole; its level in *level. */
static uint64_t *find(const struct ptab *t, uint64_t va, unsigned *level)
{
	uint64_t *table = t->entries(t->ctx, t->root);
	unsigned l = ROOT_LEVEL;

	for (;; l--) {
		uint64_t *entry = &table[slot_of(va, l)];

		if (l == 0 || !(*entry & PTE_P) || is_leaf(*entry, l)) {
			*level = l;
			return entry;
		}
		table = table_of(t, *entry);
	}
}

static unsigned best_level(const struct ptab *t, uint64_t va, uint64_t pa, uint64_t len)
{
	unsigned level = t->max_order / LEVEL_BITS;

	while (level > 0 && (!is_aligned(va | pa, BIT(level_shift(level))) || len < BIT(level_shift(level))))
		level--;
	return level;
}

enum status ptab_map(struct ptab *t, uint64_t va, hpa_t pa, uint64_t len, uint64_t attrs)
{
	ASSERT(is_aligned(va | pa.v | len, PAGE_SIZE));
	while (len > 0) {
		unsigned level = best_level(t, va, pa.v, len);
		uint64_t *entry = descend(t, va, level);

		if (!entry)
			return ST_NO_MEMORY;
		ASSERT(!(*entry & PTE_P));
		*entry = make_leaf(pa, attrs, level);
		va += BIT(level_shift(level));
		pa.v += BIT(level_shift(level));
		len -= BIT(level_shift(level));
	}
	return ST_OK;
}

enum status ptab_protect(struct ptab *t, uint64_t va, uint64_t len, uint64_t attrs)
{
	ASSERT(is_aligned(va | len, PAGE_SIZE));
	while (len > 0) {
		unsigned level;
		uint64_t *entry = find(t, va, &level);
		uint64_t size = BIT(level_shift(level));
		uint64_t rest = size - (va & (size - 1)); /* of what this entry covers */

		if ((*entry & PTE_P) && (rest != size || len < size)) {
			if (!split(t, entry, level))
				return ST_NO_MEMORY;
			continue;
		}
		if (*entry & PTE_P)
			*entry = make_leaf(entry_pa(*entry, level), attrs, level);
		rest = MIN(rest, len);
		va += rest;
		len -= rest;
	}
	return ST_OK;
}

hpa_t ptab_unmap_4k(struct ptab *t, uint64_t va)
{
	unsigned level;
	uint64_t *entry = find(t, va, &level);
	hpa_t pa = entry_pa(*entry, 0);

	ASSERT(level == 0 && (*entry & PTE_P));
	*entry = 0;
	return pa;
}

static struct ptab_leaf describe(uint64_t va, uint64_t entry, unsigned level)
{
	return (struct ptab_leaf){
		.va = va,
		.pa = entry_pa(entry, level),
		.len = BIT(level_shift(level)),
		.attrs = entry & ~(PTE_ADDR_MASK | PTE_P | PTE_A | PTE_D | (level > 0 ? PTE_PS : 0)),
	};
}

bool ptab_lookup(const struct ptab *t, uint64_t va, struct ptab_leaf *out)
{
	unsigned level;
	uint64_t entry = *find(t, va, &level);

	if (!(entry & PTE_P))
		return false;
	*out = describe(align_down(va, BIT(level_shift(level))), entry, level);
	return true;
}

struct walk {
	const struct ptab *t;
	bool (*fn)(void *ctx, const struct ptab_leaf *leaf);
	void *ctx;
};

/* Recursion is four levels deep at most. */
static bool walk_table(const struct walk *w, uint64_t *table, uint64_t base, unsigned level)
{
	for (unsigned i = 0; i < PTAB_ENTRIES; i++) {
		uint64_t va = base + ((uint64_t)i << level_shift(level));
		struct ptab_leaf leaf;

		if (!(table[i] & PTE_P))
			continue;
		if (va & CANONICAL_SIGN)
			va |= CANONICAL_HIGH;
		if (!is_leaf(table[i], level)) {
			if (!walk_table(w, table_of(w->t, table[i]), va, level - 1))
				return false;
			continue;
		}
		leaf = describe(va, table[i], level);
		if (!w->fn(w->ctx, &leaf))
			return false;
	}
	return true;
}

void ptab_walk(const struct ptab *t, bool (*fn)(void *ctx, const struct ptab_leaf *leaf), void *ctx)
{
	struct walk w = {t, fn, ctx};

	(void)walk_table(&w, t->entries(t->ctx, t->root), 0, ROOT_LEVEL);
}
