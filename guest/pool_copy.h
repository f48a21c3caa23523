/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of the tree of pools (guest/pool.h) in an mClock tree (io/mclock.h): each device that is shared by turns, a
 * domain of disks or an uplink, has one. A pool is copied into it when the first member below it comes, and goes with
 * the last. The copies do not follow changes one by one: what they should be is compared with what they are, and where
 * a pool has another place than its copy all members are put in anew, for that is seldom.
 *
 * All calls are the control task's.
 */
#ifndef CORBEL_GUEST_POOL_COPY_H
#define CORBEL_GUEST_POOL_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/pool.h"
#include "io/mclock.h"

/* Three numbers and what they count. */
struct pool_numbers {
	enum mclock_unit unit;
	struct rls rls;
};

/* A client of the device's. */
struct pool_member {
	struct list link;            /* of pool_copies.members */
	uint16_t pool;               /* id of the pool that it stands below in the tree */
	struct pool_numbers numbers; /* that it has there */
};

struct pool_copy {
	struct mclock_pool node;
	unsigned users;  /* members and copies directly below */
	uint16_t parent; /* pool id; the root's when it stands right below the tree's root */
	struct pool_numbers numbers;
};

struct pool_copies;

/* The device's scheduler, whose locks these take. Masked. In all of them NULL is the root of the tree. */
struct pool_copies_ops {
	/* What @p's numbers are for such a device. */
	void (*pool_numbers)(const struct pool *p, struct pool_numbers *out);
	/* What @m's are by the definition of its VM, which is returned. NULL: it is the host's, and stays as it is. */
	const struct vm *(*member_numbers)(const struct pool_member *m, struct pool_numbers *out);
	void (*begin)(struct pool_copies *c, struct mclock_pool *p, struct mclock_pool *above,
		      const struct pool_numbers *n);
	void (*end)(struct pool_copies *c, struct mclock_pool *p);
	void (*set)(struct pool_copies *c, struct mclock_pool *p, const struct pool_numbers *n);
	void (*member_move)(struct pool_member *m, struct mclock_pool *to);
	void (*member_set)(struct pool_member *m, const struct pool_numbers *n);
	/* Between the two nothing goes to the device. */
	void (*hold)(struct pool_copies *c);
	void (*let_go)(struct pool_copies *c);
};

struct pool_copies {
	struct machine *machine;
	const struct pool_copies_ops *ops;
	struct list members;
	struct pool_copy at[POOL_IDS]; /* by id - 1 */
};

void pool_copies_init(struct pool_copies *c, struct machine *m, const struct pool_copies_ops *ops);
/* @m stands below the root, with @n. Masked, like the next two. */
void pool_copies_add(struct pool_copies *c, struct pool_member *m, const struct pool_numbers *n);
/* Back to the root, and off the list; whoever owns it ends it in the device. */
void pool_copies_remove(struct pool_copies *c, struct pool_member *m);
/* Its place and its numbers are now those of its VM's definition. */
void pool_copies_follow_one(struct pool_copies *c, struct pool_member *m);
/* Copies, members' places and numbers follow what is defined. Not masked: it masks itself, for short sections. */
void pool_copies_follow(struct pool_copies *c);

#endif
