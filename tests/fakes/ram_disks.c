/* SPDX-License-Identifier: Apache-2.0 */
/* See ram_disks.h. */
#include "tests/fakes/ram_disks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ram_disks ram_disks;

static bool submit(void *ctx, struct block_request *r)
{
	struct ram_disk *d = ctx;

	ram_disks.requests++;
	r->done = false;
	if (ram_disks.hold) {
		list_push_back(&d->held, &r->link);
		return false;
	}
	if (ram_disks.full && r->op == BLOCK_WRITE) {
		r->status = ST_OVER_LIMIT;
		r->done = true;
		return true;
	}
	d->volume.device.ops->submit(&d->volume.device, r);
	return true;
}

static bool cancel(void *ctx, struct block_request *r)
{
	(void)ctx;
	if (ram_disks.begun)
		return false;
	list_remove(&r->link);
	return true;
}

static const struct virtio_blk_backend_ops backend = {.submit = submit, .cancel = cancel};

unsigned ram_disks_answer(unsigned most)
{
	unsigned done = 0;

	for (unsigned i = 0; i < RAM_DISKS; i++) {
		struct ram_disk *d = &ram_disks.disk[i];

		while (done < most && !list_empty(&d->held)) {
			struct block_request *r = list_entry(d->held.next, struct block_request, link);

			list_remove(&r->link);
			d->volume.device.ops->submit(&d->volume.device, r);
			r->complete(r);
			done++;
		}
	}
	return done;
}

static enum status open_disk(void *ctx, struct vm *vm, const struct vm_disk *disk, struct vm_disk_source *out,
			     struct error *err)
{
	(void)ctx, (void)vm;
	for (unsigned i = 0; i < RAM_DISKS; i++) {
		struct ram_disk *d = &ram_disks.disk[i];

		if (strcmp(disk->volume, d->volume.device.name) != 0)
			continue;
		d->opened++;
		*out = (struct vm_disk_source){&backend, d, &d->volume.device, d};
		return ST_OK;
	}
	return fail(err, ST_NOT_FOUND, "there is no volume %s", disk->volume);
}

static void close_disk(void *ctx, struct vm_disk_source *source)
{
	struct ram_disk *d = source->handle;

	(void)ctx;
	if (!list_empty(&d->held)) {
		fprintf(stderr, "ram_disks: closed with a request under way\n");
		abort();
	}
	d->opened--;
}

static void set_disk(void *ctx, struct vm_disk_source *source, const struct vm_disk *disk)
{
	struct ram_disk *d = source->handle;

	(void)ctx;
	d->set++;
	d->unit = disk->unit;
	d->numbers = disk->numbers;
}

/* Figures that a test knows by heart. */
static void count_disk(void *ctx, struct vm_disk_source *source, struct iosched_figures *out)
{
	(void)ctx, (void)source;
	*out = (struct iosched_figures){.queued = 300, .service = 700, .throttled = 100, .waiting = 2, .at_device = 3};
	out->latency[4] = 98;
	out->latency[9] = 2;
}

const struct vm_disk_ops ram_disk_ops = {
	.open = open_disk, .close = close_disk, .set = set_disk, .figures = count_disk,
};

void ram_disks_init(void)
{
	static const char *const names[RAM_DISKS] = {"one", "two"};

	ram_disks.hold = ram_disks.begun = ram_disks.full = false;
	ram_disks.requests = 0;
	for (unsigned i = 0; i < RAM_DISKS; i++) {
		struct ram_disk *d = &ram_disks.disk[i];

		memset(d, 0, sizeof *d);
		list_init(&d->held);
		if (volume_ram_init(&d->volume, d->bytes, sizeof d->bytes, 512, names[i], NULL) != ST_OK)
			abort();
	}
}
