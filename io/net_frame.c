/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a frame's head (see net_frame.h). Lengths are believed as far as the frame reaches and no further: a packet
 * of IP ends where IP says, or is dropped when that is behind the frame's end, and what TCP and UDP say is looked for
 * before that end alone.
 *
 * What its sender left to be done is judged here once, for everybody. A checksum is finished in the head, where it can
 * still be written, and behind the addresses by which the switch judged the frame: a sum put over those would make
 * another sender of it. A frame to be cut is one of TCP over plain IP, its lengths exact.
 */
#include "io/net_frame.h"

#include <string.h>

#include "io/net_packet.h"
#include "lib/assert.h"
#include "lib/bits.h"

const char *const net_drop_names[NET_DROPS] = {
	[NET_DROP_NONE] = "none",
	[NET_DROP_SHORT] = "short",
	[NET_DROP_LONG] = "long",
	[NET_DROP_SEGMENTS] = "segments",
	[NET_DROP_CHECKSUM] = "checksum",
	[NET_DROP_GSO] = "gso",
	[NET_DROP_MAC] = "mac",
	[NET_DROP_IP] = "ip",
	[NET_DROP_VLAN] = "vlan",
	[NET_DROP_STORM] = "storm",
	[NET_DROP_NOWHERE] = "nowhere",
	[NET_DROP_NO_BUFFER] = "no_buffer",
	[NET_DROP_SMALL_BUFFER] = "small_buffer",
	[NET_DROP_LINK] = "link",
	[NET_DROP_QUEUE] = "queue",
	[NET_DROP_MEMORY] = "memory",
};

/* ---- headers ---- */

static bool is_tag(uint16_t type) { return type == ETHERTYPE_TAG || type == ETHERTYPE_SERVICE_TAG; }

/* Up to two tags; where what they carry begins, 0: they are cut off. */
static NOINLINE unsigned parse_tags(struct net_frame *f)
{
	unsigned at = NET_ETHERNET_BYTES;

	while (is_tag(f->type) && !f->double_tagged) {
		if (f->head_bytes < at + NET_TAG_BYTES)
			return 0;
		if (f->tagged)
			f->double_tagged = true;
		else
			f->tci = net_get16(f->head + at);
		f->tagged = true;
		f->type = net_get16(f->head + at + 2);
		at += NET_TAG_BYTES;
	}
	return at;
}

/* TCP's or UDP's header at @at, of a packet that ends at @end. */
static ALWAYS_INLINE void parse_transport(struct net_frame *f, unsigned protocol, unsigned at, uint32_t end)
{
	unsigned bytes = UDP_BYTES, least = UDP_BYTES, l4 = NET_L4_UDP;

	end = MIN(end, f->head_bytes);
	if (likely(protocol == PROTOCOL_TCP)) {
		if (at + TCP_BYTES > end)
			return;
		bytes = f->head[at + TCP_OFFSET] >> 4 << 2;
		least = TCP_BYTES;
		l4 = NET_L4_TCP;
	} else if (protocol != PROTOCOL_UDP) {
		return;
	}
	if (bytes < least || at + bytes > end)
		return;
	f->l4 = (uint8_t)l4;
	f->l4_at = (uint16_t)at;
	f->header_bytes = (uint16_t)(at + bytes);
}

static enum net_drop parse_ipv4(struct net_frame *f, unsigned at)
{
	const uint8_t *h = f->head + at;
	unsigned header = IPV4_BYTES, length;

	if (f->head_bytes < at + IPV4_BYTES)
		return NET_DROP_SHORT;
	if (unlikely(h[0] != IPV4_PLAIN)) {
		header = (h[0] & 0xfu) << 2;
		if (h[0] >> 4 != 4 || header < IPV4_BYTES || header > f->head_bytes - at)
			return NET_DROP_SHORT;
	}
	length = net_get16(h + IPV4_LENGTH);
	if (length < header || length > f->bytes - at)
		return NET_DROP_SHORT;
	f->l3 = NET_L3_IPV4;
	f->l3_at = (uint16_t)at;
	if (!(net_get16(h + IPV4_FRAGMENT) & IPV4_FRAGMENT_MASK))
		parse_transport(f, h[IPV4_PROTOCOL], at + header, at + length);
	return NET_DROP_NONE;
}

/* The headers between IPv6's and the transport's; a fragment's is one that nobody looks behind. */
static NOINLINE void parse_extensions(struct net_frame *f, unsigned next, unsigned at, uint32_t end)
{
	uint32_t limit = MIN(end, f->head_bytes);

	while (next == PROTOCOL_HOP_BY_HOP || next == PROTOCOL_ROUTING || next == PROTOCOL_DESTINATION) {
		const uint8_t *h;

		if (at + IPV6_EXTENSION_UNIT > limit)
			return;
		h = f->head + at;
		/* The checksum is that of the last destination, which is not the header's. */
		if (next == PROTOCOL_ROUTING && h[IPV6_SEGMENTS_LEFT] > 0)
			return;
		next = h[0];
		at += IPV6_EXTENSION_UNIT * (1u + h[1]);
	}
	parse_transport(f, next, at, end);
}

static enum net_drop parse_ipv6(struct net_frame *f, unsigned at)
{
	const uint8_t *h = f->head + at;
	unsigned next, length;

	if (f->head_bytes < at + IPV6_BYTES || h[0] >> 4 != 6)
		return NET_DROP_SHORT;
	next = h[IPV6_NEXT];
	length = IPV6_BYTES + net_get16(h + IPV6_LENGTH);
	if (length > f->bytes - at)
		return NET_DROP_SHORT;
	f->l3 = NET_L3_IPV6;
	f->l3_at = (uint16_t)at;
	if (likely(next == PROTOCOL_TCP))
		parse_transport(f, next, at + IPV6_BYTES, at + length);
	else
		parse_extensions(f, next, at + IPV6_BYTES, at + length);
	return NET_DROP_NONE;
}

/* Of IPv4 on what looks like Ethernet; hosts do not all look at the kind of hardware, so neither do we. */
static NOINLINE enum net_drop parse_arp(struct net_frame *f, unsigned at)
{
	const uint8_t *h = f->head + at;

	if (f->head_bytes < at + ARP_BYTES)
		return NET_DROP_SHORT;
	if (net_get16(h + ARP_PROTOCOL) != ETHERTYPE_IPV4 || h[ARP_HARDWARE_BYTES] != NET_MAC_BYTES || h[ARP_PROTOCOL_BYTES] != 4)
		return NET_DROP_NONE;
	f->l3 = NET_L3_ARP;
	f->l3_at = (uint16_t)at;
	return NET_DROP_NONE;
}

static enum net_drop parse_network(struct net_frame *f, unsigned at)
{
	if (f->type == ETHERTYPE_IPV4)
		return parse_ipv4(f, at);
	if (f->type == ETHERTYPE_IPV6)
		return parse_ipv6(f, at);
	if (f->type == ETHERTYPE_ARP)
		return parse_arp(f, at);
	return NET_DROP_NONE;
}

/* ---- what is left to be done ---- */

/* Where the first byte is that a checksum may be put over, @at: behind Ethernet's header and tags. */
static NOINLINE unsigned checksum_from(const struct net_frame *f, unsigned at)
{
	if (f->l3 == NET_L3_IPV4)
		return at + ((f->head[at] & 0xfu) << 2);
	if (f->l3 == NET_L3_IPV6)
		return at + IPV6_BYTES;
	return at + (f->l3 == NET_L3_ARP ? ARP_BYTES : 0);
}

static bool checksum_fits(const struct net_frame *f, unsigned at)
{
	unsigned sum_at = f->offload.checksum_at;

	if (sum_at + f->offload.checksum_offset + 2u > f->head_bytes)
		return false;
	return (sum_at == f->l4_at && sum_at > 0) || sum_at >= checksum_from(f, at);
}

/* Whether it is one of @f's packets that is to be cut, and nothing else is in the frame. */
static enum net_drop judge_kind(const struct net_frame *f, unsigned at)
{
	enum net_l3 wanted = f->offload.gso == NET_GSO_TCP4 ? NET_L3_IPV4 : NET_L3_IPV6;
	const uint8_t *h = f->head + at;
	uint32_t length = f->bytes - at;

	if (f->offload.gso > NET_GSO_TCP6 || !f->offload.needs_checksum || f->l3 != wanted || f->l4 != NET_L4_TCP)
		return NET_DROP_GSO;
	if (f->offload.checksum_at != f->l4_at || f->offload.checksum_offset != TCP_CHECKSUM)
		return NET_DROP_CHECKSUM;
	if (length > IP_PACKET_MAX || f->bytes > NET_BYTES_MAX)
		return NET_DROP_LONG;
	if (wanted == NET_L3_IPV4)
		return net_get16(h + IPV4_LENGTH) == length ? NET_DROP_NONE : NET_DROP_GSO;
	return net_get16(h + IPV6_LENGTH) + IPV6_BYTES == length ? NET_DROP_NONE : NET_DROP_GSO;
}

/* @longest: bytes of a frame as the MTU has it. */
static enum net_drop judge_cutting(struct net_frame *f, unsigned at, uint32_t longest)
{
	enum net_drop why = judge_kind(f, at);
	uint32_t payload, size = f->offload.gso_size;

	if (why != NET_DROP_NONE)
		return why;
	payload = f->bytes - f->header_bytes;
	if (size == 0 || payload > size * NET_CUTS_MAX)
		return NET_DROP_GSO;
	if (payload > size)
		return f->header_bytes + size <= longest ? NET_DROP_NONE : NET_DROP_GSO;
	f->offload.gso = NET_GSO_NONE;
	f->offload.gso_size = 0;
	f->offload.ecn = false;
	return NET_DROP_NONE;
}

enum net_drop net_frame_parse(struct net_frame *f, uint32_t mtu)
{
	enum net_drop why;
	unsigned at = NET_ETHERNET_BYTES;
	uint32_t longest;

	f->fetched = f->head_bytes;
	f->tagged = f->double_tagged = false;
	f->tci = 0;
	f->l3 = NET_L3_OTHER;
	f->l4 = NET_L4_OTHER;
	f->l3_at = f->l4_at = f->header_bytes = 0;
	f->type = 0;
	if (f->head_bytes < NET_ETHERNET_BYTES)
		return NET_DROP_SHORT;
	f->type = net_get16(f->head + ETHERNET_TYPE);
	if (unlikely(is_tag(f->type)))
		at = parse_tags(f);
	why = at > 0 ? parse_network(f, at) : NET_DROP_SHORT;
	if (why != NET_DROP_NONE)
		return why;
	if (f->offload.needs_checksum && !checksum_fits(f, at))
		return NET_DROP_CHECKSUM;
	longest = mtu + NET_ETHERNET_BYTES + (f->tagged ? NET_TAG_BYTES : 0);
	if (f->offload.gso != NET_GSO_NONE)
		why = judge_cutting(f, at, longest);
	if (f->offload.gso == NET_GSO_NONE && f->bytes > longest)
		return NET_DROP_LONG;
	return why;
}

/* ---- tags ---- */

/* All that counts from the first byte, and lies behind the tag, moves by @by. */
static void shift(struct net_frame *f, int by)
{
	f->bytes += (uint32_t)by;
	f->head_bytes = (uint16_t)(f->head_bytes + by);
	if (f->l3_at > 0)
		f->l3_at = (uint16_t)(f->l3_at + by);
	if (f->l4_at > 0)
		f->l4_at = (uint16_t)(f->l4_at + by);
	if (f->header_bytes > 0)
		f->header_bytes = (uint16_t)(f->header_bytes + by);
	if (f->offload.needs_checksum)
		f->offload.checksum_at = (uint16_t)(f->offload.checksum_at + by);
}

void net_frame_tag(struct net_frame *f, uint16_t tci)
{
	uint8_t *type = f->head + ETHERNET_TYPE;

	ASSERT(f->head_bytes + NET_TAG_BYTES <= sizeof f->head);
	memmove(type + NET_TAG_BYTES, type, f->head_bytes - ETHERNET_TYPE);
	net_put16(type, ETHERTYPE_TAG);
	net_put16(type + 2, tci);
	shift(f, (int)NET_TAG_BYTES);
	f->double_tagged = f->tagged;
	f->tagged = true;
	f->tci = tci;
}

void net_frame_untag(struct net_frame *f)
{
	uint8_t *type = f->head + ETHERNET_TYPE;

	ASSERT(f->tagged);
	memmove(type, type + NET_TAG_BYTES, f->head_bytes - ETHERNET_TYPE - NET_TAG_BYTES);
	shift(f, -(int)NET_TAG_BYTES);
	f->tagged = f->double_tagged;
	f->double_tagged = false;
	f->tci = f->tagged ? net_get16(type + 2) : 0;
}

/* ---- flows ---- */

/* Multiplication by an odd number, and its upper half back into the lower (splitmix64's constants). */
static uint64_t mix(uint64_t h, uint64_t word)
{
	h = (h ^ word) * 0xbf58476d1ce4e5b9ull;
	return h ^ h >> 32;
}

uint32_t net_frame_hash(const struct net_frame *f)
{
	const uint8_t *l3 = f->head + f->l3_at;
	uint64_t h = (uint64_t)f->l3 << 8 | f->l4;

	if (f->l3 == NET_L3_IPV4) {
		h = mix(h ^ l3[IPV4_PROTOCOL], get_le64(l3 + IPV4_SOURCE));
	} else if (f->l3 == NET_L3_IPV6) {
		for (unsigned i = 0; i < IPV6_ADDRESSES_BYTES; i += 8)
			h = mix(h, get_le64(l3 + IPV6_SOURCE + i));
	} else {
		h = mix(h, get_le64(f->head));
		h = mix(h, get_le32(f->head + 8) | (uint64_t)f->type << 32);
	}
	if (f->l4 != NET_L4_OTHER)
		h = mix(h, get_le32(f->head + f->l4_at)); /* both ports */
	return (uint32_t)mix(h, 0x94d049bb133111ebull);
}
