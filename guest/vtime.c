/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest time from host time by one offset. While paused the guest TSC stands
 * still; resuming moves the offset so that it goes on from there. Nothing else
 * ever moves it: a guest that lost the CPU sees that time passed.
 */
#include "guest/vtime.h"

#include "lib/assert.h"

void vm_time_init(struct vm_time *t, const struct clock *clock)
{
	ASSERT(clock->hz != 0);
	t->clock = clock;
	t->offset = 0 - clock->ticks();
	t->frozen_at = 0;
	t->paused = true;
}

void vm_time_pause(struct vm_time *t)
{
	ASSERT(!t->paused);
	t->frozen_at = vm_time_tsc(t);
	t->paused = true;
}

void vm_time_resume(struct vm_time *t)
{
	ASSERT(t->paused);
	t->offset = t->frozen_at - t->clock->ticks();
	t->paused = false;
}

uint64_t vm_time_tsc(const struct vm_time *t)
{
	return t->paused ? t->frozen_at : t->clock->ticks() + t->offset;
}

uint64_t vm_time_ns(const struct vm_time *t)
{
	return ticks_to_ns(vm_time_tsc(t), t->clock->hz);
}
