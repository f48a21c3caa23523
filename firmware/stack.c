/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack window is cut into slots of 512 KiB; a stack fills the top of its
 * slot, so that at least one unmapped page lies below it and, with the next
 * slot's bottom, above it. A slot is free when its list entry is.
 */
#include "firmware/stack.h"

#include <string.h>

#include "firmware/paging.h"
#include "firmware/text.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/format.h"

#define SLOT_BYTES (512ull << 10)
#define SLOT_PAGES_MAX (SLOT_BYTES / PAGE_SIZE - 1)
_Static_assert(STACKS_MAX * SLOT_BYTES <= STACKS_BYTES, "the window holds every slot");

static struct stack first[STACKS_FIRST];
static struct stack *stacks = first; /* hi == 0: free */
static unsigned table_size = STACKS_FIRST;

static struct stack *free_entry(void)
{
	for (unsigned i = 0; i < table_size; i++)
		if (stacks[i].hi == 0)
			return &stacks[i];
	return NULL;
}

void stack_use_table(struct stack *table, unsigned count)
{
	ASSERT(count >= table_size && count <= STACKS_MAX);
	memset(table, 0, count * sizeof(table[0]));
	memcpy(table, stacks, table_size * sizeof(table[0]));
	stacks = table;
	table_size = count;
}

const char *stack_name(char *out, unsigned cpu, const char *what)
{
	if (cpu == 0)
		format(out, STACK_NAME_MAX, "%s", what);
	else
		format(out, STACK_NAME_MAX, "cpu %u %s", cpu, what);
	return out;
}

void stack_register(const char *name, uint64_t lo, uint64_t hi)
{
	struct stack *s = free_entry();

	ASSERT(s);
	text_copy(s->name, sizeof(s->name), name, STACK_NAME_MAX);
	s->lo = lo;
	s->hi = hi;
	s->guarded = false;
}

enum status stack_create(const char *name, unsigned pages, uint64_t *top)
{
	struct stack *s = free_entry();
	uint64_t hi, lo;

	ASSERT(pages > 0 && pages <= SLOT_PAGES_MAX);
	if (!s)
		return ST_OVER_LIMIT;
	hi = STACKS_BASE + (uint64_t)(s - stacks + 1) * SLOT_BYTES;
	lo = hi - (uint64_t)pages * PAGE_SIZE;
	for (uint64_t va = hi; va > lo; va -= PAGE_SIZE) {
		enum status st = paging_map_stack_page(va - PAGE_SIZE);

		if (st == ST_OK)
			continue;
		for (; va < hi; va += PAGE_SIZE)
			paging_unmap_stack_page(va);
		return st;
	}
	text_copy(s->name, sizeof(s->name), name, STACK_NAME_MAX);
	s->lo = lo;
	s->hi = hi;
	s->guarded = true;
	*top = hi;
	return ST_OK;
}

void stack_destroy(uint64_t top)
{
	for (unsigned i = 0; i < table_size; i++) {
		struct stack *s = &stacks[i];

		if (!s->guarded || s->hi != top)
			continue;
		for (uint64_t va = s->lo; va < s->hi; va += PAGE_SIZE)
			paging_unmap_stack_page(va);
		s->hi = 0;
		s->guarded = false;
		return;
	}
	panic("stack_destroy: no stack ends at 0x%llx", (unsigned long long)top);
}

const struct stack *stack_of(uint64_t at)
{
	for (unsigned i = 0; i < table_size; i++)
		if (stacks[i].hi != 0 && stacks[i].lo <= at && at < stacks[i].hi)
			return &stacks[i];
	return NULL;
}

const struct stack *stack_of_guard(uint64_t at)
{
	for (unsigned i = 0; i < table_size; i++)
		if (stacks[i].guarded && stacks[i].lo - PAGE_SIZE <= at && at < stacks[i].lo)
			return &stacks[i];
	return NULL;
}

void stack_for_each(void (*fn)(void *ctx, const struct stack *s), void *ctx)
{
	for (unsigned i = 0; i < table_size; i++)
		if (stacks[i].hi != 0)
			fn(ctx, &stacks[i]);
}
