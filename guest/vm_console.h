/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio console of a VM: a second device at the VM's console (guest/console.h), for
 * guests that have a driver for it: a byte of a UART is an exit each, here a
 * page of text is one.
 */
#ifndef CORBEL_GUEST_VM_CONSOLE_H
#define CORBEL_GUEST_VM_CONSOLE_H

#include "guest/virtio_pci.h"
#include "io/virtio_console.h"

struct vm_console {
	struct virtio_pci pci;
	struct virtio_console port;
};

/* @c is zeroed; to be plugged in by its port.device. */
void vm_console_init(struct vm_console *c, struct vm *vm);
/* Something was typed, and a driver listens. Masked; the VM's lock may be held. */
static inline void vm_console_typed(struct vm_console *c) { virtio_console_input(&c->port); }
/* The terminal's size is now as the VM's console says. Masked, no lock. */
void vm_console_resized(struct vm_console *c, const struct vm *vm);

#endif
