/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the board's file omits is discovered, but only what a store partition is
 * found on is ever written to without being asked. A disk in trouble is told, and hides no other.
 */
#include "firmware/disk.h"

#include "firmware/ata.h"
#include "firmware/ide.h"
#include "firmware/irq.h"
#include "firmware/pci_ide.h"
#include "firmware/tsc.h"
#include "io/partition.h"
#include "lib/bits.h"
#include "lib/log.h"
#include "lib/x86_asm.h"

#define LEGACY_CHANNELS 2u
#define LEGACY_IRQ 14u /* of the primary channel */
#define MIB (1024ull * 1024)

static uint8_t port_in8(uint16_t port) { return in8(port); }
static void port_out8(uint16_t port, uint8_t v) { out8(port, v); }
static void port_in16s(uint16_t port, void *out, uint32_t words) { in16s(port, out, words); }
static void port_out16s(uint16_t port, const void *in, uint32_t words) { out16s(port, in, words); }
static void port_out32(uint16_t port, uint32_t v) { out32(port, v); }

static const struct ide_ports real_ports = {port_in8, port_out8, port_in16s, port_out16s, port_out32};

static struct ide_channel channels[DISK_CHANNELS];
static struct ide_drive drives[DISK_CHANNELS][IDE_DRIVES];
static struct disk disks[DISKS_MAX];
static unsigned disk_count;

/* ---- looking for them ---- */

/* What the probe of a drive had to say: kept for the drive that the store is looked for on. */
static enum status probed[DISK_CHANNELS][IDE_DRIVES];
static struct error trouble[DISK_CHANNELS][IDE_DRIVES];

static void probe_drive(unsigned c, unsigned number)
{
	struct ide_drive *d = &drives[c][number];
	enum status st = probed[c][number] = ide_probe(&channels[c], number, d, &trouble[c][number]);

	if (st == ST_OK) {
		log_info("disk: %s: %s, %llu MiB in sectors of %u bytes", d->device.name, d->model,
			 (unsigned long long)(d->device.sectors * d->device.sector_bytes / MIB), d->device.sector_bytes);
		d->device.relax = cpu_pause;
		disks[disk_count++] = (struct disk){&d->device, c, c * IDE_DRIVES + number};
	} else if (st != ST_NOT_FOUND) {
		log_warn("disk: %s", trouble[c][number].text);
	}
}

static const uint16_t legacy_ports[LEGACY_CHANNELS][2] = {
	{ATA_PRIMARY, ATA_PRIMARY_CONTROL},
	{ATA_SECONDARY, ATA_SECONDARY_CONTROL},
};

/* Of the named disk. */
static unsigned channel_of(const struct board_disk *named)
{
	for (unsigned c = 0; c < LEGACY_CHANNELS; c++)
		if (legacy_ports[c][0] == named->command)
			return c;
	return LEGACY_CHANNELS;
}

void disk_probe(const struct board_disk *store)
{
	for (unsigned c = 0; c < LEGACY_CHANNELS; c++) {
		ide_channel_init(&channels[c], &real_ports, &host_clock, legacy_ports[c][0], legacy_ports[c][1]);
		for (unsigned number = 0; number < IDE_DRIVES; number++)
			probe_drive(c, number);
	}
	if (!store->named || channel_of(store) != LEGACY_CHANNELS)
		return;
	ide_channel_init(&channels[LEGACY_CHANNELS], &real_ports, &host_clock, store->command, store->control);
	probe_drive(LEGACY_CHANNELS, store->drive);
}

const struct disk *disk_at(unsigned index) { return index < disk_count ? &disks[index] : NULL; }

/* ---- how they work ---- */

bool disk_use_dma(const struct dma *dma, void *tables)
{
	uint16_t base = disk_count ? pci_ide_find() : 0;
	bool any = false;

	for (unsigned c = 0; base && c < LEGACY_CHANNELS; c++)
		any |= ide_use_dma(&channels[c], (uint16_t)(base + c * IDE_BM_PORTS), dma,
				   (uint8_t *)tables + c * IDE_TABLE_BYTES) == ST_OK;
	for (unsigned i = 0; any && i < disk_count; i++)
		if (disks[i].channel < LEGACY_CHANNELS &&
		    drives[disks[i].channel][disks[i].number % IDE_DRIVES].dma && channels[disks[i].channel].dma.base)
			log_info("disk: %s: by DMA", disks[i].device->name);
	return any;
}

bool disk_use_interrupts(unsigned channel, void (*fn)(void *arg), void *arg)
{
	if (channel >= LEGACY_CHANNELS || irq_request_isa((uint8_t)(LEGACY_IRQ + channel), "disk", fn, arg) != ST_OK)
		return false;
	ide_use_interrupts(&channels[channel]);
	return true;
}

/* ---- the store ---- */

static enum status look_on(const struct disk *d, struct block_range *out, struct error *err)
{
	static uint8_t buffer[BLOCK_SECTOR_MAX];

	return partition_find(d->device, buffer, out, err);
}

static enum status look_on_named(const struct board_disk *wanted, const struct disk **disk, struct block_range *out,
				 struct error *err)
{
	unsigned c = channel_of(wanted);

	for (unsigned i = 0; i < disk_count; i++) {
		if (disks[i].number != c * IDE_DRIVES + wanted->drive)
			continue;
		*disk = &disks[i];
		return look_on(&disks[i], out, err);
	}
	return fail(err, probed[c][wanted->drive], "%s", trouble[c][wanted->drive].text);
}

/* One bad disk must not hide the next one's store: its trouble is the answer only when there is no store. */
enum status disk_find_store(const struct board_disk *wanted, const struct disk **disk, struct block_range *out,
			    struct error *err)
{
	enum status worst = fail(err, ST_NOT_FOUND, "no disk has a partition for it");

	if (wanted->named)
		return look_on_named(wanted, disk, out, err);
	for (unsigned c = 0; c < LEGACY_CHANNELS; c++)
		for (unsigned number = 0; number < IDE_DRIVES; number++)
			if (probed[c][number] != ST_NOT_FOUND && probed[c][number] != ST_OK &&
			    probed[c][number] != ST_UNSUPPORTED)
				worst = fail(err, probed[c][number], "%s", trouble[c][number].text);
	for (unsigned i = 0; i < disk_count; i++) {
		struct error why;
		enum status st = look_on(&disks[i], out, &why);

		*disk = &disks[i];
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
