/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counters and the knobs of one disk of a VM. Their object is a struct
 * vm_disk_place (guest/vm.h), which is there as long as the VM is defined; whether the
 * place has a disk is the definition's.
 *
 * A disk's numbers count requests or bytes, as its definition says. Each way has a
 * table of knobs of its own, and the disk has one of them.
 */
#ifndef CORBEL_GUEST_VM_DISK_H
#define CORBEL_GUEST_VM_DISK_H

#include "guest/vm.h"
#include "lib/counter.h"
#include "lib/knob.h"

/* By enum vm_disk_unit: iops.shares and its like, or bandwidth.shares. */
extern const struct knob_table vm_disk_knobs[VM_DISK_UNITS];
/* The rows of the second that the first does not have: for who declares each once. */
extern const struct knob_table vm_disk_bandwidth_knobs;
/* Masked; takes the device's and the I/O scheduler's locks. */
extern const struct counter_table vm_disk_counters;

#define VM_DISK_GROUP "vm.disk" /* of all three tables */

/* The definition of the disk at @p; ASSERT: there is one. */
const struct vm_disk *vm_disk_at(const struct vm_disk_place *p);
/* The place of the disk called @name, NULL when @vm has none. */
const struct vm_disk_place *vm_disk_find(const struct vm *vm, const char *name, size_t len);
/* The place that @name has in @cfg, or disk_count. */
unsigned vm_disk_index(const struct vm_config *cfg, const char *name);
/*
 * @vm is about to be taken apart, and its disks have nothing under way: what they did is kept until its next start.
 * Masked, no lock.
 */
void vm_disks_keep_figures(struct vm *vm);
/* A request of disk @index waits until its volume has space. Masked, no lock. */
bool vm_disk_is_full(const struct vm *vm, unsigned index);
/* How many requests of disk @index its guest was told have failed, in this start or its last one. Masked, no lock. */
uint64_t vm_disk_errors(const struct vm *vm, unsigned index);
/* The numbers in @vm's definition were replaced: all its disks go by the new ones. Masked, no lock. */
void vm_disks_changed(struct vm *vm);

#endif
