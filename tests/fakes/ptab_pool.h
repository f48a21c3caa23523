/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page-table pages for tests: a pool at made-up physical addresses, which can
 * run dry after a chosen number.
 */
#ifndef CORBEL_TESTS_FAKES_PTAB_POOL_H
#define CORBEL_TESTS_FAKES_PTAB_POOL_H

#include "firmware/ptab.h"

#define PTAB_POOL_TABLES 64u
#define PTAB_POOL_BASE 0x7000000000ull

struct ptab_pool {
	uint64_t table[PTAB_POOL_TABLES][PTAB_ENTRIES];
	unsigned used, limit;
};

/* An empty pool of @limit tables, with the root of @t taken from it. */
void ptab_pool_init(struct ptab_pool *p, struct ptab *t, unsigned limit, unsigned max_order);

#endif
