/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spin locks between CPUs: first come, first served, because with many CPUs an
 * unfair lock starves the far ones. A lock is only taken with interrupts masked
 * (a holder that is interrupted would make others spin for as long) and held for
 * a bounded piece of work; nobody waits for another CPU with one held.
 *
 * Each lock has a rank, and a CPU takes locks in rising rank only: with that
 * there is no cycle to dead-lock on. CORBEL_LOCK_CHECKS builds (make DEBUG=1, and all
 * host tests) panic at the first acquisition out of order.
 */
#ifndef CORBEL_LIB_LOCK_H
#define CORBEL_LIB_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/bits.h"

/* In the order in which they may be taken: a CPU that holds one takes only those further down. */
enum lock_rank {
	LOCK_VM = 1,     /* one VM's platform devices, console and lifecycle */
	LOCK_DEVICE,     /* one device with a lock of its own: a virtio device's queues and state */
	LOCK_NET,        /* one switch's table of addresses and of ports */
	LOCK_NET_PORT,   /* one port of a switch: its numbers and figures, and who waits */
	LOCK_UPLINK,     /* one network interface and who sends by it */
	LOCK_IO,         /* one I/O scheduler: the requests for one backing store */
	LOCK_CONSOLE,    /* one VM's console: what was printed and what was typed */
	LOCK_VECTOR,     /* one MSI-X vector; held while its message is posted */
	LOCK_STAGE2,     /* one VM's page map and second-stage tables */
	LOCK_TIMERS,     /* one CPU's timers; held while they expire */
	LOCK_SCHED,      /* the tree of pools and who belongs where */
	LOCK_SCHED_CPU,  /* one CPU's queue; of two the lower index first, by lock_acquire_next() */
	LOCK_SCHED_CORE, /* who has a core whose threads are kept to one pool */
	LOCK_MEMORY_CPU, /* one CPU's frames and sums of memory management */
	LOCK_MEMORY,     /* the allocator and the pools that all CPUs share */
	LOCK_LOG,        /* the ring of log text */
};

struct lock {
	uint32_t next;    /* the ticket of whoever comes */
	uint32_t serving; /* the ticket of the holder */
	uint32_t rank;    /* enum lock_rank */
};

#define LOCK_DEPTH_MAX 8u

/* The locks that one CPU (in tests: one thread) holds. */
struct lock_context {
	const struct lock *held[LOCK_DEPTH_MAX];
	unsigned depth;
	uint32_t seed; /* not 0: CORBEL_LOCK_CHECKS builds wait a random moment at each acquisition, to vary who comes first */
};

static inline void lock_init(struct lock *l, enum lock_rank rank) { *l = (struct lock){.rank = rank}; }

#ifdef CORBEL_LOCK_CHECKS
/* What @fn returns belongs to the calling CPU; NULL: all share one context, which forgets what it held. */
void lock_set_context(struct lock_context *(*fn)(void));
/* @same_rank: a second lock of the same rank is allowed on top. */
void lock_note_acquire(const struct lock *l, bool same_rank);
void lock_note_release(const struct lock *l);
/* True when the calling CPU holds @l. */
bool lock_is_mine(const struct lock *l);
/* Called over and over while a CPU waits: threads that stand for more CPUs than there are give theirs to the holder. */
void lock_set_waiting(void (*fn)(void));
void lock_note_waiting(void);
#else
static inline void lock_note_acquire(const struct lock *l, bool same_rank) { (void)l, (void)same_rank; }
static inline void lock_note_release(const struct lock *l) { (void)l; }
static inline void lock_note_waiting(void) {}
static inline bool lock_is_mine(const struct lock *l) { return __atomic_load_n(&l->next, __ATOMIC_RELAXED) != l->serving; }
#endif

static inline bool lock_is_served(const struct lock *l, uint32_t ticket)
{
	return __atomic_load_n(&l->serving, __ATOMIC_ACQUIRE) == ticket;
}

static inline void lock_wait_turn(struct lock *l)
{
	uint32_t ticket = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);

	if (likely(lock_is_served(l, ticket)))
		return;
	do {
		__builtin_ia32_pause();
		lock_note_waiting();
	} while (!lock_is_served(l, ticket));
}

/* Waits for @l. Interrupts masked. */
static inline void lock_acquire(struct lock *l)
{
	lock_note_acquire(l, false);
	lock_wait_turn(l);
}

/* The same for a second lock of the rank of the one taken last; its owner has an order among them. */
static inline void lock_acquire_next(struct lock *l)
{
	lock_note_acquire(l, true);
	lock_wait_turn(l);
}

/* Takes @l if nobody holds it or waits. Out of order is fine here: whoever does not wait closes no cycle. */
static inline bool lock_try(struct lock *l)
{
	/* The last holder published its work by `serving`, not by `next`. */
	uint32_t serving = __atomic_load_n(&l->serving, __ATOMIC_ACQUIRE), ticket = serving;

	if (!__atomic_compare_exchange_n(&l->next, &ticket, serving + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return false;
	lock_note_acquire(l, true);
	return true;
}

static inline void lock_pass_on(struct lock *l) { __atomic_store_n(&l->serving, l->serving + 1, __ATOMIC_RELEASE); }

static inline void lock_release(struct lock *l)
{
	lock_note_release(l);
	lock_pass_on(l);
}

/*
 * For who stops every CPU's part of something, more locks than a context notes: one of the same rank, taken before
 * or after in the owner's order, is noted for all of them. Released by lock_pass_on().
 */
static inline void lock_acquire_unnoted(struct lock *l) { lock_wait_turn(l); }

#endif
