/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the host's for what the operator has made: disks of memory, networks. It counts with what is promised to
 * VMs (machine.committed) before anything is made of it. In blocks of a power of two. The control task's, interrupts
 * enabled.
 */
#ifndef CORBEL_GUEST_MACHINE_MEMORY_H
#define CORBEL_GUEST_MACHINE_MEMORY_H

#include "guest/machine.h"

/* Cleared; @what is in front of the sentence. ST_NOT_ADMITTED, ST_NO_MEMORY. */
MUST_CHECK enum status machine_take(struct machine *m, uint64_t bytes, const char *what, void **out, struct error *err);
/* @bytes as it was taken. */
void machine_give(struct machine *m, void *memory, uint64_t bytes);
/* What @bytes take. */
uint64_t machine_block_bytes(uint64_t bytes);

#endif
