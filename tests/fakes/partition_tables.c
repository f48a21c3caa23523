/* SPDX-License-Identifier: Apache-2.0 */
/* See partition_tables.h. The checksum is computed bit by bit, unlike the code under test. */
#include "tests/fakes/partition_tables.h"

#include <string.h>

#include "io/partition.h"
#include "lib/bits.h"

#define ENTRIES 128u
#define ENTRY_OF_OURS 5u

static uint32_t crc32(const uint8_t *p, size_t len)
{
	uint32_t crc = ~0u;

	while (len--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

void table_mbr_entry(uint8_t *sector, unsigned i, uint8_t type, uint32_t first, uint32_t count)
{
	uint8_t *e = sector + 446 + 16 * i;

	e[4] = type;
	put_le32(e + 8, first);
	put_le32(e + 12, count);
	put_le16(sector + 510, 0xaa55);
}

void table_gpt_mend(uint8_t *disk, uint64_t sectors, uint32_t sector_bytes, uint64_t lba)
{
	uint8_t *h = disk + lba * sector_bytes;
	uint64_t entries = get_le64(h + 72), bytes = (uint64_t)get_le32(h + 80) * get_le32(h + 84);
	uint32_t size = get_le32(h + 12);

	if (entries < sectors && bytes <= (sectors - entries) * sector_bytes)
		put_le32(h + 88, crc32(disk + entries * sector_bytes, bytes));
	put_le32(h + 16, 0);
	put_le32(h + 16, crc32(h, size <= sector_bytes ? size : 92));
}

static void header(uint8_t *disk, uint64_t sectors, uint32_t sector_bytes, uint32_t entry_bytes, uint64_t lba, uint64_t other,
		   uint64_t entries)
{
	uint64_t table = (ENTRIES * (uint64_t)entry_bytes + sector_bytes - 1) / sector_bytes;
	uint8_t *h = disk + lba * sector_bytes;

	memcpy(h, "EFI PART", 8);
	put_le32(h + 8, 0x10000);
	put_le32(h + 12, 92);
	put_le64(h + 24, lba);
	put_le64(h + 32, other);
	put_le64(h + 40, 2 + table);
	put_le64(h + 48, sectors - 2 - table);
	put_le64(h + 72, entries);
	put_le32(h + 80, ENTRIES);
	put_le32(h + 84, entry_bytes);
	table_gpt_mend(disk, sectors, sector_bytes, lba);
}

void table_gpt(uint8_t *disk, uint64_t sectors, uint32_t sector_bytes, uint32_t entry_bytes, uint64_t first, uint64_t last)
{
	static const uint8_t ours[16] = PARTITION_GPT_TYPE;
	uint64_t table = (ENTRIES * (uint64_t)entry_bytes + sector_bytes - 1) / sector_bytes;
	uint64_t places[2] = {2, sectors - 1 - table};

	table_mbr_entry(disk, 0, 0xee, 1, (uint32_t)sectors - 1);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *e = disk + places[i] * sector_bytes;

		memset(e, 0, ENTRIES * (size_t)entry_bytes);
		e[0] = 1; /* another's */
		put_le64(e + 32, first);
		put_le64(e + 40, last);
		e += ENTRY_OF_OURS * entry_bytes;
		memcpy(e, ours, sizeof ours);
		put_le64(e + 32, first);
		put_le64(e + 40, last);
	}
	header(disk, sectors, sector_bytes, entry_bytes, 1, sectors - 1, places[0]);
	header(disk, sectors, sector_bytes, entry_bytes, sectors - 1, 1, places[1]);
}
