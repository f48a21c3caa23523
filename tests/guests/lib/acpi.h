/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI tables as a small kernel reads them. Every table handed out has been
 * summed; a wrong one ends the guest.
 */
#ifndef CORBEL_TESTS_GUESTS_ACPI_H
#define CORBEL_TESTS_GUESTS_ACPI_H

#include <stdint.h>

struct acpi_fixed {
	uint16_t pm1_evt, pm1_cnt, pm_tmr; /* ports */
	uint16_t reset_port;
	uint8_t reset_value;
	uint16_t sci;
	uint32_t flags;
	uint8_t s5; /* SLP_TYP of \_S5 */
};

#define ACPI_PM1_SCI_EN 0x0001u
#define ACPI_PM1_SLP_EN 0x2000u
#define ACPI_PM1_SLP_TYP_SHIFT 10
#define ACPI_PWRBTN 0x0100u /* in PM1 status and enable */
#define ACPI_PM_TMR_HZ 3579545u

/* The table with this signature, by RSDP (told, or searched below 1 MiB) and XSDT; NULL for none. */
const uint8_t *acpi_table(const char *signature);
/* What the FADT and the DSDT say; ends the guest where they say nothing. */
const struct acpi_fixed *acpi_fixed(void);

#endif
