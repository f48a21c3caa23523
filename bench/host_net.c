/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a frame costs in instructions before anybody moves its bytes, without an emulator: bench/host.py runs each case
 * under callgrind, which counts only inside case_*(). io/ is compiled as for the machine. Payloads that are copied as
 * they are have a byte a piece, so that the C library's copying, which is another one on the machine, hardly counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cases.h"
#include "io/net_frame.h"
#include "lib/bits.h"

#define ROUNDS 512u
#define MSS 1448u
#define PIECES 16u
#define CASE __attribute__((noinline, noclone)) static void

/* A segment of TCP with a time stamp, its checksum and length left open. */
static const uint8_t tcp4[66] = {
	2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00,
	0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
	0x9c, 0x40, 0x14, 0x51, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 1, 0xf6, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1};
static const uint8_t tcp6[86] = {
	2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd,
	0x60, 0, 0, 0, 0, 0, 6, 64,
	0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
	0x9c, 0x40, 0x14, 0x51, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 1, 0xf6, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1};

static uint8_t memory[NET_BYTES_MAX], room[NET_BYTES_MAX];
static struct io_segment segments[NET_SEGMENTS_MAX];
static struct net_frame frame;
static struct net_cut cut;
static uint32_t sink;
static const struct net_abilities nothing, all = {.checksum = true, .tcp4 = true, .tcp6 = true, .ecn = true};

/* A frame of @header and @payload bytes, of which those behind the head lie in @pieces. */
static void setup(const uint8_t *header, uint32_t header_bytes, uint32_t payload, unsigned pieces, bool open)
{
	bool v6 = header == tcp6;
	uint32_t head, part;

	memset(&frame, 0, sizeof frame);
	memset(memory, 0x5a, sizeof memory);
	memcpy(memory, header, header_bytes);
	frame.bytes = header_bytes + payload;
	net_put16(memory + (v6 ? 18 : 16), (uint16_t)(frame.bytes - (v6 ? 54 : 14)));
	head = MIN(frame.bytes, NET_HEAD_MAX);
	part = (frame.bytes - head) / pieces;
	segments[0] = (struct io_segment){.data = memory, .bytes = head + part};
	for (unsigned i = 1; i < pieces; i++)
		segments[i] = (struct io_segment){.data = memory + head + i * part, .bytes = part};
	frame.segments = segments;
	frame.segment_count = pieces;
	frame.head_bytes = (uint16_t)head;
	memcpy(frame.head, memory, head);
	frame.offload = (struct net_offload){
		.needs_checksum = open, .checksum_at = (uint16_t)(header_bytes - 32), .checksum_offset = 16};
	if (open && payload > MSS) {
		frame.offload.gso = v6 ? NET_GSO_TCP6 : NET_GSO_TCP4;
		frame.offload.gso_size = MSS;
	}
}

CASE case_net_parse_tcp4(unsigned round)
{
	(void)round;
	if (net_frame_parse(&frame, NET_MTU_DEFAULT) != NET_DROP_NONE)
		abort();
}
static unsigned run_net_parse_tcp4(void)
{
	setup(tcp4, sizeof tcp4, MSS, 1, true);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_net_parse_tcp4(i);
	return ROUNDS;
}

CASE case_net_parse_tcp4_to_cut(unsigned round) { case_net_parse_tcp4(round); }
static unsigned run_net_parse_tcp4_to_cut(void)
{
	setup(tcp4, sizeof tcp4, 45 * MSS, 1, true);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_net_parse_tcp4_to_cut(i);
	return ROUNDS;
}

CASE case_net_parse_tcp6(unsigned round) { case_net_parse_tcp4(round); }
static unsigned run_net_parse_tcp6(void)
{
	setup(tcp6, sizeof tcp6, MSS - 20, 1, true);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_net_parse_tcp6(i);
	return ROUNDS;
}

CASE case_net_hash_tcp4(unsigned round)
{
	(void)round;
	sink += net_frame_hash(&frame);
}
static unsigned run_net_hash_tcp4(void)
{
	setup(tcp4, sizeof tcp4, MSS, 1, true);
	case_net_parse_tcp4(0);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_net_hash_tcp4(i);
	return ROUNDS;
}

/* All frames that come out of one, into one piece of memory each. */
static ALWAYS_INLINE void copy_all(const struct net_abilities *can)
{
	net_cut_begin(&cut, &frame, can);
	while (net_cut_next(&cut)) {
		struct io_segment to = {.data = room, .bytes = cut.bytes};
		struct segment_cursor at = {.segment = &to, .left = 1};

		net_cut_copy(&cut, &at);
	}
}

CASE case_net_as_it_is(unsigned round)
{
	(void)round;
	copy_all(&all);
}
static unsigned run_net_as_it_is(void)
{
	setup(tcp4, sizeof tcp4, NET_HEAD_MAX - sizeof tcp4 + 1, 1, true);
	case_net_parse_tcp4(0);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_net_as_it_is(i);
	return ROUNDS;
}

CASE case_net_as_it_is_in_pieces(unsigned round)
{
	(void)round;
	copy_all(&all);
}
static unsigned run_net_as_it_is_in_pieces(void)
{
	setup(tcp4, sizeof tcp4, NET_HEAD_MAX - sizeof tcp4 + PIECES + 1, PIECES + 1, true);
	case_net_parse_tcp4(0);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_net_as_it_is_in_pieces(i);
	return ROUNDS;
}

/* A frame of the MTU whose checksum is finished. */
CASE case_net_finish_mtu(unsigned round)
{
	(void)round;
	copy_all(&nothing);
}
static unsigned run_net_finish_mtu(void)
{
	setup(tcp4, sizeof tcp4, MSS, 1, true);
	case_net_parse_tcp4(0);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_net_finish_mtu(i);
	return ROUNDS;
}

/* A segment of many that one frame is cut into, and summed. */
CASE case_net_cut_segment(unsigned round)
{
	(void)round;
	copy_all(&nothing);
}
static unsigned run_net_cut_segment(void)
{
	setup(tcp4, sizeof tcp4, 45 * MSS, PIECES, true);
	case_net_parse_tcp4(0);
	for (unsigned i = 0; i < ROUNDS / 45; i++)
		case_net_cut_segment(i);
	return ROUNDS / 45 * 45;
}

static const struct bench_case cases[] = {
	{"net_parse_tcp4", run_net_parse_tcp4},
	{"net_parse_tcp4_to_cut", run_net_parse_tcp4_to_cut},
	{"net_parse_tcp6", run_net_parse_tcp6},
	{"net_hash_tcp4", run_net_hash_tcp4},
	{"net_as_it_is", run_net_as_it_is},
	{"net_as_it_is_in_pieces", run_net_as_it_is_in_pieces},
	{"net_finish_mtu", run_net_finish_mtu},
	{"net_cut_segment", run_net_cut_segment},
};

int main(int argc, char **argv) { return bench_main(cases, ARRAY_SIZE(cases), argc, argv); }
