/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happened, for whoever wants to know: one bounded ring of small records,
 * numbered from 0 on. Nothing waits for a reader; each keeps a cursor of its own
 * and learns from it how many records were overwritten before it came. Policy
 * hooks, the long-poll of stock clients and pushed lines all read this ring.
 * It belongs to the control task, like all of lua/.
 */
#ifndef CORBEL_LUA_EVENTS_H
#define CORBEL_LUA_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/config.h"
#include "lib/clock.h"

#define EVENTS_MAX 256u /* records kept; a power of two */
#define EVENT_TEXT_MAX 120

/* The names that scripts and clients use are in events.c, in this order: "vm.crashed" and so on. */
enum event_kind {
	EVENT_VM_DEFINED,
	EVENT_VM_RUNNING,  /* started, restarted or resumed */
	EVENT_VM_PAUSED,
	EVENT_VM_STOPPED,  /* text: the reason */
	EVENT_VM_CRASHED,
	EVENT_VM_DESTROYED,
	EVENT_POOL_DEFINED, /* text: its name, and where it was defined */
	EVENT_POOL_CHANGED,
	EVENT_POOL_REMOVED,
	EVENT_NETWORK_DEFINED, /* likewise */
	EVENT_NETWORK_CHANGED,
	EVENT_NETWORK_REMOVED,
	EVENT_VOLUME_DEFINED, /* text: its name, and what it is; of layers the end of the job tells it */
	EVENT_VOLUME_REMOVED,
	EVENT_VOLUME_DONE,    /* an operation ended: which, on what */
	EVENT_VOLUME_FAILED,  /* likewise, and why */
	EVENT_VOLUME_FULL,    /* a VM waits for space on it: the disk, the volume */
	EVENT_VOLUME_SPACE,   /* it goes on */
	EVENT_VOLUME_ERROR,   /* a VM's requests fail at it: the disk, the volume, how many */
	EVENT_SCRIPT_LOADED,
	EVENT_SCRIPT_ENDED,
	EVENT_SCRIPT_ABANDONED, /* stuck in a library function */
	EVENT_HOOK_FAILED,
	EVENT_HOOK_QUARANTINED,
	EVENT_GENERATION_APPLIED,
	EVENT_GENERATION_FELL_BACK,
	EVENT_OVERRIDE_SET,
	EVENT_OVERRIDE_EXPIRED,
	EVENT_FAULT,
	EVENT_LOGIN,
	EVENT_LOGIN_FAILED,
	EVENT_STORE,
	EVENT_ALERT, /* by a script */
	EVENT_KINDS
};

struct event_record {
	uint64_t seq;
	uint64_t time_ns;          /* since the control plane started */
	uint64_t time;             /* seconds since 1970 UTC; 0: not known */
	enum event_kind kind;
	uint16_t vm;               /* id, 0: not about a VM */
	char vm_name[VM_NAME_MAX]; /* "" when vm is 0 */
	char text[EVENT_TEXT_MAX]; /* printable ASCII, may be empty */
};

struct events {
	const struct clock *clock;
	uint64_t (*calendar)(void); /* seconds since 1970 UTC; NULL: there is none */
	uint64_t started; /* ticks */
	uint64_t head;    /* number of the next record, and of all records so far */
	struct event_record ring[EVENTS_MAX];
};

struct vm;

/* @calendar: seconds since 1970 UTC, NULL on a machine that has none. */
void events_init(struct events *e, const struct clock *clock, uint64_t (*calendar)(void));

/* @vm may be NULL. What the text quotes from outside is cleaned here. */
__attribute__((format(printf, 4, 5)))
void events_post(struct events *e, enum event_kind kind, const struct vm *vm, const char *fmt, ...);

/* The same about a VM that is gone. */
void events_post_about(struct events *e, enum event_kind kind, unsigned id, const char *name, const char *text);

/* Nanoseconds since the control plane started: what a record would get as its time. */
uint64_t events_now(const struct events *e);
/* Seconds since 1970 UTC, 0: not known; likewise. The audit log has both from here too. */
uint64_t events_calendar(const struct events *e);

/* Number of the oldest record still there. */
uint64_t events_oldest(const struct events *e);

/*
 * The record at *cursor, or the oldest one when that is gone, and moves the cursor behind it. *missed grows by the
 * records that were overwritten in between. NULL when there is none yet. The record is valid until the next post.
 */
const struct event_record *events_next(const struct events *e, uint64_t *cursor, uint64_t *missed);

/* "vm.crashed"; static storage. */
const char *event_kind_name(enum event_kind kind);
/* True when @pattern, the name of a kind, its first word ("vm") or "*", takes @kind in. */
bool event_matches(const char *pattern, enum event_kind kind);
/* True when some kind matches. */
bool event_pattern_good(const char *pattern);

#endif
