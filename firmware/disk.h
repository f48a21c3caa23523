/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's disks: those on the two usual IDE channels, and the one that the
 * board's tree names for the writable store. The partition of that store is looked for on the
 * named disk, else on all of them.
 */
#ifndef CORBEL_FIRMWARE_DISK_H
#define CORBEL_FIRMWARE_DISK_H

#include "firmware/board.h"
#include "io/block.h"
#include "io/dma.h"

#define DISK_CHANNELS 3u /* the last one is the named disk's, if that is elsewhere */
#define DISKS_MAX (DISK_CHANNELS * 2u)

struct disk {
	struct block_device *device;
	unsigned channel;
	unsigned number; /* for its name: the same as long as the cables stay */
};

/*
 * Looks for disks, which stay. Boot only: it waits for drives, some seconds at most for one that does not answer. What
 * is found is logged.
 */
void disk_probe(const struct board_disk *store);
/* The disk at @index of those found, NULL: no more. */
const struct disk *disk_at(unsigned index);

/*
 * The two usual channels move data by the chipset's bus master, if there is one, with memory mapped by @dma; @tables:
 * DISK_CHANNELS pages. True when they do.
 */
bool disk_use_dma(const struct dma *dma, void *tables);
/*
 * @fn(@arg) is called masked at interrupts of @channel, which are let through; it has them polled. False when there are
 * none: the channel is polled.
 */
bool disk_use_interrupts(unsigned channel, void (*fn)(void *arg), void *arg);

/*
 * The store's partition, and the disk that it is on. ST_NOT_FOUND: no disk, or none with such a partition. Otherwise
 * the sentence says which disk is in trouble and how. Boot only.
 */
enum status disk_find_store(const struct board_disk *wanted, const struct disk **disk, struct block_range *out,
			    struct error *err) MUST_CHECK;

#endif
