/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block devices: what a driver offers and a user asks. A request is submitted
 * and belongs to the device until it says done; progress is made by poll(), a
 * bounded step that waits for nothing, so that a driver without interrupts fits
 * and one with interrupts may do nothing there. A device ends every request by
 * itself, with ST_IO after a time-out if need be: whoever polls long enough gets
 * an answer. block_run() does that for the control task, which may be preempted
 * at any time and has nothing better to do.
 */
#ifndef CORBEL_IO_BLOCK_H
#define CORBEL_IO_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

#define BLOCK_NAME_MAX 48
#define BLOCK_SECTOR_MIN 512u
#define BLOCK_SECTOR_MAX 4096u

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH };

/* Owned by whoever submits it; by the device from submit() until @done. */
struct block_request {
	enum block_op op;
	uint64_t lba;       /* first sector; not used by a flush */
	uint32_t count;     /* sectors, at least 1; not used by a flush */
	void *data;         /* count * sector_bytes bytes, any alignment; only read by a write */
	enum status status; /* once done: ST_OK, or ST_IO. A failed write may have written any of its sectors */
	bool done;
	struct error error; /* of a failed one: what the device said */
};

struct block_device;

struct block_ops {
	/*
	 * Takes @r, with op, lba, count and data set and within the device; clears done. ST_BUSY: no
	 * request is taken now, poll first. Anything else that is wrong shows in the request.
	 */
	enum status (*submit)(struct block_device *d, struct block_request *r);
	/* A bounded step on what was submitted; true when something moved. Requests become done in here. */
	bool (*poll)(struct block_device *d);
};

/*
 * A disk or the part of one. What was written is durable only once a flush that was submitted after the
 * write had completed has completed itself.
 */
struct block_device {
	const struct block_ops *ops;
	void *ctx;                 /* the driver's */
	char name[BLOCK_NAME_MAX]; /* "drive 0 at 0x1f0", printable */
	uint32_t sector_bytes;     /* a power of two, BLOCK_SECTOR_MIN .. BLOCK_SECTOR_MAX */
	uint32_t max_count;        /* sectors in one request, at least 64 KiB of them */
	uint64_t sectors;
	bool read_only;
	/* Called between polls without progress; may be NULL. A task gives the CPU away in here. */
	void (*relax)(void);
};

/* Part of a device: a partition. */
struct block_range {
	struct block_device *device;
	uint64_t first, count; /* sectors, inside the device */
};

/*
 * Submits one request and polls until it is done; the control task's. ST_INVALID when it does not
 * lie inside @range (lba counts from the range's start) or is larger than the device takes;
 * ST_DENIED for a write to a read-only device; ST_IO with a sentence that names the device, the
 * operation and the sector.
 */
enum status block_run(const struct block_range *range, enum block_op op, uint64_t lba, uint32_t count, void *data,
		      struct error *err) MUST_CHECK;

#endif
