/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host frames and the guests' memory: the room's whole interface. This slice
 * has the final frame table, buddy allocator and guest page map (gpmap) with
 * the prepare/commit seam; policy and means of reclaim come on top of them.
 *
 * Every call is made with interrupts masked (one CPU) and runs in bounded
 * steps. One owner for each frame: free, the hypervisor's, one guest's, shared
 * read-only, or leaving (removed from a guest, flush not yet complete).
 */
#ifndef CORBEL_MEMMGR_MEMMGR_H
#define CORBEL_MEMMGR_MEMMGR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/error.h"
#include "lib/status.h"
#include "memmgr/stage2.h"

#define MEMMGR_MAX_ORDER ORDER_1G
#define OWNER_HOST 0u /* owner ids: 0 the hypervisor, 1.. a guest */

enum frame_state {
	FRAME_ABSENT,  /* no RAM here, or kept from us by firmware or the board */
	FRAME_FREE,
	FRAME_HOST,
	FRAME_GUEST,
	FRAME_SHARED,
	FRAME_LEAVING,
	FRAME_STATES
};

struct memmgr;
struct gpmap;

/* A range of usable RAM, frame granular. */
struct mem_range {
	hfn_t start;
	uint64_t frames;
};

struct memmgr_config {
	const struct mem_range *ram; /* sorted, disjoint; what firmware leaves free for us */
	unsigned ram_count;
	void *direct_map;            /* host virtual address of hpa 0; frame f is at direct_map + (f << 12) */
	uint64_t clear_ahead_2m;     /* how many cleared 2 MiB blocks idle time keeps ready */
	uint64_t clear_ahead_4k;     /* and how many cleared 4 KiB frames */
};

struct memmgr_stats {
	uint64_t frames[FRAME_STATES]; /* sums to all frames of the table */
	uint64_t table_bytes;          /* what the frame table itself takes */
	uint64_t cleared_2m, cleared_4k;
	uint64_t fault_2m, fault_4k_pool, fault_4k_inline; /* first touches by kind */
};

/*
 * Takes the RAM over: places the frame table (16 bytes a frame) in it, the rest is
 * free. There is one memmgr; its storage is carved from the RAM too.
 */
enum status memmgr_init(const struct memmgr_config *cfg, struct memmgr **out, struct error *err);

void memmgr_stats(const struct memmgr *mm, struct memmgr_stats *out);

/*
 * Clears ahead: at most @pages pages' worth of clearing, into the pools of
 * cleared blocks. ST_OK: pools full; ST_AGAIN: more to do; ST_NO_MEMORY: no free block.
 */
enum status memmgr_clear_step(struct memmgr *mm, uint64_t pages);

/* Polls flush tickets of leaving frames and frees those that are complete. Returns how many are still leaving. */
uint64_t memmgr_drain_leaving(struct memmgr *mm);

/* ---- the hypervisor's own frames ---- */

/* 2^@order contiguous frames for the hypervisor, content undefined, aligned to their size. */
enum status memmgr_alloc(struct memmgr *mm, unsigned order, hfn_t *out);
/* The same, cleared. */
enum status memmgr_alloc_zero(struct memmgr *mm, unsigned order, hfn_t *out);
void memmgr_free(struct memmgr *mm, hfn_t frame, unsigned order);
/* Host virtual address of a frame, through the direct map. */
void *memmgr_va(const struct memmgr *mm, hfn_t frame);
/* The reverse, for an address inside the direct map. */
hfn_t memmgr_hfn(const struct memmgr *mm, const void *va);

/* ---- a guest's memory ---- */

/* Bytes of host memory, besides stage-2 tables, that a guest map over @pages pages takes. */
uint64_t gpmap_overhead_bytes(uint64_t pages);

/*
 * Creates an empty map for guest @owner (1..65535) over gfn 0..@gfn_limit-1.
 * @ops and @s2 outlive the map. RAM is declared by gpmap_add_ram.
 */
enum status gpmap_create(struct memmgr *mm, uint16_t owner, uint64_t gfn_limit, const struct stage2_ops *ops,
			 struct stage2 *s2, struct gpmap **out);

/* Declares [start, start + pages) as RAM, absent until touched. ST_EXISTS on overlap. */
enum status gpmap_add_ram(struct gpmap *map, gfn_t start, uint64_t pages);

/*
 * A guest touched @gfn without a mapping (EPT violation). Maps the largest size
 * that fits and is ready cleared, else a cleared 4 KiB frame. At most about
 * 1,000 instructions with an inline clear.
 * ST_OK: mapped, retry. ST_BAD_ADDRESS: no RAM there (MMIO or a hole). ST_NO_MEMORY.
 */
enum status gpmap_fault(struct gpmap *map, gfn_t gfn, unsigned access);

/* Host address of a present page, NULL when absent or not RAM. Valid until the page is removed. */
void *gpmap_va(const struct gpmap *map, gfn_t gfn);

/*
 * Like gpmap_va, but populates an absent page first (cleared unless
 * @overwrite promises that all 4 KiB are about to be written).
 * ST_BAD_ADDRESS when not RAM, ST_NO_MEMORY.
 */
enum status gpmap_populate(struct gpmap *map, gfn_t gfn, bool overwrite, void **va);

/* Takes one present page from the guest: prepare (may fail) and commit in one; the frame leaves. */
enum status gpmap_remove(struct gpmap *map, gfn_t gfn);

/*
 * Removes up to @budget pages for destruction. ST_AGAIN until none is left, then
 * ST_OK. The vcpus of the guest must not run any more.
 */
enum status gpmap_release_step(struct gpmap *map, uint64_t budget);
/* Frees the map; all pages released (ASSERT) . */
void gpmap_destroy(struct gpmap *map);

struct gpmap_stats {
	uint64_t ram_pages, present_pages;
	uint64_t leaves_4k, leaves_2m, leaves_1g;
};
void gpmap_stats(const struct gpmap *map, struct gpmap_stats *out);

/* ---- checks ---- */

/*
 * Walks frame table, free lists, every gpmap and its stage-2, and asserts the
 * ownership rules and sums; true when all hold, else @err names the first
 * violation (frame, states, owner). Tests and the operator's `check` run it.
 */
bool memmgr_check(struct memmgr *mm, struct error *err);

#endif
