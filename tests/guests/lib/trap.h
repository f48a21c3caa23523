/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between start-up and the trap handling of the test guests.
 */
#ifndef CORBEL_TESTS_GUESTS_TRAP_H
#define CORBEL_TESTS_GUESTS_TRAP_H

#include <stdint.h>

struct trap_frame;

void trap_init(void);
/* The same table on a further processor. */
void trap_load(void);
/* Called by start.S. */
void trap(struct trap_frame *f);
void guest_start(uint32_t magic, uint64_t info);

#endif
