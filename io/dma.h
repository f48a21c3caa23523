/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How drivers give memory to devices that read and write it by themselves. A
 * mapping is made for one transfer and undone after it; between the two the memory
 * is the device's, and what the address means outside of it is nobody's business
 * but that of whoever implements this. Today the address is the physical one,
 * nothing stands between a device and all of memory, and `info` says so. An
 * IOMMU changes the implementation, not the drivers.
 *
 * unmap() is called only when the device is known to be done with the memory: after
 * its completion, or after a reset that is proven complete.
 */
#ifndef CORBEL_IO_DMA_H
#define CORBEL_IO_DMA_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/status.h"

enum dma_direction { DMA_TO_DEVICE, DMA_FROM_DEVICE };

/* Memory that a device may use now. */
struct dma_mapping {
	uint64_t address; /* what the device is told */
	void *data;       /* what was mapped */
	uint32_t bytes;
	enum dma_direction direction;
	uint64_t cookie;  /* the implementation's */
};

struct dma_ops {
	/*
	 * Maps memory from @data on, at most @bytes of it: out->bytes says how much is one piece for the device, at
	 * least up to the end of the 4 KiB page. ST_BAD_ADDRESS: the device cannot reach it (at or above @limit);
	 * ST_NO_MEMORY: no room for a mapping now.
	 */
	enum status (*map)(void *ctx, void *data, uint32_t bytes, enum dma_direction direction, uint64_t limit,
			   struct dma_mapping *out);
	void (*unmap)(void *ctx, const struct dma_mapping *m);
	/* Between a transfer and the CPU's look at memory that stays mapped, and before the next transfer. */
	void (*sync)(void *ctx, const struct dma_mapping *m);
	bool is_protected; /* a device reaches what is mapped for it and nothing else */
};

struct dma {
	const struct dma_ops *ops;
	void *ctx;
};

/*
 * The identity: @to_physical gives the physical address of host memory, which is contiguous where the
 * addresses are. Nothing is protected.
 */
struct dma_identity {
	uint64_t (*to_physical)(const void *data);
	uint32_t mapped; /* mappings that are not undone */
};

/* @id is kept as long as @out is used. */
void dma_identity_init(struct dma_identity *id, uint64_t (*to_physical)(const void *data), struct dma *out);

#endif
