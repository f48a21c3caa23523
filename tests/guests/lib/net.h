/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio network device as a small kernel drives it (virtio 1.2, chapter 5.1), on virtio.h: a queue for each
 * direction, mergeable receive buffers of a page each, frames to be sent in page-sized pieces by indirect tables.
 * Written from the specification.
 */
#ifndef CORBEL_TESTS_GUESTS_NET_H
#define CORBEL_TESTS_GUESTS_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/guests/lib/virtio.h"

#define NET_MAC 6u
#define NET_PAGE 4096u
#define NET_RX VIRTIO_RING_SIZE /* buffers */
#define NET_TX 32u              /* frames under way */
#define NET_PIECES 18u          /* of a frame to be sent: headers, and pages */
#define NET_HEAD 128u           /* bytes of headers, at most */

/* Features (5.1.3), besides those of virtio.h. */
#define NET_F_CSUM (1ull << 0)
#define NET_F_GUEST_CSUM (1ull << 1)
#define NET_F_MAC (1ull << 5)
#define NET_F_GUEST_TSO4 (1ull << 7)
#define NET_F_HOST_TSO4 (1ull << 11)
#define NET_F_MRG_RXBUF (1ull << 15)

/* struct virtio_net_hdr (5.1.6) */
struct net_header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
#define NET_HDR_NEEDS_CSUM 1u
#define NET_HDR_DATA_VALID 2u
#define NET_HDR_GSO_TCPV4 1u

struct net_slot {
	struct virtio_desc table[NET_PIECES];
	struct net_header header;
	uint8_t head[NET_HEAD];
} __attribute__((aligned(16)));

struct net {
	struct virtio_ring rx, tx;
	struct virtio_function function;
	uint8_t pages[NET_RX][NET_PAGE] __attribute__((aligned(4096)));
	struct net_slot slots[NET_TX];
	uint8_t mac[NET_MAC];
	uint32_t free;   /* slots, by bit */
	unsigned posted; /* receive buffers since the device was last shown some */
};

/* One frame that came. */
struct net_frame {
	const struct net_header *header; /* in the first page, the frame's first bytes behind it */
	const uint8_t *data;             /* that are there: */
	uint32_t here, bytes;            /* so many; of the whole frame, in so many more pages */
	unsigned buffers;
	uint16_t pages[NET_PIECES];
};

/*
 * The device at place @index, ready with those of @features that it offers; received frames come as @rx_vector, frames
 * sent as @tx_vector. All receive buffers are posted. False: there is none.
 */
bool net_open(struct net *n, unsigned index, uint8_t rx_vector, uint8_t tx_vector, uint64_t features);
/* The next frame; false: none now. Its pages are the guest's until net_give_back(). */
bool net_receive(struct net *n, struct net_frame *f);
void net_give_back(struct net *n, const struct net_frame *f);
/* The device sees the buffers that were given back, at the latest when it has none else. */
void net_show_buffers(struct net *n);
/* A free slot, or NET_TX. Slots of frames that were sent are free again after net_reap(), without an interrupt. */
unsigned net_free(const struct net *n);
void net_reap(struct net *n);
/* True: half of those under way have been sent already; false: an interrupt comes when they have. */
bool net_ask_reaped(struct net *n);
/* Offers slot @slot: its header, @head_bytes of its head, then @bytes of payload from @payload on, cut at each page. */
void net_send(struct net *n, unsigned slot, uint32_t head_bytes, const void *payload, uint32_t bytes);
/* The device sees what was offered. */
static inline void net_kick(struct net *n)
{
	if (virtio_show(&n->tx))
		virtio_kick(&n->function, 1);
}

#endif
