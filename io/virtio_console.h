/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio console (virtio 1.2 section 5.3) with one port: queue 0 receives what was
 * typed, queue 1 transmits what the guest prints. Neither side waits for the
 * other: output is taken at once, input stays with its owner until the guest
 * offers a buffer.
 */
#ifndef CORBEL_IO_VIRTIO_CONSOLE_H
#define CORBEL_IO_VIRTIO_CONSOLE_H

#include "io/virtio_job.h"

/* Feature bits (5.3.3). */
#define VIRTIO_CONSOLE_F_SIZE BIT(0)
#define VIRTIO_CONSOLE_F_MULTIPORT BIT(1)
#define VIRTIO_CONSOLE_F_EMERG_WRITE BIT(2)

/* Offsets in the configuration space (5.3.4). */
#define VIRTIO_CONSOLE_CFG_COLS 0 /* le16 */
#define VIRTIO_CONSOLE_CFG_ROWS 2 /* le16 */
#define VIRTIO_CONSOLE_CFG_MAX_PORTS 4
#define VIRTIO_CONSOLE_CFG_EMERG_WR 8
#define VIRTIO_CONSOLE_CFG_BYTES 12

#define VIRTIO_CONSOLE_QUEUE_SIZE 64u
enum { VIRTIO_CONSOLE_RECEIVE, VIRTIO_CONSOLE_TRANSMIT, VIRTIO_CONSOLE_QUEUES };

/* What is behind the port. The device's lock is held; neither blocks. */
struct virtio_console_ops {
	/* What the guest printed; takes all of it. @data is guest memory, which may change meanwhile. */
	void (*write)(void *ctx, const uint8_t *data, size_t bytes);
	/* Up to @max bytes of what was typed, returns how many; 0: nothing now. */
	size_t (*read)(void *ctx, uint8_t *out, size_t max);
	/* A driver waits for what is typed, from now on or no more. May be NULL. */
	void (*listens)(void *ctx, bool on);
};

struct virtio_console {
	struct virtio_device device;
	struct virtio_queue queues[VIRTIO_CONSOLE_QUEUES];
	const struct virtio_console_ops *ops;
	void *ctx;
	bool heard; /* the driver waits for input, and its owner knows */
	uint8_t config[VIRTIO_CONSOLE_CFG_BYTES];
	struct virtio_job jobs[VIRTIO_CONSOLE_QUEUES];
	struct virtq_buffer buffers[VIRTIO_CONSOLE_QUEUES][VIRTIO_CONSOLE_QUEUE_SIZE];
};

/* @c stays with the caller. */
void virtio_console_init(struct virtio_console *c, const struct guest_mem *mem, const struct virtio_console_ops *ops,
			 void *ctx);
/* Something was typed: read() has bytes. Takes the device's lock; interrupts masked. */
void virtio_console_input(struct virtio_console *c);
/* The terminal's size, 0 for unknown. Takes the device's lock; interrupts masked. */
void virtio_console_resize(struct virtio_console *c, uint16_t columns, uint16_t rows);

#endif
