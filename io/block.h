/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block devices: what a driver or a volume offers and a user asks. A request is
 * submitted and belongs to the device until it is done. A device takes any number
 * of them (it queues by the requests' own links, so nobody retries), does a bounded
 * step at a time and waits for nothing: progress is made by poll(), by an
 * interrupt or by a timer. Requests that are under way at the same time are done in
 * any order; a flush covers the writes that were done before it was submitted.
 *
 * A device ends every request by itself, with ST_IO after a time-out if need be, but
 * never while something may still write to the request's memory: after a time-out the
 * request is done only once a reset is proven complete.
 *
 * A disk and all that is built upon it (partitions, layers, models) are one domain:
 * calls into devices of a domain come one at a time. Whoever calls holds the lock of the
 * domain's scheduler (io/iosched.h), or is alone. complete() is called from within
 * such a call, so it may submit again, and hands over to other locks only later.
 */
#ifndef CORBEL_IO_BLOCK_H
#define CORBEL_IO_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/segment.h"
#include "lib/error.h"
#include "lib/list.h"

#define BLOCK_NAME_MAX 48
#define BLOCK_SECTOR_MIN 512u
#define BLOCK_SECTOR_MAX 4096u

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };
#define BLOCK_OP_COUNT 5u

/*
 * Owned by whoever submits it; by the device from submit() until done. What is not said to change stays as it
 * was set, so that the same request can be tried again once its @lba is set again.
 */
struct block_request {
	enum block_op op;
	bool unmap;     /* of BLOCK_WRITE_ZEROES: the space may be given back as well */
	uint64_t lba;   /* first sector; not used by a flush. The device may change it: it is what the device below was asked */
	uint64_t count; /* sectors, at least 1; not used by a flush */
	/* Of a read or a write: at least skip + count * sector_bytes bytes, of which the first @skip are passed over. */
	const struct io_segment *segments; /* the submitter's, unchanged until done; memory is only read by a write */
	uint32_t segment_count;
	uint32_t skip;  /* less than the first segment has */
	/*
	 * NULL: the submitter looks at @done. Otherwise called once, interrupts masked, when the request is done and
	 * the submitter's again: from poll(), an interrupt or a timer of the device, never from inside its own
	 * submit(); the submit() of another request may be where it is noticed. What is done when its submit()
	 * returns is not called for.
	 */
	void (*complete)(struct block_request *r);
	/*
	 * Once done: ST_OK; ST_IO; ST_CORRUPT: what is kept contradicts itself; ST_OVER_LIMIT: a thin volume found no
	 * space, and may find some later; ST_UNSUPPORTED, ST_DENIED, ST_INVALID: see block_check(). A write that
	 * failed may have written any of its sectors.
	 */
	enum status status;
	bool done;
	struct error *error; /* where a sentence about a failure goes, NULL: nowhere */
	void *turn;             /* the I/O scheduler's, from submit to done (io/iosched.h) */
	/* The device's from submit to done. */
	struct list link;
	struct {
		void (*complete)(struct block_request *r);
		void *ctx;
	} above;             /* for a device that passes requests on and sees them come back; see block_device.hooks */
};

struct block_device;

struct block_ops {
	/* Takes @r, for which block_check() holds; clears done. */
	void (*submit)(struct block_device *d, struct block_request *r);
	/* A bounded step on what was submitted; true when something moved. */
	bool (*poll)(struct block_device *d);
	/*
	 * Takes @r back when nothing has begun on it: then true, the request is the submitter's again, not
	 * done, and complete() is not called. NULL: never possible.
	 */
	bool (*cancel)(struct block_device *d, struct block_request *r);
};

/*
 * A disk, the part of one or a volume. What was written is durable only once a flush that was submitted after
 * the write was done is done itself.
 */
struct block_device {
	const struct block_ops *ops;
	void *ctx;                 /* the driver's */
	char name[BLOCK_NAME_MAX]; /* "drive 0 at 0x1f0", printable */
	uint32_t sector_bytes;     /* a power of two, BLOCK_SECTOR_MIN .. BLOCK_SECTOR_MAX */
	uint32_t block_bytes;      /* what writes are best aligned to: a multiple of sector_bytes, 0: the same */
	uint32_t max_count;        /* sectors in one read or write, at least 64 KiB of them */
	uint32_t max_clear;        /* sectors in one discard or write-zeroes, 0: any number */
	uint64_t sectors;
	bool read_only;
	bool volatile_cache;       /* false: each write is durable when it is done, a flush does nothing */
	bool discard, write_zeroes; /* the operations that it takes */
	bool immediate;            /* every request is done when submit() returns */
	uint32_t at_once;          /* requests that it works on at a time, 0: not known */
	bool hooks;                /* it or a device below uses block_request.above: none on top of it may */
	uint32_t discard_sectors;  /* granularity: smaller or unaligned pieces of a discard may be left as they are */
	/* Called between polls without progress; may be NULL. A task gives the CPU away in here. */
	void (*relax)(void);
};

/* Part of a device: a partition. */
struct block_range {
	struct block_device *device;
	uint64_t first, count; /* sectors, inside the device */
};

/* "reading", "writing", ... for a sentence. */
const char *block_op_name(enum block_op op);

/*
 * Whether @r may be submitted to @d: ST_INVALID when it does not lie inside, has no sectors, more than the
 * device takes in one request or too little memory; ST_DENIED when it changes a read-only device;
 * ST_UNSUPPORTED when the device does not discard or write zeroes. The sentence goes to @err, which may be NULL.
 */
enum status block_check(const struct block_device *d, const struct block_request *r, struct error *err) MUST_CHECK;

/*
 * Ends @r inside its device: sets status and the sentence, if wanted, and done; does not call complete().
 */
__attribute__((format(printf, 3, 4))) void block_end(struct block_request *r, enum status st, const char *fmt, ...);

/* Sets done and @st without a sentence, and calls complete() if there is one: not from inside submit(). */
void block_complete(struct block_request *r, enum status st);

/* The start of a request's memory. */
static inline struct segment_cursor block_begin(const struct block_request *r)
{
	return (struct segment_cursor){r->segments, r->segment_count, r->skip};
}

/* ---- the synchronous way ---- */

/*
 * Submits one request of one segment and polls until it is done; the control task's, which may be preempted at any
 * time and has nothing better to do. ST_INVALID, ST_DENIED, ST_UNSUPPORTED as block_check(), or
 * when it does not lie inside @range (lba counts from the range's start); ST_IO and what else a request ends
 * with, with a sentence that names the device, the operation and the sector. @data: not used by
 * flush, discard and write-zeroes.
 */
enum status block_run(const struct block_range *range, enum block_op op, uint64_t lba, uint64_t count, void *data,
		      struct error *err) MUST_CHECK;

#endif
