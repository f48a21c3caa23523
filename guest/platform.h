/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PC around the vcpus: PICs, IO-APIC, PIT, RTC, PM block, UART, reset and
 * debug ports, wired to the VM's buses and interrupt lines. The devices know
 * nothing of each other; this file is the wiring.
 */
#ifndef CORBEL_GUEST_PLATFORM_H
#define CORBEL_GUEST_PLATFORM_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

struct vm;
struct platform;

/* Bytes that platform_create takes from the VM's arena. */
uint64_t platform_bytes(void);
/*
 * Creates all devices in vm->arena, claims their ranges on vm->pio and vm->mmio (not the local APIC's), and sets
 * vm->console.input. vcpu 0 exists, its clock is vm->time.
 */
enum status platform_create(struct vm *vm, struct error *err);
/* Power-on state of every device but the local APICs. */
void platform_reset(struct vm *vm);
/*
 * Level of interrupt input @gsi (0..23), to PIC (0..15) and IO-APIC; the PIT's 0 is the IO-APIC's 2. This and what
 * follows is called with the VM's lock held, unless said otherwise.
 */
void platform_irq(struct vm *vm, unsigned gsi, bool level);
/* The 8259 pair has an interrupt for vcpu 0. No lock. */
bool platform_pic_pending(struct vm *vm);
/* Acknowledges it and returns the vector (spurious ones too). Takes the lock. */
uint8_t platform_pic_ack(struct vm *vm);
/* A level-triggered vector was EOIed at a local APIC. Takes the lock. */
void platform_eoi(struct vm *vm, uint8_t vector);
/* Presses the ACPI power button. */
void platform_power_button(struct vm *vm);

#endif
