/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that begin and end with any bytes: no partition, a sentence, or one that
 * lies inside the disk and not on its first sector. The input's first byte says what
 * is there before the rest is laid over it, and whether checksums are made right.
 */
#include <stdlib.h>
#include <string.h>

#include "io/partition.h"
#include "lib/checked.h"
#include "tests/fakes/fault_disk.h"
#include "tests/fakes/partition_tables.h"

#define SECTORS 256u
#define SECTOR 512u
#define WITH_TABLE 1
#define MEND 2
#define SECOND 4 /* the rest lies over the disk's end */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fault_disk disk;
	static uint8_t buffer[BLOCK_SECTOR_MAX];
	struct error err = {{0}};
	struct block_range found;
	size_t len, at;

	if (size == 0)
		return 0;
	if (!disk.view)
		fault_disk_init(&disk, SECTORS * SECTOR, SECTOR);
	memset(disk.view, 0, disk.bytes);
	if (data[0] & WITH_TABLE)
		table_gpt(disk.view, SECTORS, SECTOR, 128, 100, 200);
	len = size - 1 < disk.bytes ? size - 1 : disk.bytes;
	at = data[0] & SECOND ? disk.bytes - len : 0;
	memcpy(disk.view + at, data + 1, len);
	if (data[0] & MEND) {
		table_gpt_mend(disk.view, SECTORS, SECTOR, 1);
		table_gpt_mend(disk.view, SECTORS, SECTOR, SECTORS - 1);
	}
	if (partition_find(&disk.device, buffer, &found, &err) != ST_OK) {
		if (err.text[0] == '\0')
			abort();
		return 0;
	}
	if (found.first == 0 || found.count == 0 || !range_fits(found.first, found.count, SECTORS) ||
	    found.device != &disk.device)
		abort();
	return 0;
}
