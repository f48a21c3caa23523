/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of virtio 1.2 over PCI: finding a function by ports CF8h and
 * CFCh, its registers by its capabilities, split rings with or without event indices,
 * MSI-X. Runs on any PC that has such devices; what is not as it should be ends the guest.
 */
#ifndef CORBEL_TESTS_GUESTS_VIRTIO_H
#define CORBEL_TESTS_GUESTS_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

#define VIRTIO_NET 1u
#define VIRTIO_BLOCK 2u
#define VIRTIO_QUEUES 2u /* that virtio_queue() can be asked for */
#define VIRTIO_F_INDIRECT (1ull << 28)
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_RING_SIZE 128u

#define VIRTIO_DESC_NEXT 1u
#define VIRTIO_DESC_WRITE 2u
#define VIRTIO_DESC_INDIRECT 4u
#define VIRTIO_USED_NO_NOTIFY 1u

struct virtio_desc {
	uint64_t at;
	uint32_t bytes;
	uint16_t flags, next;
};
struct virtio_avail {
	uint16_t flags;
	volatile uint16_t index;
	uint16_t ring[VIRTIO_RING_SIZE];
	volatile uint16_t used_event;
};
struct virtio_used_elem {
	uint32_t head, bytes;
};
struct virtio_used {
	volatile uint16_t flags;
	volatile uint16_t index;
	struct virtio_used_elem ring[VIRTIO_RING_SIZE];
	volatile uint16_t avail_event;
};

struct virtio_ring {
	_Alignas(4096) struct virtio_desc desc[VIRTIO_RING_SIZE];
	_Alignas(4096) struct virtio_avail avail[1];
	_Alignas(4096) struct virtio_used used[1];
	uint16_t offered; /* free-running; avail->index follows at virtio_show() */
	uint16_t seen;
	bool events; /* VIRTIO_F_EVENT_IDX was accepted */
};

/* Where a capability leads (4.1.4). */
struct virtio_region {
	bool port;
	uint64_t at; /* an address, or a port */
};

struct virtio_function {
	unsigned slot;
	struct virtio_region common, notify, device;
	uint32_t notify_step;
	uint64_t msix_table;
	unsigned msix_cap;
	uint64_t features; /* accepted, VERSION_1 among them */
	struct virtio_region kicks[VIRTIO_QUEUES];
};

/* The function at place @index of those of bus 0 with that device type; false: there is none. */
bool virtio_find(struct virtio_function *f, unsigned type, unsigned index);
/* Reset, ACKNOWLEDGE, DRIVER, FEATURES_OK with VERSION_1 and those of @features that are offered: f->features. */
void virtio_begin(struct virtio_function *f, uint64_t features);
/* Enables queue @index with @ring, which is cleared, and its MSI-X entry @index: to @vector of this processor. */
void virtio_queue(struct virtio_function *f, unsigned index, struct virtio_ring *ring, uint8_t vector);
/* DRIVER_OK. */
void virtio_ready(struct virtio_function *f);
/* 32 bits of the device's own configuration. */
uint32_t virtio_config32(const struct virtio_function *f, unsigned offset);

static inline void virtio_offer(struct virtio_ring *r, uint16_t head)
{
	r->avail->ring[r->offered++ % VIRTIO_RING_SIZE] = head;
}
/* The device sees what was offered; true when it wants to be kicked for it. */
static inline bool virtio_show(struct virtio_ring *r)
{
	uint16_t old = r->avail->index, new = r->offered;

	r->avail->index = new;
	__sync_synchronize();
	if (!r->events)
		return !(r->used->flags & VIRTIO_USED_NO_NOTIFY);
	return (uint16_t)(new - r->used->avail_event - 1) < (uint16_t)(new - old);
}
static inline void virtio_kick(struct virtio_function *f, unsigned index)
{
	const struct virtio_region *kick = &f->kicks[index];

	if (kick->port)
		__asm__ volatile("outw %w0, %w1" : : "a"(index), "d"((uint16_t)kick->at) : "memory");
	else
		*(volatile uint16_t *)kick->at = (uint16_t)index;
}
/* The next used chain; with event indices an interrupt is asked for with the one after it. */
static inline bool virtio_used_bytes(struct virtio_ring *r, uint32_t *head, uint32_t *bytes)
{
	struct virtio_used_elem *e = &r->used->ring[r->seen % VIRTIO_RING_SIZE];

	if (r->seen == r->used->index)
		return false;
	__asm__ volatile("" : : : "memory"); /* loads are in order on this processor */
	*head = e->head;
	*bytes = e->bytes;
	r->avail->used_event = ++r->seen;
	return true;
}
static inline bool virtio_used(struct virtio_ring *r, uint32_t *head)
{
	uint32_t bytes;

	return virtio_used_bytes(r, head, &bytes);
}
/* Has the next one come before the device saw what was asked? If not, there will be an interrupt. */
static inline bool virtio_has_come(struct virtio_ring *r)
{
	__sync_synchronize();
	return r->seen != r->used->index;
}

#endif
