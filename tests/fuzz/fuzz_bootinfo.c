/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a loader passes, and the memory map made of it: the first byte chooses
 * the protocol, the rest is memory from one page on. Whatever is accepted gives
 * a map that is sorted, disjoint and page granular, also after claims.
 */
#include <stdlib.h>
#include <string.h>

#include "firmware/bootinfo.h"
#include "firmware/cmdline.h"
#include "lib/bits.h"
#include "tests/fakes/phys_buffer.h"

#define BASE 0x1000u

static struct boot_info info;
static struct memmap map;

static void check_map(void)
{
	for (unsigned i = 0; i < map.count; i++) {
		const struct memmap_entry *e = &map.entry[i];

		if (e->start >= e->end || !is_aligned(e->start | e->end, PAGE_SIZE) || e->type >= MEMMAP_TYPES)
			abort();
		if (i > 0 && (e[-1].end > e->start || (e[-1].end == e->start && e[-1].type == e->type)))
			abort();
	}
}

static void build_map(void)
{
	struct error err;
	uint64_t ram;
	hpa_t at;

	if (memmap_build(&map, info.range, info.range_count, &err) != ST_OK)
		return;
	check_map();
	for (unsigned i = 0; i < info.module_count; i++)
		(void)memmap_claim(&map, hpa(info.module[i].start), info.module[i].len, MEMMAP_MODULE, &err);
	check_map();
	ram = memmap_bytes(&map, MEMMAP_RAM);
	if (memmap_alloc(&map, PAGE_SIZE, PAGE_SIZE, UINT64_MAX, &at) == ST_OK &&
	    memmap_bytes(&map, MEMMAP_RAM) != ram - PAGE_SIZE)
		abort();
	check_map();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct phys_buffer b = {.base = BASE, .bytes = data + 1, .len = size ? size - 1 : 0};
	struct phys_reader mem = phys_buffer_reader(&b);
	struct error err = {""};
	char value[8];

	if (size == 0)
		return 0;
	if (bootinfo_read(&mem, data[0] & 1 ? BOOT_PVH : BOOT_MULTIBOOT2, hpa(BASE), &info, &err) != ST_OK) {
		if (err.text[0] == '\0')
			abort();
		return 0;
	}
	(void)cmdline_get(info.cmdline, "board", value, sizeof(value));
	build_map();
	return 0;
}
