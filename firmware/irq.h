/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupt vectors of the host: who handles which, handed out from the top down
 * so that what is asked for first (timer, kick) has the higher priority class.
 * Handlers run with interrupts masked and must be short. One table for all CPUs.
 */
#ifndef CORBEL_FIRMWARE_IRQ_H
#define CORBEL_FIRMWARE_IRQ_H

#include <stdint.h>

#include "firmware/irq_shared.h"
#include "lib/status.h"

typedef void (*irq_handler)(void *arg);

/* Gives @fn a vector of its own. ST_NO_MEMORY when none is free. @name is kept, not copied. */
enum status irq_allocate(const char *name, irq_handler fn, void *arg, uint8_t *vector) MUST_CHECK;

/*
 * Gives @fn a vector and routes ISA line @irq to it on this CPU, unmasked. Lines
 * are not shared: ST_BUSY when the line has a handler. Else statuses of
 * irq_allocate() and ioapic_route_isa().
 */
enum status irq_request_isa(uint8_t irq, const char *name, irq_handler fn, void *arg) MUST_CHECK;

/*
 * Likewise for a PCI function whose interrupt was routed to ISA line @line, which such functions share; each is asked.
 * A line that interrupts on and on while nobody has done it is masked for good, and that is logged: whoever else has it
 * is not interrupted then. ST_BUSY: it is an ISA device's. ST_NO_MEMORY: too many share it.
 */
enum status irq_request_pci(uint8_t line, const char *name, irq_shared_handler fn, void *arg) MUST_CHECK;

/*
 * Runs the handler of @vector and acknowledges it at the local APIC. From the
 * trap entry, and from the engine when an interrupt ended a guest's run and the
 * VM exit has acknowledged it already at the processor. Interrupts masked.
 */
void irq_dispatch(uint8_t vector);

#endif
