/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio devices of a VM's definition: made of io/'s devices, the PCI
 * transport and the VM's memory, in the VM's arena. Where a disk's bytes come
 * from is asked of struct vm_disk_ops, which whoever keeps the volumes gives to the
 * machine; network interfaces (guest/vm_net.h) have ports of the machine's networks.
 */
#ifndef CORBEL_GUEST_VM_VIRTIO_H
#define CORBEL_GUEST_VM_VIRTIO_H

#include <stdint.h>

#include "guest/config.h"
#include "io/iosched.h"
#include "io/virtio_blk.h"
#include "lib/error.h"

#define VM_VIRTIO_ALIGN 64u
#define VM_DISK_REQUESTS 64u /* of a disk at a time, over all its queues; the memory that a request takes is its own */

struct vm;
struct vm_balloon;
struct vm_nic_figures;
struct vm_virtio;
struct vpci;

/* An opened volume, as a disk of a VM uses it until close(). */
struct vm_disk_source {
	const struct virtio_blk_backend_ops *backend;
	void *backend_ctx;
	const struct block_device *disk; /* what it is: sizes and abilities */
	void *handle;                    /* the opener's */
};

/* Control task, interrupts enabled. */
struct vm_disk_ops {
	/* Opens @disk's volume for @vm, with the disk's numbers; the sentence names the volume. */
	enum status (*open)(void *ctx, struct vm *vm, const struct vm_disk *disk, struct vm_disk_source *out,
			    struct error *err);
	/* No request is under way any more. */
	void (*close)(void *ctx, struct vm_disk_source *source);
	/*
	 * The disk's unit and numbers are now those of @disk, which vm_config_check() allows. Masked, no lock.
	 * NULL: the opener looks by itself.
	 */
	void (*set)(void *ctx, struct vm_disk_source *source, const struct vm_disk *disk);
	/* What an I/O scheduler has counted for this opening; masked, no lock. NULL: there is none. */
	void (*figures)(void *ctx, struct vm_disk_source *source, struct iosched_figures *out);
};

/* Of the arena, at most; from an address that is a multiple of VM_VIRTIO_ALIGN on. */
uint64_t vm_virtio_bytes(const struct vm_config *cfg);
/*
 * Makes the devices of vm->config and plugs them into @bus, their work into vm->io. What was made before an error is
 * undone by vm_virtio_stop(); *out is set as soon as that is needed. Control task, interrupts enabled; @vm does not
 * run.
 */
MUST_CHECK enum status vm_virtio_create(struct vm *vm, struct vpci *bus, struct vm_virtio **out, struct error *err);
/*
 * Resets the devices, and waits until nothing is under way in the VM's memory, until host tick @until at most. False:
 * something still is; when it ends the control task gets a round, in which this can be called again. Control task,
 * interrupts enabled; neither a vcpu nor vm->io runs.
 */
MUST_CHECK bool vm_virtio_quiesce(struct vm_virtio *v, uint64_t until);
/* A disk for which that is so, NULL when it is another device. */
const struct vm_disk *vm_virtio_held(const struct vm_virtio *v);
/* The same, for as long as it takes; closes the volumes. Otherwise as vm_virtio_quiesce(). */
void vm_virtio_stop(struct vm_virtio *v);
/* Requests that waited for space are tried again. Control task, no lock. */
void vm_virtio_retry(struct vm_virtio *v);
/* Disk @index of the definition; NULL when the VM is not built or has no such disk. */
struct virtio_blk *vm_virtio_disk(struct vm_virtio *v, unsigned index);
/* The numbers of disk @index in the definition have changed, and count now. Masked, no lock. */
void vm_virtio_renumber(struct vm_virtio *v, unsigned index);
/* The numbers of interface @index in the definition have changed, and count now. Masked, no lock. */
void vm_virtio_renumber_nic(struct vm_virtio *v, unsigned index);
/* What interface @index has done in this start: zeroes when it is not there. Masked, no lock. */
void vm_virtio_nic_figures(struct vm_virtio *v, unsigned index, struct vm_nic_figures *out);
/* Its balloon; NULL when it has none. */
struct vm_balloon *vm_virtio_balloon(struct vm_virtio *v);
/* Something was typed for its virtio console. Masked; the VM's lock may be held. */
void vm_virtio_console_typed(struct vm_virtio *v);
/* The size in the VM's console has changed. Masked, no lock. */
void vm_virtio_console_size(struct vm_virtio *v);
/* What the scheduler has counted for disk @index: zeroes when nobody does. Masked, no lock. */
void vm_virtio_figures(struct vm_virtio *v, unsigned index, struct iosched_figures *out);

#endif
