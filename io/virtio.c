/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core of a virtio device (virtio 1.2, chapters 2 and 3). Everything that the
 * driver may write is kept as it was written and judged at one point: features when
 * FEATURES_OK is set, a queue when it is enabled. A rule that is broken leads to one
 * place, virtio_break().
 *
 * A queue stops in steps (settle()): what waits is called back or arrives, what is at
 * the disk ends, and only then its rings are unpinned.
 */
#include "io/virtio.h"

#include "lib/assert.h"

#define CORE_FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_RESET)
/* Looking at a queue again, in host instructions. */
#define LOOK_COST 100u

/* ---- the transport ---- */

static void interrupt(struct virtio_device *d, uint16_t vector)
{
	d->interrupts++;
	if (vector != VIRTIO_NO_VECTOR)
		d->transport->interrupt(d->transport_ctx, vector);
}

static void ask_for_work(struct virtio_device *d)
{
	if (d->deferred || !virtio_running(d))
		return;
	d->deferred = true;
	d->transport->defer(d->transport_ctx);
}

void virtio_break(struct virtio_device *d, const char *why)
{
	if (d->resetting || (d->status & VIRTIO_STATUS_NEEDS_RESET))
		return;
	d->broken = why;
	d->status |= VIRTIO_STATUS_NEEDS_RESET;
	if (d->status & VIRTIO_STATUS_DRIVER_OK)
		interrupt(d, d->config_vector);
	if (d->transport->broken)
		d->transport->broken(d->transport_ctx, why);
}

/* ---- stopping ---- */

static void complete_reset(struct virtio_device *d)
{
	d->resetting = false;
	d->status = 0;
	d->accepted = 0;
	d->accepted_unknown = false;
	d->config_vector = VIRTIO_NO_VECTOR;
	d->turn = 0;
	if (d->ops->reset)
		d->ops->reset(d);
}

static void queue_off(struct virtio_queue *q)
{
	q->vector = VIRTIO_NO_VECTOR;
	q->kicked = false;
	q->resetting = false;
}

/* Completes what can be completed of the stops under way. True: no queue is left that is not off. */
static bool settle(struct virtio_device *d)
{
	bool off = true;

	for (unsigned i = 0; i < d->queue_count; i++) {
		struct virtio_queue *q = &d->queues[i];

		if (q->ring.state == VIRTQ_STOPPING && virtq_stop(&q->ring))
			queue_off(q);
		off = off && q->ring.state == VIRTQ_OFF;
	}
	if (off && d->resetting && !d->stopping)
		complete_reset(d);
	return off;
}

static void stop_queue(struct virtio_queue *q)
{
	struct virtio_device *d = q->device;
	unsigned index = (unsigned)(q - d->queues);

	if (q->ring.state == VIRTQ_OFF || q->ring.state == VIRTQ_STOPPING)
		return;
	q->ring.state = VIRTQ_STOPPING;
	if (d->ops->stop)
		d->ops->stop(d, index);
}

/* An event from outside ended something. */
static void settle_later(struct virtio_device *d)
{
	bool waited = d->resetting && !d->stopping;

	settle(d);
	if (waited && !d->resetting && d->transport->reset_done)
		d->transport->reset_done(d->transport_ctx);
}

bool virtio_reset(struct virtio_device *d)
{
	ASSERT(lock_is_mine(&d->lock));
	if (d->resetting)
		return false;
	d->resetting = d->stopping = true;
	d->resets++;
	for (unsigned i = 0; i < d->queue_count; i++) {
		stop_queue(&d->queues[i]);
		if (d->queues[i].ring.state == VIRTQ_OFF) {
			virtq_init(&d->queues[i].ring); /* what was set without being enabled */
			queue_off(&d->queues[i]);
		}
	}
	d->stopping = false;
	return settle(d);
}

void virtio_drop(struct virtio_device *d, unsigned index, uint16_t head)
{
	virtq_drop(&d->queues[index].ring, head);
	if (!d->stopping)
		settle_later(d);
}

/* ---- queues ---- */

static void start_queue(struct virtio_queue *q)
{
	enum pin_result answer = virtq_start(&q->ring);

	if (answer == PIN_FAIL)
		virtio_break(q->device, q->ring.broken);
	if (answer != PIN_NOW)
		return;
	q->kicked = true; /* the driver need not kick for what is there already */
	ask_for_work(q->device);
}

/* What queue or device waited for may be had. */
static void resumed(struct virtq *ring)
{
	struct virtio_queue *q = container_of(ring, struct virtio_queue, ring);
	struct virtio_device *d = q->device;

	lock_acquire(&d->lock);
	ring->waiting = false;
	if (ring->state == VIRTQ_STOPPING)
		settle_later(d);
	else if (ring->state == VIRTQ_STARTING)
		start_queue(q);
	else
		virtio_resume(d, (unsigned)(q - d->queues));
	lock_release(&d->lock);
}

void virtio_resume(struct virtio_device *d, unsigned index)
{
	d->queues[index].kicked = true;
	ask_for_work(d);
}

struct virtio_queue *virtio_queue(struct virtio_device *d, unsigned index)
{
	return index < d->queue_count ? &d->queues[index] : NULL;
}

void virtio_queue_set_size(struct virtio_queue *q, uint16_t size)
{
	if (q->ring.state == VIRTQ_OFF)
		q->ring.size = size;
}

void virtio_queue_set_address(struct virtio_queue *q, enum virtq_part part, unsigned half, uint32_t value)
{
	gpa_t *at = &q->ring.at[part];

	if (q->ring.state != VIRTQ_OFF)
		return;
	*at = gpa(half == 0 ? (at->v & MASK(63, 32)) | value : (at->v & MASK(31, 0)) | (uint64_t)value << 32);
}

uint32_t virtio_queue_address(const struct virtio_queue *q, enum virtq_part part, unsigned half)
{
	return (uint32_t)(q->ring.at[part].v >> 32 * half);
}

void virtio_queue_enable(struct virtio_queue *q)
{
	struct virtio_device *d = q->device;

	if (q->ring.state != VIRTQ_OFF || d->resetting || !(d->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	q->ring.event_idx = virtio_has(d, VIRTIO_F_EVENT_IDX);
	q->ring.indirect = virtio_has(d, VIRTIO_F_INDIRECT_DESC);
	start_queue(q);
}

bool virtio_queue_enabled(const struct virtio_queue *q) { return q->ring.state != VIRTQ_OFF; }

void virtio_queue_reset(struct virtio_queue *q)
{
	struct virtio_device *d = q->device;

	if (!virtio_has(d, VIRTIO_F_RING_RESET) || q->ring.state == VIRTQ_OFF || d->resetting)
		return;
	q->resetting = true;
	d->stopping = true;
	stop_queue(q);
	d->stopping = false;
	settle(d);
}

bool virtio_queue_resetting(const struct virtio_queue *q) { return q->resetting; }

void virtio_notify(struct virtio_device *d, unsigned index)
{
	struct virtio_queue *q = &d->queues[index];

	if (virtq_interrupt_wanted(&q->ring))
		interrupt(d, q->vector);
}

bool virtio_notify_after(struct virtio_device *d, unsigned index, uint64_t gap)
{
	struct virtio_queue *q = &d->queues[index];

	if (!virtq_interrupt_wanted(&q->ring))
		return true;
	if (gap == 0 || q->vector == VIRTIO_NO_VECTOR || !d->transport->interrupt_after) {
		interrupt(d, q->vector);
		return true;
	}
	d->interrupts++;
	if (d->transport->interrupt_after(d->transport_ctx, q->vector, gap))
		return true;
	d->owes_nudge = true;
	return false;
}

void virtio_nudge_slow(struct virtio_device *d, uint64_t gap)
{
	d->owes_nudge = !d->transport->nudge(d->transport_ctx, gap);
}

enum pin_result virtio_pin(struct virtio_device *d, unsigned index, struct guest_pin *p)
{
	return virtq_wait_pin(&d->queues[index].ring, p);
}

/* ---- features and status ---- */

uint32_t virtio_features(const struct virtio_device *d, uint32_t select)
{
	return select < 2 ? (uint32_t)(d->offered >> 32 * select) : 0;
}

uint32_t virtio_accepted(const struct virtio_device *d, uint32_t select)
{
	return select < 2 ? (uint32_t)(d->accepted >> 32 * select) : 0;
}

void virtio_accept(struct virtio_device *d, uint32_t select, uint32_t bits)
{
	if (d->resetting || (d->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	if (select == 0)
		d->accepted = (d->accepted & MASK(63, 32)) | bits;
	else if (select == 1)
		d->accepted = (d->accepted & MASK(31, 0)) | (uint64_t)bits << 32;
	else if (bits != 0)
		d->accepted_unknown = true;
}

/* A driver that does not know VERSION_1 would take this for the old interface (6.1). */
static bool features_fine(struct virtio_device *d)
{
	if (d->accepted_unknown || (d->accepted & ~d->offered) != 0 || !virtio_has(d, VIRTIO_F_VERSION_1))
		return false;
	return !d->ops->features_ok || d->ops->features_ok(d, d->accepted);
}

uint8_t virtio_status(const struct virtio_device *d) { return d->status; }

void virtio_set_status(struct virtio_device *d, uint8_t value)
{
	uint8_t old = d->status;

	if (value == 0) {
		virtio_reset(d);
		return;
	}
	if (d->resetting)
		return;
	value = (uint8_t)((value & ~VIRTIO_STATUS_NEEDS_RESET) | old);
	if ((value & ~old & VIRTIO_STATUS_FEATURES_OK) && !features_fine(d))
		value &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	if (!(value & VIRTIO_STATUS_FEATURES_OK))
		value &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
	d->status = value;
	if (value & ~old & VIRTIO_STATUS_DRIVER_OK)
		ask_for_work(d);
}

/* ---- the configuration space ---- */

uint64_t virtio_config_read(const struct virtio_device *d, uint32_t offset, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		if (offset < d->config_bytes && i < d->config_bytes - offset)
			v |= (uint64_t)d->config[offset + i] << 8 * i;
	return v;
}

void virtio_config_write(struct virtio_device *d, uint32_t offset, unsigned bytes, uint64_t value)
{
	if (d->resetting || offset >= d->config_bytes || bytes > d->config_bytes - offset)
		return;
	if (d->ops->config_write)
		d->ops->config_write(d, offset, bytes, value);
}

void virtio_config_changed(struct virtio_device *d)
{
	d->config_generation++;
	if (virtio_running(d))
		interrupt(d, d->config_vector);
}

/* ---- work ---- */

/* True: the budget is spent. */
static bool work_queue(struct virtio_device *d, unsigned index, unsigned *budget)
{
	struct virtio_queue *q = &d->queues[index];
	enum virtio_progress progress;

	do {
		if (*budget < LOOK_COST)
			return true;
		*budget -= LOOK_COST;
		q->kicked = false;
		virtq_kicks_off(&q->ring);
		progress = d->ops->work(d, index, budget);
		if (q->ring.state == VIRTQ_BROKEN_STATE) {
			virtio_break(d, q->ring.broken);
			return false;
		}
		q->kicked = q->kicked || progress == VIRTIO_MORE;
		if (progress == VIRTIO_MORE)
			return true;
		/* An index that the guest moves forth and back ends this by the budget. */
	} while (progress == VIRTIO_IDLE && virtq_kicks_on(&q->ring));
	return q->kicked;
}

static bool workable(const struct virtio_queue *q)
{
	return q->kicked && q->ring.state == VIRTQ_ON;
}

static bool any_workable(const struct virtio_device *d)
{
	for (unsigned i = 0; i < d->queue_count; i++)
		if (workable(&d->queues[i]))
			return true;
	return false;
}

/* A turn over the queues. True: there is more to do. */
static bool work(struct virtio_device *d, unsigned *budget)
{
	unsigned first = d->turn;

	for (unsigned n = 0; n < d->queue_count && virtio_running(d); n++) {
		unsigned index = (first + n) % d->queue_count;

		if (workable(&d->queues[index]) && work_queue(d, index, budget)) {
			d->turn = (index + 1) % d->queue_count;
			return true;
		}
	}
	/* Work on one queue may have made another go on that had its turn already. */
	return any_workable(d) && virtio_running(d);
}

/* The queue that was kicked is all that is worked on here, with as much as may be done inline. */
void virtio_kick(struct virtio_device *d, unsigned index)
{
	unsigned budget = VIRTIO_INLINE_BUDGET;
	struct virtio_queue *q;
	bool more = false;

	if (index >= d->queue_count)
		return;
	q = &d->queues[index];
	d->kicks++;
	q->kicked = true;
	if (d->deferred || !virtio_running(d))
		return;
	if (workable(q))
		more = q->leave_kicks || work_queue(d, index, &budget);
	/* Most devices have one such queue: there is nothing else to look at. */
	if (more || (d->queue_count > 1 && any_workable(d)))
		ask_for_work(d);
}

bool virtio_work(struct virtio_device *d, unsigned budget)
{
	if (d->ops->collect)
		d->ops->collect(d);
	d->deferred = work(d, &budget);
	return d->deferred;
}

bool virtio_step(struct virtio_device *d, unsigned budget)
{
	bool more;

	lock_acquire(&d->lock);
	more = virtio_work(d, budget);
	lock_release(&d->lock);
	if (d->ops->carry)
		more |= d->ops->carry(d, budget);
	return more;
}

/* ---- */

void virtio_init(struct virtio_device *d)
{
	ASSERT(d->queue_count >= 1 && d->queue_count <= VIRTIO_QUEUES_MAX);
	lock_init(&d->lock, LOCK_DEVICE);
	d->offered |= CORE_FEATURES;
	d->config_vector = VIRTIO_NO_VECTOR;
	for (unsigned i = 0; i < d->queue_count; i++) {
		struct virtio_queue *q = &d->queues[i];

		q->device = d;
		q->vector = VIRTIO_NO_VECTOR;
		q->ring.mem = &d->mem;
		q->ring.resumed = resumed;
		virtq_init(&q->ring);
	}
}
