/* SPDX-License-Identifier: Apache-2.0 */
/* A mapping may be larger than a region can be, so there are two lists; the number of pieces bounds both. */
#include "firmware/ide_dma.h"

#include "firmware/ide.h"
#include "lib/bits.h"

static uint16_t port(const struct ide_dma *d, unsigned reg) { return (uint16_t)(d->base + reg); }

enum status ide_dma_init(struct ide_dma *d, const struct ide_ports *ports, uint16_t base, const struct dma *dma,
			 void *table)
{
	enum status st;

	*d = (struct ide_dma){.ports = ports, .dma = *dma, .table = table};
	st = dma->ops->map(dma->ctx, table, IDE_TABLE_BYTES, DMA_TO_DEVICE, IDE_DMA_LIMIT, &d->table_at);
	if (st != ST_OK)
		return st;
	if (d->table_at.bytes < IDE_TABLE_BYTES) {
		dma->ops->unmap(dma->ctx, &d->table_at);
		return ST_BAD_ADDRESS;
	}
	d->base = base;
	(void)ide_dma_stop(d);
	return ST_OK;
}

/* ---- memory ---- */

static bool add_regions(struct ide_dma *d, uint64_t address, uint32_t bytes)
{
	while (bytes > 0) {
		uint32_t room = IDE_PRD_SIZE_MAX - (uint32_t)(address % IDE_PRD_SIZE_MAX), n = MIN(bytes, room);

		if (d->prds == IDE_PRDS)
			return false;
		d->table[d->prds++] = (struct ide_prd){(uint32_t)address, n % IDE_PRD_SIZE_MAX};
		address += n;
		bytes -= n;
	}
	return true;
}

/* One mapping of what is at @data; how many bytes it has, 0: the engine cannot. */
static uint32_t add_mapping(struct ide_dma *d, uint8_t *data, uint32_t bytes, enum dma_direction direction)
{
	struct dma_mapping *m = &d->mapped[d->mapped_count];

	if (d->mapped_count == IDE_PRDS ||
	    d->dma.ops->map(d->dma.ctx, data, bytes, direction, IDE_DMA_LIMIT, m) != ST_OK)
		return 0;
	d->mapped_count++;
	/* Words are moved. */
	if ((m->address | m->bytes) & 1 || !add_regions(d, m->address, m->bytes))
		return 0;
	return m->bytes;
}

bool ide_dma_map(struct ide_dma *d, const struct block_request *r, uint64_t bytes, bool to_drive)
{
	enum dma_direction direction = to_drive ? DMA_TO_DEVICE : DMA_FROM_DEVICE;
	struct segment_cursor c = block_begin(r);
	uint8_t *data;
	uint32_t n;

	d->mapped_count = d->prds = 0;
	if (!d->base)
		return false;
	while ((n = segment_next(&c, bytes, &data)) > 0) {
		bytes -= n;
		while (n > 0) {
			uint32_t done = add_mapping(d, data, n, direction);

			if (done == 0) {
				ide_dma_unmap(d);
				return false;
			}
			data += done;
			n -= done;
		}
	}
	d->table[d->prds - 1].size |= IDE_PRD_LAST;
	return true;
}

void ide_dma_unmap(struct ide_dma *d)
{
	while (d->mapped_count > 0)
		d->dma.ops->unmap(d->dma.ctx, &d->mapped[--d->mapped_count]);
}

/* ---- the engine ---- */

void ide_dma_prepare(struct ide_dma *d, bool to_drive)
{
	d->dma.ops->sync(d->dma.ctx, &d->table_at);
	d->ports->out32(port(d, IDE_BM_TABLE), (uint32_t)d->table_at.address);
	d->ports->out8(port(d, IDE_BM_COMMAND), to_drive ? 0 : IDE_BM_COMMAND_TO_MEMORY);
	d->ports->out8(port(d, IDE_BM_STATUS), ide_dma_status(d) | IDE_BM_STATUS_ERROR | IDE_BM_STATUS_INTERRUPT);
}

void ide_dma_start(struct ide_dma *d, bool to_drive)
{
	d->ports->out8(port(d, IDE_BM_COMMAND), (to_drive ? 0 : IDE_BM_COMMAND_TO_MEMORY) | IDE_BM_COMMAND_START);
}

uint8_t ide_dma_status(const struct ide_dma *d) { return d->ports->in8(port(d, IDE_BM_STATUS)); }

bool ide_dma_stop(struct ide_dma *d)
{
	uint8_t command = d->ports->in8(port(d, IDE_BM_COMMAND));

	/* The direction stays while the engine runs. */
	d->ports->out8(port(d, IDE_BM_COMMAND), command & (uint8_t)~IDE_BM_COMMAND_START);
	d->ports->out8(port(d, IDE_BM_STATUS), ide_dma_status(d) | IDE_BM_STATUS_ERROR | IDE_BM_STATUS_INTERRUPT);
	return !(ide_dma_status(d) & IDE_BM_STATUS_ACTIVE);
}
