/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot protocols: put an image from the store into a new VM's memory and give
 * vcpu 0 the entry state. One protocol a file (boot_linux.c, boot_pvh.c,
 * boot_multiboot.c). Each parses the image completely before it writes a byte;
 * an error names the image and what was wrong with it. Runs in the control
 * task, interrupts enabled; populating is masked page by page (gmem).
 */
#ifndef CORBEL_GUEST_BOOT_H
#define CORBEL_GUEST_BOOT_H

#include "guest/vm.h"

/* Where RAM is and what the guest is told of it. */
#define E820_RAM 1u
#define E820_RESERVED 2u
#define E820_ACPI 3u
#define E820_NVS 4u
#define E820_MAX 16

struct e820_entry {
	uint64_t start, size;
	uint32_t type;
};

struct guest_layout {
	struct e820_entry map[E820_MAX];
	unsigned count;
	uint64_t ram_low;   /* bytes of RAM below 4 GiB (ends at or below LAYOUT_MMIO_START) */
	uint64_t ram_high;  /* bytes from 4 GiB on */
	gpa_t acpi_tables;  /* where acpi_build() puts RSDP first; 0 when config.acpi is off */
};

#define LAYOUT_MMIO_START 0xc0000000ull /* RAM below this; the rest from 4 GiB on */
#define LAYOUT_HIGH_START 0x100000000ull
#define LAYOUT_RAM_MAX (4ull << 40)
/*
 * Low memory as a PC has it. RAM backs 0xa0000-0xfffff too, but no map offers it: the ACPI tables lie in its
 * upper part, where kernels search for the RSDP that no boot protocol told them of (ACPI 6.4, 5.2.5.1).
 */
#define LAYOUT_LOW_END 0x9fc00ull
#define LAYOUT_LEGACY_START 0xa0000ull
#define LAYOUT_ACPI_START 0xe0000ull
#define LAYOUT_NVS_START 0xff000ull /* the FACS, which the OS writes */
#define LAYOUT_EXTENDED_START 0x100000ull

/* Lays the RAM of @cfg out; a pure function. */
enum status layout_build(const struct vm_config *cfg, struct guest_layout *out, struct error *err);

/* Writes RSDP, XSDT, FADT, FACS, MADT, DSDT into guest memory. */
enum status acpi_build(struct vm *vm, const struct guest_layout *layout, struct error *err);

/* Loads what config.boot says and sets vcpu 0's registers. */
enum status boot_load(struct vm *vm, const struct guest_layout *layout, struct error *err);

#endif
