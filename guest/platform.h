/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PC around the vcpus: PICs, IO-APIC, PIT, RTC, PM block, UART, reset and
 * debug ports, and the PCI bus with the virtio devices of the definition, wired to
 * the VM's buses and interrupt lines. The devices know nothing of each other; this
 * file is the wiring.
 */
#ifndef CORBEL_GUEST_PLATFORM_H
#define CORBEL_GUEST_PLATFORM_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/vpci.h"
#include "lib/error.h"

struct vm;
struct vm_disk;
struct vm_config;
struct vm_virtio;
struct platform;

/* Bytes that platform_create takes from the VM's arena, at most. */
uint64_t platform_bytes(const struct vm_config *cfg);
/*
 * Creates all devices but the definition's in vm->arena, claims their ranges on vm->pio and vm->mmio (not the local
 * APIC's), and sets vm->console.input. vcpu 0 exists, its clock is vm->time.
 */
enum status platform_create(struct vm *vm, struct error *err);
/* Plugs the definition's devices into the PCI bus; opens volumes. Control task; the VM does not run. */
enum status platform_plug(struct vm *vm, struct error *err);
/* The VM was paused and runs again: what waited for an operator is tried again. Control task, no lock. */
void platform_resumed(struct vm *vm);
/* Its virtio devices; NULL while they are not there: not built, or taken apart. */
struct vm_virtio *platform_virtio(const struct vm *vm);
/*
 * Ends what its devices have under way in the VM's memory, waiting for disks until host tick @until at most. False: not
 * all has ended; *held is a disk that is the reason. Control task, interrupts enabled; no vcpu and no worker of the VM
 * runs any more.
 */
MUST_CHECK bool platform_quiesce(struct vm *vm, uint64_t until, const struct vm_disk **held);
/* The same, for as long as it takes, and gives its volumes back; what of it was made, if anything. */
void platform_stop(struct vm *vm);
/* What its PCI host bridge forwards above 4 GiB. */
struct vpci_high platform_pci_high(const struct vm *vm);
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
