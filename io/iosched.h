/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O scheduler of one domain: a disk, or whatever else is slow, and all volumes
 * that stand on it (io/block.h). Clients, one for each use of a volume, submit requests;
 * mClock (io/mclock.h) says in which order they go to the device, and only so many are there
 * at a time, for what the device has queued can no longer be put in order. That bound follows a
 * latency that the operator sets (the control law of PARDA: A. Gulati, I. Ahmad,
 * C. Waldspurger, "PARDA: Proportional Allocation of Resources for Distributed Storage
 * Access", FAST 2009).
 *
 * One lock (LOCK_IO) is over the scheduler and the devices of its domain. Who calls into
 * such a device goes through iosched_enter() and iosched_leave(), which sends on what may go,
 * lets the lock go, and only then tells the submitters of what is done: they take
 * locks of their own. A pass is bounded; what is left is done in the next, soon after.
 * A request that nobody stands before goes to the device at once.
 */
#ifndef CORBEL_IO_IOSCHED_H
#define CORBEL_IO_IOSCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/block.h"
#include "io/mclock.h"
#include "lib/clock.h"
#include "lib/lock.h"
#include "lib/timerq.h"

#define IOSCHED_DEPTH_MAX 256u /* requests at the device */
#define IOSCHED_DEPTH_LEAST 4u    /* with fewer a fast device that works on one has nothing to do while others get theirs */
#define IOSCHED_DEPTH_UNKNOWN 64u /* the bound for a device that does not say how many it works on at a time */
#define IOSCHED_LATENCY_MAX_NS 60000000000ull
#define IOSCHED_BURST_DEFAULT 2u
#define IOSCHED_BURST_MAX 1000u
#define IOSCHED_TIMERS_MAX 8u  /* ours and those of the domain's devices */
#define IOSCHED_LATENCY_BUCKETS 32u

struct iosched_config {
	const struct clock *clock;
	/*
	 * iosched_run() is to be called at host tick @at, or soon after; TIMERQ_NEVER: no more. One call replaces the
	 * last. Called with LOCK_IO held, masked, on any CPU.
	 */
	void (*wake_at)(void *ctx, uint64_t at);
	void *ctx;
	uint64_t request_bytes; /* as in struct mclock_config */
};

/* The operator's settings, with their defaults in iosched_settings_init(). */
struct iosched_settings {
	uint32_t depth_max;  /* at the device at a time, up to IOSCHED_DEPTH_MAX; 0: by what it works on at once */
	uint64_t latency_ns; /* of the device, at which the bound of requests there is held; 0: depth_max alone bounds
				them */
	uint32_t burst;	     /* requests by which a client may be ahead by shares when it comes back from idleness */
};

struct iosched {
	struct lock lock;
	struct iosched_config cfg;
	struct iosched_settings settings;
	struct mclock_config mclock_cfg;
	struct mclock_pool root;
	struct timerq timers; /* of the domain; run by iosched_run() */
	struct timer *timer_slots[IOSCHED_TIMERS_MAX];
	struct timer next_turn;	   /* when a limit lets somebody, or a pass was cut short */
	uint64_t told;		   /* as wake_at() was told last */
	struct list ended;	   /* done, and their submitters not told yet */
	bool telling;		   /* somebody tells them: who adds meanwhile leaves it to him */
	uint32_t at_once;	   /* that its device works on, 0: not known */
	uint32_t at_device, depth; /* requests there, and how many there may be; 0: held */
	uint32_t held_depth;
	/* Of the time since depth was set last. */
	uint64_t epoch_ends, epoch_ticks;
	uint32_t epoch_ended;
};

/* In host ticks, but for counts. */
struct iosched_figures {
	uint64_t requests[BLOCK_OP_COUNT];
	uint64_t bytes_read, bytes_written;
	uint64_t failed;
	uint64_t queued;	 /* from arrival until it went to the device, all together; of these */
	uint64_t throttled;	 /* until its own limit and its pools' let it */
	uint64_t service;	 /* at the device */
	uint64_t by_reservation; /* how many went because a reservation was due */
	uint64_t straight;	 /* how many waited for nobody */
	uint64_t latency[IOSCHED_LATENCY_BUCKETS]; /* arrival to end: those below 2^n ticks and not below 2^(n-1) */
	uint32_t waiting, at_device;
};

struct iosched_client;

/* One request under way; a client's memory. */
struct iosched_slot {
	struct mclock_request turn;
	struct block_request *of; /* NULL: the slot is free */
	void (*complete)(struct block_request *r); /* the submitter's; the request has ours meanwhile */
	struct iosched_client *client;
	struct iosched_slot *next_free;
	struct list link;         /* of iosched.ended */
	uint64_t sent;            /* ticks */
	bool waits;               /* for its turn */
};

struct iosched_client {
	struct mclock_client turns;
	struct iosched *sched;
	struct block_device *device;
	struct iosched_slot *free;
	struct iosched_slot *slots;
	unsigned slot_count;
	struct iosched_figures figures;
};

void iosched_settings_init(struct iosched_settings *set);
void iosched_init(struct iosched *s, const struct iosched_config *cfg);
/* ST_INVALID names the setting that is out of range, and nothing changes. Takes the lock; masked, like all that
 * follows. */
enum status iosched_set(struct iosched *s, const struct iosched_settings *set, struct error *err) MUST_CHECK;

/*
 * A user of @device, of the domain of @s, below @pool (NULL: the root), by @numbers. @slots of @count stay the caller's
 * until iosched_client_end(); as many requests may be under way at a time, and it sees to that. All fields of @numbers
 * are in range (rls_valid(), a limit above 0).
 */
void iosched_client_begin(struct iosched_client *c, struct iosched *s, struct mclock_pool *pool,
			  struct block_device *device, enum mclock_unit unit, const struct rls *numbers,
			  struct iosched_slot *slots, unsigned count);
/* No request of it is under way (ASSERT). */
void iosched_client_end(struct iosched_client *c);
void iosched_client_set(struct iosched_client *c, enum mclock_unit unit, const struct rls *numbers);
/* To another place in the tree, with what waits: NULL: the root. What it had run up by its tags is gone. */
void iosched_client_move(struct iosched_client *c, struct mclock_pool *pool);
/* The first three for a pool of clients, in memory of the caller's. @above NULL: the root. */
void iosched_pool_begin(struct iosched *s, struct mclock_pool *p, struct mclock_pool *above, enum mclock_unit unit,
			const struct rls *numbers);
void iosched_pool_end(struct iosched *s, struct mclock_pool *p);
void iosched_pool_set(struct iosched *s, struct mclock_pool *p, enum mclock_unit unit, const struct rls *numbers);

/*
 * Takes @r, for which block_check() holds on the client's device, with complete set. True: it is done on return, and
 * its complete is not called. False: it is called later, masked, with no lock of rank LOCK_IO or later held. No such
 * lock is held here.
 */
bool iosched_submit(struct iosched_client *c, struct block_request *r);
/* Takes @r back if nothing has begun on it: true, it is the submitter's, and complete is not called. */
bool iosched_cancel(struct iosched_client *c, struct block_request *r);

/*
 * A device of the domain works on @at_once requests at a time (0: not known). Of several the most counts. Without a
 * depth_max of the operator's twice as many, at least four, may be there: one in work and one that is ready for each
 * place. What waits beyond that waits here, where shares and reservations have a say.
 */
void iosched_works_on(struct iosched *s, uint32_t at_once);

/*
 * Between the two nothing new goes to the device: for several moves in the tree that count together. By one owner at a
 * time, who calls iosched_set() not meanwhile.
 */
void iosched_hold(struct iosched *s);
void iosched_let_go(struct iosched *s);

/* Around every other call into a device of the domain: a poll, an interrupt's handler. */
void iosched_enter(struct iosched *s);
void iosched_leave(struct iosched *s);
/* The domain's timers that are due, and a pass. */
void iosched_run(struct iosched *s);

/* Exact at one moment; takes the lock. */
void iosched_figures(struct iosched_client *c, struct iosched_figures *out);

/* All rules, with the lock taken; for tests and checks. */
bool iosched_check(struct iosched *s);

#endif
