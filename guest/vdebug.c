/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One write-only register. A write of any other width is a mistake of the test
 * program, not a code: it is dropped, and the test then fails by its time limit.
 */
#include "guest/vdebug.h"

#include "lib/bits.h"

static uint64_t port_read(struct device *dev, uint64_t offset, unsigned size)
{
	(void)dev, (void)offset, (void)size;
	return UINT64_MAX;
}

static void port_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct vdebug *debug = container_of(dev, struct vdebug, dev);

	if (offset == 0 && size == VDEBUG_LEN)
		debug->ops->debug_exit(debug->ctx, (uint32_t)value);
}

static const struct device_ops device_ops = {.name = "debug-exit", .read = port_read, .write = port_write};

void vdebug_init(struct vdebug *debug, const struct system_ops *ops, void *ctx)
{
	*debug = (struct vdebug){.dev = {.ops = &device_ops}, .ops = ops, .ctx = ctx};
}
