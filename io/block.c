/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all block devices share: the check of a request, the walk over its memory,
 * its end, and the synchronous way to use a device. The device ends each request
 * by itself, so the loop of block_run() ends; what it must not do is trust that a
 * request lies inside the range, for a wrong one would write into a neighbour's
 * partition.
 */
#include "io/block.h"

#include <stdarg.h>
#include <string.h>

#include "lib/bits.h"
#include "lib/checked.h"
#include "lib/format.h"

const char *block_op_name(enum block_op op)
{
	static const char *const names[BLOCK_OP_COUNT] = {
		[BLOCK_READ] = "reading", [BLOCK_WRITE] = "writing", [BLOCK_FLUSH] = "flushing",
		[BLOCK_DISCARD] = "discarding", [BLOCK_WRITE_ZEROES] = "zeroing",
	};

	return names[op];
}

/* ---- memory ---- */

static bool has_memory(const struct block_request *r, uint64_t bytes)
{
	uint64_t sum = 0;

	if (r->segment_count == 0 || r->skip >= r->segments[0].bytes)
		return false;
	for (uint32_t i = 0; i < r->segment_count && sum < r->skip + bytes; i++)
		sum += r->segments[i].bytes;
	return sum >= r->skip + bytes;
}

/* ---- one request ---- */

static bool moves_data(enum block_op op)
{
	return op == BLOCK_READ || op == BLOCK_WRITE;
}

enum status block_check(const struct block_device *d, const struct block_request *r, struct error *err)
{
	uint64_t most = moves_data(r->op) ? d->max_count : d->max_clear ? d->max_clear : UINT64_MAX;

	if (r->op == BLOCK_FLUSH)
		return ST_OK;
	if (r->op != BLOCK_READ && d->read_only)
		return fail(err, ST_DENIED, "%s is read-only", d->name);
	if ((r->op == BLOCK_DISCARD && !d->discard) || (r->op == BLOCK_WRITE_ZEROES && !d->write_zeroes))
		return fail(err, ST_UNSUPPORTED, "%s cannot do it: %s", d->name, block_op_name(r->op));
	if (r->count == 0 || !range_fits(r->lba, r->count, d->sectors))
		return fail(err, ST_INVALID, "%s: %s %llu sectors from %llu: it has %llu", d->name, block_op_name(r->op),
			    (unsigned long long)r->count, (unsigned long long)r->lba, (unsigned long long)d->sectors);
	if (r->count > most)
		return fail(err, ST_INVALID, "%s: %s %llu sectors: a request has at most %llu", d->name,
			    block_op_name(r->op), (unsigned long long)r->count, (unsigned long long)most);
	if (moves_data(r->op) && !has_memory(r, r->count * d->sector_bytes))
		return fail(err, ST_INVALID, "%s: %s %llu sectors: the memory is too small", d->name,
			    block_op_name(r->op), (unsigned long long)r->count);
	return ST_OK;
}

void block_end(struct block_request *r, enum status st, const char *fmt, ...)
{
	va_list ap;

	if (r->error) {
		va_start(ap, fmt);
		format_v(r->error->text, sizeof r->error->text, fmt, ap);
		va_end(ap);
	}
	r->status = st;
	r->done = true;
}

void block_complete(struct block_request *r, enum status st)
{
	r->status = st;
	r->done = true;
	if (r->complete)
		r->complete(r);
}

/* ---- the synchronous way ---- */

static enum status check_range(const struct block_range *range, const struct block_request *r, struct error *err)
{
	const struct block_device *d = range->device;

	if (r->op == BLOCK_FLUSH || (r->count > 0 && range_fits(r->lba, r->count, range->count) &&
				     range_fits(range->first, range->count, d->sectors)))
		return ST_OK;
	return fail(err, ST_INVALID, "%s: %s %llu sectors from %llu: the range has %llu", d->name, block_op_name(r->op),
		    (unsigned long long)r->count, (unsigned long long)r->lba, (unsigned long long)range->count);
}

static void wait_for(struct block_device *d, const struct block_request *r)
{
	while (!r->done)
		if (!d->ops->poll(d) && !r->done && d->relax)
			d->relax();
}

enum status block_run(const struct block_range *range, enum block_op op, uint64_t lba, uint64_t count, void *data,
		      struct error *err)
{
	struct block_device *d = range->device;
	struct error why = {.text = ""};
	struct io_segment segment = {.data = data};
	struct block_request r = {.op = op, .lba = lba, .count = count, .segments = &segment, .segment_count = 1, .error = &why};
	enum status st = check_range(range, &r, err);

	if (st != ST_OK)
		return st;
	if (moves_data(op))
		segment.bytes = (uint32_t)MIN(count * d->sector_bytes, (uint64_t)UINT32_MAX);
	r.lba = lba += range->first;
	st = block_check(d, &r, err);
	if (st != ST_OK)
		return st;
	d->ops->submit(d, &r);
	wait_for(d, &r);
	if (r.status == ST_OK)
		return ST_OK;
	if (op == BLOCK_FLUSH)
		return fail(err, r.status, "%s: flushing failed: %.150s", d->name, why.text);
	return fail(err, r.status, "%s: %s %llu sectors from %llu failed: %.150s", d->name, block_op_name(op),
		    (unsigned long long)count, (unsigned long long)lba, why.text);
}
