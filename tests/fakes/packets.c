/* SPDX-License-Identifier: Apache-2.0 */
/* See packets.h. */
#include "tests/fakes/packets.h"

#include <stdlib.h>
#include <string.h>

#include "tests/model/random.h"

#define ROOM_FILL 0xa5

void packet_noise(uint8_t *data, uint32_t bytes, uint64_t seed)
{
	struct random_state r = random_seed(seed);

	for (uint32_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)(random_next(&r) >> 40);
}

static uint8_t *put(uint8_t *at, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
	return at + bytes;
}

static uint32_t get(const uint8_t *at, unsigned bytes)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | at[i];
	return v;
}

uint16_t packet_sum(const uint8_t *data, uint32_t bytes, uint32_t sum)
{
	for (uint32_t i = 0; i < bytes; i++) {
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* The sum of the pseudo header, not complemented (RFC 9293 3.1, RFC 8200 8.1). */
static uint16_t pseudo(const uint8_t *addresses, unsigned address_bytes, unsigned protocol, uint32_t bytes)
{
	uint8_t h[40] = {0};

	memcpy(h, addresses, address_bytes);
	put(h + address_bytes, bytes, 4);
	put(h + address_bytes + 4, protocol, 4);
	return (uint16_t)~packet_sum(h, address_bytes + 8, 0);
}

static uint8_t *make_link(struct packet *p)
{
	uint8_t *at = p->data;

	memcpy(at, p->to, NET_MAC_BYTES);
	memcpy(at + 6, p->from, NET_MAC_BYTES);
	at += 12;
	for (unsigned i = 0; i < p->tags; i++) {
		at = put(at, i == 0 && p->service ? 0x88a8 : 0x8100, 2);
		at = put(at, p->tci[i], 2);
	}
	return put(at, p->v6 ? 0x86dd : 0x0800, 2);
}

static uint8_t *make_ipv4(struct packet *p, uint8_t *at, uint32_t bytes)
{
	uint32_t header = 20 + p->ip_options;
	uint8_t *h = at;

	at = put(at, 0x40 | header / 4, 1);
	at = put(at, 0, 1);
	at = put(at, header + bytes, 2);
	at = put(at, p->id, 2);
	at = put(at, 0x4000, 2);
	at = put(at, 64, 1);
	at = put(at, p->udp ? 17 : 6, 1);
	at = put(at, 0, 2);
	memcpy(at, p->source, 4);
	memcpy(at + 4, p->destination, 4);
	at += 8;
	memset(at, 1, p->ip_options);
	put(h + 10, packet_sum(h, header, 0), 2);
	return at + p->ip_options;
}

static uint8_t *make_ipv6(struct packet *p, uint8_t *at, uint32_t bytes)
{
	unsigned protocol = p->udp ? 17 : 6;

	at = put(at, 0x60012345, 4);
	at = put(at, p->ip_options + bytes, 2);
	at = put(at, p->ip_options ? 0 : protocol, 1);
	at = put(at, 64, 1);
	memcpy(at, p->source, 16);
	memcpy(at + 16, p->destination, 16);
	at += 32;
	if (p->ip_options) {
		memset(at, 0, p->ip_options);
		at[0] = (uint8_t)protocol;
		at[1] = (uint8_t)(p->ip_options / 8 - 1);
		put(at + 2, 0x0100 | (p->ip_options - 4), 2); /* PadN */
	}
	return at + p->ip_options;
}

static uint8_t *make_transport(struct packet *p, uint8_t *at)
{
	at = put(at, p->ports[0], 2);
	at = put(at, p->ports[1], 2);
	if (p->udp)
		return put(put(at, 8 + p->payload_bytes, 2), 0, 2);
	at = put(at, p->sequence, 4);
	at = put(at, 0x01020304, 4);
	at = put(at, (20 + p->tcp_options) / 4 << 4, 1);
	at = put(at, p->flags, 1);
	at = put(at, 502, 2);
	at = put(at, 0, 4);
	memset(at, 1, p->tcp_options);
	return at + p->tcp_options;
}

void packet_make(struct packet *p)
{
	uint32_t transport = (p->udp ? 8 : 20 + p->tcp_options) + p->payload_bytes;
	uint16_t sum;
	uint8_t *at = make_link(p), *field;

	p->l3_at = (uint32_t)(at - p->data);
	at = p->v6 ? make_ipv6(p, at, transport) : make_ipv4(p, at, transport);
	p->l4_at = (uint32_t)(at - p->data);
	field = at + (p->udp ? 6 : 16);
	at = make_transport(p, at);
	p->header_bytes = (uint32_t)(at - p->data);
	if (p->payload_bytes)
		memcpy(at, p->payload, p->payload_bytes);
	p->bytes = p->header_bytes + p->payload_bytes;
	at = p->data + p->l3_at + (p->v6 ? 8 : 12);
	sum = pseudo(at, p->v6 ? 32 : 8, p->udp ? 17 : 6, transport);
	if (p->checksum == PACKET_FINISHED) {
		sum = packet_sum(p->data + p->l4_at, transport, sum);
		sum = p->udp && sum == 0 ? 0xffff : sum;
	}
	put(field, sum, 2);
}

struct net_offload packet_offload(const struct packet *p)
{
	return (struct net_offload){
		.needs_checksum = true, .checksum_at = (uint16_t)p->l4_at, .checksum_offset = p->udp ? 6 : 16};
}

/* ---- checking ---- */

static bool transport_good(const uint8_t *at, uint32_t bytes, unsigned protocol, const uint8_t *addresses, unsigned address_bytes)
{
	if (protocol != 6 && protocol != 17)
		return true;
	if (bytes < (protocol == 6 ? 20 : 8))
		return false;
	if (protocol == 17 && address_bytes == 8 && get(at + 6, 2) == 0)
		return true;
	if (protocol == 17 && (get(at + 4, 2) != bytes || get(at + 6, 2) == 0))
		return false;
	return packet_sum(at, bytes, pseudo(addresses, address_bytes, protocol, bytes)) == 0;
}

static bool ipv4_good(const uint8_t *h, uint32_t bytes)
{
	uint32_t header, length;

	if (bytes < 20)
		return false;
	header = (h[0] & 0xfu) * 4;
	length = get(h + 2, 2);
	if (h[0] >> 4 != 4 || header < 20 || length < header || length > bytes || packet_sum(h, header, 0) != 0)
		return false;
	if (get(h + 6, 2) & 0x3fff)
		return true;
	return transport_good(h + header, length - header, h[9], h + 12, 8);
}

static bool ipv6_good(const uint8_t *h, uint32_t bytes)
{
	uint32_t length = bytes >= 40 ? get(h + 4, 2) : 0, at = 40;
	unsigned next;

	if (bytes < 40 || h[0] >> 4 != 6 || length + 40 > bytes)
		return false;
	for (next = h[6]; next == 0 || next == 43 || next == 60; at += 8 + 8u * h[at + 1]) {
		if (at + 8 > 40 + length)
			return true;
		if (next == 43 && h[at + 3] > 0)
			return true;
		next = h[at];
	}
	return at > 40 + length || transport_good(h + at, 40 + length - at, next, h + 8, 32);
}

bool packet_good(const uint8_t *data, uint32_t bytes)
{
	uint32_t at = 12, type;

	for (unsigned i = 0; bytes >= at + 2 && i < 2; i++, at += 4) {
		type = get(data + at, 2);
		if (type != 0x8100 && type != 0x88a8)
			break;
	}
	if (bytes < at + 2)
		return false;
	type = get(data + at, 2);
	at += 2;
	if (type == 0x0800)
		return ipv4_good(data + at, bytes - at);
	return type != 0x86dd || ipv6_good(data + at, bytes - at);
}

/* ---- memory ---- */

static unsigned make_segments(struct io_segment *s, uint32_t bytes, const uint32_t *sizes, unsigned count)
{
	unsigned n = 0;

	do {
		uint32_t size = sizes[n % count];

		if (n == NET_SEGMENTS_MAX - 1 || size > bytes)
			size = bytes;
		s[n] = (struct io_segment){.data = malloc(size > 0 ? size : 1), .bytes = size};
		memset(s[n].data, ROOM_FILL, size);
		bytes -= size;
		n++;
	} while (bytes > 0);
	return n;
}

void packet_frame_make(struct packet_frame *pf, const uint8_t *data, uint32_t bytes, const uint32_t *sizes, unsigned count)
{
	struct net_frame *f = &pf->frame;
	struct segment_cursor c = {.segment = pf->segments};

	memset(f, ROOM_FILL, sizeof *f);
	f->segments = pf->segments;
	f->segment_count = make_segments(pf->segments, bytes, sizes, count);
	f->bytes = bytes;
	f->offload = (struct net_offload){0};
	c.left = f->segment_count;
	segment_copy_to(&c, data, bytes);
	f->head_bytes = (uint16_t)(bytes < NET_HEAD_MAX ? bytes : NET_HEAD_MAX);
	memcpy(f->head, data, f->head_bytes);
}

void packet_frame_free(struct packet_frame *pf)
{
	for (unsigned i = 0; i < pf->frame.segment_count; i++)
		free(pf->segments[i].data);
}

void packet_room_make(struct packet_room *r, uint32_t bytes, const uint32_t *sizes, unsigned count)
{
	r->count = make_segments(r->segments, bytes, sizes, count);
	r->at = (struct segment_cursor){.segment = r->segments, .left = r->count};
}

void packet_room_take(struct packet_room *r, uint8_t *to)
{
	for (unsigned i = 0; i < r->count; i++) {
		memcpy(to, r->segments[i].data, r->segments[i].bytes);
		to += r->segments[i].bytes;
		free(r->segments[i].data);
	}
}
