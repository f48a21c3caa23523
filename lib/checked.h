/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic on outside values: each returns true when the exact result does
 * not fit, and then *out is not to be used.
 */
#ifndef CORBEL_LIB_CHECKED_H
#define CORBEL_LIB_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool add_overflows(uint64_t a, uint64_t b, uint64_t *out) { return __builtin_add_overflow(a, b, out); }
static inline bool mul_overflows(uint64_t a, uint64_t b, uint64_t *out) { return __builtin_mul_overflow(a, b, out); }

/* True when [start, start + len) lies inside [0, limit). */
static inline bool range_fits(uint64_t start, uint64_t len, uint64_t limit)
{
	return start <= limit && len <= limit - start;
}

#endif
