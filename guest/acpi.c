/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts the ACPI tables into a guest's memory: the tables where the layout says,
 * the FACS in the page that the memory map calls non-volatile storage.
 */
#include "guest/acpi_tables.h"
#include "guest/boot.h"
#include "guest/gmem.h"
#include "guest/platform.h"

/* Local APIC entries hold ids of 8 bits; more processors need x2APIC entries. */
_Static_assert(VM_VCPUS_MAX < 255, "MADT");

enum status acpi_build(struct vm *vm, const struct guest_layout *layout, struct error *err)
{
	/* There is one control task, so one build at a time. */
	static uint8_t tables[ACPI_TABLES_BYTES];
	uint8_t facs[ACPI_FACS_BYTES];
	size_t size = acpi_tables_fill(tables, layout->acpi_tables.v, LAYOUT_NVS_START, vm->vcpu_count,
				       platform_pci_high(vm));
	enum status st = gmem_write(vm, layout->acpi_tables, tables, size);

	acpi_facs_fill(facs);
	if (st == ST_OK)
		st = gmem_write(vm, gpa(LAYOUT_NVS_START), facs, sizeof facs);
	if (st != ST_OK)
		return fail(err, st, "VM '%s': writing its ACPI tables failed: %s", vm->config.name, status_name(st));
	return ST_OK;
}
