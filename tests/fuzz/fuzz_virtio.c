/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole virtio devices driven by a guest that does anything: registers of the
 * transport in any order, chains sound and broken, kicks, resets in the middle of all
 * that, while memory answers later and moves and the disk ends requests in
 * any order. Whatever it does: a reset completes once what is outside has ended, nothing
 * stays pinned, no byte of guest memory changes after it, and the device comes up again.
 */
#include <stdlib.h>
#include <string.h>

#include "io/virtio_balloon.h"
#include "io/virtio_console.h"
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
static unsigned kind;

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

static struct virtio_device *make(struct input *in)
{
	kind = take(in, 1) % 8;
	switch (kind) {
	case 0:
		virtio_rng_init(&rng, &mem.mem, &rng_ops, NULL);
		return &rng.device;
	case 1:
		virtio_console_init(&con, &mem.mem, &con_ops, NULL);
		return &con.device;
	case 2:
		virtio_balloon_init(&balloon, &mem.mem, &balloon_ops, NULL);
		return &balloon.device;
	default:
		return make_blk(in);
	}
}

static bool is_blk(void) { return kind > 2; }

/* ---- outside ---- */

static unsigned outside_moves(void)
{
	unsigned moved = fake_guest_mem_answer(&mem, 1000) + driver_work(&drv);

	return moved + (is_blk() ? late_disk_end(&disk, 1000) : 0);
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
	case 0:
		virtio_rng_ready(&rng);
		break;
	case 1:
		virtio_console_input(&con);
		break;
	case 2:
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
	fake_guest_mem_fini(&mem);
	if (is_blk()) {
		late_disk_fini(&disk);
		free(blk_memory);
	}
	return 0;
}
