/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three numbers by which every resource is given out, at every level:
 * reservation (admitted floor), limit (ceiling), shares (weight in between).
 */
#ifndef CORBEL_LIB_RLS_H
#define CORBEL_LIB_RLS_H

#include <stdbool.h>
#include <stdint.h>

#define RLS_UNLIMITED UINT64_MAX
#define RLS_SHARES_DEFAULT 1000u
#define RLS_SHARES_MAX 1000000u

struct rls {
	uint64_t reservation; /* in the manager's unit (bytes, ppm of a CPU, ...) */
	uint64_t limit;       /* same unit, RLS_UNLIMITED for none */
	uint32_t shares;      /* 1..RLS_SHARES_MAX */
};

static inline bool rls_valid(const struct rls *r)
{
	return r->reservation <= r->limit && r->shares >= 1 && r->shares <= RLS_SHARES_MAX;
}

static inline bool rls_same(const struct rls *a, const struct rls *b)
{
	return a->reservation == b->reservation && a->limit == b->limit && a->shares == b->shares;
}

#endif
