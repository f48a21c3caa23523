/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small machine's ACPI tables, built in a buffer at BIOS_BASE: RSDP (both
 * revisions), RSDT or XSDT, FADT, DSDT with \_S5, MADT, MCFG, HPET. Tests then
 * break one thing and fix the checksum or not.
 */
#ifndef CORBEL_TESTS_FAKES_ACPI_TABLES_H
#define CORBEL_TESTS_FAKES_ACPI_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACPI_FAKE_BASE 0xe0000u
#define ACPI_FAKE_BYTES 8192u

/* Where each table lies, as offsets in the buffer. */
struct acpi_fake {
	uint8_t bytes[ACPI_FAKE_BYTES];
	uint32_t rsdp, root, fadt, dsdt, madt, mcfg, hpet, end;
};

/* Builds all tables; @xsdt chooses ACPI 2.0 (XSDT, 36-byte RSDP) or 1.0. */
void acpi_fake_build(struct acpi_fake *f, bool xsdt);

/* Makes the checksum of the table at @at right again. */
void acpi_fake_checksum(struct acpi_fake *f, uint32_t at);

#endif
