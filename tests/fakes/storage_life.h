/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's storage, lived at random: guests with virtio-blk devices of their own upon a partition and upon layers
 * of a pool beside it, all on one disk, behind one I/O scheduler; an operator who snapshots, clones, merges,
 * deletes, resizes and imports meanwhile; a disk that fails, and loses power at any write. All real but the
 * disk and guest memory, which are the worst there can be. What each sector may hold is known at any time, so
 * everything that is read is held against it, and after a power cut everything that there is.
 *
 * Choices come from outside: from a random sequence (tests/model) or from a fuzzer.
 */
#ifndef CORBEL_TESTS_STORAGE_LIFE_H
#define CORBEL_TESTS_STORAGE_LIFE_H

#include <stdbool.h>
#include <stdint.h>

struct life_source {
	uint64_t (*below)(void *ctx, uint64_t n); /* 0 .. n - 1 */
	void *ctx;
};

/* What it came to: a test sees that it was no idle life. */
struct life_figures {
	uint64_t requests, reads, flushes, failed, starved;
	uint64_t jobs, jobs_done, cuts, checked, halves; /* checked: sectors after a cut */
};

/* @steps of a life, and its end; aborts with a sentence when something is not as it must be. */
void storage_life(const struct life_source *source, unsigned steps, struct life_figures *out);

#endif
