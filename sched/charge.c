/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a turn: what ran pays for it, in the figures and in what it is due, and
 * waits again or sleeps. Nearly every turn ends because it is over and nothing else is to
 * be said about it: that is sched_charge() itself, end_turn() is all the rest. Also how
 * long turns are.
 */
#include "sched/queue.h"

/* What a turn counts as: with what came of the one before. */
static inline uint64_t with_aftermath(struct sched_cpu *c, struct sched_entity *e, uint64_t ran)
{
	uint64_t before = e->aftermath;

	if (!before)
		return ran;
	e->aftermath = 0;
	poke(&c->busy_then, c->busy_then - before);
	return ran + before;
}

/* A request that is served is followed by the next one; what was taken beyond it is taken off that. */
static inline void serve(struct sched *s, struct sched_entity *e, uint64_t ran)
{
	uint64_t request = request_by(s, e);
	int64_t left = (int64_t)(e->left - ran);

	e->eligible = later(e->eligible, stretch_of(e, MIN(ran, (uint64_t)TIME_CAP)));
	if (left <= 0)
		left += (int64_t)request;
	if (unlikely(left <= 0))
		left = (int64_t)(request - (uint64_t)-left % request);
	e->left = (uint64_t)left;
}

static void block(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	int64_t lag = cpu_leave(c, e), most = 2 * (int64_t)peek(&s->slice);

	c->yielded = false;
	if (unlikely(e->advance)) {
		end_advance(e, c->now);
		lag = lag_of(c, e);
	}
	lag = clamp_time(lag, most);
	if (in_gang(e) && lag < 0) {
		debt_leave(s, e, -lag);
		lag = 0;
	}
	e->lag = lag;
	e->marks &= (uint8_t)~MARK_BOOSTED;
	set_state(e, c, SCHED_BLOCKED);
	count_demand(s, e, -1);
	if (in_gang(e))
		debt_sleep(e, c->now);
}

/* READY again. The next pick, which follows at once, queues it or takes it again; or it is queued for a reason. */
static void come_back(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	set_state(e, c, SCHED_READY);
	if (c->yielded)
		e->marks = (uint8_t)((e->marks & ~MARK_BOOSTED) | MARK_YIELDS);
	if (e->marks & (MARK_BOOSTED | MARK_YIELDS) || may_be_limited(e))
		cpu_requeue(s, c, e);
	else
		c->back = e;
	if (c->yielded)
		gang_yield(s, c, e);
}

/* What woke it came after it had decided to block, and before that was known here. */
static void wake_again(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	c->yielded = false;
	e->marks |= MARK_WOKEN;
	bump(&e->figures.wakes, 1);
	set_state(e, c, SCHED_READY);
	cpu_requeue(s, c, e);
}

/* Siblings that sleep may have left @e what they had too much. */
static void take_debt(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	int64_t debt;

	if (likely(!peek(&e->pool->gang.debt)))
		return;
	debt = debt_take(s, e, lag_of(c, e));
	e->eligible = later(e->eligible, stretch_of(e, (uint64_t)debt));
	poke(&c->behind, c->behind - debt);
}

/* The rest of a charge, when it is not only that one of many has had its turn. */
NOINLINE static void end_turn(struct sched *s, struct sched_cpu *c, struct sched_entity *e, uint64_t ran, enum sched_end end)
{
	if (may_be_limited(e))
		limit_settle(s, e, ran, c->now);
	if (is_boosted(e) && ran >= e->left)
		e->marks &= (uint8_t)~MARK_BOOSTED;
	serve(s, e, ran);
	if (in_gang(e)) {
		gang_progress(e, ran);
		take_debt(s, c, e);
	}
	if (c->favoured)
		gang_favoured(s, c, e);
	if (end == SCHED_END_READY)
		come_back(s, c, e);
	else if (e->wake_pending)
		wake_again(s, c, e);
	else
		block(s, c, e);
	e->wake_pending = false;
	lock_release(&c->lock);
}

void sched_charge(struct sched *s, unsigned cpu, uint64_t now, enum sched_end end)
{
	struct sched_cpu *c = cpu_of(s, cpu);
	struct sched_entity *e;
	uint64_t ran;

	lock_acquire(&c->lock);
	e = c->running;
	ASSERT(e);
	ran = advance(c, now) - c->since;
	c->since = c->now;
	bump(&e->figures.used, ran);
	ran = with_aftermath(c, e, ran);
	c->charges--;
	c->running = NULL;
	c->charged = e;
	poke(&c->core_pool, NULL);
	if (unlikely(end != SCHED_END_READY || e->marks | c->favoured | c->yielded || may_be_limited(e))) {
		end_turn(s, c, e, ran, end);
		return;
	}
	serve(s, e, ran);
	e->since = c->now;
	poke(&e->state, SCHED_READY);
	e->wake_pending = false;
	c->back = e;
	lock_release(&c->lock);
}

/* ---- settings ---- */

bool sched_others_ready(const struct sched *s, unsigned cpu)
{
	ASSERT(cpu < s->cpus);
	return peek(&s->cpu[cpu].waiting) > 0;
}

uint64_t sched_slice(const struct sched *s)
{
	return peek(&s->slice);
}

void sched_set_slice(struct sched *s, uint64_t ticks)
{
	ASSERT(ticks > 0);
	poke(&s->slice, ticks);
}

unsigned sched_switches(const struct sched *s)
{
	return peek(&s->off);
}

void sched_set_switches(struct sched *s, unsigned off)
{
	lock_acquire(&s->lock);
	poke(&s->off, off);
	division_stale(s);
	lock_release(&s->lock);
}
