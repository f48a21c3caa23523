/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RAM of a guest and the map it is given of it. The shape is a PC's: 639 KiB
 * of conventional memory, the legacy area, RAM from 1 MiB up to the device hole
 * below 4 GiB, and the rest above. The map lists RAM and what firmware keeps;
 * what it does not mention is not there.
 */
#include "guest/boot.h"
#include "guest/pc.h"
#include "lib/assert.h"

static void add(struct guest_layout *l, uint64_t start, uint64_t end, uint32_t type)
{
	if (start >= end)
		return;
	ASSERT(l->count < E820_MAX);
	l->map[l->count++] = (struct e820_entry){.start = start, .size = end - start, .type = type};
}

static void add_legacy_area(struct guest_layout *l, bool acpi)
{
	add(l, LAYOUT_LOW_END, LAYOUT_LEGACY_START, E820_RESERVED);
	if (!acpi) {
		add(l, LAYOUT_ACPI_START, LAYOUT_EXTENDED_START, E820_RESERVED);
		return;
	}
	l->acpi_tables = gpa(LAYOUT_ACPI_START);
	add(l, LAYOUT_ACPI_START, LAYOUT_NVS_START, E820_ACPI);
	add(l, LAYOUT_NVS_START, LAYOUT_EXTENDED_START, E820_NVS);
}

enum status layout_build(const struct vm_config *cfg, struct guest_layout *out, struct error *err)
{
	struct guest_layout l = {0};
	uint64_t size = cfg->memory.size;

	if (size < VM_MEMORY_MIN || size > LAYOUT_RAM_MAX || !is_aligned(size, PAGE_SIZE))
		return fail(err, ST_INVALID,
			    "VM '%s': mem.size is %llu bytes; it must be a multiple of 4 KiB from 1 MiB to 4 TiB",
			    cfg->name, (unsigned long long)size);
	l.ram_low = MIN(size, LAYOUT_MMIO_START);
	l.ram_high = size - l.ram_low;
	add(&l, 0, LAYOUT_LOW_END, E820_RAM);
	add_legacy_area(&l, cfg->acpi);
	add(&l, LAYOUT_EXTENDED_START, l.ram_low, E820_RAM);
	add(&l, PC_ECAM_BASE, PC_ECAM_BASE + PC_ECAM_SIZE, E820_RESERVED); /* where MCFG says (PCI Firmware 3.2, 4.1.2) */
	add(&l, LAYOUT_HIGH_START, LAYOUT_HIGH_START + l.ram_high, E820_RAM);
	*out = l;
	return ST_OK;
}
