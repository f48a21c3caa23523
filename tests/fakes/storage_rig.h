/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage on the machine of vm_rig.h, for tests that let it work until it is at rest: its rounds of the control task,
 * the turns of its workers, and the time until its next timer.
 */
#ifndef CORBEL_TESTS_FAKES_STORAGE_RIG_H
#define CORBEL_TESTS_FAKES_STORAGE_RIG_H

#include <stdint.h>

#include "guest/storage.h"

/* Until nothing is left to be done before host tick @until. ASSERTs that it comes to rest. */
void storage_rig_run_until(uint64_t until);
/* The same, however long it takes. */
void storage_rig_run(void);

/*
 * Begins @op on @volume, with @name and @bytes as struct storage_order has them, and lets it come to its end: how it
 * was refused or ended, and why in @err.
 */
MUST_CHECK enum status storage_rig_order(enum storage_op op, const char *volume, const char *name, uint64_t bytes,
					 struct error *err);

#endif
