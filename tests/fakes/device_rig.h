/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device of the guest's machine needs around it, driven by hand: guest
 * time, a timer queue on it, and interrupt inputs that count edges. One rig
 * exists at a time (struct clock has no context).
 */
#ifndef CORBEL_TESTS_DEVICE_RIG_H
#define CORBEL_TESTS_DEVICE_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/device.h"
#include "guest/vtime.h"
#include "lib/timerq.h"

#define RIG_LINES 24
#define RIG_TIMERS 16

struct rig {
	struct vm_time time;
	struct timerq timers;
	struct timer *slots[RIG_TIMERS];
	bool level[RIG_LINES];
	unsigned rises[RIG_LINES];
};

/* Guest TSC at 0 and running at @hz; every line low. */
void rig_init(struct rig *rig, uint64_t hz);
/* Guest TSC now. */
uint64_t rig_now(const struct rig *rig);
/* Time passes by @ticks; every timer runs at its deadline, like on a machine that is never late. */
void rig_advance(struct rig *rig, uint64_t ticks);
/* Time passes by @ticks and the timers run once, at the end: a vcpu that lost the CPU. */
void rig_jump(struct rig *rig, uint64_t ticks);
/* Time passes by @ticks and no timer has run yet: an access that comes before them. */
void rig_stall(struct rig *rig, uint64_t ticks);
/* Guest TSC becomes @tsc, not earlier than now, as rig_advance(). */
void rig_advance_to(struct rig *rig, uint64_t tsc);
struct irq_line rig_line(struct rig *rig, unsigned gsi);

/* Shorthands for the byte-wide registers of a device. */
static inline uint8_t dev_in(struct device *dev, uint64_t offset) { return (uint8_t)dev->ops->read(dev, offset, 1); }
static inline void dev_out(struct device *dev, uint64_t offset, uint8_t v) { dev->ops->write(dev, offset, 1, v); }

#endif
