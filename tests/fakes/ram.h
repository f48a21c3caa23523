/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host memory that plays the machine's RAM: reserved address space, so that a
 * test can have terabytes of which it touches little. hfn 0 is its first byte.
 */
#ifndef CORBEL_TESTS_RAM_H
#define CORBEL_TESTS_RAM_H

#include <stdint.h>

#include "memmgr/memmgr.h"

struct ram {
	void *base;
	uint64_t bytes;
};

/* Exits the process when the host refuses. */
struct ram ram_map(uint64_t bytes);
void ram_unmap(struct ram *ram);
/* Fills it all with what a careless reader would take for data. */
void ram_dirty(struct ram *ram);

/* A memmgr over all of @ram in one range, with the given pools. Exits on failure. */
struct memmgr *ram_memmgr(struct ram *ram, uint64_t clear_4k, uint64_t clear_2m, uint64_t clear_1g);
/* Fails the process, with the sentence, unless memmgr_check() holds. */
void ram_check(struct memmgr *mm);

#endif
