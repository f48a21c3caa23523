/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies a volume into another: an image or a blob into a new layer ("import"). The
 * copy is driven by its owner, a bounded step at a time, and waits for nothing. What
 * is zeroes is not written, so a thin volume stays thin; the target must read as
 * zeroes where nothing was written.
 */
#ifndef CORBEL_IO_VOLUME_COPY_H
#define CORBEL_IO_VOLUME_COPY_H

#include "io/block.h"

#define VOLUME_COPY_BYTES 65536u /* of a step, and of the buffer */

enum volume_copy_state { COPY_READ, COPY_READING, COPY_WRITING, COPY_FLUSHING, COPY_DONE };

struct volume_copy {
	struct block_device *from, *to;
	uint8_t *buffer;
	uint64_t at, bytes;      /* progress, and all of it */
	uint64_t written;        /* bytes that were not zeroes */
	uint32_t piece;          /* under way */
	bool cancelled;
	enum volume_copy_state state;
	enum status status;      /* of COPY_DONE */
	struct block_request r;
	struct io_segment segment;
	struct error err;
};

/*
 * Begins to copy all of @from, from its first sector on, to @to; both stay, and @buffer of VOLUME_COPY_BYTES is
 * the copy's until it is done. ST_INVALID: @to is smaller; ST_DENIED: it is read-only.
 */
enum status volume_copy_begin(struct volume_copy *c, struct block_device *from, struct block_device *to, void *buffer,
			      struct error *err) MUST_CHECK;

/* A bounded step, polling the devices. ST_AGAIN: there is more; ST_OK: all is durable; else why not, in c->err. */
enum status volume_copy_step(struct volume_copy *c) MUST_CHECK;

/*
 * Ends the copy early, with ST_BUSY. False: a request is under way and cannot be taken back; the copy ends with
 * that: step on until it is not ST_AGAIN any more.
 */
bool volume_copy_cancel(struct volume_copy *c);

#endif
