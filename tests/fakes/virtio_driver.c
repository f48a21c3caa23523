/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver by the book (virtio 1.2 sections 2.7 and 3.1), and a transport that
 * counts. Work that is deferred is done when the test says so.
 */
#include "tests/fakes/virtio_driver.h"

#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"

#define WORK_BUDGET 20000u
#define WAITERS_MAX 10u /* of those that wait for memory */
#define TURNS_MAX 10000000u /* a balloon may be given a million pages at a time */

/* ---- rings ---- */

uint64_t driver_ring_init(struct driver_ring *r, struct fake_guest_mem *mem, uint64_t at, uint16_t size)
{
	*r = (struct driver_ring){.mem = mem, .size = size};
	r->desc = align_up(at, 16);
	r->avail = r->desc + 16ull * size;
	r->used = align_up(r->avail + 6 + 2ull * size, 4);
	fake_guest_mem_fill(mem, r->desc, 0, r->used + 6 + 8ull * size - r->desc);
	return r->used + 6 + 8ull * size;
}

void driver_table(struct driver_ring *r, uint64_t table, uint16_t index, uint64_t at, uint32_t bytes, uint16_t flags,
		  uint16_t next)
{
	struct driver_desc d = {at, bytes, flags, next};

	_Static_assert(sizeof d == 16, "a descriptor");
	fake_guest_mem_write(r->mem, table + 16ull * index, &d, sizeof d);
}

void driver_desc(struct driver_ring *r, uint16_t index, uint64_t at, uint32_t bytes, uint16_t flags, uint16_t next)
{
	driver_table(r, r->desc, index, at, bytes, flags, next);
}

void driver_offer(struct driver_ring *r, uint16_t head)
{
	fake_guest_mem_put16(r->mem, r->avail + 4 + 2ull * (r->offered % r->size), head);
	fake_guest_mem_put16(r->mem, r->avail + 2, ++r->offered);
}

bool driver_used(struct driver_ring *r, uint32_t *head, uint32_t *written)
{
	uint64_t entry = r->used + 4 + 8ull * (r->seen % r->size);

	if (fake_guest_mem_get16(r->mem, r->used + 2) == r->seen)
		return false;
	*head = fake_guest_mem_get32(r->mem, entry);
	*written = fake_guest_mem_get32(r->mem, entry + 4);
	r->seen++;
	return true;
}

void driver_used_event(struct driver_ring *r, uint16_t event)
{
	fake_guest_mem_put16(r->mem, r->avail + 4 + 2ull * r->size, event);
}

void driver_no_interrupt(struct driver_ring *r, bool on) { fake_guest_mem_put16(r->mem, r->avail, on); }

uint16_t driver_avail_event(struct driver_ring *r)
{
	return fake_guest_mem_get16(r->mem, r->used + 4 + 8ull * r->size);
}

bool driver_no_notify(struct driver_ring *r) { return fake_guest_mem_get16(r->mem, r->used) & VIRTQ_USED_F_NO_NOTIFY; }

/* ---- the transport ---- */

static bool kick(struct driver *d, uint64_t gap)
{
	if (d->far && gap != 0 && d->too_soon)
		return false;
	d->kicks++;
	for (; d->unseen; d->unseen &= d->unseen - 1)
		d->interrupts[bit_lowest(d->unseen)]++;
	return true;
}

static bool on_interrupt_after(void *ctx, uint16_t vector, uint64_t gap)
{
	struct driver *d = ctx;

	if (vector >= DRIVER_VECTORS || !lock_is_mine(&d->device->lock))
		abort();
	d->unseen |= BIT(vector);
	return kick(d, gap);
}

static void on_interrupt(void *ctx, uint16_t vector)
{
	if (!on_interrupt_after(ctx, vector, 0))
		abort();
}

static bool on_nudge(void *ctx, uint64_t gap)
{
	struct driver *d = ctx;

	return !d->unseen || kick(d, gap);
}

static void on_defer(void *ctx)
{
	struct driver *d = ctx;

	d->deferred = true;
	d->defers++;
}

static void on_broken(void *ctx, const char *why)
{
	struct driver *d = ctx;

	d->broken++;
	d->why = why;
}

static void on_reset_done(void *ctx)
{
	struct driver *d = ctx;

	if (d->device->status != 0)
		abort();
	d->resets_done++;
}

static const struct virtio_transport_ops transport = {
	.interrupt = on_interrupt, .interrupt_after = on_interrupt_after, .nudge = on_nudge, .defer = on_defer,
	.broken = on_broken, .reset_done = on_reset_done};

void driver_attach(struct driver *d, struct virtio_device *device)
{
	*d = (struct driver){.device = device};
	device->transport = &transport;
	device->transport_ctx = d;
}

void driver_status(struct driver *d, uint8_t value)
{
	lock_acquire(&d->device->lock);
	virtio_set_status(d->device, value);
	lock_release(&d->device->lock);
}

uint8_t driver_read_status(struct driver *d)
{
	uint8_t status;

	lock_acquire(&d->device->lock);
	status = virtio_status(d->device);
	lock_release(&d->device->lock);
	return status;
}

bool driver_stop(struct driver *d, struct fake_guest_mem *mem)
{
	driver_status(d, 0);
	fake_guest_mem_answer(mem, WAITERS_MAX);
	return driver_read_status(d) == 0;
}

uint8_t driver_negotiate(struct driver *d, uint64_t features)
{
	driver_status(d, VIRTIO_STATUS_ACKNOWLEDGE);
	driver_status(d, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	lock_acquire(&d->device->lock);
	virtio_accept(d->device, 0, (uint32_t)features);
	virtio_accept(d->device, 1, (uint32_t)(features >> 32));
	lock_release(&d->device->lock);
	driver_status(d, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK);
	return driver_read_status(d);
}

void driver_queue(struct driver *d, unsigned index, const struct driver_ring *r)
{
	const uint64_t at[VIRTQ_PARTS] = {r->desc, r->avail, r->used};
	struct virtio_queue *q;

	lock_acquire(&d->device->lock);
	q = virtio_queue(d->device, index);
	virtio_queue_set_size(q, r->size);
	q->vector = (uint16_t)(index + 1);
	for (unsigned part = 0; part < VIRTQ_PARTS; part++) {
		virtio_queue_set_address(q, part, 0, (uint32_t)at[part]);
		virtio_queue_set_address(q, part, 1, (uint32_t)(at[part] >> 32));
	}
	virtio_queue_enable(q);
	lock_release(&d->device->lock);
}

void driver_ok(struct driver *d)
{
	lock_acquire(&d->device->lock);
	d->device->config_vector = 0;
	lock_release(&d->device->lock);
	driver_status(d, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK |
				 VIRTIO_STATUS_DRIVER_OK);
}

void driver_kick(struct driver *d, unsigned index)
{
	lock_acquire(&d->device->lock);
	virtio_kick(d->device, index);
	lock_release(&d->device->lock);
}

bool driver_queue_reset(struct driver *d, unsigned index)
{
	struct virtio_queue *q;
	bool under_way;

	lock_acquire(&d->device->lock);
	q = virtio_queue(d->device, index);
	virtio_queue_reset(q);
	under_way = virtio_queue_resetting(q);
	lock_release(&d->device->lock);
	return !under_way;
}

uint64_t driver_config(struct driver *d, uint32_t offset, unsigned bytes)
{
	uint64_t v;

	lock_acquire(&d->device->lock);
	v = virtio_config_read(d->device, offset, bytes);
	lock_release(&d->device->lock);
	return v;
}

void driver_set_config(struct driver *d, uint32_t offset, unsigned bytes, uint64_t value)
{
	lock_acquire(&d->device->lock);
	virtio_config_write(d->device, offset, bytes, value);
	lock_release(&d->device->lock);
}

unsigned driver_work(struct driver *d)
{
	unsigned turns = 0;

	while (d->deferred) {
		d->deferred = false;
		if (virtio_step(d->device, WORK_BUDGET))
			d->deferred = true;
		if (++turns > TURNS_MAX)
			abort();
	}
	return turns;
}
