/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory balloon of a VM (io/virtio_balloon.h). A page that the guest gives away is taken
 * from it and is the host's to use; it stays promised, for the guest may
 * touch it again at any time, in the balloon or not, and finds it zeroed. So nothing has to
 * be kept of which pages are in the balloon, whatever a guest says. How large it
 * should be is not decided here: that is the setting mem.balloon.
 *
 * The guest's own figures come when it is asked. Who reads them asks, at most once a
 * second, and the next reading has the answer: a guest that nobody looks at is left
 * asleep.
 */
#ifndef CORBEL_GUEST_VM_BALLOON_H
#define CORBEL_GUEST_VM_BALLOON_H

#include "guest/virtio_pci.h"
#include "io/virtio_balloon.h"

struct vm;

struct vm_balloon {
	struct virtio_pci pci;
	struct virtio_balloon balloon;
	struct vm *vm;
	/* Under the device's lock. */
	uint64_t freed;    /* pages taken from the guest */
	uint64_t told;     /* statistics that came */
	uint64_t asked_at; /* host ticks */
};

struct vm_balloon_figures {
	uint64_t held, freed, refused; /* bytes */
	uint64_t told;
	uint64_t values[VIRTIO_BALLOON_STATS];
};

/* @b is zeroed; to be plugged in by its balloon.device. */
void vm_balloon_init(struct vm_balloon *b, struct vm *vm);
/* What it has come to, all zeroes without a balloon; asks the guest anew if that is a second ago. Masked, no lock. */
void vm_balloon_figures(const struct vm *vm, struct vm_balloon_figures *out);
/* The setting was changed: the guest is told. Masked, no lock. */
void vm_balloon_changed(struct vm *vm);

#endif
