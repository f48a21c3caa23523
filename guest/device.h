/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device as the bus sees it. It is told (offset, size, value), never an
 * address and never a vcpu; it raises interrupts through an irq_line. Reads of
 * undefined registers return all ones or the device's documented default.
 */
#ifndef CORBEL_GUEST_DEVICE_H
#define CORBEL_GUEST_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

struct device;

struct device_ops {
	const char *name;
	/* @size is 1, 2, 4 or 8 (8 for MMIO only); @offset + @size stays inside the claimed range. */
	uint64_t (*read)(struct device *dev, uint64_t offset, unsigned size);
	void (*write)(struct device *dev, uint64_t offset, unsigned size, uint64_t value);
	/* Power-on state; may be NULL. */
	void (*reset)(struct device *dev);
	/*
	 * The device takes locks of its own for what it keeps: the way to it (guest/vm_devices.h) takes none, and
	 * several vcpus may be in read and write at once. Else the VM's lock is held around each call.
	 */
	bool own_lock;
};

struct device {
	const struct device_ops *ops;
};

/* An interrupt output: level semantics, @set is idempotent. gsi: ISA/IO-APIC input number. */
struct irq_line {
	void (*set)(void *ctx, unsigned gsi, bool level);
	void *ctx;
	unsigned gsi;
};

static inline void irq_line_set(const struct irq_line *line, bool level) { line->set(line->ctx, line->gsi, level); }

#endif
