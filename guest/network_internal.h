/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks from inside. The tables and lists are the control task's alone; what workers, interrupts and VMs' CPUs touch
 * is the switch and the uplink, which have locks of their own, and the word of ports whose time has come.
 */
#ifndef CORBEL_GUEST_NETWORK_INTERNAL_H
#define CORBEL_GUEST_NETWORK_INTERNAL_H

#include "guest/machine.h"
#include "guest/network.h"
#include "guest/pool_copy.h"
#include "guest/worker.h"

#define NETWORK_UPLINK "uplink" /* its port's name */

struct networks;

struct network {
	struct networks *all;
	unsigned place;
	struct network_config config;
	struct net_switch sw;
	struct worker worker;
	bool wired;                 /* it has an uplink: what follows is in use */
	struct net_uplink uplink;
	struct host_alarm alarm;    /* of the uplink's port */
	struct pool_copies pools;   /* its members are the clients, in the uplink's tree */
	struct network_client *clients[NET_PORTS_MAX]; /* by index of the port */
	unsigned client_count;
	uint64_t due;               /* BIT(index) of ports for net_port_expired(); atomic */
	unsigned expiring;          /* index + 1 of the one whose bit the worker looks at, 0: none; atomic */
	struct net_port_figures gone; /* of ports that are closed */
};

/* In the VM's memory. */
struct network_client {
	struct net_port port;
	struct net_uplink_client sender;
	struct pool_member member;  /* of network->pools; on no list without an uplink */
	struct host_alarm alarm;    /* set under the port's lock */
	struct network *network;
	struct vm *vm;
	unsigned nic;               /* number of the VM's interface */
	uint32_t mtu;               /* as the guest was told */
	struct net_port_config given; /* that the port has */
};

struct network_capture {
	uint32_t id;                /* 0: the place is free */
	struct network *network;    /* whose port it is at; NULL: that is gone */
	struct net_port *port;
	struct net_tap tap;
	void *ring;
	uint64_t asked_at;          /* tick at which it was read last */
};

struct networks {
	struct machine *machine;
	struct network *at[NETWORKS_MAX];
	struct nic *nics[NETWORK_NICS_MAX];
	unsigned nic_count;
	struct network_capture captures[NETWORK_TAPS_MAX];
	uint32_t last_capture;
};

static inline unsigned long networks_mask(const struct networks *all) { return all->machine->host->mask(); }
static inline void networks_unmask(const struct networks *all, unsigned long state)
{
	all->machine->host->unmask(state);
}
static inline const struct clock *networks_clock(const struct networks *all) { return all->machine->host->clock; }

/* ---- the worker, the uplink and its tree: network_uplink.c ---- */

/* The worker of @n, and what it needs of its switch; n->config is set. */
MUST_CHECK enum status network_start(struct network *n, struct error *err);
/* No client is on it. */
void network_stop(struct network *n);
/* Its uplink is the interface that n->config names; it has none yet. */
MUST_CHECK enum status network_wire(struct network *n, struct error *err);
void network_unwire(struct network *n);
/* The client's place in the tree, by its VM's pool and its own numbers, before its first frame. Masked. */
void network_uplink_join(struct network_client *c);
void network_uplink_leave(struct network_client *c);
/* The numbers of the uplink's port and its settings are those of @cfg; all or nothing. */
MUST_CHECK enum status network_uplink_set(struct network *n, const struct network_config *cfg, struct error *err);
/* Port @index's time came: see net_env.wake_at(). Any CPU, masked; the lock of its timers may be held. */
void network_port_due(struct network *n, unsigned index);
/* net_port_expired() is not called for port @index, which is closed, any more. False: it is right now. */
MUST_CHECK bool network_port_forget(struct network *n, struct host_alarm *alarm, unsigned index);
/* Copies of pools and clients' places and numbers follow what is defined. */
void network_follow(struct network *n);

/* ---- ports: network_port.c ---- */

/* The definition's numbers, if they are not the port's already. */
void network_client_follow(struct network_client *c);
/* "web/lan0", or "uplink". */
void network_port_name(const struct network *n, unsigned index, char out[NETWORK_PORT_MAX]);
/* NULL: there is none. */
struct net_port *network_port_at(struct network *n, unsigned index);
/* All ports together, also those that are gone. */
void network_sum(struct network *n, struct net_port_figures *out);

/* ---- captures: network_capture.c ---- */

/* Nobody looks at @p any more, which is about to be closed. False: call again. Masked. */
MUST_CHECK bool network_captures_leave(struct network *n, struct net_port *p);
/* Those that nobody reads end. */
void network_captures_step(struct networks *all);
void network_captures_end(struct networks *all);
unsigned network_captures_of(const struct network *n);

#endif
