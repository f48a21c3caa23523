/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the board's file omits is discovered, but only what a store partition is
 * found on is ever written to.
 */
#include "firmware/disk.h"

#include "firmware/ata.h"
#include "firmware/ide.h"
#include "firmware/tsc.h"
#include "io/partition.h"
#include "lib/log.h"
#include "lib/x86_asm.h"

#define CHANNELS 2u
#define MIB (1024ull * 1024)

static uint8_t port_in8(uint16_t port) { return in8(port); }
static void port_out8(uint16_t port, uint8_t v) { out8(port, v); }
static void port_in16s(uint16_t port, void *out, uint32_t words) { in16s(port, out, words); }
static void port_out16s(uint16_t port, const void *in, uint32_t words) { out16s(port, in, words); }

static const struct ide_ports real_ports = {port_in8, port_out8, port_in16s, port_out16s};

static struct ide_channel channels[CHANNELS];
static struct ide_drive drives[CHANNELS][IDE_DRIVES];

/* The store's partition on one drive. */
static enum status look_at(struct ide_channel *ch, unsigned number, struct ide_drive *d, struct block_range *out,
			   struct error *err)
{
	static uint8_t buffer[BLOCK_SECTOR_MAX];
	enum status st = ide_probe(ch, number, d, err);

	if (st != ST_OK)
		return st;
	log_info("disk: %s: %s, %llu MiB in sectors of %u bytes", d->device.name, d->model,
		 (unsigned long long)(d->device.sectors * d->device.sector_bytes / MIB), d->device.sector_bytes);
	d->device.relax = cpu_pause;
	return partition_find(&d->device, buffer, out, err);
}

/* One bad disk must not hide the next one's store: its trouble is told, and is the answer only when there is no store. */
static enum status search(struct block_range *out, struct error *err)
{
	static const uint16_t ports[CHANNELS][2] = {
		{ATA_PRIMARY, ATA_PRIMARY_CONTROL},
		{ATA_SECONDARY, ATA_SECONDARY_CONTROL},
	};
	enum status worst = fail(err, ST_NOT_FOUND, "no disk has a partition for it");

	for (unsigned i = 0; i < CHANNELS * IDE_DRIVES; i++) {
		unsigned c = i / IDE_DRIVES, number = i % IDE_DRIVES;
		struct error why;
		enum status st;

		if (number == 0)
			ide_channel_init(&channels[c], &real_ports, &host_clock, ports[c][0], ports[c][1]);
		st = look_at(&channels[c], number, &drives[c][number], out, &why);
		if (st == ST_OK)
			return ST_OK;
		if (st == ST_NOT_FOUND)
			continue;
		log_warn("disk: %s", why.text);
		if (st != ST_UNSUPPORTED)
			worst = fail(err, st, "%s", why.text);
	}
	return worst;
}

enum status disk_find_store(const struct board_disk *wanted, struct block_range *out, struct error *err)
{
	if (!wanted->named)
		return search(out, err);
	ide_channel_init(&channels[0], &real_ports, &host_clock, wanted->command, wanted->control);
	return look_at(&channels[0], wanted->drive, &drives[0][0], out, err);
}
