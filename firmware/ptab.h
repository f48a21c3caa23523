/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 4-level page tables as a data structure: map, protect, unmap, look up, walk.
 * Pure C: tables are reached through callbacks, so that the same code builds the
 * live tables and is tested on the host. Callers flush the TLB.
 *
 * Attributes are the low flag bits and NX of a leaf (PTE_W, PTE_PWT, PTE_PCD,
 * PTE_G, PTE_NX); present, size, accessed and dirty are added here. Intermediate
 * entries allow everything, the leaf decides. Large leaves select the first four
 * PAT entries only, so that the PAT bit needs no moving between sizes.
 */
#ifndef CORBEL_FIRMWARE_PTAB_H
#define CORBEL_FIRMWARE_PTAB_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/status.h"
#include "lib/x86_regs.h"

#define PTAB_ENTRIES 512u

struct ptab {
	hpa_t root;
	unsigned max_order; /* largest leaf: ORDER_1G, or ORDER_2M where the CPU has no 1 GiB pages */
	/* One zeroed table page; false when there is none. */
	bool (*alloc)(void *ctx, hpa_t *out);
	/* The entries of the table at @table. */
	uint64_t *(*entries)(void *ctx, hpa_t table);
	void *ctx;
};

struct ptab_leaf {
	uint64_t va;
	hpa_t pa;
	uint64_t len;   /* 4 KiB, 2 MiB or 1 GiB */
	uint64_t attrs; /* as stored, without address, P, A, D and PS */
};

/*
 * Maps [va, va + len) to [pa, pa + len), all multiples of 4 KiB, by the largest
 * leaves that fit. Nothing may be mapped there yet (ASSERT). ST_NO_MEMORY leaves a part mapped.
 */
enum status ptab_map(struct ptab *t, uint64_t va, hpa_t pa, uint64_t len, uint64_t attrs) MUST_CHECK;

/*
 * Gives the mapped parts of [va, va + len) the attributes @attrs, splitting large
 * leaves at its ends; holes stay holes. ST_NO_MEMORY: a split had no table, earlier parts are changed.
 */
enum status ptab_protect(struct ptab *t, uint64_t va, uint64_t len, uint64_t attrs) MUST_CHECK;

/* Unmaps the 4 KiB leaf at @va (ASSERT that there is one) and returns its frame. Tables are kept. */
hpa_t ptab_unmap_4k(struct ptab *t, uint64_t va);

/* False when @va is not mapped. */
bool ptab_lookup(const struct ptab *t, uint64_t va, struct ptab_leaf *out);

/* Calls @fn for every leaf by rising address until it returns false. */
void ptab_walk(const struct ptab *t, bool (*fn)(void *ctx, const struct ptab_leaf *leaf), void *ctx);

#endif
