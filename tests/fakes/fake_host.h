/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine under the guest's machine, driven by hand: the hand clock, a
 * timer queue, counters of what was asked, and a CPUID that a test can change.
 * One exists at a time (struct host_ops has no context).
 */
#ifndef CORBEL_TESTS_FAKE_HOST_H
#define CORBEL_TESTS_FAKE_HOST_H

#include "guest/host.h"

#define FAKE_HOST_TIMERS 64

struct fake_host {
	struct host_ops ops;
	struct host_cpu cpu;
	struct timer *slots[FAKE_HOST_TIMERS];
	unsigned irqs, nmis, polls, notifies, reprogrammed;
	uint8_t last_vector;
	unsigned mask_depth;    /* 0: interrupts are enabled */
	unsigned unmasks;       /* times they were enabled again */
	void (*on_poll)(void);  /* what is pending when interrupts open; may be NULL */
	void (*on_irq)(uint8_t vector);
};

extern struct fake_host fake_host;

/* Clock at tick 0 and @hz; everything else at rest; the CPUID of fake_host_cpuid(). */
void fake_host_init(uint64_t hz);
/* Time passes by @ticks and the host's timers run, each at its deadline. */
void fake_host_advance(uint64_t ticks);
/*
 * A generous Intel processor: every feature bit of leaves 1, 7, 0xd and 0x80000001 set, so that what a guest sees
 * is what the allow-list lets through. Tests replace ops.cpuid for others.
 */
void fake_host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

#endif
