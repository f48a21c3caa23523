/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The synchronous way to use a block device. The device ends each request by
 * itself, so the loop ends; what it must not do is trust that a request lies
 * inside the range, for a wrong one would write into a neighbour's partition.
 */
#include "io/block.h"

#include "lib/checked.h"

static const char *op_name(enum block_op op)
{
	static const char *const names[] = {[BLOCK_READ] = "reading", [BLOCK_WRITE] = "writing", [BLOCK_FLUSH] = "flushing"};

	return names[op];
}

static enum status check_request(const struct block_range *range, enum block_op op, uint64_t lba, uint32_t count,
				 struct error *err)
{
	const struct block_device *d = range->device;

	if (op != BLOCK_READ && d->read_only)
		return fail(err, ST_DENIED, "%s is read-only", d->name);
	if (op == BLOCK_FLUSH)
		return ST_OK;
	if (count == 0 || count > d->max_count || !range_fits(lba, count, range->count) ||
	    !range_fits(range->first, range->count, d->sectors))
		return fail(err, ST_INVALID, "%s: %s %u sectors from %llu: the range has %llu, a request at most %u",
			    d->name, op_name(op), count, (unsigned long long)lba, (unsigned long long)range->count,
			    d->max_count);
	return ST_OK;
}

static void poll_once(struct block_device *d)
{
	if (!d->ops->poll(d) && d->relax)
		d->relax();
}

enum status block_run(const struct block_range *range, enum block_op op, uint64_t lba, uint32_t count, void *data,
		      struct error *err)
{
	struct block_device *d = range->device;
	struct block_request r = {.op = op, .lba = range->first + lba, .count = count, .data = data};
	enum status st = check_request(range, op, lba, count, err);

	if (st != ST_OK)
		return st;
	while ((st = d->ops->submit(d, &r)) == ST_BUSY)
		poll_once(d);
	while (st == ST_OK && !r.done)
		poll_once(d);
	if (st == ST_OK)
		st = r.status;
	if (st == ST_OK)
		return ST_OK;
	if (op == BLOCK_FLUSH)
		return fail(err, ST_IO, "%s: flushing failed: %s", d->name, r.error.text);
	return fail(err, ST_IO, "%s: %s %u sectors from %llu failed: %s", d->name, op_name(op), count,
		    (unsigned long long)r.lba, r.error.text);
}
