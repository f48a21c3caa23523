/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Somebody looks at a port: a bounded ring of what passes it, in the order it passes, for `corbelctl capture`, which
 * makes a pcap file of it (draft-ietf-opsawg-pcap). Whoever carries a frame past the port writes it down, cut to
 * `snap` bytes; when the ring is full the frame is counted as lost, and nobody waits.
 *
 * Any CPU writes; one reader. Taps are off as long as nobody asked, and cost a load then.
 */
#ifndef CORBEL_IO_NET_TAP_H
#define CORBEL_IO_NET_TAP_H

#include "io/net_frame.h"
#include "lib/lock.h"

#define NET_TAP_SNAP_MAX 65553u

struct net_tap_record {
	uint64_t at;            /* ticks */
	uint32_t bytes, kept;   /* of the frame, and of what follows here */
	uint8_t sent;           /* by the port's owner; else to it */
	uint8_t spare[7];
};

struct net_tap {
	struct lock lock;       /* LOCK_NET_PORT */
	uint8_t *ring;          /* a power of two of bytes, whoever made the tap gave it */
	uint32_t ring_bytes, snap;
	uint64_t head, tail;    /* bytes written and read so far */
	uint64_t seen, lost;    /* frames */
};

void net_tap_init(struct net_tap *t, void *ring, uint32_t ring_bytes, uint32_t snap);
/* Writes @f down, as it looks with its head; one that is to be cut is written whole. Masked. */
void net_tap_write(struct net_tap *t, const struct net_frame *f, bool sent, uint64_t now);
/*
 * The oldest record, with its bytes in @data of at least snap bytes; false: there is none. Masked.
 */
bool net_tap_read(struct net_tap *t, struct net_tap_record *r, void *data);

#endif
