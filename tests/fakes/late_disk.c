/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The work of a request is done when it ends. Discarded sectors read as 0xdd, so that a
 * test sees which they were.
 */
#include "tests/fakes/late_disk.h"

#include <stdlib.h>
#include <string.h>

#define DISCARDED 0xdd

static void must(bool cond)
{
	if (!cond)
		abort();
}

void late_disk_init(struct late_disk *d, uint64_t sectors, uint32_t sector_bytes)
{
	memset(d, 0, sizeof *d);
	d->device = (struct block_device){
		.name = "late disk", .sector_bytes = sector_bytes, .max_count = 1 << 20, .sectors = sectors,
		.volatile_cache = true, .discard = true, .write_zeroes = true};
	d->view = calloc(sectors, sector_bytes);
	d->platter = calloc(sectors, sector_bytes);
	must(d->view && d->platter);
	list_init(&d->held);
	d->random = random_seed(1);
	d->cancellable = true;
}

void late_disk_fini(struct late_disk *d)
{
	must(list_empty(&d->held));
	free(d->view);
	free(d->platter);
}

static void transfer(struct late_disk *d, struct block_request *r, uint8_t *disk, uint64_t bytes)
{
	uint64_t left = bytes;

	(void)d;
	for (unsigned i = 0; i < r->segment_count && left != 0; i++) {
		size_t n = r->segments[i].bytes < left ? r->segments[i].bytes : (size_t)left;

		if (r->op == BLOCK_READ)
			memcpy(r->segments[i].data, disk, n);
		else
			memcpy(disk, r->segments[i].data, n);
		disk += n;
		left -= n;
	}
	must(left == 0);
}

static enum status perform(struct late_disk *d, struct block_request *r)
{
	uint64_t bytes = r->count * d->device.sector_bytes;
	uint8_t *at = d->view + r->lba * d->device.sector_bytes;

	if (d->fail_at != 0 && --d->fail_at == 0) {
		d->fail_at = d->fail_more;
		return d->fail_with;
	}
	switch (r->op) {
	case BLOCK_FLUSH:
		memcpy(d->platter, d->view, d->device.sectors * d->device.sector_bytes);
		break;
	case BLOCK_DISCARD:
		memset(at, DISCARDED, bytes);
		break;
	case BLOCK_WRITE_ZEROES:
		memset(at, 0, bytes);
		break;
	default:
		transfer(d, r, at, bytes);
	}
	return ST_OK;
}

static bool submit(void *ctx, struct block_request *r)
{
	struct late_disk *d = ctx;

	must(block_check(&d->device, r, NULL) == ST_OK);
	d->submitted[r->op]++;
	d->last = *r;
	r->done = false;
	if (d->nosy)
		late_disk_end(d, 1);
	if (d->at_once) {
		r->status = perform(d, r);
		r->done = true;
		return true;
	}
	list_push_back(&d->held, &r->link);
	d->holding++;
	return false;
}

static bool cancel(void *ctx, struct block_request *r)
{
	struct late_disk *d = ctx;

	if (!d->cancellable || random_below(&d->random, 100) < d->too_late)
		return false;
	list_remove(&r->link);
	d->holding--;
	d->cancelled++;
	return true;
}

const struct virtio_blk_backend_ops late_disk_ops = {.submit = submit, .cancel = cancel};

unsigned late_disk_end(struct late_disk *d, unsigned most)
{
	unsigned ended = 0;

	for (; ended < most && d->holding > 0; ended++) {
		uint64_t chosen = random_below(&d->random, d->holding);
		struct list *at = d->held.next;
		struct block_request *r;

		while (chosen-- > 0)
			at = at->next;
		r = list_entry(at, struct block_request, link);
		list_remove(at);
		d->holding--;
		r->status = perform(d, r);
		r->done = true;
		r->complete(r);
	}
	return ended;
}
