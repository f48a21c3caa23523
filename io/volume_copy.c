/* SPDX-License-Identifier: Apache-2.0 */
/* One piece at a time: read, looked at, written unless it is zeroes. A flush ends it. */
#include "io/volume_copy.h"

#include <string.h>

#include "lib/bits.h"

enum status volume_copy_begin(struct volume_copy *c, struct block_device *from, struct block_device *to, void *buffer,
			      struct error *err)
{
	uint64_t bytes = from->sectors * from->sector_bytes, room = to->sectors * to->sector_bytes;

	if (to->read_only)
		return fail(err, ST_DENIED, "%s is read-only", to->name);
	if (bytes > room)
		return fail(err, ST_INVALID, "%s has %llu bytes, %s only %llu", from->name, (unsigned long long)bytes, to->name,
			    (unsigned long long)room);
	*c = (struct volume_copy){.from = from, .to = to, .buffer = buffer, .bytes = bytes};
	return ST_OK;
}

static void submit(struct volume_copy *c, struct block_device *d, enum block_op op, enum volume_copy_state state)
{
	uint32_t bytes = (uint32_t)align_up(c->piece, d->sector_bytes);

	c->segment = (struct io_segment){c->buffer, bytes};
	c->r = (struct block_request){.op = op, .lba = c->at / d->sector_bytes, .count = bytes / d->sector_bytes,
				      .segments = &c->segment, .segment_count = 1, .error = &c->err};
	c->state = state;
	d->ops->submit(d, &c->r);
}

static bool is_zero(const uint8_t *p, uint32_t bytes)
{
	/* The first byte is, and each is as the one before. */
	return p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0;
}

static enum status end(struct volume_copy *c, enum status st)
{
	c->state = COPY_DONE;
	c->status = st;
	return st;
}

static enum status next(struct volume_copy *c)
{
	uint64_t most = MIN((uint64_t)VOLUME_COPY_BYTES, (uint64_t)c->from->max_count * c->from->sector_bytes);

	if (c->at == c->bytes) {
		c->piece = 0;
		submit(c, c->to, BLOCK_FLUSH, COPY_FLUSHING);
		return ST_AGAIN;
	}
	c->piece = (uint32_t)MIN(c->bytes - c->at, most);
	/* A last piece that fills no sector of the target has zeroes behind it. */
	memset(c->buffer, 0, VOLUME_COPY_BYTES);
	submit(c, c->from, BLOCK_READ, COPY_READING);
	return ST_AGAIN;
}

static enum status take_answer(struct volume_copy *c)
{
	if (c->cancelled)
		return end(c, fail(&c->err, ST_BUSY, "the copy was ended"));
	if (c->r.status != ST_OK)
		return end(c, c->r.status);
	if (c->state == COPY_FLUSHING)
		return end(c, ST_OK);
	if (c->state == COPY_READING && !is_zero(c->buffer, c->piece)) {
		c->written += c->piece;
		submit(c, c->to, BLOCK_WRITE, COPY_WRITING);
		return ST_AGAIN;
	}
	c->at += c->piece;
	c->state = COPY_READ;
	return ST_AGAIN;
}

enum status volume_copy_step(struct volume_copy *c)
{
	if (c->state == COPY_DONE)
		return c->status;
	if (c->state == COPY_READ)
		return next(c);
	if (c->r.done)
		return take_answer(c);
	c->from->ops->poll(c->from);
	c->to->ops->poll(c->to);
	return ST_AGAIN;
}

bool volume_copy_cancel(struct volume_copy *c)
{
	struct block_device *d = c->state == COPY_READING ? c->from : c->to;
	bool idle = c->state == COPY_READ || c->state == COPY_DONE || c->r.done;

	c->cancelled = true;
	if (!idle && !(d->ops->cancel && d->ops->cancel(d, &c->r)))
		return false;
	if (c->state != COPY_DONE)
		(void)end(c, fail(&c->err, ST_BUSY, "the copy was ended"));
	return true;
}
