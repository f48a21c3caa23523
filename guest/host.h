/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest's machine asks of the machine it runs on. Firmware's main
 * fills it; tests fill it by hand. Cheap calls, safe with interrupts masked.
 */
#ifndef CORBEL_GUEST_HOST_H
#define CORBEL_GUEST_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/lock.h"
#include "lib/timerq.h"

#define HOST_CACHE_LINE 64

struct cputrace;
struct vcpu;

/*
 * One CPU of the host. Its own but for need_resched, trace and the timers' lock and queue; in cache lines of its own,
 * since every exit looks at it.
 */
struct host_cpu {
	unsigned id;
	volatile bool need_resched; /* the current entity should give way */
	struct vcpu *vcpu;          /* whose turn it is, NULL: no vcpu's */
	struct cputrace *trace;     /* where it records what it does, NULL: nobody asked; the control task sets it, atomic */
	struct timerq timers;       /* host TSC */
	struct lock timers_lock;    /* of timers; held while they expire */
} __attribute__((aligned(HOST_CACHE_LINE)));

/* Equal numbers of core, cache and package mean a shared one; core and llc are the lowest CPU that shares it. */
struct host_place {
	uint32_t apic_id;
	uint16_t core, llc, package;
};

/* A timer on the queue of the CPU that set it. Set and cancelled by one owner at a time, who may move between CPUs. */
struct host_alarm {
	struct timer timer;
	struct host_cpu *cpu; /* where it was set; NULL: it is not; atomic */
};

/* The longest that a host task kept interrupts masked; whoever reads it may set it to 0. */
struct host_masked {
	uint64_t ticks;
	uint64_t where; /* address behind the end of that section */
};

struct host_ops {
	const struct clock *clock;       /* the host TSC */
	struct host_cpu *(*this_cpu)(void); /* the caller's, masked */
	uint64_t entry_max;              /* ticks that an entry lasts at most; 0: no such bound */
	struct host_cpu *(*cpu_at)(unsigned i); /* those in use, from 0 on; NULL past the last */
	/* Where CPU @i, one of those, is in the machine. NULL: not known. */
	void (*cpu_place)(unsigned i, struct host_place *out);
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
	/* The earliest deadline of the caller's CPU may have changed: reprogram its hardware timer. */
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

/* The same, or when the host does not know: 2000-01-01. */
#define HOST_WALL_UNKNOWN 946684800ull
static inline uint64_t host_wall_seconds(const struct host_ops *host)
{
	return host->wall_clock ? host->wall_clock() : HOST_WALL_UNKNOWN;
}

/* @slots of @count pointers outlives the CPU. */
void host_cpu_init(struct host_cpu *c, unsigned id, struct timer **slots, uint32_t count);

/* Earliest deadline of @c, the caller's own CPU; TIMERQ_NEVER. */
static inline uint64_t host_next_timer(const struct host_cpu *c)
{
	return __atomic_load_n(&c->timers.next, __ATOMIC_RELAXED);
}

/* Expires what is due at @now. By @c itself, masked; handlers run under the lock of its timers. */
void host_run_timers_due(struct host_cpu *c, uint64_t now);
static inline void host_run_timers(struct host_cpu *c, uint64_t now)
{
	if (now >= host_next_timer(c))
		host_run_timers_due(c, now);
}

/* @expired is called on the CPU that set the alarm, masked, under the lock of its timers; it sets no alarm. */
void host_alarm_init(struct host_alarm *a, void (*expired)(struct timer *t, uint64_t now));
/* Expires at host tick @deadline on the calling CPU, wherever it was set before. Masked, like the next. */
void host_alarm_set(const struct host_ops *host, struct host_alarm *a, uint64_t deadline);
/* The handler's last word: the alarm is set nowhere any more. Optional; whoever cancels it then need not look. */
static inline void host_alarm_done(struct host_alarm *a) { __atomic_store_n(&a->cpu, NULL, __ATOMIC_RELEASE); }
/* When this returns the handler will not run and is not running. */
void host_alarm_cancel_slow(const struct host_ops *host, struct host_alarm *a);
static inline void host_alarm_cancel(const struct host_ops *host, struct host_alarm *a)
{
	if (__atomic_load_n(&a->cpu, __ATOMIC_ACQUIRE))
		host_alarm_cancel_slow(host, a);
}

#endif
