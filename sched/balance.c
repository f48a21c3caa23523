/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which CPU. A waking entity stays where it ran if that is free or has room for
 * its rate, else it goes to an idle CPU, else to the one with the least promised
 * among a few. After that a CPU helps itself: when nothing of its own is due, or
 * another one is a slice further behind with its queue, it takes what is most
 * urgent there. With exact rates that is all that global fairness needs: a CPU
 * whose rates sum to one never has to move anything, and one whose rates do not
 * hands over one entity each time the difference has grown to a slice.
 *
 * Work is bounded: a few CPUs are looked at, beginning where the last look
 * ended, and one entity moves.
 */
#include "sched/internal.h"

#define LOOK_CPUS 16u     /* at a pick */
#define LOOK_IDLE 64u     /* before a CPU goes idle, or runs somebody far ahead of its time */
#define TRIES 4u          /* how many of these are locked at most */
#define LOOK_ENTITIES 8u  /* of one CPU's queue */

bool cpu_lock_second(struct sched_cpu *c, struct sched_cpu *second)
{
	if (second->id < c->id)
		return lock_try(&second->lock);
	lock_acquire_next(&second->lock);
	return true;
}

/* ---- where to wait ---- */

/* A CPU of @set that is idle: one near @home if there is one among the first few. */
static struct sched_cpu *find_idle(struct sched *s, const struct sched_entity *e, const struct sched_cpu *home)
{
	const struct cpuset *set = &s->mask[e->mask].cpus;
	struct sched_cpu *found = NULL;
	unsigned looked = 0;

	for (unsigned w = 0; w < CPUSET_WORDS; w++) {
		for (uint64_t bits = peek(&s->idle[w]) & set->word[w]; bits; bits &= bits - 1) {
			unsigned cpu = w * 64 + bit_lowest(bits);

			if (!may_run_on(s, e, cpu))
				continue;
			if (s->llc_of[cpu] == s->llc_of[home->id])
				return &s->cpu[cpu];
			found = found ? found : &s->cpu[cpu];
			if (++looked == LOOK_ENTITIES)
				return found;
		}
	}
	return found;
}

/* What it would mean to wait there: the rates promised, and siblings that it could not run beside. */
static uint64_t crowd(struct sched *s, const struct sched_entity *e, unsigned cpu)
{
	uint64_t rate = peek(&s->cpu[cpu].rate);

	if (is_on(s, SCHED_OFF_SPREAD) && gang_on_cpu(e, cpu))
		rate += RATE_ONE / 2;
	return rate;
}

static struct sched_cpu *least_crowded(struct sched *s, const struct sched_entity *e, struct sched_cpu *home)
{
	struct sched_cpu *best = may_run_on(s, e, home->id) ? home : NULL;
	uint64_t least = best ? crowd(s, e, home->id) : UINT64_MAX;
	unsigned cpu = home->cursor, looked = 0;

	/* A move must be worth it. */
	least -= best ? MIN(least, RATE_ONE / 16) : 0;
	for (unsigned i = 0; i < s->cpus && looked < LOOK_CPUS; i++) {
		uint64_t there;

		cpu = cpu + 1 < s->cpus ? cpu + 1 : 0;
		if (!may_run_on(s, e, cpu))
			continue;
		looked++;
		there = crowd(s, e, cpu);
		if (there < least) {
			least = there;
			best = &s->cpu[cpu];
		}
	}
	home->cursor = cpu;
	return best ? best : home;
}

/* One of the latency class runs at once where it is woken, if nobody else of that kind does: others had to be told. */
static bool runs_at_once(const struct sched *s, const struct sched_entity *e, const struct sched_cpu *home)
{
	return e->attr.latency && is_on(s, SCHED_OFF_LATENCY) && e->lag > -(int64_t)peek(&s->slice) &&
	       !(home->running && is_boosted(home->running));
}

struct sched_cpu *balance_place(struct sched *s, const struct sched_entity *e, struct sched_cpu *home)
{
	bool allowed = may_run_on(s, e, home->id);
	struct sched_cpu *idle;

	if (s->cpus == 1 || (allowed && ((!home->running && !home->back && !home->waiting) || runs_at_once(s, e, home))))
		return home;
	idle = find_idle(s, e, home);
	if (idle)
		return idle;
	if (allowed && crowd(s, e, home->id) + e->rate <= RATE_ONE)
		return home;
	return least_crowded(s, e, home);
}

/* ---- moving ---- */

void balance_move(struct sched *s, struct sched_entity *e, struct sched_cpu *from, struct sched_cpu *to)
{
	int64_t lag;

	/* Its times are of one clock, then of the other: that must not be behind. */
	cpu_advance(to, from->now);
	cpu_dequeue(from, e);
	cpu_leave(from, e);
	entity_adopt(s, from, e);
	lag = lag_of(from, e);
	poke(&e->cpu, to->id);
	e->eligible = apart(virtual_now(to), stretch(lag, e->rate));
	cpu_join(to, e, lag);
	cpu_enqueue(s, to, e);
	gang_note(e);
	bump(&e->figures.migrations, 1);
}

/* ---- looking for work ---- */

/*
 * A CPU with work of its own that is due leaves alone who is not too far behind with no more promised than itself: that
 * one falls no further behind, and what came over would keep off somebody here who can never make it good.
 */
static bool is_worth_it(struct sched *s, const struct sched_cpu *c, const struct sched_cpu *d, int64_t behind)
{
	if (!c->ready.count || peek(&d->rate) > c->rate)
		return true;
	return behind - cpu_behind(c, c->now) > 2 * (int64_t)peek(&s->slice);
}

/*
 * Of the CPUs from the cursor on, on which something waits that is due by @due, the one furthest behind, but further
 * than @least and less far than @most.
 */
static struct sched_cpu *find_busy(struct sched *s, const struct sched_cpu *c, unsigned look, int64_t due, int64_t least,
				   int64_t most)
{
	struct sched_cpu *found = NULL;
	unsigned cpu = c->cursor;

	for (unsigned i = 0; i < MIN(look, s->cpus); i++) {
		struct sched_cpu *d;
		int64_t behind;

		cpu = cpu + 1 < s->cpus ? cpu + 1 : 0;
		d = &s->cpu[cpu];
		if (d == c || peek(&d->due_at) > due || !peek(&d->waiting))
			continue;
		behind = cpu_behind(d, c->now);
		if (behind > least && behind < most && is_worth_it(s, c, d, behind)) {
			least = behind;
			found = d;
		}
	}
	return found;
}

static bool can_come(struct sched *s, const struct sched_entity *e, const struct sched_cpu *c)
{
	uint32_t held = __atomic_load_n(&e->held, __ATOMIC_ACQUIRE);

	return (!held || held == c->id + 1) && may_run_on(s, e, c->id);
}

/* Would only be parked where it comes to: a limit lets it have no more than it has had. */
static bool is_paced(const struct sched_cpu *from, const struct sched_entity *e)
{
	return may_be_limited(e) && peek(&e->pool->strict) && e->eligible > virtual_now(from);
}

/* Among the first of a heap. Whoever has a sibling here comes only if nobody else can. */
static struct sched_entity *choose(struct sched *s, const struct sched_cpu *c, const struct sched_cpu *from,
				   const struct heap *h, int64_t most)
{
	struct sched_entity *second = NULL;

	heap_for_each(it, h) {
		struct sched_entity *e = it.e;

		if (it.passed == LOOK_ENTITIES)
			break;
		if (!can_come(s, e, c) || is_paced(from, e) || lag_of(from, e) > most ||
		    (h->id == HEAP_READY && e->eligible > virtual_now(from)))
			continue;
		if (!is_on(s, SCHED_OFF_SPREAD) || !gang_on_cpu(e, c->id))
			return e;
		second = second ? second : e;
	}
	return second;
}

/* Under both locks: from what was seen without, all may have changed. */
static bool take_from(struct sched *s, struct sched_cpu *c, struct sched_cpu *d, int64_t most)
{
	struct sched_entity *e;

	cpu_advance(d, c->now);
	cpu_promote(s, d);
	e = choose(s, c, d, &d->ready, most);
	if (!e && !c->ready.count && !c->future.count)
		e = choose(s, c, d, &d->future, INT64_MAX);
	if (!e)
		return false;
	balance_move(s, e, d, c);
	c->pulled++;
	return true;
}

static const struct sched_cpu *idle_for_one_of(struct sched *s, const struct sched_cpu *c, const struct heap *h)
{
	const struct sched_cpu *idle = NULL;

	heap_for_each(it, h) {
		if (idle || it.passed == LOOK_ENTITIES)
			break;
		idle = find_idle(s, it.e, c);
	}
	return idle;
}

/* Lets an idle CPU know of somebody who waits on @c and may run there. False: there is none. */
static bool tell_idle(struct sched *s, const struct sched_cpu *c)
{
	const struct sched_cpu *idle = idle_for_one_of(s, c, &c->ready);

	if (!idle)
		idle = idle_for_one_of(s, c, &c->future);
	if (idle)
		sched_kick(s, idle->id);
	return idle != NULL;
}

/*
 * One CPU is told of many who come to wait at once. Each that idled and has fetched one tells the next, or the others
 * would be found at the end of a turn only.
 */
static void tell_next_idle(struct sched *s, const struct sched_cpu *c, const struct sched_cpu *d)
{
	__atomic_fetch_and(&s->idle[c->id / 64], ~BIT(c->id % 64), __ATOMIC_RELAXED);
	(void)tell_idle(s, d);
}

/* Takes something from @d, at most what evens the two out, or anything for an idle CPU. */
static bool pull_from(struct sched *s, struct sched_cpu *c, struct sched_cpu *d, int64_t most, bool idle)
{
	bool taken = false;

	if (cpu_lock_second(c, d)) {
		taken = take_from(s, c, d, most);
		if (taken && idle)
			tell_next_idle(s, c, d);
		lock_release(&d->lock);
	} else if (idle) {
		/* Out of order, so waiting would be wrong; but to go idle beside work would be too. */
		cpu_publish(c); /* a pick is under way: what it took out so far */
		lock_release(&c->lock);
		lock_acquire(&d->lock);
		lock_acquire_next(&c->lock);
		taken = take_from(s, c, d, most);
		if (taken)
			tell_next_idle(s, c, d);
		lock_release(&d->lock);
	}
	return taken;
}

/* Anything from anybody, the next neighbour first. */
static bool pull_from_any(struct sched *s, struct sched_cpu *c)
{
	unsigned cpu = c->id;

	for (unsigned i = 1; i < s->cpus; i++) {
		cpu = cpu + 1 < s->cpus ? cpu + 1 : 0;
		if (peek(&s->cpu[cpu].waiting) && pull_from(s, c, &s->cpu[cpu], INT64_MAX, true))
			return true;
	}
	return false;
}

/* From the CPU that has just offered this one somebody who is owed. */
static bool pull_hinted(struct sched *s, struct sched_cpu *c)
{
	uint32_t hint = peek(&c->hint);

	if (!hint)
		return false;
	poke(&c->hint, 0);
	return hint != c->id + 1 && pull_from(s, c, &s->cpu[hint - 1], INT64_MAX, false);
}

/* Under both locks: whoever there may come and is due before @due. */
static void take_sooner(struct sched *s, struct sched_cpu *c, struct sched_cpu *d, int64_t due)
{
	struct sched_entity *e;

	cpu_advance(d, c->now);
	cpu_promote(s, d);
	e = choose(s, c, d, &d->ready, INT64_MAX);
	if (!e)
		e = choose(s, c, d, &d->future, INT64_MAX);
	if (!e || later(e->eligible, d->omega) >= due)
		return;
	balance_move(s, e, d, c);
	c->pulled++;
}

/*
 * Nobody here is due, and somebody will run ahead of its time. If that time is far away, whoever is due first among
 * some CPUs should, or those here would get far ahead of all others.
 */
static void pull_sooner(struct sched *s, struct sched_cpu *c)
{
	int64_t least = later(c->future.at[0].key, c->omega) - (int64_t)peek(&s->slice) / 2;
	struct sched_cpu *found = NULL;
	unsigned cpu = c->cursor;
	int64_t due = least;

	for (unsigned i = 0; i < MIN(LOOK_IDLE, s->cpus) && (int64_t)c->now < least; i++) {
		struct sched_cpu *d;

		cpu = cpu + 1 < s->cpus ? cpu + 1 : 0;
		d = &s->cpu[cpu];
		if (d == c || !peek(&d->waiting) || peek(&d->due_at) >= least)
			continue;
		least = peek(&d->due_at);
		found = d;
	}
	if (found && cpu_lock_second(c, found)) {
		take_sooner(s, c, found, due);
		lock_release(&found->lock);
	}
}

void balance_pull_slow(struct sched *s, struct sched_cpu *c)
{
	bool idle = !c->ready.count && !c->future.count, due = c->ready.count != 0, taken = false;
	unsigned look = idle ? LOOK_IDLE : LOOK_CPUS;
	int64_t mine = cpu_behind(c, c->now), most = INT64_MAX;
	int64_t least = idle ? INT64_MIN : due ? mine + (int64_t)request_of(s) : mine;

	if (!is_on(s, SCHED_OFF_BALANCE) || peek(&s->owner[c->id]))
		return;
	c->balanced = c->now;
	if (!due && !idle && pull_hinted(s, c))
		return;
	/* Affinity may hold all that waits on the first one found. */
	for (unsigned i = 0; i < TRIES && !taken; i++) {
		struct sched_cpu *d = find_busy(s, c, look, idle ? NEVER : (int64_t)c->now, least, most);

		if (!d)
			break;
		most = cpu_behind(d, c->now);
		taken = pull_from(s, c, d, idle ? INT64_MAX : most - mine, idle);
	}
	if (idle && !taken)
		pull_from_any(s, c);
	if (!idle && !due && !taken)
		pull_sooner(s, c);
	c->cursor = (c->cursor + MIN(look, s->cpus - 1)) % s->cpus;
}

/* Is @e, which waits on @c, owed something? Siblings that run at the same time are worth a little unevenness. */
static bool is_owed(const struct sched *s, const struct sched_cpu *c, const struct sched_entity *e)
{
	return lag_of(c, e) > (e->attr.gang ? (int64_t)peek(&s->slice) / 4 : 0);
}

/* A CPU that runs somebody who has had his due, and where @e may run; NULL: none. */
static struct sched_cpu *find_lent(struct sched *s, const struct sched_cpu *c, const struct sched_entity *e)
{
	for (unsigned w = 0; w < CPUSET_WORDS; w++) {
		for (uint64_t bits = peek(&s->lent[w]); bits; bits &= bits - 1) {
			unsigned cpu = w * 64 + bit_lowest(bits);

			if (cpu != c->id && may_run_on(s, e, cpu))
				return &s->cpu[cpu];
		}
	}
	return NULL;
}

/* While somebody here is owed and waits, somebody elsewhere runs on lent time: that CPU is told to fetch. */
static void offer_to_lent(struct sched *s, const struct sched_cpu *c)
{
	heap_for_each(it, &c->ready) {
		struct sched_cpu *lent;

		if (it.passed == LOOK_ENTITIES / 2)
			return;
		if (peek(&it.e->held))
			continue;
		lent = is_owed(s, c, it.e) ? find_lent(s, c, it.e) : NULL;
		if (lent) {
			__atomic_fetch_and(&s->lent[lent->id / 64], ~BIT(lent->id % 64), __ATOMIC_RELAXED);
			poke(&lent->hint, c->id + 1);
			sched_kick(s, lent->id);
		}
		/* Who may not go there does not stand for those behind. */
		if (lent || peek(&it.e->mask) == ANYWHERE)
			return;
	}
}

void balance_offer_slow(struct sched *s, const struct sched_cpu *c)
{
	if (is_on(s, SCHED_OFF_BALANCE) && !tell_idle(s, c))
		offer_to_lent(s, c);
}

/* Ahead of @c by half a request at least, the one with most of that. */
static struct sched_cpu *find_ahead(struct sched *s, const struct sched_cpu *c, const struct sched_entity *e)
{
	int64_t least = cpu_behind(c, c->now) - (int64_t)request_of(s) / 2;
	struct sched_cpu *found = NULL;
	unsigned cpu = c->id;

	for (unsigned i = 1; i < MIN(LOOK_IDLE, s->cpus); i++) {
		cpu = cpu + 1 < s->cpus ? cpu + 1 : 0;
		if (may_run_on(s, e, cpu) && cpu_behind(&s->cpu[cpu], c->now) < least) {
			found = &s->cpu[cpu];
			least = cpu_behind(found, c->now);
		}
	}
	return found;
}

bool balance_give(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	struct sched_cpu *to = is_on(s, SCHED_OFF_BALANCE) ? find_ahead(s, c, e) : NULL;

	if (!to || e->queue == HEAP_NONE || e->queue == HEAP_PARKED || !cpu_lock_second(c, to))
		return false;
	balance_move(s, e, c, to);
	sched_kick(s, to->id);
	lock_release(&to->lock);
	return true;
}
