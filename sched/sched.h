/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who runs next: the room's whole interface. An entity is anything that can be
 * given a CPU: a vcpu or a host task, embedded in its owner (container_of leads
 * back). This slice picks round robin; the interface is the final one, and the
 * proportional-share scheduler replaces the pick alone.
 *
 * What an entity leaves in the CPU that ran it (a VMCS, switched MSRs, vector state)
 * stays there until the CPU's loop has put it: until then the entity is held, and
 * runs nowhere else.
 *
 * Times are host ticks (struct clock). Calls are made with interrupts masked, by
 * any CPU; pick, charge and release by the CPU that they are about. The locks are
 * in here (lib/lock.h, rank LOCK_SCHED_CPU).
 */
#ifndef CORBEL_SCHED_SCHED_H
#define CORBEL_SCHED_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/counter.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/status.h"

#define SCHED_MAX_CPUS 256
#define SCHED_NAME_MAX 32
#define SCHED_ANY_CPU UINT32_MAX
#define SCHED_ALONE_SLICES 16u /* the turn of an entity that nobody waits for, in slices */

enum sched_state { SCHED_DETACHED, SCHED_BLOCKED, SCHED_READY, SCHED_RUNNING };

/* What ended a turn. */
enum sched_end { SCHED_END_BLOCKED, SCHED_END_READY };

struct sched_entity {
	char name[SCHED_NAME_MAX];
	/*
	 * Executes one turn on the calling CPU, interrupts masked on entry and return, until it blocks, is asked
	 * to give way, or host tick @slice_end. Set by the owner before sched_add(); the CPU loop calls it.
	 */
	enum sched_end (*run)(struct sched_entity *e, uint64_t slice_end);
	/* Takes out of the calling CPU what the entity left there; NULL: nothing. Set by the owner, called by the loop. */
	void (*put)(struct sched_entity *e);
	enum sched_state state;
	unsigned cpu;          /* home CPU */
	bool held;             /* since a pick; until sched_release() it can run on @cpu only */
	bool release_due;      /* somebody waits for that */
	struct list node;      /* run queue link while READY */
	struct list member;    /* link of all entities of the CPU */
	bool wake_pending;     /* woken while RUNNING: must not be lost by a block that races with it */
	uint64_t since;        /* when the current state began */
	uint64_t used;         /* ticks run */
	uint64_t waited;       /* ticks READY but not running */
	uint64_t dispatches;
};

#define SCHED_SLICE_NS 5000000ull /* of a turn, unless an operator says otherwise */

struct sched;

/* Where the time of one CPU went; busy + idle is all of it up to the last call. */
struct sched_cpu_stats {
	uint64_t busy, idle; /* ticks */
	unsigned ready;      /* entities that wait */
};

struct sched_config {
	unsigned cpus;  /* 1 to SCHED_MAX_CPUS */
	uint64_t slice; /* ticks of one turn */
	/*
	 * Tells @cpu, which may be the caller's, to choose again: it idles, or what runs there was given more than a
	 * slice. Called with locks of this room held: it sets a flag and sends an interrupt, no more.
	 */
	void (*kick)(void *ctx, unsigned cpu);
	void *ctx;
};

/* Bytes that sched_init needs for @cpus CPUs. */
uint64_t sched_bytes(unsigned cpus);
/* @storage of sched_bytes(@cfg->cpus) bytes, aligned to a cache line, outlives the scheduler; @cfg is copied. */
struct sched *sched_init(void *storage, const struct sched_config *cfg);

/* Adds a detached entity (zeroed but for run, or removed before), BLOCKED, on @cpu, or with SCHED_ANY_CPU where the fewest are. The name is copied, cut to fit. */
void sched_add(struct sched *s, struct sched_entity *e, const char *name, unsigned cpu, uint64_t now);
/*
 * Takes an entity off, and true; or false when it runs, or is held: then its CPU has been told to let go of it,
 * and the caller (which holds no lock and has made sure that the turn ends) tries again later.
 */
MUST_CHECK bool sched_remove(struct sched *s, struct sched_entity *e);

/* Makes @e READY and kicks; a RUNNING one is remembered as woken, a READY or detached one is left alone. */
void sched_wake(struct sched *s, struct sched_entity *e, uint64_t now);

/*
 * Picks and marks RUNNING; NULL when the CPU has nothing to do. *slice_end: when
 * the turn ends if others wait, or the cap for an entity alone on its CPU
 * (UINT64_MAX with NULL). The turn before has been charged (ASSERT).
 */
struct sched_entity *sched_pick(struct sched *s, unsigned cpu, uint64_t now, uint64_t *slice_end);

/*
 * Ends the turn of the RUNNING entity of @cpu, charging it up to @now. A wake
 * that came meanwhile turns BLOCKED into READY.
 */
void sched_charge(struct sched *s, unsigned cpu, uint64_t now, enum sched_end end);

/* What @e left in @cpu, its own, has been put: it may run elsewhere, and be removed. Not while it is RUNNING. */
void sched_release(struct sched *s, unsigned cpu, struct sched_entity *e);

/* True when another entity is READY on @cpu (then an entry is bounded to 1 ms). */
bool sched_others_ready(const struct sched *s, unsigned cpu);

void sched_cpu_stats(const struct sched *s, unsigned cpu, struct sched_cpu_stats *out);

/* Ticks of one turn; a new length counts from the next turn on. */
uint64_t sched_slice(const struct sched *s);
void sched_set_slice(struct sched *s, uint64_t ticks);

/* All CPUs together, of a struct sched. */
extern const struct counter_table sched_counters;

/* Walks queues and entities: order, states and sums; true when all hold. */
bool sched_check(const struct sched *s);

#endif
