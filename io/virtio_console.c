/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console. What the guest prints is taken in small pieces, since each byte
 * costs its owner something; what was typed goes out with the first buffer that
 * the guest offers, full or not: somebody waits for an echo.
 */
#include "io/virtio_console.h"

#include <string.h>

/* Bytes in one step and what each costs at most, in host instructions: a console's ring and its log. */
#define CHUNK 128u
#define BYTE_COST 40u
#define STEP_COST (VIRTIO_JOB_COST + CHUNK * BYTE_COST)

static struct virtio_console *console(struct virtio_device *d) { return container_of(d, struct virtio_console, device); }

static bool take_budget(unsigned *budget)
{
	if (*budget < STEP_COST)
		return false;
	*budget -= STEP_COST;
	return true;
}

static enum virtio_progress transmit(struct virtio_console *c, unsigned *budget)
{
	struct virtio_job *j = &c->jobs[VIRTIO_CONSOLE_TRANSMIT];
	enum virtio_progress why;
	struct guest_pin p;

	while (take_budget(budget)) {
		bool fresh = !j->busy;

		if (!virtio_job_begin(&c->device, VIRTIO_CONSOLE_TRANSMIT, j, &why))
			return why;
		if (fresh)
			j->at = virtq_readable(&j->chain);
		if (j->at.left != 0) {
			if (!virtio_job_pin(&c->device, VIRTIO_CONSOLE_TRANSMIT, j, CHUNK, false, &p, &why))
				return why;
			c->ops->write(c->ctx, p.va, p.got);
			guest_mem_unpin(&c->device.mem, &p);
			virtq_advance(&j->at, p.got);
		}
		if (j->at.left == 0)
			virtio_job_end(&c->device, VIRTIO_CONSOLE_TRANSMIT, j);
	}
	return VIRTIO_MORE;
}

static enum virtio_progress receive(struct virtio_console *c, unsigned *budget)
{
	struct virtio_job *j = &c->jobs[VIRTIO_CONSOLE_RECEIVE];
	enum virtio_progress why;
	struct guest_pin p;
	size_t n;

	while (take_budget(budget)) {
		if (!virtio_job_begin(&c->device, VIRTIO_CONSOLE_RECEIVE, j, &why))
			return why;
		if (j->written == 0)
			j->at = virtq_writable(&j->chain);
		if (j->at.left == 0) {
			virtio_job_end(&c->device, VIRTIO_CONSOLE_RECEIVE, j);
			continue;
		}
		if (!virtio_job_pin(&c->device, VIRTIO_CONSOLE_RECEIVE, j, CHUNK, true, &p, &why))
			return why;
		n = c->ops->read(c->ctx, p.va, p.got);
		guest_mem_unpin(&c->device.mem, &p);
		virtq_advance(&j->at, n);
		j->written += (uint32_t)n;
		if (n == 0 && j->written == 0)
			return VIRTIO_BLOCKED; /* until something is typed */
		if (n == 0)
			virtio_job_end(&c->device, VIRTIO_CONSOLE_RECEIVE, j);
	}
	return VIRTIO_MORE;
}

static void listens(struct virtio_console *c, bool on)
{
	if (c->heard == on)
		return;
	c->heard = on;
	if (c->ops->listens)
		c->ops->listens(c->ctx, on);
}

static enum virtio_progress work(struct virtio_device *d, unsigned index, unsigned *budget)
{
	if (index == VIRTIO_CONSOLE_TRANSMIT)
		return transmit(console(d), budget);
	listens(console(d), true);
	return receive(console(d), budget);
}

static void stop(struct virtio_device *d, unsigned index)
{
	if (index == VIRTIO_CONSOLE_RECEIVE)
		listens(console(d), false);
	virtio_job_stop(d, index, &console(d)->jobs[index]);
}

/* 5.3.6.4: one character, at any time after the features are settled. */
static void config_write(struct virtio_device *d, uint32_t offset, unsigned bytes, uint64_t value)
{
	uint8_t byte = (uint8_t)value;

	if (offset == VIRTIO_CONSOLE_CFG_EMERG_WR && bytes <= 4 && virtio_has(d, VIRTIO_CONSOLE_F_EMERG_WRITE))
		console(d)->ops->write(console(d)->ctx, &byte, 1);
}

static const struct virtio_device_ops console_ops = {.work = work, .stop = stop, .config_write = config_write};

void virtio_console_init(struct virtio_console *c, const struct guest_mem *mem, const struct virtio_console_ops *ops,
			 void *ctx)
{
	memset(c, 0, sizeof *c);
	c->ops = ops;
	c->ctx = ctx;
	put_le32(c->config + VIRTIO_CONSOLE_CFG_MAX_PORTS, 1);
	for (unsigned i = 0; i < VIRTIO_CONSOLE_QUEUES; i++) {
		virtio_job_init(&c->jobs[i], c->buffers[i], VIRTIO_CONSOLE_QUEUE_SIZE);
		c->queues[i].ring.size_max = VIRTIO_CONSOLE_QUEUE_SIZE;
	}
	c->device = (struct virtio_device){
		.ops = &console_ops, .id = VIRTIO_ID_CONSOLE, .mem = *mem,
		.offered = VIRTIO_CONSOLE_F_SIZE | VIRTIO_CONSOLE_F_EMERG_WRITE,
		.queues = c->queues, .queue_count = VIRTIO_CONSOLE_QUEUES,
		.config = c->config, .config_bytes = VIRTIO_CONSOLE_CFG_BYTES};
	virtio_init(&c->device);
}

void virtio_console_input(struct virtio_console *c)
{
	lock_acquire(&c->device.lock);
	virtio_resume(&c->device, VIRTIO_CONSOLE_RECEIVE);
	lock_release(&c->device.lock);
}

void virtio_console_resize(struct virtio_console *c, uint16_t columns, uint16_t rows)
{
	lock_acquire(&c->device.lock);
	put_le16(c->config + VIRTIO_CONSOLE_CFG_COLS, columns);
	put_le16(c->config + VIRTIO_CONSOLE_CFG_ROWS, rows);
	virtio_config_changed(&c->device);
	lock_release(&c->device.lock);
}
