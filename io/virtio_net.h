/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device (virtio 1.2, 5.1) on a port of a switch. What the driver sends is popped, pinned and parsed under
 * the device's lock into one of a few slots, and carried by the VM's worker without it (net_switch_send()); a kick
 * does nothing but ask for the worker. What is delivered to it comes in by whoever sent it: buffers are popped and
 * pinned under the lock, written without it, and given to the driver under the lock again, so that senders and the
 * guest's own kicks wait for each other's bookkeeping alone, never for a copy.
 *
 * Offered: CSUM, GUEST_CSUM, HOST_TSO4/6 and ECN, GUEST_TSO4/6 and ECN, MRG_RXBUF, MAC, MTU, STATUS, CTRL_VQ, CTRL_RX,
 * CTRL_VLAN, CTRL_MAC_ADDR, CTRL_GUEST_OFFLOADS, GUEST_ANNOUNCE, MQ, SPEED_DUPLEX.
 *
 * A reset (virtio.h) waits for what the worker carries, what a wire holds, and who is writing buffers right now.
 */
#ifndef CORBEL_IO_VIRTIO_NET_H
#define CORBEL_IO_VIRTIO_NET_H

#include "io/coalesce.h"
#include "io/net_switch.h"
#include "io/virtio.h"

#define VIRTIO_NET_PAIRS_MAX 8u
#define VIRTIO_NET_SLOTS 32u     /* frames under way from the guest */

struct virtio_net;

struct virtio_net_config {
	struct guest_mem mem;
	unsigned pairs;              /* queues of each direction, 1 .. VIRTIO_NET_PAIRS_MAX */
	uint8_t mac[NET_MAC_BYTES];
	uint16_t mtu;                /* NET_MTU_MIN .. NET_MTU_MAX */
	uint64_t (*now)(void);       /* host ticks */
	uint64_t hz;
	struct coalesce_settings interrupts;
	/* The driver wants another address; the port's owner says whether it may. NULL: no. Lock held. */
	bool (*set_mac)(void *ctx, const uint8_t mac[NET_MAC_BYTES]);
	void *ctx;
};

struct virtio_net_figures {
	uint64_t tx_frames, tx_bytes, rx_frames, rx_bytes;
	uint64_t rx_copied;          /* bytes written into the guest's buffers, headers of virtio not counted */
	uint64_t rx_cut, rx_summed;  /* frames that were cut, or whose checksum was computed, for this driver */
	uint64_t rx_interrupts, tx_interrupts;
	uint64_t bad_headers;        /* chains that were no frame */
};

/* Bytes of memory for a device of @cfg, aligned to 64. */
uint64_t virtio_net_bytes(const struct virtio_net_config *cfg);
/* Makes it in @memory, zeroed. Its port is opened by the owner, with virtio_net_port_ops and it as context. */
struct virtio_net *virtio_net_make(void *memory, const struct virtio_net_config *cfg);
struct virtio_device *virtio_net_device(struct virtio_net *n);
extern const struct net_port_ops virtio_net_port_ops;
/* The port that what it sends goes to, before the driver starts; NULL: it is not connected, and the link is down. */
void virtio_net_connect(struct virtio_net *n, struct net_port *p);

/* The link, shown to the driver; down: frames both ways are dropped. Takes the lock. Masked. */
void virtio_net_link(struct virtio_net *n, bool up);
/* Asks the driver to tell the network where it is (GUEST_ANNOUNCE). Likewise. */
void virtio_net_announce(struct virtio_net *n);
void virtio_net_set_interrupts(struct virtio_net *n, const struct coalesce_settings *set);
/* All that it has under way is carried by this: what virtio_work() of its device does beyond the queues, without the
 * lock. True: there is more. */
bool virtio_net_carry(struct virtio_net *n, unsigned budget);
void virtio_net_figures(struct virtio_net *n, struct virtio_net_figures *out);

#endif
