/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a layer of a pool adds to a request, in instructions: bench/host.py runs
 * each case under callgrind, which counts only inside case_*(). The device below
 * ends every request at once and does nothing for it, and its few instructions are
 * counted with the layer's. All metadata is in memory. The rooms are compiled as for
 * the machine.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cases.h"
#include "io/layer.h"
#include "io/volume.h"
#include "lib/bits.h"

#define MIB (1u << 20)
#define VOLUME_BYTES (40u * MIB)
#define POOL_BYTES (64u * MIB)
#define ROUNDS 1000u
#define CASE __attribute__((noinline, noclone)) static void

static struct block_device null_device;
static struct volume_ram ram;
static struct layer_pool *pool;
static struct block_device *layer;
static struct block_range range;
static struct error err;
static uint8_t data[65536];
static struct io_segment segment = {data, 4096};
static struct block_request requests[ROUNDS];

static void must(bool good)
{
	if (good)
		return;
	fprintf(stderr, "host_layers: %s\n", err.text);
	exit(1);
}

static bool immediate = true;

/* The pool lies on memory; once it is set up requests end as soon as they come. */
static bool setting_up = true;

static void submit(struct block_device *d, struct block_request *r)
{
	(void)d;
	if (setting_up) {
		ram.device.ops->submit(&ram.device, r);
		return;
	}
	r->status = ST_OK;
	r->done = true;
}

static bool poll(struct block_device *d)
{
	(void)d;
	return false;
}

static const struct block_ops null_ops = {.submit = submit, .poll = poll};

/* A device that ends its requests later. */
static struct block_request *held;

static void submit_later(struct block_device *d, struct block_request *r)
{
	(void)d;
	held = r;
}

static void end_held(void)
{
	held->status = ST_OK;
	held->done = true;
	held->complete(held);
}

static const struct block_ops later_ops = {.submit = submit_later, .poll = poll};

static void finish(enum status st, const struct layer_op *op)
{
	must(st == ST_OK);
	while (!op->done)
		layer_pool_poll(pool);
	must(op->status == ST_OK);
}

static bool parts; /* of each cluster the last block is not written */

static void write_all(void)
{
	struct block_range all = {layer, 0, layer->sectors};
	uint32_t bytes = parts ? sizeof data - 4096 : sizeof data;

	for (uint64_t at = 0; at < VOLUME_BYTES; at += sizeof data)
		must(block_run(&all, BLOCK_WRITE, at / 512, bytes / 512, data, &err) == ST_OK);
}

/* A volume all of which is written, @below snapshots below the part that counts. */
static void setup(unsigned below)
{
	struct layer_op op = {.complete = NULL};
	struct layer *l;
	size_t bytes;
	char name[8];

	must(volume_ram_init(&ram, calloc(1, POOL_BYTES), POOL_BYTES, 512, "ram", &err) == ST_OK);
	null_device = ram.device;
	null_device.ops = &null_ops;
	null_device.immediate = immediate;
	range = (struct block_range){&null_device, 0, POOL_BYTES / 512};
	bytes = align_up(layer_pool_memory(&range, 256), 4096);
	must(layer_pool_format(&range, 1, &err) == ST_OK);
	must(layer_pool_open(&range, aligned_alloc(4096, bytes), bytes, 256, &pool, &err) == ST_OK);
	finish(layer_create(pool, "v", VOLUME_BYTES, NULL, &op, &err), &op);
	must(layer_open(pool, "v", NULL, &l, &err) == ST_OK);
	layer = layer_device(l);
	write_all();
	for (unsigned i = 0; i < below; i++) {
		snprintf(name, sizeof name, "s%u", i);
		finish(layer_snapshot(pool, "v", name, &op, &err), &op);
	}
	setting_up = false;
	if (!null_device.immediate)
		null_device.ops = &later_ops;
}

static void seen_done(struct block_request *r)
{
	(void)r;
}

static void make_requests(enum block_op op)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		requests[i] = (struct block_request){
			.op = op, .lba = (i * 7919ull % (VOLUME_BYTES / 4096) & ~1ull) * 8, .count = 8, .segments = &segment,
			.segment_count = 1, .complete = immediate ? NULL : seen_done};
}

CASE case_device_read_later(unsigned i)
{
	null_device.ops->submit(&null_device, &requests[i]);
	end_held();
}
CASE case_layer_read_later(unsigned i)
{
	layer->ops->submit(layer, &requests[i]);
	end_held();
}
CASE case_layer_read_parts(unsigned i) { layer->ops->submit(layer, &requests[i]); }
CASE case_device_read(unsigned i) { null_device.ops->submit(&null_device, &requests[i]); }
CASE case_layer_read(unsigned i) { layer->ops->submit(layer, &requests[i]); }
CASE case_layer_write(unsigned i) { layer->ops->submit(layer, &requests[i]); }
CASE case_layer_read_depth_8(unsigned i) { layer->ops->submit(layer, &requests[i]); }

static unsigned run(enum block_op op, unsigned below, void (*measured)(unsigned i))
{
	setup(below);
	make_requests(op);
	for (unsigned i = 0; i < ROUNDS; i++)
		measured(i);
	for (unsigned i = 0; i < ROUNDS; i++)
		must(requests[i].done && requests[i].status == ST_OK);
	return ROUNDS;
}

static unsigned run_device_read(void) { return run(BLOCK_READ, 0, case_device_read); }
/* All that one discard may free, in memory. */
CASE case_layer_discard_most(void)
{
	layer->ops->submit(layer, &requests[0]);
}
static unsigned run_layer_discard_most(void)
{
	setup(0);
	make_requests(BLOCK_DISCARD);
	requests[0].lba = 0;
	requests[0].count = layer->max_clear;
	case_layer_discard_most();
	must(requests[0].done && requests[0].status == ST_OK);
	return 1;
}

static unsigned run_layer_read_parts(void)
{
	parts = true;
	return run(BLOCK_READ, 0, case_layer_read_parts);
}
static unsigned run_later(void (*measured)(unsigned i))
{
	immediate = false;
	return run(BLOCK_READ, 0, measured);
}
static unsigned run_device_read_later(void) { return run_later(case_device_read_later); }
static unsigned run_layer_read_later(void) { return run_later(case_layer_read_later); }
static unsigned run_layer_read(void) { return run(BLOCK_READ, 0, case_layer_read); }
static unsigned run_layer_write(void) { return run(BLOCK_WRITE, 0, case_layer_write); }
static unsigned run_layer_read_depth_8(void) { return run(BLOCK_READ, 7, case_layer_read_depth_8); }

static const struct bench_case cases[] = {
	{"device_read", run_device_read},
	{"device_read_later", run_device_read_later},
	{"layer_read_parts", run_layer_read_parts},
	{"layer_read_later", run_layer_read_later},
	{"layer_read", run_layer_read},
	{"layer_write", run_layer_write},
	{"layer_read_depth_8", run_layer_read_depth_8},
	{"layer_discard_most", run_layer_discard_most},
};

int main(int argc, char **argv) { return bench_main(cases, ARRAY_SIZE(cases), argc, argv); }
