/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the loader told us, in one form for every loader: memory ranges, command
 * line, modules, RSDP. Everything is copied with bounds checks; after
 * bootinfo_read() nothing of the loader's is looked at again except the modules'
 * bytes. Pure C: loader memory comes through struct phys_reader, so that tests
 * and fuzzers feed it any bytes.
 */
#ifndef CORBEL_FIRMWARE_BOOTINFO_H
#define CORBEL_FIRMWARE_BOOTINFO_H

/* Which loader entered, set by start.S. */
#define BOOT_MULTIBOOT2 1
#define BOOT_PVH 2

/* Multiboot2 Specification 2.0, 3.3 and 3.6: EAX at entry, and the tags that we read. */
#define MB2_MAGIC 0x36d76289
#define MB2_INFO_END 0
#define MB2_INFO_CMDLINE 1
#define MB2_INFO_LOADER 2
#define MB2_INFO_MODULE 3
#define MB2_INFO_MEMMAP 6
#define MB2_INFO_ACPI_OLD 14
#define MB2_INFO_ACPI_NEW 15

/* Xen public/arch-x86/hvm/start_info.h. */
#define PVH_MAGIC 0x336ec578

#ifndef __ASSEMBLER__

#include <stdint.h>

#include "firmware/memmap.h"
#include "firmware/phys.h"
#include "lib/error.h"
#include "lib/status.h"

#define BOOT_CMDLINE_MAX 2048
#define BOOT_NAME_MAX 64
#define BOOT_RANGES_MAX 128
#define BOOT_MODULES_MAX 8
#define BOOT_RSDP_MAX 36 /* RSDP of ACPI 2.0 */

struct loaded_module {
	uint64_t start, len;
	char args[BOOT_NAME_MAX]; /* the words that the loader gave with it, cut to fit */
};

struct boot_info {
	unsigned protocol;                /* BOOT_* */
	char loader[BOOT_NAME_MAX];       /* its name, "" when unknown; not yet cleaned for print */
	char cmdline[BOOT_CMDLINE_MAX];
	unsigned range_count, module_count;
	struct memmap_range range[BOOT_RANGES_MAX];
	struct loaded_module module[BOOT_MODULES_MAX]; /* the first is the store */
	uint64_t rsdp_at;                 /* address of the RSDP, 0 = not given */
	uint8_t rsdp[BOOT_RSDP_MAX];      /* or a copy of it, */
	uint32_t rsdp_len;                /* 0 = none */
};

/*
 * Reads what the loader left at @at. On failure @err names the structure and the
 * offset, and @out holds what had been read up to there.
 */
enum status bootinfo_read(const struct phys_reader *mem, unsigned protocol, hpa_t at, struct boot_info *out,
			  struct error *err);

#endif
#endif
