/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the loader told us, in one form for every loader: memory map, command
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

/* Multiboot2 Specification 2.0, 3.6: EAX at entry, and the tags that we read. */
#define MB2_MAGIC 0x36d76289
#define MB2_INFO_END 0
#define MB2_INFO_CMDLINE 1
#define MB2_INFO_LOADER 2
#define MB2_INFO_MODULE 3
#define MB2_INFO_MEMMAP 6
#define MB2_INFO_ACPI_OLD 14
#define MB2_INFO_ACPI_NEW 15

#endif
