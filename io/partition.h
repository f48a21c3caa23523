/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds our partition on a disk: in a GUID partition table by its type GUID, else
 * in a master boot record by its type byte. Only the table is read, and each of its
 * fields is checked against the disk; logical partitions inside an extended one
 * are not looked for.
 * Source: UEFI Specification 2.10, chapter 5 (both tables).
 */
#ifndef CORBEL_IO_PARTITION_H
#define CORBEL_IO_PARTITION_H

#include "io/block.h"

/*
 * What marks a store of Corbel (docs/store.md): a type byte that nobody known uses, and a random GUID,
 * 9de07ecb-d86a-4671-b017-4634594fbedd, in the byte order of the table.
 */
#define PARTITION_MBR_TYPE 0xcb
#define PARTITION_GPT_TYPE                                                                                \
	{                                                                                                  \
		0xcb, 0x7e, 0xe0, 0x9d, 0x6a, 0xd8, 0x71, 0x46, 0xb0, 0x17, 0x46, 0x34, 0x59, 0x4f, 0xbe, 0xdd \
	}

#define PARTITION_NAME_MAX 37u /* with the NUL */

/* A partition as its table has it. */
struct partition {
	struct block_range range;
	unsigned number;               /* from 1: its place in the table */
	uint8_t mbr_type;              /* of a master boot record, else 0 */
	uint8_t gpt_type[16];          /* of a GUID partition table, as it lies there, else 0 */
	char name[PARTITION_NAME_MAX]; /* of a GUID partition table, what is not printable ASCII as '?', else "" */
};

/*
 * The first partition of @d at place @from or behind; begin with 1 and go on with out->number + 1. @buffer and
 * errors as partition_find(); ST_NOT_FOUND: no table, or no more. Each call reads the table.
 */
enum status partition_next(struct block_device *d, uint8_t *buffer, unsigned from, struct partition *out,
			   struct error *err) MUST_CHECK;

/*
 * The first store partition of @d. @buffer: BLOCK_SECTOR_MAX bytes, used meanwhile. ST_NOT_FOUND: no table, or
 * none of its partitions is ours. ST_CORRUPT: the table or the entry contradicts itself or the disk, and the
 * sentence says how. ST_IO.
 */
enum status partition_find(struct block_device *d, uint8_t *buffer, struct block_range *out,
			   struct error *err) MUST_CHECK;

#endif
