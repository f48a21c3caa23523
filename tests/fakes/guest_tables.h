/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds page tables in a guest's memory, in the most literal way: one function
 * per format, entries written one by one through gmem. The reference that the
 * page walk is proved against, so it shares nothing with it.
 */
#ifndef CORBEL_TESTS_GUEST_TABLES_H
#define CORBEL_TESTS_GUEST_TABLES_H

#include "guest/vm.h"

struct guest_tables {
	struct vm *vm;
	uint64_t root; /* guest-physical: what CR3 gets */
	uint64_t next; /* next free page for a table */
};

/* Tables are taken from guest-physical @at on; the first page is the root. */
void tables_init(struct guest_tables *t, struct vm *vm, uint64_t at);

/* What upper levels get: present, writable, user. Leaves: @flags (PTE_*) are the whole of an entry's low and high bits. */
/* 4-level: @shift 12, 21 or 30. */
void tables_map_4level(struct guest_tables *t, uint64_t linear, uint64_t to, unsigned shift, uint64_t flags);
/* PAE: @shift 12 or 21. The root is the page of the four PDPTEs. */
void tables_map_pae(struct guest_tables *t, uint32_t linear, uint64_t to, unsigned shift, uint64_t flags);
/* 32-bit: @shift 12 or 22. */
void tables_map_32(struct guest_tables *t, uint32_t linear, uint64_t to, unsigned shift, uint32_t flags);
/* Guest-physical address of the entry that maps @linear at level @shift in the 4-level format. */
uint64_t tables_entry_4level(struct guest_tables *t, uint64_t linear, unsigned shift);

#endif
