/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire's port of a switch: one network interface (nic.h), and who of those that want to send by it goes next.
 * That is mClock's business, in bytes: each port of the switch is a client, below a copy of the tree of pools, with a
 * reservation, a limit and shares. So that these decide and not the interface's ring, only little is given to the
 * interface at a time: by `depth_bytes`, and by `rate` when what is behind the interface is slower than it (an
 * access line). Frames that wait stay in their senders' memory.
 *
 * Whoever has time calls net_uplink_run(): the machine's worker, woken by the interface's interrupt, which stays off as
 * long as there is something to do. Frames that were received are carried into the switch there.
 */
#ifndef CORBEL_IO_NET_UPLINK_H
#define CORBEL_IO_NET_UPLINK_H

#include "io/net_switch.h"
#include "io/nic.h"
#include "lib/rls.h"

#define NET_UPLINK_HELD_MAX 16u /* frames of one client that may wait; behind them NET_WAIT */

/* Of struct net_uplink_settings. */
#define NET_UPLINK_DEPTH_DEFAULT 16384u /* ten full frames: 130 us of 1 Gbit/s */
#define NET_UPLINK_DEPTH_MIN 1600u
#define NET_UPLINK_DEPTH_MAX (1u << 20)
#define NET_UPLINK_POLL_DEFAULT NIC_RECEIVED_MAX

struct net_uplink_settings {
	uint64_t rate;	      /* bytes a second to the wire, 0: what the interface does */
	uint32_t depth_bytes; /* another frame goes to the interface while it has fewer: NET_UPLINK_DEPTH_MIN .. _MAX */
	uint32_t poll_frames; /* received in one step: 1 .. NIC_RECEIVED_MAX */
};

struct net_uplink_env {
	/* net_uplink_run() is wanted: at once, or at tick @at. Any context; locks up to LOCK_UPLINK may be held. */
	void (*wake)(void *ctx);
	void (*wake_at)(void *ctx, uint64_t at);
	void *ctx;
};

/* A sender: a port of the switch, before its first frame. */
struct net_uplink_client {
	struct mclock_client turns;
	struct net_port *port;
	unsigned held;
	struct list waiting; /* tickets that NET_WAIT */
	struct net_cut cut;  /* of its first frame, if a part of that has been sent */
	bool cutting;
	uint64_t sent_frames, sent_bytes;   /* on the wire */
	uint64_t queued, throttled;	    /* ticks, of all its frames together: in all, and before its limits let them */
	uint64_t by_reservation, lost;	    /* frames on the wire; frames that were held and given up */
};

struct net_uplink {
	struct net_port port;
	struct net_switch *sw;
	struct nic *nic;
	struct net_uplink_env env;
	struct net_uplink_settings settings;
	struct lock lock; /* LOCK_UPLINK */
	struct mclock_config clock;
	struct mclock_pool root;
	struct net_bucket rate;
	struct list sent;  /* tickets to be told of, without the lock */
	struct list ready; /* tickets that waited, likewise */
	struct net_uplink_client
		*clients[NET_PORTS_MAX]; /* by the port's index; NULL: none, it may not send by the wire */
	struct net_uplink_client own;	 /* the host's */
	uint64_t told;			 /* as env.wake_at() was told last */
	uint64_t poll_at;		 /* when the driver wants to be called */
	bool closing, down;
	bool polling;			 /* interrupts are off */
	bool committed;			 /* and the interface not told yet */
	uint64_t received_steps, cut_frames;
	/* What was received, on its way into the switch; of who runs. */
	struct nic_frame in[NIC_RECEIVED_MAX];
	unsigned in_count, in_next;
	struct net_batch batch;
	struct io_segment segment;
	struct net_frame frame;
	struct net_ticket ticket;
	bool on_hold; /* net_uplink_hold() */
};

void net_uplink_settings_init(struct net_uplink_settings *set);
/* Opens its port of @sw, a trunk for all tags. The statuses of net_port_open(); ST_INVALID. Zeroed memory. */
enum status net_uplink_open(struct net_uplink *u, struct net_switch *sw, struct nic *nic,
			    const struct net_uplink_env *env, const struct net_uplink_settings *set,
			    struct error *err) MUST_CHECK;
/* Drops what waits. False: call again. */
bool net_uplink_close(struct net_uplink *u);
enum status net_uplink_set(struct net_uplink *u, const struct net_uplink_settings *set, struct error *err) MUST_CHECK;

/* @p may send by the wire, below @pool (NULL: the root), with @numbers in bytes a second. Masked, like all that
 * follows. */
void net_uplink_client_begin(struct net_uplink *u, struct net_uplink_client *c, struct net_port *p,
			     struct mclock_pool *pool, const struct rls *numbers);
/* Nothing of it waits or is held (ASSERT). */
void net_uplink_client_end(struct net_uplink *u, struct net_uplink_client *c);
void net_uplink_client_set(struct net_uplink *u, struct net_uplink_client *c, const struct rls *numbers);
void net_uplink_client_move(struct net_uplink *u, struct net_uplink_client *c, struct mclock_pool *pool);
void net_uplink_pool_begin(struct net_uplink *u, struct mclock_pool *p, struct mclock_pool *above,
			   const struct rls *numbers);
void net_uplink_pool_end(struct net_uplink *u, struct mclock_pool *p);
void net_uplink_pool_set(struct net_uplink *u, struct mclock_pool *p, const struct rls *numbers);
/*
 * Between the two nothing goes to the wire, and what comes waits: for several moves in the tree that count together. By
 * one owner at a time.
 */
void net_uplink_hold(struct net_uplink *u);
void net_uplink_let_go(struct net_uplink *u);

/*
 * A bounded step, @budget host instructions: sends, takes back, receives. True: there is more to do at once. By one at
 * a time, no lock held.
 */
bool net_uplink_run(struct net_uplink *u, unsigned budget);

#endif
