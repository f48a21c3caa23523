/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's local APIC, in x2APIC mode where the CPU has it, and its timer:
 * the one source of timed interrupts of a CPU.
 */
#ifndef CORBEL_FIRMWARE_APIC_H
#define CORBEL_FIRMWARE_APIC_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware/acpi.h"
#include "lib/error.h"

/* Enables this CPU's local APIC, everything masked but the NMI pins that the MADT names. */
enum status apic_init(const struct acpi_info *acpi, struct error *err) MUST_CHECK;

void apic_eoi(void);

/*
 * Starts the timer service: @expired runs in the timer's interrupt, masked. It
 * may come before the deadline (a one-shot timer holds no longer interval): look at the
 * clock. After tsc_calibrate().
 */
enum status host_timer_init(void (*expired)(void), struct error *err) MUST_CHECK;

/* One interrupt at or after TSC @deadline; replaces the one armed before. Past deadlines fire at once. */
void host_timer_arm(uint64_t deadline);
void host_timer_disarm(void);

/* Interprocessor interrupts; @vector from irq_allocate(). */
void apic_send_ipi(uint32_t apic_id, uint8_t vector);
void apic_send_nmi(uint32_t apic_id);

#endif
