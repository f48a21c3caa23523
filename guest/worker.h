/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker of the machine's own: an entity of the pool `system` that does bounded steps when it is asked to, and what
 * it is asked while it does them afterwards. Who asks sets a word and wakes the entity, and takes no lock but the
 * scheduler's: alarms and interrupts can. A VM's worker (guest/vm_io.h) is another thing: it works on the VM's account.
 */
#ifndef CORBEL_GUEST_WORKER_H
#define CORBEL_GUEST_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/host.h"
#include "lib/error.h"
#include "sched/sched.h"

struct machine;

struct worker {
	struct machine *machine;
	/* A bounded step; true when there is more to do at once. Masked, no lock held. */
	bool (*step)(struct worker *w);
	struct sched_entity entity;
	struct host_alarm alarm;
	uint32_t asked; /* atomic: it has to look */
	uint64_t turns; /* on a processor, so far */
};

/*
 * Makes the worker of @w, zeroed or stopped, called @name where the scheduler shows it; the statuses of sched_add().
 * Control task, interrupts enabled, like the next.
 */
MUST_CHECK enum status worker_start(struct worker *w, struct machine *m, const char *name, bool (*step)(struct worker *w),
				    struct error *err);
/* When it returns no step is under way, and none will be. Nobody asks any more but its own step. */
void worker_stop(struct worker *w);
/* A step will be done. Any CPU, masked; locks before LOCK_SCHED may be held. */
void worker_ask(struct worker *w);
/*
 * The same at host tick @at, TIMERQ_NEVER: not. One call replaces the last; one that is not wanted any more costs a
 * step, for taking it back would cost more. By one caller at a time, masked; locks before LOCK_TIMERS may be held.
 */
void worker_ask_at(struct worker *w, uint64_t at);

#endif
