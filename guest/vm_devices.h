/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to a VM's devices, which all its vcpus and the control task share: one
 * lock of the VM around each access, none for the local APIC, which is at the
 * same address for each vcpu and another one for each.
 *
 * The devices' timers are on a queue of the VM under the same lock, so that any
 * vcpu may program them. vcpu 0 runs them: on its own queue stands one timer for
 * the first of theirs, and who changes that first deadline elsewhere tells vcpu 0.
 */
#ifndef CORBEL_GUEST_VM_DEVICES_H
#define CORBEL_GUEST_VM_DEVICES_H

#include "guest/vm.h"
#include "lib/bits.h"

/* Out of line: the first deadline of @vm's devices changed. The lock is held. */
void vm_tell_timers(struct vm *vm);

/* Around whatever touches a device. Masked. */
static inline void vm_enter_devices(struct vm *vm) { lock_acquire(&vm->lock); }

static inline void vm_leave_devices(struct vm *vm)
{
	if (unlikely(vm->timers.next != vm->timers_told))
		vm_tell_timers(vm);
	lock_release(&vm->lock);
}

static inline uint64_t vm_port_read(struct vm *vm, uint64_t port, unsigned size)
{
	uint64_t value;

	vm_enter_devices(vm);
	value = bus_read(&vm->pio, port, size);
	vm_leave_devices(vm);
	return value;
}

static inline void vm_port_write(struct vm *vm, uint64_t port, unsigned size, uint64_t value)
{
	vm_enter_devices(vm);
	bus_write(&vm->pio, port, size, value);
	vm_leave_devices(vm);
}

/* Device memory as @vcpu sees it, in its own turn. @size 1, 2, 4, 8; an access that straddles a device's end is split. */
uint64_t vcpu_mmio_read(struct vcpu *vcpu, uint64_t addr, unsigned size);
void vcpu_mmio_write(struct vcpu *vcpu, uint64_t addr, unsigned size, uint64_t value);

#endif
