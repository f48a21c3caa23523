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

static void begin(struct sched_cpu *c, uint64_t now)
{
	c->begun = true;
	c->started = c->since = c->now = now;
	c->omega = (int64_t)now;
	poke(&c->behind_at, now);
}

/* Of a CPU that has begun. */
static inline uint64_t advance(struct sched_cpu *c, uint64_t now)
{
	now = MAX(now, c->now);
	c->now = now;
	return now;
}

uint64_t cpu_advance(struct sched_cpu *c, uint64_t now)
{
	if (unlikely(!c->begun))
		begin(c, now);
	return advance(c, now);
}

/* From the last cut on it runs nothing, nor works for anybody. */
static void rest(struct sched_cpu *c)
{
	poke(&c->busy, c->since - c->unused);
	__atomic_store_n(&c->resting, 1, __ATOMIC_RELEASE);
}

static void end_rest(struct sched_cpu *c)
{
	poke(&c->unused, c->since - c->busy);
	__atomic_store_n(&c->resting, 0, __ATOMIC_RELEASE);
}

void cpu_drift(struct sched_cpu *c)
{
	uint64_t now = c->now, busy = cpu_busy(c, now);
	int64_t ran = (int64_t)(busy - c->busy_then);

	poke(&c->behind, c->behind + served((int64_t)(now - c->behind_at), c->rate) - ran);
	poke(&c->behind_at, now);
	poke(&c->busy_then, busy);
}

void cpu_join(struct sched_cpu *c, const struct sched_entity *e, int64_t lag)
{
	cpu_drift(c);
	poke(&c->rate, c->rate + e->rate);
	poke(&c->behind, c->behind + lag);
}

int64_t cpu_leave(struct sched_cpu *c, const struct sched_entity *e)
{
	int64_t lag = lag_of(c, e);

	cpu_drift(c);
	poke(&c->rate, c->rate - e->rate);
	poke(&c->behind, c->behind - lag);
	return lag;
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
	poke(&c->busy_then, c->busy_then + elapsed);
	e->aftermath += elapsed;
	if (e->since == c->since)
		e->since = c->now;
}

/* The time since the last cut is nobody's. */
static void cut_idle(struct sched_cpu *c)
{
	poke(&c->unused, c->unused + (c->now - c->since));
	c->since = c->now;
}

/* Gives the time from the charge to @now, or to c->now, to the one that was charged. */
static inline void cut_aftermath(struct sched_cpu *c, struct sched_entity *e, uint64_t now)
{
	uint64_t elapsed = advance(c, now) - c->since;

	if (elapsed)
		book_aftermath(c, e, elapsed);
	c->since = c->now;
}

/* ---- queues ---- */

void cpu_close_account(struct sched_cpu *c, struct sched_entity *e)
{
	if (e == c->charged)
		cut_aftermath(c, e, c->now);
	if (e->state == SCHED_READY)
		bump(&e->figures.waited, c->now - e->since);
	else if (e->state == SCHED_BLOCKED)
		bump(&e->figures.blocked, c->now - e->since);
	e->since = c->now;
}

static inline void set_state(struct sched_entity *e, struct sched_cpu *c, enum sched_state state)
{
	e->since = c->now;
	poke(&e->state, state);
	if (unlikely(in_gang(e)))
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
	uint64_t spent = c->now - e->parked_since;

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
static bool goes_first(const struct sched *s, struct sched_cpu *c, const struct sched_entity *e)
{
	uint64_t slice = peek(&s->slice);

	if (e->attr.latency && is_on(s, SCHED_OFF_LATENCY))
		return lag_of(c, e) > -(int64_t)slice;
	if (is_boosted(e))
		return true;
	if (e->rate < RETURN_RATE || !is_on(s, SCHED_OFF_CREDIT))
		return false;
	if (e->eligible > virtual_now(c) || c->now - c->returned < slice)
		return false;
	c->returned = c->now;
	return true;
}

/* What its marks say about its place: true when it goes before all others. Who yields does so once. */
static bool heed_marks(const struct sched *s, struct sched_cpu *c, struct sched_entity *e, int64_t *deadline)
{
	bool first = e->marks & (MARK_WOKEN | MARK_BOOSTED) && goes_first(s, c, e);

	if (e->marks & MARK_YIELDS)
		*deadline += stretch_of(e, request_of(s));
	e->marks &= (uint8_t)~(MARK_YIELDS | MARK_BOOSTED);
	e->marks |= first ? MARK_BOOSTED : 0;
	return first;
}

void cpu_enqueue(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	int64_t deadline = deadline_of(e), virtual = virtual_now(c);
	bool first = e->marks && heed_marks(s, c, e, &deadline);

	if (e->eligible > virtual && may_be_limited(e) && peek(&e->pool->strict))
		cpu_park(c, e, PARK_PACE, (uint64_t)later(e->eligible, c->omega));
	else if (first)
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

static inline void push_ready(struct sched_cpu *c, struct sched_entity *e) { heap_line_up(&c->ready, e, deadline_of(e)); }

/* The first key of an empty one is NEVER. */
static inline bool one_is_due(const struct heap *h, int64_t time) { return h->at[0].key <= time; }

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

/* Who is due again. */
NOINLINE static void promote(struct sched_cpu *c, int64_t virtual)
{
	while (one_is_due(&c->future, virtual))
		push_ready(c, heap_pop(&c->future));
}

void cpu_promote(struct sched *s, struct sched_cpu *c)
{
	unpark_due(s, c);
	promote(c, virtual_now(c));
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
 * What it is still owed after its sleep: of a claim what it had when it blocked, up to half a slice; a debt goes down
 * at the rate that it would have had.
 */
static int64_t lag_after_sleep(const struct sched *s, const struct sched_entity *e, uint64_t now)
{
	uint64_t slept;

	if (e->lag >= 0)
		return is_on(s, SCHED_OFF_CREDIT) ? MIN(e->lag, (int64_t)(peek(&s->slice) / 2)) : 0;
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
static uint64_t first_request(const struct sched *s)
{
	return MAX(MIN(request_of(s) / 4, s->tick), 1);
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

	note_change(s, e, 1);
	set_rate(s, e, rate_on_wake(e));
	lag = lag_forgiven(e, lag);
	e->floor = 0;
	if (unlikely(in_gang(e)))
		gang_wake(e);
	e->marks |= MARK_WOKEN;
	e->left = is_on(s, SCHED_OFF_CREDIT) ? first_request(s) : request_of(s);
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

/* ---- pick ---- */

/*
 * Before an entity, out of its heap, may run: does any limit, sibling or other pool have a say in it? True when it may
 * not run now; it is parked then. Else it has taken *turn ticks from its limits.
 */
static bool hold_back(struct sched *s, struct sched_cpu *c, struct sched_entity *e, uint64_t *turn)
{
	if (may_be_limited(e) && peek(&e->pool->strict) && e->eligible > virtual_now(c))
		cpu_park(c, e, PARK_PACE, (uint64_t)later(e->eligible, c->omega));
	else if (in_gang(e) && gang_leads(s, e))
		cpu_park(c, e, PARK_COSTOP, c->now + s->tick);
	else if (peek(&s->separate_cores) && core_refuses(s, c, e))
		cpu_park(c, e, PARK_CORE, c->now + s->tick);
	else if (may_be_limited(e) && is_on(s, SCHED_OFF_LIMIT) && !(*turn = limit_take(s, e, c->now, *turn)))
		cpu_park(c, e, PARK_WINDOW, limit_window_end(s, c->now));
	else
		return false;
	return true;
}

/* False: hold_back() has nothing to ask about, where cores are not kept to one pool. */
static inline bool may_be_held(const struct sched_entity *e) { return may_be_limited(e) || in_gang(e); }

/* READY again, the long way. Who may not stay here is nowhere until it is put and released. */
static void requeue(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	if (may_run_on(s, e, c->id)) {
		cpu_enqueue(s, c, e);
		return;
	}
	e->lag = cpu_leave(c, e);
	cpu_want_release(s, c, e);
}

/* Who is back stays, or has to leave, and NULL. What else would send it the long way has done so at its charge. */
NOINLINE static struct sched_entity *stay_or_leave(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	if (may_run_on(s, e, c->id))
		return e;
	requeue(s, c, e);
	return NULL;
}

/*
 * Brings the queues up to date: who has had what it is due changes places with who is due again. Who is back and still
 * due is returned, in no heap: it may be the next one, or will change places with it.
 */
static ALWAYS_INLINE struct sched_entity *settle(struct sched *s, struct sched_cpu *c)
{
	struct sched_entity *e = c->back;
	int64_t virtual = virtual_now(c);

	c->back = NULL;
	if (e && unlikely(peek(&e->mask) | peek(&s->exclusive)))
		e = stay_or_leave(s, c, e);
	if (e && e->eligible > virtual) {
		if (!one_is_due(&c->future, virtual)) {
			heap_line_up(&c->future, e, e->eligible);
			return NULL;
		}
		e = heap_exchange(&c->future, e, e->eligible);
	}
	if (one_is_due(&c->future, virtual))
		promote(c, virtual);
	return e;
}

/* Out of the queue, or @e that is in none: of those who are due the earliest deadline, else who will be due first. */
static inline struct sched_entity *first(struct sched_cpu *c, struct sched_entity *e)
{
	if (likely(e != NULL)) {
		int64_t deadline = deadline_of(e);

		return one_is_due(&c->ready, deadline) ? heap_exchange(&c->ready, e, deadline) : e;
	}
	if (c->ready.count)
		return heap_pop(&c->ready);
	return c->future.count ? heap_pop(&c->future) : NULL;
}

/* Somebody's siblings may prefer him to the first. */
NOINLINE static struct sched_entity *next_preferred(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	struct sched_entity *preferred;

	if (e)
		push_ready(c, e);
	preferred = gang_prefer(s, c);
	if (!preferred)
		return first(c, NULL);
	take_out(c, preferred);
	return preferred;
}

static inline struct sched_entity *next(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	return unlikely(c->preferred || peek(&c->corun)) ? next_preferred(s, c, e) : first(c, e);
}

/* The only one there is, on the only CPU. */
static inline bool is_alone(const struct sched *s, const struct sched_cpu *c)
{
	return !(c->ready.count | c->future.count | c->parked.count) && s->cpus == 1;
}

static uint64_t turn_of(struct sched *s, struct sched_cpu *c, const struct sched_entity *e)
{
	bool alone = is_alone(s, c);

	poke(&c->long_turn, alone);
	if (alone)
		return peek(&s->slice) * SCHED_ALONE_SLICES;
	return c->favoured == FAVOUR_SHORT ? MIN(e->left, gang_favour(s, e)) : e->left;
}

/*
 * @e, taken out of the queue, or who comes after it if it may not run, and for how long; NULL: nobody may. When all
 * that was here has been parked the CPU is idle, and may take anything from others.
 */
static inline struct sched_entity *choose(struct sched *s, struct sched_cpu *c, struct sched_entity *e, uint64_t *turn)
{
	bool pulled = s->cpus == 1;

	for (unsigned tries = 0; tries < PARKS_PER_PICK; tries++) {
		e = tries ? next(s, c, NULL) : e;
		if (e) {
			*turn = turn_of(s, c, e);
			if (!hold_back(s, c, e, turn))
				return e;
			c->favoured = FAVOUR_NOT;
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
static inline bool must_pull(const struct sched *s, const struct sched_cpu *c, const struct sched_entity *e)
{
	return s->cpus > 1 && (c->now - c->balanced >= s->tick || (!e && !c->ready.count));
}

static struct sched_entity *pull(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	if (e)
		push_ready(c, e);
	balance_pull_slow(s, c);
	return next(s, c, NULL);
}

/* What CPUs that look for work, or have some to give, should know of a turn that begins. */
static void tell_others(struct sched *s, struct sched_cpu *c, const struct sched_entity *e)
{
	uint64_t *idle = &s->idle[c->id / 64], *lent = &s->lent[c->id / 64], me = BIT(c->id % 64);

	if (peek(idle) & me)
		__atomic_fetch_and(idle, ~me, __ATOMIC_RELAXED);
	if (e->eligible > virtual_now(c) && !is_boosted(e) && !gang_coruns(s, e))
		__atomic_fetch_or(lent, me, __ATOMIC_RELAXED);
	else if (peek(lent) & me)
		__atomic_fetch_and(lent, ~me, __ATOMIC_RELAXED);
	if (c->waiting)
		balance_offer(s, c);
}

/* What follows from the marks of one that begins to run, after it waited for so long. */
NOINLINE static void dispatch_marked(struct sched *s, struct sched_entity *e, uint64_t waited)
{
	if (e->marks & MARK_WOKEN)
		account_wake_latency(e, waited);
	e->marks &= (uint8_t)~MARK_WOKEN;
	if (!in_gang(e))
		return;
	gang_note(e);
	gang_announce(s, e);
}

static inline void dispatch(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	uint64_t now = c->now, waited = now - e->since;

	bump(&e->figures.waited, waited);
	bump(&e->figures.dispatches, 1);
	e->since = now;
	poke(&e->state, SCHED_RUNNING);
	__atomic_store_n(&e->held, c->id + 1, __ATOMIC_RELEASE);
	c->running = e;
	if (unlikely(e->marks))
		dispatch_marked(s, e, waited);
	if (s->cpus > 1)
		tell_others(s, c, e);
}

static inline uint64_t add_capped(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* When this CPU must choose again though its turn has not ended: a division is due that others do not make. */
NOINLINE static uint64_t next_look(struct sched *s, const struct sched_cpu *c, uint64_t end)
{
	uint64_t due;

	if (c->parked.count)
		end = MIN(end, MAX((uint64_t)c->parked.at[0].key, c->now + s->tick));
	if (!is_stale(s) || c->long_turn)
		return end;
	due = MAX(add_capped(peek(&s->divided), s->tick), c->now + 1);
	return MIN(end, due);
}

static inline void go_idle(struct sched *s, struct sched_cpu *c, uint64_t *slice_end)
{
	*slice_end = UINT64_MAX;
	if (!c->resting)
		rest(c);
	if (peek(&s->separate_cores))
		core_leave(s, c);
	/* A division that others make may let them go earlier. */
	if (c->parked.count)
		*slice_end = MIN(MAX((uint64_t)c->parked.at[0].key, c->now + 1), c->now + s->tick);
	if (c->waiting)
		*slice_end = c->now + 1;
	if (s->cpus > 1)
		__atomic_fetch_or(&s->idle[c->id / 64], BIT(c->id % 64), __ATOMIC_RELAXED);
}

/* The only CPU, and nobody there wants anything: whoever wakes next will see whether anything has changed. */
static inline bool is_only_at_rest(const struct sched *s, const struct sched_cpu *c)
{
	return s->cpus == 1 && !c->rate && !(peek(&s->stale) & STALE_FLAGS);
}

/*
 * Before a pick: a new division, if one is due. But who has just been put before all others goes first by any division:
 * then it can wait until that short turn is over, and true is returned. Not twice in a row, or those who wake all the
 * time would keep everybody at old rates.
 */
static bool divide_or_hurry(struct sched *s, struct sched_cpu *c, uint64_t now)
{
	bool hurry = peek(&c->hurry) && !c->hurried;

	poke(&c->hurry, 0);
	c->hurried = hurry;
	if (!hurry && is_stale(s) && !is_only_at_rest(s, c))
		divide_stale(s, c, now);
	return hurry;
}

static void adopt(struct sched *s, struct sched_cpu *c)
{
	if (c->back)
		requeue(s, c, c->back);
	c->back = NULL;
	cpu_adopt(s, c);
}

/* The time until @now is whose turn ended last, or nobody's. */
static inline void begin_pick(struct sched_cpu *c, uint64_t now)
{
	poke(&c->kicked, 0); /* whoever was queued before is seen now */
	ASSERT(!c->running);
	if (likely(c->charged != NULL)) {
		cut_aftermath(c, c->charged, now);
		c->charged = NULL;
	} else {
		c->since = cpu_advance(c, now);
		end_rest(c);
	}
}

/* The rest of a pick, under the lock, with @e taken out of the queue, or nobody: whether it may run is to be asked. */
static ALWAYS_INLINE struct sched_entity *finish_pick(struct sched *s, struct sched_cpu *c, struct sched_entity *e, bool hurry,
						      uint64_t *slice_end)
{
	uint64_t turn;

	e = choose(s, c, e, &turn);
	cpu_publish(c);
	if (e) {
		/* It may have come from a CPU whose clock was further on: until then it waited there. */
		cut_idle(c);
		dispatch(s, c, e);
		*slice_end = add_capped(c->now, turn);
		if (!hurry || !is_boosted(e))
			*slice_end = next_look(s, c, *slice_end);
	} else {
		go_idle(s, c, slice_end);
	}
	lock_release(&c->lock);
	return e;
}

/* The same for a pick that began as one of those where nothing has to be asked. */
NOINLINE static struct sched_entity *end_pick(struct sched *s, struct sched_cpu *c, struct sched_entity *e, bool pulls,
					      uint64_t *slice_end)
{
	if (pulls)
		e = pull(s, c, e);
	return finish_pick(s, c, e, false, slice_end);
}

/* The whole of a pick when there is more to look at than who is ready. @locked: it has begun. */
NOINLINE static struct sched_entity *pick_eventful(struct sched *s, struct sched_cpu *c, bool locked, uint64_t now,
						   uint64_t *slice_end)
{
	struct sched_entity *e;
	bool hurry = false;

	if (!locked) {
		hurry = divide_or_hurry(s, c, now);
		lock_acquire(&c->lock);
		begin_pick(c, now);
	}
	if (!hurry && must_adopt(s, c))
		adopt(s, c);
	if (peek(&c->claim))
		core_retry(s, c);
	if (c->parked.count)
		unpark_due(s, c);
	e = settle(s, c);
	e = must_pull(s, c, e) ? pull(s, c, e) : next(s, c, e);
	return finish_pick(s, c, e, hurry, slice_end);
}

static inline bool is_eventful(const struct sched *s, const struct sched_cpu *c)
{
	return must_adopt(s, c) || peek(&c->corun) | c->parked.count || c->preferred || peek(&s->separate_cores);
}

struct sched_entity *sched_pick(struct sched *s, unsigned cpu, uint64_t now, uint64_t *slice_end)
{
	struct sched_cpu *c = cpu_of(s, cpu);
	struct sched_entity *e;
	unsigned waiting;
	uint64_t turn;

	if (unlikely(is_stale(s) || peek(&c->hurry) | c->hurried))
		return pick_eventful(s, c, false, now, slice_end);
	lock_acquire(&c->lock);
	begin_pick(c, now);
	if (unlikely(is_eventful(s, c)))
		return pick_eventful(s, c, true, now, slice_end);
	e = settle(s, c);
	if (unlikely(must_pull(s, c, e)))
		return end_pick(s, c, e, true, slice_end);
	e = first(c, e);
	if (unlikely(!e || may_be_held(e)))
		return end_pick(s, c, e, false, slice_end);
	waiting = c->ready.count + c->future.count;
	turn = e->left;
	poke(&c->long_turn, false);
	if (unlikely(!waiting))
		turn = turn_of(s, c, e);
	poke(&c->waiting, waiting);
	if (s->cpus > 1)
		cpu_publish(c);
	dispatch(s, c, e);
	*slice_end = add_capped(c->now, turn);
	lock_release(&c->lock);
	return e;
}

/* ---- charge ---- */

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
	uint64_t request = request_of(s);
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
	int64_t most = 2 * (int64_t)peek(&s->slice);

	c->yielded = false;
	e->lag = clamp_time(cpu_leave(c, e), most);
	e->marks &= (uint8_t)~MARK_BOOSTED;
	set_state(e, c, SCHED_BLOCKED);
	count_demand(s, e, -1);
}

/* READY again. The next pick, which follows at once, queues it or takes it again; or it is queued for a reason. */
static void come_back(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	set_state(e, c, SCHED_READY);
	if (c->yielded)
		e->marks = (uint8_t)((e->marks & ~MARK_BOOSTED) | MARK_YIELDS);
	if (e->marks & (MARK_BOOSTED | MARK_YIELDS) || may_be_limited(e))
		requeue(s, c, e);
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
	requeue(s, c, e);
}

/* The rest of a charge, when it is not only that one of many has had its turn. */
NOINLINE static void end_turn(struct sched *s, struct sched_cpu *c, struct sched_entity *e, uint64_t ran, enum sched_end end)
{
	if (may_be_limited(e))
		limit_settle(s, e, ran, c->now);
	if (is_boosted(e) && ran >= e->left)
		e->marks &= (uint8_t)~MARK_BOOSTED;
	serve(s, e, ran);
	if (in_gang(e))
		gang_progress(e, ran);
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

/* ---- hardware state ---- */

void sched_release(struct sched *s, unsigned cpu, struct sched_entity *e)
{
	struct sched_cpu *c = cpu_of(s, cpu);

	lock_acquire(&c->lock);
	ASSERT(e->held == cpu + 1 && e->cpu == cpu && e->state != SCHED_RUNNING);
	if (e == c->charged) {
		c->charged = NULL; /* it may be gone by the next pick */
		rest(c);
	}
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
