/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What memory management asks of an engine's second-stage translation (EPT).
 * prepare may fail and changes nothing a guest can see; commit cannot fail.
 * An operation that lowers a permission or removes a page returns a flush
 * ticket: the frame behind it stays "leaving" and is not reused until
 * flush_done() answers true. Nobody waits; completion is polled.
 *
 * Memory management calls all of them under the guest map's lock (LOCK_STAGE2),
 * from any CPU; commits and removals also under a lock of LOCK_MEMORY_CPU, so that
 * these take no lock and no memory. walk() alone may meet a prepare of another CPU.
 */
#ifndef CORBEL_MEMMGR_STAGE2_H
#define CORBEL_MEMMGR_STAGE2_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/status.h"

/* Access rights of a guest mapping. */
#define S2_READ 1u
#define S2_WRITE 2u
#define S2_EXEC 4u
#define S2_RWX (S2_READ | S2_WRITE | S2_EXEC)

enum s2_memtype { S2_UC, S2_WB };

/* 0 means: nothing to flush, done at once. Tickets of one stage-2 only grow. */
struct flush_ticket {
	uint64_t generation;
};

struct stage2; /* one guest's second-stage translation, the engine's */

/* A leaf as the engine holds it, for walks and checks. */
struct s2_leaf {
	gfn_t gfn;
	hfn_t hfn;
	unsigned order, prot;
	enum s2_memtype memtype;
	bool accessed, dirty;
};

struct stage2_ops {
	/*
	 * Reserves every table needed to map @gfn at @order (ORDER_*). ST_NO_MEMORY changes nothing.
	 * ST_EXISTS: smaller leaves, or a table for them, stand there; the caller falls back to a smaller order.
	 */
	enum status (*map_prepare)(struct stage2 *s2, gfn_t gfn, unsigned order);
	/* Installs a leaf into a hole (ASSERTed) whose tables are prepared. Raising rights needs no flush. */
	void (*map_commit)(struct stage2 *s2, gfn_t gfn, hfn_t hfn, unsigned order, unsigned prot, enum s2_memtype mt);
	/* Reserves what is needed to split the leaf over @gfn into the next smaller @order (one level a call). */
	enum status (*split_prepare)(struct stage2 *s2, gfn_t gfn, unsigned order);
	struct flush_ticket (*split_commit)(struct stage2 *s2, gfn_t gfn, unsigned order);
	/* Removes the leaf of exactly @order at @gfn. */
	struct flush_ticket (*unmap)(struct stage2 *s2, gfn_t gfn, unsigned order);
	/* Sets the rights of the leaf of exactly @order at @gfn. */
	struct flush_ticket (*protect)(struct stage2 *s2, gfn_t gfn, unsigned order, unsigned prot);
	/* Reads and clears accessed and dirty of the leaf over @gfn. */
	struct flush_ticket (*harvest)(struct stage2 *s2, gfn_t gfn, bool *accessed, bool *dirty);
	/*
	 * Polls. True once no CPU can use the translation that was taken away, and no CPU that had a vcpu of the guest
	 * loaded then is still in the exit that it was in: emulation may hold addresses of guest pages until its next
	 * entry (gpmap_va()). Comes true in bounded time even when no vcpu of the guest ever runs again: a stopped
	 * guest's frames must become free. May flush the calling CPU.
	 */
	bool (*flush_done)(struct stage2 *s2, struct flush_ticket ticket);
	/* Looks the leaf over @gfn up; false for a hole. */
	bool (*lookup)(struct stage2 *s2, gfn_t gfn, struct s2_leaf *out);
	/* Calls @fn for each leaf in rising order until it returns false. Checks and tests only. */
	void (*walk)(struct stage2 *s2, bool (*fn)(void *ctx, const struct s2_leaf *leaf), void *ctx);
};

#endif
