/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any frame with anything left to be done to it. One that is found good is made into frames for receivers of all
 * abilities, from memory in pieces into memory in pieces that end where they end: what comes out is the payload that
 * went in, behind headers with lengths and checksums as a receiver checks them, or the frame as it was. So it is
 * again with a tag put in or taken off.
 *
 * The input: a template and its numbers or none, what is left to be done, sizes of pieces, then bytes that lie over the
 * template or are the frame.
 */
#include <stdlib.h>
#include <string.h>

#include "io/net_packet.h"
#include "lib/bits.h"
#include "tests/fakes/packets.h"
#include "tests/fuzz/input.h"

#define SIZES 4u
#define CHANGES_MAX 8u

static struct packet packet;
static struct packet_frame pf;
static struct net_frame *const f = &pf.frame;
static uint8_t noise[NET_BYTES_MAX], whole[PACKET_MAX], out[PACKET_MAX], taken[PACKET_MAX];
static uint32_t sizes[SIZES];

static uint32_t template(struct input *in)
{
	unsigned kind = (unsigned)take(in, 1);
	uint64_t changes;

	memset(&packet, 0, sizeof packet);
	packet.tags = kind & 3 ? kind % 4 - 1 : 0;
	packet.v6 = kind & 4;
	packet.udp = (kind & 0x18) == 0x18;
	packet.ip_options = kind >> 5 & 1 ? 24 : 0;
	packet.tcp_options = kind >> 6 & 1 ? 12 : 0;
	packet.checksum = PACKET_PARTIAL;
	packet.id = 0xffff;
	packet.flags = (uint8_t)take(in, 1);
	packet.sequence = (uint32_t)take(in, 1) << 24 | 0xffff00;
	packet.payload = noise;
	packet.payload_bytes = (uint32_t)take(in, 2) >> (kind >> 7 ? 0 : 4);
	packet.payload_bytes = MIN(packet.payload_bytes, 65535u - 40 - packet.ip_options - packet.tcp_options);
	packet_make(&packet);
	memcpy(whole, packet.data, packet.bytes);
	changes = take(in, 1) % CHANGES_MAX;
	for (uint64_t i = 0; i < changes; i++) {
		uint32_t at = (uint32_t)take(in, 1);

		whole[at % packet.bytes] = (uint8_t)take(in, 1);
	}
	return packet.bytes;
}

static uint32_t any_bytes(struct input *in)
{
	uint32_t filled = (uint32_t)take(in, 2), bytes = (uint32_t)(in->end - in->at);

	memset(&packet, 0, sizeof packet);
	bytes = MIN(bytes, 4096u);
	filled = MIN(filled, NET_BYTES_MAX + 1 - bytes);
	memcpy(whole, in->at, bytes);
	memcpy(whole + bytes, noise, filled);
	return MAX(1u, bytes + filled);
}

static struct net_offload any_offload(struct input *in)
{
	struct net_offload o = {.needs_checksum = true, .checksum_at = (uint16_t)packet.l4_at, .checksum_offset = TCP_CHECKSUM};
	unsigned how = (unsigned)take(in, 1);

	o.gso = how & 3 ? packet.v6 ? NET_GSO_TCP6 : NET_GSO_TCP4 : NET_GSO_NONE;
	o.gso_size = (uint16_t)take(in, 2);
	if (packet.udp && !(how & 3))
		o.checksum_offset = UDP_CHECKSUM;
	if (how & 0x10)
		o.checksum_at = (uint16_t)take(in, 2);
	if (how & 0x20)
		o.checksum_offset = (uint16_t)take(in, 2);
	if (how & 0x40)
		o.gso = (uint8_t)take(in, 1);
	o.needs_checksum = !(how & 0x80);
	o.ecn = how & 4;
	o.checksum_good = how & 8;
	return o;
}

/* ---- what comes out ---- */

/* The checksum that was left to be done in @data, done the slow way. */
static void finish(uint8_t *data, uint32_t bytes, const struct net_offload *o)
{
	uint32_t at = o->checksum_at;
	uint16_t sum = packet_sum(data + at, bytes - at, 0);

	net_put16(data + at + o->checksum_offset, sum == 0 && o->checksum_offset == UDP_CHECKSUM ? 0xffff : sum);
}

static void copy_out(struct net_cut *c)
{
	struct packet_room room;

	REQUIRE(c->bytes <= net_cut_largest(c));
	packet_room_make(&room, c->bytes, sizes + 1, SIZES - 1);
	net_cut_copy(c, &room.at);
	packet_room_take(&room, out);
}

/* The fields in which the part in out[] that begins at @at differs from the others. */
static void check_part(const uint8_t *frame, uint32_t at, unsigned index)
{
	const uint8_t *ip = frame + f->l3_at, *tcp = frame + f->l4_at;

	if (f->l3 == NET_L3_IPV4)
		REQUIRE(net_get16(out + f->l3_at + IPV4_ID) == (uint16_t)(net_get16(ip + IPV4_ID) + index));
	REQUIRE(get_be32(out + f->l4_at + TCP_SEQUENCE) == get_be32(tcp + TCP_SEQUENCE) + at - f->header_bytes);
}

/* The frame is cut: its parts are packets of their own, and together what it carried. */
static void check_parts(struct net_cut *c, const uint8_t *frame)
{
	unsigned count = 0;
	uint32_t at = f->header_bytes, want = net_cut_count(c);

	while (net_cut_next(c)) {
		uint32_t part = c->bytes - f->header_bytes;

		REQUIRE(c->bytes > f->header_bytes && part <= f->offload.gso_size && part <= f->bytes - at);
		REQUIRE(c->offload.gso == NET_GSO_NONE && c->offload.needs_checksum != c->sums);
		copy_out(c);
		REQUIRE(memcmp(out + f->header_bytes, frame + at, part) == 0);
		REQUIRE(memcmp(out, frame, f->l3_at) == 0);
		if (c->offload.needs_checksum)
			finish(out, c->bytes, &c->offload);
		REQUIRE(packet_good(out, c->bytes));
		check_part(frame, at, count);
		at += part;
		count++;
	}
	REQUIRE(at == f->bytes && count == want && count > 1 && count <= NET_CUTS_MAX);
}

/* @frame: the bytes as they are with a tag or without. */
static void check_cut(const uint8_t *frame, unsigned abilities)
{
	static struct net_cut c;
	struct net_abilities can = {.checksum = abilities & 1, .tcp4 = abilities & 2, .tcp6 = abilities & 2, .ecn = abilities & 4};
	static uint8_t want[PACKET_MAX];

	net_cut_begin(&c, f, &can);
	if (c.cuts) {
		check_parts(&c, frame);
		return;
	}
	REQUIRE(net_cut_next(&c) && net_cut_count(&c) == 1 && c.bytes == f->bytes);
	REQUIRE(c.offload.needs_checksum == (f->offload.needs_checksum && can.checksum));
	memcpy(want, frame, f->bytes);
	if (f->offload.needs_checksum && !can.checksum)
		finish(want, f->bytes, &f->offload);
	copy_out(&c);
	REQUIRE(memcmp(out, want, f->bytes) == 0);
	REQUIRE(!net_cut_next(&c));
}

/* What is known of a good frame lies in its head. */
static void check_parsed(void)
{
	unsigned at = NET_ETHERNET_BYTES + (f->tagged ? 4 : 0) + (f->double_tagged ? 4 : 0);

	REQUIRE(at <= f->head_bytes && f->head_bytes <= f->bytes && f->fetched == f->head_bytes);
	REQUIRE(f->l3 == NET_L3_OTHER ? f->l3_at == 0 : f->l3_at == at);
	REQUIRE((f->l4 != NET_L4_OTHER) == (f->l4_at > 0) && (f->l4_at > 0) == (f->header_bytes > 0));
	REQUIRE(f->header_bytes <= f->head_bytes && f->l4_at <= f->header_bytes);
	REQUIRE(!f->l4_at || f->l4_at >= f->l3_at + (f->l3 == NET_L3_IPV4 ? IPV4_BYTES : IPV6_BYTES));
	REQUIRE(!f->offload.needs_checksum ||
		(f->offload.checksum_at >= at && f->offload.checksum_at + f->offload.checksum_offset + 2u <= f->head_bytes));
}

/* Once more with a tag, and, if it has one, with that taken off. */
static void check_tags(uint16_t tci)
{
	uint32_t hash = net_frame_hash(f);

	memmove(taken + 16, whole + 12, f->bytes - 12);
	memcpy(taken, whole, 12);
	net_put16(taken + 12, ETHERTYPE_TAG);
	net_put16(taken + 14, tci);
	net_frame_tag(f, tci);
	check_cut(taken, tci & 7);
	REQUIRE(net_frame_hash(f) == hash);
	net_frame_untag(f);
	check_cut(whole, tci & 7);
	if (!f->tagged)
		return;
	memmove(taken + 12, whole + 16, f->bytes - 16);
	net_frame_untag(f);
	check_cut(taken, tci & 7);
	REQUIRE(net_frame_hash(f) == hash);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	struct input in = {data, data + size};
	struct net_offload offload;
	uint32_t bytes, mtu = NET_MTU_DEFAULT;
	uint16_t tci;
	unsigned way = (unsigned)take(&in, 1);

	if (!ready)
		packet_noise(noise, sizeof noise, 7);
	ready = true;
	if (way & 1)
		mtu = NET_MTU_MIN + (uint32_t)take(&in, 2) % (NET_MTU_MAX - NET_MTU_MIN + 1);
	for (unsigned i = 0; i < SIZES; i++)
		sizes[i] = (uint32_t)take(&in, 1) << (way >> 4 & 7);
	tci = (uint16_t)take(&in, 2);
	bytes = way & 2 ? template(&in) : 0;
	offload = any_offload(&in);
	if (bytes == 0)
		bytes = any_bytes(&in);
	packet_frame_make(&pf, whole, bytes, sizes, SIZES);
	f->offload = offload;
	if (net_frame_parse(f, mtu) == NET_DROP_NONE) {
		check_parsed();
		for (unsigned abilities = 0; abilities < 8; abilities++)
			check_cut(whole, abilities);
		check_tags(tci);
	}
	packet_frame_free(&pf);
	return 0;
}
