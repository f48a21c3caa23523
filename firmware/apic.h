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
#include "lib/addr.h"
#include "lib/error.h"

/*
 * Enables the boot CPU's local APIC, everything masked but the NMI pins that the MADT names. @x2apic: in that mode
 * where the processor has it.
 */
enum status apic_init(const struct acpi_info *acpi, bool x2apic, struct error *err) MUST_CHECK;

/* The same on another CPU, in the same mode. ST_UNSUPPORTED: @err says how its local APIC differs. */
enum status apic_init_cpu(const struct acpi_info *acpi, struct error *err) MUST_CHECK;

/* Whether messages can be sent to the CPU with @apic_id: in xAPIC mode ids have 8 bits. */
bool apic_can_reach(uint32_t apic_id);

void apic_eoi(void);

/*
 * Starts the timer service: @expired runs in the timer's interrupt, masked. It
 * may come before the deadline (a one-shot timer holds no longer interval): look at the
 * clock. After tsc_calibrate().
 */
enum status host_timer_init(void (*expired)(void), struct error *err) MUST_CHECK;
/* On another CPU, after that: its timer calls the same function, there. */
void host_timer_init_cpu(void);

/* One interrupt at or after TSC @deadline; replaces the one armed before. Past deadlines fire at once. */
void host_timer_arm(uint64_t deadline);
void host_timer_disarm(void);

/* Interprocessor interrupts, sent with interrupts masked; @vector from irq_allocate(). */
void apic_send_ipi(uint32_t apic_id, uint8_t vector);
void apic_send_nmi(uint32_t apic_id);
void apic_send_init(uint32_t apic_id);
/* @page: below 1 MiB, where the CPU begins in real mode. */
void apic_send_startup(uint32_t apic_id, hpa_t page);

#endif
