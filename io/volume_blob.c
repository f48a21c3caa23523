/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A blob of the store as a read-only disk. The archive that it lies in never
 * changes, so any number of machines read it at once, without a lock.
 */
#include "io/volume.h"
#include "lib/bits.h"
#include "lib/format.h"

#define REQUEST_BYTES_MAX (1u << 20)

static void submit(struct block_device *device, struct block_request *r)
{
	const struct volume_blob *v = container_of(device, struct volume_blob, device);
	struct segment_cursor c = block_begin(r);
	uint64_t at = r->lba * device->sector_bytes, bytes = r->count * device->sector_bytes, there;

	if (r->op == BLOCK_READ) {
		there = MIN(bytes, v->bytes - at);
		segment_copy_to(&c, v->data + at, there);
		segment_clear(&c, bytes - there);
	}
	r->status = ST_OK;
	r->done = true;
}

static bool poll(struct block_device *device)
{
	(void)device;
	return false;
}

static const struct block_ops ops = {.submit = submit, .poll = poll};

enum status volume_blob_init(struct volume_blob *v, const void *data, uint64_t bytes, const char *name, struct error *err)
{
	if (bytes == 0)
		return fail(err, ST_INVALID, "%s: an empty file is no disk", name);
	*v = (struct volume_blob){.data = data, .bytes = bytes};
	v->device = (struct block_device){
		.ops = &ops, .sector_bytes = BLOCK_SECTOR_MIN, .max_count = REQUEST_BYTES_MAX / BLOCK_SECTOR_MIN,
		.sectors = (bytes + BLOCK_SECTOR_MIN - 1) / BLOCK_SECTOR_MIN, .read_only = true,
		.immediate = true,
	};
	format(v->device.name, sizeof v->device.name, "%s", name);
	return ST_OK;
}
