/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of virtio 1.2 over PCI: finding a function by ports CF8h and
 * CFCh, its registers by its capabilities, one split ring with event indices, MSI-X.
 * Runs on any PC that has such devices; what is not as it should be ends the guest.
 */
#ifndef CORBEL_TESTS_GUESTS_VIRTIO_H
#define CORBEL_TESTS_GUESTS_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

#define VIRTIO_BLOCK 2u
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_RING_SIZE 128u

#define VIRTIO_DESC_NEXT 1u
#define VIRTIO_DESC_WRITE 2u

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
	uint16_t flags;
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
	struct virtio_region kick; /* of the queue that was enabled last */
};

/* The first function of bus 0 with that device type; its slot, 0 when there is none. */
unsigned virtio_find(struct virtio_function *f, unsigned type);
/* Reset, ACKNOWLEDGE, DRIVER, FEATURES_OK with VERSION_1 and those of @features that are offered. */
void virtio_begin(struct virtio_function *f, uint64_t features);
/* Enables queue @index with @ring, its MSI-X entry @index to @vector of the processor with APIC id @apic_id. */
void virtio_queue(struct virtio_function *f, unsigned index, struct virtio_ring *ring, uint8_t vector, uint32_t apic_id);
/* DRIVER_OK. */
void virtio_ready(struct virtio_function *f);

void virtio_desc(struct virtio_ring *r, uint16_t index, const void *at, uint32_t bytes, uint16_t flags, uint16_t next);
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
	return (uint16_t)(new - r->used->avail_event - 1) < (uint16_t)(new - old);
}
/* The queue that was enabled last, which is queue @index. */
static inline void virtio_kick(struct virtio_function *f, unsigned index)
{
	if (f->kick.port)
		__asm__ volatile("outw %w0, %w1" : : "a"(index), "d"((uint16_t)f->kick.at) : "memory");
	else
		*(volatile uint16_t *)f->kick.at = (uint16_t)index;
}
/* The next used chain; an interrupt is asked for with the one after it. */
static inline bool virtio_used(struct virtio_ring *r, uint32_t *head)
{
	if (r->seen == r->used->index)
		return false;
	*head = r->used->ring[r->seen++ % VIRTIO_RING_SIZE].head;
	r->avail->used_event = r->seen;
	return true;
}
/* Has the next one come before the device saw what was asked? If not, there will be an interrupt. */
static inline bool virtio_has_come(struct virtio_ring *r)
{
	__sync_synchronize();
	return r->seen != r->used->index;
}

#endif
