/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For devices that take the chains of a queue one at a time: the chain they are
 * at, how far they are, and the pin that the next piece of it may have to wait
 * for. work() begins or goes on with the job; whenever a call here answers false
 * it returns what the call says.
 */
#ifndef CORBEL_IO_VIRTIO_JOB_H
#define CORBEL_IO_VIRTIO_JOB_H

#include "io/virtio.h"

/* What begin() and pin() cost at most, in host instructions: 256 descriptors, one page to be brought in. */
#define VIRTIO_JOB_COST 8000u

struct virtio_job {
	struct virtq_chain chain;
	struct virtq_cursor at; /* the device sets it when the job has begun */
	uint32_t written;       /* what the driver will be told */
	bool busy;
};

static inline void virtio_job_init(struct virtio_job *j, struct virtq_buffer *buffers, uint16_t room)
{
	*j = (struct virtio_job){.chain = {.buffers = buffers, .room = room}};
}

/* Takes the next chain of queue @index, if the job has none. False: return *@why. */
bool virtio_job_begin(struct virtio_device *d, unsigned index, struct virtio_job *j, enum virtio_progress *why);
/*
 * Pins up to @most bytes from j->at on; to be unpinned before the next call. A buffer outside memory breaks the device.
 * False: return *@why.
 */
bool virtio_job_pin(struct virtio_device *d, unsigned index, struct virtio_job *j, uint32_t most, bool write,
		    struct guest_pin *p, enum virtio_progress *why);
/* Copies up to @most bytes from j->at on to @out and moves on; how many it was, 0: return *@why. */
uint32_t virtio_job_read(struct virtio_device *d, unsigned index, struct virtio_job *j, uint32_t most, uint8_t *out,
			 enum virtio_progress *why);
/* Gives the chain back to the driver, and tells it. */
void virtio_job_end(struct virtio_device *d, unsigned index, struct virtio_job *j);
/* The device's stop(): the queue is being stopped. */
void virtio_job_stop(struct virtio_device *d, unsigned index, struct virtio_job *j);

#endif
