/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What virtio costs in instructions, without an emulator: bench/host.py runs each case
 * under callgrind, which counts only inside case_*(). io/ is compiled as for the
 * machine. Guest memory is one flat block whose pins cost nothing, and the disk
 * answers at once without touching the data, so that the figures are io/'s own share.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cases.h"
#include "io/virtio_blk.h"
#include "lib/bits.h"

#define RAM_BYTES (1u << 20)
#define ROUNDS 512u
#define SIZE 128u
#define DESC_AT 0x1000u
#define AVAIL_AT 0x2000u
#define USED_AT 0x3000u
#define HEADER_AT 0x4000u
#define TABLE_AT 0x5000u
#define DATA_AT 0x10000u
#define CASE __attribute__((noinline, noclone)) static void

static _Alignas(4096) uint8_t ram[RAM_BYTES];
static uint16_t offered;

/* ---- a guest ---- */

static enum pin_result pin(void *ctx, struct guest_pin *p)
{
	(void)ctx;
	if (p->at.v >= RAM_BYTES || p->bytes > RAM_BYTES - p->at.v)
		return PIN_FAIL;
	p->va = ram + p->at.v;
	p->got = p->bytes;
	return PIN_NOW;
}

static void unpin(void *ctx, const struct guest_pin *p) { (void)ctx, (void)p; }

static const struct guest_mem_ops mem_ops = {.pin = pin, .unpin = unpin};
static const struct guest_mem mem = {.ops = &mem_ops};

static void desc(uint32_t table, unsigned index, uint64_t at, uint32_t bytes, uint16_t flags, uint16_t next)
{
	uint8_t *d = ram + table + VIRTQ_DESC_BYTES * index;

	put_le64(d, at);
	put_le32(d + 8, bytes);
	put_le16(d + 12, flags);
	put_le16(d + 14, next);
}

/* A read of 4 KiB as Linux frames it: header, data, status. */
static void three(uint32_t table, unsigned first)
{
	desc(table, first, HEADER_AT, 16, VIRTQ_DESC_F_NEXT, (uint16_t)(first + 1));
	desc(table, first + 1, DATA_AT, 4096, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE, (uint16_t)(first + 2));
	desc(table, first + 2, HEADER_AT + 16, 1, VIRTQ_DESC_F_WRITE, 0);
}

static void offer(uint16_t head)
{
	put_le16(ram + AVAIL_AT + 4 + 2 * (offered % SIZE), head);
	put_le16(ram + AVAIL_AT + 2, ++offered);
}

/* ---- the ring alone ---- */

static struct virtq q;
static struct virtq_buffer buffers[SIZE];
static struct virtq_chain c = {.buffers = buffers, .room = SIZE};

static void setup_ring(void)
{
	q.size_max = SIZE;
	q.mem = &mem;
	virtq_init(&q);
	q.at[VIRTQ_DESC] = gpa(DESC_AT);
	q.at[VIRTQ_AVAIL] = gpa(AVAIL_AT);
	q.at[VIRTQ_USED] = gpa(USED_AT);
	q.indirect = q.event_idx = true;
	if (virtq_start(&q) != PIN_NOW)
		abort();
}

CASE case_virtq_pop_push(unsigned round)
{
	(void)round;
	if (virtq_pop(&q, &c) != VIRTQ_CHAIN)
		abort();
	virtq_push(&q, c.head, 4097);
}
static unsigned run_virtq_pop_push(void)
{
	setup_ring();
	for (unsigned i = 0; i < ROUNDS; i++) {
		three(DESC_AT, 3 * (i % 40));
		offer((uint16_t)(3 * (i % 40)));
		case_virtq_pop_push(i);
	}
	return ROUNDS;
}

CASE case_virtq_pop_push_indirect(unsigned round)
{
	case_virtq_pop_push(round);
}
static unsigned run_virtq_pop_push_indirect(void)
{
	setup_ring();
	three(TABLE_AT, 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		desc(DESC_AT, i % SIZE, TABLE_AT, 48, VIRTQ_DESC_F_INDIRECT, 0);
		offer((uint16_t)(i % SIZE));
		case_virtq_pop_push_indirect(i);
	}
	return ROUNDS;
}

/* ---- a whole device ---- */

static struct virtio_blk *blk;
static struct virtio_device *device;
static unsigned interrupts, defers;

static bool submit(void *ctx, struct block_request *r)
{
	(void)ctx;
	r->status = ST_OK;
	r->done = true;
	return true;
}
static const struct virtio_blk_backend_ops backend = {.submit = submit};

static void on_interrupt(void *ctx, uint16_t vector)
{
	(void)ctx, (void)vector;
	interrupts++;
}
static void on_defer(void *ctx)
{
	(void)ctx;
	defers++;
}
static const struct virtio_transport_ops transport = {.interrupt = on_interrupt, .defer = on_defer};

static void setup_blk(void)
{
	static struct block_device disk = {.name = "none", .sector_bytes = 512, .max_count = 2048, .sectors = 1 << 20};
	struct virtio_blk_config cfg = {.mem = mem, .backend = &backend, .disk = &disk, .queues = 1, .requests = 64, .large = 4};

	if (virtio_blk_init(aligned_alloc(64, virtio_blk_bytes(&cfg)), &cfg, &blk, NULL) != ST_OK)
		abort();
	device = virtio_blk_device(blk);
	device->transport = &transport;
	virtio_set_status(device, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	virtio_accept(device, 0, virtio_features(device, 0));
	virtio_accept(device, 1, virtio_features(device, 1));
	virtio_set_status(device, VIRTIO_STATUS_FEATURES_OK);
	virtio_queue_set_address(virtio_queue(device, 0), VIRTQ_DESC, 0, DESC_AT);
	virtio_queue_set_address(virtio_queue(device, 0), VIRTQ_AVAIL, 0, AVAIL_AT);
	virtio_queue_set_address(virtio_queue(device, 0), VIRTQ_USED, 0, USED_AT);
	virtio_queue_enable(virtio_queue(device, 0));
	virtio_queue(device, 0)->vector = 1;
	virtio_set_status(device, VIRTIO_STATUS_DRIVER_OK);
	while (virtio_work(device, VIRTIO_INLINE_BUDGET))
		continue;
}

/* One request from kick to interrupt. */
CASE case_virtio_blk_kick(unsigned round)
{
	(void)round;
	virtio_kick(device, 0);
}
static unsigned run_virtio_blk_kick(void)
{
	setup_blk();
	three(DESC_AT, 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		put_le16(ram + AVAIL_AT + 4 + 2 * SIZE, (uint16_t)i); /* used_event */
		offer(0);
		case_virtio_blk_kick(i);
	}
	if (interrupts != ROUNDS)
		abort();
	return ROUNDS;
}

/* The dearest kick there is: all that a queue can hold, in the most pieces. */
CASE case_virtio_blk_kick_most(unsigned round)
{
	(void)round;
	virtio_kick(device, 0);
}
static unsigned run_virtio_blk_kick_most(void)
{
	setup_blk();
	desc(TABLE_AT, 0, HEADER_AT, 16, VIRTQ_DESC_F_NEXT, 1);
	for (unsigned i = 1; i <= VIRTIO_BLK_SEGMENTS; i++)
		desc(TABLE_AT, i, DATA_AT + 4096 * i, 512, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE, (uint16_t)(i + 1));
	desc(TABLE_AT, VIRTIO_BLK_SEGMENTS + 1, HEADER_AT + 16, 1, VIRTQ_DESC_F_WRITE, 0);
	for (unsigned i = 0; i < SIZE; i++) {
		desc(DESC_AT, i, TABLE_AT, 16 * (VIRTIO_BLK_SEGMENTS + 2), VIRTQ_DESC_F_INDIRECT, 0);
		offer((uint16_t)i);
	}
	case_virtio_blk_kick_most(0);
	if (defers == 0)
		abort();
	return 1;
}

static const struct bench_case cases[] = {
	{"virtq_pop_push", run_virtq_pop_push},
	{"virtq_pop_push_indirect", run_virtq_pop_push_indirect},
	{"virtio_blk_kick", run_virtio_blk_kick},
	{"virtio_blk_kick_most", run_virtio_blk_kick_most},
};

int main(int argc, char **argv) { return bench_main(cases, ARRAY_SIZE(cases), argc, argv); }
