/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who runs next on a CPU, and until when. Nearly every pick finds nothing that has
 * happened but time: no division to make or take up, nobody held back, no sibling
 * and no limit to be asked about. That is one short path, sched_pick() itself; as soon
 * as there is anything else one of the long ways is taken, which ask about everything.
 */
#include "sched/queue.h"

#define TURN_PART 8u          /* of a slice: the shortest turn */
#define PARKS_PER_PICK 16u    /* how many may be found held back before the CPU looks again later */

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

/* Who is back stays, or has to leave, and NULL. What else would send it the long way has done so at its charge. */
NOINLINE static struct sched_entity *stay_or_leave(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	if (may_run_on(s, e, c->id))
		return e;
	cpu_requeue(s, c, e);
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
		cpu_promote_due(c, virtual);
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
	cpu_take_out(c, preferred);
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

/*
 * What is left of its request; but turns end late, so that may be next to nothing, and nobody is switched to for that.
 * What it takes beyond it is taken off the next one.
 */
static inline uint64_t rest_of_request(const struct sched *s, const struct sched_entity *e)
{
	return MAX(e->left, peek(&s->slice) / TURN_PART);
}

static uint64_t turn_of(struct sched *s, struct sched_cpu *c, const struct sched_entity *e)
{
	bool alone = is_alone(s, c);

	poke(&c->long_turn, alone);
	if (alone)
		return peek(&s->slice) * SCHED_ALONE_SLICES;
	return c->favoured == FAVOUR_SHORT ? MIN(e->left, gang_favour(s, e)) : rest_of_request(s, e);
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
		cpu_rest(c);
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
	return s->cpus == 1 && !peek(&c->rate) && !(peek(&s->stale) & STALE_FLAGS);
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
		cpu_requeue(s, c, c->back);
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
		cpu_end_rest(c);
	}
}

/* The time since the last cut is nobody's. */
static void cut_idle(struct sched_cpu *c)
{
	poke(&c->unused, c->unused + (c->now - c->since));
	c->since = c->now;
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
		cpu_unpark_due(s, c);
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
	turn = rest_of_request(s, e);
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
