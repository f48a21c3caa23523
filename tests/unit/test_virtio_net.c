/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device by virtio 1.2 section 5.1, driven through its rings over guest memory that moves, between a driver
 * by the book and a switch that answers as it is told: frames both ways in all framings and with all offloads, each pin
 * later and failing, what is wrong with a frame, buffers that are missing or too small, commands, resets with frames
 * everywhere they can be.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "io/virtio_net.h"
#include "lib/bits.h"
#include "tests/fakes/virtio_driver.h"

#define PAGES 200u
#define PAIRS 2u
#define QUEUES (2 * PAIRS + 1)
#define CONTROL (2 * PAIRS)
#define RING_AT(i) (0x1000u + 0x3000u * (i))
#define TX_AT(slot) (0x10000u + 0x1000u * (slot)) /* header, frame */
#define TABLE_AT 0x38000u
#define RX_AT 0x40000u
#define LARGE_AT 0x80000u
#define COMMAND_AT 0x3a000u
#define ANSWER_AT 0x3b000u
#define ALL (~0ull)
#define NEXT VIRTQ_DESC_F_NEXT
#define WRITE VIRTQ_DESC_F_WRITE
#define HDR VIRTIO_NET_HDR_BYTES
#define SENT_MAX 128u
#define MTU 1500u

static const uint8_t own_mac[NET_MAC_BYTES] = {2, 0, 0, 0, 0, 1};
static const uint8_t other_mac[NET_MAC_BYTES] = {2, 0, 0, 0, 0, 2};

static struct fake_guest_mem mem;
static struct virtio_net *net;
static void *memory;
static struct driver drv;
static struct driver_ring ring[QUEUES];
static uint64_t ticks;

/* ---- a switch that does as it is told ---- */

static struct net_switch sw;
static struct net_port port = {.sw = &sw};
static struct {
	struct sent {
		uint8_t data[NET_BYTES_MAX];
		uint32_t bytes;
		struct net_offload offload;
		unsigned behind;
	} frames[SENT_MAX];
	unsigned count;
	enum net_answer answer; /* to those whose first payload byte is `of`, or all */
	int of;
	unsigned again;         /* so many times AGAIN first */
	struct net_ticket *waiting, *held[VIRTIO_NET_SLOTS];
	unsigned held_count;
	bool too_late;          /* to take anything back */
	unsigned flushes, refills, cancels;
	void (*in_send)(void);
} fake;

/* What is behind the Ethernet header. */
static int first_byte(const struct net_frame *f) { return f->head[NET_ETHERNET_BYTES]; }

static void note_frame(const struct net_ticket *t)
{
	struct sent *s = &fake.frames[fake.count++];
	const struct net_frame *f = t->frame;
	struct segment_cursor from = {f->segments, f->segment_count, 0};
	uint8_t head[NET_HEAD_MAX];

	assert_true(fake.count <= SENT_MAX);
	s->bytes = f->bytes;
	s->offload = f->offload;
	s->behind = t->behind;
	memcpy(s->data, f->head, f->head_bytes);
	assert_true(segment_copy_from(&from, head, f->head_bytes));
	assert_true(segment_copy_from(&from, s->data + f->head_bytes, f->bytes - f->head_bytes));
	for (unsigned i = 0; i < f->segment_count; i++)
		assert_int_not_equal(f->segments[i].bytes, 0);
	assert_int_equal(segment_next(&from, 1, &(uint8_t *){NULL}), 0);
}

enum net_answer net_switch_send(struct net_port *from, struct net_ticket *t, struct net_batch *batch, unsigned *budget)
{
	assert_ptr_equal(from, &port);
	assert_false(lock_is_mine(&virtio_net_device(net)->lock));
	batch->touched = 1;
	*budget -= MIN(*budget, 500u);
	if (fake.in_send)
		fake.in_send();
	if (fake.again > 0) {
		fake.again--;
		return NET_AGAIN;
	}
	if (fake.answer == NET_DONE || (fake.of >= 0 && first_byte(t->frame) != fake.of)) {
		note_frame(t);
		return NET_DONE;
	}
	if (fake.answer == NET_WAIT) {
		assert_null(fake.waiting);
		fake.waiting = t;
	} else {
		note_frame(t);
		fake.held[fake.held_count++] = t;
	}
	return fake.answer;
}

void net_switch_flush(struct net_switch *s, struct net_batch *batch)
{
	assert_ptr_equal(s, &sw);
	fake.flushes += batch->touched != 0;
}

bool net_switch_cancel(struct net_ticket *t)
{
	fake.cancels++;
	if (fake.too_late)
		return false;
	if (fake.waiting == t) {
		fake.waiting = NULL;
		return true;
	}
	for (unsigned i = 0; i < fake.held_count; i++)
		if (fake.held[i] == t) {
			fake.held[i] = fake.held[--fake.held_count];
			return true;
		}
	return false;
}

void net_port_refilled(struct net_port *p)
{
	assert_ptr_equal(p, &port);
	assert_true(lock_is_mine(&virtio_net_device(net)->lock));
	fake.refills++;
}

static void say_ready(void)
{
	struct net_ticket *t = fake.waiting;

	fake.waiting = NULL;
	t->ready(t);
}

static void say_done(unsigned i, enum net_drop why)
{
	struct net_ticket *t = fake.held[i];

	fake.held[i] = fake.held[--fake.held_count];
	t->done(t, why);
}

/* ---- memory whose unpinning may be interrupted ---- */

static void (*in_unpin)(void);

static enum pin_result hooked_pin(void *ctx, struct guest_pin *p) { return guest_mem_pin(ctx, p); }
static void hooked_unpin(void *ctx, const struct guest_pin *p)
{
	void (*then)(void) = in_unpin;

	guest_mem_unpin(ctx, p);
	in_unpin = NULL;
	if (then)
		then();
}
static bool hooked_cancel(void *ctx, struct guest_pin *p) { return guest_mem_cancel(ctx, p); }
static const struct guest_mem_ops hooked_ops = {hooked_pin, hooked_unpin, hooked_cancel};

/* ---- the device ---- */

static uint8_t asked_mac[NET_MAC_BYTES];
static bool mac_granted;
static uint64_t now(void) { return ticks; }
static bool on_set_mac(void *ctx, const uint8_t mac[NET_MAC_BYTES])
{
	assert_ptr_equal(ctx, asked_mac);
	assert_true(lock_is_mine(&virtio_net_device(net)->lock));
	memcpy(asked_mac, mac, NET_MAC_BYTES);
	return mac_granted;
}

static void make(unsigned pairs)
{
	struct virtio_net_config cfg = {.mem = {&hooked_ops, &mem.mem}, .pairs = pairs, .mtu = MTU, .now = now,
					.hz = 1000000000, .set_mac = on_set_mac, .ctx = asked_mac};

	memcpy(cfg.mac, own_mac, sizeof own_mac);
	coalesce_settings_init(&cfg.interrupts);
	memory = aligned_alloc(64, align_up(virtio_net_bytes(&cfg), 64));
	memset(memory, 0, virtio_net_bytes(&cfg));
	net = virtio_net_make(memory, &cfg);
	driver_attach(&drv, virtio_net_device(net));
	assert_true(virtio_net_connect(net, &port));
}

static unsigned queue_count(void) { return virtio_net_device(net)->queue_count; }

static void bring_up(uint64_t features)
{
	features &= virtio_net_device(net)->offered;
	assert_true(driver_negotiate(&drv, features) & VIRTIO_STATUS_FEATURES_OK);
	for (unsigned i = 0; i < queue_count(); i++) {
		struct virtio_queue *q = virtio_queue(drv.device, i);

		driver_ring_init(&ring[i], &mem, RING_AT(i), q->ring.size_max);
		driver_queue(&drv, i, &ring[i]);
	}
	driver_ok(&drv);
	driver_work(&drv);
	memset(drv.interrupts, 0, sizeof drv.interrupts);
}

static int setup_bare(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof fake);
	fake.of = -1;
	in_unpin = NULL;
	mac_granted = true;
	ticks = 1;
	fake_guest_mem_init(&mem, PAGES, 1);
	make(PAIRS);
	return 0;
}

static int setup(void **state)
{
	setup_bare(state);
	bring_up(ALL);
	return 0;
}

/* Everything that is under way ends, but for what the switch has. */
static void settle(void)
{
	for (unsigned i = 0; i < 100000; i++) {
		unsigned moved = fake_guest_mem_answer(&mem, 1000) + driver_work(&drv);

		fake_guest_mem_move(&mem);
		if (moved == 0)
			return;
	}
	fail_msg("it does not come to rest");
}

static int teardown(void **state)
{
	(void)state;
	driver_status(&drv, 0);
	settle();
	while (fake.held_count != 0)
		say_done(0, NET_DROP_LINK);
	if (fake.waiting)
		say_ready();
	settle();
	assert_int_equal(driver_read_status(&drv), 0);
	fake_guest_mem_fini(&mem);
	free(memory);
	return 0;
}

static struct virtio_net_figures figures(void)
{
	struct virtio_net_figures f;

	virtio_net_figures(net, &f);
	return f;
}

/* ---- frames ---- */

static uint8_t frame[NET_BYTES_MAX];

/* An Ethernet frame of @bytes, of a protocol that nobody knows, whose payload begins with @mark. */
static void plain_frame(uint8_t mark, uint32_t bytes)
{
	memcpy(frame, other_mac, NET_MAC_BYTES);
	memcpy(frame + NET_MAC_BYTES, own_mac, NET_MAC_BYTES);
	net_put16(frame + 12, 0x88b5);
	for (uint32_t i = NET_ETHERNET_BYTES; i < bytes; i++)
		frame[i] = (uint8_t)(mark + (i - NET_ETHERNET_BYTES) * 7);
}

#define TCP_HEADERS (NET_ETHERNET_BYTES + 20 + 20)

/* TCP over IPv4 from port @from, as a driver that leaves the checksum to others makes it. */
static void tcp_frame(uint16_t from, uint32_t payload)
{
	uint8_t *ip = frame + NET_ETHERNET_BYTES, *tcp = ip + 20;
	uint64_t sum;

	plain_frame(0, TCP_HEADERS + payload);
	net_put16(frame + 12, 0x0800);
	memset(ip, 0, 40);
	ip[0] = 0x45;
	net_put16(ip + 2, (uint16_t)(40 + payload));
	ip[8] = 64;
	ip[9] = 6;
	memcpy(ip + 12, (const uint8_t[]){10, 0, 0, 1, 10, 0, 0, 2}, 8);
	net_put16(ip + 10, net_sum_end(net_sum(0, ip, 20, false)));
	net_put16(tcp, from);
	net_put16(tcp + 2, 80);
	put_be32(tcp + 4, 1000);
	tcp[12] = 5 << 4;
	tcp[13] = 0x18;
	sum = net_sum(6 + 20 + payload, ip + 12, 8, false);
	net_put16(tcp + 16, (uint16_t)~net_sum_end(sum));
}

static void header(uint8_t *h, uint8_t flags, uint8_t gso, uint16_t gso_size)
{
	memset(h, 0, HDR);
	h[VIRTIO_NET_HDR_FLAGS] = flags;
	h[VIRTIO_NET_HDR_GSO_TYPE] = gso;
	put_le16(h + VIRTIO_NET_HDR_GSO_SIZE, gso_size);
	if (flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		put_le16(h + VIRTIO_NET_HDR_CSUM_START, NET_ETHERNET_BYTES + 20);
		put_le16(h + VIRTIO_NET_HDR_CSUM_OFFSET, 16);
	}
}

/* ---- sending ---- */

/* Header and frame[] of @bytes at @at, in two buffers from descriptor @d on. */
static void put_tx(unsigned queue, uint16_t d, uint64_t at, uint32_t bytes, const uint8_t h[HDR])
{
	fake_guest_mem_write(&mem, at, h, HDR);
	fake_guest_mem_write(&mem, at + HDR, frame, bytes);
	driver_desc(&ring[queue], d, at, HDR, NEXT, (uint16_t)(d + 1));
	driver_desc(&ring[queue], (uint16_t)(d + 1), at + HDR, bytes, 0, 0);
	driver_offer(&ring[queue], d);
}

static void offer_marked(unsigned queue, unsigned slot, uint8_t mark, uint32_t bytes)
{
	uint8_t h[HDR] = {0};

	plain_frame(mark, bytes);
	put_tx(queue, (uint16_t)(2 * slot), TX_AT(slot), bytes, h);
}

static void expect_tx_used(unsigned queue, unsigned slot)
{
	uint32_t head, written;

	assert_true(driver_used(&ring[queue], &head, &written));
	assert_int_equal(head, 2 * slot);
	assert_int_equal(written, 0);
	driver_used_event(&ring[queue], ring[queue].seen);
}

static void expect_none(unsigned queue)
{
	uint32_t head, written;

	assert_false(driver_used(&ring[queue], &head, &written));
}

static void expect_sent(unsigned i, uint32_t bytes)
{
	assert_true(i < fake.count);
	assert_int_equal(fake.frames[i].bytes, bytes);
	assert_memory_equal(fake.frames[i].data, frame, bytes);
}

static void sends(void **state)
{
	(void)state;
	offer_marked(1, 0, 5, 60);
	driver_kick(&drv, 1);
	assert_int_equal(fake.count, 0); /* nothing on the spot */
	assert_true(drv.deferred);
	settle();
	assert_int_equal(fake.count, 1);
	expect_sent(0, 60);
	assert_false(fake.frames[0].offload.needs_checksum);
	assert_int_equal(fake.frames[0].offload.gso, NET_GSO_NONE);
	expect_tx_used(1, 0);
	assert_int_equal(drv.interrupts[2], 1);
	assert_int_equal(fake.flushes, 1);
	assert_int_equal(figures().tx_frames, 1);
	assert_int_equal(figures().tx_bytes, 60);
	assert_int_equal(figures().tx_interrupts, 1);
	assert_int_equal(mem.pins, 3 * queue_count() + 0); /* a ring's parts lie in pages of their own */
}

/* All of one kick: one interrupt, in order, each knows how many come behind it. */
static void sends_a_batch(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++)
		offer_marked(1, i, (uint8_t)i, 60 + i);
	driver_kick(&drv, 1);
	settle();
	assert_int_equal(fake.count, 10);
	for (unsigned i = 0; i < 10; i++) {
		plain_frame((uint8_t)i, 60 + i);
		expect_sent(i, 60 + i);
		assert_int_equal(fake.frames[i].behind, 9 - i);
		expect_tx_used(1, i);
	}
	assert_int_equal(drv.interrupts[2], 1);
	assert_int_equal(fake.flushes, 1);
}

/* Buffers of any size mean nothing (2.7.4.2). */
static void sends_any_framing(void **state)
{
	static const uint32_t sizes[] = {1, 2, 3, 7, 12, 13, 40, 500, 1526};
	uint8_t h[HDR];

	(void)state;
	tcp_frame(7, 1460);
	header(h, VIRTIO_NET_HDR_F_NEEDS_CSUM, 0, 0);
	fake_guest_mem_write(&mem, TX_AT(0) + 4090, h, HDR);
	fake_guest_mem_write(&mem, TX_AT(0) + 4090 + HDR, frame, 1514);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint32_t left = 1526, at = 0;
		uint16_t d = 0;

		for (; left != 0; d++) {
			/* A first run of crumbs, as many as there is room for, then the rest. */
			uint32_t n = d < 48 ? MIN(sizes[i], left) : left;

			left -= n;
			driver_table(&ring[1], TABLE_AT, d, TX_AT(0) + 4090 + at, n, left ? NEXT : 0, (uint16_t)(d + 1));
			at += n;
		}
		driver_desc(&ring[1], 0, TABLE_AT, 16u * d, VIRTQ_DESC_F_INDIRECT, 0);
		driver_offer(&ring[1], 0);
		driver_kick(&drv, 1);
		settle();
		assert_int_equal(fake.count, i + 1);
		expect_sent(i, 1514);
		assert_true(fake.frames[i].offload.needs_checksum);
		assert_int_equal(fake.frames[i].offload.checksum_at, 34);
		assert_int_equal(fake.frames[i].offload.checksum_offset, 16);
		expect_tx_used(1, 0);
	}
}

/* 64 KiB, in buffers that lie across pages. */
static void sends_to_be_cut(void **state)
{
	uint8_t h[HDR];

	(void)state;
	tcp_frame(7, 64000);
	header(h, VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, 1448);
	put_tx(1, 0, LARGE_AT + 100, TCP_HEADERS + 64000, h);
	driver_kick(&drv, 1);
	settle();
	assert_int_equal(fake.count, 1);
	expect_sent(0, TCP_HEADERS + 64000);
	assert_int_equal(fake.frames[0].offload.gso, NET_GSO_TCP4);
	assert_int_equal(fake.frames[0].offload.gso_size, 1448);
	assert_true(fake.frames[0].offload.ecn && fake.frames[0].offload.needs_checksum);
	expect_tx_used(1, 0);
}

/* A chain that is no good frame comes back, counted, and the next one goes. */
static void expect_dropped(enum net_drop why, uint64_t features)
{
	unsigned before = fake.count, dropped = (unsigned)figures().tx_drops[why];

	(void)features;
	driver_kick(&drv, 1);
	settle();
	assert_int_equal(fake.count, before);
	assert_int_equal(figures().tx_drops[why], dropped + 1);
	expect_tx_used(1, 0);
	offer_marked(1, 0, 1, 60);
	driver_kick(&drv, 1);
	settle();
	assert_int_equal(fake.count, before + 1);
	expect_tx_used(1, 0);
	assert_int_equal(drv.broken, 0);
}

static void drops_what_is_no_frame(void **state)
{
	uint8_t h[HDR] = {0};

	(void)state;
	for (uint32_t bytes = 1; bytes < HDR + NET_FRAME_MIN; bytes++) {
		driver_desc(&ring[1], 0, TX_AT(0), bytes, 0, 0);
		driver_offer(&ring[1], 0);
		expect_dropped(NET_DROP_SHORT, ALL);
	}
	assert_int_equal(figures().bad_headers, HDR - 1);
	/* Writable buffers are no part of it. */
	driver_desc(&ring[1], 0, TX_AT(0), 100, WRITE, 0);
	driver_offer(&ring[1], 0);
	expect_dropped(NET_DROP_SHORT, ALL);
	driver_desc(&ring[1], 0, LARGE_AT, HDR + NET_BYTES_MAX + 1, 0, 0);
	driver_offer(&ring[1], 0);
	expect_dropped(NET_DROP_LONG, ALL);
	plain_frame(1, 1515); /* beyond the MTU */
	put_tx(1, 0, TX_AT(0), 1515, h);
	expect_dropped(NET_DROP_LONG, ALL);
	driver_desc(&ring[1], 0, (uint64_t)PAGES << PAGE_SHIFT, 100, 0, 0);
	driver_offer(&ring[1], 0);
	expect_dropped(NET_DROP_MEMORY, ALL);
	driver_desc(&ring[1], 0, TX_AT(0), 100, NEXT, 1);
	driver_desc(&ring[1], 1, (uint64_t)PAGES << PAGE_SHIFT, 100, 0, 0);
	driver_offer(&ring[1], 0);
	expect_dropped(NET_DROP_MEMORY, ALL);
}

static void drops_too_many_pieces(void **state)
{
	uint8_t h[HDR] = {0};

	(void)state;
	plain_frame(3, 200);
	fake_guest_mem_write(&mem, TX_AT(0), h, HDR);
	for (unsigned pieces = NET_SEGMENTS_MAX; pieces <= NET_SEGMENTS_MAX + 1; pieces++) {
		driver_table(&ring[1], TABLE_AT, 0, TX_AT(0), HDR, NEXT, 1);
		for (unsigned i = 0; i < pieces; i++) {
			uint32_t bytes = i + 1 < pieces ? 2 : 200 - 2 * i;

			fake_guest_mem_write(&mem, TX_AT(1) + 16 * i, frame + 2 * i, bytes);
			driver_table(&ring[1], TABLE_AT, (uint16_t)(i + 1), TX_AT(1) + 16 * i, bytes, i + 1 < pieces ? NEXT : 0,
				     (uint16_t)(i + 2));
		}
		driver_desc(&ring[1], 0, TABLE_AT, 16 * (pieces + 1), VIRTQ_DESC_F_INDIRECT, 0);
		driver_offer(&ring[1], 0);
		if (pieces == NET_SEGMENTS_MAX + 1) {
			expect_dropped(NET_DROP_SEGMENTS, ALL);
			return;
		}
		driver_kick(&drv, 1);
		settle();
		expect_sent(0, 200);
		expect_tx_used(1, 0);
	}
}

/* What may be said in a header, and what only with the feature. */
static void judges_headers(void **state)
{
	static const struct {
		uint64_t without;
		uint8_t flags, gso;
		enum net_drop why;
	} cases[] = {
		{0, 1, 0, NET_DROP_NONE},
		{0, 1, 1, NET_DROP_NONE},
		{0, 1, 0x81, NET_DROP_NONE},
		{0, 2, 0, NET_DROP_NONE},    /* DATA_VALID: ignored */
		{0, 0xfe, 0, NET_DROP_NONE}, /* as all flags that nobody knows */
		{0, 0, 1, NET_DROP_GSO},     /* needs a checksum too */
		{0, 1, 3, NET_DROP_GSO},     /* UFO */
		{0, 1, 5, NET_DROP_GSO},     /* UDP_L4 */
		{0, 1, 4, NET_DROP_GSO},     /* TCPV6 in front of IPv4 */
		{0, 1, 0x80, NET_DROP_GSO},
		{VIRTIO_NET_F_HOST_ECN, 1, 0x81, NET_DROP_GSO},
		{VIRTIO_NET_F_HOST_TSO4, 1, 1, NET_DROP_GSO},
		{VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_HOST_ECN, 1, 1, NET_DROP_NONE},
		{VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_HOST_ECN, 1, 0,
		 NET_DROP_CHECKSUM},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned before = fake.count;
		uint8_t h[HDR];

		assert_true(driver_stop(&drv, &mem));
		bring_up(ALL & ~cases[i].without);
		tcp_frame(7, 2000);
		if (cases[i].gso == 0)
			tcp_frame(7, 1000);
		header(h, cases[i].flags, cases[i].gso, 1000);
		put_tx(1, 0, TX_AT(0), cases[i].gso ? TCP_HEADERS + 2000 : TCP_HEADERS + 1000, h);
		if (cases[i].why != NET_DROP_NONE) {
			expect_dropped(cases[i].why, ALL);
			continue;
		}
		driver_kick(&drv, 1);
		settle();
		assert_int_equal(fake.count, before + 1);
		assert_int_equal(fake.frames[before].offload.needs_checksum, cases[i].flags & 1);
		assert_false(fake.frames[before].offload.checksum_good);
		expect_tx_used(1, 0);
	}
}

/* A frame in an indirect table across two pages, whose n-th pin comes later, or never. */
static bool one_with(uint64_t *countdown, uint64_t n, bool later)
{
	uint8_t h[HDR] = {0};
	uint32_t head, written;
	bool hit;

	plain_frame(9, 1200);
	fake_guest_mem_write(&mem, TX_AT(0) + 4000, h, HDR);
	fake_guest_mem_write(&mem, TX_AT(0) + 4000 + HDR, frame, 1200);
	driver_table(&ring[1], TABLE_AT + 0xff8, 0, TX_AT(0) + 4000, 200, NEXT, 1);
	driver_table(&ring[1], TABLE_AT + 0xff8, 1, TX_AT(0) + 4200, HDR + 1000, 0, 0);
	driver_desc(&ring[1], 0, TABLE_AT + 0xff8, 32, VIRTQ_DESC_F_INDIRECT, 0);
	driver_offer(&ring[1], 0);
	*countdown = n;
	driver_kick(&drv, 1);
	settle();
	hit = *countdown == 0;
	*countdown = 0;
	if (drv.broken == 0) {
		assert_true(driver_used(&ring[1], &head, &written));
		driver_used_event(&ring[1], ring[1].seen);
	}
	if (hit && !later && drv.broken == 0)
		assert_int_equal(figures().tx_drops[NET_DROP_MEMORY], 1);
	return hit;
}

static void each_pin_later(void **state)
{
	uint64_t n = 1;

	(void)state;
	for (; one_with(&mem.later_at, n, true); n++) {
		assert_int_equal(fake.count, n);
		expect_sent((unsigned)n - 1, 1200);
		assert_int_equal(mem.laters, n);
	}
	assert_int_equal(n, 5); /* two of the table, two pages */
}

static void each_pin_failing(void **state)
{
	uint64_t n = 1;

	(void)state;
	for (; one_with(&mem.fail_at, n, false); n++) {
		assert_int_equal(fake.count, 0);
		assert_int_equal(drv.broken, n <= 2); /* the table is the ring's, a frame is a frame */
		teardown(state);
		setup(state);
	}
	assert_int_equal(n, 5);
}

/* Two wait for memory in turn, others of the queue behind them: the order is kept. */
static void order_with_later(void **state)
{
	(void)state;
	mem.later = 60;
	for (unsigned i = 0; i < 12; i++)
		offer_marked(1, i, (uint8_t)i, 60);
	driver_kick(&drv, 1);
	settle();
	mem.later = 0;
	assert_int_equal(fake.count, 12);
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(fake.frames[i].data[NET_ETHERNET_BYTES], i);
		expect_tx_used(1, i);
	}
	assert_true(mem.laters > 0);
}

/* ---- what ports answer ---- */

static void one_that_waits(void **state)
{
	(void)state;
	fake.answer = NET_WAIT;
	fake.of = 1;
	for (unsigned i = 0; i < 3; i++)
		offer_marked(1, i, (uint8_t)i, 60);
	offer_marked(3, 7, 7, 60);
	driver_kick(&drv, 1);
	driver_kick(&drv, 3);
	settle();
	assert_int_equal(fake.count, 2); /* the one before it, and another queue's */
	expect_tx_used(1, 0);
	expect_none(1);
	expect_tx_used(3, 7);
	fake.answer = NET_DONE;
	settle();
	assert_int_equal(fake.count, 2);
	say_ready();
	settle();
	assert_int_equal(fake.count, 4);
	assert_int_equal(fake.frames[2].data[NET_ETHERNET_BYTES], 1);
	assert_int_equal(fake.frames[3].data[NET_ETHERNET_BYTES], 2);
	expect_tx_used(1, 1);
	expect_tx_used(1, 2);
}

/* It is told ready and waits again; others come meanwhile, and stay behind it. */
static void one_that_waits_twice(void **state)
{
	(void)state;
	fake.answer = NET_WAIT;
	offer_marked(1, 0, 0, 60);
	driver_kick(&drv, 1);
	settle();
	offer_marked(1, 1, 1, 60);
	driver_kick(&drv, 1);
	settle();
	say_ready();
	settle();
	assert_non_null(fake.waiting);
	assert_int_equal(fake.count, 0);
	fake.answer = NET_DONE;
	say_ready();
	settle();
	assert_int_equal(fake.count, 2);
	assert_int_equal(fake.frames[0].data[NET_ETHERNET_BYTES], 0);
	expect_tx_used(1, 0);
	expect_tx_used(1, 1);
}

static void one_that_is_held(void **state)
{
	(void)state;
	fake.answer = NET_HELD;
	fake.of = 1;
	for (unsigned i = 0; i < 3; i++)
		offer_marked(1, i, (uint8_t)i, 60);
	driver_kick(&drv, 1);
	settle();
	assert_int_equal(fake.count, 3);
	expect_tx_used(1, 0);
	expect_tx_used(1, 2);
	expect_none(1);
	drv.interrupts[2] = 0;
	say_done(0, NET_DROP_NONE);
	settle();
	expect_tx_used(1, 1);
	assert_int_equal(drv.interrupts[2], 1);
	assert_int_equal(figures().tx_frames, 3);
}

static void budget_spent(void **state)
{
	(void)state;
	fake.again = 3;
	for (unsigned i = 0; i < 3; i++)
		offer_marked(1, i, (uint8_t)i, 60);
	driver_kick(&drv, 1);
	settle();
	assert_int_equal(fake.count, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(fake.frames[i].data[NET_ETHERNET_BYTES], i);
		expect_tx_used(1, i);
	}
}

/* As many as there are slots, no more; one that ends makes room for the next. */
static void slots_are_bounded(void **state)
{
	(void)state;
	assert_true(driver_stop(&drv, &mem));
	fake_guest_mem_fini(&mem);
	free(memory);
	fake_guest_mem_init(&mem, PAGES, 1);
	make(1);
	bring_up(ALL);
	fake.answer = NET_HELD;
	for (unsigned i = 0; i < VIRTIO_NET_SLOTS + 2; i++)
		offer_marked(1, i, (uint8_t)i, 60);
	driver_kick(&drv, 1);
	settle();
	assert_int_equal(fake.held_count, VIRTIO_NET_SLOTS);
	say_done(0, NET_DROP_NONE);
	settle();
	assert_int_equal(fake.count, VIRTIO_NET_SLOTS + 1);
	while (fake.held_count != 0)
		say_done(0, NET_DROP_NONE);
	settle();
	assert_int_equal(fake.count, VIRTIO_NET_SLOTS + 2);
	while (fake.held_count != 0)
		say_done(0, NET_DROP_NONE);
	settle();
	assert_int_equal(figures().tx_frames, VIRTIO_NET_SLOTS + 2);
}

static uint8_t command(uint8_t class, uint8_t command, const void *data, uint32_t bytes);

static void queues_have_their_share(void **state)
{
	(void)state;
	assert_int_equal(command(VIRTIO_NET_CTRL_MQ, 0, (const uint8_t[]){2, 0}, 2), VIRTIO_NET_OK);
	fake.answer = NET_HELD;
	for (unsigned i = 0; i < 20; i++)
		offer_marked(1, i, 1, 60);
	driver_kick(&drv, 1);
	settle();
	assert_int_equal(fake.held_count, VIRTIO_NET_SLOTS / 2);
	offer_marked(3, 30, 3, 60);
	driver_kick(&drv, 3);
	settle();
	assert_int_equal(fake.held_count, VIRTIO_NET_SLOTS / 2 + 1);
}

static void sends_without_interrupts(void **state)
{
	(void)state;
	driver_used_event(&ring[1], 100);
	offer_marked(1, 0, 0, 60);
	driver_kick(&drv, 1);
	settle();
	expect_none(3);
	assert_int_equal(fake.count, 1);
	assert_int_equal(drv.interrupts[2], 0);
	assert_int_equal(figures().tx_interrupts, 0);
}

static void the_link_is_down(void **state)
{
	(void)state;
	virtio_net_link(net, false);
	assert_int_equal(driver_config(&drv, VIRTIO_NET_CFG_STATUS, 2), 0);
	assert_int_equal(drv.interrupts[0], 1);
	offer_marked(1, 0, 0, 60);
	driver_kick(&drv, 1);
	settle();
	assert_int_equal(fake.count, 0);
	assert_int_equal(figures().tx_drops[NET_DROP_LINK], 1);
	expect_tx_used(1, 0);
	virtio_net_link(net, true);
	assert_int_equal(driver_config(&drv, VIRTIO_NET_CFG_STATUS, 2), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(drv.interrupts[0], 2);
	virtio_net_link(net, true);
	assert_int_equal(drv.interrupts[0], 2);
}

static bool in_send_free;
static void connect_in_send(void) { in_send_free = virtio_net_connect(net, NULL); }

static void the_port_goes(void **state)
{
	(void)state;
	fake.answer = NET_HELD;
	offer_marked(1, 0, 0, 60);
	offer_marked(1, 1, 1, 60);
	driver_kick(&drv, 1);
	in_send_free = true;
	fake.in_send = connect_in_send;
	settle();
	fake.in_send = NULL;
	assert_false(in_send_free); /* the worker has it in hand */
	fake.answer = NET_WAIT;
	offer_marked(3, 2, 2, 60);
	driver_kick(&drv, 3);
	settle();
	fake.too_late = true;
	assert_false(virtio_net_connect(net, NULL));
	fake.too_late = false;
	assert_true(virtio_net_connect(net, NULL));
	settle();
	assert_int_equal(figures().tx_drops[NET_DROP_LINK], 3);
	expect_tx_used(1, 0);
	expect_tx_used(1, 1);
	expect_tx_used(3, 2);
	assert_int_equal(driver_config(&drv, VIRTIO_NET_CFG_STATUS, 2), 0);
	assert_true(virtio_net_connect(net, &port));
	assert_int_equal(driver_config(&drv, VIRTIO_NET_CFG_STATUS, 2), VIRTIO_NET_S_LINK_UP);
	fake.answer = NET_DONE;
	offer_marked(1, 4, 4, 60);
	driver_kick(&drv, 1);
	settle();
	assert_int_equal(fake.count, 3);
}

/* ---- resets while frames are on their way ---- */

static void expect_reset_done(void)
{
	assert_int_equal(driver_read_status(&drv), 0);
	assert_int_equal(mem.pins, 0);
	bring_up(ALL);
	fake.answer = NET_DONE;
	fake.of = -1;
	fake.too_late = false;
	fake.count = 0;
	for (unsigned i = 0; i < 34; i++) {
		offer_marked(1, 0, (uint8_t)i, 60);
		driver_kick(&drv, 1);
		settle();
		expect_sent(i, 60);
		expect_tx_used(1, 0);
	}
}

static void reset_before_it_is_carried(void **state)
{
	(void)state;
	offer_marked(1, 0, 0, 60);
	driver_kick(&drv, 1);
	lock_acquire(&drv.device->lock);
	(void)virtio_work(drv.device, VIRTIO_INLINE_BUDGET); /* popped, and not carried */
	assert_true(virtio_reset(drv.device));
	lock_release(&drv.device->lock);
	assert_int_equal(fake.count, 0);
	expect_reset_done();
}

static void reset_here(void)
{
	fake.in_send = NULL;
	driver_status(&drv, 0);
	assert_int_not_equal(driver_read_status(&drv), 0);
	assert_true(mem.pins != 0);
}

static void reset_while_carried(void **state)
{
	static const enum net_answer answers[] = {NET_DONE, NET_WAIT, NET_HELD};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(answers); i++) {
		offer_marked(1, 0, 0, 60);
		offer_marked(1, 1, 1, 60);
		driver_kick(&drv, 1);
		fake.answer = answers[i];
		fake.in_send = reset_here;
		driver_work(&drv);
		assert_int_equal(drv.resets_done, i + 1);
		assert_null(fake.waiting);
		assert_int_equal(fake.held_count, 0);
		expect_reset_done();
	}
}

static void reset_while_it_waits(void **state)
{
	(void)state;
	for (unsigned late = 0; late < 2; late++) {
		fake.answer = NET_WAIT;
		fake.too_late = late;
		offer_marked(1, 0, 0, 60);
		offer_marked(1, 1, 1, 60);
		driver_kick(&drv, 1);
		settle();
		driver_status(&drv, 0);
		settle();
		if (late) {
			assert_int_not_equal(driver_read_status(&drv), 0);
			say_ready();
			settle();
			assert_int_equal(drv.resets_done, 1);
		}
		expect_reset_done();
	}
}

/* ready() came, the worker did not. */
static void reset_after_it_waited(void **state)
{
	(void)state;
	fake.answer = NET_WAIT;
	offer_marked(1, 0, 0, 60);
	driver_kick(&drv, 1);
	settle();
	say_ready();
	driver_status(&drv, 0);
	assert_int_equal(fake.cancels, 0);
	expect_reset_done();
}

static void reset_while_it_is_held(void **state)
{
	(void)state;
	for (unsigned late = 0; late < 2; late++) {
		fake.answer = NET_HELD;
		fake.too_late = late;
		for (unsigned i = 0; i < 5; i++)
			offer_marked(1, i, (uint8_t)i, 60);
		driver_kick(&drv, 1);
		settle();
		driver_status(&drv, 0);
		if (late) {
			settle();
			assert_int_not_equal(driver_read_status(&drv), 0);
			while (fake.held_count != 0)
				say_done(0, NET_DROP_NONE);
			settle();
		}
		expect_reset_done();
	}
}

/* done() came, and nobody has looked. Whoever stops a VM looks so, without the worker. */
static void reset_after_it_was_held(void **state)
{
	(void)state;
	fake.answer = NET_HELD;
	offer_marked(1, 0, 0, 60);
	driver_kick(&drv, 1);
	settle();
	say_done(0, NET_DROP_NONE);
	driver_status(&drv, 0);
	assert_int_not_equal(driver_read_status(&drv), 0);
	lock_acquire(&drv.device->lock);
	(void)virtio_work(drv.device, 0);
	lock_release(&drv.device->lock);
	expect_reset_done();
}

static void reset_while_it_is_pinned(void **state)
{
	(void)state;
	for (unsigned late = 0; late < 2; late++) {
		mem.later_at = 2;
		mem.too_late = late ? 100 : 0;
		offer_marked(1, 0, 0, 60);
		driver_kick(&drv, 1);
		driver_work(&drv);
		driver_status(&drv, 0);
		assert_int_equal(driver_read_status(&drv) == 0, !late);
		settle();
		mem.too_late = 0;
		expect_reset_done();
	}
}

static void reset_of_a_queue(void **state)
{
	(void)state;
	fake.answer = NET_HELD;
	offer_marked(1, 0, 0, 60);
	offer_marked(3, 1, 1, 60);
	driver_kick(&drv, 1);
	driver_kick(&drv, 3);
	settle();
	assert_int_equal(fake.held_count, 2);
	assert_true(driver_queue_reset(&drv, 1));
	assert_int_equal(fake.held_count, 1);
	say_done(0, NET_DROP_NONE);
	settle();
	expect_tx_used(3, 1);
	driver_ring_init(&ring[1], &mem, RING_AT(1), 16);
	driver_queue(&drv, 1, &ring[1]);
	fake.answer = NET_DONE;
	offer_marked(1, 2, 2, 60);
	driver_kick(&drv, 1);
	settle();
	assert_int_equal(fake.count, 3);
	expect_tx_used(1, 2);
}

/* ---- receiving ---- */

static struct net_frame in;
static struct net_ticket ticket;
static struct io_segment in_segments[NET_SEGMENTS_MAX];
static uint32_t in_piece = 4096; /* bytes of a segment */

/* frame[] of @bytes as somebody sends it. */
static void incoming(uint32_t bytes, const struct net_offload *o)
{
	unsigned n = 0;

	memset(&in, 0, sizeof in);
	for (uint32_t at = 0; at < bytes; at += in_piece)
		in_segments[n++] = (struct io_segment){frame + at, MIN(in_piece, bytes - at)};
	in.segments = in_segments;
	in.segment_count = n;
	in.bytes = bytes;
	in.offload = o ? *o : (struct net_offload){0};
	in.head_bytes = (uint16_t)MIN(bytes, NET_HEAD_MAX);
	memcpy(in.head, frame, in.head_bytes);
	assert_int_equal(net_frame_parse(&in, MTU), NET_DROP_NONE);
	ticket = (struct net_ticket){.frame = &in, .patient = true};
}

static enum net_drop why;
static enum net_answer deliver(void)
{
	why = NET_DROP_NONE;
	return virtio_net_port_ops.deliver(net, &ticket, &why);
}

static void expect_delivered(void)
{
	assert_int_equal(deliver(), NET_DONE);
	assert_int_equal(why, NET_DROP_NONE);
}

static void expect_lost(enum net_drop because)
{
	assert_int_equal(deliver(), NET_DONE);
	assert_int_equal(why, because);
}

/* Buffer @d of queue @queue. */
static void post(unsigned queue, uint16_t d, uint64_t at, uint32_t bytes)
{
	driver_desc(&ring[queue], d, at, bytes, WRITE, 0);
	driver_offer(&ring[queue], d);
}

/* The next frame as the driver gets it, from buffers that post() made: header and bytes of it. */
static uint32_t receive_into(unsigned queue, uint8_t *out)
{
	uint32_t head, written, bytes = 0;
	unsigned buffers = 1;

	for (unsigned i = 0; i < buffers; i++) {
		struct driver_desc d;

		assert_true(driver_used(&ring[queue], &head, &written));
		fake_guest_mem_read(&mem, ring[queue].desc + 16ull * head, &d, sizeof d);
		assert_true(written <= d.bytes);
		fake_guest_mem_read(&mem, d.at, out + bytes, written);
		bytes += written;
		if (i == 0 && bytes >= HDR)
			buffers = get_le16(out + VIRTIO_NET_HDR_NUM_BUFFERS);
	}
	driver_used_event(&ring[queue], ring[queue].seen);
	return bytes;
}

static uint8_t got[NET_BYTES_MAX + HDR];

static void expect_received(unsigned queue, uint32_t bytes, unsigned buffers)
{
	uint8_t h[HDR] = {0};

	put_le16(h + VIRTIO_NET_HDR_NUM_BUFFERS, (uint16_t)buffers);
	assert_int_equal(receive_into(queue, got), HDR + bytes);
	assert_memory_equal(got, h, HDR);
	assert_memory_equal(got + HDR, frame, bytes);
}

static void receives(void **state)
{
	(void)state;
	post(0, 0, RX_AT, 2000);
	plain_frame(3, 1514);
	incoming(1514, NULL);
	expect_delivered();
	expect_received(0, 1514, 1);
	assert_int_equal(drv.interrupts[1], 1);
	assert_int_equal(figures().rx_frames, 1);
	assert_int_equal(figures().rx_bytes, 1514);
	assert_int_equal(figures().rx_copied, 1514);
	assert_int_equal(figures().rx_interrupts, 1);
	assert_int_equal(fake.refills, 0);
}

/* Buffers of all sizes, down to a byte, across pages: as many as it takes, seen all at once. */
static void receives_into_many(void **state)
{
	static const uint32_t sizes[] = {17, 20, 100, 500, 1526};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint32_t need = HDR + 1514;
		unsigned buffers = (need + sizes[i] - 1) / sizes[i];

		for (unsigned b = 0; b < buffers; b++)
			post(0, (uint16_t)b, RX_AT + 4090 + b * sizes[i], sizes[i]);
		plain_frame((uint8_t)i, 1514);
		incoming(1514, NULL);
		expect_delivered();
		expect_received(0, 1514, buffers);
		expect_none(0);
	}
	post(0, 0, RX_AT, 1); /* a header in crumbs */
	post(0, 1, RX_AT + 100, 10);
	post(0, 2, RX_AT + 4095, 2);
	post(0, 3, RX_AT + 5000, 100);
	plain_frame(1, 60);
	incoming(60, NULL);
	expect_delivered();
	{
		uint32_t head, written, sum = 0;

		while (driver_used(&ring[0], &head, &written))
			sum += written;
		assert_int_equal(sum, HDR + 60);
	}
	assert_int_equal(fake_guest_mem_get16(&mem, RX_AT + 4095) & 0xff, 0);
	fake_guest_mem_read(&mem, RX_AT + 5000 - 1, got, 60);
}

static void receives_a_large_one(void **state)
{
	struct net_offload o = {.needs_checksum = true, .gso = NET_GSO_TCP4, .gso_size = 1448, .checksum_at = 34,
				.checksum_offset = 16};

	(void)state;
	for (unsigned b = 0; b < 17; b++)
		post(0, (uint16_t)b, RX_AT + 0x1000 * b, 4096);
	tcp_frame(9, 65000);
	incoming(TCP_HEADERS + 65000, &o);
	expect_delivered();
	assert_int_equal(receive_into(0, got), HDR + TCP_HEADERS + 65000);
	assert_memory_equal(got + HDR, frame, TCP_HEADERS + 65000);
	assert_int_equal(got[0], VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(got[1], VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(get_le16(got + VIRTIO_NET_HDR_HDR_LEN), TCP_HEADERS);
	assert_int_equal(get_le16(got + VIRTIO_NET_HDR_GSO_SIZE), 1448);
	assert_int_equal(get_le16(got + VIRTIO_NET_HDR_CSUM_START), 34);
	assert_int_equal(get_le16(got + VIRTIO_NET_HDR_CSUM_OFFSET), 16);
	assert_int_equal(get_le16(got + VIRTIO_NET_HDR_NUM_BUFFERS), 16);
	assert_int_equal(figures().rx_cut + figures().rx_summed, 0);
}

static void checksum_is_good(void **state)
{
	struct net_offload o = {.checksum_good = true};

	(void)state;
	for (unsigned with = 0; with < 2; with++) {
		assert_true(driver_stop(&drv, &mem));
		bring_up(with ? ALL : ALL & ~(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 |
					      VIRTIO_NET_F_GUEST_ECN));
		post(0, 0, RX_AT, 2000);
		tcp_frame(9, 100);
		incoming(TCP_HEADERS + 100, &o);
		expect_delivered();
		receive_into(0, got);
		assert_int_equal(got[0], with ? VIRTIO_NET_HDR_F_DATA_VALID : 0);
	}
}

/* Without mergeable buffers each frame has a chain of its own, of any number of buffers. */
static void one_chain_for_each(void **state)
{
	uint32_t head, written;

	(void)state;
	assert_true(driver_stop(&drv, &mem));
	bring_up(ALL & ~VIRTIO_NET_F_MRG_RXBUF);
	plain_frame(3, 1000);
	incoming(1000, NULL);
	driver_desc(&ring[0], 0, RX_AT, HDR, WRITE | NEXT, 1);
	driver_desc(&ring[0], 1, RX_AT + 0x1100, 400, WRITE | NEXT, 2);
	driver_desc(&ring[0], 2, RX_AT + 0x2ff0, 599, WRITE, 0);
	driver_offer(&ring[0], 0);
	expect_lost(NET_DROP_SMALL_BUFFER); /* by a byte */
	driver_desc(&ring[0], 2, RX_AT + 0x2ff0, 600, WRITE, 0);
	expect_delivered();
	assert_true(driver_used(&ring[0], &head, &written));
	assert_int_equal(written, HDR + 1000);
	fake_guest_mem_read(&mem, RX_AT, got, HDR);
	fake_guest_mem_read(&mem, RX_AT + 0x1100, got + HDR, 400);
	fake_guest_mem_read(&mem, RX_AT + 0x2ff0, got + HDR + 400, 600);
	assert_memory_equal(got + HDR, frame, 1000);
	assert_int_equal(get_le16(got + VIRTIO_NET_HDR_NUM_BUFFERS), 1);
}

static void waits_for_buffers(void **state)
{
	(void)state;
	plain_frame(3, 1514);
	incoming(1514, NULL);
	assert_int_equal(deliver(), NET_WAIT);
	assert_int_equal(fake.refills, 0);
	assert_int_equal(driver_avail_event(&ring[0]), 0);
	post(0, 0, RX_AT, 1000);
	driver_kick(&drv, 0);
	assert_int_equal(fake.refills, 1);
	assert_int_equal(deliver(), NET_WAIT); /* too few: it is asked for more than are there */
	assert_int_equal(driver_avail_event(&ring[0]), 1);
	expect_none(0);
	post(0, 1, RX_AT + 0x1000, 1000);
	driver_kick(&drv, 0);
	assert_int_equal(fake.refills, 2);
	expect_delivered();
	expect_received(0, 1514, 2);
	post(0, 2, RX_AT + 0x2000, 1000);
	driver_kick(&drv, 0); /* nobody waits */
	assert_int_equal(fake.refills, 2);
	assert_int_equal(driver_avail_event(&ring[0]), 1);
	ticket.patient = false;
	expect_lost(NET_DROP_NO_BUFFER);
	driver_kick(&drv, 0);
	assert_int_equal(fake.refills, 2);
}

/* The same by the flag, without event indices. */
static void kicks_only_when_wanted(void **state)
{
	(void)state;
	assert_true(driver_stop(&drv, &mem));
	bring_up(ALL & ~VIRTIO_F_EVENT_IDX);
	assert_true(driver_no_notify(&ring[0]));
	plain_frame(3, 1514);
	incoming(1514, NULL);
	assert_int_equal(deliver(), NET_WAIT);
	assert_false(driver_no_notify(&ring[0]));
	post(0, 0, RX_AT, 2000);
	driver_kick(&drv, 0);
	assert_true(driver_no_notify(&ring[0]));
	assert_int_equal(fake.refills, 1);
	expect_delivered();
	assert_true(driver_no_notify(&ring[0]));
}

/* All that the queue can hold, and it is not enough; too many crumbs; more pieces than there is room for. */
static void buffers_that_never_do(void **state)
{
	struct net_offload o = {.needs_checksum = true, .gso = NET_GSO_TCP4, .gso_size = 1448, .checksum_at = 34,
				.checksum_offset = 16};

	(void)state;
	for (unsigned b = 0; b < VIRTIO_NET_QUEUE_SIZE; b++)
		post(0, (uint16_t)b, RX_AT + 0x100 * b, 200);
	tcp_frame(9, 60000);
	incoming(TCP_HEADERS + 60000, &o);
	expect_lost(NET_DROP_SMALL_BUFFER);
	plain_frame(3, 1514);
	incoming(1514, NULL);
	expect_delivered(); /* what is small enough goes on */
	expect_received(0, 1514, 8);
	assert_true(driver_queue_reset(&drv, 0));
	driver_ring_init(&ring[0], &mem, RING_AT(0), 4);
	driver_queue(&drv, 0, &ring[0]);
	for (unsigned b = 0; b < 4; b++)
		post(0, (uint16_t)b, RX_AT + 0x100 * b, 200);
	incoming(1514, NULL);
	expect_lost(NET_DROP_SMALL_BUFFER);
	expect_none(0);
	/* A chain of many descriptors of which only few are needed costs, so it counts. */
	assert_true(driver_queue_reset(&drv, 0));
	driver_ring_init(&ring[0], &mem, RING_AT(0), 16);
	driver_queue(&drv, 0, &ring[0]);
	for (unsigned i = 0; i < 250; i++)
		driver_table(&ring[0], TABLE_AT, (uint16_t)i, RX_AT + 4 * i, 1, WRITE | (i < 249 ? NEXT : 0), (uint16_t)(i + 1));
	for (unsigned b = 0; b < 8; b++) {
		driver_desc(&ring[0], (uint16_t)b, TABLE_AT, 16 * 250, VIRTQ_DESC_F_INDIRECT, 0);
		driver_offer(&ring[0], (uint16_t)b);
	}
	incoming(1514, NULL);
	expect_lost(NET_DROP_SMALL_BUFFER);
	assert_int_equal(drv.broken, 0);
}

static void a_buffer_that_is_not_writable(void **state)
{
	(void)state;
	driver_desc(&ring[0], 0, RX_AT, 100, 0, 0);
	driver_offer(&ring[0], 0);
	plain_frame(3, 60);
	incoming(60, NULL);
	expect_lost(NET_DROP_LINK);
	assert_string_equal(drv.why, "a receive buffer that is not writable");
	expect_lost(NET_DROP_LINK);
}

static void a_broken_ring(void **state)
{
	(void)state;
	driver_desc(&ring[0], 0, RX_AT, 0, WRITE, 0);
	driver_offer(&ring[0], 0);
	plain_frame(3, 60);
	incoming(60, NULL);
	expect_lost(NET_DROP_LINK);
	assert_string_equal(drv.why, "a buffer of no bytes");
}

/* Three buffers across pages, whose n-th pin comes later: no buffer until it is there. */
static void each_receive_pin_later(void **state)
{
	unsigned n;

	(void)state;
	plain_frame(3, 1514);
	for (n = 1;; n++) {
		for (unsigned b = 0; b < 3; b++)
			post(0, (uint16_t)b, RX_AT + 0x2000 * b + 3800, 600);
		incoming(1514, NULL);
		mem.later_at = n;
		fake.refills = 0;
		if (deliver() == NET_DONE)
			break;
		assert_int_equal(mem.later_at, 0);
		expect_none(0);
		assert_int_equal(deliver(), NET_WAIT); /* nothing has come */
		settle();
		assert_int_equal(fake.refills, 1);
		expect_delivered();
		expect_received(0, 1514, 3);
	}
	assert_int_equal(n, 7);
	mem.later_at = 0;
	expect_received(0, 1514, 3);
}

static void each_receive_pin_failing(void **state)
{
	unsigned n;

	(void)state;
	plain_frame(3, 1514);
	for (n = 1;; n++) {
		for (unsigned b = 0; b < 3; b++)
			post(0, (uint16_t)b, RX_AT + 0x2000 * b + 3800, 600);
		incoming(1514, NULL);
		mem.fail_at = n;
		assert_int_equal(deliver(), NET_DONE);
		if (why == NET_DROP_NONE)
			break;
		assert_int_equal(why, NET_DROP_LINK);
		assert_string_equal(drv.why, "a receive buffer outside memory");
		teardown(state);
		setup(state);
		plain_frame(3, 1514);
	}
	assert_int_equal(n, 7);
	mem.fail_at = 0;
}

/* A reset takes back what a wait for memory has asked. */
static void reset_while_a_buffer_is_awaited(void **state)
{
	(void)state;
	post(0, 0, RX_AT, 2000);
	plain_frame(3, 60);
	incoming(60, NULL);
	mem.later_at = 1;
	assert_int_equal(deliver(), NET_WAIT);
	driver_status(&drv, 0);
	assert_int_equal(driver_read_status(&drv), 0);
	assert_int_equal(fake.refills, 1); /* who waits hears of it */
	expect_lost(NET_DROP_LINK);
	expect_reset_done();
}

static bool reset_in_copy_done;
static void reset_in_copy(void)
{
	driver_status(&drv, 0);
	reset_in_copy_done = driver_read_status(&drv) == 0;
}

static void queue_reset_in_copy(void) { reset_in_copy_done = driver_queue_reset(&drv, 0); }

static void reset_while_it_is_written(void **state)
{
	uint32_t head, written;

	(void)state;
	plain_frame(3, 1514);
	for (unsigned b = 0; b < 2; b++)
		post(0, (uint16_t)b, RX_AT + 0x2000 * b, 1000);
	incoming(1514, NULL);
	in_unpin = queue_reset_in_copy;
	reset_in_copy_done = true;
	expect_lost(NET_DROP_LINK);
	assert_false(reset_in_copy_done);
	assert_false(virtio_queue_resetting(virtio_queue(drv.device, 0)));
	assert_false(driver_used(&ring[0], &head, &written));
	driver_ring_init(&ring[0], &mem, RING_AT(0), 16);
	driver_queue(&drv, 0, &ring[0]);
	for (unsigned b = 0; b < 2; b++)
		post(0, (uint16_t)b, RX_AT + 0x2000 * b, 1000);
	in_unpin = reset_in_copy;
	reset_in_copy_done = true;
	expect_lost(NET_DROP_LINK);
	assert_false(reset_in_copy_done);
	assert_int_equal(figures().rx_frames, 0);
	expect_reset_done();
}

/* Deliveries in one another, as from several CPUs: the last finds no room, and hears when there is one. */
static struct nested {
	struct net_frame frame;
	struct net_ticket ticket;
	enum net_answer answer;
} nested[16];
static unsigned depth;

static void deliver_nested(void)
{
	struct nested *x = &nested[depth++];
	enum net_drop drop;

	x->frame = in;
	x->ticket = (struct net_ticket){.frame = &x->frame, .patient = true};
	if (depth < 9)
		in_unpin = deliver_nested;
	x->answer = virtio_net_port_ops.deliver(net, &x->ticket, &drop);
}

static void several_at_a_time(void **state)
{
	(void)state;
	for (unsigned b = 0; b < 12; b++)
		post(0, (uint16_t)b, RX_AT + 0x1000 * b, 2000);
	plain_frame(3, 300);
	incoming(300, NULL);
	depth = 0;
	deliver_nested();
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(nested[i].answer, NET_DONE);
	assert_int_equal(nested[8].answer, NET_WAIT);
	assert_int_equal(fake.refills, 1);
	for (unsigned i = 0; i < 8; i++)
		expect_received(0, 300, 1);
	expect_none(0);
}

/* ---- receivers that cannot ---- */

#define NO_OFFLOADS (VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_ECN)

static void expect_checksum(const uint8_t *f, uint32_t bytes)
{
	uint64_t sum = net_sum(6 + bytes - 34, f + NET_ETHERNET_BYTES + 12, 8, false);

	assert_int_equal(net_sum_end(net_sum(sum, f + 34, bytes - 34, false)), 0);
	assert_int_equal(net_sum_end(net_sum(0, f + NET_ETHERNET_BYTES, 20, false)), 0);
}

static void checksums_for_who_cannot(void **state)
{
	struct net_offload o = {.needs_checksum = true, .checksum_at = 34, .checksum_offset = 16};

	(void)state;
	assert_true(driver_stop(&drv, &mem));
	bring_up(ALL & ~NO_OFFLOADS);
	post(0, 0, RX_AT + 4000, 2000);
	tcp_frame(9, 501);
	incoming(TCP_HEADERS + 501, &o);
	expect_delivered();
	assert_int_equal(receive_into(0, got), HDR + TCP_HEADERS + 501);
	assert_int_equal(got[0], 0);
	expect_checksum(got + HDR, TCP_HEADERS + 501);
	assert_int_equal(figures().rx_summed, 1);
}

/* 64 KiB for a driver that takes MTU-size frames: in several calls, and with buffers that come late. */
static void cut_for_who_cannot(void **state)
{
	struct net_offload o = {.needs_checksum = true, .gso = NET_GSO_TCP4, .gso_size = 1000, .checksum_at = 34,
				.checksum_offset = 16};
	unsigned again = 0, waits = 0, frames = 0, posted = 0;
	uint16_t d = 0;

	(void)state;
	assert_true(driver_stop(&drv, &mem));
	bring_up(ALL & ~NO_OFFLOADS);
	tcp_frame(9, 60500);
	incoming(TCP_HEADERS + 60500, &o);
	for (;;) {
		enum net_answer answer = deliver();

		again += answer == NET_AGAIN;
		waits += answer == NET_WAIT;
		while (fake_guest_mem_get16(&mem, ring[0].used + 2) != ring[0].seen) {
			uint32_t payload = frames < 60 ? 1000 : 500;

			assert_int_equal(receive_into(0, got), HDR + TCP_HEADERS + payload);
			expect_checksum(got + HDR, TCP_HEADERS + payload);
			assert_int_equal(get_be32(got + HDR + 38), 1000 + 1000 * frames);
			assert_memory_equal(got + HDR + TCP_HEADERS, frame + TCP_HEADERS + 1000 * frames, payload);
			assert_int_equal(got[HDR + 47], frames == 60 ? 0x18 : 0x10);
			frames++;
		}
		if (answer == NET_DONE)
			break;
		for (unsigned i = 0; answer == NET_WAIT && i < 25; i++, posted++, d++)
			post(0, (uint16_t)(d % 256), RX_AT + 0x800 * (d % 256u), 1600);
		assert_int_equal(ticket.progress, frames);
	}
	assert_int_equal(why, NET_DROP_NONE);
	assert_int_equal(frames, 61);
	assert_int_equal(waits, 3);
	assert_true(again >= 2);
	assert_int_equal(ticket.progress, 0);
	assert_int_equal(figures().rx_cut, 1);
	assert_int_equal(figures().rx_frames, 61);
}

static void offloads_on_and_off(void **state)
{
	struct net_offload o = {.needs_checksum = true, .checksum_at = 34, .checksum_offset = 16};
	uint8_t set[8] = {0};

	(void)state;
	for (unsigned on = 0; on < 2; on++) {
		put_le64(set, on ? VIRTIO_NET_F_GUEST_CSUM : 0);
		assert_int_equal(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, set, 8), VIRTIO_NET_OK);
		post(0, 0, RX_AT, 2000);
		tcp_frame(9, 100);
		incoming(TCP_HEADERS + 100, &o);
		expect_delivered();
		receive_into(0, got);
		assert_int_equal(got[0], on ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0);
	}
}

/* ---- interrupts ---- */

static void interrupts_wait_for_those_behind(void **state)
{
	(void)state;
	for (unsigned b = 0; b < 64; b++)
		post(0, (uint16_t)b, RX_AT + 0x800 * b, 2000);
	plain_frame(3, 60);
	for (unsigned round = 0; round < 2; round++) {
		drv.interrupts[1] = 0;
		for (unsigned i = 0; i < 3; i++) {
			incoming(60, NULL);
			ticket.behind = 3 - i;
			expect_delivered();
		}
		assert_int_equal(drv.interrupts[1], 0);
		if (round == 0) {
			virtio_net_port_ops.flush(net); /* what was known to come did not */
		} else {
			incoming(60, NULL);
			expect_delivered();
		}
		assert_int_equal(drv.interrupts[1], 1);
		virtio_net_port_ops.flush(net);
		assert_int_equal(drv.interrupts[1], 1);
		while (ring[0].seen != fake_guest_mem_get16(&mem, ring[0].used + 2))
			receive_into(0, got);
	}
}

/* Many, and fast: by vIC's ratio. None is forgotten. */
static void interrupts_by_ratio(void **state)
{
	(void)state;
	plain_frame(3, 60);
	for (unsigned batch = 0; batch < 300; batch++) {
		for (unsigned i = 0; i < 32; i++) {
			post(0, (uint16_t)i, RX_AT + 0x800 * i, 2000);
			incoming(60, NULL);
			ticket.behind = 31 - i;
			ticks += 100000;
			expect_delivered();
			while (ring[0].seen != fake_guest_mem_get16(&mem, ring[0].used + 2) && drv.interrupts[1] != 0)
				receive_into(0, got);
		}
		virtio_net_port_ops.flush(net);
		assert_true(drv.interrupts[1] >= 1);
	}
	assert_true(figures().rx_interrupts < 300 * 32 / 2);
	assert_true(figures().rx_interrupts >= 300);
}

static void interrupts_off(void **state)
{
	struct coalesce_settings set;

	(void)state;
	coalesce_settings_init(&set);
	set.policy = COALESCE_OFF;
	virtio_net_set_interrupts(net, &set);
	plain_frame(3, 60);
	for (unsigned i = 0; i < 3; i++) {
		post(0, (uint16_t)i, RX_AT + 0x800 * i, 2000);
		incoming(60, NULL);
		ticket.behind = 10;
		expect_delivered();
		receive_into(0, got);
	}
	assert_int_equal(drv.interrupts[1], 3);
}

/* One that waits for buffers in the middle of a batch: the driver hears of what came before it. */
static void interrupt_before_a_wait(void **state)
{
	(void)state;
	post(0, 0, RX_AT, 2000);
	plain_frame(3, 60);
	incoming(60, NULL);
	ticket.behind = 2;
	expect_delivered();
	assert_int_equal(drv.interrupts[1], 0);
	incoming(60, NULL);
	ticket.behind = 1;
	assert_int_equal(deliver(), NET_WAIT);
	assert_int_equal(drv.interrupts[1], 1);
}

/* ---- queues ---- */

static void flows_over_queues(void **state)
{
	unsigned seen[PAIRS] = {0};

	(void)state;
	for (unsigned q = 0; q < PAIRS; q++)
		for (unsigned b = 0; b < 100; b++)
			post(2 * q, (uint16_t)b, RX_AT + 0x400 * b, 1000);
	for (unsigned flow = 0; flow < 40; flow++) {
		tcp_frame((uint16_t)(1000 + flow), 100);
		incoming(TCP_HEADERS + 100, NULL);
		expect_delivered();
	}
	expect_none(2); /* one pair until more are asked for */
	while (ring[0].seen != fake_guest_mem_get16(&mem, ring[0].used + 2))
		receive_into(0, got);
	assert_int_equal(command(VIRTIO_NET_CTRL_MQ, 0, (const uint8_t[]){2, 0}, 2), VIRTIO_NET_OK);
	for (unsigned flow = 0; flow < 40; flow++) {
		unsigned before[PAIRS];

		tcp_frame((uint16_t)(1000 + flow), 100);
		for (unsigned q = 0; q < PAIRS; q++)
			before[q] = fake_guest_mem_get16(&mem, ring[2 * q].used + 2);
		for (unsigned again = 0; again < 2; again++) {
			incoming(TCP_HEADERS + 100, NULL);
			expect_delivered();
		}
		for (unsigned q = 0; q < PAIRS; q++) {
			unsigned came = fake_guest_mem_get16(&mem, ring[2 * q].used + 2) - before[q];

			assert_true(came == 0 || came == 2); /* a flow is in one queue */
			seen[q] += came;
			while (ring[2 * q].seen != fake_guest_mem_get16(&mem, ring[2 * q].used + 2)) {
				receive_into(2 * q, got);
				post(2 * q, (uint16_t)(ring[2 * q].seen % 100), RX_AT + 0x400 * (ring[2 * q].seen % 100u), 1000);
			}
		}
	}
	assert_int_equal(seen[0] + seen[1], 80);
	assert_true(seen[0] > 20 && seen[1] > 20);
}

/* A queue that is not enabled has no buffers; when it is, who waits hears of it. */
static void a_queue_that_is_off(void **state)
{
	(void)state;
	assert_true(driver_queue_reset(&drv, 0));
	plain_frame(3, 60);
	incoming(60, NULL);
	assert_int_equal(deliver(), NET_WAIT);
	driver_ring_init(&ring[0], &mem, RING_AT(0), 16);
	post(0, 0, RX_AT, 2000);
	driver_queue(&drv, 0, &ring[0]);
	settle();
	assert_int_equal(fake.refills, 1);
	expect_delivered();
	expect_received(0, 60, 1);
}

/* ---- features and configuration ---- */

static void what_is_offered(void **state)
{
	uint64_t offered = virtio_net_device(net)->offered;
	uint8_t mac[6];

	(void)state;
	assert_int_equal(offered & MASK(27, 0), 0x00ffbbaf);
	assert_true(offered & BIT(63));
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)driver_config(&drv, i, 1);
	assert_memory_equal(mac, own_mac, 6);
	assert_int_equal(driver_config(&drv, VIRTIO_NET_CFG_STATUS, 2), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(driver_config(&drv, VIRTIO_NET_CFG_PAIRS_MAX, 2), PAIRS);
	assert_int_equal(driver_config(&drv, VIRTIO_NET_CFG_MTU, 2), MTU);
	assert_int_equal(driver_config(&drv, VIRTIO_NET_CFG_SPEED, 4), VIRTIO_NET_SPEED);
	assert_int_equal(driver_config(&drv, VIRTIO_NET_CFG_DUPLEX, 1), 1);
	driver_set_config(&drv, 0, 1, 0xee); /* the address is no register (5.1.4.2) */
	assert_int_equal(driver_config(&drv, 0, 1), own_mac[0]);
}

static void dependencies(void **state)
{
	static const struct {
		uint64_t set;
		bool fine;
	} cases[] = {
		{0, true},
		{VIRTIO_NET_F_CSUM, true},
		{VIRTIO_NET_F_GUEST_CSUM, true},
		{VIRTIO_NET_F_GUEST_TSO4, false},
		{VIRTIO_NET_F_GUEST_TSO6, false},
		{VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_CSUM, true},
		{VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_CSUM, true},
		{VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_GUEST_CSUM, false},
		{VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_CSUM, true},
		{VIRTIO_NET_F_HOST_TSO4, false},
		{VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_GUEST_CSUM, false},
		{VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_CSUM, true},
		{VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_CSUM, false},
		{VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_CSUM, true},
		{VIRTIO_NET_F_CTRL_RX, false},
		{VIRTIO_NET_F_CTRL_RX_EXTRA, false},
		{VIRTIO_NET_F_CTRL_VLAN, false},
		{VIRTIO_NET_F_GUEST_ANNOUNCE, false},
		{VIRTIO_NET_F_MQ, false},
		{VIRTIO_NET_F_CTRL_MAC_ADDR, false},
		{VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, false},
		{VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_CTRL_RX | VIRTIO_NET_F_CTRL_RX_EXTRA | VIRTIO_NET_F_CTRL_VLAN |
			 VIRTIO_NET_F_GUEST_ANNOUNCE | VIRTIO_NET_F_MQ | VIRTIO_NET_F_CTRL_MAC_ADDR |
			 VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
		 true},
		{BIT(10), false}, /* UFO is not offered */
		{BIT(14), false},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t status = driver_negotiate(&drv, cases[i].set | VIRTIO_F_VERSION_1);

		assert_int_equal((status & VIRTIO_STATUS_FEATURES_OK) != 0, cases[i].fine);
		assert_true(driver_stop(&drv, &mem));
	}
}

/* Without MQ the control queue is the third, however many there are. */
static void control_queue_by_features(void **state)
{
	uint8_t answer = 0xee;

	(void)state;
	bring_up(ALL & ~VIRTIO_NET_F_MQ);
	fake_guest_mem_write(&mem, ANSWER_AT, &answer, 1);
	fake_guest_mem_write(&mem, COMMAND_AT, (const uint8_t[]){0, 0, 1}, 3);
	driver_desc(&ring[2], 0, COMMAND_AT, 3, NEXT, 1);
	driver_desc(&ring[2], 1, ANSWER_AT, 1, WRITE, 0);
	driver_offer(&ring[2], 0);
	driver_kick(&drv, 2);
	fake_guest_mem_read(&mem, ANSWER_AT, &answer, 1);
	assert_int_equal(answer, VIRTIO_NET_OK);
	/* What would be the second pair's is nobody's. */
	offer_marked(3, 0, 1, 60);
	driver_kick(&drv, 3);
	settle();
	assert_int_equal(fake.count, 0);
	assert_true(driver_stop(&drv, &mem));
	bring_up(ALL & ~(VIRTIO_NET_F_MQ | VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_CTRL_RX | VIRTIO_NET_F_CTRL_RX_EXTRA |
			 VIRTIO_NET_F_CTRL_VLAN | VIRTIO_NET_F_GUEST_ANNOUNCE | VIRTIO_NET_F_CTRL_MAC_ADDR |
			 VIRTIO_NET_F_CTRL_GUEST_OFFLOADS));
	driver_offer(&ring[2], 0);
	driver_kick(&drv, 2);
	settle();
	expect_none(2);
}

/* ---- commands ---- */

static uint8_t command(uint8_t class, uint8_t what, const void *data, uint32_t bytes)
{
	uint8_t head[2] = {class, what}, answer = 0xee;
	uint32_t used, written;

	fake_guest_mem_write(&mem, COMMAND_AT, head, 2);
	if (bytes)
		fake_guest_mem_write(&mem, COMMAND_AT + 2, data, bytes);
	fake_guest_mem_write(&mem, ANSWER_AT, &answer, 1);
	driver_desc(&ring[CONTROL], 0, COMMAND_AT, 2, NEXT, bytes ? 1 : 2);
	driver_desc(&ring[CONTROL], 1, COMMAND_AT + 2, bytes, NEXT, 2);
	driver_desc(&ring[CONTROL], 2, ANSWER_AT, 1, WRITE, 0);
	driver_offer(&ring[CONTROL], 0);
	driver_kick(&drv, CONTROL);
	settle();
	assert_true(driver_used(&ring[CONTROL], &used, &written));
	driver_used_event(&ring[CONTROL], ring[CONTROL].seen);
	assert_int_equal(used, 0);
	assert_int_equal(written, 1);
	fake_guest_mem_read(&mem, ANSWER_AT, &answer, 1);
	return answer;
}

static uint8_t mode(uint8_t which, uint8_t on) { return command(VIRTIO_NET_CTRL_RX, which, &on, 1); }

static bool wants(const uint8_t mac[NET_MAC_BYTES], int vlan)
{
	uint64_t filtered = figures().rx_filtered;

	plain_frame(3, 60);
	memcpy(frame, mac, NET_MAC_BYTES);
	if (vlan >= 0) {
		net_put16(frame + 12, 0x8100);
		net_put16(frame + 14, (uint16_t)(0x2000 | vlan));
		net_put16(frame + 16, 0x88b5);
	}
	post(0, 0, RX_AT, 2000);
	incoming(60, NULL);
	expect_delivered();
	if (figures().rx_filtered != filtered) {
		assert_true(driver_queue_reset(&drv, 0));
		driver_ring_init(&ring[0], &mem, RING_AT(0), 16);
		driver_queue(&drv, 0, &ring[0]);
		return false;
	}
	expect_received(0, 60, 1);
	return true;
}

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, group[6] = {0x33, 0x33, 0, 0, 0, 1};

static void filter_modes(void **state)
{
	(void)state;
	assert_true(wants(other_mac, -1) && wants(group, -1) && wants(other_mac, 5)); /* all, until a mode is set */
	assert_int_equal(mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	assert_false(wants(other_mac, -1));
	assert_false(wants(group, -1));
	assert_true(wants(broadcast, -1));
	assert_true(wants(own_mac, -1));
	assert_int_equal(mode(VIRTIO_NET_CTRL_RX_ALLMULTI, 1), VIRTIO_NET_OK);
	assert_true(wants(group, -1));
	assert_false(wants(other_mac, -1));
	assert_int_equal(mode(VIRTIO_NET_CTRL_RX_NOMULTI, 1), VIRTIO_NET_OK);
	assert_false(wants(group, -1));
	assert_true(wants(broadcast, -1));
	assert_int_equal(mode(VIRTIO_NET_CTRL_RX_NOBCAST, 1), VIRTIO_NET_OK);
	assert_false(wants(broadcast, -1));
	assert_int_equal(mode(VIRTIO_NET_CTRL_RX_ALLUNI, 1), VIRTIO_NET_OK);
	assert_true(wants(other_mac, -1));
	assert_int_equal(mode(VIRTIO_NET_CTRL_RX_NOUNI, 1), VIRTIO_NET_OK);
	assert_false(wants(own_mac, -1));
	assert_int_equal(mode(VIRTIO_NET_CTRL_RX_PROMISC, 1), VIRTIO_NET_OK);
	assert_true(wants(own_mac, -1));
	assert_int_equal(mode(6, 1), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, 0, NULL, 0), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, 0, "xx", 2), VIRTIO_NET_ERR);
}

/* Two tables of @unicasts and @groups addresses, the first of which are other_mac and group; its bytes. */
static uint32_t tables(uint8_t *out, uint32_t unicasts, uint32_t groups)
{
	uint8_t *at = out;

	put_le32(at, unicasts);
	for (uint32_t i = 0; i < unicasts; i++) {
		memcpy(at + 4 + 6 * i, other_mac, 6);
		at[4 + 6 * i + 4] = (uint8_t)i;
	}
	at += 4 + 6 * unicasts;
	put_le32(at, groups);
	for (uint32_t i = 0; i < groups; i++) {
		memcpy(at + 4 + 6 * i, group, 6);
		at[4 + 6 * i + 4] = (uint8_t)i;
	}
	return (uint32_t)(at + 4 + 6 * groups - out);
}

static void filter_tables(void **state)
{
	static uint8_t data[2000];
	const uint8_t stranger[6] = {2, 9, 9, 9, 9, 9}, far_group[6] = {1, 0, 0x5e, 9, 9, 9};

	(void)state;
	assert_int_equal(mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	for (uint32_t n = 1; n <= VIRTIO_NET_MACS; n += VIRTIO_NET_MACS - 1) {
		uint8_t last[6];

		assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, data, tables(data, n, n)), VIRTIO_NET_OK);
		assert_true(wants(other_mac, -1) && wants(group, -1) && wants(own_mac, -1));
		memcpy(last, other_mac, 6);
		last[4] = (uint8_t)(n - 1);
		assert_true(wants(last, -1));
		last[4] = (uint8_t)n;
		assert_false(wants(last, -1));
		assert_false(wants(stranger, -1));
		assert_false(wants(far_group, -1));
	}
	/* More than are kept of one kind: all of that kind; of both: all. */
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, data, tables(data, VIRTIO_NET_MACS + 1, 1)), VIRTIO_NET_OK);
	assert_true(wants(stranger, -1));
	assert_false(wants(far_group, -1));
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, data, tables(data, 0, 0)), VIRTIO_NET_OK);
	assert_false(wants(stranger, -1));
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, data, tables(data, 100, 100)), VIRTIO_NET_OK);
	assert_true(wants(stranger, -1) && wants(far_group, -1));
	/* Tables that are not what they say change nothing. */
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, data, tables(data, 2, 2) - 1), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, data, tables(data, 2, 2) + 1), VIRTIO_NET_ERR);
	put_le32(data, UINT32_MAX);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, data, 30), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, data, 3), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 0, NULL, 0), VIRTIO_NET_ERR);
	assert_true(wants(stranger, -1));
}

static void filter_vlans(void **state)
{
	(void)state;
	assert_int_equal(mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	assert_false(wants(own_mac, 5));
	assert_int_equal(command(VIRTIO_NET_CTRL_VLAN, 0, (const uint8_t[]){5, 0}, 2), VIRTIO_NET_OK);
	assert_true(wants(own_mac, 5));
	assert_false(wants(own_mac, 6));
	assert_true(wants(own_mac, -1));
	assert_int_equal(command(VIRTIO_NET_CTRL_VLAN, 1, (const uint8_t[]){5, 0}, 2), VIRTIO_NET_OK);
	assert_false(wants(own_mac, 5));
	assert_int_equal(command(VIRTIO_NET_CTRL_VLAN, 0, (const uint8_t[]){0xff, 0x0f}, 2), VIRTIO_NET_OK);
	assert_true(wants(own_mac, 0xfff));
	assert_int_equal(command(VIRTIO_NET_CTRL_VLAN, 0, (const uint8_t[]){0, 0x10}, 2), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_VLAN, 2, (const uint8_t[]){5, 0}, 2), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_VLAN, 0, (const uint8_t[]){5}, 1), VIRTIO_NET_ERR);
	assert_true(driver_stop(&drv, &mem));
	bring_up(ALL & ~VIRTIO_NET_F_CTRL_VLAN); /* then there is no such filter */
	assert_int_equal(mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	assert_true(wants(own_mac, 5));
	assert_int_equal(command(VIRTIO_NET_CTRL_VLAN, 0, (const uint8_t[]){5, 0}, 2), VIRTIO_NET_ERR);
}

static void own_address(void **state)
{
	const uint8_t wanted[6] = {2, 7, 7, 7, 7, 7};

	(void)state;
	assert_int_equal(mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	mac_granted = false;
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 1, wanted, 6), VIRTIO_NET_ERR);
	assert_true(wants(own_mac, -1));
	mac_granted = true;
	memset(asked_mac, 0, 6);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 1, group, 6), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 1, wanted, 5), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 2, wanted, 6), VIRTIO_NET_ERR);
	assert_int_equal(asked_mac[0], 0);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 1, wanted, 6), VIRTIO_NET_OK);
	assert_memory_equal(asked_mac, wanted, 6);
	assert_true(wants(wanted, -1));
	assert_false(wants(own_mac, -1));
	assert_int_equal(driver_config(&drv, 1, 1), 7);
	assert_true(driver_stop(&drv, &mem)); /* and back */
	assert_memory_equal(asked_mac, own_mac, 6);
	assert_int_equal(driver_config(&drv, 1, 1), own_mac[1]);
	bring_up(ALL);
}

static void announcing(void **state)
{
	(void)state;
	virtio_net_announce(net);
	assert_int_equal(driver_config(&drv, VIRTIO_NET_CFG_STATUS, 2), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	assert_int_equal(drv.interrupts[0], 1);
	assert_int_equal(command(VIRTIO_NET_CTRL_ANNOUNCE, 1, NULL, 0), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_ANNOUNCE, 0, "x", 1), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_ANNOUNCE, 0, NULL, 0), VIRTIO_NET_OK);
	assert_int_equal(driver_config(&drv, VIRTIO_NET_CFG_STATUS, 2), VIRTIO_NET_S_LINK_UP);
	assert_true(driver_stop(&drv, &mem));
	virtio_net_announce(net); /* nobody is there */
	bring_up(ALL & ~VIRTIO_NET_F_GUEST_ANNOUNCE);
	virtio_net_announce(net); /* who would not know what it means */
	assert_int_equal(driver_config(&drv, VIRTIO_NET_CFG_STATUS, 2), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(command(VIRTIO_NET_CTRL_ANNOUNCE, 0, NULL, 0), VIRTIO_NET_ERR);
}

static void bad_commands(void **state)
{
	uint8_t data[8] = {0};

	(void)state;
	assert_int_equal(command(6, 0, NULL, 0), VIRTIO_NET_ERR);
	assert_int_equal(command(255, 255, data, 8), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MQ, 0, (const uint8_t[]){0, 0}, 2), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MQ, 0, (const uint8_t[]){PAIRS + 1, 0}, 2), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MQ, 1, (const uint8_t[]){1, 0}, 2), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MQ, 0, (const uint8_t[]){1}, 1), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, data, 7), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 1, data, 8), VIRTIO_NET_ERR);
	put_le64(data, BIT(10));
	assert_int_equal(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, data, 8), VIRTIO_NET_ERR);
	assert_true(driver_stop(&drv, &mem));
	bring_up(ALL & ~VIRTIO_NET_F_GUEST_ECN);
	put_le64(data, VIRTIO_NET_F_GUEST_ECN);
	assert_int_equal(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, data, 8), VIRTIO_NET_ERR);
	/* Nothing but an answer, and a command of one byte. */
	driver_desc(&ring[CONTROL], 0, ANSWER_AT, 5, WRITE, 0);
	driver_offer(&ring[CONTROL], 0);
	driver_kick(&drv, CONTROL);
	fake_guest_mem_read(&mem, ANSWER_AT, data, 1);
	assert_int_equal(data[0], VIRTIO_NET_ERR);
	driver_desc(&ring[CONTROL], 0, COMMAND_AT, 1, NEXT, 1);
	driver_desc(&ring[CONTROL], 1, ANSWER_AT, 1, WRITE, 0);
	driver_offer(&ring[CONTROL], 0);
	driver_kick(&drv, CONTROL);
	fake_guest_mem_read(&mem, ANSWER_AT, data, 1);
	assert_int_equal(data[0], VIRTIO_NET_ERR);
	driver_desc(&ring[CONTROL], 0, COMMAND_AT, 3, 0, 0);
	driver_offer(&ring[CONTROL], 0);
	driver_kick(&drv, CONTROL);
	assert_string_equal(drv.why, "a command without a byte for its answer");
}

/* Each command needs its feature. */
static void commands_without_features(void **state)
{
	static const struct {
		uint64_t without;
		uint8_t class, what;
		uint32_t bytes;
	} cases[] = {
		{VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_CTRL_RX, 0, 1},
		{VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_CTRL_MAC, 0, 8},
		{VIRTIO_NET_F_CTRL_RX_EXTRA, VIRTIO_NET_CTRL_RX, 2, 1},
		{VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_CTRL_MAC, 1, 6},
		{VIRTIO_NET_F_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN, 0, 2},
		{VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, 8},
	};
	static const uint8_t data[8];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(command(cases[i].class, cases[i].what, data, cases[i].bytes), VIRTIO_NET_OK);
		assert_true(driver_stop(&drv, &mem));
		bring_up(ALL & ~cases[i].without);
		assert_int_equal(command(cases[i].class, cases[i].what, data, cases[i].bytes), VIRTIO_NET_ERR);
		assert_true(driver_stop(&drv, &mem));
		bring_up(ALL);
	}
}

static void each_command_pin_later(void **state)
{
	unsigned n = 1;

	(void)state;
	for (;; n++) {
		uint64_t before = mem.laters;

		mem.later_at = n;
		assert_int_equal(command(VIRTIO_NET_CTRL_VLAN, n & 1, (const uint8_t[]){7, 0}, 2), VIRTIO_NET_OK);
		if (mem.laters == before)
			break;
	}
	mem.later_at = 0;
	assert_int_equal(n, 4);
}

static void reset_in_a_command(void **state)
{
	(void)state;
	mem.later_at = 2;
	fake_guest_mem_write(&mem, COMMAND_AT, (const uint8_t[]){0, 0, 0}, 3);
	driver_desc(&ring[CONTROL], 0, COMMAND_AT, 3, NEXT, 1);
	driver_desc(&ring[CONTROL], 1, ANSWER_AT, 1, WRITE, 0);
	driver_offer(&ring[CONTROL], 0);
	driver_kick(&drv, CONTROL);
	assert_int_equal(mem.laters, 1);
	assert_true(driver_stop(&drv, &mem));
	expect_reset_done();
	assert_int_equal(mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define BARE(fn) cmocka_unit_test_setup_teardown(fn, setup_bare, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(sends), CASE(sends_a_batch), CASE(sends_any_framing), CASE(sends_to_be_cut), CASE(drops_what_is_no_frame),
		CASE(drops_too_many_pieces), CASE(judges_headers), CASE(each_pin_later), CASE(each_pin_failing),
		CASE(order_with_later), CASE(one_that_waits), CASE(one_that_waits_twice), CASE(one_that_is_held),
		CASE(budget_spent), CASE(slots_are_bounded), CASE(queues_have_their_share), CASE(sends_without_interrupts),
		CASE(the_link_is_down), CASE(the_port_goes), CASE(reset_before_it_is_carried), CASE(reset_while_carried),
		CASE(reset_while_it_waits), CASE(reset_after_it_waited), CASE(reset_while_it_is_held),
		CASE(reset_after_it_was_held), CASE(reset_while_it_is_pinned), CASE(reset_of_a_queue), CASE(receives),
		CASE(receives_into_many), CASE(receives_a_large_one), CASE(checksum_is_good), CASE(one_chain_for_each),
		CASE(waits_for_buffers), CASE(kicks_only_when_wanted), CASE(buffers_that_never_do),
		CASE(a_buffer_that_is_not_writable), CASE(a_broken_ring), CASE(each_receive_pin_later),
		CASE(each_receive_pin_failing), CASE(reset_while_a_buffer_is_awaited), CASE(reset_while_it_is_written),
		CASE(several_at_a_time), CASE(checksums_for_who_cannot), CASE(cut_for_who_cannot), CASE(offloads_on_and_off),
		CASE(interrupts_wait_for_those_behind), CASE(interrupts_by_ratio), CASE(interrupts_off),
		CASE(interrupt_before_a_wait), CASE(flows_over_queues), CASE(a_queue_that_is_off), BARE(what_is_offered),
		BARE(dependencies), BARE(control_queue_by_features), CASE(filter_modes), CASE(filter_tables),
		CASE(filter_vlans), CASE(own_address), CASE(announcing), CASE(bad_commands), CASE(commands_without_features),
		CASE(each_command_pin_later), CASE(reset_in_a_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
