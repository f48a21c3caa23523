/* SPDX-License-Identifier: Apache-2.0 */
/* See vm_devices.h. */
#include "guest/vm_devices.h"

#include "guest/vm_internal.h"
#include "lib/assert.h"

#define PIO_LIMIT 0x10000ull

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

/* ---- accesses ---- */

static void enter(void *ctx) { vm_enter_devices(ctx); }
static void leave(void *ctx) { vm_leave_devices(ctx); }

void vm_buses_init(struct vm *vm)
{
	struct bus *buses[] = {&vm->pio, &vm->mmio};

	bus_init(&vm->pio, "pio", PIO_LIMIT);
	bus_init(&vm->mmio, "mmio", UINT64_MAX);
	for (unsigned i = 0; i < ARRAY_SIZE(buses); i++) {
		buses[i]->enter = enter;
		buses[i]->leave = leave;
		buses[i]->ctx = vm;
	}
}

/* All of the access in the range of a device that locks for itself, as nearly all are: such ranges are large. */
static inline bool is_alone(const struct bus_range *near, uint64_t addr, unsigned size)
{
	return bus_is_alone(near, addr) && likely(size <= near->alone - (addr - near->start));
}

/* Out of line, so that a miss saves no registers. */
static __attribute__((noinline)) uint64_t read_found(struct bus *bus, uint64_t addr, unsigned size,
						     struct bus_range *near)
{
	return is_alone(near, addr, size) ? bus_alone_read(near, addr, size) : bus_read(bus, addr, size);
}

uint64_t vm_read_far(struct bus *bus, uint64_t addr, unsigned size, struct bus_range *near)
{
	static const uint64_t nothing[] = {[1] = UINT8_MAX, [2] = UINT16_MAX, [4] = UINT32_MAX, [8] = UINT64_MAX};

	return bus_misses(bus, near, addr, size) ? nothing[size] : read_found(bus, addr, size, near);
}

void vm_write_far(struct bus *bus, uint64_t addr, unsigned size, uint64_t value, struct bus_range *near)
{
	/* First of all, for these are the kicks. */
	if (is_alone(near, addr, size))
		bus_alone_write(near, addr, size, value);
	else if (!bus_misses(bus, near, addr, size))
		bus_write(bus, addr, size, value);
}

/* By bytes where only some lie in the page. */
uint64_t vcpu_lapic_read(struct vcpu *v, uint64_t addr, unsigned size)
{
	struct device *lapic = &v->lapic.dev;
	uint64_t offset = addr - VLAPIC_BASE, value = 0;

	if (offset <= VLAPIC_SIZE - size)
		return lapic->ops->read(lapic, offset, size) & bus_size_mask(size);
	if (size == 1)
		return vm_read(v->vm, &v->vm->mmio, addr, 1);
	for (unsigned i = 0; i < size; i++)
		value |= vcpu_lapic_read(v, addr + i, 1) << (i * 8);
	return value;
}

void vcpu_lapic_write(struct vcpu *v, uint64_t addr, unsigned size, uint64_t value)
{
	struct device *lapic = &v->lapic.dev;
	uint64_t offset = addr - VLAPIC_BASE;

	if (offset <= VLAPIC_SIZE - size) {
		lapic->ops->write(lapic, offset, size, value & bus_size_mask(size));
		return;
	}
	if (size == 1) {
		vm_write(v->vm, &v->vm->mmio, addr, 1, value);
		return;
	}
	for (unsigned i = 0; i < size; i++)
		vcpu_lapic_write(v, addr + i, 1, value >> (i * 8));
}
