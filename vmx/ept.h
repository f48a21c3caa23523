/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Second-stage translation by EPT (SDM volume 3, section 28.3): the entry format,
 * and one guest's tables behind struct stage2_ops. Pure: table frames come from a
 * small allocator, the processor's INVEPT is a function. 4-level walks; leaves of
 * 4 KiB, 2 MiB and 1 GiB; memory type WB for RAM and UC for devices, combined
 * with the guest's own PAT (bit 6 clear).
 *
 * Every entry that we write, the non-present ones too, has bit 63 (suppress #VE)
 * set, so that a later use of #VE cannot turn holes into guest exceptions.
 *
 * Flushes: an operation that lowers a right or removes a leaf raises the
 * generation. A CPU has seen a generation once INVEPT was done there. A ticket is
 * done once every active CPU, one that has a vcpu of the guest loaded, has seen
 * its generation; a CPU that put the vcpu does not count, for whatever it still
 * caches cannot be used before ept_sync() has been there again.
 *
 * Many CPUs: the tables and all of struct stage2_ops are under the lock of the
 * guest's map (LOCK_STAGE2), walk() excepted. Generations and the set of active
 * CPUs are atomic, so that an entry, ept_sync() and ept_put(), takes no lock.
 */
#ifndef CORBEL_VMX_EPT_H
#define CORBEL_VMX_EPT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/bits.h"
#include "lib/cpuset.h"
#include "memmgr/stage2.h"

/* Entry bits, 28.3.2 tables 28-1 to 28-6. */
#define EPT_R BIT(0)
#define EPT_W BIT(1)
#define EPT_X BIT(2)
#define EPT_RWX (EPT_R | EPT_W | EPT_X)
#define EPT_MEMTYPE_SHIFT 3
#define EPT_MEMTYPE_MASK MASK(5, 3)
#define EPT_IGNORE_PAT BIT(6)
#define EPT_LEAF BIT(7)          /* in a PDPTE or PDE */
#define EPT_ACCESSED BIT(8)
#define EPT_DIRTY BIT(9)         /* leaves */
#define EPT_USER_X BIT(10)
#define EPT_VERIFY_GUEST_PAGING BIT(57)
#define EPT_PAGING_WRITE BIT(58)
#define EPT_SUPERVISOR_SHADOW_STACK BIT(60)
#define EPT_SUBPAGE_WRITE BIT(61)
#define EPT_SUPPRESS_VE BIT(63)
#define EPT_ADDR_MASK MASK(51, 12)

/* EPT pointer, 24.6.11 table 24-9. */
#define EPTP_MEMTYPE_WB 6ull
#define EPTP_WALK_4 (3ull << 3)
#define EPTP_ACCESSED_DIRTY BIT(6)

#define EPT_LEVELS 4u      /* level 0: EPT page table .. level 3: EPT PML4 table */
#define EPT_ENTRIES 512u
#define EPT_INDEX_BITS 9u
#define EPT_ENTRY_NONE EPT_SUPPRESS_VE
#define EPT_GFN_LIMIT (1ull << 36) /* a 4-level walk translates 48 bits */

#define EPT_CPUS_MAX CPUSET_MAX
#define EPT_RESERVE_MAX 2u /* tables that splitting 1 GiB down to 4 KiB takes */

/* Frames for tables. @alloc gives a frame (content undefined), false when there is none. */
struct ept_frames {
	void *ctx;
	bool (*alloc)(void *ctx, hfn_t *out);
	void (*free)(void *ctx, hfn_t frame);
	void *(*va)(void *ctx, hfn_t frame);
};

struct stage2 {
	const struct ept_frames *frames;
	/* The processor's INVEPT, single context, on the calling CPU. */
	void (*invalidate)(struct stage2 *s2);
	unsigned (*this_cpu)(void);
	/*
	 * The generation has risen, as all can see: every CPU for which ept_awaits() holds must come to ept_sync() or
	 * ept_put() in bounded time, also one that is in the guest now, or idle with a vcpu still loaded. Called with
	 * locks of LOCK_STAGE2 and LOCK_MEMORY_CPU held: it must only post, that is mark the vcpus so that they come
	 * to ept_sync() before they enter, and send the other CPUs an interrupt. It takes no lock, waits for nobody,
	 * and calls nothing here but ept_awaits().
	 */
	void (*raised)(struct stage2 *s2);
	void *owner;
	hfn_t root;
	bool use_1g, use_accessed_dirty;
	uint64_t generation;          /* starts at 1: CPUs have seen 0; __atomic */
	struct cpuset active;         /* CPUs that may use translations */
	uint64_t seen[EPT_CPUS_MAX];  /* generation at the last INVEPT on that CPU, which alone writes it; __atomic */
	uint64_t tables;              /* frames in use for tables, the root and the retired included */
	uint64_t *last_table;         /* where the last walk to a 4 KiB entry ended, NULL for nowhere; */
	uint64_t last_region;         /* it is the table of this gfn >> EPT_INDEX_BITS */
	hfn_t reserve[EPT_RESERVE_MAX];
	unsigned reserved;
	uint64_t retired;             /* first of the tables that left the tree: hfn + 1, 0 for none */
	uint64_t retired_generation;  /* they may be freed when every CPU has seen this */
};

extern const struct stage2_ops ept_ops;

/* Fills everything but the callbacks' owner; ST_NO_MEMORY when there is no root frame. */
MUST_CHECK enum status ept_init(struct stage2 *s2, const struct ept_frames *frames);
/* Frees all tables. No CPU runs the guest any more, and none caches its translations. */
void ept_destroy(struct stage2 *s2);

uint64_t ept_pointer(const struct stage2 *s2);

/* Does @cpu have to INVEPT before it enters? */
static inline bool ept_stale(const struct stage2 *s2, unsigned cpu)
{
	return __atomic_load_n(&s2->seen[cpu], __ATOMIC_ACQUIRE) != __atomic_load_n(&s2->generation, __ATOMIC_SEQ_CST);
}
/*
 * From now on tickets wait for the calling CPU, @cpu: it has a vcpu of the guest loaded, and may use addresses of the
 * guest's pages (gpmap_va()).
 */
static inline void ept_activate(struct stage2 *s2, unsigned cpu) { cpuset_add(&s2->active, cpu); }
/*
 * INVEPT on the calling CPU, @cpu, when it is stale; makes it active. Before the first entry after a vcpu was loaded
 * there, and before each entry that raised() asked it for. What emulation knew of the guest's pages is void after it.
 */
void ept_sync(struct stage2 *s2, unsigned cpu);
/* The calling CPU, @cpu, has no vcpu of the guest loaded any more: no ticket waits for it until it is active again. */
void ept_put(struct stage2 *s2, unsigned cpu);
/* @cpu is active and has not seen @generation. */
bool ept_awaits(const struct stage2 *s2, unsigned cpu, uint64_t generation);
/* Every active CPU has seen @generation. */
bool ept_all_seen(const struct stage2 *s2, uint64_t generation);

/* Pure parts of the format. */
uint64_t ept_leaf_entry(hfn_t frame, unsigned order, unsigned prot, enum s2_memtype mt);
static inline bool ept_present(uint64_t entry) { return entry & EPT_RWX; }
static inline bool ept_is_leaf(uint64_t entry, unsigned level) { return level == 0 || (entry & EPT_LEAF); }
static inline hfn_t ept_frame(uint64_t entry) { return hfn((entry & EPT_ADDR_MASK) >> PAGE_SHIFT); }
static inline unsigned ept_index(gfn_t g, unsigned level)
{
	return (unsigned)(g.v >> (level * EPT_INDEX_BITS)) & (EPT_ENTRIES - 1);
}
/*
 * NULL when the entry keeps the rules of 28.3.3.1 (no misconfiguration) on a processor with @phys_bits
 * of physical address, else what is wrong.
 */
const char *ept_entry_fault(uint64_t entry, unsigned level, unsigned phys_bits, bool exec_only);

_Static_assert(S2_READ == EPT_R && S2_WRITE == EPT_W && S2_EXEC == EPT_X, "rights are EPT bits 0 to 2");
_Static_assert(EPT_INDEX_BITS * 1 == ORDER_2M && EPT_INDEX_BITS * 2 == ORDER_1G, "a level is nine bits of gfn");
_Static_assert((EPT_ADDR_MASK & (EPT_RWX | EPT_MEMTYPE_MASK | EPT_IGNORE_PAT | EPT_LEAF | EPT_ACCESSED | EPT_DIRTY |
				 EPT_USER_X | EPT_SUPPRESS_VE)) == 0, "attributes lie outside the address");
_Static_assert(EPT_ENTRIES * sizeof(uint64_t) == PAGE_SIZE, "a table is one frame");
_Static_assert((EPT_GFN_LIMIT - 1) >> (EPT_LEVELS * EPT_INDEX_BITS) == 0, "four levels cover the limit");

#endif
