/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Physical memory for parsers under test: one buffer that appears at a chosen
 * address, and nothing around it.
 */
#ifndef CORBEL_TESTS_FAKES_PHYS_BUFFER_H
#define CORBEL_TESTS_FAKES_PHYS_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "firmware/phys.h"

struct phys_buffer {
	uint64_t base;
	const uint8_t *bytes;
	uint64_t len;
};

static inline const void *phys_buffer_map(void *ctx, hpa_t at, uint64_t len)
{
	const struct phys_buffer *b = ctx;

	if (at.v < b->base || len > b->len || at.v - b->base > b->len - len)
		return NULL;
	return b->bytes + (at.v - b->base);
}

/* A reader over @b, which outlives it. */
static inline struct phys_reader phys_buffer_reader(struct phys_buffer *b)
{
	return (struct phys_reader){.map = phys_buffer_map, .ctx = b};
}

#endif
