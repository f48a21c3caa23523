/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reset and power-off of the machine, by every means that it is known to have,
 * one after the other. Any context, also in the middle of a report.
 */
#ifndef CORBEL_FIRMWARE_POWER_H
#define CORBEL_FIRMWARE_POWER_H

#include <stdint.h>

#include "firmware/acpi.h"

/*
 * Takes what reset and power-off need; maps a memory-mapped reset register.
 * @shutdown_port: where an emulator takes the word "Shutdown", 0 = nowhere.
 */
void power_init(const struct acpi_info *acpi, uint16_t shutdown_port);

/* FADT reset register, PCI reset port, keyboard controller, triple fault. */
__attribute__((noreturn)) void host_reset(void);

/* ACPI S5, then the emulator's port; halts when the machine stays on. */
__attribute__((noreturn)) void host_power_off(void);

#endif
