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

/* Lays the RAM of @cfg out; a pure function. */
enum status layout_build(const struct vm_config *cfg, struct guest_layout *out, struct error *err);

/* Writes RSDP, XSDT, FADT, FACS, MADT, DSDT into guest memory. */
enum status acpi_build(struct vm *vm, const struct guest_layout *layout, struct error *err);

/* Loads what config.boot says and sets vcpu 0's registers. */
enum status boot_load(struct vm *vm, const struct guest_layout *layout, struct error *err);

#endif
