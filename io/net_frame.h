/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An Ethernet frame on its way from one port to others: the sender's memory in segments, a copy of its headers, and
 * what is left to be done to it (virtio 1.2, 5.1.6). A sender may be a guest, which can change the memory at any
 * moment: so the headers are fetched once, everything is decided by that copy, and the copy is what receivers get.
 * The rest is payload that nobody here looks at.
 *
 * Frames between guests keep their offloads: nobody computes a checksum or cuts a segment that the receiver's driver
 * does not want. For those who cannot, and for a wire, net_cut makes the frames one by one.
 *
 * No lock, no allocation. A frame has one owner at a time.
 */
#ifndef CORBEL_IO_NET_FRAME_H
#define CORBEL_IO_NET_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "io/segment.h"

#define NET_MAC_BYTES 6u
#define NET_ETHERNET_BYTES 14u /* destination, source, type */
#define NET_TAG_BYTES 4u       /* 802.1Q */
#define NET_FRAME_MIN 14u      /* guests send short ones: a wire's driver pads */
#define NET_MTU_MIN 68u        /* RFC 791 */
#define NET_MTU_DEFAULT 1500u
#define NET_MTU_MAX 9216u
/* Of a frame that is to be cut: 64 KiB of IP packet. */
#define NET_BYTES_MAX (65535u + NET_ETHERNET_BYTES + NET_TAG_BYTES)
#define NET_SEGMENTS_MAX 64u
/* What is fetched: Ethernet with two tags, IPv6 with 60 bytes of extensions or IPv4 with options, TCP with options. */
#define NET_HEAD_MAX 192u
/*
 * Frames that one may be cut into: 64 KiB in pieces of what fits the least path that is still met (576 bytes, RFC 879).
 * Pieces of a byte would make 65,000 frames of one, all of them carried before anybody else's.
 */
#define NET_CUTS_MAX 128u

/* Why a frame goes no further; the counters' names are net_drop_names[]. */
enum net_drop {
	NET_DROP_NONE,
	NET_DROP_SHORT,     /* fewer bytes than its headers say or need, Ethernet's, ARP's and IP's; no IP at all */
	NET_DROP_LONG,      /* more than the MTU and not to be cut, or more than NET_BYTES_MAX */
	NET_DROP_SEGMENTS,  /* in more pieces than NET_SEGMENTS_MAX */
	NET_DROP_CHECKSUM,  /* where the checksum is to be computed from or put lies outside the head, or in addresses */
	NET_DROP_GSO,       /* of a kind or a size that cannot be cut, or into more than NET_CUTS_MAX */
	NET_DROP_MAC,       /* not from the port's own address, or from a group's */
	NET_DROP_IP,        /* likewise, of IPv4, IPv6 or ARP */
	NET_DROP_VLAN,      /* a tag that the port may not send, or two */
	NET_DROP_STORM,     /* too many broadcasts */
	NET_DROP_NOWHERE,   /* the one that it is for is its sender, isolated, or gone */
	NET_DROP_NO_BUFFER, /* the receiver has none */
	NET_DROP_SMALL_BUFFER, /* the receiver's are too small */
	NET_DROP_LINK,      /* the receiver, or the wire, is not connected */
	NET_DROP_QUEUE,     /* too many wait for the wire already, or its port's rate is used up, and it may not wait */
	NET_DROP_MEMORY,    /* outside the guest's memory, or not there in time */
	NET_DROPS
};
extern const char *const net_drop_names[NET_DROPS]; /* "none", "short", ... */

enum net_gso { NET_GSO_NONE, NET_GSO_TCP4, NET_GSO_TCP6 };

/* What is left to be done. Offsets count from the frame's first byte. */
struct net_offload {
	bool needs_checksum;    /* the 16 bits at checksum_at + checksum_offset hold the pseudo header's sum, not complemented */
	bool checksum_good;     /* somebody has looked */
	uint8_t gso;            /* enum net_gso; then needs_checksum is set too */
	bool ecn;               /* RFC 3168: of what is cut only the first has CWR */
	uint16_t gso_size;      /* payload bytes of each */
	uint16_t checksum_at, checksum_offset;
};

enum net_l3 { NET_L3_OTHER, NET_L3_IPV4, NET_L3_IPV6, NET_L3_ARP };
enum net_l4 { NET_L4_OTHER, NET_L4_TCP, NET_L4_UDP };

struct net_frame {
	/* Set by whoever makes it. */
	const struct io_segment *segments; /* the whole frame; the first head_bytes of it are not looked at again */
	unsigned segment_count;            /* 1 .. NET_SEGMENTS_MAX */
	uint32_t bytes;
	struct net_offload offload;
	uint16_t head_bytes;               /* fetched: the frame's first bytes, all that there are up to NET_HEAD_MAX */
	uint8_t head[NET_HEAD_MAX + NET_TAG_BYTES];
	/* By net_frame_parse(). */
	uint16_t fetched;  /* of the segments, what the head stands for: head_bytes, until a tag comes or goes */
	bool tagged;       /* an 802.1Q tag stands at NET_ETHERNET_BYTES - 2 */
	bool double_tagged;
	uint16_t tci;      /* of the outer tag, 0 */
	uint16_t type;     /* behind the tags */
	/* enum net_l3, enum net_l4; the latter is OTHER also in a fragment, cut off, or on a route (RFC 8200, 4.4) */
	uint8_t l3, l4;
	uint16_t l3_at, l4_at; /* 0: not known */
	uint16_t header_bytes; /* up to the payload behind TCP's or UDP's header; 0: not known */
};

static inline const uint8_t *net_destination(const struct net_frame *f) { return f->head; }
static inline const uint8_t *net_source(const struct net_frame *f) { return f->head + NET_MAC_BYTES; }
static inline bool net_is_group(const uint8_t *mac) { return (mac[0] & 1) != 0; }

/*
 * Fills in what is known of @f from its head, and judges it: NET_DROP_NONE, or NET_DROP_SHORT, _LONG (@mtu: of the
 * sender's port, payload bytes behind Ethernet's header and tag), _CHECKSUM, _GSO. A frame of a protocol that nobody
 * here knows is a good one. What net_cut_begin() needs holds after it. One that would be cut into one frame is an
 * ordinary one from here on: its offload says so.
 */
enum net_drop net_frame_parse(struct net_frame *f, uint32_t mtu);

/*
 * Puts @tci into @f as its outer tag, before any that it has, or takes the outer tag off, in the head alone: bytes,
 * offsets and offload go with it. One tag more than it was parsed with fits.
 */
void net_frame_tag(struct net_frame *f, uint16_t tci);
void net_frame_untag(struct net_frame *f);

/*
 * A number for the flow that @f belongs to, the same for all its frames: addresses, protocol and ports as far as they
 * are known.
 */
uint32_t net_frame_hash(const struct net_frame *f);

/* ---- out of a frame, into memory ---- */

/* What a receiver takes as it is. */
struct net_abilities {
	bool checksum;        /* frames with needs_checksum */
	bool tcp4, tcp6, ecn; /* frames to be cut */
};

/*
 * The frames that come out of one for a receiver: one, unless it is to be cut and the receiver does not do that. They
 * come in order; each is a header of its own, finished, and a part of the payload.
 */
struct net_cut {
	const struct net_frame *of;
	bool cuts;            /* into frames of gso_size */
	bool sums;            /* checksums are computed while copying */
	uint32_t payload_at;  /* in the frame, of the next one to come; its first: head_bytes or header_bytes */
	struct segment_cursor payload; /* behind what was copied */
	unsigned index;       /* of the next one */
	/* The one that net_cut_next() made. */
	struct net_offload offload; /* what is left to do with it */
	uint16_t head_bytes;
	uint32_t bytes;       /* head and payload */
	uint32_t uncopied;    /* of its payload */
	const uint8_t *head;  /* the frame's, or what was made of it; its checksum is not computed yet */
	uint8_t made[NET_HEAD_MAX + NET_TAG_BYTES];
};

void net_cut_begin(struct net_cut *c, const struct net_frame *f, const struct net_abilities *can);
/* How many frames there will be, and bytes in the largest. */
unsigned net_cut_count(const struct net_cut *c);
uint32_t net_cut_largest(const struct net_cut *c);
/* Passes over the first @count, before net_cut_next() is called: somebody has them already. */
void net_cut_skip(struct net_cut *c, unsigned count);
/* Makes the next one: bytes and offload say what it needs. False: there are no more. */
bool net_cut_next(struct net_cut *c);
/*
 * Copies it to @to, which has room for it, in one pass over the payload; the checksum, if it is to be computed, is
 * that of the bytes that were copied. Called once for each that net_cut_next() made; not called, it is passed over
 * by the next net_cut_next().
 */
void net_cut_copy(struct net_cut *c, struct segment_cursor *to);

/* ---- checksums (RFC 1071) ---- */

/* The sum of @bytes at @data, added to @sum; @odd: they begin at an odd offset. Not folded, not complemented. */
uint64_t net_sum(uint64_t sum, const void *data, uint32_t bytes, bool odd);
/* Likewise, while copying to @to. */
uint64_t net_sum_copy(uint64_t sum, void *to, const void *data, uint32_t bytes, bool odd);
/* Folded and complemented, in host order of a big-endian field: what is stored by net_put16(). */
uint16_t net_sum_end(uint64_t sum);

static inline uint16_t net_get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline void net_put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

#endif
