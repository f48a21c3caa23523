/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest's machine asks of the machine it runs on. Firmware's main
 * fills it; tests fill it by hand. Cheap calls, safe with interrupts masked.
 */
#ifndef CORBEL_GUEST_HOST_H
#define CORBEL_GUEST_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/timerq.h"

/* The longest that a host task kept interrupts masked; whoever reads it may set it to 0. */
struct host_masked {
	uint64_t ticks;
	uint64_t where; /* address behind the end of that section */
};

struct host_ops {
	const struct clock *clock;       /* the host TSC */
	struct timerq *timers;           /* host timers, host TSC; per CPU (one CPU in this slice) */
	volatile bool *need_resched;     /* of this CPU: the current entity should give way */
	/* Handles a physical interrupt taken as an exit, as if through the IDT. */
	void (*irq)(uint8_t vector);
	/* Handles a physical NMI taken as an exit. */
	void (*nmi)(void);
	/*
	 * Opens interrupts for an instant, so that what is pending is handled. Called when the bound of an entry was
	 * reached: an emulator may hide interrupts from a guest that runs with interrupts off.
	 */
	void (*poll)(void);
	/*
	 * True while bytes are under way on a serial line: entries are bounded to 1 ms then, so that hidden interrupts
	 * do not make the operator wait for the end of a turn. NULL: never.
	 */
	bool (*line_busy)(void);
	/* The timers' earliest deadline may have changed: reprogram the hardware timer. */
	void (*timers_changed)(void);
	/* Wakes the control task because of @vm (console output, state change, work for the reaper). Any context. */
	void (*notify)(void);
	/* How long that took at most. NULL: not measured. */
	struct host_masked *masked;
	/* Masks interrupts around manager calls made by a host task; nests by value. */
	unsigned long (*mask)(void);
	void (*unmask)(unsigned long state);
	/* Entropy for the guest's machine (console-independent), never blocks. */
	uint64_t (*random)(void);
	/* Seconds since 1970 UTC now: where a new VM's real-time clock starts. NULL: not known. */
	uint64_t (*wall_clock)(void);
	/* CPUID of the host CPU as the allow-list's source. */
	void (*cpuid)(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
};

#endif
