/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From asleep to a place in a queue. Who wakes counts as demand, has the rate that
 * the last division gives him or a guess at it, and of a claim from before his sleep
 * what is left; then a CPU is found for him and told, if he goes before what runs
 * there. The same way leads from one CPU to another for who may not stay, once the
 * first one has put his hardware state.
 */
#include "sched/queue.h"

void sched_kick(struct sched *s, unsigned cpu)
{
	if (s->cpus > 1)
		__atomic_fetch_and(&s->idle[cpu / 64], ~BIT(cpu % 64), __ATOMIC_RELAXED);
	poke(&s->cpu[cpu].kicked, 1);
	s->kick(s->ctx, cpu);
}

bool sched_kicked(const struct sched *s, unsigned cpu)
{
	ASSERT(cpu < s->cpus);
	return peek(&s->cpu[cpu].kicked);
}

static void ask_for_division(struct sched *s)
{
	if (!(peek(&s->stale) & STALE_FLAGS))
		__atomic_fetch_or(&s->stale, STALE_DEMAND, __ATOMIC_RELEASE);
}

/* Demand is counted for the division, which an exclusive core is no part of. */
static inline void note_change(struct sched *s, struct sched_entity *e, int change)
{
	uint64_t before;
	uint32_t noted;

	if (unlikely(e->attr.exclusive))
		return;
	before = __atomic_fetch_add(&e->pool->demand, (uint64_t)(int64_t)change, __ATOMIC_RELAXED);
	noted = before >> 32;
	if ((uint32_t)before == noted)
		__atomic_fetch_add(&s->stale, STALE_POOL, __ATOMIC_RELEASE);
	else if ((uint32_t)before + (uint32_t)change == noted)
		__atomic_fetch_sub(&s->stale, STALE_POOL, __ATOMIC_RELEASE);
	/* Who wakes among more or fewer than there were has a rate that is a guess; with affinities it matters whose. */
	if ((change > 0 && (uint32_t)before + 1 != noted) || peek(&e->mask) != ANYWHERE)
		ask_for_division(s);
}

void count_demand(struct sched *s, struct sched_entity *e, int change)
{
	note_change(s, e, change);
}

/*
 * What it is still owed after its sleep: of a claim what it had when it blocked, up to half a slice, or of what it asks
 * for if that is less; a debt goes down at the rate that it would have had.
 */
static int64_t lag_after_sleep(const struct sched *s, const struct sched_entity *e, uint64_t now)
{
	uint64_t slept;

	if (e->lag >= 0)
		return is_on(s, SCHED_OFF_CREDIT) ? MIN(e->lag, (int64_t)(MIN(peek(&s->slice), e->request) / 2)) : 0;
	slept = MIN(now - e->since, (uint64_t)TIME_CAP);
	return MIN(e->lag + served((int64_t)slept, e->rate), 0);
}

/* Should @e, just queued, run instead of what runs on @c? */
static bool preempts(const struct sched_cpu *c, const struct sched_entity *e)
{
	const struct sched_entity *r = c->running;
	int64_t ran = (int64_t)(c->now - MIN(c->since, c->now)), left;

	if (c->long_turn)
		return true;
	if (e->queue != HEAP_READY)
		return false;
	if ((e->marks | r->marks) & MARK_BOOSTED)
		return is_boosted(e) && !is_boosted(r);
	left = MAX((int64_t)r->left, ran);
	return deadline_of(e) < later(r->eligible, stretch(left, r->rate)) - r->early;
}

struct sched_cpu *cpu_lock_home(struct sched *s, const struct sched_entity *e)
{
	for (;;) {
		struct sched_cpu *c = cpu_of(s, peek(&e->cpu));

		lock_acquire(&c->lock);
		if (c->id == peek(&e->cpu))
			return c;
		lock_release(&c->lock);
	}
}

void cpu_want_release(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	/* Told once: interrupts that come faster than they are handled would keep the CPU from letting go. */
	if (!peek(&e->release_due))
		sched_kick(s, c->id);
	poke(&e->release_due, true);
}

static bool is_stray(const struct sched_entity *e)
{
	return e->state == SCHED_READY && e->queue == HEAP_NONE;
}

/* Locks @to as well; false when @e, a stray of @home, is no longer one: @home had to be dropped meanwhile. */
static bool lock_target(struct sched_cpu *home, struct sched_cpu *to, struct sched_entity *e)
{
	if (to == home || cpu_lock_second(home, to))
		return true;
	e->moving = true;
	lock_release(&home->lock);
	lock_acquire(&to->lock);
	lock_acquire_next(&home->lock);
	e->moving = false;
	if (is_stray(e) && e->cpu == home->id)
		return true;
	lock_release(&to->lock);
	return false;
}

/* Wakes on a CPU that keeps its state and has nothing else to do: the pick that follows need not look for it. */
static inline bool is_all_there_is(const struct sched_cpu *c, const struct sched_entity *e)
{
	return !(c->ready.count | c->future.count) && !c->running && !c->back && !e->attr.latency && peek(&e->held) == c->id + 1;
}

/* Among those who belong to @c, owed @lag; whoever runs there is told, if that matters to him. */
static inline void join_queue(struct sched *s, struct sched_cpu *c, struct sched_entity *e, int64_t lag)
{
	e->eligible = apart(virtual_now(c), stretch_lag(e, lag));
	cpu_join(c, e, lag);
	if (is_all_there_is(c, e))
		c->back = e;
	else
		cpu_enqueue(s, c, e);
	if (unlikely(in_gang(e)))
		gang_note(e);
	if (!c->running || preempts(c, e))
		sched_kick(s, c->id);
}

/*
 * A stray is READY in no queue. From there to the best CPU; but if @home, whose lock is held, has its hardware state
 * and may not run it, it stays a stray until that is put.
 */
void cpu_place(struct sched *s, struct sched_cpu *home, struct sched_entity *e, int64_t lag, bool put)
{
	struct sched_cpu *to;

	if (e->state != SCHED_READY) {
		cpu_close_account(home, e);
		set_state(e, home, SCHED_READY);
	}
	e->lag = lag;
	to = s->cpus == 1 || (peek(&e->held) && !put) ? home : balance_place(s, e, home);
	/* Whom no CPU holds is queued in any case: there would be nobody to look after it. */
	if (!may_run_on(s, e, to->id) && !put && peek(&e->held)) {
		cpu_want_release(s, home, e);
		return;
	}
	if (!lock_target(home, to, e))
		return;
	/* Where it may run may have changed until @to was locked: then whoever changed that has looked there already. */
	if (unlikely(to != home && !may_run_on(s, e, to->id))) {
		lock_release(&to->lock);
		cpu_place(s, home, e, lag, put);
		return;
	}
	if (put)
		__atomic_store_n(&e->held, 0, __ATOMIC_RELEASE);
	if (to != home) {
		cpu_advance(to, home->now);
		bump(&e->figures.migrations, 1);
		poke(&e->cpu, to->id);
	}
	join_queue(s, to, e, lag);
	if (to != home)
		lock_release(&to->lock);
}

/* A short one, for an early deadline; no more time comes of it. */
static uint64_t first_request(const struct sched *s, const struct sched_entity *e)
{
	return MAX(MIN(request_by(s, e) / 4, s->tick), 1);
}

/* Where nothing is to be asked: it stays where it is, if that CPU has its state or is the only one. */
static inline bool stays(const struct sched *s, const struct sched_entity *e)
{
	return !(peek(&e->mask) | peek(&s->exclusive)) && (s->cpus == 1 || peek(&e->held));
}

/* From BLOCKED to READY. */
static void wake_up(struct sched *s, struct sched_cpu *home, struct sched_entity *e)
{
	int64_t lag = lag_after_sleep(s, e, home->now);

	if (unlikely(in_gang(e)))
		debt_wake(e, home->now);
	note_change(s, e, 1);
	take_rate(s, e, home->now);
	lag = lag_forgiven(e, lag);
	e->floor = 0;
	if (unlikely(in_gang(e))) {
		lag -= debt_take(s, e, lag);
		gang_wake(e);
	}
	e->marks |= MARK_WOKEN;
	e->left = is_on(s, SCHED_OFF_CREDIT) ? first_request(s, e) : request_by(s, e);
	bump(&e->figures.wakes, 1);
	if (unlikely(!stays(s, e))) {
		cpu_place(s, home, e, lag, false);
		return;
	}
	cpu_close_account(home, e);
	set_state(e, home, SCHED_READY);
	e->lag = lag;
	join_queue(s, home, e, lag);
}

void sched_wake(struct sched *s, struct sched_entity *e, uint64_t now)
{
	struct sched_cpu *home;

	if (peek(&e->state) == SCHED_DETACHED)
		return;
	home = cpu_lock_home(s, e);
	if (e->state == SCHED_RUNNING) {
		e->wake_pending = true;
	} else if (e->state == SCHED_BLOCKED) {
		cpu_advance(home, now);
		wake_up(s, home, e);
	}
	lock_release(&home->lock);
}

/* ---- hardware state ---- */

void sched_release(struct sched *s, unsigned cpu, struct sched_entity *e)
{
	struct sched_cpu *c = cpu_of(s, cpu);

	lock_acquire(&c->lock);
	ASSERT(e->held == cpu + 1 && e->cpu == cpu && e->state != SCHED_RUNNING);
	if (e == c->charged) {
		c->charged = NULL; /* it may be gone by the next pick */
		cpu_rest(c);
	}
	if (e == c->back) {
		c->back = NULL;
		cpu_requeue(s, c, e);
	}
	poke(&e->release_due, false);
	if (is_stray(e)) {
		set_rate(s, e, rate_of(e)); /* no queue's adoption of a new division has seen it */
		cpu_place(s, c, e, e->lag, true);
	} else {
		__atomic_store_n(&e->held, 0, __ATOMIC_RELEASE);
		if (e->state == SCHED_READY && !(e->early && balance_give(s, c, e)))
			balance_offer(s, c);
	}
	lock_release(&c->lock);
}
