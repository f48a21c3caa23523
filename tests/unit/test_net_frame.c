/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames: what is read out of heads, each reason to drop one, tags, flows; what comes out of cutting and finishing,
 * held against packets made byte by byte, for memory in pieces of many sizes on both sides; checksums.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "io/net_packet.h"
#include "lib/bits.h"
#include "tests/fakes/packets.h"

#define MTU NET_MTU_DEFAULT
#define PAYLOAD_MAX 65535u

static struct packet packet; /* what a case is about; nearly 64 KiB, so not on the stack */
static struct packet_frame pf;
static struct net_frame *const f = &pf.frame;
static struct net_cut cut;
static uint8_t payload[PAYLOAD_MAX], out[PACKET_MAX + 32];

static const struct net_abilities nothing, all = {.checksum = true, .tcp4 = true, .tcp6 = true, .ecn = true};
static const uint32_t whole[] = {PACKET_MAX};

static int setup(void **state)
{
	(void)state;
	packet_noise(payload, sizeof payload, 1);
	memset(&packet, 0, sizeof packet);
	packet_noise(packet.to, 6, 2);
	packet_noise(packet.from, 6, 3);
	packet_noise(packet.source, 16, 4);
	packet_noise(packet.destination, 16, 5);
	packet.ports[0] = 40000;
	packet.ports[1] = 5201;
	packet.id = 0xfffe;
	packet.sequence = 0xfffff000;
	packet.flags = 0x10;
	packet.payload = payload;
	pf.frame.segment_count = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	packet_frame_free(&pf);
	return 0;
}

/* The packet as a frame in one piece; what a case sets in @f before net_frame_parse() is its offload. */
static void frame_of(const uint32_t *sizes, unsigned count)
{
	packet_frame_free(&pf);
	packet_make(&packet);
	packet_frame_make(&pf, packet.data, packet.bytes, sizes, count);
	if (packet.checksum == PACKET_PARTIAL)
		f->offload = packet_offload(&packet);
}

static void gso_frame(uint32_t bytes, uint16_t size, const uint32_t *sizes, unsigned count)
{
	packet.checksum = PACKET_PARTIAL;
	packet.payload_bytes = bytes;
	frame_of(sizes, count);
	f->offload.gso = packet.v6 ? NET_GSO_TCP6 : NET_GSO_TCP4;
	f->offload.gso_size = size;
}

/* ---- checksums ---- */

static void test_sum_known(void **state)
{
	/* RFC 1071, 3 */
	static const uint8_t rfc[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	/* A header of IPv4, its checksum 0xb861 left out. */
	static const uint8_t ip[] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
				     0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
	static const uint8_t ones[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	(void)state;
	assert_int_equal(net_sum_end(net_sum(0, rfc, sizeof rfc, false)), (uint16_t)~0xddf2);
	assert_int_equal(net_sum_end(net_sum(0, ip, sizeof ip, false)), 0xb861);
	assert_int_equal(net_sum_end(net_sum(0, ones, sizeof ones, false)), 0);
	assert_int_equal(net_sum_end(0), 0xffff);
	/* In parts, the second from an odd byte on. */
	assert_int_equal(net_sum_end(net_sum(net_sum(0, rfc, 3, false), rfc + 3, 5, true)), (uint16_t)~0xddf2);
	assert_int_equal(net_sum_end(UINT64_MAX), 0);
	assert_int_equal(net_sum_end(0x123456789abc), (uint16_t)~(0x1234 + 0x5678 + 0x9abc - 0xffff));
}

static void test_sum_any(void **state)
{
	(void)state;
	for (uint32_t bytes = 0; bytes < 200; bytes++) {
		for (uint32_t at = 0; at < 9; at++) {
			/* Memory that ends with it, and one byte behind what is written. */
			uint8_t *from = malloc(at + bytes + 1), *to = malloc(at + bytes + 1);
			uint16_t want;

			memcpy(from, payload + bytes, at + bytes);
			if (bytes % 3 == 0)
				memset(from, 0xff, at + bytes);
			want = packet_sum(from + at, bytes, 0);
			to[at + bytes] = 0x77;
			assert_int_equal(net_sum_end(net_sum(0, from + at, bytes, false)), want);
			assert_int_equal(net_sum_end(net_sum_copy(0x1234, to + at, from + at, bytes, false)),
					 packet_sum(from + at, bytes, 0x1234));
			assert_memory_equal(to + at, from + at, bytes);
			assert_int_equal(to[at + bytes], 0x77);
			/* From an odd byte on: as if one of nothing were before it. */
			memmove(from + at + 1, from + at, bytes);
			from[at] = 0;
			assert_int_equal(net_sum_end(net_sum(0, from + at + 1, bytes, true)), packet_sum(from + at, bytes + 1, 0));
			assert_int_equal(net_sum_end(net_sum_copy(0, to + at, from + at + 1, bytes, true)),
					 packet_sum(from + at, bytes + 1, 0));
			free(from);
			free(to);
		}
	}
}

/* ---- reading heads ---- */

static void expect_parsed(enum net_l3 l3, enum net_l4 l4)
{
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	assert_int_equal(f->tagged, packet.tags > 0);
	assert_int_equal(f->double_tagged, packet.tags > 1);
	assert_int_equal(f->tci, packet.tags ? packet.tci[0] : 0);
	assert_int_equal(f->type, packet.v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4);
	assert_int_equal(f->l3, l3);
	assert_int_equal(f->l3_at, packet.l3_at);
	assert_int_equal(f->l4, l4);
	assert_int_equal(f->l4_at, l4 ? packet.l4_at : 0);
	assert_int_equal(f->header_bytes, l4 ? packet.header_bytes : 0);
	assert_memory_equal(net_destination(f), packet.to, 6);
	assert_memory_equal(net_source(f), packet.from, 6);
}

static void test_parse_kinds(void **state)
{
	(void)state;
	packet.payload_bytes = 100;
	packet.tci[0] = 0x6123;
	packet.tci[1] = 7;
	for (unsigned kind = 0; kind < 3 * 2 * 2 * 3; kind++) {
		packet.tags = kind % 3;
		packet.v6 = kind / 3 % 2;
		packet.udp = kind / 6 % 2;
		packet.ip_options = kind / 12 * (packet.v6 ? 24 : 20);
		packet.tcp_options = kind / 12 * 20;
		packet.service = kind & 1;
		frame_of(whole, 1);
		expect_parsed(packet.v6 ? NET_L3_IPV6 : NET_L3_IPV4, packet.udp ? NET_L4_UDP : NET_L4_TCP);
	}
}

/* The longest headers that are promised to be seen: two tags, 60 bytes of extensions (56 are whole units), options. */
static void test_parse_longest(void **state)
{
	(void)state;
	packet.tags = 2;
	packet.v6 = true;
	packet.ip_options = 56;
	packet.tcp_options = 40;
	packet.payload_bytes = 1000;
	frame_of(whole, 1);
	expect_parsed(NET_L3_IPV6, NET_L4_TCP);
	/* More, and it is no longer known what they carry. */
	packet.ip_options = 72;
	frame_of(whole, 1);
	expect_parsed(NET_L3_IPV6, NET_L4_OTHER);
}

/* @bytes of @value over the packet's, at @at; then judged. */
static enum net_drop changed(uint32_t at, unsigned bytes, uint64_t value)
{
	for (unsigned i = 0; i < bytes; i++)
		f->head[at + i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
	return net_frame_parse(f, MTU);
}

static void test_parse_fragments(void **state)
{
	static const uint16_t fragments[] = {0x2000, 0x2005, 0x0005, 0x1fff};

	(void)state;
	packet.payload_bytes = 100;
	for (unsigned i = 0; i < ARRAY_SIZE(fragments); i++) {
		frame_of(whole, 1);
		assert_int_equal(changed(packet.l3_at + IPV4_FRAGMENT, 2, fragments[i]), NET_DROP_NONE);
		assert_int_equal(f->l3, NET_L3_IPV4);
		assert_int_equal(f->l4, NET_L4_OTHER);
		assert_int_equal(f->l4_at, 0);
	}
	frame_of(whole, 1);
	assert_int_equal(changed(packet.l3_at + IPV4_FRAGMENT, 2, 0xc000), NET_DROP_NONE); /* reserved and DF alone */
	assert_int_equal(f->l4, NET_L4_TCP);
	packet.v6 = true;
	frame_of(whole, 1);
	assert_int_equal(changed(packet.l3_at + IPV6_NEXT, 1, 44), NET_DROP_NONE);
	assert_int_equal(f->l4, NET_L4_OTHER);
}

static void test_parse_extensions(void **state)
{
	(void)state;
	packet.v6 = true;
	packet.ip_options = 16;
	packet.payload_bytes = 100;
	frame_of(whole, 1);
	assert_int_equal(changed(packet.l3_at + IPV6_NEXT, 1, PROTOCOL_DESTINATION), NET_DROP_NONE);
	assert_int_equal(f->l4_at, packet.l4_at);
	/* Routing that has come to its end, and one that has not. */
	frame_of(whole, 1);
	f->head[packet.l3_at + IPV6_BYTES + IPV6_SEGMENTS_LEFT] = 0;
	assert_int_equal(changed(packet.l3_at + IPV6_NEXT, 1, PROTOCOL_ROUTING), NET_DROP_NONE);
	assert_int_equal(f->l4_at, packet.l4_at);
	f->head[packet.l3_at + IPV6_BYTES + IPV6_SEGMENTS_LEFT] = 1;
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	assert_int_equal(f->l4, NET_L4_OTHER);
	/* Headers that say to be longer than the packet, the frame and the head. */
	frame_of(whole, 1);
	assert_int_equal(changed(packet.l3_at + IPV6_BYTES + 1, 1, 255), NET_DROP_NONE);
	assert_int_equal(f->l4, NET_L4_OTHER);
	/* One after another up to the head's end, and further. */
	memset(f->head + packet.l3_at + IPV6_BYTES, 0, NET_HEAD_MAX - packet.l3_at - IPV6_BYTES);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	assert_int_equal(f->l4, NET_L4_OTHER);
}

static void test_parse_cut_off_transport(void **state)
{
	(void)state;
	packet.payload_bytes = 100;
	frame_of(whole, 1);
	assert_int_equal(changed(packet.l3_at + IPV4_LENGTH, 2, 39), NET_DROP_NONE); /* a byte less than TCP's header */
	assert_int_equal(f->l4, NET_L4_OTHER);
	assert_int_equal(changed(packet.l3_at + IPV4_LENGTH, 2, 40), NET_DROP_NONE);
	assert_int_equal(f->l4, NET_L4_TCP);
	assert_int_equal(changed(packet.l4_at + TCP_OFFSET, 1, 0x60), NET_DROP_NONE); /* options behind the packet */
	assert_int_equal(f->l4, NET_L4_OTHER);
	assert_int_equal(changed(packet.l4_at + TCP_OFFSET, 1, 0x40), NET_DROP_NONE); /* less than it has at least */
	assert_int_equal(f->l4, NET_L4_OTHER);
	packet.udp = true;
	frame_of(whole, 1);
	assert_int_equal(changed(packet.l3_at + IPV4_LENGTH, 2, 27), NET_DROP_NONE);
	assert_int_equal(f->l4, NET_L4_OTHER);
	assert_int_equal(changed(packet.l3_at + IPV4_PROTOCOL, 1, 1), NET_DROP_NONE); /* ICMP */
	assert_int_equal(f->l4, NET_L4_OTHER);
}

/* A request as RFC 826 has it, @bytes of it. */
static void arp_frame(uint32_t bytes)
{
	static const uint8_t arp[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x06,
					0, 1, 0x08, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2};

	packet_frame_free(&pf);
	packet_frame_make(&pf, arp, bytes, whole, 1);
}

static void test_parse_others(void **state)
{
	(void)state;
	arp_frame(42);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	assert_int_equal(f->l3, NET_L3_ARP);
	assert_int_equal(f->l3_at, 14);
	assert_true(net_is_group(net_destination(f)));
	assert_false(net_is_group(net_source(f)));
	assert_int_equal(changed(14, 2, 6), NET_DROP_NONE); /* IEEE 802's, which hosts take as well */
	assert_int_equal(f->l3, NET_L3_ARP);
	assert_int_equal(changed(18, 1, 8), NET_DROP_NONE);
	assert_int_equal(f->l3, NET_L3_OTHER);
	arp_frame(41);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_SHORT);
	/* Anything, and nothing at all behind Ethernet's header; 802.3's length is no type. */
	arp_frame(14);
	assert_int_equal(changed(12, 2, 0x88cc), NET_DROP_NONE);
	assert_int_equal(f->l3, NET_L3_OTHER);
	assert_int_equal(changed(12, 2, 46), NET_DROP_NONE);
	assert_int_equal(f->type, 46);
}

/* ---- reasons to drop ---- */

static void test_drop_short(void **state)
{
	(void)state;
	for (uint32_t bytes = 1; bytes < 14; bytes++) {
		arp_frame(bytes);
		assert_int_equal(net_frame_parse(f, MTU), NET_DROP_SHORT);
	}
	/* Every length up to the packet's: not as long as it says. */
	packet.tags = 2;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		packet.v6 = v6;
		packet_make(&packet);
		for (uint32_t bytes = 14; bytes < packet.bytes; bytes++) {
			packet_frame_free(&pf);
			packet_frame_make(&pf, packet.data, bytes, whole, 1);
			assert_int_equal(net_frame_parse(f, MTU), NET_DROP_SHORT);
		}
		/* Longer is padding. */
		packet_frame_free(&pf);
		packet_frame_make(&pf, packet.data, packet.bytes + 20, whole, 1);
		assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	}
}

static void test_drop_no_ip(void **state)
{
	(void)state;
	packet.payload_bytes = 60;
	frame_of(whole, 1);
	assert_int_equal(changed(14, 1, 0x65), NET_DROP_SHORT);
	assert_int_equal(changed(14, 1, 0x44), NET_DROP_SHORT);
	assert_int_equal(changed(14, 1, 0x45), NET_DROP_NONE);
	assert_int_equal(changed(14 + IPV4_LENGTH, 2, 19), NET_DROP_SHORT);
	assert_int_equal(changed(14 + IPV4_LENGTH, 2, 20), NET_DROP_NONE);
	assert_int_equal(changed(14 + IPV4_LENGTH, 2, 101), NET_DROP_SHORT);
	packet.v6 = true;
	frame_of(whole, 1);
	assert_int_equal(changed(14, 1, 0x45), NET_DROP_SHORT);
	assert_int_equal(changed(14, 1, 0x6f), NET_DROP_NONE);
	assert_int_equal(changed(14 + IPV6_LENGTH, 2, 81), NET_DROP_SHORT);
	assert_int_equal(changed(14 + IPV6_LENGTH, 2, 0), NET_DROP_NONE);
	assert_int_equal(f->l4, NET_L4_OTHER);
}

static void test_drop_long(void **state)
{
	(void)state;
	for (packet.tags = 0; packet.tags < 3; packet.tags++) {
		/* A second tag is payload. */
		packet.payload_bytes = MTU - 40 - (packet.tags == 2 ? 4 : 0);
		frame_of(whole, 1);
		assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
		assert_int_equal(net_frame_parse(f, MTU - 1), NET_DROP_LONG);
	}
	/* 64 KiB of packet is the most, with a tag; and what is behind it is no more. */
	packet.tags = 1;
	gso_frame(65535 - 40, 1448, whole, 1);
	assert_int_equal(packet.bytes, NET_BYTES_MAX);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	f->bytes++;
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_LONG);
	f->bytes--;
	f->offload.gso = NET_GSO_NONE;
	assert_int_equal(net_frame_parse(f, NET_MTU_MAX), NET_DROP_LONG);
	packet.tags = 2;
	gso_frame(65535 - 40, 1448, whole, 1);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_LONG);
	/* Without one: more than IP can say, and still below the largest frame. */
	packet.tags = 0;
	gso_frame(65535 - 40, 1448, whole, 1);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	f->bytes++;
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_LONG);
}

static enum net_drop with_checksum(uint32_t at, uint32_t offset)
{
	f->offload = (struct net_offload){.needs_checksum = true, .checksum_at = (uint16_t)at, .checksum_offset = (uint16_t)offset};
	return net_frame_parse(f, MTU);
}

static void test_drop_checksum(void **state)
{
	static const uint32_t all_lengths[] = {60, 150, 192, 193, 1400};

	(void)state;
	packet.udp = true;
	for (unsigned i = 0; i < ARRAY_SIZE(all_lengths); i++) {
		uint32_t end;

		packet.payload_bytes = all_lengths[i] - 42;
		frame_of(whole, 1);
		end = MIN(packet.bytes, NET_HEAD_MAX);
		for (uint32_t at = 0; at < end + 3; at++) {
			assert_int_equal(with_checksum(at, 0), at >= 34 && at + 2 <= end ? NET_DROP_NONE : NET_DROP_CHECKSUM);
			assert_int_equal(with_checksum(34, at), 34 + at + 2 <= end ? NET_DROP_NONE : NET_DROP_CHECKSUM);
		}
		assert_int_equal(with_checksum(65535, 0), NET_DROP_CHECKSUM);
		assert_int_equal(with_checksum(34, 65535), NET_DROP_CHECKSUM);
		assert_int_equal(with_checksum(65535, 65535), NET_DROP_CHECKSUM);
		f->offload.needs_checksum = false; /* then it is nobody's business where */
		assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	}
	/* Not over addresses, tags or types either. */
	packet.tags = 2;
	packet.v6 = true;
	frame_of(whole, 1);
	assert_int_equal(with_checksum(packet.l3_at + 39, 0), NET_DROP_CHECKSUM);
	assert_int_equal(with_checksum(packet.l3_at + 40, 0), NET_DROP_NONE);
	arp_frame(42);
	assert_int_equal(with_checksum(28, 0), NET_DROP_CHECKSUM);
	assert_int_equal(changed(12, 2, 0x88b5), NET_DROP_NONE);
	assert_int_equal(with_checksum(13, 0), NET_DROP_CHECKSUM);
	assert_int_equal(with_checksum(14, 0), NET_DROP_NONE);
	for (unsigned offset = 0; offset < 20; offset++)
		assert_int_equal(with_checksum(0, offset), NET_DROP_CHECKSUM);
}

/* A good frame to be cut, then with one thing wrong. */
#define WITH(change, reason)                                          \
	do {                                                          \
		gso_frame(5000, 1000, whole, 1);                      \
		change;                                               \
		assert_int_equal(net_frame_parse(f, MTU), reason);    \
	} while (0)

static void test_drop_gso(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		uint32_t length;

		packet.v6 = v6;
		WITH((void)0, NET_DROP_NONE);
		length = packet.l3_at + (v6 ? IPV6_LENGTH : IPV4_LENGTH);
		WITH(f->offload.needs_checksum = false, NET_DROP_GSO);
		WITH(f->offload.gso = v6 ? NET_GSO_TCP4 : NET_GSO_TCP6, NET_DROP_GSO);
		WITH(f->offload.gso = NET_GSO_TCP6 + 1, NET_DROP_GSO);
		WITH(f->offload.gso = 255, NET_DROP_GSO);
		WITH(f->offload.checksum_at += 2, NET_DROP_CHECKSUM);
		WITH(f->offload.checksum_offset = UDP_CHECKSUM, NET_DROP_CHECKSUM);
		WITH(f->offload.gso_size = 0, NET_DROP_GSO);
		WITH(f->offload.gso_size = 39, NET_DROP_GSO); /* 129 frames */
		WITH(f->offload.gso_size = 40, NET_DROP_NONE);
		WITH(f->offload.gso_size = (uint16_t)(v6 ? 1440 : 1460), NET_DROP_NONE);
		WITH(f->offload.gso_size = (uint16_t)(v6 ? 1441 : 1461), NET_DROP_GSO); /* frames longer than the MTU */
		WITH(f->head[length + 1]--, NET_DROP_GSO);
		WITH(f->head[packet.l4_at + TCP_OFFSET] = 0x40, NET_DROP_GSO);
		if (v6)
			WITH(f->head[packet.l3_at + IPV6_NEXT] = PROTOCOL_UDP, NET_DROP_GSO);
		else
			WITH(f->head[packet.l3_at + IPV4_FRAGMENT] = 0x20, NET_DROP_GSO);
	}
	/* Headers that were not fetched. */
	packet.ip_options = 152;
	WITH((void)0, NET_DROP_CHECKSUM);
	WITH(f->offload.checksum_at = 60, NET_DROP_GSO);
}

/* What makes one frame is not cut, whatever its size says. */
static void test_gso_of_one(void **state)
{
	static const uint32_t payloads[] = {0, 1, 999, 1000};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(payloads); i++) {
		gso_frame(payloads[i], 1000, whole, 1);
		f->offload.ecn = true;
		assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
		assert_int_equal(f->offload.gso, NET_GSO_NONE);
		assert_false(f->offload.ecn);
		assert_true(f->offload.needs_checksum);
	}
	gso_frame(1001, 1000, whole, 1);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	assert_int_equal(f->offload.gso, NET_GSO_TCP4);
	/* As an ordinary one it is one of the MTU's. */
	gso_frame(1461, 65535, whole, 1);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_LONG);
}

static void test_drop_names(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NET_DROPS; i++) {
		assert_non_null(net_drop_names[i]);
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(net_drop_names[i], net_drop_names[k]);
	}
}

/* ---- cutting ---- */

static const uint32_t one_piece[] = {PACKET_MAX}, head_apart[] = {66, PACKET_MAX}, odd[] = {1031, 4097, 1, 0, 3001},
		      inside[] = {40, 20, 7, 190, 70000}, behind[] = {193, 1, 2, 3, 70000}, pages[] = {1000, 4096, 4096};
static const struct split {
	const uint32_t *sizes;
	unsigned count;
} splits[] = {
	{one_piece, 1}, {head_apart, 2}, {odd, 5}, {inside, 5}, {behind, 5}, {pages, 3},
};

/* Copies the one that was made, into memory as @s says, behind @before bytes; its bytes are in out[]. */
static void take_behind(const struct split *s, uint32_t before)
{
	static const uint8_t mark[20] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
	struct packet_room room;

	assert_in_range(cut.bytes, 1, net_cut_largest(&cut));
	packet_room_make(&room, before + cut.bytes, s->sizes, s->count);
	segment_copy_to(&room.at, mark, before);
	net_cut_copy(&cut, &room.at);
	assert_int_equal(segment_next(&room.at, 1, &(uint8_t *){NULL}), 0);
	packet_room_take(&room, out);
	assert_memory_equal(out, mark, before);
	memmove(out, out + before, cut.bytes);
}

/* By turns from a segment's beginning, and behind a header of virtio. */
static void take(const struct split *s)
{
	static unsigned turn;

	take_behind(s, ++turn % 2 ? 0 : 12);
}

/* The frame is cut for @can; each is the packet that a host without offloads, or with its checksum's, would have sent. */
static void expect_cut(const struct net_abilities *can, const struct split *to)
{
	static struct packet want;
	uint32_t at = 0, size = f->offload.gso_size, count = (packet.payload_bytes + size - 1) / size;

	net_cut_begin(&cut, f, can);
	assert_int_equal(net_cut_count(&cut), count);
	assert_int_equal(net_cut_largest(&cut), packet.header_bytes + size);
	for (unsigned i = 0; i < count; i++, at += size) {
		want = packet;
		want.checksum = can->checksum ? PACKET_PARTIAL : PACKET_FINISHED;
		want.payload = packet.payload + at;
		want.payload_bytes = MIN(size, packet.payload_bytes - at);
		want.id = (uint16_t)(packet.id + i);
		want.sequence = packet.sequence + at;
		want.flags &= (uint8_t)~((i > 0 ? 0x80 : 0) | (i + 1 < count ? 0x09 : 0));
		packet_make(&want);
		assert_true(net_cut_next(&cut));
		assert_int_equal(cut.bytes, want.bytes);
		assert_int_equal(cut.offload.gso, NET_GSO_NONE);
		assert_int_equal(cut.offload.needs_checksum, can->checksum);
		assert_int_equal(cut.offload.checksum_at, f->offload.checksum_at);
		assert_int_equal(cut.offload.checksum_offset, f->offload.checksum_offset);
		take(to);
		assert_memory_equal(out, want.data, want.bytes);
		assert_true(can->checksum || packet_good(out, want.bytes));
	}
	assert_false(net_cut_next(&cut));
	assert_false(net_cut_next(&cut));
}

static void cut_all_splits(uint32_t bytes, uint16_t size)
{
	static const struct net_abilities summing = {.checksum = true};

	for (unsigned from = 0; from < ARRAY_SIZE(splits); from++) {
		gso_frame(bytes, size, splits[from].sizes, splits[from].count);
		assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
		for (unsigned to = 0; to < ARRAY_SIZE(splits); to++)
			expect_cut(&nothing, &splits[to]);
		expect_cut(&summing, &splits[from]);
	}
}

static void test_cut_splits(void **state)
{
	(void)state;
	packet.flags = 0x99; /* CWR, ACK, PSH, FIN */
	cut_all_splits(7001, 1447);
	packet.v6 = true;
	packet.tcp_options = 12;
	cut_all_splits(7000, 1001);
	packet.tags = 1;
	packet.tci[0] = 42;
	packet.ip_options = 8;
	cut_all_splits(5791, 1400);
	packet.v6 = false;
	packet.tags = 2;
	cut_all_splits(2897, 1436);
	cut_all_splits(500, 4);
}

static void test_cut_sizes(void **state)
{
	static const uint32_t payloads[] = {2, 255, 256, 1000, 1001, 1999, 2000, 2001, 64000};
	static const uint16_t sizes[] = {1, 2, 3, 127, 128, 500, 501, 1000, 1440};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(payloads) * ARRAY_SIZE(sizes); i++) {
		uint32_t bytes = payloads[i / ARRAY_SIZE(sizes)];
		uint16_t size = sizes[i % ARRAY_SIZE(sizes)];

		packet.v6 = i & 1;
		gso_frame(bytes, size, pages, 3);
		if (bytes > size * NET_CUTS_MAX) {
			assert_int_equal(net_frame_parse(f, MTU), NET_DROP_GSO);
			continue;
		}
		assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
		if (bytes > size)
			expect_cut(&nothing, &splits[i % ARRAY_SIZE(splits)]);
	}
}

/* Frames that are not copied are passed over, and those after them are as they would have been. */
static void test_cut_skips(void **state)
{
	static struct packet want;

	(void)state;
	gso_frame(4000, 1000, odd, 5);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	net_cut_begin(&cut, f, &nothing);
	for (unsigned i = 0; i < 3; i++)
		assert_true(net_cut_next(&cut));
	take(&splits[0]);
	want = packet;
	want.checksum = PACKET_FINISHED;
	want.payload += 2000;
	want.payload_bytes = 1000;
	want.sequence += 2000;
	want.id += 2;
	packet_make(&want);
	assert_memory_equal(out, want.data, want.bytes);
	/* Begun anew behind those that somebody has. */
	for (unsigned have = 0; have < 6; have++) {
		net_cut_begin(&cut, f, &nothing);
		net_cut_skip(&cut, have);
		assert_int_equal(net_cut_count(&cut), 4);
		for (unsigned i = have; i < 4; i++)
			assert_true(net_cut_next(&cut));
		if (have < 4) {
			take(&splits[2]);
			assert_true(packet_good(out, cut.bytes));
			assert_memory_equal(out + packet.header_bytes, payload + 3000, 1000);
		}
		assert_false(net_cut_next(&cut));
		net_cut_begin(&cut, f, &all);
		net_cut_skip(&cut, have);
		assert_int_equal(net_cut_next(&cut), have == 0);
	}
	net_cut_begin(&cut, f, &nothing);
	net_cut_skip(&cut, UINT32_MAX);
	assert_false(net_cut_next(&cut));
}

/* Who is able to take it gets it, and who lacks one thing of all gets it cut. */
static void test_abilities(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits < 64; bits++) {
		struct net_abilities can = {.checksum = bits & 1, .tcp4 = bits & 2, .tcp6 = bits & 4, .ecn = bits & 8};
		bool ecn = bits & 16, taken;

		packet.v6 = bits & 32;
		taken = can.checksum && (packet.v6 ? can.tcp6 : can.tcp4) && (can.ecn || !ecn);
		gso_frame(3000, 1000, whole, 1);
		f->offload.ecn = ecn;
		assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
		net_cut_begin(&cut, f, &can);
		assert_int_equal(net_cut_count(&cut), taken ? 1 : 3);
		assert_true(net_cut_next(&cut));
		assert_int_equal(cut.offload.gso, taken ? f->offload.gso : NET_GSO_NONE);
		assert_int_equal(cut.offload.ecn, taken && ecn);
		assert_int_equal(cut.offload.gso_size, taken ? 1000 : 0);
		assert_int_equal(cut.offload.needs_checksum, can.checksum);
		take(&splits[0]);
		assert_int_equal(cut.bytes, taken ? packet.bytes : packet.header_bytes + 1000);
		if (taken)
			assert_memory_equal(out, packet.data, packet.bytes);
	}
}

/* ---- not cut ---- */

static void expect_as_it_is(const struct net_abilities *can, const struct split *to)
{
	net_cut_begin(&cut, f, can);
	assert_int_equal(net_cut_count(&cut), 1);
	assert_int_equal(net_cut_largest(&cut), packet.bytes);
	assert_true(net_cut_next(&cut));
	assert_int_equal(cut.bytes, packet.bytes);
	assert_int_equal(cut.offload.needs_checksum, f->offload.needs_checksum && can->checksum);
	take(to);
	assert_memory_equal(out, packet.data, packet.bytes);
	assert_false(net_cut_next(&cut));
}

static void test_as_it_is(void **state)
{
	static const uint32_t payloads[] = {0, 1, 18, 135, 150, 151, 1000, 1459};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(payloads) * ARRAY_SIZE(splits) * ARRAY_SIZE(splits); i++) {
		const struct split *s = &splits[i / ARRAY_SIZE(payloads) % ARRAY_SIZE(splits)];

		packet.payload_bytes = payloads[i % ARRAY_SIZE(payloads)];
		packet.checksum = i & 1 ? PACKET_PARTIAL : PACKET_FINISHED;
		frame_of(s->sizes, s->count);
		f->offload.checksum_good = true;
		assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
		expect_as_it_is(packet.checksum ? &all : &nothing, &splits[i / ARRAY_SIZE(payloads) / ARRAY_SIZE(splits)]);
		assert_true(cut.offload.checksum_good);
	}
}

/* A checksum that is left to be done, for who cannot: the packet as it would have been sent without. */
static void test_finished(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4 * 300; i++) {
		const struct split *from = &splits[i % ARRAY_SIZE(splits)], *to = &splits[i / 4 % ARRAY_SIZE(splits)];

		packet.v6 = i & 1;
		packet.udp = i & 2;
		packet.payload_bytes = i / 4;
		packet.checksum = PACKET_PARTIAL;
		frame_of(from->sizes, from->count);
		assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
		packet.checksum = PACKET_FINISHED;
		packet_make(&packet);
		expect_as_it_is(&nothing, to);
		assert_true(packet_good(out, packet.bytes));
	}
}

/* Wherever a sender wants a sum of what follows: at odd bytes too, of heads that do not end the frame. */
static void test_finished_anywhere(void **state)
{
	static const uint32_t payloads[] = {150, 151, 1000, 1001};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(payloads) * 100; i++) {
		uint32_t at = 34 + i / ARRAY_SIZE(payloads), offset = i % 23;
		uint16_t sum;

		packet.payload_bytes = payloads[i % ARRAY_SIZE(payloads)];
		frame_of(odd, 5);
		f->offload = (struct net_offload){
			.needs_checksum = true, .checksum_at = (uint16_t)at, .checksum_offset = (uint16_t)offset};
		assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
		sum = packet_sum(packet.data + at, packet.bytes - at, 0);
		net_put16(packet.data + at + offset, sum == 0 && offset == UDP_CHECKSUM ? 0xffff : sum);
		expect_as_it_is(&nothing, &splits[i % ARRAY_SIZE(splits)]);
	}
}

/* A sum that comes to nothing is UDP's way to say that there is none. */
static void test_udp_zero(void **state)
{
	static const uint8_t none[2];
	uint8_t word[2] = {0, 0};

	(void)state;
	packet.udp = true;
	packet.payload_bytes = 2;
	packet.payload = none;
	packet_make(&packet);
	memcpy(word, packet.data + packet.l4_at + UDP_CHECKSUM, 2); /* the word that makes the whole sum all ones */
	packet.payload = word;
	packet.checksum = PACKET_PARTIAL;
	frame_of(whole, 1);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	net_cut_begin(&cut, f, &nothing);
	assert_true(net_cut_next(&cut));
	take(&splits[0]);
	assert_int_equal(net_get16(out + packet.l4_at + UDP_CHECKSUM), 0xffff);
	assert_true(packet_good(out, packet.bytes));
}

/* What a sender writes after its head was fetched is not believed; what it writes into the payload is what is summed. */
static void test_changed_memory(void **state)
{
	(void)state;
	packet.udp = true;
	packet.payload_bytes = 1000;
	packet.checksum = PACKET_PARTIAL;
	frame_of(whole, 1);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	memset(pf.segments[0].data, 0x5a, packet.bytes);
	net_cut_begin(&cut, f, &nothing);
	assert_true(net_cut_next(&cut));
	take(&splits[0]);
	assert_memory_equal(out, packet.data, packet.l4_at + UDP_CHECKSUM);
	assert_int_equal(out[NET_HEAD_MAX], 0x5a);
	assert_true(packet_good(out, packet.bytes));
}

/* ---- tags ---- */

static void expect_same_as_packet(void)
{
	expect_parsed(packet.v6 ? NET_L3_IPV6 : NET_L3_IPV4, NET_L4_TCP);
	assert_memory_equal(f->head, packet.data, f->head_bytes);
	assert_int_equal(f->bytes, packet.bytes);
}

static void test_tags(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(splits) * 2 * 3; i++) {
		const struct split *s = &splits[i % ARRAY_SIZE(splits)];
		struct packet_frame before;

		packet.v6 = i / ARRAY_SIZE(splits) % 2;
		packet.tags = 0;
		gso_frame(i / ARRAY_SIZE(splits) / 2 * 150, 1000, s->sizes, s->count);
		assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
		before = pf;
		packet.tags = 1;
		packet.tci[0] = 0x2fff;
		packet_make(&packet);
		net_frame_tag(f, 0x2fff);
		assert_int_equal(f->offload.checksum_at, packet.l4_at);
		/* Out of the same memory comes what was sent with a tag. */
		expect_as_it_is(&all, s);
		assert_memory_equal(f->head, packet.data, f->head_bytes);
		assert_int_equal(f->l3_at, packet.l3_at);
		assert_int_equal(f->l4_at, packet.l4_at);
		assert_int_equal(f->header_bytes, packet.header_bytes);
		assert_true(f->tagged && !f->double_tagged && f->tci == 0x2fff);
		net_frame_untag(f);
		assert_memory_equal(f->head, before.frame.head, f->head_bytes);
		memcpy(f->head, before.frame.head, sizeof f->head);
		assert_memory_equal(f, &before.frame, sizeof *f);
	}
}

static void test_untag(void **state)
{
	(void)state;
	packet.tags = 2;
	packet.tci[0] = 5;
	packet.tci[1] = 6;
	gso_frame(5000, 1000, odd, 5);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	net_frame_untag(f);
	packet.tags = 1;
	packet.tci[0] = 6;
	packet_make(&packet);
	assert_true(f->tagged && !f->double_tagged && f->tci == 6);
	expect_as_it_is(&all, &splits[1]);
	expect_cut(&nothing, &splits[2]);
	net_frame_untag(f);
	packet.tags = 0;
	packet_make(&packet);
	assert_true(!f->tagged && f->tci == 0);
	expect_as_it_is(&all, &splits[3]);
	expect_cut(&nothing, &splits[4]);
	net_frame_tag(f, 9);
	packet.tags = 1;
	packet.tci[0] = 9;
	packet_make(&packet);
	expect_cut(&nothing, &splits[5]);
	expect_same_as_packet();
}

/* ---- flows ---- */

static uint32_t hash(void)
{
	frame_of(whole, 1);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	return net_frame_hash(f);
}

static void test_hash(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		uint32_t was;

		teardown(NULL);
		setup(NULL);
		packet.v6 = v6;
		was = hash();
		/* All of a flow's frames have the same. */
		packet.payload_bytes = 100;
		packet.sequence++;
		packet.id++;
		packet.flags = 1;
		packet.from[5]++;
		packet.ip_options = 8;
		assert_int_equal(hash(), was);
		packet.tags = 1;
		assert_int_equal(hash(), was);
		net_frame_untag(f);
		assert_int_equal(net_frame_hash(f), was);
		/* Each of what makes it another flow does. */
		packet.ports[0]++;
		assert_int_not_equal(hash(), was);
		packet.ports[0]--;
		packet.ports[1] ^= 0x100;
		assert_int_not_equal(hash(), was);
		packet.ports[1] ^= 0x100;
		packet.udp = true;
		assert_int_not_equal(hash(), was);
		packet.udp = false;
		for (unsigned i = 0; i < (v6 ? 16 : 4); i++) {
			packet.source[i] ^= 4;
			assert_int_not_equal(hash(), was);
			packet.source[i] ^= 4;
			packet.destination[i] ^= 4;
			assert_int_not_equal(hash(), was);
			packet.destination[i] ^= 4;
		}
		assert_int_equal(hash(), was);
	}
}

/* Eight queues get about as many each of flows that differ in one port. */
static void test_hash_spreads(void **state)
{
	unsigned per_queue[8] = {0};

	(void)state;
	for (unsigned i = 0; i < 800; i++) {
		packet.ports[0] = (uint16_t)(32768 + i);
		per_queue[hash() % 8]++;
	}
	for (unsigned i = 0; i < 8; i++)
		assert_in_range(per_queue[i], 60, 140);
}

static void test_hash_of_fragments(void **state)
{
	uint32_t was;

	(void)state;
	packet.udp = true;
	packet.payload_bytes = 100;
	frame_of(whole, 1);
	assert_int_equal(changed(packet.l3_at + IPV4_FRAGMENT, 2, 0x2000), NET_DROP_NONE);
	was = net_frame_hash(f);
	assert_int_equal(changed(packet.l3_at + IPV4_FRAGMENT, 2, 0x0010), NET_DROP_NONE);
	memset(f->head + packet.l4_at, 0x11, 8);
	assert_int_equal(net_frame_hash(f), was);
	arp_frame(42);
	assert_int_equal(net_frame_parse(f, MTU), NET_DROP_NONE);
	was = net_frame_hash(f);
	f->head[41]++;
	assert_int_equal(net_frame_hash(f), was);
	f->head[11]++;
	assert_int_not_equal(net_frame_hash(f), was);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sum_known), TEST(test_sum_any),
		TEST(test_parse_kinds), TEST(test_parse_longest), TEST(test_parse_fragments), TEST(test_parse_extensions),
		TEST(test_parse_cut_off_transport), TEST(test_parse_others),
		TEST(test_drop_short), TEST(test_drop_no_ip), TEST(test_drop_long), TEST(test_drop_checksum),
		TEST(test_drop_gso), TEST(test_gso_of_one), TEST(test_drop_names),
		TEST(test_cut_splits), TEST(test_cut_sizes), TEST(test_cut_skips), TEST(test_abilities),
		TEST(test_as_it_is), TEST(test_finished), TEST(test_finished_anywhere), TEST(test_udp_zero), TEST(test_changed_memory),
		TEST(test_tags), TEST(test_untag),
		TEST(test_hash), TEST(test_hash_spreads), TEST(test_hash_of_fragments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
