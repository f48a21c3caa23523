/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the disk with the partition of the writable store: the one that the board's
 * tree names, else the first on the two usual IDE channels that has one.
 */
#ifndef CORBEL_FIRMWARE_DISK_H
#define CORBEL_FIRMWARE_DISK_H

#include "firmware/board.h"
#include "io/block.h"

/*
 * The partition, for good: its device stays. ST_NOT_FOUND: no disk, or none with such a partition. Otherwise the
 * sentence says which disk is in trouble and how. What was found on the way is logged. Boot only: it waits
 * for drives, some seconds at most for one that does not answer.
 */
enum status disk_find_store(const struct board_disk *wanted, struct block_range *out, struct error *err) MUST_CHECK;

#endif
