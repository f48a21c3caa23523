/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks lie one behind another. Each starts with its size and with the place of
 * its lower neighbour, so that both neighbours are found without a search; a
 * free block keeps its list links where its content would be.
 *
 * A class holds blocks of at least its lower bound. A request is rounded up to
 * the next class's lower bound before the search, so that the first block of
 * any list that is found fits.
 */
#include "lua/heap.h"

#include <string.h>

#include "lib/assert.h"
#include "lib/bits.h"

struct heap_block {
	struct heap_block *below; /* lower neighbour; NULL for the first */
	size_t size;              /* of the whole block; bit 0: free */
	struct heap_block *next, *prev; /* only while free */
};

#define HEADER offsetof(struct heap_block, next)
#define BLOCK_MIN sizeof(struct heap_block)
#define FREE_BIT ((size_t)1)
#define FIRST_SHIFT 7u /* blocks below 2^7 share the first row */

_Static_assert(HEADER == HEAP_ALIGN, "content starts aligned");
_Static_assert(BLOCK_MIN % HEAP_ALIGN == 0, "blocks keep the alignment");

static size_t size_of(const struct heap_block *b)
{
	return b->size & ~FREE_BIT;
}

static bool is_free(const struct heap_block *b)
{
	return b->size & FREE_BIT;
}

static struct heap_block *above(const struct heap_block *b)
{
	return (struct heap_block *)((uintptr_t)b + size_of(b));
}

static void *content(struct heap_block *b)
{
	return (uint8_t *)b + HEADER;
}

static struct heap_block *block_of(void *p)
{
	return (struct heap_block *)((uint8_t *)p - HEADER);
}

/* The class whose lower bound is at or below @size. */
static void class_of(size_t size, unsigned *first, unsigned *second)
{
	unsigned top;

	if (size < BIT(FIRST_SHIFT)) {
		*first = 0;
		*second = (unsigned)(size / HEAP_ALIGN);
		return;
	}
	top = bit_highest(size);
	*first = top - FIRST_SHIFT + 1;
	*second = (unsigned)(size >> (top - HEAP_SECOND_BITS)) & (HEAP_SECOND - 1);
}

static void list_in(struct heap *h, struct heap_block *b)
{
	unsigned first, second;
	struct heap_block **head;

	class_of(size_of(b), &first, &second);
	head = &h->free[first][second];
	b->size |= FREE_BIT;
	b->prev = NULL;
	b->next = *head;
	if (*head)
		(*head)->prev = b;
	*head = b;
	h->first_map |= 1u << first;
	h->second_map[first] |= (uint8_t)(1u << second);
}

static void list_out(struct heap *h, struct heap_block *b)
{
	unsigned first, second;

	class_of(size_of(b), &first, &second);
	if (b->next)
		b->next->prev = b->prev;
	if (b->prev)
		b->prev->next = b->next;
	else
		h->free[first][second] = b->next;
	b->size &= ~FREE_BIT;
	if (h->free[first][second])
		return;
	h->second_map[first] &= (uint8_t) ~(1u << second);
	if (h->second_map[first] == 0)
		h->first_map &= ~(1u << first);
}

void heap_init(struct heap *h, void *memory, size_t size)
{
	uintptr_t from = align_up((uintptr_t)memory, HEAP_ALIGN);
	uintptr_t to = align_down((uintptr_t)memory + size, HEAP_ALIGN);

	ASSERT(size >= 1024 && size < BIT(32));
	memset(h, 0, sizeof *h);
	h->size = size;
	h->start = (struct heap_block *)from;
	h->end = (struct heap_block *)(to - HEADER);
	h->start->below = NULL;
	h->start->size = (uintptr_t)h->end - from;
	h->end->below = h->start;
	h->end->size = HEADER;
	list_in(h, h->start);
}

/* The size of a block for @size bytes of content; 0 when there can be none. */
static size_t block_size(const struct heap *h, size_t size)
{
	if (size > h->size)
		return 0;
	return MAX(align_up(size + HEADER, HEAP_ALIGN), BLOCK_MIN);
}

/* A free block of at least @size bytes, NULL when there is none. */
static struct heap_block *find(const struct heap *h, size_t size)
{
	unsigned first, second, map;

	if (size >= BIT(FIRST_SHIFT)) /* round up to the next lower bound */
		size += BIT(bit_highest(size) - HEAP_SECOND_BITS) - 1;
	class_of(size, &first, &second);
	if (first >= HEAP_FIRST)
		return NULL;
	map = h->second_map[first] & (~0u << second);
	if (map == 0) {
		uint32_t higher = first + 1 < 32 ? h->first_map & (~0u << (first + 1)) : 0;

		if (higher == 0)
			return NULL;
		first = bit_lowest(higher);
		map = h->second_map[first];
	}
	return h->free[first][bit_lowest(map)];
}

size_t heap_largest(const struct heap *h)
{
	unsigned first;
	size_t most = 0;

	if (h->first_map == 0)
		return 0;
	first = bit_highest(h->first_map);
	for (struct heap_block *b = h->free[first][bit_highest(h->second_map[first])]; b; b = b->next)
		most = MAX(most, size_of(b));
	return most;
}

/* Cuts @b, which is in use, down to @size and frees the rest when it can be a block. */
static void trim(struct heap *h, struct heap_block *b, size_t size)
{
	size_t rest = size_of(b) - size;
	struct heap_block *tail, *next = above(b);

	if (rest < BLOCK_MIN)
		return;
	b->size = size;
	tail = above(b);
	tail->below = b;
	tail->size = rest;
	next->below = tail;
	if (is_free(next)) {
		list_out(h, next);
		tail->size += size_of(next);
		above(tail)->below = tail;
	}
	list_in(h, tail);
}

static void account(struct heap *h, size_t before, size_t after)
{
	h->used += after - before;
	h->peak = MAX(h->peak, h->used);
}

void *heap_alloc(struct heap *h, size_t size)
{
	size_t need = block_size(h, size);
	struct heap_block *b = need ? find(h, need) : NULL;

	if (!b)
		return NULL;
	list_out(h, b);
	trim(h, b, need);
	account(h, 0, size_of(b));
	return content(b);
}

void heap_free(struct heap *h, void *p)
{
	struct heap_block *b, *next, *below;

	if (!p)
		return;
	b = block_of(p);
	ASSERT(!is_free(b) && above(b)->below == b);
	account(h, size_of(b), 0);
	next = above(b);
	below = b->below;
	if (is_free(next)) {
		list_out(h, next);
		b->size += size_of(next);
	}
	if (below && is_free(below)) {
		list_out(h, below);
		below->size += size_of(b);
		b = below;
	}
	above(b)->below = b;
	list_in(h, b);
}

/* Takes the upper neighbour in when it is free and large enough. */
static bool grow_in_place(struct heap *h, struct heap_block *b, size_t need)
{
	struct heap_block *next = above(b);

	if (!is_free(next) || size_of(b) + size_of(next) < need)
		return false;
	list_out(h, next);
	b->size += size_of(next);
	above(b)->below = b;
	return true;
}

void *heap_realloc(struct heap *h, void *p, size_t size)
{
	struct heap_block *b;
	size_t need, had;
	void *moved;

	if (!p)
		return heap_alloc(h, size);
	need = block_size(h, size);
	if (need == 0)
		return NULL;
	b = block_of(p);
	had = size_of(b);
	if (need <= had || grow_in_place(h, b, need)) {
		trim(h, b, need);
		account(h, had, size_of(b));
		return p;
	}
	moved = heap_alloc(h, size);
	if (!moved)
		return NULL;
	memcpy(moved, p, had - HEADER);
	heap_free(h, p);
	return moved;
}

/* Every listed block is free, in its class, and counted once. */
static bool lists_agree(const struct heap *h, size_t free_blocks)
{
	size_t listed = 0;

	for (unsigned i = 0; i < HEAP_FIRST; i++) {
		for (unsigned j = 0; j < HEAP_SECOND; j++) {
			bool marked = (h->first_map >> i & 1) && (h->second_map[i] >> j & 1);

			if (marked != (h->free[i][j] != NULL))
				return false;
			for (struct heap_block *b = h->free[i][j]; b; b = b->next) {
				unsigned first, second;

				class_of(size_of(b), &first, &second);
				if (!is_free(b) || first != i || second != j || ++listed > free_blocks)
					return false;
			}
		}
	}
	return listed == free_blocks;
}

bool heap_check(const struct heap *h)
{
	const struct heap_block *below = NULL, *b = h->start;
	size_t used = 0, free_blocks = 0;

	for (; b < h->end; below = b, b = above(b)) {
		if (b->below != below || size_of(b) < BLOCK_MIN || !is_aligned(size_of(b), HEAP_ALIGN))
			return false;
		if (is_free(b) && below && is_free(below))
			return false;
		if (is_free(b))
			free_blocks++;
		else
			used += size_of(b);
	}
	return b == h->end && b->below == below && !is_free(b) && used == h->used && lists_agree(h, free_blocks);
}
