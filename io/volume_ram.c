/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory as a disk. Every request is done in submit(): the copy is all that there
 * is to do, and its length is bounded by max_count.
 */
#include <string.h>

#include "io/volume.h"
#include "lib/bits.h"
#include "lib/format.h"

#define REQUEST_BYTES_MAX (1u << 20)

static void submit(struct block_device *device, struct block_request *r)
{
	struct volume_ram *v = container_of(device, struct volume_ram, device);
	struct segment_cursor c = block_begin(r);
	uint64_t bytes = r->count * device->sector_bytes;
	uint8_t *at = v->memory + r->lba * device->sector_bytes;

	switch (r->op) {
	case BLOCK_READ:
		if (likely(c.left == 1))
			memcpy((uint8_t *)c.segment->data + c.skip, at, bytes);
		else
			segment_copy_to(&c, at, bytes);
		break;
	case BLOCK_WRITE:
		if (likely(c.left == 1))
			memcpy(at, (uint8_t *)c.segment->data + c.skip, bytes);
		else
			segment_copy_from(&c, at, bytes);
		break;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		memset(at, 0, bytes);
		break;
	case BLOCK_FLUSH:
		break;
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

enum status volume_ram_init(struct volume_ram *v, void *memory, uint64_t bytes, uint32_t sector_bytes,
			    const char *name, struct error *err)
{
	if (sector_bytes < BLOCK_SECTOR_MIN || sector_bytes > BLOCK_SECTOR_MAX || sector_bytes & (sector_bytes - 1))
		return fail(err, ST_INVALID, "%s: a sector has %u to %u bytes, a power of two, not %u", name, BLOCK_SECTOR_MIN,
			    BLOCK_SECTOR_MAX, sector_bytes);
	if (bytes == 0 || bytes % sector_bytes)
		return fail(err, ST_INVALID, "%s: %llu bytes are no whole number of sectors of %u", name,
			    (unsigned long long)bytes, sector_bytes);
	*v = (struct volume_ram){.memory = memory};
	v->device = (struct block_device){
		.ops = &ops, .sector_bytes = sector_bytes, .max_count = REQUEST_BYTES_MAX / sector_bytes,
		.max_clear = REQUEST_BYTES_MAX / sector_bytes,
		.sectors = bytes / sector_bytes, .discard = true, .write_zeroes = true, .discard_sectors = 1,
		.immediate = true,
	};
	format(v->device.name, sizeof v->device.name, "%s", name);
	return ST_OK;
}
