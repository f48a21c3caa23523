/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balloon. Page numbers come as arrays of le32 in any framing; they are
 * copied a few at a time and handed on one by one, since taking one page may cost
 * memory management thousands of instructions. Nothing is known here about which
 * pages are in the balloon: a guest may name any number, twice, or one that is
 * no RAM, and the memory side judges each.
 *
 * The statistics queue is driven by the device (5.5.6.3): the guest's one buffer is
 * read when it comes, kept, and given back as the question for the next.
 */
#include "io/virtio_balloon.h"

#include <string.h>

#include "lib/assert.h"

#define PAGE_NUMBER_BYTES 4u
/* Reading one record, its bytes in as many buffers, in host instructions. */
#define RECORD_COST 3000u

static struct virtio_balloon *balloon(struct virtio_device *d) { return container_of(d, struct virtio_balloon, device); }

/* ---- records of a fixed size out of a chain in any framing ---- */

/* Reads on until @l has a whole record of @bytes. False at the chain's end, and when the job must wait: then *@why. */
static bool next_record(struct virtio_balloon *b, unsigned index, unsigned bytes, enum virtio_progress *why)
{
	struct virtio_balloon_list *l = &b->lists[index];

	while (l->part_bytes < bytes) {
		uint32_t n;

		if (l->job.at.left == 0) {
			*why = VIRTIO_IDLE;
			return false;
		}
		n = virtio_job_read(&b->device, index, &l->job, bytes - l->part_bytes, l->part + l->part_bytes, why);
		if (n == 0)
			return false;
		l->part_bytes += n;
	}
	l->part_bytes = 0;
	return true;
}

/* Begins with the queue's next chain. */
static bool begin(struct virtio_balloon *b, unsigned index, enum virtio_progress *why)
{
	struct virtio_balloon_list *l = &b->lists[index];

	if (!virtio_job_begin(&b->device, index, &l->job, why))
		return false;
	l->job.at = virtq_readable(&l->job.chain);
	l->part_bytes = 0;
	return true;
}

/* ---- inflate and deflate ---- */

static void hand_on(struct virtio_balloon *b, unsigned index, gfn_t f)
{
	if (index == VIRTIO_BALLOON_DEFLATE) {
		b->ops->deflate(b->ctx, f);
		b->deflated++;
	} else if (b->ops->inflate(b->ctx, f)) {
		b->inflated++;
	} else {
		b->refused++;
	}
}

static enum virtio_progress work_pages(struct virtio_balloon *b, unsigned index, unsigned *budget)
{
	struct virtio_balloon_list *l = &b->lists[index];
	enum virtio_progress why;

	for (;;) {
		unsigned cost = l->job.busy ? RECORD_COST + b->ops->page_cost : VIRTIO_JOB_COST;

		if (*budget < cost)
			return VIRTIO_MORE;
		*budget -= cost;
		if (!l->job.busy) {
			if (!begin(b, index, &why))
				return why;
		} else if (next_record(b, index, PAGE_NUMBER_BYTES, &why)) {
			hand_on(b, index, gfn(get_le32(l->part)));
		} else if (why == VIRTIO_IDLE) {
			virtio_job_end(&b->device, index, &l->job);
		} else {
			return why;
		}
	}
}

/* ---- statistics ---- */

static void take_stat(struct virtio_balloon *b, const uint8_t *record)
{
	uint16_t tag = get_le16(record);

	if (tag >= VIRTIO_BALLOON_STATS) /* one that we do not know: 5.5.6.3.2 */
		return;
	b->values[tag] = get_le64(record + 2);
	b->present |= (uint32_t)BIT(tag);
}

static void ask(struct virtio_balloon *b)
{
	b->stats_wanted = !b->stats_held;
	if (!b->stats_held)
		return;
	b->stats_held = false;
	virtio_job_end(&b->device, VIRTIO_BALLOON_STATSQ, &b->lists[VIRTIO_BALLOON_STATSQ].job);
}

static enum virtio_progress work_stats(struct virtio_balloon *b, unsigned *budget)
{
	struct virtio_balloon_list *l = &b->lists[VIRTIO_BALLOON_STATSQ];
	enum virtio_progress why;

	while (!b->stats_held) {
		unsigned cost = l->job.busy ? RECORD_COST : VIRTIO_JOB_COST;

		if (*budget < cost)
			return VIRTIO_MORE;
		*budget -= cost;
		if (!l->job.busy) {
			b->present = 0;
			if (!begin(b, VIRTIO_BALLOON_STATSQ, &why))
				return why;
		}
		if (next_record(b, VIRTIO_BALLOON_STATSQ, VIRTIO_BALLOON_STAT_BYTES, &why)) {
			take_stat(b, l->part);
			continue;
		}
		if (why != VIRTIO_IDLE)
			return why;
		b->stats_held = true;
		if (b->ops->stats && b->present != 0)
			b->ops->stats(b->ctx, b->values, b->present);
		if (b->stats_wanted)
			ask(b);
	}
	return VIRTIO_BLOCKED;
}

/* ---- the device ---- */

static enum virtio_progress work(struct virtio_device *d, unsigned index, unsigned *budget)
{
	if (index == VIRTIO_BALLOON_STATSQ)
		return work_stats(balloon(d), budget);
	return work_pages(balloon(d), index, budget);
}

static void stop(struct virtio_device *d, unsigned index)
{
	struct virtio_balloon *b = balloon(d);

	if (index == VIRTIO_BALLOON_STATSQ)
		b->stats_held = b->stats_wanted = false;
	virtio_job_stop(d, index, &b->lists[index].job);
}

/* `actual` is the driver's to write (5.5.6.1), in any pieces; num_pages is not. */
static void config_write(struct virtio_device *d, uint32_t offset, unsigned bytes, uint64_t value)
{
	struct virtio_balloon *b = balloon(d);

	if (offset < VIRTIO_BALLOON_CFG_ACTUAL)
		return;
	for (unsigned i = 0; i < bytes; i++)
		b->config[offset + i] = (uint8_t)(value >> 8 * i);
	if (b->ops->actual)
		b->ops->actual(b->ctx, virtio_balloon_actual(b));
}

static void reset(struct virtio_device *d)
{
	struct virtio_balloon *b = balloon(d);

	put_le32(b->config + VIRTIO_BALLOON_CFG_ACTUAL, 0);
	b->present = 0;
}

static const struct virtio_device_ops balloon_ops = {
	.work = work, .stop = stop, .config_write = config_write, .reset = reset};

void virtio_balloon_init(struct virtio_balloon *b, const struct guest_mem *mem, const struct virtio_balloon_ops *ops,
			 void *ctx)
{
	ASSERT(ops->page_cost <= VIRTIO_BALLOON_PAGE_COST_MAX);
	memset(b, 0, sizeof *b);
	b->ops = ops;
	b->ctx = ctx;
	for (unsigned i = 0; i < VIRTIO_BALLOON_QUEUES; i++) {
		virtio_job_init(&b->lists[i].job, b->lists[i].buffers, VIRTIO_BALLOON_QUEUE_SIZE);
		b->queues[i].ring.size_max = VIRTIO_BALLOON_QUEUE_SIZE;
	}
	b->device = (struct virtio_device){
		.ops = &balloon_ops, .id = VIRTIO_ID_BALLOON, .mem = *mem,
		.offered = VIRTIO_BALLOON_F_MUST_TELL_HOST | VIRTIO_BALLOON_F_STATS_VQ | VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
		.queues = b->queues, .queue_count = VIRTIO_BALLOON_QUEUES,
		.config = b->config, .config_bytes = VIRTIO_BALLOON_CFG_BYTES};
	virtio_init(&b->device);
}

void virtio_balloon_target(struct virtio_balloon *b, uint32_t pages)
{
	lock_acquire(&b->device.lock);
	put_le32(b->config + VIRTIO_BALLOON_CFG_NUM_PAGES, pages);
	virtio_config_changed(&b->device);
	lock_release(&b->device.lock);
}

uint32_t virtio_balloon_actual(const struct virtio_balloon *b)
{
	return get_le32(b->config + VIRTIO_BALLOON_CFG_ACTUAL);
}

void virtio_balloon_ask(struct virtio_balloon *b)
{
	lock_acquire(&b->device.lock);
	if (b->stats_held) /* while the buffer was here the driver was not to kick: now it is */
		virtio_resume(&b->device, VIRTIO_BALLOON_STATSQ);
	ask(b);
	lock_release(&b->device.lock);
}
