/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the table of VMs with its lifecycle (vm.c) and the making and
 * unmaking of a machine (vm_build.c).
 */
#ifndef CORBEL_GUEST_VM_INTERNAL_H
#define CORBEL_GUEST_VM_INTERNAL_H

#include "guest/machine.h"
#include "guest/vm.h"

/*
 * Builds everything from the arena to the loaded image, and promises the memory. On failure what was built stays
 * for vm_abandon(), which takes any half-built VM apart.
 */
MUST_CHECK enum status vm_build(struct vm *vm, struct error *err);
/*
 * ST_BUSY: as vm_take_off() or vm_quiesce(), and nothing has been released; else everything is, and nobody else's error
 * is left.
 */
MUST_CHECK enum status vm_release(struct vm *vm, struct error *err);
/* The same for a VM whose vcpus no CPU has had yet. */
void vm_abandon(struct vm *vm);

/*
 * Takes all vcpus off their CPUs: they are told at once, and then waited for one by one, with no lock held and
 * interrupts enabled. The VM has left the running state. ST_BUSY: a CPU, which @err names, does not let go of one
 * within a second; the VM lingers from then on, and is not waited for again: each further call just looks.
 */
MUST_CHECK enum status vm_take_off(struct vm *vm, struct error *err);
/*
 * Its devices end what is under way in its memory. ST_BUSY: a disk, which @err names, still has some of it after a
 * second; the VM lingers as above.
 */
MUST_CHECK enum status vm_quiesce(struct vm *vm, struct error *err);

/* Remembers for vm_info() what the VM has come to; called before it is taken apart. */
void vm_keep_figures(struct vm *vm);

/* Bytes that a definition takes until it is destroyed: struct vm and its console. */
uint64_t vm_definition_bytes(void);

/* Smallest order whose block holds @bytes. */
static inline unsigned order_of(uint64_t bytes)
{
	return bytes <= PAGE_SIZE ? 0 : bit_highest(bytes - 1) + 1 - PAGE_SHIFT;
}

/* Around manager calls about a VM that nobody else can reach at the moment: it is being made or taken apart. */
static inline unsigned long vm_mask(const struct vm *vm) { return vm->machine->host->mask(); }
static inline void vm_unmask(const struct vm *vm, unsigned long state) { vm->machine->host->unmask(state); }

/* Around what its vcpus, on other CPUs, may touch as well. From the control task; takes interrupts away and the lock. */
static inline unsigned long vm_lock(struct vm *vm)
{
	unsigned long state = vm_mask(vm);

	lock_acquire(&vm->lock);
	return state;
}

static inline void vm_unlock(struct vm *vm, unsigned long state)
{
	lock_release(&vm->lock);
	vm_unmask(vm, state);
}

/*
 * The VM ends, for @reason; true when this call ended it and no other. The lock is held. What the caller still has
 * to say of it comes before vm_post_teardown().
 */
bool vm_end(struct vm *vm, enum vm_reason reason, uint32_t code);
void vm_post_teardown(struct vm *vm);

/* Adds what the other vcpus did to the report of the one that crashed. They are on no CPU. */
void vm_report_siblings(struct vm *vm);

/* vm_devices.c, on the CPU of vcpu 0: its timer for the devices' first deadline follows that, and has expired. */
void vm_follow_timers(struct vm *vm);
void vm_devices_due(struct timer *t, uint64_t now);

#endif
