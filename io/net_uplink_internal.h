/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the uplink: what it sends (net_uplink_send.c), and what it receives and when (net_uplink.c). */
#ifndef CORBEL_IO_NET_UPLINK_INTERNAL_H
#define CORBEL_IO_NET_UPLINK_INTERNAL_H

#include "io/net_switch_internal.h"
#include "io/net_uplink.h"

/* ticket.held */
enum net_uplink_held { NET_UPLINK_NOT, NET_UPLINK_WAITS, NET_UPLINK_HOLDS, NET_UPLINK_TELLS };

extern const struct net_port_ops net_uplink_ops;

/*
 * Sends up to @most frames of those whose turn it is, as far as there is room, and sees to it that it is called again
 * when more may go. True: there is more to send at once. The lock is held.
 */
bool net_uplink_pass(struct net_uplink *u, unsigned most);
/* Gives up to @most of what waits up, because the wire is gone. True: there is more. The lock is held. */
bool net_uplink_drop(struct net_uplink *u, unsigned most);
/* Tells the interface of what was committed. The lock is held. */
void net_uplink_kick(struct net_uplink *u);
/* Tells whose frames were sent, or may be tried again. No lock held. */
void net_uplink_tell(struct net_uplink *u);
/* Sees to it that net_uplink_run() is called at @at or before. The lock is held. */
void net_uplink_wake_by(struct net_uplink *u, uint64_t at);

#endif
