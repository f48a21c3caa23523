/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O schedulers that ours is compared with, written for this purpose: the same mClock by a
 * linear scan over all clients (as the paper's own text describes it), and a token bucket
 * for each client behind one round robin, which is what limits without shares come to. All
 * have one face here, by index. Requests are of one size.
 */
#ifndef CORBEL_BENCH_IO_RIVALS_H
#define CORBEL_BENCH_IO_RIVALS_H

#include <stdint.h>

#include "lib/rls.h"

#define IO_RIVAL_CLIENTS 1024u
#define IO_RIVAL_QUEUE 4u /* requests that a client has waiting */

struct io_rival {
	const char *name;
	void (*start)(uint64_t hz);
	/* Adds client @i, whose queue is full. */
	void (*add)(unsigned i, const struct rls *numbers, uint64_t now);
	/* Takes a request out; the client's index, -1: none may go before *next. */
	int (*pick)(uint64_t now, uint64_t *next);
	/* Client @i, whose request was taken, has another one. */
	void (*again)(unsigned i, uint64_t now);
};

extern const struct io_rival io_ours, io_scan, io_bucket;

#endif
