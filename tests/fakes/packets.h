/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets as a host would send them, made byte by byte from the RFCs, and the slow way to check one. Nothing of it is
 * io/'s code, so that io/ can be held against it.
 */
#ifndef CORBEL_TESTS_FAKES_PACKETS_H
#define CORBEL_TESTS_FAKES_PACKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "io/net_frame.h"

#define PACKET_MAX (NET_BYTES_MAX + 64u)

enum packet_checksum {
	PACKET_FINISHED, /* it is right */
	PACKET_PARTIAL,  /* the pseudo header's sum, as virtio's NEEDS_CSUM has it */
};

struct packet {
	/* What it is to be; zeroes are a TCP packet of IPv4 without a tag, options and payload. */
	uint8_t to[NET_MAC_BYTES], from[NET_MAC_BYTES];
	unsigned tags; /* 0 .. 2 */
	bool service;  /* the outer tag is 802.1ad's */
	uint16_t tci[2];
	bool v6, udp;
	uint8_t source[16], destination[16]; /* the first four of IPv4 */
	uint16_t ports[2];
	unsigned ip_options;  /* bytes, times of 4; of IPv6 a hop-by-hop header of so many, times of 8 */
	unsigned tcp_options; /* bytes, times of 4 */
	uint16_t id;
	uint32_t sequence;
	uint8_t flags;
	enum packet_checksum checksum;
	const uint8_t *payload;
	uint32_t payload_bytes;
	/* What came of it. */
	uint32_t l3_at, l4_at, header_bytes, bytes;
	uint8_t data[PACKET_MAX];
};

/* Bytes that look like nothing, the same for the same @seed. */
void packet_noise(uint8_t *data, uint32_t bytes, uint64_t seed);
void packet_make(struct packet *p);
/* What NEEDS_CSUM says of it. */
struct net_offload packet_offload(const struct packet *p);
/* The complement of the ones' complement sum, two bytes at a time. */
uint16_t packet_sum(const uint8_t *data, uint32_t bytes, uint32_t sum);
/* Checksums of IPv4, TCP and UDP, and lengths, as a receiver checks them. Other packets are fine. */
bool packet_good(const uint8_t *data, uint32_t bytes);

/* @p's bytes as a frame, not parsed, in segments of @sizes, over and over; memory that ends where the segment does. */
struct packet_frame {
	struct net_frame frame;
	struct io_segment segments[NET_SEGMENTS_MAX];
};
void packet_frame_make(struct packet_frame *pf, const uint8_t *data, uint32_t bytes, const uint32_t *sizes, unsigned count);
void packet_frame_free(struct packet_frame *pf);
/* Empty memory for @bytes, likewise; and all that lies there now, and that memory given back. */
struct packet_room {
	struct io_segment segments[NET_SEGMENTS_MAX];
	unsigned count;
	struct segment_cursor at;
};
void packet_room_make(struct packet_room *r, uint32_t bytes, const uint32_t *sizes, unsigned count);
void packet_room_take(struct packet_room *r, uint8_t *to);

#endif
