/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM as the scheduler sees it: a pool with the definition's three numbers, and
 * its vcpus as leaves of it. The pool is there while the VM is built, so that a
 * reservation is a promise from its start to its end, paused or not.
 */
#ifndef CORBEL_GUEST_VM_CPU_H
#define CORBEL_GUEST_VM_CPU_H

#include "guest/vm.h"

/*
 * Admits the VM's numbers: ST_NOT_ADMITTED with the sum that does not fit, ST_INVALID for an affinity to CPUs that are
 * not there. From the control task, like the next.
 */
MUST_CHECK enum status vm_cpu_enter(struct vm *vm, struct error *err);
/* Its vcpus are on no queue. Harmless when it never entered. */
void vm_cpu_leave(struct vm *vm);

/* Is it in the scheduler's tree? */
static inline bool vm_cpu_entered(const struct vm *vm) { return vm->pool.name[0] != '\0'; }

/* Adds its vcpus, BLOCKED; none of them when one is not admitted. Not masked: it is, for one at a time. */
MUST_CHECK enum status vm_cpu_add_vcpus(struct vm *vm, struct error *err);

/* Affinity and classes. */
static inline bool vm_cpu_same_attributes(const struct vm_config *a, const struct vm_config *b)
{
	return a->cpu.affinity == b->cpu.affinity && a->cpu.exclusive == b->cpu.exclusive &&
	       a->cpu.latency == b->cpu.latency;
}

/* Would @cfg's pool, numbers, affinity and classes be admitted instead of the present ones? Changes nothing. */
MUST_CHECK enum status vm_cpu_check(struct vm *vm, const struct vm_config *cfg, struct error *err);
/* The definition's numbers and attributes have changed, to what was checked with nothing in between. Not masked. */
void vm_cpu_changed(struct vm *vm);
/*
 * Its vcpus get @cfg's affinity and classes, all or none of them. Its pool and numbers go with those of others, by
 * regroup (guest/pool.h).
 */
MUST_CHECK enum status vm_cpu_set_attributes(struct vm *vm, const struct vm_config *cfg, struct error *err);
/* Takes that back: the definition's, which were in force. Of several VMs the one that was changed last goes first. */
void vm_cpu_reset_attributes(struct vm *vm);
/* Another pool and other numbers at once, running or not; the definition follows. */
MUST_CHECK enum status vm_cpu_move(struct vm *vm, const char *pool, struct error *err);

void vm_cpu_figures(const struct vm *vm, struct vm_cpu_info *out);

#endif
