/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory as the worst memory manager would hand it out: it answers LATER
 * whenever it likes, is sometimes too late to take a question back, and moves every
 * page that nobody has pinned to another host address, where a use of the old one
 * is caught by the address sanitizer. Neighbouring pages are never neighbours in
 * host memory, unless the memory is made flat.
 */
#ifndef CORBEL_TESTS_FAKE_GUEST_MEM_H
#define CORBEL_TESTS_FAKE_GUEST_MEM_H

#include <stddef.h>

#include "io/guest_mem.h"
#include "tests/model/random.h"

struct fake_page {
	uint8_t *host; /* NULL: a hole, or a device's page */
	uint32_t pins, write_pins;
};

struct fake_guest_mem {
	struct guest_mem mem; /* what devices get */
	struct fake_page *pages;
	uint8_t *flat;        /* all pages in one block, which does not move */
	uint64_t count;
	struct random_state random;
	unsigned later;       /* percent of the questions that are answered LATER */
	unsigned too_late;    /* percent of those that cannot be taken back */
	struct list parked;   /* asked */
	struct list owed;     /* cancelled too late: ready comes all the same */
	uint64_t pins;        /* now */
	uint64_t asked, laters, cancels, moves; /* so far */
	/* The n-th question from now on is answered LATER, or FAIL; 0: none. */
	uint64_t later_at, fail_at;
};

void fake_guest_mem_init(struct fake_guest_mem *f, uint64_t pages, uint64_t seed);
/* The same with all pages side by side in host memory. */
void fake_guest_mem_init_flat(struct fake_guest_mem *f, uint64_t pages);
/* Asserts that nothing is pinned or waited for. */
void fake_guest_mem_fini(struct fake_guest_mem *f);

/* Makes a page no RAM. It must not be pinned. */
void fake_guest_mem_hole(struct fake_guest_mem *f, uint64_t page);
/* Moves what is not pinned. */
void fake_guest_mem_move(struct fake_guest_mem *f);
/* Calls ready for up to @most questions, in any order; how many. */
unsigned fake_guest_mem_answer(struct fake_guest_mem *f, unsigned most);

/* The guest's own accesses; all RAM. */
void fake_guest_mem_write(struct fake_guest_mem *f, uint64_t at, const void *data, size_t bytes);
void fake_guest_mem_read(struct fake_guest_mem *f, uint64_t at, void *out, size_t bytes);
void fake_guest_mem_fill(struct fake_guest_mem *f, uint64_t at, uint8_t byte, size_t bytes);
uint16_t fake_guest_mem_get16(struct fake_guest_mem *f, uint64_t at);
uint32_t fake_guest_mem_get32(struct fake_guest_mem *f, uint64_t at);
void fake_guest_mem_put16(struct fake_guest_mem *f, uint64_t at, uint16_t v);
/* A sum over all RAM: has anything been written? */
uint64_t fake_guest_mem_sum(struct fake_guest_mem *f);

#endif
