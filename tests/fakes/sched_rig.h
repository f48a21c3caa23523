/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scheduler for a test: memory of the right alignment, and a count of the kicks.
 */
#ifndef CORBEL_TESTS_SCHED_RIG_H
#define CORBEL_TESTS_SCHED_RIG_H

#include "sched/sched.h"

#define SCHED_RIG_ENTITIES 64u

extern unsigned sched_rig_kicks;

/* Counts. */
void sched_rig_kick(void *ctx, unsigned cpu);
/* free() it. */
struct sched *sched_rig_new(unsigned cpus, uint64_t slice);
/* sched_wake(); true when a CPU was told to choose again. */
bool sched_rig_wake(struct sched *s, struct sched_entity *e, uint64_t now);
/* sched_charge(), and what the entity left in the CPU is put at once. */
void sched_rig_end(struct sched *s, unsigned cpu, struct sched_entity *e, uint64_t now, enum sched_end end);

#endif
