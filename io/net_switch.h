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
 * `patience`; a receiver that has posted none for so long loses what is for it, at once, until it posts some. What it
 * has made others wait is forgiven with the frames that it takes, a 64th of the patience for each, so that one who
 * posts a buffer now and then does not hold up who answers it. Frames from the wire and to groups wait for no buffers.
 *
 * An address that nobody has learned is looked for at all ports of the VLAN that learn; what is behind a port with a
 * locked address is known, and other hosts' frames are none of its business.
 */
#ifndef CORBEL_IO_NET_SWITCH_H
#define CORBEL_IO_NET_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

#include "io/mclock.h"
#include "io/net_bucket.h"
#include "io/net_frame.h"
#include "lib/error.h"
#include "lib/list.h"
#include "lib/lock.h"

#define NET_PORTS_MAX 64u
#define NET_ADDRESSES_MAX 1024u	    /* learned, of a switch */
#define NET_PORT_ADDRESSES_MAX 256u /* of them, by one port */
#define NET_PORT_IPS_MAX 4u
#define NET_PORT_VLANS_MAX 16u
#define NET_VLAN_MAX 4094u
/* Of struct net_switch_settings. */
#define NET_PATIENCE_DEFAULT_NS 20000000ull
#define NET_PATIENCE_MAX_NS 1000000000ull
#define NET_AGE_DEFAULT_NS 300000000000ull /* 802.1D, 7.9.2 */
#define NET_AGE_MIN_NS 1000000000ull
#define NET_AGE_MAX_NS 3600000000000ull

struct net_port;
struct net_switch;
struct net_tap;

enum net_answer {
	NET_DONE,  /* delivered, or dropped and counted: the frame's memory is its owner's again */
	NET_WAIT,  /* nothing was lost: ready() is called when it may be tried again, with the same ticket */
	NET_AGAIN, /* the budget is spent: call again, with the same ticket */
	NET_HELD,  /* a port keeps it for a while: done() is called, or net_switch_cancel() takes it back */
};

/* By whom a ticket waits; the switch's. */
enum net_stage { NET_AT_NOBODY, NET_FOR_RATE, NET_FOR_BUFFERS, NET_AT_PORT };

/*
 * A frame under way. Embedded in its owner, zeroed before its first frame; the switch's from net_switch_send() until
 * NET_DONE, done() or cancel. ready() and done() may be called, by another CPU, before the answer that announces them
 * is returned.
 */
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
	unsigned to_index;   /* its place, which is somebody's also when it is gone */
	unsigned next_port;  /* of a frame that goes to several */
	uint16_t tci;	     /* its VLAN, and its priority if it came with one */
	uint8_t stage;	     /* enum net_stage */
	bool begun;	     /* admitted and charged to its sender's limits */
	bool floods;	     /* it goes to several */
	bool reached;	     /* one of them at least */
	/* The receiving port's while it waits or is held, or until it has all of it. */
	unsigned progress; /* of a frame that is cut for it, how many of the frames it has; 0 for each that gets it */
	uint8_t held;
	uint8_t why; /* enum net_drop, for done() */
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
	/*
	 * NULL: the port holds no frames, and the switch keeps who waits for its buffers until net_port_refilled().
	 * Else, as only the uplink may, the port keeps by itself what waits for it or is held (t->link and what follows
	 * is its own then), counts what it held (net_port_took(), net_port_lost()), and takes @t back: true: it is the
	 * caller's, neither ready() nor done() is called.
	 */
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
	uint64_t learned, moved; /* addresses, and those of them that were another port's before */
};

/* What a switch needs of its surroundings. */
struct net_env {
	uint64_t (*now)(void *ctx); /* ticks */
	uint64_t hz;
	/* net_port_expired() is called for @p at tick @at or soon after; the last call counts, MCLOCK_NEVER takes it
	 * back. LOCK_NET_PORT is held. */
	void (*wake_at)(void *ctx, struct net_port *p, uint64_t at);
	void *ctx;
};

struct net_switch_settings {
	uint64_t patience_ns; /* 0 .. NET_PATIENCE_MAX_NS */
	uint64_t age_ns;      /* that an address is kept unheard of, NET_AGE_MIN_NS .. NET_AGE_MAX_NS */
};

/* What a switch knows of addresses; net_table.h's business. All atomic. */
struct net_address {
	uint32_t version; /* odd while it is written */
	uint32_t port;	  /* index + 1, 0: empty; with a bit for a locked one */
	uint64_t key;	  /* VLAN and address */
	uint64_t heard_at;
};

/* Where a port is in a switch: `users` outlives it, so that who found it there can hold it. */
struct net_place {
	struct net_port *port; /* atomic */
	unsigned users;	       /* who deliver to it or look at it now; atomic */
	bool taken;	       /* also by one that is closing */
} __attribute__((aligned(CACHE_LINE)));

struct net_switch {
	struct net_env env;
	struct net_switch_settings settings;
	struct lock lock;		       /* LOCK_NET: who changes the table of addresses or of ports */
	struct net_place places[NET_PORTS_MAX];
	/* BIT(place): who is there, and of those who learns: whom frames to groups and to unknown addresses are for. */
	uint64_t present, learning; /* atomic */
	unsigned uplink; /* place + 1 of where what nobody knows goes besides, 0: none; atomic */
	uint64_t multiplier; /* of the addresses' places */
	uint64_t age;	     /* ticks; atomic, like patience */
	uint64_t patience;
	struct net_address addresses[NET_ADDRESSES_MAX];
};

/* One sender's batch: which ports to flush at its end. */
struct net_batch {
	uint64_t touched; /* BIT(index) */
};

struct net_port {
	struct net_switch *sw;
	unsigned index;
	const struct net_port_ops *ops;
	void *ctx;
	struct lock lock; /* LOCK_NET_PORT: its numbers, buckets and who waits */
	struct net_port_config config;
	struct net_port_figures figures; /* atomic; what was sent is counted by its sender alone */
	struct net_bucket rate, storm;
	struct net_tap *tap; /* NULL: nobody looks; atomic */
	bool closing, closed;
	struct list waiting;   /* tickets of its owner that wait for its rate */
	struct list impatient; /* tickets that wait for its buffers */
	uint64_t told;	       /* as env.wake_at() was told last */
	unsigned addresses;    /* learned; LOCK_NET */
	uint64_t swept_at;     /* tick at which old ones were looked for; LOCK_NET */
	/* What those who deliver to it look at without its lock; atomic. */
	uint64_t gate; /* what of its numbers is for receiving (net_switch_internal.h) */
	uint16_t tags[NET_PORT_VLANS_MAX];
	unsigned refills;	/* net_port_refilled() so far */
	uint64_t stalled_since; /* tick of the first WAIT since it took a frame; 0: none */
	uint64_t stalled;	/* ticks that others have waited for it before, and are not forgiven */
	bool given_up;		/* the patience with it has ended */
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
/* New numbers, at once; the statuses of net_port_open(), and then nothing has changed. */
enum status net_port_set(struct net_port *p, const struct net_port_config *cfg, struct error *err) MUST_CHECK;
/*
 * Nothing goes to it or comes from it any more; what waits for it is dropped (ready() is called, and finds it gone).
 * False: somebody is delivering to it at this moment: call again. Its own tickets are cancelled by its owner before.
 * Once it is true it stays so.
 */
bool net_port_close(struct net_port *p) MUST_CHECK;

/* Who looks at it from now on. */
void net_port_tap(struct net_port *p, struct net_tap *tap);
/* Nobody any more. False: somebody may be writing to the tap at this moment: call again. */
bool net_port_untap(struct net_port *p) MUST_CHECK;

/*
 * Carries t->frame from @from, whose owner calls, one at a time for each port (a port's frames never overtake each
 * other but by what their receivers make of them). Masked, no lock held. *budget is in host instructions.
 */
enum net_answer net_switch_send(struct net_port *from, struct net_ticket *t, struct net_batch *batch, unsigned *budget);
/* The batch is over: receivers are told. */
void net_switch_flush(struct net_switch *sw, struct net_batch *batch);
/* Takes back @t, which waits or is held. True: it is the caller's; false: ready() or done() is about to be called. */
bool net_switch_cancel(struct net_ticket *t);

/* Port @p has buffers again, after deliver() found none; its owner's lock may be held (LOCK_DEVICE): who waits is told. */
void net_port_refilled(struct net_port *p);
/* A frame of @p's owner was found bad before it could be sent; by who sends. */
void net_port_refuse(struct net_port *p, enum net_drop why);
/* A frame that the port's ops held has come through, or has not. No lock held. */
void net_port_took(struct net_port *p, const struct net_frame *f);
void net_port_lost(struct net_port *p, enum net_drop why);
/* What env.wake_at() asked for. Masked, no lock held. */
void net_port_expired(struct net_port *p);

void net_port_figures(struct net_port *p, struct net_port_figures *out);
/* The @index-th address or a later one: false: no more. For tools; it may change meanwhile. */
bool net_switch_address(struct net_switch *sw, unsigned *index, uint8_t mac[NET_MAC_BYTES], uint16_t *vlan,
			unsigned *port, uint64_t *age_ns);
/* All rules; for tests and checks. */
bool net_switch_check(struct net_switch *sw);

#endif
