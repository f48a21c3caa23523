/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device (virtio 1.2, 5.1) on a port of a switch. What the driver sends is popped, pinned and parsed under
 * the device's lock into one of a few slots, and carried by the VM's worker without it (net_switch_send()); a kick
 * does nothing but ask for the worker. What is delivered to it comes in by whoever sent it: buffers are popped and
 * pinned under the lock, written without it, and given to the driver under the lock again, so that senders and the
 * guest's own kicks wait for each other's bookkeeping alone, never for a copy.
 *
 * Offered: CSUM, GUEST_CSUM, HOST_TSO4/6 and ECN, GUEST_TSO4/6 and ECN, MRG_RXBUF, MAC, MTU, STATUS, CTRL_VQ, CTRL_RX,
 * CTRL_RX_EXTRA, CTRL_VLAN, CTRL_MAC_ADDR (when the owner has set_mac), CTRL_GUEST_OFFLOADS, GUEST_ANNOUNCE, MQ (with
 * more than one pair), SPEED_DUPLEX.
 *
 * A reset (virtio.h) waits for what the worker carries, what a wire holds, and who is writing buffers right now.
 */
#ifndef CORBEL_IO_VIRTIO_NET_H
#define CORBEL_IO_VIRTIO_NET_H

#include "io/coalesce.h"
#include "io/net_switch.h"
#include "io/virtio.h"

/* Feature bits (5.1.3). */
#define VIRTIO_NET_F_CSUM BIT(0)
#define VIRTIO_NET_F_GUEST_CSUM BIT(1)
#define VIRTIO_NET_F_CTRL_GUEST_OFFLOADS BIT(2)
#define VIRTIO_NET_F_MTU BIT(3)
#define VIRTIO_NET_F_MAC BIT(5)
#define VIRTIO_NET_F_GUEST_TSO4 BIT(7)
#define VIRTIO_NET_F_GUEST_TSO6 BIT(8)
#define VIRTIO_NET_F_GUEST_ECN BIT(9)
#define VIRTIO_NET_F_HOST_TSO4 BIT(11)
#define VIRTIO_NET_F_HOST_TSO6 BIT(12)
#define VIRTIO_NET_F_HOST_ECN BIT(13)
#define VIRTIO_NET_F_MRG_RXBUF BIT(15)
#define VIRTIO_NET_F_STATUS BIT(16)
#define VIRTIO_NET_F_CTRL_VQ BIT(17)
#define VIRTIO_NET_F_CTRL_RX BIT(18)
#define VIRTIO_NET_F_CTRL_VLAN BIT(19)
#define VIRTIO_NET_F_CTRL_RX_EXTRA BIT(20)
#define VIRTIO_NET_F_GUEST_ANNOUNCE BIT(21)
#define VIRTIO_NET_F_MQ BIT(22)
#define VIRTIO_NET_F_CTRL_MAC_ADDR BIT(23)
#define VIRTIO_NET_F_SPEED_DUPLEX BIT(63)

/* Offsets in the configuration space (5.1.4). */
#define VIRTIO_NET_CFG_MAC 0
#define VIRTIO_NET_CFG_STATUS 6    /* le16 */
#define VIRTIO_NET_CFG_PAIRS_MAX 8 /* le16 */
#define VIRTIO_NET_CFG_MTU 10      /* le16 */
#define VIRTIO_NET_CFG_SPEED 12    /* le32, Mbit/s */
#define VIRTIO_NET_CFG_DUPLEX 16   /* u8 */
#define VIRTIO_NET_CFG_BYTES 24    /* with what RSS would have, which reads 0 */
#define VIRTIO_NET_S_LINK_UP BIT(0)
#define VIRTIO_NET_S_ANNOUNCE BIT(1)
#define VIRTIO_NET_SPEED 10000u /* nobody moderates by it: a number that drivers can show */

/* struct virtio_net_hdr (5.1.6), in front of each frame both ways. */
#define VIRTIO_NET_HDR_FLAGS 0     /* u8 */
#define VIRTIO_NET_HDR_GSO_TYPE 1  /* u8 */
#define VIRTIO_NET_HDR_HDR_LEN 2   /* le16 from here on */
#define VIRTIO_NET_HDR_GSO_SIZE 4
#define VIRTIO_NET_HDR_CSUM_START 6
#define VIRTIO_NET_HDR_CSUM_OFFSET 8
#define VIRTIO_NET_HDR_NUM_BUFFERS 10
#define VIRTIO_NET_HDR_BYTES 12u
#define VIRTIO_NET_HDR_F_NEEDS_CSUM BIT(0)
#define VIRTIO_NET_HDR_F_DATA_VALID BIT(1)
#define VIRTIO_NET_HDR_GSO_NONE 0u
#define VIRTIO_NET_HDR_GSO_TCPV4 1u
#define VIRTIO_NET_HDR_GSO_TCPV6 4u
#define VIRTIO_NET_HDR_GSO_ECN BIT(7)

/* Classes and commands of the control queue (5.1.6.5). */
#define VIRTIO_NET_CTRL_RX 0u
#define VIRTIO_NET_CTRL_RX_PROMISC 0u
#define VIRTIO_NET_CTRL_RX_ALLMULTI 1u
#define VIRTIO_NET_CTRL_RX_ALLUNI 2u
#define VIRTIO_NET_CTRL_RX_NOMULTI 3u
#define VIRTIO_NET_CTRL_RX_NOUNI 4u
#define VIRTIO_NET_CTRL_RX_NOBCAST 5u
#define VIRTIO_NET_CTRL_RX_MODES 6u
#define VIRTIO_NET_CTRL_MAC 1u
#define VIRTIO_NET_CTRL_MAC_TABLE_SET 0u
#define VIRTIO_NET_CTRL_MAC_ADDR_SET 1u
#define VIRTIO_NET_CTRL_VLAN 2u
#define VIRTIO_NET_CTRL_VLAN_ADD 0u
#define VIRTIO_NET_CTRL_VLAN_DEL 1u
#define VIRTIO_NET_CTRL_ANNOUNCE 3u
#define VIRTIO_NET_CTRL_ANNOUNCE_ACK 0u
#define VIRTIO_NET_CTRL_MQ 4u
#define VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET 0u
#define VIRTIO_NET_CTRL_GUEST_OFFLOADS 5u
#define VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET 0u
#define VIRTIO_NET_OK 0u
#define VIRTIO_NET_ERR 1u

#define VIRTIO_NET_PAIRS_MAX 8u
#define VIRTIO_NET_QUEUE_SIZE 256u
#define VIRTIO_NET_CTRL_SIZE 64u
#define VIRTIO_NET_SLOTS 32u /* frames under way from the guest */
#define VIRTIO_NET_MACS 32u  /* of each kind in the table; with more of them all of that kind are received */

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
	uint64_t tx_drops[NET_DROPS]; /* that went no further than this device, by reason */
	uint64_t bad_headers;        /* chains that were no frame, not even a bad one */
	uint64_t rx_filtered;        /* that the driver does not want to hear of */
};

/* Bytes of memory for a device of @cfg, whose numbers are in range (ASSERT), aligned to 64. */
uint64_t virtio_net_bytes(const struct virtio_net_config *cfg);
/* Makes it in @memory, zeroed. Its port is opened by the owner, with virtio_net_port_ops and it as context. */
struct virtio_net *virtio_net_make(void *memory, const struct virtio_net_config *cfg);
struct virtio_device *virtio_net_device(struct virtio_net *n);
extern const struct net_port_ops virtio_net_port_ops;
/*
 * The port that what it sends goes to; NULL: it is not connected, and the link is down. What waits or is held by the
 * one before is called back, and dropped. False: a frame of it is being carried or handed back at this moment: call
 * again. Takes the lock. Masked, like all that follows.
 */
MUST_CHECK bool virtio_net_connect(struct virtio_net *n, struct net_port *p);

/* The link, shown to the driver, up at first; down: frames both ways are dropped. Takes the lock. */
void virtio_net_link(struct virtio_net *n, bool up);
/* Asks the driver to tell the network where it is (GUEST_ANNOUNCE). Takes the lock. */
void virtio_net_announce(struct virtio_net *n);
/* Other settings count from now on. Takes the lock. */
void virtio_net_set_interrupts(struct virtio_net *n, const struct coalesce_settings *set);
/* Takes the lock. */
void virtio_net_figures(struct virtio_net *n, struct virtio_net_figures *out);

#endif
