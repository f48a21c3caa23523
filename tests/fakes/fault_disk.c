/* SPDX-License-Identifier: Apache-2.0 */
/* See fault_disk.h. */
#include "tests/fakes/fault_disk.h"

#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"

static struct fault_disk *disk_of(struct block_device *device)
{
	return container_of(device, struct fault_disk, device);
}

static void submit(struct block_device *device, struct block_request *r)
{
	struct fault_disk *d = disk_of(device);

	if (block_check(device, r, NULL) != ST_OK)
		abort(); /* whoever submits sees to that */
	r->done = false;
	list_push_back(&d->held, &r->link);
	d->held_count++;
	if (d->held_count > d->held_most)
		d->held_most = d->held_count;
}

static bool cancel(struct block_device *device, struct block_request *r)
{
	struct fault_disk *d = disk_of(device);

	if (d->begun)
		return false;
	list_remove(&r->link);
	d->held_count--;
	return true;
}

/* Room for @bytes in the cache; what is to be there is filled in by the caller. */
static uint8_t *keep_pending(struct fault_disk *d, uint64_t at, uint64_t bytes)
{
	struct fault_write *w;

	if (d->pending_count == d->pending_room) {
		d->pending_room = d->pending_room * 2 + 16;
		d->pending = realloc(d->pending, d->pending_room * sizeof *d->pending);
	}
	w = &d->pending[d->pending_count++];
	*w = (struct fault_write){at, bytes, calloc(1, bytes)};
	return w->data;
}

static void drop_pending(struct fault_disk *d)
{
	for (unsigned i = 0; i < d->pending_count; i++)
		free(d->pending[i].data);
	d->pending_count = 0;
}

static void do_write(struct fault_disk *d, const struct block_request *r, uint64_t at, uint64_t bytes)
{
	struct segment_cursor from = block_begin(r);
	uint8_t *cache = keep_pending(d, at, bytes);

	d->writes++;
	d->written_bytes += bytes;
	if (r->op == BLOCK_WRITE && !segment_copy_from(&from, cache, bytes))
		abort();
	if (r->op == BLOCK_DISCARD)
		memset(cache, FAULT_DISK_DISCARDED, bytes);
	memcpy(d->view + at, cache, bytes);
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

static bool is_bad(const struct fault_disk *d, const struct block_request *r)
{
	return (r->op == BLOCK_READ || (r->op != BLOCK_FLUSH && d->bad_writes)) && d->bad_count && r->lba < d->bad_first + d->bad_count &&
	       r->lba + r->count > d->bad_first;
}

/* What makes @r fail, NULL: nothing. */
static const char *fault_of(struct fault_disk *d, const struct block_request *r)
{
	const char *why = NULL;

	d->requests++;
	if (d->dead)
		why = "no power";
	else if (d->fail_from && d->requests >= d->fail_from && d->requests - d->fail_from < d->fail_count)
		why = "made to fail";
	else if (d->fail_writes && r->op != BLOCK_READ)
		why = "writes are made to fail";
	else if (is_bad(d, r))
		why = r->op == BLOCK_READ ? "unreadable sector" : "a sector that cannot be written";
	else if (d->gone)
		why = "the disk is gone";
	else if (d->fail_flushes && r->op == BLOCK_FLUSH)
		why = "flushes are made to fail";
	return why;
}

static void read_view(struct fault_disk *d, const struct block_request *r, uint64_t at, uint64_t bytes)
{
	struct segment_cursor to = block_begin(r);

	d->reads++;
	if (d->garbage)
		memset(d->view + at, FAULT_DISK_GARBAGE, bytes);
	if (!segment_copy_to(&to, d->view + at, bytes))
		abort();
}

static void carry_out(struct fault_disk *d, struct block_request *r)
{
	uint64_t at = r->lba * d->device.sector_bytes, bytes = r->count * d->device.sector_bytes;
	const char *why = fault_of(d, r);

	if (why) {
		block_end(r, ST_IO, "%s", why);
		return;
	}
	if (r->op == BLOCK_READ)
		read_view(d, r, at, bytes);
	else if (r->op == BLOCK_FLUSH)
		do_flush(d);
	else
		do_write(d, r, at, bytes);
	block_end(r, d->dead ? ST_IO : ST_OK, "%s", d->dead ? "no power" : "");
}

static struct block_request *choose(struct fault_disk *d)
{
	unsigned n = d->pick ? d->pick(d->pick_ctx, d->held_count) : 0;
	struct list *at = d->held.next;

	while (n-- > 0)
		at = at->next;
	return list_entry(at, struct block_request, link);
}

static bool poll(struct block_device *device)
{
	struct fault_disk *d = disk_of(device);
	struct block_request *r;

	if (list_empty(&d->held) || d->late)
		return false;
	r = choose(d);
	list_remove(&r->link);
	d->held_count--;
	carry_out(d, r);
	if (r->complete)
		r->complete(r);
	return true;
}

static const struct block_ops ops = {.submit = submit, .poll = poll, .cancel = cancel};

void fault_disk_init(struct fault_disk *d, uint64_t bytes, uint32_t sector_bytes)
{
	memset(d, 0, sizeof *d);
	d->bytes = bytes;
	d->platter = calloc(1, bytes);
	d->view = calloc(1, bytes);
	d->device = (struct block_device){
		.ops = &ops, .name = "fault disk", .sector_bytes = sector_bytes, .max_count = 65536 / sector_bytes,
		.sectors = bytes / sector_bytes, .volatile_cache = true,
	};
	list_init(&d->held);
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

		for (uint64_t at = 0; at < w->bytes; at += FAULT_DISK_TEAR)
			if (keep(ctx))
				memcpy(d->platter + w->at + at, w->data + at, FAULT_DISK_TEAR);
	}
	drop_pending(d);
	memcpy(d->view, d->platter, d->bytes);
	d->dead = d->bad_writes = d->fail_writes = d->fail_flushes = d->gone = d->late = d->begun = d->garbage = false;
	d->cut_at = d->cut_below = d->fail_from = d->bad_count = 0;
	list_init(&d->held);
	d->held_count = 0;
}

void fault_disk_xor(struct fault_disk *d, uint64_t at, uint8_t mask)
{
	d->platter[at] ^= mask;
	d->view[at] ^= mask;
}
