/* SPDX-License-Identifier: Apache-2.0 */
/* See machine_memory.h. */
#include "guest/machine_memory.h"

#include <string.h>

#include "guest/vm_internal.h"
#include "lib/checked.h"

uint64_t machine_block_bytes(uint64_t bytes) { return (uint64_t)PAGE_SIZE << order_of(bytes); }

static enum status check_room(const struct machine *m, uint64_t bytes, const char *what, struct error *err)
{
	if (range_fits(m->committed, machine_block_bytes(bytes), m->capacity))
		return ST_OK;
	return fail(err, ST_NOT_ADMITTED, "%s: %llu KiB of memory: %llu of %llu KiB are promised", what,
		    (unsigned long long)(machine_block_bytes(bytes) >> 10), (unsigned long long)(m->committed >> 10),
		    (unsigned long long)(m->capacity >> 10));
}

static enum status take_frames(struct machine *m, uint64_t bytes, hfn_t *frame)
{
	unsigned long masked;
	enum status st;

	if (order_of(bytes) > MEMMGR_MAX_ORDER)
		return ST_NO_MEMORY;
	masked = m->host->mask();
	st = memmgr_alloc(m->mm, order_of(bytes), frame);
	m->host->unmask(masked);
	return st;
}

/* Nobody waits while a large block is cleared: only its making is masked. */
enum status machine_take(struct machine *m, uint64_t bytes, const char *what, void **out, struct error *err)
{
	enum status st = check_room(m, bytes, what, err);
	hfn_t frame;

	if (st != ST_OK)
		return st;
	st = take_frames(m, bytes, &frame);
	if (st != ST_OK)
		return fail(err, st, "%s: no host memory: %llu KiB in one piece", what,
			    (unsigned long long)(machine_block_bytes(bytes) >> 10));
	*out = memset(memmgr_va(m->mm, frame), 0, machine_block_bytes(bytes));
	m->committed += machine_block_bytes(bytes);
	return ST_OK;
}

void machine_give(struct machine *m, void *memory, uint64_t bytes)
{
	unsigned long masked = m->host->mask();

	memmgr_free(m->mm, memmgr_hfn(m->mm, memory), order_of(bytes));
	m->host->unmask(masked);
	m->committed -= machine_block_bytes(bytes);
}
