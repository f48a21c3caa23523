/* SPDX-License-Identifier: Apache-2.0 */
/* See fake_ata.h. */
#include "tests/fakes/fake_ata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firmware/ata.h"
#include "lib/bits.h"

#define MEDIA_MAX (4u << 20) /* of a larger drive only the first and the last bytes are kept */
#define TICKS_PER_LOOK 50u

struct fake_ata fake_ata;

static struct {
	uint8_t reg[8], before[8]; /* what was written last, and before that: the upper bytes of wide commands */
	uint8_t status, error, control;
	unsigned busy;             /* looks left until the step is done */
	struct fake_ata_drive *on; /* whose command runs */
	bool to_drive, failing;
	uint64_t lba;
	uint32_t left, moved;
	uint16_t *identity;        /* IDENTIFY's data */
	bool dma;                  /* the command's data goes through the engine */
} channel;

static struct {
	uint8_t command, status;
	uint32_t table;
	unsigned wait; /* looks left until the transfer is done */
} engine;

static void broken(const char *what)
{
	fprintf(stderr, "fake_ata: %s\n", what);
	abort();
}

static struct fake_ata_drive *selected(void)
{
	return &fake_ata.drive[channel.reg[ATA_DEVICE] & ATA_DEVICE_DEV ? 1 : 0];
}

static uint64_t look(void) { return fake_ata.ticks += TICKS_PER_LOOK; }
static uint64_t clock_ticks(void) { return look(); }
const struct clock fake_ata_clock = {.ticks = clock_ticks, .hz = 10000000};

/* ---- commands ---- */

static uint8_t *sector_at(struct fake_ata_drive *d, uint64_t lba)
{
	uint64_t bytes = d->sectors * d->sector_bytes, at = lba * d->sector_bytes;

	if (bytes > MEDIA_MAX && at >= MEDIA_MAX / 2)
		at = MEDIA_MAX - (bytes - at);
	if (at > MEDIA_MAX - d->sector_bytes)
		broken("a sector between the kept ones");
	return d->media + at;
}

static void finish(uint8_t status)
{
	channel.status = ATA_STATUS_DRDY | status;
	channel.left = 0;
}

/* The next sector's turn: asks for it, or ends the command. */
static void next_step(void)
{
	struct fake_ata_drive *d = channel.on;

	channel.busy = fake_ata.busy_reads;
	if (channel.failing && d->fault == ATA_ERROR_AT && channel.moved == d->fault_at) {
		channel.error = d->fault_error;
		finish(ATA_STATUS_ERR);
	} else if (channel.failing && d->fault == ATA_DEVICE_FAULT) {
		finish(ATA_STATUS_DF);
	} else if (channel.failing && d->fault == ATA_NO_DRQ) {
		finish(0);
	} else if (channel.left > 0 || (channel.failing && d->fault == ATA_TOO_MUCH && !channel.to_drive)) {
		channel.status = ATA_STATUS_DRDY | ATA_STATUS_DRQ;
	} else {
		finish(0);
	}
}

static void address(struct fake_ata_drive *d, bool wide)
{
	const uint8_t *r = channel.reg, *b = channel.before;
	uint32_t count = r[ATA_COUNT];

	channel.lba = r[ATA_LBA_LOW] | r[ATA_LBA_MID] << 8 | r[ATA_LBA_HIGH] << 16;
	if (wide) {
		channel.lba |= (uint64_t)b[ATA_LBA_LOW] << 24 | (uint64_t)b[ATA_LBA_MID] << 32 | (uint64_t)b[ATA_LBA_HIGH] << 40;
		count |= (uint32_t)b[ATA_COUNT] << 8;
	} else {
		channel.lba |= (uint64_t)(r[ATA_DEVICE] & 15) << 24;
		count = count ? count : 256;
	}
	if (!(r[ATA_DEVICE] & ATA_DEVICE_LBA))
		broken("a command without LBA");
	if (count == 0 || channel.lba + count > d->sectors)
		broken("a command beyond the last sector");
	channel.left = count;
	d->last_lba = channel.lba;
	d->last_count = count;
}

static void refuse(uint8_t error)
{
	channel.error = error;
	channel.busy = fake_ata.busy_reads;
	finish(ATA_STATUS_ERR);
}

static void identify(struct fake_ata_drive *d)
{
	if (d->packet) {
		refuse(ATA_ERROR_ABRT);
		channel.reg[ATA_LBA_MID] = ATA_PACKET_MID;
		channel.reg[ATA_LBA_HIGH] = ATA_PACKET_HIGH;
		return;
	}
	channel.identity = d->identity;
	channel.left = 1;
	channel.to_drive = false;
	next_step();
}

/* ---- the engine ---- */

static uint8_t *memory_at(uint32_t address, uint32_t bytes)
{
	if (address < fake_ata.memory_at || address - fake_ata.memory_at > fake_ata.memory_bytes - bytes)
		broken("the engine was sent outside of memory");
	return fake_ata.memory + (address - fake_ata.memory_at);
}

/* Moves at most @bytes by the table; how many it has room for. */
static uint64_t walk_table(struct fake_ata_drive *d, uint64_t bytes)
{
	uint64_t done = 0;

	for (uint32_t at = engine.table;; at += sizeof(struct ide_prd)) {
		const struct ide_prd *p = (const void *)memory_at(at, sizeof *p);
		uint32_t size = p->size & 0xffff ? p->size & 0xffff : 0x10000;
		uint8_t *memory = memory_at(p->address, size);

		if (p->address & 1 || size & 1 || (p->address & 0xffff) + size > 0x10000)
			broken("a region that is odd, or crosses 64 KiB");
		for (uint32_t i = 0; i < size && done + i < bytes; i++) {
			uint64_t byte = done + i;
			uint8_t *medium = sector_at(d, channel.lba + byte / d->sector_bytes) + byte % d->sector_bytes;

			*(channel.to_drive ? medium : memory + i) = channel.to_drive ? memory[i] : *medium;
		}
		done += size;
		if (p->size & IDE_PRD_LAST)
			return done;
	}
}

static void transfer(void)
{
	struct fake_ata_drive *d = channel.on;
	uint64_t bytes = (uint64_t)channel.left * d->sector_bytes, moves = bytes;
	bool fails = channel.failing && d->fault == ATA_ERROR_AT;

	if (fails)
		moves = d->fault_at * d->sector_bytes;
	if (walk_table(d, moves) != bytes)
		broken("a table that is not as long as the transfer");
	fake_ata.transfers++;
	channel.dma = false;
	engine.status |= IDE_BM_STATUS_INTERRUPT;
	if (fails) {
		channel.error = d->fault_error;
		if (fake_ata.error_is_both)
			engine.status |= IDE_BM_STATUS_ERROR;
		finish(fake_ata.error_is_silent ? 0 : ATA_STATUS_ERR);
		return; /* the table is not used up: it stays active until it is stopped */
	}
	engine.status &= (uint8_t)~IDE_BM_STATUS_ACTIVE;
	finish(0);
}

static void engine_look(void)
{
	if (!(engine.status & IDE_BM_STATUS_ACTIVE) || !channel.on)
		return;
	if (fake_ata.late && fake_ata.ticks >= fake_ata.late) {
		fake_ata.late = 0;
		fake_ata.engine_stuck = false;
		channel.failing = false;
		transfer();
		engine.status &= (uint8_t)~IDE_BM_STATUS_INTERRUPT;
		return;
	}
	if (!channel.dma || (channel.failing && channel.on->fault == ATA_STAYS_BUSY) || fake_ata.engine_stuck)
		return;
	if (engine.wait) {
		engine.wait--;
	} else if (fake_ata.bus_error) {
		fake_ata.bus_error = false;
		engine.status = (uint8_t)((engine.status & ~IDE_BM_STATUS_ACTIVE) | IDE_BM_STATUS_ERROR);
	} else {
		transfer();
	}
}

static void engine_out8(unsigned reg, uint8_t v)
{
	if (reg == IDE_BM_STATUS) {
		engine.status &= (uint8_t)~(v & (IDE_BM_STATUS_ERROR | IDE_BM_STATUS_INTERRUPT));
		return;
	}
	if (reg != IDE_BM_COMMAND)
		broken("a register that the engine does not have");
	if (engine.command & v & IDE_BM_COMMAND_START)
		broken("the engine was started twice");
	engine.command = v;
	if (v & IDE_BM_COMMAND_START) {
		if (!channel.dma || !(v & IDE_BM_COMMAND_TO_MEMORY) != channel.to_drive)
			broken("the engine was started without a command, or the wrong way");
		engine.status |= IDE_BM_STATUS_ACTIVE;
		engine.wait = fake_ata.busy_reads;
	} else if (!fake_ata.engine_stuck) {
		engine.status &= (uint8_t)~IDE_BM_STATUS_ACTIVE;
	}
}

static void port_out32(uint16_t port, uint32_t v)
{
	look();
	if (port != FAKE_ATA_ENGINE + IDE_BM_TABLE || v & 3)
		broken("a foreign port of 32 bits, or an odd table");
	if (engine.status & IDE_BM_STATUS_ACTIVE)
		broken("another table while the engine runs");
	engine.table = v;
}

/* ---- commands, continued ---- */

static void start_dma(struct fake_ata_drive *d, bool wide, bool to_drive)
{
	address(d, wide);
	channel.to_drive = to_drive;
	channel.dma = true;
	channel.status = ATA_STATUS_BSY;
}

static void start(uint8_t command)
{
	struct fake_ata_drive *d = selected();
	bool wide = command == ATA_READ_SECTORS_EXT || command == ATA_WRITE_SECTORS_EXT ||
		    command == ATA_FLUSH_CACHE_EXT || command == ATA_READ_DMA_EXT || command == ATA_WRITE_DMA_EXT;
	bool by_engine = command == ATA_READ_DMA || command == ATA_READ_DMA_EXT || command == ATA_WRITE_DMA ||
			 command == ATA_WRITE_DMA_EXT;

	if (!d->present)
		return;
	if (channel.status & (ATA_STATUS_BSY | ATA_STATUS_DRQ) || channel.busy)
		broken("a command while another one runs");
	channel.on = d;
	channel.moved = channel.left = 0;
	channel.identity = NULL;
	channel.failing = d->fault != ATA_SOUND;
	d->last_command = command;
	d->commands++;
	if (d->fault_times && --d->fault_times == 0)
		d->fault = ATA_SOUND;
	if (channel.failing && d->fault == ATA_STAYS_BUSY && !by_engine) {
		channel.status = ATA_STATUS_BSY;
		return;
	}
	if (wide && !(d->identity[ATA_ID_COMMANDS] & ATA_ID_COMMANDS_LBA48)) {
		refuse(ATA_ERROR_ABRT);
		return;
	}
	switch (command) {
	case ATA_IDENTIFY_DEVICE:
		identify(d);
		break;
	case ATA_READ_SECTORS: case ATA_READ_SECTORS_EXT:
	case ATA_WRITE_SECTORS: case ATA_WRITE_SECTORS_EXT:
		address(d, wide);
		channel.to_drive = command == ATA_WRITE_SECTORS || command == ATA_WRITE_SECTORS_EXT;
		next_step();
		break;
	case ATA_READ_DMA: case ATA_READ_DMA_EXT:
		start_dma(d, wide, false);
		break;
	case ATA_WRITE_DMA: case ATA_WRITE_DMA_EXT:
		start_dma(d, wide, true);
		break;
	case ATA_FLUSH_CACHE: case ATA_FLUSH_CACHE_EXT:
		d->flushes++;
		next_step();
		break;
	default:
		refuse(ATA_ERROR_ABRT);
	}
}

/* ---- ports ---- */

static uint8_t status_now(void)
{
	struct fake_ata_drive *d = selected();

	if (channel.control & ATA_CONTROL_SRST)
		return ATA_STATUS_BSY;
	if (!d->present)
		return 0;
	if (channel.busy) {
		channel.busy--;
		return ATA_STATUS_BSY;
	}
	if (d->fault == ATA_NEVER_READY)
		return channel.status & (uint8_t)~ATA_STATUS_DRDY;
	return channel.status;
}

static bool is_engine(uint16_t port) { return port >= FAKE_ATA_ENGINE && port < FAKE_ATA_ENGINE + IDE_BM_PORTS; }

static uint8_t port_in8(uint16_t port)
{
	look();
	if (is_engine(port)) {
		engine_look();
		return port == FAKE_ATA_ENGINE + IDE_BM_STATUS ? engine.status : engine.command;
	}
	if (fake_ata.floating)
		return ATA_STATUS_FLOATING;
	if (port == FAKE_ATA_CONTROL || port == FAKE_ATA_COMMAND + ATA_STATUS)
		return status_now();
	if (port == FAKE_ATA_COMMAND + ATA_ERROR)
		return channel.error;
	if (port <= FAKE_ATA_COMMAND || port > FAKE_ATA_COMMAND + ATA_STATUS)
		broken("a foreign port");
	return channel.reg[port - FAKE_ATA_COMMAND];
}

static void control(uint8_t v)
{
	bool ends = channel.control & ATA_CONTROL_SRST && !(v & ATA_CONTROL_SRST);

	if (!(v & ATA_CONTROL_NIEN) && !fake_ata.interrupts)
		broken("interrupts were allowed");
	channel.control = v;
	if (!ends)
		return;
	for (unsigned i = 0; i < 2; i++)
		fake_ata.drive[i].resets++;
	channel.dma = false;
	channel.status = fake_ata.stuck_in_reset ? ATA_STATUS_BSY : ATA_STATUS_DRDY;
	channel.busy = fake_ata.busy_reads;
	channel.reg[ATA_DEVICE] = 0;
}

static void port_out8(uint16_t port, uint8_t v)
{
	unsigned reg = port - FAKE_ATA_COMMAND;

	look();
	if (port == FAKE_ATA_CONTROL) {
		control(v);
		return;
	}
	if (is_engine(port)) {
		engine_out8(port - FAKE_ATA_ENGINE, v);
		return;
	}
	if (port <= FAKE_ATA_COMMAND || reg > ATA_COMMAND)
		broken("a foreign port");
	if (channel.status & (ATA_STATUS_BSY | ATA_STATUS_DRQ) && !fake_ata.floating)
		broken("a register written while a command runs");
	if (reg == ATA_COMMAND) {
		start(v);
		return;
	}
	channel.before[reg] = channel.reg[reg];
	channel.reg[reg] = v;
}

static void *data_of(uint32_t words)
{
	struct fake_ata_drive *d = channel.on;
	static uint8_t extra[BLOCK_SECTOR_MAX];

	if (!(channel.status & ATA_STATUS_DRQ) || channel.busy)
		broken("data is moved that was not asked for");
	if (channel.identity) {
		if (words != ATA_ID_WORDS)
			broken("IDENTIFY has 256 words");
		return channel.identity;
	}
	if (words != d->sector_bytes / 2)
		broken("data that is no sector");
	return channel.left > 0 ? sector_at(d, channel.lba + channel.moved) : extra;
}

static void moved(void)
{
	channel.moved++;
	if (channel.left > 0)
		channel.left--;
	next_step();
}

static void port_in16s(uint16_t port, void *out, uint32_t words)
{
	if (port != FAKE_ATA_COMMAND || channel.to_drive)
		broken("a read of data that is to be written");
	memcpy(out, data_of(words), words * 2);
	moved();
}

static void port_out16s(uint16_t port, const void *in, uint32_t words)
{
	if (port != FAKE_ATA_COMMAND || !channel.to_drive)
		broken("a write of data that is to be read");
	memcpy(data_of(words), in, words * 2);
	moved();
}

const struct ide_ports fake_ata_ports = {port_in8, port_out8, port_in16s, port_out16s, port_out32};

/* ---- for tests ---- */

void fake_ata_init(void)
{
	memset(&fake_ata, 0, sizeof fake_ata);
	memset(&channel, 0, sizeof channel);
	memset(&engine, 0, sizeof engine);
	fake_ata.busy_reads = 3;
	channel.status = ATA_STATUS_DRDY;
}

void fake_ata_fini(void)
{
	free(fake_ata.drive[0].media);
	free(fake_ata.drive[1].media);
}

void fake_ata_add(unsigned number, uint64_t sectors, uint32_t sector_bytes, bool wide)
{
	struct fake_ata_drive *d = &fake_ata.drive[number];
	const char model[41] = "A drive for tests                       ";
	uint64_t low = sectors > ATA_LBA28_SECTORS - 1 ? ATA_LBA28_SECTORS - 1 : sectors;

	*d = (struct fake_ata_drive){.present = true, .sectors = sectors, .sector_bytes = sector_bytes};
	d->media = calloc(1, MEDIA_MAX);
	for (unsigned i = 0; i < ATA_ID_MODEL_WORDS; i++)
		d->identity[ATA_ID_MODEL + i] = (uint16_t)(model[2 * i] << 8 | model[2 * i + 1]);
	d->identity[ATA_ID_CAPABILITIES] = ATA_ID_CAPABILITIES_LBA;
	d->identity[ATA_ID_SECTORS28] = (uint16_t)low;
	d->identity[ATA_ID_SECTORS28 + 1] = (uint16_t)(low >> 16);
	d->identity[ATA_ID_COMMANDS] = ATA_ID_VALID | ATA_ID_COMMANDS_FLUSH;
	if (wide) {
		d->identity[ATA_ID_COMMANDS] |= ATA_ID_COMMANDS_LBA48 | ATA_ID_COMMANDS_FLUSH_EXT;
		for (unsigned i = 0; i < 4; i++)
			d->identity[ATA_ID_SECTORS48 + i] = (uint16_t)(sectors >> 16 * i);
	}
	if (sector_bytes != 512) {
		d->identity[ATA_ID_SECTOR_SIZE] = ATA_ID_VALID | ATA_ID_SECTOR_SIZE_LARGE;
		d->identity[ATA_ID_SECTOR_WORDS] = (uint16_t)(sector_bytes / 2);
	}
}
