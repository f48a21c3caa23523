/* SPDX-License-Identifier: Apache-2.0 */
/* See sched_rig.h. */
#include "tests/fakes/sched_rig.h"

#include <stdlib.h>

#define CACHE_LINE 64

unsigned sched_rig_kicks;

void sched_rig_kick(void *ctx, unsigned cpu)
{
	(void)ctx;
	(void)cpu;
	sched_rig_kicks++;
}

struct sched *sched_rig_new(unsigned cpus, uint64_t slice)
{
	const struct sched_config cfg = {.cpus = cpus, .entities_max = SCHED_RIG_ENTITIES, .slice = slice, .kick = sched_rig_kick};

	sched_rig_kicks = 0;
	return sched_init(aligned_alloc(CACHE_LINE, sched_bytes(cpus, SCHED_RIG_ENTITIES)), &cfg);
}

bool sched_rig_wake(struct sched *s, struct sched_entity *e, uint64_t now)
{
	unsigned before = sched_rig_kicks;

	sched_wake(s, e, now);
	return sched_rig_kicks != before;
}

void sched_rig_end(struct sched *s, unsigned cpu, struct sched_entity *e, uint64_t now, enum sched_end end)
{
	sched_charge(s, cpu, now, end);
	sched_release(s, cpu, e);
}
