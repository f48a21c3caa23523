/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in memory with a write cache that loses power. Reads see every write;
 * the platter gets them at a flush. When power is cut, any subset of what was
 * written since the last flush reaches the platter, each write torn at 512
 * bytes: the tests choose the subset by their random numbers. Besides, requests
 * can be made to fail, and sectors to be unreadable. Requests are done one a poll, in
 * order or as the test picks.
 */
#ifndef CORBEL_TESTS_FAULT_DISK_H
#define CORBEL_TESTS_FAULT_DISK_H

#include "io/block.h"

#define FAULT_DISK_TEAR 512u
#define FAULT_DISK_DISCARDED 0xdd /* what is read where a discard was */
#define FAULT_DISK_GARBAGE 0x6a

struct fault_write {
	uint64_t at; /* byte */
	uint64_t bytes;
	uint8_t *data;
};

struct fault_disk {
	struct block_device device;
	uint64_t bytes;
	uint8_t *platter; /* what a cut leaves */
	uint8_t *view;    /* what reads see */
	struct fault_write *pending;
	unsigned pending_count, pending_room;
	struct list held;           /* submitted, not polled yet */
	unsigned held_count, held_most;
	unsigned (*pick)(void *ctx, unsigned count); /* which of @count requests is done next; NULL: the first */
	void *pick_ctx;

	uint64_t reads, writes, flushes, requests, written_bytes;
	uint64_t cut_at;      /* the write with this number is the last thing before power is gone; 0: never */
	uint64_t cut_below;   /* bytes: likewise the cut_low-th write from now on that begins below; 0: never */
	unsigned cut_low;
	bool dead;            /* no power: every request fails */
	uint64_t fail_from, fail_count; /* requests that fail, by number; 0: none */
	uint64_t bad_first, bad_count;  /* sectors that cannot be read, */
	bool bad_writes;                /* nor written */
	bool fail_writes, fail_flushes;
	bool gone;    /* every request fails, the medium keeps what it has */
	bool late;    /* nothing is done, */
	bool begun;   /* nor can it be called back */
	bool garbage; /* what is read is overwritten before */
};

void fault_disk_init(struct fault_disk *d, uint64_t bytes, uint32_t sector_bytes);
void fault_disk_fini(struct fault_disk *d);
/* All of it, as a range. */
struct block_range fault_disk_range(struct fault_disk *d);
/*
 * Power comes back: of each 512 bytes not flushed, keep(ctx) says whether they reached the platter.
 * Reads see the platter, all faults are off.
 */
void fault_disk_power_on(struct fault_disk *d, bool (*keep)(void *ctx), void *ctx);
/* Both platter and view; no request. */
void fault_disk_xor(struct fault_disk *d, uint64_t at, uint8_t mask);

#endif
