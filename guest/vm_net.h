/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One network interface of a VM: a virtio-net device (io/virtio_net.h), its place on the PCI bus, and its port of a
 * network (guest/network.h). What it sends is carried by the VM's I/O worker, on the VM's account.
 */
#ifndef CORBEL_GUEST_VM_NET_H
#define CORBEL_GUEST_VM_NET_H

#include "guest/network.h"
#include "guest/virtio_pci.h"
#include "io/virtio_net.h"

struct vm_net {
	struct virtio_pci pci;
	struct vm *vm;
	unsigned index; /* of the definition */
	struct virtio_net *net;
	struct network_client *client; /* NULL: it has no port */
	bool linked;                   /* what the guest was told last */
};

/* Of the VM's memory; from an address that is a multiple of VM_VIRTIO_ALIGN on. */
uint64_t vm_net_bytes(const struct vm_config *cfg, const struct vm_nic *nic);
/*
 * Makes interface @index of @vm's definition in @memory, zeroed; *out is set as soon as vm_net_close() is needed. The
 * sentence names the interface. The statuses of network_client_open(). Control task, interrupts enabled; it is
 * plugged in by the caller.
 */
MUST_CHECK enum status vm_net_open(struct vm *vm, unsigned index, void *memory, struct vm_net **out, struct error *err);
/* The device has been reset, and nothing is under way. Control task, interrupts enabled. */
void vm_net_close(struct vm_net *n);
/* The definition's numbers count now. Masked, no lock. */
void vm_net_renumber(struct vm_net *n);
/* Masked, no lock. */
void vm_net_figures(struct vm_net *n, struct vm_nic_figures *out);

#endif
