/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only source of guest time. Guest TSC = host TSC + offset (constant while
 * the VM runs); every virtual clock derives from it. Pausing freezes it, and
 * resuming shifts the offset once; it never moves to hide host time.
 */
#ifndef CORBEL_GUEST_VTIME_H
#define CORBEL_GUEST_VTIME_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/clock.h"

struct vm_time {
	const struct clock *clock;
	uint64_t offset;    /* guest TSC - host TSC, modulo 2^64 */
	uint64_t frozen_at; /* guest TSC while paused */
	bool paused;
};

/* Guest TSC starts at 0, paused. */
void vm_time_init(struct vm_time *t, const struct clock *clock);
void vm_time_pause(struct vm_time *t);
void vm_time_resume(struct vm_time *t);
/* Guest TSC now. */
uint64_t vm_time_tsc(const struct vm_time *t);
/* Nanoseconds of guest time since its TSC was 0. */
uint64_t vm_time_ns(const struct vm_time *t);
static inline uint64_t vm_time_hz(const struct vm_time *t) { return t->clock->hz; }
/* Host TSC at which the guest TSC will be @guest (while running). */
static inline uint64_t vm_time_to_host(const struct vm_time *t, uint64_t guest) { return guest - t->offset; }

#endif
