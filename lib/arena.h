/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bump allocator over one block: an object made of several parts is created
 * in it and dropped whole with it, so creation needs no unwinding.
 */
#ifndef CORBEL_LIB_ARENA_H
#define CORBEL_LIB_ARENA_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct arena {
	uint8_t *base; /* owned by the creator */
	size_t size, used;
};

static inline void arena_init(struct arena *a, void *base, size_t size)
{
	a->base = base;
	a->size = size;
	a->used = 0;
}

/* Zeroed @size bytes aligned to @align (a power of two up to the block's own alignment); NULL when full. */
static inline void *arena_alloc(struct arena *a, size_t size, size_t align)
{
	size_t start = (a->used + align - 1) & ~(align - 1);

	if (start > a->size || size > a->size - start)
		return NULL;
	a->used = start + size;
	return memset(a->base + start, 0, size);
}

#endif
