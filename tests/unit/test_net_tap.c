/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tap's ring: frames come out as they went in, in order, over its end and its beginning; cut at snap; what does not
 * fit is lost, counted, and leaves what is there alone; an odd reader finds nothing else.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "io/net_tap.h"
#include "lib/bits.h"
#include "tests/fakes/packets.h"
#include "tests/model/random.h"

#define RECORD ((uint32_t)sizeof(struct net_tap_record))

static struct net_tap tap;
static struct net_tap_record record;
static uint8_t *ring, bytes[PACKET_MAX], got[PACKET_MAX];
static struct packet_frame pf;

static void make(uint32_t ring_bytes, uint32_t snap)
{
	free(ring);
	ring = malloc(ring_bytes);
	net_tap_init(&tap, ring, ring_bytes, snap);
}

static int teardown(void **state)
{
	(void)state;
	free(ring);
	ring = NULL;
	return 0;
}

static void frame_of(uint32_t size, uint64_t seed)
{
	static const uint32_t sizes[] = {100, 50, 1, 77, 4096};

	packet_noise(bytes, size, seed);
	net_put16(bytes + 12, 0x88b5); /* nobody's protocol */
	packet_frame_make(&pf, bytes, size, sizes, ARRAY_SIZE(sizes));
	assert_int_equal(net_frame_parse(&pf.frame, NET_MTU_MAX), NET_DROP_NONE);
}

static void written(uint32_t size, uint64_t seed, bool sent)
{
	frame_of(size, seed);
	net_tap_write(&tap, &pf.frame, sent, seed * 1000);
	packet_frame_free(&pf);
}

static void expect(uint32_t size, uint32_t kept, uint64_t seed, bool sent)
{
	memset(got, 0xee, kept + 1);
	assert_true(net_tap_read(&tap, &record, got));
	assert_int_equal(record.at, seed * 1000);
	assert_int_equal(record.bytes, size);
	assert_int_equal(record.kept, kept);
	assert_int_equal(record.sent, sent);
	packet_noise(bytes, size, seed);
	net_put16(bytes + 12, 0x88b5);
	assert_memory_equal(got, bytes, kept);
	assert_int_equal(got[kept], 0xee);
}

static void test_in_order(void **state)
{
	static const uint32_t sizes[] = {14, 60, 191, 192, 193, 1514, 9000};

	(void)state;
	make(1 << 16, NET_TAP_SNAP_MAX);
	assert_false(net_tap_read(&tap, &record, got));
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		written(sizes[i], i, i & 1);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		expect(sizes[i], sizes[i], i, i & 1);
	assert_false(net_tap_read(&tap, &record, got));
	assert_int_equal(tap.seen, ARRAY_SIZE(sizes));
	assert_int_equal(tap.lost, 0);
}

static void test_snap(void **state)
{
	static const uint32_t snaps[] = {0, 1, 14, 96, 191, 192, 193, 300, 1000, 1001};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(snaps); i++) {
		make(4096, snaps[i]);
		written(1000, 5, true);
		assert_int_equal(tap.head, RECORD + MIN(snaps[i], 1000u));
		expect(1000, MIN(snaps[i], 1000u), 5, true);
	}
}

/* To the last byte, and then not one more. */
static void test_full(void **state)
{
	(void)state;
	make(1024, 1000);
	written(1024 - RECORD - RECORD - 60, 1, false);
	written(61, 2, false);
	assert_int_equal(tap.lost, 1);
	written(60, 3, true);
	assert_int_equal(tap.lost, 1);
	assert_int_equal(tap.head - tap.tail, 1024);
	written(14, 4, true);
	assert_int_equal(tap.lost, 2);
	assert_int_equal(tap.seen, 4);
	expect(1024 - 2 * RECORD - 60, 1024 - 2 * RECORD - 60, 1, false);
	expect(60, 60, 3, true);
	assert_false(net_tap_read(&tap, &record, got));
	/* There is room again; but never for what is larger than the ring. */
	written(14, 5, true);
	expect(14, 14, 5, true);
	make(64, 1000);
	written(64 - RECORD + 1, 6, true);
	assert_int_equal(tap.lost, 1);
	assert_false(net_tap_read(&tap, &record, got));
}

/* Records begin and end at every byte of the ring, for as long as it takes to come round many times. */
static void test_wraps(void **state)
{
	struct random_state r = random_seed(3);
	uint64_t in = 0, out = 0, lost = 0, seeds[64];
	uint32_t sizes[64];

	(void)state;
	make(2048, 400);
	while (out < 5000) {
		if (random_below(&r, 2)) {
			uint32_t size = 14 + (uint32_t)random_below(&r, 600);

			written(size, in + lost, size & 1);
			if (tap.lost > lost) {
				lost++;
				continue;
			}
			sizes[in % 64] = size;
			seeds[in % 64] = in + lost;
			in++;
		} else if (out < in) {
			expect(sizes[out % 64], MIN(sizes[out % 64], 400u), seeds[out % 64], sizes[out % 64] & 1);
			out++;
		} else {
			assert_false(net_tap_read(&tap, &record, got));
		}
		assert_in_range(tap.head - tap.tail, 0, 2048);
	}
	assert_true(lost > 10);
	assert_int_equal(tap.seen, in + lost);
}

/* As it looks with the tag that it got on its way, and whole when it is still to be cut. */
static void test_as_it_looks(void **state)
{
	static struct packet packet;
	static uint8_t payload[20000];
	static const uint32_t sizes[] = {80, 4096};

	(void)state;
	make(1 << 16, NET_TAP_SNAP_MAX);
	packet_noise(payload, sizeof payload, 1);
	packet.payload = payload;
	packet.payload_bytes = sizeof payload;
	packet.checksum = PACKET_PARTIAL;
	packet_make(&packet);
	packet_frame_make(&pf, packet.data, packet.bytes, sizes, 2);
	pf.frame.offload = packet_offload(&packet);
	pf.frame.offload.gso = NET_GSO_TCP4;
	pf.frame.offload.gso_size = 1448;
	assert_int_equal(net_frame_parse(&pf.frame, NET_MTU_DEFAULT), NET_DROP_NONE);
	net_frame_tag(&pf.frame, 77);
	net_tap_write(&tap, &pf.frame, true, 1);
	packet_frame_free(&pf);
	packet.tags = 1;
	packet.tci[0] = 77;
	packet_make(&packet);
	assert_true(net_tap_read(&tap, &record, got));
	assert_int_equal(record.kept, packet.bytes);
	assert_memory_equal(got, packet.data, packet.bytes);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_in_order), TEST(test_snap), TEST(test_full), TEST(test_wraps), TEST(test_as_it_looks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
