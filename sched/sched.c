/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The turns: wake, pick, charge, release, on one CPU's queue and under its lock.
 *
 * A queue is EEVDF (Stoica and Abdel-Wahab, "Earliest Eligible Virtual Deadline
 * First", 1995) with absolute rates: who has had no more than he is due is
 * eligible, and of these the earliest deadline of a request of one slice runs.
 * If nobody is, and nothing is to be had from other CPUs, the one who becomes
 * eligible first runs ahead of his time: idle time is lent.
 */
#include "sched/internal.h"

#define PARKS_PER_PICK 16u    /* how many may be found held back before the CPU looks again later */
#define RETURN_RATE (RATE_ONE / 8)
#define LATENCY_KEY (1ll << 61) /* the latency class is before all others */

/* ---- the sums of a CPU ---- */

uint64_t cpu_advance(struct sched_cpu *c, uint64_t now)
{
	if (!c->begun) {
		c->begun = true;
		c->started = c->since = c->now = now;
		c->omega = (int64_t)now;
		poke(&c->behind_at, now);
	}
	if (now > c->now)
		c->now = now;
	return c->now;
}

void cpu_drift(struct sched_cpu *c)
{
	poke(&c->behind, cpu_behind(c, c->now));
	poke(&c->behind_at, c->now);
	poke(&c->busy_then, cpu_busy(c, c->now));
}

void cpu_join(struct sched_cpu *c, const struct sched_entity *e)
{
	cpu_drift(c);
	poke(&c->rate, c->rate + e->rate);
	poke(&c->behind, c->behind + lag_of(c, e));
}

void cpu_leave(struct sched_cpu *c, const struct sched_entity *e)
{
	cpu_drift(c);
	poke(&c->rate, c->rate - e->rate);
	poke(&c->behind, c->behind - lag_of(c, e));
}

/* ---- where its time goes ---- */

/*
 * From a charge to the pick that follows the CPU works for whoever was charged: one that blocks and is woken all the
 * time would take a part of it from the others that nobody pays. Its tags follow at its next charge (aftermath), until
 * then the time counts as served to none of those who belong here.
 */
static void book_aftermath(struct sched_cpu *c, struct sched_entity *e, uint64_t elapsed)
{
	bump(&e->figures.used, elapsed);
	bump(&c->busy, elapsed);
	poke(&c->busy_then, c->busy_then + elapsed);
	e->aftermath += elapsed;
	if (e->since == c->since)
		e->since = c->now;
}

/* Gives the time since the last cut to the running entity, to the one that ran before a pick, or to idle. */
static inline uint64_t cut(struct sched_cpu *c, uint64_t now)
{
	uint64_t elapsed = cpu_advance(c, now) - c->since;

	if (!elapsed)
		return 0;
	if (c->running) {
		bump(&c->running->figures.used, elapsed);
		bump(&c->busy, elapsed);
	} else if (c->charged) {
		book_aftermath(c, c->charged, elapsed);
	} else {
		c->idle += elapsed;
	}
	poke(&c->since, c->now);
	return elapsed;
}

/* ---- queues ---- */

void cpu_close_account(struct sched_cpu *c, struct sched_entity *e)
{
	uint64_t spent;

	if (e == c->charged)
		cut(c, c->now);
	spent = c->now - MIN(e->since, c->now);
	if (e->state == SCHED_READY)
		bump(&e->figures.waited, spent);
	else if (e->state == SCHED_BLOCKED)
		bump(&e->figures.blocked, spent);
	e->since = c->now;
}

static inline void set_state(struct sched_entity *e, struct sched_cpu *c, enum sched_state state)
{
	e->since = c->now;
	poke(&e->state, state);
	if (e->gang_index < SCHED_GANG_MAX)
		gang_note(e);
}

void cpu_park(struct sched_cpu *c, struct sched_entity *e, enum park why, uint64_t until)
{
	e->park = (uint8_t)why;
	e->parked_since = c->now;
	heap_push(&c->parked, e, (int64_t)MIN(until, (uint64_t)INT64_MAX));
	if (why == PARK_COSTOP)
		bump(&e->figures.costops, 1);
}

static void unpark(struct sched_cpu *c, struct sched_entity *e)
{
	uint64_t spent = c->now - MIN(e->parked_since, c->now);

	if (e->park == PARK_PACE || e->park == PARK_WINDOW)
		bump(&e->figures.limited, spent);
	else if (e->park == PARK_COSTOP)
		bump(&e->figures.costopped, spent);
	e->park = PARK_NOT;
}

/*
 * The latency class goes first as long as it is within its share and a slice more. So does who wakes and is due a good
 * part of the CPU, if he has not had more than that, for his first short request: what was lent comes back at once. But
 * only one in a slice on each CPU, or a crowd that wakes would keep off those who run. Whose turn ends before that
 * request is served is still first.
 */
static bool is_boosted(const struct sched *s, struct sched_cpu *c, const struct sched_entity *e)
{
	uint64_t slice = peek(&s->slice);

	if (!e->woken && !e->boosted)
		return false;
	if (e->attr.latency && is_on(s, SCHED_OFF_LATENCY))
		return lag_of(c, e) > -(int64_t)slice;
	if (e->boosted)
		return true;
	if (e->rate < RETURN_RATE || !is_on(s, SCHED_OFF_CREDIT))
		return false;
	if (e->eligible > virtual_now(c) || c->now - c->returned < slice)
		return false;
	c->returned = c->now;
	return true;
}

void cpu_enqueue(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	int64_t deadline = deadline_of(e), virtual = virtual_now(c);

	e->boosted = is_boosted(s, c, e);
	if (e->yields)
		deadline += stretch_of(e, request_of(s));
	e->yields = false;
	if (peek(&e->pool->strict) && e->eligible > virtual)
		cpu_park(c, e, PARK_PACE, (uint64_t)later(e->eligible, c->omega));
	else if (e->boosted)
		heap_push(&c->ready, e, deadline - LATENCY_KEY), poke(&c->hurry, 1);
	else if (e->eligible <= virtual)
		heap_push(&c->ready, e, deadline);
	else
		heap_push(&c->future, e, e->eligible);
	cpu_publish(c);
}

static void take_out(struct sched_cpu *c, struct sched_entity *e)
{
	if (e->queue == HEAP_READY) {
		heap_remove(&c->ready, e);
	} else if (e->queue == HEAP_FUTURE) {
		heap_remove(&c->future, e);
	} else if (e->queue == HEAP_PARKED) {
		heap_remove(&c->parked, e);
		unpark(c, e);
	}
}

void cpu_dequeue(struct sched_cpu *c, struct sched_entity *e)
{
	if (c->preferred == e)
		c->preferred = NULL;
	take_out(c, e);
	cpu_publish(c);
}

static inline void push_ready(struct sched_cpu *c, struct sched_entity *e) { heap_push(&c->ready, e, deadline_of(e)); }

static inline bool one_is_due(const struct heap *h, int64_t time) { return h->count && h->at[0].key <= time; }

/* What may run again. */
static void unpark_due(struct sched *s, struct sched_cpu *c)
{
	while (one_is_due(&c->parked, (int64_t)c->now)) {
		struct sched_entity *e = heap_top(&c->parked);

		cpu_dequeue(c, e);
		cpu_enqueue(s, c, e);
		if (e->queue == HEAP_PARKED)
			break;
	}
}

void cpu_promote(struct sched *s, struct sched_cpu *c)
{
	unpark_due(s, c);
	while (one_is_due(&c->future, virtual_now(c)))
		push_ready(c, heap_pop(&c->future));
	cpu_publish(c);
}

/* ---- wake ---- */

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

/* Does not take back that numbers changed. */
static void ask_for_division(struct sched *s)
{
	if (!peek(&s->dirty))
		__atomic_store_n(&s->dirty, DIRTY_DEMAND, __ATOMIC_RELEASE);
}

/* Demand is counted for the division, which an exclusive core is no part of. */
void count_demand(struct sched *s, struct sched_entity *e, int change)
{
	uint64_t before;
	uint32_t noted;

	if (e->attr.exclusive)
		return;
	before = __atomic_fetch_add(&e->pool->demand, (uint64_t)(int64_t)change, __ATOMIC_RELAXED);
	noted = before >> 32;
	if ((uint32_t)before == noted)
		__atomic_fetch_add(&s->changed, 1, __ATOMIC_RELEASE);
	else if ((uint32_t)before + (uint32_t)change == noted)
		__atomic_fetch_sub(&s->changed, 1, __ATOMIC_RELEASE);
	/* Who wakes among more or fewer than there were has a rate that is a guess; with affinities it matters whose. */
	if ((change > 0 && (uint32_t)before + 1 != noted) || peek(&e->mask) != ANYWHERE)
		ask_for_division(s);
}

/*
 * What it is still owed after its sleep: of a claim what it had when it blocked, up to half a slice; a debt goes down
 * at the rate that it would have had.
 */
static int64_t lag_after_sleep(const struct sched *s, const struct sched_entity *e, uint64_t now)
{
	int64_t slept = clamp_time((int64_t)(now - MIN(e->since, now)), TIME_CAP);

	if (e->lag >= 0)
		return is_on(s, SCHED_OFF_CREDIT) ? MIN(e->lag, (int64_t)peek(&s->slice) / 2) : 0;
	return MIN(e->lag + served(slept, e->rate), 0);
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
	if (e->boosted || r->boosted)
		return e->boosted && !r->boosted;
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
static bool lock_target(struct sched_cpu *home, struct sched_cpu *to, const struct sched_entity *e)
{
	if (to == home || cpu_lock_second(home, to))
		return true;
	lock_release(&home->lock);
	lock_acquire(&to->lock);
	lock_acquire_next(&home->lock);
	if (is_stray(e) && e->cpu == home->id)
		return true;
	lock_release(&to->lock);
	return false;
}

/* Wakes on a CPU that keeps its state and has nothing else to do: the pick that follows need not look for it. */
static bool is_all_there_is(const struct sched_cpu *c, const struct sched_entity *e)
{
	return peek(&e->held) == c->id + 1 && !e->attr.latency && !c->running && !c->back && !(c->ready.count | c->future.count);
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
	/* Who has been put is queued in any case: there would be nobody to look after it. */
	if (!may_run_on(s, e, to->id) && !put) {
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
	cpu_advance(to, home->now);
	if (to != home) {
		bump(&e->figures.migrations, 1);
		poke(&e->cpu, to->id);
	}
	e->eligible = apart(virtual_now(to), stretch_lag(e, lag));
	cpu_join(to, e);
	if (is_all_there_is(to, e))
		to->back = e;
	else
		cpu_enqueue(s, to, e);
	gang_note(e);
	if (!to->running || preempts(to, e))
		sched_kick(s, to->id);
	if (to != home)
		lock_release(&to->lock);
}

/* A short one, for an early deadline; no more time comes of it. */
static uint64_t first_request(const struct sched *s)
{
	return MAX(MIN(request_of(s) / 4, s->tick), 1);
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
		int64_t lag;

		cpu_advance(home, now);
		lag = lag_after_sleep(s, e, home->now);
		count_demand(s, e, 1);
		set_rate(s, e, rate_on_wake(e));
		lag = lag_forgiven(e, lag);
		e->floor = 0;
		if (e->gang_index < SCHED_GANG_MAX)
			gang_wake(e);
		e->woken = true;
		e->left = is_on(s, SCHED_OFF_CREDIT) ? first_request(s) : request_of(s);
		bump(&e->figures.wakes, 1);
		cpu_place(s, home, e, lag, false);
	}
	lock_release(&home->lock);
}

/* ---- pick ---- */

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

/* True when @e, out of its heap, may not run now; it is parked then. Else it has taken *turn ticks from its limits. */
static bool hold_back(struct sched *s, struct sched_cpu *c, struct sched_entity *e, uint64_t *turn)
{
	if (peek(&e->pool->strict) && e->eligible > virtual_now(c))
		cpu_park(c, e, PARK_PACE, (uint64_t)later(e->eligible, c->omega));
	else if (e->gang_index < SCHED_GANG_MAX && gang_leads(s, e))
		cpu_park(c, e, PARK_COSTOP, c->now + s->tick);
	else if (peek(&s->separate_cores) && core_refuses(s, c, e))
		cpu_park(c, e, PARK_CORE, c->now + s->tick);
	else if (peek(&e->pool->limited) && is_on(s, SCHED_OFF_LIMIT) && !(*turn = limit_take(s, e, c->now, *turn)))
		cpu_park(c, e, PARK_WINDOW, limit_window_end(s, c->now));
	else
		return false;
	return true;
}

/* READY again, the long way. Who may not stay here is nowhere until it is put and released. */
static void requeue(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	if (may_run_on(s, e, c->id)) {
		cpu_enqueue(s, c, e);
		return;
	}
	cpu_leave(c, e);
	e->lag = lag_of(c, e);
	cpu_want_release(s, c, e);
}

/*
 * Brings the queues up to date: who has had what it is due changes places with who is due again. Who is back and still
 * due is returned, in no heap: it may be the next one, or will change places with it.
 */
static struct sched_entity *settle(struct sched *s, struct sched_cpu *c)
{
	struct sched_entity *e = c->back;
	int64_t virtual = virtual_now(c);

	c->back = NULL;
	if (e && (e->yields || peek(&e->pool->strict) || !may_run_on(s, e, c->id))) {
		requeue(s, c, e);
		e = NULL;
	}
	if (c->parked.count)
		unpark_due(s, c);
	if (e && e->eligible > virtual) {
		struct sched_entity *due = NULL;

		if (one_is_due(&c->future, virtual))
			due = heap_exchange(&c->future, e, e->eligible);
		else
			heap_push(&c->future, e, e->eligible);
		e = due;
	}
	while (one_is_due(&c->future, virtual))
		push_ready(c, heap_pop(&c->future));
	return e;
}

/* Out of the queue, or @e that is in none: of those who are due the earliest deadline, else who will be due first. */
static struct sched_entity *first(struct sched_cpu *c, struct sched_entity *e)
{
	if (e) {
		int64_t deadline = deadline_of(e);

		return one_is_due(&c->ready, deadline) ? heap_exchange(&c->ready, e, deadline) : e;
	}
	if (c->ready.count)
		return heap_pop(&c->ready);
	return c->future.count ? heap_pop(&c->future) : NULL;
}

/* The first, or whom its siblings prefer. */
static struct sched_entity *next(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	struct sched_entity *preferred;

	if (likely(!c->preferred && !peek(&c->corun)))
		return first(c, e);
	if (e)
		push_ready(c, e);
	preferred = gang_prefer(s, c);
	if (!preferred)
		return first(c, NULL);
	take_out(c, preferred);
	return preferred;
}

static uint64_t turn_of(struct sched *s, struct sched_cpu *c, const struct sched_entity *e)
{
	bool alone = s->cpus == 1 && !(c->parked.count | c->ready.count | c->future.count);

	poke(&c->long_turn, alone);
	if (alone)
		return peek(&s->slice) * SCHED_ALONE_SLICES;
	return unlikely(c->favoured == FAVOUR_SHORT) ? MIN(MAX(e->left, 1), gang_favour(s, e)) : MAX(e->left, 1);
}

/*
 * Takes out of the queue who is to run, and for how long; NULL: nobody may. @e, if any, is in no heap but among them.
 * When all that was here has been parked the CPU is idle, and may take anything from others.
 */
static inline struct sched_entity *choose(struct sched *s, struct sched_cpu *c, struct sched_entity *e, uint64_t *turn)
{
	bool pulled = s->cpus == 1;

	for (unsigned tries = 0; tries < PARKS_PER_PICK; tries++) {
		e = next(s, c, e);
		if (likely(e != NULL)) {
			*turn = turn_of(s, c, e);
			if (likely(!hold_back(s, c, e, turn)))
				return e;
			c->favoured = FAVOUR_NOT;
			e = NULL;
		} else if (pulled) {
			break;
		} else {
			pulled = true;
			balance_pull(s, c);
		}
	}
	return NULL;
}

/* From other CPUs what is more urgent, or anything when there is nothing here. One that is due is enough for a tick. */
static struct sched_entity *pull(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	if (e && c->now - c->balanced < s->tick)
		return e;
	if (e)
		push_ready(c, e);
	balance_pull(s, c);
	return NULL;
}

/* What CPUs that look for work, or have some to give, should know of a turn that begins. */
static void tell_others(struct sched *s, struct sched_cpu *c, const struct sched_entity *e)
{
	uint64_t *idle = &s->idle[c->id / 64], *lent = &s->lent[c->id / 64], me = BIT(c->id % 64);

	if (peek(idle) & me)
		__atomic_fetch_and(idle, ~me, __ATOMIC_RELAXED);
	if (e->eligible > virtual_now(c) && !e->boosted && !gang_coruns(s, e))
		__atomic_fetch_or(lent, me, __ATOMIC_RELAXED);
	else if (peek(lent) & me)
		__atomic_fetch_and(lent, ~me, __ATOMIC_RELAXED);
	if (c->waiting)
		balance_offer(s, c);
}

static void dispatch(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	if (e->woken)
		account_wake_latency(e, c->now - MIN(e->since, c->now));
	e->woken = false;
	bump(&e->figures.waited, c->now - MIN(e->since, c->now));
	set_state(e, c, SCHED_RUNNING);
	__atomic_store_n(&e->held, c->id + 1, __ATOMIC_RELEASE);
	bump(&e->figures.dispatches, 1);
	c->running = e;
	poke(&c->busy_now, 1);
	if (e->gang_index < SCHED_GANG_MAX)
		gang_announce(s, e);
	if (s->cpus > 1)
		tell_others(s, c, e);
}

static uint64_t add_capped(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* When this CPU must choose again though its turn has not ended: a division is due that others do not make. */
static uint64_t next_look(struct sched *s, const struct sched_cpu *c, uint64_t end)
{
	uint64_t due;

	if (c->parked.count)
		end = MIN(end, MAX((uint64_t)c->parked.at[0].key, c->now + s->tick));
	if (likely(!is_stale(s)) || c->long_turn)
		return end;
	due = MAX(add_capped(peek(&s->divided), s->tick), c->now + 1);
	return MIN(end, due);
}

static void go_idle(struct sched *s, struct sched_cpu *c, uint64_t *slice_end)
{
	*slice_end = UINT64_MAX;
	core_leave(s, c);
	/* A division that others make may let them go earlier. */
	if (c->parked.count)
		*slice_end = MIN(MAX((uint64_t)c->parked.at[0].key, c->now + 1), c->now + s->tick);
	if (c->waiting)
		*slice_end = c->now + 1;
	if (s->cpus > 1)
		__atomic_fetch_or(&s->idle[c->id / 64], BIT(c->id % 64), __ATOMIC_RELAXED);
}

/*
 * Who has just been put before all others goes first by any division: a new one can wait until that short turn is over.
 * But not twice in a row, or those who wake all the time would keep everybody at old rates.
 */
static bool is_hurried(struct sched_cpu *c)
{
	bool hurry = peek(&c->hurry) && !c->hurried;

	poke(&c->hurry, 0);
	c->hurried = hurry;
	return hurry;
}

struct sched_entity *sched_pick(struct sched *s, unsigned cpu, uint64_t now, uint64_t *slice_end)
{
	struct sched_cpu *c = cpu_of(s, cpu);
	bool hurry = is_hurried(c);
	struct sched_entity *e;
	uint64_t turn;

	if (!hurry)
		divide_if_due(s, c, now);
	lock_acquire(&c->lock);
	poke(&c->kicked, 0); /* whoever was queued before is seen now */
	ASSERT(!c->running);
	cut(c, now);
	c->charged = NULL;
	if (!hurry && must_adopt(s, c)) {
		if (c->back)
			requeue(s, c, c->back);
		c->back = NULL;
		cpu_adopt(s, c);
	}
	if (unlikely(peek(&c->claim)))
		core_retry(s, c);
	e = settle(s, c);
	if (s->cpus > 1)
		e = pull(s, c, e);
	e = choose(s, c, e, &turn);
	cpu_publish(c);
	if (e) {
		/* It may have come from a CPU whose clock was further on: until then it waited there. */
		cut(c, c->now);
		dispatch(s, c, e);
		*slice_end = add_capped(c->now, turn);
		if (!hurry || !e->boosted)
			*slice_end = next_look(s, c, *slice_end);
	} else {
		go_idle(s, c, slice_end);
	}
	lock_release(&c->lock);
	return e;
}

/* ---- charge ---- */

/* A request that is served is followed by the next one; what was taken beyond it is taken off that. */
static void serve(struct sched *s, struct sched_entity *e, uint64_t ran)
{
	uint64_t request = request_of(s);

	e->eligible = later(e->eligible, stretch_of(e, MIN(ran, (uint64_t)TIME_CAP)));
	if (ran < e->left)
		e->left -= ran;
	else if (ran - e->left < request)
		e->left += request - ran;
	else
		e->left = request - (ran - e->left) % request;
}

static void block(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	int64_t most = 2 * (int64_t)peek(&s->slice);

	cpu_leave(c, e);
	c->yielded = false;
	e->lag = clamp_time(lag_of(c, e), most);
	e->boosted = false;
	set_state(e, c, SCHED_BLOCKED);
	count_demand(s, e, -1);
}

/* READY again. The next pick, which follows at once, queues it or takes it again. */
static void come_back(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	set_state(e, c, SCHED_READY);
	if (unlikely(e->boosted) && !c->yielded) {
		requeue(s, c, e);
		return;
	}
	e->boosted = false;
	c->back = e;
	if (unlikely(c->yielded)) {
		e->yields = true;
		gang_yield(s, c, e);
	}
}

/* What woke it came after it had decided to block, and before that was known here. */
static void wake_again(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	c->yielded = false;
	e->woken = true;
	bump(&e->figures.wakes, 1);
	set_state(e, c, SCHED_READY);
	requeue(s, c, e);
}

void sched_charge(struct sched *s, unsigned cpu, uint64_t now, enum sched_end end)
{
	struct sched_cpu *c = cpu_of(s, cpu);
	struct sched_entity *e;
	uint64_t ran;

	lock_acquire(&c->lock);
	e = c->running;
	ASSERT(e && e->state == SCHED_RUNNING);
	ran = with_aftermath(c, e, cut(c, now));
	if (peek(&e->pool->limited))
		limit_settle(s, e, ran, c->now);
	e->boosted = e->boosted && ran < e->left;
	serve(s, e, ran);
	if (e->gang_index < SCHED_GANG_MAX)
		gang_progress(e, ran);
	c->charges++;
	c->running = NULL;
	c->charged = e;
	poke(&c->busy_now, 0);
	poke(&c->core_pool, NULL);
	if (unlikely(c->favoured))
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

/* ---- hardware state ---- */

void sched_release(struct sched *s, unsigned cpu, struct sched_entity *e)
{
	struct sched_cpu *c = cpu_of(s, cpu);

	lock_acquire(&c->lock);
	ASSERT(e->held == cpu + 1 && e->cpu == cpu && e->state != SCHED_RUNNING);
	if (e == c->charged)
		c->charged = NULL; /* it may be gone by the next pick */
	if (e == c->back) {
		c->back = NULL;
		requeue(s, c, e);
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

/* ---- reports and settings ---- */

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
