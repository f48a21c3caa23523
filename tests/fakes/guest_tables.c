/* SPDX-License-Identifier: Apache-2.0 */
/* See guest_tables.h. */
#include "tests/fakes/guest_tables.h"

#include <stdlib.h>

#include "guest/gmem.h"
#include "lib/x86_regs.h"

#define UPPER (PTE_P | PTE_W | PTE_U)

static uint64_t get(struct guest_tables *t, uint64_t at, unsigned size)
{
	uint64_t value = 0;

	if (gmem_read(t->vm, gpa(at), &value, size) != ST_OK)
		abort();
	return value;
}

static void put(struct guest_tables *t, uint64_t at, uint64_t value, unsigned size)
{
	if (gmem_write(t->vm, gpa(at), &value, size) != ST_OK)
		abort();
}

static uint64_t new_table(struct guest_tables *t)
{
	uint64_t at = t->next;

	t->next += PAGE_SIZE;
	if (gmem_fill(t->vm, gpa(at), 0, PAGE_SIZE) != ST_OK)
		abort();
	return at;
}

void tables_init(struct guest_tables *t, struct vm *vm, uint64_t at)
{
	t->vm = vm;
	t->next = at;
	t->root = new_table(t);
}

/* The table below the entry at @at, made when there is none. */
static uint64_t descend(struct guest_tables *t, uint64_t at, unsigned size, uint64_t flags)
{
	uint64_t entry = get(t, at, size);

	if (!(entry & PTE_P)) {
		entry = new_table(t) | flags;
		put(t, at, entry, size);
	}
	return entry & PTE_ADDR_MASK;
}

static uint64_t entry_at(uint64_t table, uint64_t linear, unsigned shift) { return table + (linear >> shift & 511) * 8; }

uint64_t tables_entry_4level(struct guest_tables *t, uint64_t linear, unsigned shift)
{
	uint64_t table = t->root;

	for (unsigned s = 39; s > shift; s -= 9)
		table = descend(t, entry_at(table, linear, s), 8, UPPER);
	return entry_at(table, linear, shift);
}

void tables_map_4level(struct guest_tables *t, uint64_t linear, uint64_t to, unsigned shift, uint64_t flags)
{
	put(t, tables_entry_4level(t, linear, shift), to | flags | (shift > 12 ? PTE_PS : 0), 8);
}

void tables_map_pae(struct guest_tables *t, uint32_t linear, uint64_t to, unsigned shift, uint64_t flags)
{
	uint64_t table = descend(t, t->root + (linear >> 30) * 8, 8, PTE_P);

	if (shift == 12)
		table = descend(t, entry_at(table, linear, 21), 8, UPPER);
	put(t, entry_at(table, linear, shift), to | flags | (shift > 12 ? PTE_PS : 0), 8);
}

void tables_map_32(struct guest_tables *t, uint32_t linear, uint64_t to, unsigned shift, uint32_t flags)
{
	uint64_t at = t->root + (linear >> 22) * 4;

	if (shift == 22) {
		put(t, at, to | flags | PTE_PS, 4);
		return;
	}
	put(t, descend(t, at, 4, UPPER) + (linear >> 12 & 1023) * 4, to | flags, 4);
}
