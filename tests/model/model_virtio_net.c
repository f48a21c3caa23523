/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two network devices under sound drivers, on two ports of a switch: frames of all sizes and kinds in random framing,
 * into buffers of random sizes, with whatever offloads each driver negotiated, while the memory of both answers LATER
 * and moves, and queues, devices and links come and go in the middle. Each frame says who it is: it arrives at most
 * once, whole, behind those that its queue sent before it; and when nothing was reset, each one that does not arrive
 * is counted as dropped somewhere, once.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "io/virtio_net.h"
#include "lib/bits.h"
#include "tests/fakes/virtio_driver.h"
#include "tests/model/random.h"

#define PAGES 700u
#define GUESTS 2u
#define PAIRS 2u
#define QUEUES (2 * PAIRS + 1)
#define CONTROL (2 * PAIRS)
#define RING_SIZE 64u
#define RING_AT(i) (0x0ff0u + 0x3000u * (i))
#define COMMAND_AT 0x14000u
#define TX_SLOTS 20u
#define TX_AT(slot) (0x20000u + 0x8000u * (slot)) /* a frame in pieces, with gaps */
#define TABLE_AT(slot) (0x18000u + 0x400u * (slot))
#define RX_AT(pair, slot) (0x100000u + 0x90000u * (pair) + 0x2000u * (slot))
#define RX_SLOTS 56u
#define RX_LARGE_BYTES 0x12000u /* of a buffer that takes any frame */
#define RX_LARGE_SLOTS 7u
#define PIECES_MAX 24u
#define MTU 1500u
#define LARGE_MAX 16000u
#define TCP_HEADERS 54u
#define HDR VIRTIO_NET_HDR_BYTES
#define STEPS 4000u
#define RUNS 12u
#define GUEST_OFFLOADS \
	(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_ECN)

/* A frame's first bytes of payload, then a pattern of its number. */
enum kind { PLAIN, TCP, KINDS };
struct label {
	uint8_t sender, queue, kind, to_all;
	uint32_t number, bytes;
};

struct guest {
	struct fake_guest_mem mem;
	struct driver drv;
	struct virtio_net *net;
	void *memory;
	struct net_port port;
	struct driver_ring ring[QUEUES];
	bool tx_busy[TX_SLOTS];
	unsigned tx_queue[TX_SLOTS];
	bool mergeable;
	uint64_t wake_at;
	/* By the other's queues and kinds, and to all or not: where the next must be behind. They are different flows. */
	uint64_t last[PAIRS][KINDS][2];
};

static struct guest guests[GUESTS];
static struct net_switch sw;
static struct random_state *rnd;
static uint64_t ticks;
static uint32_t numbers;
static uint64_t offered, arrived, segments;
static uint8_t frame[NET_BYTES_MAX], got[NET_BYTES_MAX + HDR];

static uint64_t below(uint64_t n) { return random_below(rnd, n); }
static bool once_in(unsigned n) { return below(n) == 0; }
static uint64_t now(void) { return ticks; }
static uint64_t env_now(void *ctx) { return ctx == &sw ? ticks : 0; }

static void wake_at(void *ctx, struct net_port *p, uint64_t at)
{
	(void)ctx;
	container_of(p, struct guest, port)->wake_at = at;
}

static void mac_of(unsigned g, uint8_t mac[NET_MAC_BYTES]) { memcpy(mac, (const uint8_t[]){2, 0, 0, 0, 0, (uint8_t)(g + 1)}, 6); }

/* ---- guests ---- */

static void receive(struct guest *g, unsigned most);

static void post_buffer(struct guest *g, unsigned pair, unsigned slot)
{
	struct driver_ring *r = &g->ring[2 * pair];
	uint64_t at = RX_AT(pair, slot) + below(0x1000);
	uint32_t bytes = 60 + (uint32_t)below(4000);
	unsigned parts = 1 + (unsigned)below(3);

	if (!g->mergeable) {
		at = RX_AT(pair, 0) + RX_LARGE_BYTES * slot + below(0x1000);
		bytes = NET_BYTES_MAX + HDR;
	}
	for (unsigned i = 0; i < parts; i++) {
		uint32_t n = i + 1 < parts ? 1 + (uint32_t)below(bytes - (parts - i) + 1) : bytes;

		driver_desc(r, (uint16_t)(RING_SIZE * i / 4 + slot), at, n, VIRTQ_DESC_F_WRITE | (i + 1 < parts ? VIRTQ_DESC_F_NEXT : 0),
			    (uint16_t)(RING_SIZE * (i + 1) / 4 + slot));
		at += n;
		bytes -= n;
	}
	driver_offer(r, (uint16_t)slot);
}

static void post_all(struct guest *g, unsigned pair)
{
	for (unsigned i = 0; i < (g->mergeable ? RING_SIZE / 4 : RX_LARGE_SLOTS); i++)
		post_buffer(g, pair, i);
}

static void set_pairs(struct guest *g, uint8_t pairs)
{
	const uint8_t command[4] = {VIRTIO_NET_CTRL_MQ, 0, pairs, 0};
	unsigned later = g->mem.later;
	uint32_t head, written;

	receive(g, RING_SIZE); /* flows go elsewhere from here on, and may overtake what is there */
	g->mem.later = 0;
	fake_guest_mem_write(&g->mem, COMMAND_AT, command, sizeof command);
	driver_desc(&g->ring[CONTROL], 0, COMMAND_AT, sizeof command, VIRTQ_DESC_F_NEXT, 1);
	driver_desc(&g->ring[CONTROL], 1, COMMAND_AT + 100, 1, VIRTQ_DESC_F_WRITE, 0);
	driver_offer(&g->ring[CONTROL], 0);
	driver_kick(&g->drv, CONTROL);
	driver_work(&g->drv);
	while (!driver_used(&g->ring[CONTROL], &head, &written)) {
		fake_guest_mem_answer(&g->mem, 99);
		driver_work(&g->drv);
	}
	g->mem.later = later;
}

static void give_ring(struct guest *g, unsigned index)
{
	driver_ring_init(&g->ring[index], &g->mem, RING_AT(index), RING_SIZE);
	if (index % 2 == 0 && index != CONTROL)
		post_all(g, index / 2);
	driver_queue(&g->drv, index, &g->ring[index]);
}

static void bring_up(struct guest *g)
{
	uint64_t features = g->drv.device->offered;

	if (once_in(3))
		features &= ~VIRTIO_F_EVENT_IDX;
	if (once_in(3))
		features &= ~VIRTIO_NET_F_MRG_RXBUF;
	if (once_in(3))
		features &= ~GUEST_OFFLOADS;
	else if (once_in(3))
		features &= ~(GUEST_OFFLOADS & ~VIRTIO_NET_F_GUEST_CSUM);
	g->mergeable = (features & VIRTIO_NET_F_MRG_RXBUF) != 0;
	assert_int_equal(driver_negotiate(&g->drv, features), 0x0b);
	memset(g->tx_busy, 0, sizeof g->tx_busy);
	for (unsigned i = 0; i < QUEUES; i++)
		give_ring(g, i);
	driver_ok(&g->drv);
	set_pairs(g, (uint8_t)(1 + below(PAIRS)));
}

static void make(unsigned number)
{
	struct guest *g = &guests[number];
	struct virtio_net_config cfg = {.pairs = PAIRS, .mtu = MTU, .now = now, .hz = 1000000};
	struct net_port_config port = {.locked_mac = true, .up = true, .mtu = MTU};

	memset(g, 0, sizeof *g);
	g->wake_at = MCLOCK_NEVER;
	mac_of(number, cfg.mac);
	mac_of(number, port.mac);
	fake_guest_mem_init(&g->mem, PAGES, below(1 << 30));
	g->mem.later = (unsigned)below(8);
	g->mem.too_late = (unsigned)below(60);
	cfg.mem = g->mem.mem;
	coalesce_settings_init(&cfg.interrupts);
	g->memory = aligned_alloc(64, align_up(virtio_net_bytes(&cfg), 64));
	memset(g->memory, 0, virtio_net_bytes(&cfg));
	g->net = virtio_net_make(g->memory, &cfg);
	driver_attach(&g->drv, virtio_net_device(g->net));
	assert_int_equal(net_port_open(&g->port, &sw, &virtio_net_port_ops, g->net, &port, false, NULL), ST_OK);
	assert_true(virtio_net_connect(g->net, &g->port));
}

/* ---- frames ---- */

static uint8_t pattern(uint32_t number, uint32_t at) { return (uint8_t)(number * 131 + at * 7 + (at >> 8)); }

static void fill_payload(uint8_t *out, const struct label *l)
{
	for (uint32_t i = 0; i < l->bytes; i++)
		out[i] = pattern(l->number, i);
	memcpy(out, l, MIN(sizeof *l, l->bytes));
}

/* Builds the frame of @l in frame[], and the driver's header for it; bytes. */
static uint32_t build(const struct label *l, uint16_t gso_size, uint8_t header[HDR])
{
	uint8_t *ip = frame + NET_ETHERNET_BYTES, *tcp = ip + 20;
	uint64_t sum;

	memset(header, 0, HDR);
	mac_of(!l->sender, frame);
	if (l->to_all)
		memset(frame, 0xff, NET_MAC_BYTES);
	mac_of(l->sender, frame + NET_MAC_BYTES);
	net_put16(frame + 12, l->kind == PLAIN ? 0x88b5 : 0x0800);
	if (l->kind == PLAIN) {
		fill_payload(ip, l);
		return NET_ETHERNET_BYTES + l->bytes;
	}
	memset(ip, 0, 40);
	ip[0] = 0x45;
	net_put16(ip + 2, (uint16_t)(40 + l->bytes));
	ip[8] = 64;
	ip[9] = 6;
	ip[15] = (uint8_t)(l->sender + 1);
	net_put16(ip + 10, net_sum_end(net_sum(0, ip, 20, false)));
	net_put16(tcp, (uint16_t)(1000 + l->queue));
	put_be32(tcp + 4, 0);
	put_be32(tcp + 8, l->number); /* of a frame that comes in parts each has it */
	net_put16(tcp + 14, (uint16_t)l->bytes);
	tcp[12] = 5 << 4;
	fill_payload(tcp + 20, l);
	sum = net_sum(6 + 20 + l->bytes, ip + 12, 8, false);
	net_put16(tcp + 16, (uint16_t)~net_sum_end(sum));
	header[VIRTIO_NET_HDR_FLAGS] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	put_le16(header + VIRTIO_NET_HDR_CSUM_START, 34);
	put_le16(header + VIRTIO_NET_HDR_CSUM_OFFSET, 16);
	if (gso_size != 0) {
		header[VIRTIO_NET_HDR_GSO_TYPE] = VIRTIO_NET_HDR_GSO_TCPV4;
		put_le16(header + VIRTIO_NET_HDR_GSO_SIZE, gso_size);
	}
	return TCP_HEADERS + l->bytes;
}

/* Header and frame in up to PIECES_MAX pieces with gaps between them, by a table. */
static void lay_out(struct guest *g, unsigned queue, unsigned slot, const uint8_t header[HDR], uint32_t bytes)
{
	struct driver_ring *r = &g->ring[queue];
	uint64_t at = TX_AT(slot) + below(0x1000);
	unsigned pieces = 1 + (unsigned)below(PIECES_MAX - 1), i = 0;
	uint32_t done = 0, total = HDR + bytes;
	static uint8_t all[NET_BYTES_MAX + HDR];

	memcpy(all, header, HDR);
	memcpy(all + HDR, frame, bytes);
	for (; done < total; i++) {
		uint32_t n = i + 1 == pieces ? total - done : 1 + (uint32_t)below(MIN(total - done, 2 * total / pieces + 1));
		bool last = done + n == total;

		fake_guest_mem_write(&g->mem, at, all + done, n);
		driver_table(r, TABLE_AT(slot), (uint16_t)i, at, n, last ? 0 : VIRTQ_DESC_F_NEXT, (uint16_t)(i + 1));
		done += n;
		at += n + below(2) * below(200);
	}
	driver_desc(r, (uint16_t)slot, TABLE_AT(slot), 16 * i, VIRTQ_DESC_F_INDIRECT, 0);
	driver_offer(r, (uint16_t)slot);
}

static void send(unsigned number)
{
	struct guest *g = &guests[number];
	unsigned slot = (unsigned)below(TX_SLOTS), pair = (unsigned)below(PAIRS);
	struct label l = {.sender = (uint8_t)number, .queue = (uint8_t)pair, .kind = (uint8_t)below(KINDS),
			  .to_all = once_in(10)};
	uint16_t gso_size = l.kind == TCP && once_in(2) ? (uint16_t)(300 + below(1100)) : 0;
	uint8_t header[HDR];
	uint32_t bytes;

	if (g->tx_busy[slot])
		return;
	l.number = ++numbers;
	l.bytes = (uint32_t)(sizeof l + below((gso_size ? LARGE_MAX : MTU - 40) - sizeof l));
	bytes = build(&l, gso_size, header);
	lay_out(g, 2 * pair + 1, slot, header, bytes);
	g->tx_busy[slot] = true;
	g->tx_queue[slot] = 2 * pair + 1;
	offered++;
	if (!once_in(4))
		driver_kick(&g->drv, 2 * pair + 1);
}

static void take_sent(struct guest *g)
{
	uint32_t head, written;

	for (unsigned queue = 1; queue < CONTROL; queue += 2)
		while (driver_used(&g->ring[queue], &head, &written)) {
			assert_true(head < TX_SLOTS && g->tx_busy[head] && g->tx_queue[head] == queue);
			assert_int_equal(written, 0);
			g->tx_busy[head] = false;
			driver_used_event(&g->ring[queue], g->ring[queue].seen);
		}
}

/* ---- what arrives ---- */

/* A chain's bytes, as its descriptors are in the ring. */
static void read_chain(struct guest *g, struct driver_ring *r, uint32_t head, uint8_t *out, uint32_t bytes)
{
	uint16_t at = (uint16_t)head;

	while (bytes > 0) {
		struct driver_desc d;
		uint32_t n;

		fake_guest_mem_read(&g->mem, r->desc + 16ull * at, &d, sizeof d);
		n = MIN(bytes, d.bytes);
		fake_guest_mem_read(&g->mem, d.at, out, n);
		out += n;
		bytes -= n;
		at = d.next;
	}
}

static void check_order(struct guest *g, const struct label *l, uint32_t offset, bool last)
{
	uint64_t place = ((uint64_t)l->number << 32 | offset) + 1, *before = &g->last[l->queue][l->kind][l->to_all];

	assert_int_equal(l->sender, !(g - guests));
	assert_true(l->queue < PAIRS && l->kind < KINDS && l->number <= numbers);
	assert_true(place > *before);
	*before = place;
	segments++;
	arrived += last;
}

static void check_tcp(struct guest *g, const uint8_t *header, const uint8_t *f, uint32_t bytes)
{
	uint32_t offset = get_be32(f + 38), payload = bytes - TCP_HEADERS;
	const uint8_t *ip = f + NET_ETHERNET_BYTES;
	uint64_t sum = net_sum(6 + 20 + payload, ip + 12, 8, false);
	struct label l = {.sender = (uint8_t)(ip[15] - 1), .queue = (uint8_t)(net_get16(f + 34) - 1000), .kind = TCP,
			  .to_all = f[0] & 1, .number = get_be32(f + 42), .bytes = net_get16(f + 48)};

	assert_true(offset + payload <= l.bytes);
	for (uint32_t i = offset == 0 ? (uint32_t)sizeof l : 0; i < payload; i++)
		assert_int_equal(f[TCP_HEADERS + i], pattern(l.number, offset + i));
	if (offset == 0)
		assert_memory_equal(f + TCP_HEADERS, &l, sizeof l);
	assert_int_equal(net_get16(ip + 2), bytes - NET_ETHERNET_BYTES);
	assert_int_equal(net_sum_end(net_sum(0, ip, 20, false)), 0);
	if (header[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		assert_int_equal(net_get16(f + 50), (uint16_t)~net_sum_end(sum));
	else
		assert_int_equal(net_sum_end(net_sum(sum, f + 34, bytes - 34, false)), 0);
	assert_true((header[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0 || virtio_has(g->drv.device, VIRTIO_NET_F_GUEST_CSUM));
	if (header[1] != 0)
		assert_true(virtio_has(g->drv.device, VIRTIO_NET_F_GUEST_TSO4));
	else
		assert_true(bytes <= MTU + NET_ETHERNET_BYTES);
	check_order(g, &l, offset, offset + payload == l.bytes);
}

static void check_frame(struct guest *g, const uint8_t *header, const uint8_t *f, uint32_t bytes)
{
	struct label l;

	if (net_get16(f + 12) == 0x0800) {
		check_tcp(g, header, f, bytes);
		return;
	}
	memcpy(&l, f + NET_ETHERNET_BYTES, sizeof l);
	assert_int_equal(l.bytes, bytes - NET_ETHERNET_BYTES);
	for (uint32_t i = sizeof l; i < l.bytes; i++)
		assert_int_equal(f[NET_ETHERNET_BYTES + i], pattern(l.number, i));
	check_order(g, &l, 0, true);
}

/* Takes a frame, and gives its buffers anew. False: there is none. */
static bool receive_one(struct guest *g, unsigned pair)
{
	struct driver_ring *r = &g->ring[2 * pair];
	unsigned buffers = 1, slots[RING_SIZE];
	uint32_t head, written, bytes = 0;

	for (unsigned i = 0; i < buffers; i++) {
		if (!driver_used(r, &head, &written)) {
			assert_int_equal(i, 0); /* all of a frame are seen at once */
			return false;
		}
		read_chain(g, r, head, got + bytes, written);
		slots[i] = head;
		bytes += written;
		if (bytes >= HDR)
			buffers = get_le16(got + VIRTIO_NET_HDR_NUM_BUFFERS);
		assert_true(g->mergeable ? buffers <= RING_SIZE : buffers == 1);
	}
	check_frame(g, got, got + HDR, bytes - HDR);
	for (unsigned i = 0; i < buffers; i++)
		post_buffer(g, pair, slots[i]);
	return true;
}

static void receive(struct guest *g, unsigned most)
{
	for (unsigned pair = 0; pair < PAIRS; pair++) {
		for (unsigned i = 0; i < most && receive_one(g, pair); i++)
			continue;
		driver_used_event(&g->ring[2 * pair], g->ring[2 * pair].seen);
		driver_kick(&g->drv, 2 * pair);
	}
}

/* ---- outside ---- */

static void pass_time(uint64_t by)
{
	ticks += by;
	for (unsigned i = 0; i < GUESTS; i++)
		if (guests[i].wake_at <= ticks) {
			guests[i].wake_at = MCLOCK_NEVER;
			net_port_expired(&guests[i].port);
		}
}

static void outside(void)
{
	struct guest *g = &guests[below(GUESTS)];

	switch (below(5)) {
	case 0:
		fake_guest_mem_answer(&g->mem, 1 + (unsigned)below(4));
		break;
	case 1:
	case 2:
		driver_work(&g->drv);
		break;
	case 3:
		pass_time(below(1000));
		break;
	default:
		fake_guest_mem_move(&g->mem);
	}
}

/* All that is under way comes to its end. */
static void quiesce(void)
{
	for (unsigned i = 0; i < GUESTS; i++) {
		guests[i].mem.later = 0;
		for (unsigned queue = 1; queue < CONTROL; queue += 2)
			driver_kick(&guests[i].drv, queue);
	}
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < GUESTS; i++) {
			fake_guest_mem_answer(&guests[i].mem, 99);
			driver_work(&guests[i].drv);
			receive(&guests[i], 99);
			take_sent(&guests[i]);
		}
		pass_time(1000);
	}
	for (unsigned i = 0; i < GUESTS; i++)
		for (unsigned slot = 0; slot < TX_SLOTS; slot++)
			if (guests[i].tx_busy[slot])
				fail_msg("guest %u's frame in slot %u was forgotten", i, slot);
}

static void reset_device(struct guest *g)
{
	driver_status(&g->drv, 0);
	while (driver_read_status(&g->drv) != 0)
		outside();
	assert_int_equal(g->mem.pins, 0);
	bring_up(g);
}

static void reset_queue(struct guest *g, unsigned queue)
{
	if (!driver_queue_reset(&g->drv, queue))
		while (virtio_queue_resetting(virtio_queue(g->drv.device, queue)))
			outside();
	for (unsigned slot = 0; slot < TX_SLOTS; slot++)
		if (g->tx_queue[slot] == queue)
			g->tx_busy[slot] = false;
	give_ring(g, queue);
}

static void step(bool resets)
{
	uint64_t what = below(100);
	struct guest *g = &guests[below(GUESTS)];

	if (what < 35)
		send((unsigned)below(GUESTS));
	else if (what < 70)
		outside();
	else if (what < 85)
		receive(g, 1 + (unsigned)below(8));
	else if (what < 94)
		take_sent(g);
	else if (what == 94)
		virtio_net_link(g->net, true);
	else if (what == 95 && resets && once_in(4))
		reset_device(g);
	else if (what == 96 && resets && once_in(4))
		reset_queue(g, (unsigned)below(CONTROL));
	else if (what == 97 && once_in(4))
		virtio_net_link(g->net, !once_in(6));
	else if (what == 98 && once_in(4))
		set_pairs(g, (uint8_t)(1 + below(PAIRS)));
}

/* ---- a run ---- */

static uint64_t drops(const struct guest *g)
{
	struct net_port_figures p;
	struct virtio_net_figures f;
	uint64_t n = 0;

	net_port_figures((struct net_port *)&g->port, &p);
	virtio_net_figures(g->net, &f);
	for (unsigned why = 0; why < NET_DROPS; why++)
		n += p.sent_drops[why] + p.received_drops[why] + f.tx_drops[why];
	return n;
}

static void end(struct guest *g)
{
	driver_status(&g->drv, 0);
	for (unsigned i = 0; i < 100; i++) {
		fake_guest_mem_answer(&g->mem, 99);
		driver_work(&g->drv);
	}
	assert_int_equal(driver_read_status(&g->drv), 0);
	assert_true(virtio_net_connect(g->net, NULL));
	assert_true(net_port_close(&g->port));
	fake_guest_mem_fini(&g->mem);
	free(g->memory);
}

static void run(struct random_state *r)
{
	bool resets = random_below(r, 2);
	const struct net_env env = {.now = env_now, .hz = 1000000, .wake_at = wake_at, .ctx = &sw};
	struct net_switch_settings set;
	uint64_t lost = 0;

	rnd = r;
	ticks = 1;
	offered = arrived = segments = 0;
	memset(&sw, 0, sizeof sw);
	net_switch_settings_init(&set);
	assert_int_equal(net_switch_init(&sw, &env, &set, NULL), ST_OK);
	for (unsigned i = 0; i < GUESTS; i++)
		make(i);
	for (unsigned i = 0; i < GUESTS; i++)
		bring_up(&guests[i]);
	for (unsigned i = 0; i < STEPS; i++)
		step(resets);
	for (unsigned i = 0; i < GUESTS; i++)
		virtio_net_link(guests[i].net, true);
	quiesce();
	assert_true(net_switch_check(&sw));
	for (unsigned i = 0; i < GUESTS; i++) {
		lost += drops(&guests[i]);
		assert_int_equal(guests[i].drv.broken, 0);
	}
	assert_true(arrived > 100 && segments >= arrived); /* otherwise nothing was tried */
	if (!resets)
		assert_int_equal(arrived + lost, offered);
	for (unsigned i = 0; i < GUESTS; i++)
		end(&guests[i]);
}

static void frames_between_two(void **state)
{
	(void)state;
	random_runs(RUNS, run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(frames_between_two)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
