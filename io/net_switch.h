/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A learning Ethernet switch (IEEE 802.1Q, without a spanning tree: it has one uplink and no loops to break). Ports
 * belong to guests' interfaces and to the wire. A frame is carried from port to port by whoever sends it: a call of
 * net_switch_send() finds out where it goes and copies it there, in the sender's worker and on the sender's account.
 * No lock that two ports share is held while a frame is looked at or copied: the table of addresses is read without
 * one, and a receiver locks only to hand out buffers and to take them back.
 *
 * What a port may send is checked before anything else is done with a frame: its addresses, tags, rate, broadcasts.
 * Each frame that goes no further is counted at its sender, or, when it is the receiver that has no room for it, at
 * the receiver, by reason.
 *
 * Waiting. Between guests nothing is lost as long as the receiver keeps up: a sender waits for buffers, for at most
 * `patience`; a receiver that has posted none for so long loses what is for it, at once, until it posts some. Frames
 * from the wire and to groups wait for nobody.
 */
#ifndef CORBEL_IO_NET_SWITCH_H
#define CORBEL_IO_NET_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

#include "io/mclock.h"
#include "io/net_frame.h"
#include "lib/counter.h"
#include "lib/error.h"
#include "lib/list.h"
#include "lib/lock.h"

#define NET_PORTS_MAX 64u
#define NET_ADDRESSES_MAX 1024u	    /* learned, of a switch */
#define NET_PORT_ADDRESSES_MAX 256u /* of them, by one port */
#define NET_PORT_IPS_MAX 4u
#define NET_PORT_VLANS_MAX 16u
#define NET_VLAN_MAX 4094u

struct net_port;
struct net_switch;
struct net_tap;

enum net_answer {
	NET_DONE,  /* delivered, or dropped and counted: the frame's memory is its owner's again */
	NET_WAIT,  /* nothing was lost: ready() is called when it may be tried again, with the same ticket */
	NET_AGAIN, /* the budget is spent: call again, with the same ticket */
	NET_HELD,  /* a port keeps it for a while: done() is called, or net_switch_cancel() takes it back */
};

/* A frame under way. Embedded in its owner; the switch's from net_switch_send() until NET_DONE, done() or cancel. */
struct net_ticket {
	/* The owner's. */
	struct net_frame *frame; /* parsed, found good; a tag may be put in or taken off on its way */
	unsigned behind; /* frames that its sender knows to come right behind it: the receiver's interrupt may wait for
			    them */
	bool patient;	 /* it may WAIT */
	/* After NET_WAIT: once, masked, any lock up to LOCK_DEVICE may be held by the caller: it only asks for work. */
	void (*ready)(struct net_ticket *t);
	/* After NET_HELD: once, masked, with no lock of LOCK_NET or later held. @why: NET_DROP_NONE: it was sent. */
	void (*done)(struct net_ticket *t, enum net_drop why);
	/* The switch's. */
	struct net_port *from;
	struct net_port *to; /* that it waits for or is held by */
	unsigned next_port;  /* of a frame that goes to several */
	bool begun;	     /* admitted and charged to its sender's limits */
	/* The receiving port's while it waits or is held, or until it has all of it. */
	unsigned progress; /* of a frame that is cut for it, how many of the frames it has; the owner begins with 0 */
	struct list link;
	struct mclock_request turn;
};

/* What is behind a port. */
struct net_port_ops {
	/*
	 * Takes t->frame, bare of the tag unless the port is a trunk: copies it on the spot and answers NET_DONE, with
	 * *why when it had to be dropped; NET_WAIT: it has no buffers now: net_port_refilled() says when it has, maybe
	 * before this returns; NET_AGAIN: a part of it is delivered (t->progress), and so that a step stays short it is
	 * to be delivered to once more, soon; NET_HELD. Masked, no lock held; calls for one port may come from several
	 * CPUs at a time.
	 */
	enum net_answer (*deliver)(void *ctx, struct net_ticket *t, enum net_drop *why);
	/* A sender's batch, of which the port got some, is over: what interrupt was held back is due. May be NULL. */
	void (*flush)(void *ctx);
	/* Takes @t back, which waits or is held: true: it is the caller's, neither ready() nor done() is called. */
	bool (*cancel)(void *ctx, struct net_ticket *t);
};

/* The numbers of a port. */
struct net_port_config {
	bool locked_mac; /* it sends from @mac alone, and is known there without learning */
	uint8_t mac[NET_MAC_BYTES];
	unsigned ip_count; /* it sends from these alone: IPv4, IPv6 and ARP; 0: from any */
	struct net_ip {
		bool v6;
		uint8_t bytes[16]; /* the first four of IPv4 */
	} ips[NET_PORT_IPS_MAX];
	uint16_t vlan; /* of frames without a tag, 1 .. NET_VLAN_MAX; 0: the switch's own, without a tag anywhere */
	unsigned trunk_count; /* tags that it may send and gets; 0: it gets and sends none */
	uint16_t trunk[NET_PORT_VLANS_MAX];
	bool trunk_all;	     /* the wire's */
	bool isolated;	     /* reaches no other isolated port */
	bool up;	     /* the link */
	uint32_t mtu;	     /* NET_MTU_MIN .. NET_MTU_MAX */
	uint64_t rate;	     /* bytes a second that it may send, with Ethernet's headers; 0: any number */
	uint64_t rate_burst; /* bytes that it may be ahead, 0: what rate gives in 2 ms, at least NET_BYTES_MAX */
	uint32_t storm;	     /* frames to groups a second, 0: any number; as many at once */
};

/* What passed a port: sent is by its owner, received is to its owner. */
struct net_port_figures {
	uint64_t sent_frames, sent_bytes, received_frames,
		received_bytes; /* bytes with Ethernet's headers; one to be cut is one */
	uint64_t sent_groups, received_groups;
	uint64_t sent_drops[NET_DROPS], received_drops[NET_DROPS];
	uint64_t waits;		 /* that a sender waited for this one's buffers */
	uint64_t throttled;	 /* that it waited for its own rate */
	uint64_t stalls;	 /* that a sender's patience with it ended */
	uint64_t learned, moved; /* addresses */
};

/* What a switch needs of its surroundings. */
struct net_env {
	uint64_t (*now)(void *ctx); /* ticks */
	uint64_t hz;
	/* net_port_expired() is called for @p at tick @at or soon after; the last call counts, MCLOCK_NEVER takes it
	 * back. */
	void (*wake_at)(void *ctx, struct net_port *p, uint64_t at);
	void *ctx;
};

struct net_switch_settings {
	uint64_t patience_ns; /* 0 .. 1 s */
	uint64_t age_ns;      /* that an address is kept unheard of, 1 s .. 1 h */
};

/* What a switch has learned; entries in lock-free buckets. Its layout is net_switch.c's business. */
struct net_address {
	uint32_t version; /* odd while it is written; atomic */
	uint32_t port;	  /* index + 1, 0: empty */
	uint64_t key;	  /* VLAN and address */
	uint64_t heard_at;
};

struct net_switch {
	struct net_env env;
	struct net_switch_settings settings;
	struct lock lock;		       /* LOCK_NET: who changes the table of addresses or of ports */
	struct net_port *ports[NET_PORTS_MAX]; /* atomic */
	struct net_port *uplink;	       /* where what nobody knows goes besides; NULL */
	struct net_address addresses[NET_ADDRESSES_MAX];
};

/* One sender's batch: which ports to flush at its end. */
struct net_batch {
	uint64_t touched; /* BIT(index) */
};

/* A token bucket of @rate a second. */
struct net_bucket {
	uint64_t at; /* ticks: until when it is used up */
	uint64_t parts;
};

struct net_port {
	struct net_switch *sw;
	unsigned index;
	const struct net_port_ops *ops;
	void *ctx;
	struct lock lock; /* LOCK_NET_PORT: its numbers, buckets, waiting tickets, figures of sending */
	struct net_port_config config;
	struct net_port_figures figures;
	struct net_bucket rate, storm;
	struct net_tap *tap;	/* NULL: nobody looks; atomic */
	unsigned users;		/* of those who deliver to it now; atomic */
	bool closing;		/* atomic */
	uint64_t stalled_since; /* tick of the first WAIT since it took one; 0: none. Atomic */
	struct list waiting;	/* tickets of its owner that wait for its rate */
	struct list impatient;	/* tickets that wait for its buffers, by whoever delivers */
	unsigned addresses;	/* learned */
};

void net_switch_settings_init(struct net_switch_settings *set);
/* @sw is zeroed memory. ST_INVALID names the setting that is out of range. */
enum status net_switch_init(struct net_switch *sw, const struct net_env *env, const struct net_switch_settings *set,
			    struct error *err) MUST_CHECK;
enum status net_switch_set(struct net_switch *sw, const struct net_switch_settings *set, struct error *err) MUST_CHECK;

/*
 * Adds @p, which outlives it, by @cfg. ST_INVALID names the number that is out of range; ST_OVER_LIMIT: no port is
 * free; ST_EXISTS: another port has the same locked address. @uplink: it is where unknown destinations go; one at most.
 */
enum status net_port_open(struct net_port *p, struct net_switch *sw, const struct net_port_ops *ops, void *ctx,
			  const struct net_port_config *cfg, bool uplink, struct error *err) MUST_CHECK;
/* New numbers, at once. */
enum status net_port_set(struct net_port *p, const struct net_port_config *cfg, struct error *err) MUST_CHECK;
/*
 * Nothing goes to it or comes from it any more; what waits for it is dropped (ready() is called, and finds it gone).
 * False: somebody is delivering to it at this moment: call again. Its own tickets are cancelled by its owner before.
 */
bool net_port_close(struct net_port *p);

/*
 * Carries t->frame from @from, whose owner calls, one at a time for each port (a port's frames never overtake each
 * other but by what their receivers make of them). Masked, no lock held. *budget is in host instructions.
 */
enum net_answer net_switch_send(struct net_port *from, struct net_ticket *t, struct net_batch *batch, unsigned *budget);
/* The batch is over: receivers are told. */
void net_switch_flush(struct net_switch *sw, struct net_batch *batch);
/* Takes back @t, which waits or is held. True: it is the caller's; false: ready() or done() is about to be called. */
bool net_switch_cancel(struct net_ticket *t);

/* Port @p has buffers again, with its owner's lock held (LOCK_DEVICE): who waits is told. */
void net_port_refilled(struct net_port *p);
/* What env.wake_at() asked for. Masked, no lock held. */
void net_port_expired(struct net_port *p);

void net_port_figures(struct net_port *p, struct net_port_figures *out);
/* The @index-th address or a later one: false: no more. For tools; it may change meanwhile. */
bool net_switch_address(struct net_switch *sw, unsigned *index, uint8_t mac[NET_MAC_BYTES], uint16_t *vlan,
			unsigned *port, uint64_t *age_ns);
/* All rules; for tests and checks. */
bool net_switch_check(struct net_switch *sw);

#endif
