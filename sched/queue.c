/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of a CPU: its clock and sums, and who waits there.
 *
 * A queue is EEVDF (Stoica and Abdel-Wahab, "Earliest Eligible Virtual Deadline
 * First", 1995) with absolute rates: who has had no more than he is due is
 * eligible, and of these the earliest deadline of a request of one slice runs.
 * If nobody is, and nothing is to be had from other CPUs, the one who becomes
 * eligible first runs ahead of his time: idle time is lent.
 */
#include "sched/queue.h"

#define RETURN_RATE (RATE_ONE / 8)
#define LATENCY_KEY (1ll << 61) /* the latency class is before all others */

/* ---- clock and sums ---- */

static void begin(struct sched_cpu *c, uint64_t now)
{
	c->begun = true;
	c->started = c->since = c->now = now;
	c->omega = (int64_t)now;
	poke(&c->behind_at, now);
}

uint64_t cpu_advance(struct sched_cpu *c, uint64_t now)
{
	if (unlikely(!c->begun))
		begin(c, now);
	return advance(c, now);
}

/* From the last cut on it runs nothing, nor works for anybody. */
void cpu_rest(struct sched_cpu *c)
{
	poke(&c->busy, c->since - c->unused);
	__atomic_store_n(&c->resting, 1, __ATOMIC_RELEASE);
}

void cpu_end_rest(struct sched_cpu *c)
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
	if (!c->rate)
		c->peopled = c->now;
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

/* ---- who waits ---- */

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
 * Who goes first for a short request uses up what time it takes until that is due at his rate; a CPU has half a slice
 * of it in advance. Rates that the last division gave sum to one, so that nobody due his part is refused for long; of a
 * crowd that wakes with rates that are guesses most are, or they would keep off those who run.
 */
static bool may_return(struct sched_cpu *c, const struct sched_entity *e, uint64_t slice)
{
	int64_t unused = apart((int64_t)c->now, (int64_t)c->returned);

	if (unused < 0)
		return false;
	c->returned = c->now - MIN((uint64_t)unused, slice / 2) + (uint64_t)stretch_of(e, e->left);
	return true;
}

/*
 * The latency class goes first as long as it is within its share and a slice more. So does who wakes and is due a good
 * part of the CPU, if he has not had more than that, for his first short request: what was lent comes back at once.
 * Whose turn ends before that request is served is still first.
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
	return e->eligible <= virtual_now(c) && may_return(c, e, slice);
}

/* What its marks say about its place: true when it goes before all others. Who yields does so once. */
static bool heed_marks(const struct sched *s, struct sched_cpu *c, struct sched_entity *e, int64_t *deadline)
{
	bool first = e->marks & (MARK_WOKEN | MARK_BOOSTED) && goes_first(s, c, e);

	if (e->marks & MARK_YIELDS)
		*deadline += stretch_of(e, request_by(s, e));
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

void cpu_take_out(struct sched_cpu *c, struct sched_entity *e)
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
	cpu_take_out(c, e);
	cpu_publish(c);
}

/* What may run again. */
void cpu_unpark_due(struct sched *s, struct sched_cpu *c)
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
void cpu_promote_due(struct sched_cpu *c, int64_t virtual)
{
	while (one_is_due(&c->future, virtual))
		push_ready(c, heap_pop(&c->future));
}

void cpu_promote(struct sched *s, struct sched_cpu *c)
{
	cpu_unpark_due(s, c);
	cpu_promote_due(c, virtual_now(c));
	cpu_publish(c);
}

void cpu_requeue(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	if (may_run_on(s, e, c->id)) {
		cpu_enqueue(s, c, e);
		return;
	}
	e->lag = cpu_leave(c, e);
	cpu_want_release(s, c, e);
}
