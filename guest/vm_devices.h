/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to a VM's devices, which all its vcpus and the control task share: one
 * lock of the VM around each access, none where there is nothing, none for devices
 * that have locks of their own, and none for the local APIC, which is at the same
 * address for each vcpu and another one for each.
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

/* The buses of @vm, empty: devices without a lock of their own are called with the VM's. */
void vm_buses_init(struct vm *vm);

/* Out of line: @near, by the hint, does not hold the access, or its device locks for itself. */
uint64_t vm_read_far(struct bus *bus, uint64_t addr, unsigned size, struct bus_range *near);
void vm_write_far(struct bus *bus, uint64_t addr, unsigned size, uint64_t value, struct bus_range *near);

static inline uint64_t vm_read(struct vm *vm, struct bus *bus, uint64_t addr, unsigned size)
{
	struct bus_range *r = bus_near(bus, addr);
	uint64_t value;

	if (!bus_holds(r, addr, size))
		return vm_read_far(bus, addr, size, r);
	vm_enter_devices(vm);
	value = bus_range_read(r, addr, size);
	vm_leave_devices(vm);
	return value;
}

static inline void vm_write(struct vm *vm, struct bus *bus, uint64_t addr, unsigned size, uint64_t value)
{
	struct bus_range *r = bus_near(bus, addr);

	if (!bus_holds(r, addr, size)) {
		vm_write_far(bus, addr, size, value, r);
		return;
	}
	vm_enter_devices(vm);
	bus_range_write(r, addr, size, value);
	vm_leave_devices(vm);
}

static inline uint64_t vm_port_read(struct vm *vm, uint64_t port, unsigned size)
{
	return vm_read(vm, &vm->pio, port, size);
}

static inline void vm_port_write(struct vm *vm, uint64_t port, unsigned size, uint64_t value)
{
	vm_write(vm, &vm->pio, port, size, value);
}

/* Some byte of an access at @addr may be the local APIC's. */
static inline bool vm_near_lapic(uint64_t addr) { return addr - (VLAPIC_BASE - 7) < VLAPIC_SIZE + 7; }
uint64_t vcpu_lapic_read(struct vcpu *vcpu, uint64_t addr, unsigned size);
void vcpu_lapic_write(struct vcpu *vcpu, uint64_t addr, unsigned size, uint64_t value);

/* Device memory as @v sees it, in its own turn. @size 1, 2, 4, 8; an access that straddles a device's end is split. */
static inline uint64_t vcpu_mmio_read(struct vcpu *v, uint64_t addr, unsigned size)
{
	return unlikely(vm_near_lapic(addr)) ? vcpu_lapic_read(v, addr, size) : vm_read(v->vm, &v->vm->mmio, addr, size);
}

static inline void vcpu_mmio_write(struct vcpu *v, uint64_t addr, unsigned size, uint64_t value)
{
	if (unlikely(vm_near_lapic(addr)))
		vcpu_lapic_write(v, addr, size, value);
	else
		vm_write(v->vm, &v->vm->mmio, addr, size, value);
}

#endif
