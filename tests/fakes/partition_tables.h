/* SPDX-License-Identifier: Apache-2.0 */
/* Partition tables for tests, written field by field as the UEFI specification has them. */
#ifndef CORBEL_TESTS_PARTITION_TABLES_H
#define CORBEL_TESTS_PARTITION_TABLES_H

#include <stdint.h>

/* Master boot record in @sector: entry @i of @type. */
void table_mbr_entry(uint8_t *sector, unsigned i, uint8_t type, uint32_t first, uint32_t count);
/*
 * A GUID partition table of 128 entries of @entry_bytes on @disk of @sectors sectors, both headers and a protective
 * record; entry 5 is ours.
 */
void table_gpt(uint8_t *disk, uint64_t sectors, uint32_t sector_bytes, uint32_t entry_bytes, uint64_t first, uint64_t last);
/* Makes the checksums of the header at @lba, and of its entries, right. */
void table_gpt_mend(uint8_t *disk, uint64_t sectors, uint32_t sector_bytes, uint64_t lba);

#endif
