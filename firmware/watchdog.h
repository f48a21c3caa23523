/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notices a CPU that no longer passes its loop, and prints where it is. The boot
 * CPU watches the others, CPU 1 the boot CPU. Each CPU counts its passes; whoever watches
 * looks at the counts from its own loop, and has its timer set for that only while
 * somebody it watches is awake: a machine that sleeps has no tick. A CPU in HLT waits for an
 * interrupt and is not stuck. Exits need no count of their own: a vcpu's turn ends
 * within a slice whatever its guest does.
 */
#ifndef CORBEL_FIRMWARE_WATCHDOG_H
#define CORBEL_FIRMWARE_WATCHDOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/knob.h"

#define WATCHDOG_NEVER UINT64_MAX

/* What a watcher knows of one CPU. */
struct watch {
	uint64_t beats; /* as last seen, */
	uint64_t since; /* and since when, host ticks */
	bool told;      /* it has been reported */
};

enum watch_verdict {
	WATCH_FINE,
	WATCH_STUCK, /* for @patience now; said once */
	WATCH_BACK,  /* it had been stuck */
};

/* Judges a CPU that is @idle, or has passed its loop @beats times, at @now. */
enum watch_verdict watch_judge(struct watch *w, bool idle, uint64_t beats, uint64_t now, uint64_t patience);

/* host.watchdog.timeout; belongs to no object. */
extern const struct knob_table watchdog_knobs;

/* The setting, in nanoseconds. */
uint64_t watchdog_timeout_ns(void);

/* ---- on each CPU, masked (watchdog_cpu.c) ---- */

/* One CPU's part, in its block. Others read beats and idle, and clear asleep. */
struct heart {
	uint64_t beats;    /* passes of its loop */
	bool asleep;       /* in HLT; not watched */
	bool unset;        /* it watches, but sleeps without a timer for that */
	uint64_t watch_at; /* when it looks next, WATCHDOG_NEVER: not */
	struct watch watch; /* its watcher's */
};

struct percpu;

/* The calling CPU is about to enter its loop: it is watched from now on. */
void watchdog_start(void);

/* Its CPU has come round. */
static inline void heart_beat(struct heart *h)
{
	__atomic_store_n(&h->beats, h->beats + 1, __ATOMIC_RELAXED);
}

/* Looks at those that @p watches, and sets its next time. */
void watchdog_check(struct percpu *p, uint64_t now);

/* Around HLT: after the first p->heart.watch_at is when the CPU must wake to look. */
void watchdog_sleep(struct percpu *p);
void watchdog_wake(struct percpu *p);
/* @p has found something to run: whoever watches it shall do so. */
void watchdog_work(struct percpu *p);

/* What was found since the last call, for the operator's events: false when nothing. In the control task. */
bool watchdog_take(char *text, size_t size);

/* Called whenever there is something to take; any CPU, masked. */
extern void (*watchdog_notify)(void);

#endif
