/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio entropy device (virtio 1.2 section 5.4): one queue of writable buffers,
 * filled with random bytes. A buffer gets at most VIRTIO_RNG_BYTES_MAX, which
 * 5.4.6 allows, so that a guest draws no more from the host at a time than it needs
 * for a seed.
 */
#ifndef CORBEL_IO_VIRTIO_RNG_H
#define CORBEL_IO_VIRTIO_RNG_H

#include "io/virtio_job.h"

#define VIRTIO_RNG_QUEUE_SIZE 16u
#define VIRTIO_RNG_BYTES_MAX 64u

struct virtio_rng_ops {
	/*
	 * Writes up to @bytes (at most VIRTIO_RNG_BYTES_MAX) random bytes to @out, which is memory of the guest, and
	 * returns how many. 0: none now; virtio_rng_ready() is called when there are. The device's lock is held.
	 */
	size_t (*fill)(void *ctx, void *out, size_t bytes);
	unsigned cost; /* of a call at most, in host instructions */
};

struct virtio_rng {
	struct virtio_device device;
	struct virtio_queue queue;
	struct virtio_job job;
	struct virtq_buffer buffers[VIRTIO_RNG_QUEUE_SIZE];
	const struct virtio_rng_ops *ops;
	void *ctx;
	uint64_t bytes; /* given since power-on */
};

/* @r stays with the caller. */
void virtio_rng_init(struct virtio_rng *r, const struct guest_mem *mem, const struct virtio_rng_ops *ops, void *ctx);
/* There are random bytes again. Takes the device's lock; interrupts masked. */
void virtio_rng_ready(struct virtio_rng *r);

#endif
