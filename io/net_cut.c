/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames out of a frame (see net_frame.h): as it is, with its checksum finished, or TCP cut into segments of gso_size.
 *
 * A segment is the packet's headers again, with the fields of that segment: lengths, IPv4's identification and
 * checksum, the sequence number; FIN and PSH are the last one's, CWR the first one's (RFC 3168, 6.1.2). Its checksum
 * is put in as a sender would leave it to be finished, as the pseudo header's sum, so that there is one way to finish
 * checksums, for what was cut and what was not: add up everything from checksum_at on while it is copied, then write
 * the sum. The sum is so that of the bytes that the receiver got, whatever the sender does to its memory meanwhile.
 */
#include <string.h>

#include "io/net_frame.h"
#include "io/net_packet.h"
#include "lib/bits.h"

static bool takes(const struct net_abilities *can, const struct net_offload *o)
{
	bool kind = o->gso == NET_GSO_TCP4 ? can->tcp4 : can->tcp6;

	return kind && can->checksum && (can->ecn || !o->ecn);
}

void net_cut_begin(struct net_cut *c, const struct net_frame *f, const struct net_abilities *can)
{
	uint32_t skip;

	c->of = f;
	c->cuts = f->offload.gso != NET_GSO_NONE && !takes(can, &f->offload);
	c->sums = f->offload.needs_checksum && !can->checksum;
	c->payload_at = c->cuts ? f->header_bytes : f->head_bytes;
	c->index = 0;
	c->uncopied = 0;
	c->payload = (struct segment_cursor){.segment = f->segments, .left = f->segment_count};
	skip = c->payload_at + f->fetched - f->head_bytes; /* the segments know nothing of a tag that came or went */
	if (likely(skip <= f->segments->bytes))
		c->payload.skip = skip;
	else
		segment_advance(&c->payload, skip);
}

unsigned net_cut_count(const struct net_cut *c)
{
	uint32_t payload = c->of->bytes - c->of->header_bytes, size = c->of->offload.gso_size;

	return c->cuts ? (payload + size - 1) / size : 1;
}

uint32_t net_cut_largest(const struct net_cut *c)
{
	const struct net_frame *f = c->of;

	return c->cuts ? MIN(f->bytes, (uint32_t)f->header_bytes + f->offload.gso_size) : f->bytes;
}

void net_cut_skip(struct net_cut *c, unsigned count)
{
	uint32_t bytes;

	c->index = count;
	if (!c->cuts || count == 0)
		return;
	bytes = count < NET_CUTS_MAX ? count * c->of->offload.gso_size : UINT32_MAX;
	bytes = MIN(bytes, c->of->bytes - c->payload_at);
	c->payload_at += bytes;
	segment_advance(&c->payload, bytes);
}

/* ---- headers of a segment ---- */

/* The sum of the pseudo header of a packet whose IP header is @ip and whose TCP part has @bytes, folded. */
static uint16_t pseudo_sum(const struct net_frame *f, const uint8_t *ip, uint32_t bytes)
{
	uint64_t sum = bytes + PROTOCOL_TCP;

	if (f->l3 == NET_L3_IPV4)
		sum = net_sum(sum, ip + IPV4_SOURCE, IPV4_ADDRESSES_BYTES, false);
	else
		sum = net_sum(sum, ip + IPV6_SOURCE, IPV6_ADDRESSES_BYTES, false);
	return (uint16_t)~net_sum_end(sum);
}

static void make_ip(const struct net_frame *f, uint8_t *ip, uint32_t bytes, unsigned index)
{
	if (f->l3 == NET_L3_IPV6) {
		net_put16(ip + IPV6_LENGTH, (uint16_t)(bytes - IPV6_BYTES));
		return;
	}
	net_put16(ip + IPV4_LENGTH, (uint16_t)bytes);
	net_put16(ip + IPV4_ID, (uint16_t)(net_get16(ip + IPV4_ID) + index));
	net_put16(ip + IPV4_CHECKSUM, 0);
	net_put16(ip + IPV4_CHECKSUM, net_sum_end(net_sum(0, ip, (ip[0] & 0xfu) << 2, false)));
}

static void make_tcp(uint8_t *tcp, uint32_t offset, bool first, bool last)
{
	put_be32(tcp + TCP_SEQUENCE, get_be32(tcp + TCP_SEQUENCE) + offset);
	if (!first)
		tcp[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
	if (!last)
		tcp[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
}

/* The headers of the one with @bytes of payload, from @offset of the whole frame's. */
static void make_head(struct net_cut *c, uint32_t offset, uint32_t bytes, bool last)
{
	const struct net_frame *f = c->of;
	uint8_t *ip = c->made + f->l3_at, *tcp = c->made + f->l4_at;

	memcpy(c->made, f->head, f->header_bytes);
	make_ip(f, ip, f->header_bytes - f->l3_at + bytes, c->index);
	make_tcp(tcp, offset, offset == 0, last);
	net_put16(tcp + TCP_CHECKSUM, pseudo_sum(f, ip, f->header_bytes - f->l4_at + bytes));
}

static NOINLINE bool next_segment(struct net_cut *c)
{
	const struct net_frame *f = c->of;
	uint32_t left = f->bytes - c->payload_at, bytes = MIN(left, f->offload.gso_size);

	if (left == 0)
		return false;
	segment_advance(&c->payload, c->uncopied);
	make_head(c, c->payload_at - f->header_bytes, bytes, bytes == left);
	c->head = c->made;
	c->head_bytes = f->header_bytes;
	c->bytes = f->header_bytes + bytes;
	c->uncopied = bytes;
	c->payload_at += bytes;
	c->index++;
	c->offload = (struct net_offload){
		.needs_checksum = !c->sums, .checksum_at = f->offload.checksum_at, .checksum_offset = f->offload.checksum_offset};
	return true;
}

bool net_cut_next(struct net_cut *c)
{
	const struct net_frame *f = c->of;

	if (c->cuts)
		return next_segment(c);
	if (c->index > 0)
		return false;
	c->index = 1;
	c->offload = f->offload;
	if (c->sums)
		c->offload.needs_checksum = false;
	c->head = f->head;
	c->head_bytes = f->head_bytes;
	c->bytes = f->bytes;
	c->uncopied = f->bytes - f->head_bytes;
	c->payload_at = f->bytes;
	return true;
}

/* ---- copying ---- */

static ALWAYS_INLINE uint8_t *place(const struct segment_cursor *c) { return (uint8_t *)c->segment->data + c->skip; }

/* Moves @c over @bytes of the @room that is left of its segment. */
static ALWAYS_INLINE void pass(struct segment_cursor *c, uint32_t bytes, uint32_t room)
{
	c->skip += bytes;
	if (bytes == room) {
		c->segment++;
		c->left--;
		c->skip = 0;
	}
}

/*
 * Moves both cursors over @bytes, copying; @sums: what was copied is added to @sum, from an @odd byte on. Ends early
 * when the segments do. A frame between guests comes here once, and goes round for each page of either.
 */
static ALWAYS_INLINE uint64_t carry(struct segment_cursor *from, struct segment_cursor *to, uint32_t bytes, bool sums,
				    uint64_t sum, bool odd)
{
	while (bytes > 0 && from->left > 0 && to->left > 0) {
		uint32_t in = from->segment->bytes - from->skip, out = to->segment->bytes - to->skip, n = MIN(in, out);

		n = MIN(n, bytes);
		if (sums) {
			sum = net_sum_copy(sum, place(to), place(from), n, odd);
			odd ^= n & 1;
		} else {
			memcpy(place(to), place(from), n);
		}
		bytes -= n;
		pass(from, n, in);
		pass(to, n, out);
	}
	return sum;
}

static NOINLINE void copy(struct segment_cursor *from, struct segment_cursor *to, uint32_t bytes)
{
	carry(from, to, bytes, false, 0, false);
}

/* Where the head lies now; NULL: in pieces. */
static ALWAYS_INLINE uint8_t *put_head(const struct net_cut *c, struct segment_cursor *to)
{
	uint8_t *at;

	if (unlikely(to->left == 0 || to->segment->bytes - to->skip < c->head_bytes)) {
		segment_copy_to(to, c->head, c->head_bytes);
		return NULL;
	}
	at = place(to);
	memcpy(at, c->head, c->head_bytes);
	to->skip += c->head_bytes;
	return at;
}

/* The checksum of all from checksum_at on; it is put into the head when it is known, for that is copied first. */
static NOINLINE void copy_and_sum(struct net_cut *c, struct segment_cursor *to, uint32_t bytes)
{
	const struct net_offload *o = &c->of->offload;
	uint32_t summed = c->head_bytes - o->checksum_at, field_at = o->checksum_at + o->checksum_offset;
	struct segment_cursor start = *to;
	uint8_t *head = put_head(c, to), field[2];
	uint64_t sum = net_sum(0, c->head + o->checksum_at, summed, false);
	uint16_t checksum;

	sum = carry(&c->payload, to, bytes, true, sum, summed & 1);
	checksum = net_sum_end(sum);
	/* None was computed, says a zero in UDP's (RFC 768, RFC 8200 8.1): the other zero stands for it. */
	if (checksum == 0 && o->checksum_offset == UDP_CHECKSUM)
		checksum = 0xffff;
	if (likely(head)) {
		net_put16(head + field_at, checksum);
		return;
	}
	net_put16(field, checksum);
	segment_advance(&start, field_at);
	segment_copy_to(&start, field, sizeof field);
}

void net_cut_copy(struct net_cut *c, struct segment_cursor *to)
{
	uint32_t bytes = c->uncopied;

	c->uncopied = 0;
	if (c->sums) {
		copy_and_sum(c, to, bytes);
		return;
	}
	put_head(c, to);
	if (bytes > 0)
		copy(&c->payload, to, bytes);
}
