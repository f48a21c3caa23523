/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One chain at a time. Nothing is pinned between two turns of work(): what was
 * waited for is asked for again, because it may have moved.
 */
#include "io/virtio_job.h"

#include "lib/assert.h"

bool virtio_job_begin(struct virtio_device *d, unsigned index, struct virtio_job *j, enum virtio_progress *why)
{
	*why = VIRTIO_BLOCKED;
	if (j->busy)
		return true;
	switch (virtq_pop(&d->queues[index].ring, &j->chain)) {
	case VIRTQ_CHAIN:
		j->busy = true;
		j->written = 0;
		j->at = (struct virtq_cursor){0};
		return true;
	case VIRTQ_LATER:
		return false;
	default:
		*why = VIRTIO_IDLE;
		return false;
	}
}

bool virtio_job_pin(struct virtio_device *d, unsigned index, struct virtio_job *j, uint32_t most, bool write,
		    struct guest_pin *p, enum virtio_progress *why)
{
	virtq_piece(&j->at, p);
	p->bytes = MIN(p->bytes, most);
	p->write = write;
	*why = VIRTIO_BLOCKED;
	if (d->queues[index].ring.waiting)
		return false;
	switch (virtio_pin(d, index, p)) {
	case PIN_NOW:
		return true;
	case PIN_LATER:
		return false;
	default:
		virtio_break(d, "a buffer outside memory");
		return false;
	}
}

uint32_t virtio_job_read(struct virtio_device *d, unsigned index, struct virtio_job *j, uint32_t most, uint8_t *out,
			 enum virtio_progress *why)
{
	struct guest_pin p;

	if (!virtio_job_pin(d, index, j, most, false, &p, why))
		return 0;
	memcpy(out, p.va, p.got);
	guest_mem_unpin(&d->mem, &p);
	virtq_advance(&j->at, p.got);
	return p.got;
}

void virtio_job_end(struct virtio_device *d, unsigned index, struct virtio_job *j)
{
	ASSERT(j->busy);
	j->busy = false;
	virtio_push(d, index, j->chain.head, j->written);
	virtio_notify(d, index);
}

void virtio_job_stop(struct virtio_device *d, unsigned index, struct virtio_job *j)
{
	if (!j->busy)
		return;
	j->busy = false;
	virtio_drop(d, index, j->chain.head);
}
