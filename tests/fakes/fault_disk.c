/* SPDX-License-Identifier: Apache-2.0 */
/* See fault_disk.h. */
#include "tests/fakes/fault_disk.h"

#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "lib/checked.h"
#include "lib/format.h"

static struct fault_disk *disk_of(struct block_device *device)
{
	return container_of(device, struct fault_disk, device);
}

static enum status submit(struct block_device *device, struct block_request *r)
{
	struct fault_disk *d = disk_of(device);

	if (d->held)
		return ST_BUSY;
	r->done = false;
	d->held = r;
	return ST_OK;
}

static void keep_pending(struct fault_disk *d, uint64_t at, const void *data, uint32_t bytes)
{
	struct fault_write *w;

	if (d->pending_count == d->pending_room) {
		d->pending_room = d->pending_room * 2 + 16;
		d->pending = realloc(d->pending, d->pending_room * sizeof *d->pending);
	}
	w = &d->pending[d->pending_count++];
	*w = (struct fault_write){at, bytes, malloc(bytes)};
	memcpy(w->data, data, bytes);
}

static void drop_pending(struct fault_disk *d)
{
	for (unsigned i = 0; i < d->pending_count; i++)
		free(d->pending[i].data);
	d->pending_count = 0;
}

static void do_write(struct fault_disk *d, const struct block_request *r, uint64_t at, uint32_t bytes)
{
	d->writes++;
	keep_pending(d, at, r->data, bytes);
	memcpy(d->view + at, r->data, bytes);
	if (d->writes == d->cut_at || (at < d->cut_below && --d->cut_low == 0))
		d->dead = true;
}

static void do_flush(struct fault_disk *d)
{
	d->flushes++;
	for (unsigned i = 0; i < d->pending_count; i++)
		memcpy(d->platter + d->pending[i].at, d->pending[i].data, d->pending[i].bytes);
	drop_pending(d);
}

static bool reads_bad(const struct fault_disk *d, const struct block_request *r)
{
	return r->op == BLOCK_READ && d->bad_count && r->lba < d->bad_first + d->bad_count &&
	       r->lba + r->count > d->bad_first;
}

static bool fails(struct fault_disk *d, struct block_request *r)
{
	const char *why = NULL;

	d->requests++;
	if (d->dead)
		why = "no power";
	else if (d->fail_from && d->requests >= d->fail_from && d->requests - d->fail_from < d->fail_count)
		why = "made to fail";
	else if (d->fail_writes && r->op != BLOCK_READ)
		why = "writes are made to fail";
	else if (reads_bad(d, r))
		why = "unreadable sector";
	if (why)
		format(r->error.text, sizeof r->error.text, "%s", why);
	return why;
}

static void carry_out(struct fault_disk *d, struct block_request *r)
{
	uint64_t at = r->lba * d->device.sector_bytes;
	uint32_t bytes = r->count * d->device.sector_bytes;

	r->status = ST_IO;
	if (fails(d, r))
		return;
	if (r->op != BLOCK_FLUSH && (r->count == 0 || !range_fits(at, bytes, d->bytes)))
		abort(); /* outside the device: whoever submits sees to that */
	if (r->op == BLOCK_READ) {
		d->reads++;
		memcpy(r->data, d->view + at, bytes);
	} else if (r->op == BLOCK_WRITE) {
		do_write(d, r, at, bytes);
	} else {
		do_flush(d);
	}
	r->status = d->dead ? ST_IO : ST_OK;
}

static bool poll(struct block_device *device)
{
	struct fault_disk *d = disk_of(device);
	struct block_request *r = d->held;

	if (!r)
		return false;
	d->held = NULL;
	carry_out(d, r);
	r->done = true;
	return true;
}

static const struct block_ops ops = {.submit = submit, .poll = poll};

void fault_disk_init(struct fault_disk *d, uint64_t bytes, uint32_t sector_bytes)
{
	memset(d, 0, sizeof *d);
	d->bytes = bytes;
	d->platter = calloc(1, bytes);
	d->view = calloc(1, bytes);
	d->device = (struct block_device){
		.ops = &ops, .name = "fault disk", .sector_bytes = sector_bytes, .max_count = 65536 / sector_bytes,
		.sectors = bytes / sector_bytes,
	};
}

void fault_disk_fini(struct fault_disk *d)
{
	drop_pending(d);
	free(d->pending);
	free(d->platter);
	free(d->view);
}

struct block_range fault_disk_range(struct fault_disk *d)
{
	return (struct block_range){&d->device, 0, d->device.sectors};
}

void fault_disk_power_on(struct fault_disk *d, bool (*keep)(void *ctx), void *ctx)
{
	for (unsigned i = 0; i < d->pending_count; i++) {
		const struct fault_write *w = &d->pending[i];

		for (uint32_t at = 0; at < w->bytes; at += FAULT_DISK_TEAR)
			if (keep(ctx))
				memcpy(d->platter + w->at + at, w->data + at, FAULT_DISK_TEAR);
	}
	drop_pending(d);
	memcpy(d->view, d->platter, d->bytes);
	d->dead = d->fail_writes = false;
	d->cut_at = d->cut_below = d->fail_from = d->bad_count = 0;
	d->held = NULL;
}

void fault_disk_xor(struct fault_disk *d, uint64_t at, uint8_t mask)
{
	d->platter[at] ^= mask;
	d->view[at] ^= mask;
}
