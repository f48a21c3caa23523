/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entropy device. Random bytes go straight into the guest's page; a source
 * that has none now leaves the chain where it is.
 */
#include "io/virtio_rng.h"

#include <string.h>

static struct virtio_rng *rng(struct virtio_device *d) { return container_of(d, struct virtio_rng, device); }

/* Fills the job's buffers. False: not whole yet, return *@why. */
static bool fill(struct virtio_rng *r, enum virtio_progress *why)
{
	struct virtio_job *j = &r->job;

	while (j->at.left != 0) {
		struct guest_pin p;
		size_t n;

		if (!virtio_job_pin(&r->device, 0, j, VIRTIO_RNG_BYTES_MAX, true, &p, why))
			return false;
		n = r->ops->fill(r->ctx, p.va, p.got);
		guest_mem_unpin(&r->device.mem, &p);
		virtq_advance(&j->at, n);
		j->written += (uint32_t)n;
		r->bytes += n;
		if (n == 0) {
			*why = VIRTIO_BLOCKED;
			return j->written != 0; /* some are better than none (5.4.6.2) */
		}
	}
	return true;
}

static enum virtio_progress work(struct virtio_device *d, unsigned index, unsigned *budget)
{
	struct virtio_rng *r = rng(d);
	struct virtio_job *j = &r->job;
	/* At worst one byte a buffer. */
	unsigned cost = VIRTIO_JOB_COST + VIRTIO_RNG_QUEUE_SIZE * r->ops->cost;
	enum virtio_progress why;

	for (;;) {
		if (*budget < cost)
			return VIRTIO_MORE;
		*budget -= cost;
		if (!virtio_job_begin(d, index, j, &why))
			return why;
		if (j->chain.readable != 0) { /* 5.4.6.1 */
			virtio_break(d, "a readable buffer for the entropy device");
			return VIRTIO_BLOCKED;
		}
		if (j->written == 0) {
			j->at = virtq_writable(&j->chain);
			j->at.left = MIN(j->at.left, VIRTIO_RNG_BYTES_MAX);
		}
		if (!fill(r, &why))
			return why;
		virtio_job_end(d, index, j);
	}
}

static void stop(struct virtio_device *d, unsigned index) { virtio_job_stop(d, index, &rng(d)->job); }

static const struct virtio_device_ops rng_ops = {.work = work, .stop = stop};

void virtio_rng_init(struct virtio_rng *r, const struct guest_mem *mem, const struct virtio_rng_ops *ops, void *ctx)
{
	memset(r, 0, sizeof *r);
	r->ops = ops;
	r->ctx = ctx;
	virtio_job_init(&r->job, r->buffers, VIRTIO_RNG_QUEUE_SIZE);
	r->queue.ring.size_max = VIRTIO_RNG_QUEUE_SIZE;
	r->device = (struct virtio_device){
		.ops = &rng_ops, .id = VIRTIO_ID_ENTROPY, .queues = &r->queue, .queue_count = 1, .mem = *mem};
	virtio_init(&r->device);
}

void virtio_rng_ready(struct virtio_rng *r)
{
	lock_acquire(&r->device.lock);
	virtio_resume(&r->device, 0);
	lock_release(&r->device.lock);
}
