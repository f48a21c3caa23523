/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A heap in one block of memory: what an interpreter may use, and all of it.
 * Good fit over size classes in two levels (TLSF: Masmano, Ripoll et al., 2004),
 * so that every call takes constant time; neighbours that are free are merged at
 * once. Dropping the block drops everything in it: there is no clean-up to run.
 */
#ifndef CORBEL_LUA_HEAP_H
#define CORBEL_LUA_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAP_ALIGN 16u
#define HEAP_SECOND_BITS 3u /* each power of two is cut into 8 classes */
#define HEAP_SECOND (1u << HEAP_SECOND_BITS)
#define HEAP_FIRST 26u      /* powers of two from 128 bytes up to blocks of 4 GiB */

struct heap_block;

struct heap {
	uint32_t first_map;              /* powers of two with a free block */
	uint8_t second_map[HEAP_FIRST];  /* and their classes */
	struct heap_block *free[HEAP_FIRST][HEAP_SECOND];
	struct heap_block *start, *end;  /* @end is a sentinel, always in use */
	size_t size;                     /* bytes given at the start */
	size_t used;                     /* bytes in blocks that are in use, headers included */
	size_t peak;
};

/* Takes @memory (any alignment, at least 1 KiB); it stays the caller's and outlives the heap. */
void heap_init(struct heap *h, void *memory, size_t size);
/* NULL when nothing fits. Aligned to HEAP_ALIGN, content undefined. */
void *heap_alloc(struct heap *h, size_t size);
/* @p may be NULL. */
void heap_free(struct heap *h, void *p);
/* Grows in place where it can; on failure NULL, and @p is as before. Shrinking cannot fail. @size > 0. */
void *heap_realloc(struct heap *h, void *p, size_t size);
/* Bytes of the largest free block, for want of which an allocation fails though more is free. */
size_t heap_largest(const struct heap *h);
/* Walks all blocks and lists; true when they agree. For tests. */
bool heap_check(const struct heap *h);

#endif
