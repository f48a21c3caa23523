/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counters and the knobs of one network interface of a VM, as vm_disk.h has a disk's. Their object is a struct
 * vm_nic_place (guest/vm.h), which is there as long as the VM is defined; whether the place has an interface is
 * the definition's.
 */
#ifndef CORBEL_GUEST_VM_NIC_H
#define CORBEL_GUEST_VM_NIC_H

#include "guest/vm.h"
#include "lib/counter.h"
#include "lib/knob.h"

#define VM_NIC_GROUP "vm.net" /* of both tables */

/* mbps.shares and its like, rate, storm, connected, isolated, vlan, any_mac, queues, mtu, interrupts.policy, ... */
extern const struct knob_table vm_nic_knobs;
/* Masked; takes the locks of device, port and uplink. */
extern const struct counter_table vm_nic_counters;

/* The definition of the interface at @p; ASSERT: there is one. */
const struct vm_nic *vm_nic_at(const struct vm_nic_place *p);
/* The place of the interface called @name, NULL when @vm has none. */
const struct vm_nic_place *vm_nic_find(const struct vm *vm, const char *name, size_t len);
/* The place that @name has in @cfg, or nic_count. */
unsigned vm_nic_index(const struct vm_config *cfg, const char *name);
/*
 * @vm is about to be taken apart, and its interfaces have nothing under way: what they did is kept until its next
 * start. Masked, no lock.
 */
void vm_nics_keep_figures(struct vm *vm);
/* The numbers in @vm's definition were replaced: all its interfaces go by the new ones. Masked, no lock. */
void vm_nics_changed(struct vm *vm);

#endif
