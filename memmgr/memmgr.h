/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host frames and the guests' memory: the room's whole interface. This slice
 * has the final frame table, buddy allocator and guest page map (gpmap) with
 * the prepare/commit seam; policy and means of reclaim come on top of them.
 *
 * Every call is made with interrupts masked, on any CPU and on several at once,
 * and runs in bounded steps. Calls for a guest's map take a lock of rank
 * LOCK_STAGE2, all take locks of LOCK_MEMORY_CPU and LOCK_MEMORY; a caller holds
 * none that ranks after. One owner for each frame: free, the hypervisor's, one
 * guest's, shared read-only, or leaving (removed from a guest, flush not yet
 * complete).
 */
#ifndef CORBEL_MEMMGR_MEMMGR_H
#define CORBEL_MEMMGR_MEMMGR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/counter.h"
#include "lib/error.h"
#include "lib/knob.h"
#include "lib/status.h"
#include "memmgr/stage2.h"

#define MEMMGR_MAX_ORDER ORDER_1G
#define OWNER_HOST 0u /* owner ids: 0 the hypervisor, 1.. a guest */

enum frame_state {
	FRAME_ABSENT, /* no RAM here, or kept from us by firmware or the board */
	FRAME_FREE,
	FRAME_HOST,
	FRAME_GUEST,
	FRAME_SHARED,
	FRAME_LEAVING,
	FRAME_STATES
};

/* What idle time keeps cleared unless the board or an operator says otherwise. */
#define MEMMGR_CLEAR_AHEAD_4K 512u
#define MEMMGR_CLEAR_AHEAD_2M 256u

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
	unsigned cpus;		 /* 0: one */
	unsigned (*this_cpu)(void); /* index of the calling CPU, below @cpus; NULL: always 0 */
	void *direct_map;	 /* host virtual address of hpa 0; frame f is at direct_map + (f << 12) */
	uint64_t clear_ahead_4k; /* how many cleared 4 KiB frames idle time keeps ready besides what CPUs have taken, */
	uint64_t clear_ahead_2m; /* how many cleared 2 MiB blocks, */
	uint64_t clear_ahead_1g; /* and cleared 1 GiB blocks: the only way a guest gets 1 GiB leaves */
};

struct memmgr_stats {
	uint64_t frames[FRAME_STATES];				     /* sums to all frames of the table */
	uint64_t table_bytes;					     /* what the frame table itself takes */
	uint64_t promised;					     /* frames that admitted guests may still ask for */
	uint64_t cleared_4k, cleared_2m, cleared_1g;		     /* ready blocks; they count as free */
	uint64_t fault_1g, fault_2m, fault_4k_pool, fault_4k_inline; /* first touches by kind */
};

/*
 * Takes the RAM over: places the frame table (16 bytes a frame, holes below the
 * last range included) and the CPUs' cells (192 bytes each) at the end
 * of the highest range that holds them; the rest is free. struct memmgr is carved
 * from the RAM too. ST_INVALID: no, unsorted or overlapping ranges; ST_OVER_LIMIT:
 * RAM beyond 16 TiB; ST_NO_MEMORY: no range holds the table.
 */
MUST_CHECK enum status memmgr_init(const struct memmgr_config *cfg, struct memmgr **out, struct error *err);

/* Exact, what CPUs have cached included: it stops every CPU's next change for the moment of adding up. */
void memmgr_stats(const struct memmgr *mm, struct memmgr_stats *out);

/*
 * Clears ahead: at most @pages pages' worth of clearing, into the pools of
 * cleared blocks; a large block is cleared over many calls. Each CPU that calls
 * works on a block of its own. ST_OK: pools full, or about to be by other CPUs;
 * ST_AGAIN: more to do; ST_NO_MEMORY: a pool is not full and no free block is left.
 */
enum status memmgr_clear_step(struct memmgr *mm, uint64_t pages);

/*
 * Polls flush tickets of leaving frames and frees those that are complete, at
 * most 64 blocks a call. Returns how many frames are still leaving. May flush the
 * calling CPU's own translations: not from within the handling of an exit, which
 * may hold addresses of the guest's pages.
 */
uint64_t memmgr_drain_leaving(struct memmgr *mm);

/* ---- the hypervisor's own frames ---- */

/*
 * 2^@order contiguous frames for the hypervisor, content undefined, aligned to
 * their size. Cleared blocks are given up before ST_NO_MEMORY. ST_INVALID: @order too large.
 */
MUST_CHECK enum status memmgr_alloc(struct memmgr *mm, unsigned order, hfn_t *out);
/* The same, cleared; costs no clearing when a pool has a block of exactly that order. */
MUST_CHECK enum status memmgr_alloc_zero(struct memmgr *mm, unsigned order, hfn_t *out);
/* Returns what one alloc gave, whole (ASSERT). */
void memmgr_free(struct memmgr *mm, hfn_t frame, unsigned order);
/* Host virtual address of a frame, through the direct map. */
void *memmgr_va(const struct memmgr *mm, hfn_t frame);
/* The reverse, for an address inside the direct map. */
hfn_t memmgr_hfn(const struct memmgr *mm, const void *va);

/* ---- a guest's memory ---- */

/*
 * Bytes of host memory, besides stage-2 tables, that a guest map over gfn 0..@gfn_limit-1 with
 * @ram_pages of RAM in at most two ranges takes at most.
 */
uint64_t gpmap_overhead_bytes(uint64_t gfn_limit, uint64_t ram_pages);

/*
 * Creates an empty map for guest @owner (1..65535) over gfn 0..@gfn_limit-1, at
 * 8 bytes per 2 MiB of that range: let it end where the guest's RAM ends.
 * @ops and @s2 outlive the map. RAM is declared by gpmap_add_ram. ST_INVALID:
 * owner or limit 0; ST_EXISTS: the owner has a map; ST_OVER_LIMIT: beyond 256 TiB.
 */
MUST_CHECK enum status gpmap_create(struct memmgr *mm, uint16_t owner, uint64_t gfn_limit, const struct stage2_ops *ops,
				    struct stage2 *s2, struct gpmap **out);

/*
 * Declares [start, start + pages) as RAM, absent until touched, and admits it:
 * what is promised to guests stays within what is free, so that a touch does
 * not fail later. ST_INVALID: empty or beyond the limit; ST_EXISTS on overlap;
 * ST_NOT_ADMITTED; ST_NO_MEMORY. A failure changes nothing.
 */
MUST_CHECK enum status gpmap_add_ram(struct gpmap *map, gfn_t start, uint64_t pages);

/*
 * A guest touched @gfn without a mapping (EPT violation). Maps the largest size
 * that fits and is ready cleared, else a cleared 4 KiB frame. At most about
 * 1,000 instructions with an inline clear. @access: S2_* of what it tried.
 * ST_OK: mapped, retry. ST_BAD_ADDRESS: no RAM there (MMIO or a hole). ST_NO_MEMORY.
 * ST_BAD_STATE: the page is mapped and still refuses @access, or the map is being released.
 */
MUST_CHECK enum status gpmap_fault(struct gpmap *map, gfn_t gfn, unsigned access);

/*
 * Host address of a present page, NULL when absent or not RAM. Takes no lock. For emulation: on a CPU that has one
 * of the guest's vcpus loaded, between its exit and its next entry, a page may be taken from the guest but its frame
 * stays what it is, because the ticket waits for that CPU to flush (stage2.h). So the address is valid until the
 * next entry or put. Others, who run no vcpu, use gpmap_read() and its like.
 */
void *gpmap_va(const struct gpmap *map, gfn_t gfn);
/*
 * Where a number is that changes whenever a page is taken from the guest: an address that gpmap_va() gave in one
 * exit is good in a later one while it stands. To be read directly until gpmap_destroy().
 */
const uint64_t *gpmap_generation(const struct gpmap *map);

/*
 * Like gpmap_va, but populates an absent page first, cleared: other vcpus see it
 * at once. ST_BAD_ADDRESS when not RAM, ST_NO_MEMORY.
 */
MUST_CHECK enum status gpmap_populate(struct gpmap *map, gfn_t gfn, void **va);

/*
 * Copies between host memory and [at, at + len), which lies in one page (ASSERT), populating it; from any CPU and at
 * any time. Errors as for gpmap_populate.
 */
MUST_CHECK enum status gpmap_read(struct gpmap *map, gpa_t at, void *out, size_t len);
MUST_CHECK enum status gpmap_write(struct gpmap *map, gpa_t at, const void *data, size_t len);
MUST_CHECK enum status gpmap_fill(struct gpmap *map, gpa_t at, uint8_t byte, size_t len);
/* The same, by @edit(ctx, host address of @at), which is brief and takes no lock: for stores that have an order. */
MUST_CHECK enum status gpmap_edit(struct gpmap *map, gpa_t at, size_t len, void (*edit)(void *ctx, void *va),
				  void *ctx);

struct gpmap_pin {
	void *va;
	uint64_t bytes; /* from there on that follow each other: at least to the page's end */
	uint32_t leaf;  /* to unpin by: the first frame of what is pinned */
};
/*
 * Keeps the page of @at where it is until gpmap_unpin(), populating it. Any CPU, at any time; pins add up. A large leaf
 * is pinned whole: while one of its pages is, none can be taken. ST_BAD_ADDRESS: not RAM; ST_NO_MEMORY; ST_BAD_STATE:
 * the map is being released; ST_OVER_LIMIT: 2^32 - 1 pins.
 */
MUST_CHECK enum status gpmap_pin(struct gpmap *map, gpa_t at, struct gpmap_pin *out);
/* Undoes one pin of @leaf (ASSERT). */
void gpmap_unpin(struct gpmap *map, uint32_t leaf);

/*
 * Takes one present page from the guest, which splits a large leaf over it:
 * prepare (may fail) and commit in one; the frame leaves, the page is absent
 * again. ST_BAD_ADDRESS: not RAM; ST_BAD_STATE: absent already; ST_BUSY: the leaf over it is pinned; ST_NO_MEMORY.
 */
MUST_CHECK enum status gpmap_remove(struct gpmap *map, gfn_t gfn);

/*
 * Takes everything from the guest, for destruction: a step removes or passes at
 * most @budget leaves and entries, and frees at most as many whose flush is
 * done. ST_AGAIN until none is left and every frame is free, then ST_OK. ST_BUSY
 * while pages are pinned: nothing is taken then, and no new pin is given. The
 * vcpus of the guest must not run any more, nor anyone use gpmap_va() or gpmap_populate().
 */
MUST_CHECK enum status gpmap_release_step(struct gpmap *map, uint64_t budget);
/* Frees the map; gpmap_release_step has returned ST_OK (ASSERT), and nobody is in a call for the map any more. */
void gpmap_destroy(struct gpmap *map);

struct gpmap_stats {
	uint64_t ram_pages, present_pages;
	uint64_t leaves_4k, leaves_2m, leaves_1g;
	uint64_t pins;		 /* given by gpmap_pin() and not given back */
	uint64_t leaving_pages;	 /* removed, not yet flushed */
	uint64_t overhead_bytes; /* what the map itself takes now */
};
void gpmap_stats(const struct gpmap *map, struct gpmap_stats *out);

/* ---- for operators ---- */

/* The figures and settings of a struct memmgr. */
extern const struct counter_table memmgr_counters;
extern const struct knob_table memmgr_knobs;

/* ---- checks ---- */

/*
 * Walks frame table, free lists, every gpmap and its stage-2, and checks the
 * ownership rules and sums; true when all hold, else @err names the first
 * violation (frame, states, owner). Tests and the operator's `check` run it.
 * Other CPUs wait at their next change until it is over.
 */
bool memmgr_check(struct memmgr *mm, struct error *err);

#endif
