/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who of several siblings blocks having had more than he is due. While he sleeps the others have his part of what their
 * VM is due: if his debt went down meanwhile, a VM whose vcpus block and wake all the time would have what is forgiven
 * them again and again on top of its part. So he leaves it to the pool, and whoever of them ends a turn or wakes takes
 * it over. It goes down only while all of them sleep, and so by what their VM is due and does not use.
 *
 * Any CPU adds, takes and forgives, each in one step. Two that do so at once may disagree about who was the last awake:
 * then a little less is forgiven.
 */
#include "sched/internal.h"

/* No more than if each of them had kept his own, who blocks with two slices at most. */
void debt_leave(const struct sched *s, struct sched_entity *e, int64_t debt)
{
	struct sched_gang *g = &e->pool->gang;
	uint64_t before = peek(&g->debt), most = 2 * peek(&s->slice) * peek(&g->size), after;

	do
		after = MIN(before + (uint64_t)debt, MAX(before, most));
	while (!__atomic_compare_exchange_n(&g->debt, &before, after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

/* At most @most of it is gone: how much that was. */
static uint64_t take(struct sched_gang *g, uint64_t most)
{
	uint64_t before = peek(&g->debt), taken;

	do
		taken = MIN(before, most);
	while (taken && !__atomic_compare_exchange_n(&g->debt, &before, before - taken, true, __ATOMIC_RELAXED,
						     __ATOMIC_RELAXED));
	return taken;
}

/* He is not put off by more than a slice for it. */
int64_t debt_take(const struct sched *s, struct sched_entity *e, int64_t lag)
{
	int64_t room = lag + (int64_t)peek(&s->slice);

	return room > 0 ? (int64_t)take(&e->pool->gang, (uint64_t)room) : 0;
}

void debt_sleep(struct sched_entity *e, uint64_t now)
{
	if (!demand_of(e->pool))
		poke(&e->pool->gang.asleep_since, now);
}

void debt_wake(struct sched_entity *e, uint64_t now)
{
	struct sched_pool *p = e->pool;
	uint64_t since;

	if (demand_of(p) || !peek(&p->gang.debt))
		return;
	since = peek(&p->gang.asleep_since);
	if (since < now)
		take(&p->gang, (uint64_t)served((int64_t)MIN(now - since, (uint64_t)TIME_CAP), peek(&p->guess)));
}
