/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mClock: whose request goes to the device next (A. Gulati, A. Merchant, P. Varman,
 * "mClock: Handling Throughput Variability for Hypervisor IO Scheduling", OSDI 2010).
 * Each client carries three tags for its first waiting request: R, when its
 * reservation is due; L, when its limit lets it; P, its turn by shares. A reservation
 * that is due goes first, the one that is due longest; else, of those that their limits let,
 * the least P, and that takes nothing from the reservation.
 *
 * Clients stand in a tree of pools that have the same three numbers. A pool has tags
 * too: a request is due only when its client and each pool above are, and so with limits.
 * What a pool has reserved beyond its members' reservations goes to them by shares.
 *
 * Only tags and turns are here: no device, no clock, no lock. Times are the caller's
 * ticks, and never run backward; a decision is O(log n) at each level. docs/io-scheduling.md
 * says where this departs from the paper and why.
 */
#ifndef CORBEL_IO_MCLOCK_H
#define CORBEL_IO_MCLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/leftist.h"
#include "lib/list.h"
#include "lib/rls.h"

#define MCLOCK_NEVER UINT64_MAX
#define MCLOCK_COST_ONE 1024u /* of a request of MCLOCK_SMALL bytes or less */
#define MCLOCK_SMALL 4096u    /* what people count requests a second with */
#define MCLOCK_DEPTH_MAX 8u   /* pools above one another, the root among them */

/* What reservation and limit of a client or a pool count, in each second. Shares always weigh costs. */
enum mclock_unit { MCLOCK_REQUESTS, MCLOCK_BYTES };

struct mclock_config {
	uint64_t hz;		/* ticks a second, below 2^32 */
	uint64_t request_bytes; /* so many more cost one more: mean positioning time times peak bandwidth, Tm * Bpeak */
	uint64_t limit_slack; /* ticks: how much of a limit that a client could not use, though it had work, it keeps */
	uint32_t burst; /* costs, in whole requests: how far ahead by shares a client returns from idleness; 0: not */
};

/* Ticks for each unit of cost, 32 bits behind the point. */
struct mclock_tag {
	uint64_t at;	/* ticks */
	uint32_t parts; /* of 2^32 of a tick */
	uint64_t step;	/* ticks for each unit, times 2^32; 0: no such number */
};

struct mclock_pool;

/* What a client and a pool have in common: a place below a pool. */
struct mclock_node {
	struct mclock_pool *parent; /* NULL: the root, or not placed */
	bool is_pool;
	bool ready; /* in parent->ready, not in parent->limited, while it has work */
	enum mclock_unit unit;
	struct rls numbers; /* a second */
	struct mclock_tag reserved, limited;
	uint64_t turn;	    /* P */
	uint64_t turn_step; /* P of one whole request */
	uint64_t served_at; /* ticks */
	struct leftist_node by_reservation, by_turn;
};

struct mclock_pool {
	struct mclock_node node;
	const struct mclock_config *cfg;
	uint64_t waiting;	 /* requests below it */
	uint64_t virtual_time;	 /* P of what was served last by shares */
	struct leftist reserved; /* members with work and a reservation, by when it is due */
	struct leftist ready;	 /* members that their limits let, by P */
	struct leftist limited;	 /* the others with work, by when their limits let them */
};

struct mclock_client {
	struct mclock_node node;
	struct list requests; /* in the order of their arrival */
	uint64_t count;
};

/* Embedded in its owner; the scheduler's from mclock_add() until mclock_pick() or mclock_cancel(). */
struct mclock_request {
	struct list link;
	struct mclock_client *client;
	uint64_t arrived; /* ticks */
	uint32_t cost;	  /* MCLOCK_COST_ONE and more */
	uint64_t bytes;
	/*
	 * Of its bytes as many as are served in one turn, 0: all. Each mclock_pick() then charges for a part, and
	 * leaves the request first of its client's, with bytes and cost of what is left, until that is nothing.
	 */
	uint64_t part;
	uint64_t left; /* once picked: bytes that wait for further turns */
	/* Once picked: whether its client's reservation was due, and from when on all limits above it let it, had they
	 * to. */
	bool by_reservation;
	uint64_t let;
};

/* @root has no numbers: it gives what the device can. @cfg outlives it. */
void mclock_root_init(struct mclock_pool *root, const struct mclock_config *cfg);
/* Under @parent, with RLS_UNLIMITED and no reservation unless @numbers say so; checked by the caller (rls_valid()). */
void mclock_pool_init(struct mclock_pool *pool, struct mclock_pool *parent, enum mclock_unit unit,
		      const struct rls *numbers, uint64_t now);
void mclock_client_init(struct mclock_client *client, struct mclock_pool *parent, enum mclock_unit unit,
			const struct rls *numbers, uint64_t now);
/* New numbers, at once, also while requests wait: what was run up by the old ones is kept in units, not in time. */
void mclock_set(struct mclock_node *node, enum mclock_unit unit, const struct rls *numbers, uint64_t now);
/* Out of the tree: no request waits in or below it (ASSERT). A pool has no members any more. */
void mclock_leave(struct mclock_node *node);

/* What a request of @bytes costs: the paper's 1 + S / (Tm * Bpeak), S from MCLOCK_SMALL on. */
uint32_t mclock_cost_large(const struct mclock_config *cfg, uint64_t bytes);
static inline uint32_t mclock_cost(const struct mclock_config *cfg, uint64_t bytes)
{
	return bytes <= MCLOCK_SMALL ? MCLOCK_COST_ONE : mclock_cost_large(cfg, bytes);
}

/* @r, with arrived, cost and bytes set by the caller, waits with @client. arrived is not before that of the one ahead.
 */
void mclock_add(struct mclock_client *client, struct mclock_request *r);
/* Takes @r, which waits, out again: nobody is charged. */
void mclock_cancel(struct mclock_request *r, uint64_t now);

/*
 * Takes the request that goes next and charges it. NULL: none may go before *next (MCLOCK_NEVER: none waits), unless
 * another arrives or numbers change.
 */
struct mclock_request *mclock_pick(struct mclock_pool *root, uint64_t now, uint64_t *next);

/*
 * The way past the queues, for a request that comes when nothing waits in the tree: charges @r of @client and answers
 * true, or answers false when a limit stands against it, and it must be added.
 */
bool mclock_pass(struct mclock_client *client, struct mclock_request *r);

/* All rules of the structure, in time of its size; for tests and checks. */
bool mclock_check(const struct mclock_pool *root);

#endif
