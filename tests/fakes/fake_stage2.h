/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A second-stage translation for tests of memmgr/: a plain radix tree in malloc
 * memory that holds the caller to the contract of stage2.h (prepare before
 * commit, leaves only into holes, exact orders, one level a split) and to more:
 * it remembers which frames a CPU could still reach by a stale translation, and
 * panics when one of them is mapped again before the flush.
 */
#ifndef CORBEL_TESTS_FAKE_STAGE2_H
#define CORBEL_TESTS_FAKE_STAGE2_H

#include "memmgr/stage2.h"

extern const struct stage2_ops fake_stage2_ops;

/* Covers gfn 0..@gfn_limit-1. */
struct stage2 *fake_stage2_create(uint64_t gfn_limit);
void fake_stage2_destroy(struct stage2 *s2);

/*
 * Lets the @nth prepare from now (1: the next) fail with ST_NO_MEMORY, once; 0: none.
 * Returns whether an earlier order is still waiting for its call.
 */
bool fake_stage2_fail_prepare(struct stage2 *s2, unsigned nth);
/* When false (the default) unmap needs no flush and returns ticket 0. */
void fake_stage2_use_tickets(struct stage2 *s2, bool on);
/* Completes the oldest @tickets open flushes. */
void fake_stage2_flush(struct stage2 *s2, uint64_t tickets);
void fake_stage2_flush_all(struct stage2 *s2);

uint64_t fake_stage2_leaves(const struct stage2 *s2, unsigned order);
/* True when some guest of this process may still reach @frame though it was unmapped. */
bool fake_stage2_stale(hfn_t frame);
/* Makes the leaf over @gfn wrong in its frame, for tests of the checker; false when there is none. */
bool fake_stage2_corrupt(struct stage2 *s2, gfn_t gfn);

#endif
