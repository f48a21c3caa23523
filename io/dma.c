/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices of a PC see memory as the processor does, and caches are kept coherent by
 * the hardware: mapping is a translation, sync only orders the compiler. The count
 * of mappings is what tests and checks hold against drivers that forget one.
 */
#include "io/dma.h"

#include "lib/assert.h"
#include "lib/checked.h"

static enum status map(void *ctx, void *data, uint32_t bytes, enum dma_direction direction, uint64_t limit,
		       struct dma_mapping *out)
{
	struct dma_identity *id = ctx;
	uint64_t at = id->to_physical(data);

	if (bytes == 0 || !range_fits(at, bytes, limit))
		return ST_BAD_ADDRESS;
	id->mapped++;
	*out = (struct dma_mapping){.address = at, .data = data, .bytes = bytes, .direction = direction};
	return ST_OK;
}

static void unmap(void *ctx, const struct dma_mapping *m)
{
	struct dma_identity *id = ctx;

	(void)m;
	ASSERT(id->mapped > 0);
	id->mapped--;
}

static void sync(void *ctx, const struct dma_mapping *m)
{
	(void)ctx, (void)m;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static const struct dma_ops identity_ops = {.map = map, .unmap = unmap, .sync = sync};

void dma_identity_init(struct dma_identity *id, uint64_t (*to_physical)(const void *data), struct dma *out)
{
	*id = (struct dma_identity){.to_physical = to_physical};
	*out = (struct dma){&identity_ops, id};
}
