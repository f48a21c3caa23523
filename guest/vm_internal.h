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
 * for vm_release(), which takes any half-built VM apart.
 */
MUST_CHECK enum status vm_build(struct vm *vm, struct error *err);
void vm_release(struct vm *vm);

/* Remembers for vm_info() what the VM has come to; called before it is taken apart. */
void vm_keep_figures(struct vm *vm);

/* Bytes that a definition takes until it is destroyed: struct vm and its console. */
uint64_t vm_definition_bytes(void);

/* Smallest order whose block holds @bytes. */
static inline unsigned order_of(uint64_t bytes)
{
	return bytes <= PAGE_SIZE ? 0 : bit_highest(bytes - 1) + 1 - PAGE_SHIFT;
}

static inline unsigned long vm_mask(const struct vm *vm) { return vm->machine->host->mask(); }
static inline void vm_unmask(const struct vm *vm, unsigned long state) { vm->machine->host->unmask(state); }

#endif
