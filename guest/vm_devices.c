/* SPDX-License-Identifier: Apache-2.0 */
/* See vm_devices.h. */
#include "guest/vm_devices.h"

#include "guest/vm_internal.h"
#include "lib/assert.h"

/* ---- timers ---- */

void vm_follow_timers(struct vm *vm)
{
	struct vcpu *boot = vm->vcpus[0];

	timerq_set(&boot->timers, &boot->devices, __atomic_load_n(&vm->timers_told, __ATOMIC_RELAXED));
}

void vm_tell_timers(struct vm *vm)
{
	struct vcpu *boot = vm->vcpus[0];

	__atomic_store_n(&vm->timers_told, vm->timers.next, __ATOMIC_RELAXED);
	if (vcpu_is_here(boot))
		vm_follow_timers(vm);
	else
		vcpu_leave_mail(boot, REQ_DEVICES);
}

void vm_devices_due(struct timer *t, uint64_t now)
{
	struct vm *vm = container_of(t, struct vcpu, devices)->vm;

	lock_acquire(&vm->lock);
	timerq_run(&vm->timers, now);
	/* Also when the first deadline is what it was: ours has left the queue. */
	vm_tell_timers(vm);
	lock_release(&vm->lock);
}

/* ---- memory ---- */

/* The part of an access that lies in the local APIC's page: all, nothing, or some of its bytes. */
enum share { NOTHING, SOME, ALL };

static inline enum share share_of_lapic(uint64_t addr, unsigned size)
{
	uint64_t offset = addr - VLAPIC_BASE;

	if (offset <= VLAPIC_SIZE - size)
		return ALL;
	return offset < VLAPIC_SIZE || offset + size - 1 < VLAPIC_SIZE ? SOME : NOTHING;
}

static inline uint64_t size_mask(unsigned size) { return size == 8 ? UINT64_MAX : BIT(size * 8) - 1; }

uint64_t vcpu_mmio_read(struct vcpu *v, uint64_t addr, unsigned size)
{
	struct vm *vm = v->vm;
	struct device *lapic = &v->lapic.dev;
	uint64_t value = 0;

	switch (share_of_lapic(addr, size)) {
	case ALL:
		return lapic->ops->read(lapic, addr - VLAPIC_BASE, size) & size_mask(size);
	case NOTHING:
		vm_enter_devices(vm);
		value = bus_read(&vm->mmio, addr, size);
		vm_leave_devices(vm);
		return value;
	case SOME:
		break;
	}
	for (unsigned i = 0; i < size; i++)
		value |= vcpu_mmio_read(v, addr + i, 1) << (i * 8);
	return value;
}

void vcpu_mmio_write(struct vcpu *v, uint64_t addr, unsigned size, uint64_t value)
{
	struct vm *vm = v->vm;
	struct device *lapic = &v->lapic.dev;

	switch (share_of_lapic(addr, size)) {
	case ALL:
		lapic->ops->write(lapic, addr - VLAPIC_BASE, size, value & size_mask(size));
		return;
	case NOTHING:
		vm_enter_devices(vm);
		bus_write(&vm->mmio, addr, size, value);
		vm_leave_devices(vm);
		return;
	case SOME:
		break;
	}
	for (unsigned i = 0; i < size; i++)
		vcpu_mmio_write(v, addr + i, 1, value >> (i * 8));
}
