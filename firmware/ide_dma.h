/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bus master half of an IDE channel: a table of physical regions, and an
 * engine that moves a request's data by it. Which transfer is made and when it is over is
 * ide.c's business. A request that the engine cannot do (odd addresses, memory at or above 4
 * GiB, too many pieces) is done by programmed I/O instead.
 *
 * Source: Intel 82371SB (PIIX3) data sheet, 290550, sections 2.7 and 3.5; Programming
 * Interface for Bus Master IDE Controller (SFF-8038i), revision 1.0. Pure C.
 */
#ifndef CORBEL_FIRMWARE_IDE_DMA_H
#define CORBEL_FIRMWARE_IDE_DMA_H

#include <stdbool.h>
#include <stdint.h>

#include "io/block.h"
#include "io/dma.h"

#define IDE_BM_PORTS 8u           /* of a channel */
#define IDE_BM_COMMAND 0u
#define IDE_BM_COMMAND_START 0x01u
#define IDE_BM_COMMAND_TO_MEMORY 0x08u
#define IDE_BM_STATUS 2u
#define IDE_BM_STATUS_ACTIVE 0x01u
#define IDE_BM_STATUS_ERROR 0x02u     /* written 1: cleared */
#define IDE_BM_STATUS_INTERRUPT 0x04u /* likewise */
#define IDE_BM_TABLE 4u           /* 32 bits */

/* A region: where, and how many bytes (0: 64 KiB); it crosses no 64 KiB boundary. */
struct ide_prd {
	uint32_t address, size;
};
_Static_assert(sizeof(struct ide_prd) == 8, "the layout of the table");
#define IDE_PRD_LAST 0x80000000u
#define IDE_PRD_SIZE_MAX 0x10000u
#define IDE_PRDS 512u
#define IDE_TABLE_BYTES (IDE_PRDS * sizeof(struct ide_prd)) /* a page: it crosses no 64 KiB boundary either */
#define IDE_DMA_LIMIT 0x100000000ull

struct ide_ports;

struct ide_dma {
	const struct ide_ports *ports;
	uint16_t base;              /* first port; 0: there is no engine */
	struct dma dma;
	struct ide_prd *table;
	struct dma_mapping table_at;
	struct dma_mapping mapped[IDE_PRDS];
	unsigned mapped_count, prds;
};

/*
 * @table: IDE_TABLE_BYTES, aligned to that, stays. ST_BAD_ADDRESS, ST_NO_MEMORY: as dma_ops.map; then there is no
 * engine.
 */
enum status ide_dma_init(struct ide_dma *d, const struct ide_ports *ports, uint16_t base, const struct dma *dma,
			 void *table) MUST_CHECK;

/* Maps the memory of @r, of @bytes in all, and makes the table for it; false: the engine cannot, nothing is mapped. */
bool ide_dma_map(struct ide_dma *d, const struct block_request *r, uint64_t bytes, bool to_drive);
/* The device is done with the memory. */
void ide_dma_unmap(struct ide_dma *d);

/* Before the drive gets its command: table and direction. */
void ide_dma_prepare(struct ide_dma *d, bool to_drive);
/* After that. */
void ide_dma_start(struct ide_dma *d, bool to_drive);
/* IDE_BM_STATUS_*. */
uint8_t ide_dma_status(const struct ide_dma *d);
/* Stops the engine, which cannot be resumed, and clears what it has told. True: it is at rest. */
bool ide_dma_stop(struct ide_dma *d);

#endif
