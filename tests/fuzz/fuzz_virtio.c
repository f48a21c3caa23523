/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole virtio devices driven by a guest that does anything: registers of the
 * transport in any order, chains sound and broken, kicks, resets in the middle of all
 * that, while memory answers later and moves, the disk ends requests in
 * any order, and the wire behind a switch takes frames, keeps them waiting and sends some. Whatever it does: a reset
 * completes once what is outside has ended, nothing stays pinned, no byte of guest memory changes after it, and the
 * device comes up again.
 */
#include <stdlib.h>
#include <string.h>

#include "io/virtio_balloon.h"
#include "io/virtio_console.h"
#include "io/virtio_net.h"
#include "io/virtio_rng.h"
#include "tests/fakes/late_disk.h"
#include "tests/fakes/virtio_driver.h"
#include "tests/fuzz/input.h"

#define PAGES 24u
#define RING_AT(i) (0x0ff0u + 0x1800u * (i))
#define RINGS 3u
#define HEADER_AT 0x6000u
#define TABLE_AT 0x7fe8u
#define DATA_AT 0x9000u
#define SECTORS 64u
#define STEPS_MAX 1500
#define ROUNDS_MAX 1000000

static struct fake_guest_mem mem;
static struct driver drv;
static struct driver_ring ring[RINGS];
static struct late_disk disk;
static struct virtio_blk *blk;
static void *blk_memory;
static struct virtio_rng rng;
static struct virtio_console con;
static struct virtio_balloon balloon;
static struct virtio_net *net;
static void *net_memory;
static unsigned kind;
enum { RNG, CONSOLE, BALLOON, NET, BLOCK };

/* ---- the devices ---- */

static size_t rng_fill(void *ctx, void *out, size_t bytes)
{
	size_t n = random_below(&mem.random, bytes + 1);

	(void)ctx;
	memset(out, 0x5a, n);
	return n;
}
static const struct virtio_rng_ops rng_ops = {rng_fill, 500};

static void con_write(void *ctx, const uint8_t *data, size_t bytes)
{
	static volatile uint8_t seen;

	(void)ctx;
	for (size_t i = 0; i < bytes; i++)
		seen = data[i];
	(void)seen;
}
static size_t con_read(void *ctx, uint8_t *out, size_t max)
{
	size_t n = random_below(&mem.random, 20);

	(void)ctx;
	n = n < max ? n : max;
	memset(out, 't', n);
	return n;
}
static const struct virtio_console_ops con_ops = {.write = con_write, .read = con_read};

static bool on_inflate(void *ctx, gfn_t f)
{
	(void)ctx;
	return f.v & 1;
}
static void on_deflate(void *ctx, gfn_t f) { (void)ctx, (void)f; }
static void on_stats(void *ctx, const uint64_t v[VIRTIO_BALLOON_STATS], uint32_t present)
{
	(void)ctx, (void)v;
	REQUIRE(present < BIT(VIRTIO_BALLOON_STATS));
}
static const struct virtio_balloon_ops balloon_ops = {on_inflate, on_deflate, on_stats, NULL, 4000};

static void on_full(void *ctx) { (void)ctx; }

static struct virtio_device *make_blk(struct input *in)
{
	uint8_t how = (uint8_t)take(in, 1);
	struct virtio_blk_config cfg = {
		.mem = mem.mem, .backend = &late_disk_ops, .backend_ctx = &disk, .disk = &disk.device, .serial = "fuzz",
		.queues = 1 + how % RINGS, .requests = 1 + how / 4 % 8, .large = 1 + how / 32 % 2, .no_space = on_full};

	late_disk_init(&disk, SECTORS, how & 128 ? 4096 : 512);
	disk.device.max_count = how & 64 ? 16 : 128;
	disk.cancellable = how & 1;
	disk.too_late = 30;
	blk_memory = aligned_alloc(64, virtio_blk_bytes(&cfg));
	REQUIRE(virtio_blk_init(blk_memory, &cfg, &blk, NULL) == ST_OK);
	return virtio_blk_device(blk);
}

/* ---- a wire behind a switch ---- */

#define KEPT_MAX 64u
static struct net_switch sw;
static struct net_port own, wire;
static struct net_ticket *kept[KEPT_MAX];
static bool kept_waits[KEPT_MAX]; /* for ready(), else for done() */
static unsigned kept_count, wire_mood;
static uint64_t ticks;

static uint64_t now(void) { return ticks += 1000; }
static uint64_t env_now(void *ctx)
{
	(void)ctx;
	return now();
}
static void wake_at(void *ctx, struct net_port *p, uint64_t at) { (void)ctx, (void)p, (void)at; }

/* What a sender's memory holds at this moment is read whole, as an interface would. */
static enum net_answer wire_deliver(void *ctx, struct net_ticket *t, enum net_drop *why)
{
	static uint8_t out[NET_BYTES_MAX + NET_TAG_BYTES];
	static const struct net_abilities none;
	struct io_segment all = {out, sizeof out};
	unsigned mood = wire_mood++ % 8;
	struct net_cut cut;

	(void)ctx;
	*why = NET_DROP_NONE;
	if (mood < 4) {
		net_cut_begin(&cut, t->frame, &none);
		while (net_cut_next(&cut)) {
			struct segment_cursor to = {&all, 1, 0};

			REQUIRE(cut.bytes <= sizeof out);
			net_cut_copy(&cut, &to);
		}
		return NET_DONE;
	}
	if (mood == 4 || kept_count == KEPT_MAX) {
		*why = NET_DROP_QUEUE;
		return NET_DONE;
	}
	kept_waits[kept_count] = mood == 5 && t->patient;
	kept[kept_count++] = t;
	return kept_waits[kept_count - 1] ? NET_WAIT : NET_HELD;
}

static bool wire_cancel(void *ctx, struct net_ticket *t)
{
	(void)ctx;
	for (unsigned i = 0; i < kept_count; i++)
		if (kept[i] == t && random_below(&mem.random, 3) != 0) {
			kept[i] = kept[--kept_count];
			kept_waits[i] = kept_waits[kept_count];
			return true;
		}
	return false;
}

static const struct net_port_ops wire_ops = {.deliver = wire_deliver, .cancel = wire_cancel};

static unsigned wire_moves(void)
{
	unsigned moved = kept_count;

	while (kept_count != 0) {
		struct net_ticket *t = kept[--kept_count];

		if (kept_waits[kept_count])
			t->ready(t);
		else
			t->done(t, NET_DROP_NONE);
	}
	return moved;
}

static bool on_set_mac(void *ctx, const uint8_t mac[NET_MAC_BYTES])
{
	(void)ctx;
	return mac[1] & 1;
}

static struct virtio_device *make_net(struct input *in)
{
	uint8_t how = (uint8_t)take(in, 1);
	struct virtio_net_config cfg = {.mem = mem.mem, .pairs = 1 + how % 2, .mac = {2, 0, 0, 0, 0, 1}, .mtu = 1500, .now = now,
					.hz = 1000000000, .set_mac = how & 2 ? on_set_mac : NULL};
	const struct net_env env = {.now = env_now, .hz = 1000000000, .wake_at = wake_at};
	const struct net_port_config up = {.up = true, .mtu = NET_MTU_MAX}, wired = {.up = true, .mtu = NET_MTU_MAX, .trunk_all = true};
	struct net_switch_settings set;

	memset(&sw, 0, sizeof sw);
	kept_count = 0;
	net_switch_settings_init(&set);
	REQUIRE(net_switch_init(&sw, &env, &set, NULL) == ST_OK);
	coalesce_settings_init(&cfg.interrupts);
	cfg.interrupts.policy = how / 4 % COALESCE_POLICIES;
	net_memory = aligned_alloc(64, align_up(virtio_net_bytes(&cfg), 64));
	memset(net_memory, 0, virtio_net_bytes(&cfg));
	net = virtio_net_make(net_memory, &cfg);
	REQUIRE(net_port_open(&own, &sw, &virtio_net_port_ops, net, &up, false, NULL) == ST_OK);
	REQUIRE(net_port_open(&wire, &sw, &wire_ops, &wire, &wired, true, NULL) == ST_OK);
	REQUIRE(virtio_net_connect(net, &own));
	return virtio_net_device(net);
}

static void unmake_net(void)
{
	REQUIRE(virtio_net_connect(net, NULL));
	REQUIRE(net_port_close(&own) && net_port_close(&wire));
	REQUIRE(kept_count == 0);
	free(net_memory);
}

static struct virtio_device *make(struct input *in)
{
	kind = (unsigned)take(in, 1) % 8;
	kind = MIN(kind, (unsigned)BLOCK);
	switch (kind) {
	case NET:
		return make_net(in);
	case RNG:
		virtio_rng_init(&rng, &mem.mem, &rng_ops, NULL);
		return &rng.device;
	case CONSOLE:
		virtio_console_init(&con, &mem.mem, &con_ops, NULL);
		return &con.device;
	case BALLOON:
		virtio_balloon_init(&balloon, &mem.mem, &balloon_ops, NULL);
		return &balloon.device;
	default:
		return make_blk(in);
	}
}

static bool is_blk(void) { return kind == BLOCK; }

/* ---- outside ---- */

static unsigned outside_moves(void)
{
	unsigned moved = fake_guest_mem_answer(&mem, 1000) + driver_work(&drv);

	return moved + (is_blk() ? late_disk_end(&disk, 1000) : kind == NET ? wire_moves() : 0);
}

/* Everything ends that is under way outside. */
static void settle(void)
{
	unsigned later = mem.later, rounds = 0;

	mem.later = 0;
	while (outside_moves() != 0)
		REQUIRE(++rounds < ROUNDS_MAX);
	mem.later = later;
}

/* ---- the guest ---- */

static void bring_up(struct input *in)
{
	uint64_t without = take(in, 8);

	driver_negotiate(&drv, drv.device->offered & ~(without & ~VIRTIO_F_VERSION_1));
	for (unsigned i = 0; i < RINGS && i < drv.device->queue_count; i++) {
		driver_ring_init(&ring[i], &mem, RING_AT(i), (uint16_t)(1u << take(in, 1) % 8));
		if (ring[i].size <= drv.device->queues[i].ring.size_max)
			driver_queue(&drv, i, &ring[i]);
	}
	driver_ok(&drv);
}

static void reset(struct input *in)
{
	uint64_t sum;

	driver_status(&drv, 0);
	if (take(in, 1) & 1)
		sum = fake_guest_mem_sum(&mem); /* from here on nothing changes, complete or not */
	else
		settle(), sum = fake_guest_mem_sum(&mem);
	settle();
	/* What a disk read before the reset may still land until the reset is complete. */
	if (!is_blk())
		REQUIRE(fake_guest_mem_sum(&mem) == sum);
	REQUIRE(driver_read_status(&drv) == 0 && mem.pins == 0);
	sum = fake_guest_mem_sum(&mem);
	settle();
	REQUIRE(fake_guest_mem_sum(&mem) == sum);
	bring_up(in);
}

static struct driver_ring *some_ring(struct input *in, unsigned *index)
{
	*index = (unsigned)take(in, 1) % MIN(RINGS, drv.device->queue_count);
	return ring[*index].size ? &ring[*index] : NULL;
}

/* A block request as a driver makes it: or nearly. */
static void block_request(struct input *in)
{
	static const uint32_t types[] = {0, 1, 0, 1, 4, 8, 11, 13};
	unsigned index;
	struct driver_ring *r = some_ring(in, &index);
	uint8_t how = (uint8_t)take(in, 1), slot = (uint8_t)take(in, 1);
	uint64_t header[2] = {types[how % 8], take(in, 1)};
	uint64_t at = HEADER_AT + 32ull * (slot % 32), data = DATA_AT + take(in, 2) % 0xf000;
	uint32_t bytes = how & 8 ? (uint32_t)take(in, 3) : 512 * (1 + (uint32_t)take(in, 1) % 80);
	uint16_t d, in_flag = header[0] == 0 || header[0] == 8 ? VIRTQ_DESC_F_WRITE : 0;

	if (!r || r->size < 4)
		return;
	if (header[0] >= 11) {
		bytes = 16 * (1 + slot % 20u);
		if (how & 16)
			fake_guest_mem_fill(&mem, DATA_AT, 0, 320), data = DATA_AT;
	}
	d = (uint16_t)(slot * 3u % (r->size - 2u));
	fake_guest_mem_write(&mem, at, header, sizeof header);
	driver_desc(r, d, at, 16, VIRTQ_DESC_F_NEXT, (uint16_t)(d + 1));
	driver_desc(r, (uint16_t)(d + 1), data, bytes, (uint16_t)(VIRTQ_DESC_F_NEXT | in_flag), (uint16_t)(d + 2));
	driver_desc(r, (uint16_t)(d + 2), at + 24, 1, VIRTQ_DESC_F_WRITE, 0);
	driver_offer(r, d);
	driver_kick(&drv, index);
}

/* ---- frames, sound or nearly ---- */

static uint8_t frame[NET_BYTES_MAX + 100];

/* TCP over IPv4 or something else, with a few bytes of it changed; its bytes. */
static uint32_t make_frame(struct input *in, uint8_t how)
{
	uint32_t payload = how & 1 ? (uint32_t)take(in, 2) % 40000 : (uint32_t)take(in, 1), bytes = 54 + payload;

	memset(frame, how, bytes);
	memcpy(frame, (const uint8_t[]){2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0}, 14);
	if (how & 2)
		memset(frame, 0xff, 6);
	memset(frame + 14, 0, 40);
	frame[14] = 0x45;
	net_put16(frame + 16, (uint16_t)(bytes - 14));
	frame[23] = 6;
	frame[46] = 5 << 4;
	for (unsigned i = 0; i < how >> 6; i++) {
		uint32_t at = (uint32_t)take(in, 1) % 64;

		frame[at] = (uint8_t)take(in, 1);
	}
	return bytes - (how & 32 ? (uint32_t)take(in, 1) % 54 : 0);
}

/* The driver sends one. */
static void frame_out(struct input *in)
{
	uint8_t how = (uint8_t)take(in, 1), what = (uint8_t)take(in, 1), h[VIRTIO_NET_HDR_BYTES] = {0};
	uint32_t bytes = make_frame(in, how), split = 1 + (uint32_t)take(in, 1);
	struct driver_ring *r = &ring[1];

	if (r->size < 2)
		return;
	h[VIRTIO_NET_HDR_FLAGS] = what & 1;
	h[VIRTIO_NET_HDR_GSO_TYPE] = what & 2 ? (uint8_t)(VIRTIO_NET_HDR_GSO_TCPV4 | (what & 0x80)) : what & 4 ? what >> 3 : 0;
	put_le16(h + VIRTIO_NET_HDR_GSO_SIZE, (uint16_t)(1 + 8 * (what >> 2)));
	put_le16(h + VIRTIO_NET_HDR_CSUM_START, what & 8 ? (uint16_t)take(in, 1) : 34);
	put_le16(h + VIRTIO_NET_HDR_CSUM_OFFSET, what & 8 ? (uint16_t)take(in, 1) : 16);
	fake_guest_mem_write(&mem, DATA_AT, h, sizeof h);
	fake_guest_mem_write(&mem, DATA_AT + sizeof h, frame, MIN(bytes, 0x9000u));
	bytes += (uint32_t)sizeof h;
	driver_desc(r, 0, DATA_AT, MIN(split, bytes - 1), VIRTQ_DESC_F_NEXT, 1);
	driver_desc(r, 1, DATA_AT + MIN(split, bytes - 1), bytes - MIN(split, bytes - 1), 0, 0);
	driver_offer(r, 0);
	driver_kick(&drv, 1);
}

/* The wire brings one. */
static void frame_in(struct input *in)
{
	static struct net_frame f;
	static struct net_ticket t;
	uint8_t how = (uint8_t)take(in, 1), what = (uint8_t)take(in, 1);
	struct io_segment all = {frame, make_frame(in, how)};
	struct net_batch batch = {0};
	enum net_answer answer;

	memset(&f, 0, sizeof f);
	memset(&t, 0, sizeof t);
	if (what & 16) /* to the one whose address it is, not to all that are known */
		memcpy(frame, frame + 6, 6), frame[6 + 5] = 7;
	f.segments = &all;
	f.segment_count = 1;
	f.bytes = all.bytes;
	f.head_bytes = (uint16_t)MIN(f.bytes, NET_HEAD_MAX);
	memcpy(f.head, frame, f.head_bytes);
	f.offload = (struct net_offload){.needs_checksum = what & 1, .checksum_good = what & 8, .checksum_at = 34, .checksum_offset = 16,
					 .gso = what & 2 ? NET_GSO_TCP4 : NET_GSO_NONE, .gso_size = (uint16_t)(400 + 8 * (what >> 5))};
	if (f.bytes < NET_FRAME_MIN || net_frame_parse(&f, NET_MTU_MAX) != NET_DROP_NONE)
		return;
	t.frame = &f;
	t.behind = what >> 4;
	do {
		unsigned budget = 20000;

		answer = net_switch_send(&wire, &t, &batch, &budget);
	} while (answer == NET_AGAIN);
	REQUIRE(answer == NET_DONE); /* it is not patient */
	net_switch_flush(&sw, &batch);
}

static void buffers_in(struct input *in)
{
	uint8_t how = (uint8_t)take(in, 1);
	struct driver_ring *r = &ring[0];

	for (unsigned i = 0; r->size != 0 && i < 1u + how % 16; i++) {
		driver_desc(r, (uint16_t)(i % r->size), DATA_AT + 0x400 * i + how, 1 + (uint32_t)(how / 16 * 300), VIRTQ_DESC_F_WRITE, 0);
		driver_offer(r, (uint16_t)(i % r->size));
	}
	driver_kick(&drv, 0);
}

static void command(struct input *in)
{
	unsigned index = drv.device->queue_count == 3 ? 2 : (unsigned)take(in, 1) % drv.device->queue_count;
	struct driver_ring *r = index < RINGS ? &ring[index] : NULL;
	uint8_t bytes[12], length = (uint8_t)(2 + take(in, 1) % 10);

	if (!r || r->size < 2)
		return;
	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)take(in, 1);
	bytes[0] %= 7;
	bytes[1] %= 3;
	fake_guest_mem_write(&mem, HEADER_AT, bytes, sizeof bytes);
	driver_desc(r, 0, HEADER_AT, length, VIRTQ_DESC_F_NEXT, 1);
	driver_desc(r, 1, HEADER_AT + 100, 1, VIRTQ_DESC_F_WRITE, 0);
	driver_offer(r, 0);
	driver_kick(&drv, index);
}

static void network(struct input *in, unsigned op)
{
	switch (op % 5) {
	case 0:
	case 1:
		frame_out(in);
		break;
	case 2:
		frame_in(in);
		break;
	case 3:
		buffers_in(in);
		break;
	default:
		command(in);
	}
}

static void chain(struct input *in)
{
	unsigned index, n = 1 + (unsigned)take(in, 1) % 6;
	struct driver_ring *r = some_ring(in, &index);
	uint8_t how = (uint8_t)take(in, 1);

	if (!r)
		return;
	for (unsigned i = 0; i < n; i++) {
		uint16_t flags = (uint16_t)((i + 1 < n ? VIRTQ_DESC_F_NEXT : 0) | (how >> i & 1 ? VIRTQ_DESC_F_WRITE : 0));

		if (how & 64)
			driver_table(r, TABLE_AT, (uint16_t)i, DATA_AT + take(in, 2), 1 + (uint32_t)take(in, 2), flags,
				     (uint16_t)(i + 1));
		else
			driver_desc(r, (uint16_t)(i % r->size), DATA_AT + take(in, 2), 1 + (uint32_t)take(in, 2), flags,
				    (uint16_t)((i + 1) % r->size));
	}
	if (how & 64)
		driver_desc(r, 0, TABLE_AT, 16 * n, VIRTQ_DESC_F_INDIRECT, 0);
	driver_offer(r, 0);
	driver_kick(&drv, index);
}

/* Registers of the transport, any of them. */
static void registers(struct input *in)
{
	struct virtio_device *d = drv.device;
	struct virtio_queue *q;
	uint8_t what = (uint8_t)take(in, 1);

	lock_acquire(&d->lock);
	q = virtio_queue(d, (unsigned)take(in, 1) % (d->queue_count + 1));
	switch (what % 12) {
	case 0:
		virtio_set_status(d, (uint8_t)take(in, 1));
		break;
	case 1:
		virtio_accept(d, (uint32_t)take(in, 1) % 4, (uint32_t)take(in, 4));
		break;
	case 2:
		virtio_config_write(d, (uint32_t)take(in, 1), 1u << (what / 12 % 4), take(in, 8));
		break;
	case 3:
		(void)virtio_config_read(d, (uint32_t)take(in, 1), 1u << (what / 12 % 4));
		break;
	case 4:
		virtio_kick(d, (unsigned)take(in, 1));
		break;
	case 5:
		d->config_vector = (uint16_t)(take(in, 1) % DRIVER_VECTORS);
		break;
	case 6:
		if (q)
			virtio_queue_set_size(q, (uint16_t)take(in, 2));
		break;
	case 7:
		if (q)
			virtio_queue_set_address(q, (enum virtq_part)(what / 12 % VIRTQ_PARTS), what >> 7, (uint32_t)take(in, 4));
		break;
	case 8:
		if (q)
			virtio_queue_enable(q);
		break;
	case 9:
		if (q)
			virtio_queue_reset(q);
		break;
	default:
		virtio_config_changed(d);
	}
	lock_release(&d->lock);
}

static void the_owner(struct input *in)
{
	switch (kind) {
	case RNG:
		virtio_rng_ready(&rng);
		break;
	case CONSOLE:
		virtio_console_input(&con);
		break;
	case NET:
		virtio_net_link(net, take(in, 1) % 4 != 0);
		virtio_net_announce(net);
		net_port_expired(&own);
		wire_mood = (unsigned)take(in, 1);
		break;
	case BALLOON:
		virtio_balloon_ask(&balloon);
		virtio_balloon_target(&balloon, (uint32_t)take(in, 2));
		break;
	default:
		disk.fail_at = take(in, 1) % 8;
		disk.fail_with = take(in, 1) & 1 ? ST_OVER_LIMIT : ST_IO;
		disk.at_once = take(in, 1) & 1;
		disk.nosy = take(in, 1) & 1;
		virtio_blk_retry(blk);
	}
}

static void step(struct input *in)
{
	uint8_t op = (uint8_t)take(in, 1);

	switch (op % 16) {
	case 0:
	case 1:
	case 2:
		if (kind == NET)
			network(in, op / 16 + op % 16);
		else
			block_request(in);
		break;
	case 3:
	case 4:
		chain(in);
		break;
	case 5:
		registers(in);
		break;
	case 6:
		fake_guest_mem_put16(&mem, take(in, 2) % 0x9000, (uint16_t)take(in, 2));
		break;
	case 7:
	case 8:
		driver_work(&drv);
		break;
	case 9:
		if (is_blk())
			late_disk_end(&disk, 1 + op / 16);
		else if (kind == NET)
			wire_moves();
		break;
	case 10:
		fake_guest_mem_answer(&mem, 1 + op / 16);
		break;
	case 11:
		fake_guest_mem_move(&mem);
		mem.later = take(in, 1) % 70;
		mem.too_late = take(in, 1) % 100;
		break;
	case 12:
		the_owner(in);
		break;
	case 13:
		if (op / 16 == 0)
			reset(in);
		break;
	default:
		driver_kick(&drv, op / 16 % 4);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};

	fake_guest_mem_init(&mem, PAGES, 1);
	memset(ring, 0, sizeof ring);
	driver_attach(&drv, make(&in));
	bring_up(&in);
	for (unsigned i = 0; in.at < in.end && i < STEPS_MAX; i++)
		step(&in);
	reset(&in);
	driver_status(&drv, 0);
	settle();
	REQUIRE(driver_read_status(&drv) == 0);
	if (kind == NET)
		unmake_net();
	fake_guest_mem_fini(&mem);
	if (is_blk()) {
		late_disk_fini(&disk);
		free(blk_memory);
	}
	return 0;
}
