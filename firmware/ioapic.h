/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O APICs: device interrupt lines to vectors. The two 8259 controllers are
 * moved out of the way of exceptions and masked for ever.
 */
#ifndef CORBEL_FIRMWARE_IOAPIC_H
#define CORBEL_FIRMWARE_IOAPIC_H

#include <stdint.h>

#include "firmware/acpi.h"
#include "lib/error.h"

/* Maps every I/O APIC of the MADT and masks all its lines. @acpi outlives it. */
enum status ioapic_init(const struct acpi_info *acpi, struct error *err) MUST_CHECK;

/*
 * Sends ISA line @irq to @vector of the CPU with @apic_id, unmasked, by the
 * MADT's override for it. ST_NOT_FOUND when no I/O APIC has the line.
 */
enum status ioapic_route_isa(uint8_t irq, uint8_t vector, uint32_t apic_id) MUST_CHECK;

/*
 * Likewise for a PCI function whose interrupt was routed to @line. Where the MADT says nothing of the line it is PCI's:
 * level, active low.
 */
enum status ioapic_route_pci(uint8_t line, uint8_t vector, uint32_t apic_id) MUST_CHECK;
/* Masks what was routed. */
void ioapic_mask(uint8_t irq);

#endif
