/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of timers ordered by deadline, in whatever tick unit its owner states
 * (host TSC for the host's queue, guest TSC for a vcpu's). A binary heap over
 * a caller-supplied array; set, cancel and expiry are O(log n), the next
 * deadline is one load. The owner serialises access: one CPU with interrupts
 * masked, or a lock that is held while timers expire. Only a reader of next on the
 * owner's own CPU may go without.
 */
#ifndef CORBEL_LIB_TIMERQ_H
#define CORBEL_LIB_TIMERQ_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/status.h"

#define TIMERQ_NEVER UINT64_MAX

struct timer {
	uint64_t deadline;                             /* owner's ticks */
	void (*expired)(struct timer *t, uint64_t now); /* called once, the timer is already off the queue */
	uint32_t index;                                /* heap slot + 1; 0 = not queued */
};

struct timerq {
	uint64_t next;       /* earliest deadline, TIMERQ_NEVER when empty: read it directly */
	struct timer **heap; /* owned by the creator */
	uint32_t count, capacity;
};

/* @slots of @capacity pointers stays with the caller and outlives the queue. */
void timerq_init(struct timerq *q, struct timer **slots, uint32_t capacity);
void timer_init(struct timer *t, void (*expired)(struct timer *t, uint64_t now));
static inline bool timer_is_set(const struct timer *t) { return t->index != 0; }

/*
 * (Re)arms @t; TIMERQ_NEVER cancels it. The queue is sized for all its timers by
 * its owner: overflow is an ASSERT.
 */
void timerq_set(struct timerq *q, struct timer *t, uint64_t deadline);
void timerq_cancel(struct timerq *q, struct timer *t);

/*
 * Expires timers with deadline <= @now, in order; a handler may set and cancel
 * timers. Bounded: at most as many as were queued on entry, so that a handler
 * which re-arms in the past cannot hold the CPU; next <= @now then says that
 * more is due. Returns the number expired.
 */
unsigned timerq_run(struct timerq *q, uint64_t now);

#endif
