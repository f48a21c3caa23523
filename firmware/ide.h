/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ATA disks on the legacy channels of a PC (PIIX and all that look like it), by
 * bus-master DMA where channel, drive and request allow it, else by programmed I/O,
 * behind block_ops. Each poll looks at the status once and moves at most one sector, so no
 * step is longer than that. A drive that does not answer, never asks for its data or
 * reports an error ends the request with a sentence; after a time-out the channel is
 * reset first, and the request is done when that is over. By programmed I/O nobody but the
 * driver touches a request's memory, so it is also done when it is clear that the channel does not
 * come back; but what an engine was given stays its own until both drive and engine
 * say that they are at rest: until then the channel is reset over and over. Requests to the
 * two drives of a channel take turns.
 *
 * Interrupts only say that poll() has something to look at; without them it is called
 * over and over. Pure C: ports are reached through struct ide_ports, so that tests put a
 * drive of their own there.
 */
#ifndef CORBEL_FIRMWARE_IDE_H
#define CORBEL_FIRMWARE_IDE_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware/ide_dma.h"
#include "io/block.h"
#include "lib/clock.h"

#define IDE_DRIVES 2u      /* of a channel */
#define IDE_MODEL_MAX 41u  /* with the NUL */

struct ide_ports {
	uint8_t (*in8)(uint16_t port);
	void (*out8)(uint16_t port, uint8_t v);
	/* @words 16-bit words from or to one port. */
	void (*in16s)(uint16_t port, void *out, uint32_t words);
	void (*out16s)(uint16_t port, const void *in, uint32_t words);
	void (*out32)(uint16_t port, uint32_t v); /* for DMA alone */
};

enum ide_state {
	IDE_IDLE,
	IDE_RESET_HOLD,  /* SRST is set */
	IDE_RESET_WAIT,  /* both drives start again */
	IDE_SELECT,      /* whoever was selected ends what it does */
	IDE_ISSUE,       /* the wanted drive is selected and gets ready */
	IDE_DATA,        /* waits to ask for or to give the next sector */
	IDE_DMA,         /* the engine moves the data */
	IDE_END          /* waits for the command's end */
};

struct ide_drive;

/* What is being done for a request, or for IDENTIFY. */
struct ide_job {
	struct ide_drive *drive;
	struct block_request *request; /* NULL: none under way */
	struct segment_cursor memory;    /* of the sectors not moved yet */
	uint8_t command;
	bool to_drive, wide;           /* wide: a 48-bit command */
	uint64_t lba;
	uint32_t count, left;          /* sectors, those not moved yet */
	bool dma;                      /* by the engine, which has the memory mapped */
	bool given;                    /* and may use it: until both are seen at rest */
	bool failed;                   /* timed out: ends with the reset */
};

struct ide_channel {
	const struct ide_ports *ports;
	const struct clock *clock;
	uint16_t command, control; /* first ports of the two blocks */
	enum ide_state state;
	bool reset_due;            /* the last command did not end by itself */
	uint64_t deadline;         /* ticks */
	struct ide_job job;
	struct list queue[IDE_DRIVES]; /* requests that wait */
	struct ide_drive *drive[IDE_DRIVES];
	unsigned turn;             /* the drive that goes first, if both have requests */
	struct ide_dma dma;
	uint8_t quiet;             /* ATA_CONTROL_NIEN, or 0: interrupts are wanted */
	unsigned resets;           /* so far */
	uint8_t bounce[BLOCK_SECTOR_MAX]; /* for a sector that is not in one piece of memory */
};

struct ide_drive {
	struct block_device device;
	struct ide_channel *channel;
	unsigned number;           /* 0 or 1 */
	bool lba48, flush_ext, dma;
	unsigned troubles;         /* commands in a row that it did not end by itself */
	uint64_t gone_until;       /* ticks: until then nothing is asked of it; 0: it is there */
	char model[IDE_MODEL_MAX]; /* printable */
};

void ide_channel_init(struct ide_channel *ch, const struct ide_ports *ports, const struct clock *clock,
		      uint16_t command, uint16_t control);

/*
 * Requests from now on go through the engine at @base (PIIX: BAR 4 of the function, and 8 more for the secondary
 * channel), by @table, see ide_dma_init(), whose statuses are returned; then they do not. The modes of the drives are
 * as the boot firmware has set them. Nothing is under way.
 */
enum status ide_use_dma(struct ide_channel *ch, uint16_t base, const struct dma *dma, void *table) MUST_CHECK;
/* Its interrupts are let through: after each, and from time to time for time-outs, poll() is to be called. */
void ide_use_interrupts(struct ide_channel *ch);

/*
 * Looks for drive @number and fills @out, whose device then takes requests; polls until that is done, at most
 * a few seconds. ST_NOT_FOUND: nothing is there. ST_UNSUPPORTED: a packet device, or a drive without LBA.
 * ST_IO: there is something, and it does not answer as a drive.
 */
enum status ide_probe(struct ide_channel *ch, unsigned number, struct ide_drive *out, struct error *err) MUST_CHECK;

#endif
