/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's ACPI tables as one block of bytes, to be put at a given address:
 * made without a guest, so that a test can take them apart.
 */
#ifndef CORBEL_GUEST_ACPI_TABLES_H
#define CORBEL_GUEST_ACPI_TABLES_H

#include <stddef.h>
#include <stdint.h>

#include "guest/vpci.h"

#define ACPI_TABLES_BYTES 4096u
#define ACPI_FACS_BYTES 64u

/*
 * Fills @out (ACPI_TABLES_BYTES) with RSDP (first), DSDT, FADT, MADT, MCFG, SSDT, RSDT and XSDT for @vcpus processors
 * with local APIC ids 0.. and a PCI bus with the window @high, and returns the bytes used. @base: where the block will
 * be; @facs: where the FACS will be, 64-byte aligned; both below 4 GiB.
 */
size_t acpi_tables_fill(uint8_t *out, uint64_t base, uint64_t facs, unsigned vcpus, struct vpci_high high);
/* Fills @out (ACPI_FACS_BYTES) with the FACS. */
void acpi_facs_fill(uint8_t *out);

#endif
