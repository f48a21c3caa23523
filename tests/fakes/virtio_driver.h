/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's side of virtio, as a driver has it: rings in the fake guest memory,
 * chains of descriptors, the used ring. And a transport that notes what the device
 * asks of it. What a driver must not do can be done too, word by word.
 */
#ifndef CORBEL_TESTS_VIRTIO_DRIVER_H
#define CORBEL_TESTS_VIRTIO_DRIVER_H

#include "io/virtio.h"
#include "tests/fakes/fake_guest_mem.h"

#define DRIVER_VECTORS 40u

struct driver_desc {
	uint64_t at;
	uint32_t bytes;
	uint16_t flags, next;
};

/* A ring in guest memory. The driver's own indices are here, not read back. */
struct driver_ring {
	struct fake_guest_mem *mem;
	uint64_t desc, avail, used;
	uint16_t size;
	uint16_t offered, seen; /* free-running: offered to the device, seen in the used ring */
};

/* Lays the parts out from @at on, at their own alignments, and clears them. Returns the first byte behind. */
uint64_t driver_ring_init(struct driver_ring *r, struct fake_guest_mem *mem, uint64_t at, uint16_t size);
void driver_desc(struct driver_ring *r, uint16_t index, uint64_t at, uint32_t bytes, uint16_t flags, uint16_t next);
/* A descriptor of the table at @table. */
void driver_table(struct driver_ring *r, uint64_t table, uint16_t index, uint64_t at, uint32_t bytes, uint16_t flags,
		  uint16_t next);
/* Puts chain @head into the available ring; the device sees it. */
void driver_offer(struct driver_ring *r, uint16_t head);
/* The next used chain; false when there is none. */
bool driver_used(struct driver_ring *r, uint32_t *head, uint32_t *written);
void driver_used_event(struct driver_ring *r, uint16_t event);
void driver_no_interrupt(struct driver_ring *r, bool on);
uint16_t driver_avail_event(struct driver_ring *r);
bool driver_no_notify(struct driver_ring *r);

/* Device and transport together. */
struct driver {
	struct virtio_device *device;
	unsigned interrupts[DRIVER_VECTORS];
	unsigned defers, broken, resets_done;
	const char *why;
	bool deferred; /* defer() came, virtio_work() was not called yet */
	/* Its processor runs elsewhere and never exits: it takes interrupts only when it is kicked. */
	bool far;
	bool too_soon; /* the last kick was less than a gap ago */
	uint64_t unseen; /* BIT(vector) that wait for a kick */
	unsigned kicks;
};

/* Becomes the transport of @device. */
void driver_attach(struct driver *d, struct virtio_device *device);
/* ACKNOWLEDGE, DRIVER, features, FEATURES_OK; the status as it reads then. */
uint8_t driver_negotiate(struct driver *d, uint64_t features);
/* Gives queue @index its ring, vector @index + 1, and enables it. */
void driver_queue(struct driver *d, unsigned index, const struct driver_ring *r);
void driver_ok(struct driver *d);
/* Under the lock, like a transport. */
void driver_kick(struct driver *d, unsigned index);
void driver_status(struct driver *d, uint8_t value);
uint8_t driver_read_status(struct driver *d);
/* Resets the device and answers what it still waits for in @mem; true when the reset is complete. */
bool driver_stop(struct driver *d, struct fake_guest_mem *mem);
bool driver_queue_reset(struct driver *d, unsigned index);
uint64_t driver_config(struct driver *d, uint32_t offset, unsigned bytes);
void driver_set_config(struct driver *d, uint32_t offset, unsigned bytes, uint64_t value);
/* Does what was deferred; the number of turns. */
unsigned driver_work(struct driver *d);

#endif
