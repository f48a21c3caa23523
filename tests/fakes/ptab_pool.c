/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Table n of the pool lives at PTAB_POOL_BASE + n pages.
 */
#include "tests/fakes/ptab_pool.h"

#include <string.h>

#include "lib/assert.h"

static bool take(void *ctx, hpa_t *out)
{
	struct ptab_pool *p = ctx;

	if (p->used == p->limit)
		return false;
	memset(p->table[p->used], 0, sizeof(p->table[0]));
	*out = hpa(PTAB_POOL_BASE + p->used++ * PAGE_SIZE);
	return true;
}

static uint64_t *entries(void *ctx, hpa_t table)
{
	struct ptab_pool *p = ctx;
	uint64_t n = (table.v - PTAB_POOL_BASE) / PAGE_SIZE;

	ASSERT(table.v >= PTAB_POOL_BASE && n < p->used);
	return p->table[n];
}

void ptab_pool_init(struct ptab_pool *p, struct ptab *t, unsigned limit, unsigned max_order)
{
	p->used = 0;
	p->limit = limit;
	*t = (struct ptab){.max_order = max_order, .alloc = take, .entries = entries, .ctx = p};
	ASSERT(take(p, &t->root));
}
