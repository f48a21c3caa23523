/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Implicit co-scheduling (Zheng and Waldspurger, US 8,752,058 and 9,632,808): the
 * vcpus of a VM need not run at the same time, but none may get far ahead of a
 * sibling that wants to run, and one whose siblings run is preferred a little.
 * Progress counts time in the guest's own code alone. All of this moves turns
 * within bounds; what an entity is due and charged stays as it is.
 *
 * `where` and `clock` of a gang are read by any CPU that runs or queues a member
 * (so that the pool cannot go away); a member is followed under its CPU's lock.
 */
#include "sched/internal.h"

#define FAVOUR_PART 32u /* of a slice: what one gets at most that somebody spins for */
#define FAVOUR_HALVINGS 9u
#define LOOK 8u /* how many of a queue are looked at for a member to prefer */

/* ---- pure ---- */

/*
 * With 2^(n-1) T < skew <= 2^n T the skew counts as T + (n-1) T/2: the first doubling is worked off in full, a long
 * stall of one vcpu stops its siblings for a time that grows with its logarithm only. The patents name no function.
 */
uint64_t cosched_catch_up(uint64_t skew, uint64_t threshold)
{
	unsigned n = 0;

	if (skew <= 2 * threshold)
		return skew;
	while (n < 63 && threshold << n < skew && threshold << n <= UINT64_MAX / 2)
		n++;
	return threshold + (n - 1) * (threshold / 2);
}

/* A quarter of a slice for the first, less for each further one: together under half a slice. */
uint64_t cosched_bonus(unsigned siblings, uint64_t slice)
{
	return slice / 2 * siblings / (siblings + 1);
}

/* ---- members ---- */

static uint32_t where_of(const struct sched_entity *e)
{
	return e->state | e->cpu << 2;
}

static enum sched_state state_in(uint32_t where)
{
	return where & 3;
}

static bool is_active(uint32_t where)
{
	return state_in(where) == SCHED_READY || state_in(where) == SCHED_RUNNING;
}

void gang_note(struct sched_entity *e)
{
	if (in_gang(e))
		poke(&e->pool->gang.where[e->gang_index], where_of(e));
}

void gang_join(struct sched_entity *e)
{
	struct sched_gang *g = &e->pool->gang;

	e->gang_index = SCHED_GANG_MAX;
	e->marks &= ~MARK_GANG;
	for (unsigned i = 0; e->attr.gang && i < SCHED_GANG_MAX; i++) {
		if (peek(&g->entity[i]))
			continue;
		e->gang_index = i;
		e->marks |= MARK_GANG;
		poke(&g->entity[i], e);
		poke(&g->clock[i], 0);
		poke(&g->size, MAX(g->size, i + 1));
		gang_note(e);
		return;
	}
}

void gang_leave(struct sched_entity *e)
{
	if (!in_gang(e))
		return;
	poke(&e->pool->gang.where[e->gang_index], SCHED_DETACHED);
	poke(&e->pool->gang.entity[e->gang_index], NULL);
	e->gang_index = SCHED_GANG_MAX;
	e->marks &= ~MARK_GANG;
}

unsigned gang_on_cpu(const struct sched_entity *e, unsigned cpu)
{
	const struct sched_gang *g = &e->pool->gang;
	unsigned count = 0;

	for (unsigned i = 0; in_gang(e) && i < peek(&g->size); i++) {
		uint32_t where = peek(&g->where[i]);

		count += i != e->gang_index && is_active(where) && where >> 2 == cpu;
	}
	return count;
}

/* ---- skew ---- */

/* A leaf that its CPUs hold back is not behind when it keeps up with its own rate. */
static uint64_t scaled(const struct sched_entity *e, uint64_t ticks)
{
	uint32_t leaf = peek(&e->pool->leaf_rate);

	if (!leaf || e->rate >= leaf)
		return ticks;
	return MIN(ticks, (uint64_t)TIME_CAP) * leaf / e->rate;
}

/*
 * What the host did for it counts up to a quarter of what it executed itself: exits take a little more of one vcpu's
 * turns than of another's, for ever, and who has an equal part of the CPUs must not be stopped for that.
 */
void gang_progress(struct sched_entity *e, uint64_t ran)
{
	uint64_t ticks = e->progress - e->progress_seen;

	e->progress_seen = e->progress;
	ticks = MAX(ticks, MIN(ran, ticks + ticks / 4));
	if (in_gang(e) && ticks)
		__atomic_fetch_add(&e->pool->gang.clock[e->gang_index], scaled(e, ticks), __ATOMIC_RELAXED);
}

/* Never back: whoever else adds at the same time has done it before or does it on top. */
static void raise_clock(struct sched_gang *g, unsigned i, uint64_t to)
{
	uint64_t clock = peek(&g->clock[i]);

	while (clock < to && !__atomic_compare_exchange_n(&g->clock[i], &clock, to, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* The one furthest behind of @e's siblings that want to run; SCHED_GANG_MAX: none does. */
static unsigned laggard(const struct sched_entity *e)
{
	const struct sched_gang *g = &e->pool->gang;
	unsigned least = SCHED_GANG_MAX;

	for (unsigned i = 0; i < peek(&g->size); i++) {
		if (i == e->gang_index || !is_active(peek(&g->where[i])))
			continue;
		if (least == SCHED_GANG_MAX || peek(&g->clock[i]) < peek(&g->clock[least]))
			least = i;
	}
	return least;
}

void gang_wake(struct sched_entity *e)
{
	struct sched_gang *g = &e->pool->gang;
	uint64_t to = 0;
	unsigned least;

	if (!in_gang(e))
		return;
	least = laggard(e);
	if (least < SCHED_GANG_MAX)
		to = peek(&g->clock[least]);
	for (unsigned i = 0; least == SCHED_GANG_MAX && i < peek(&g->size); i++)
		to = MAX(to, peek(&g->clock[i]));
	raise_clock(g, e->gang_index, to);
}

bool gang_leads(struct sched *s, struct sched_entity *e)
{
	struct sched_gang *g = &e->pool->gang;
	uint64_t clock, behind, lead;
	unsigned least;

	if (!in_gang(e) || peek(&g->size) < 2 || !is_on(s, SCHED_OFF_SKEW))
		return false;
	least = laggard(e);
	if (least == SCHED_GANG_MAX)
		return false;
	clock = peek(&g->clock[e->gang_index]);
	behind = peek(&g->clock[least]);
	lead = clock > behind ? clock - behind : 0;
	if (lead <= s->skew)
		return false;
	if (is_on(s, SCHED_OFF_CATCHUP))
		raise_clock(g, least, clock - cosched_catch_up(lead, s->skew));
	return true;
}

/* ---- running beside siblings ---- */

void gang_announce(struct sched *s, const struct sched_entity *e)
{
	const struct sched_gang *g = &e->pool->gang;

	if (!in_gang(e) || peek(&g->size) < 2 || !is_on(s, SCHED_OFF_CORUN))
		return;
	for (unsigned i = 0; i < peek(&g->size); i++) {
		uint32_t where = peek(&g->where[i]);

		if (state_in(where) == SCHED_READY && where >> 2 != e->cpu)
			poke(&cpu_of(s, where >> 2)->corun, 1);
	}
}

static unsigned running_siblings(const struct sched_entity *e)
{
	const struct sched_gang *g = &e->pool->gang;
	unsigned count = 0;

	for (unsigned i = 0; in_gang(e) && i < peek(&g->size); i++)
		count += i != e->gang_index && state_in(peek(&g->where[i])) == SCHED_RUNNING;
	return count;
}

bool gang_coruns(const struct sched *s, const struct sched_entity *e)
{
	return in_gang(e) && is_on(s, SCHED_OFF_CORUN) && running_siblings(e);
}

/* Among the first of the queue, who is first when the bonus counts. */
static struct sched_entity *best_with_bonus(struct sched *s, struct sched_cpu *c)
{
	struct sched_entity *best = NULL;
	int64_t least = c->ready.at[0].key;
	bool any = false;

	heap_for_each(it, &c->ready) {
		struct sched_entity *e = it.e;
		unsigned siblings = running_siblings(e);
		int64_t key;

		if (it.passed == LOOK)
			break;
		if (!siblings)
			continue;
		any = true;
		key = e->key - stretch((int64_t)cosched_bonus(siblings, peek(&s->slice)), e->rate);
		if (key < least) {
			least = key;
			best = e;
		}
	}
	if (!any)
		poke(&c->corun, 0);
	return best;
}

struct sched_entity *gang_prefer(struct sched *s, struct sched_cpu *c)
{
	struct sched_entity *e = c->preferred;

	c->preferred = NULL;
	c->favoured = e ? c->favours : FAVOUR_NOT;
	if (e)
		return e;
	if (!peek(&c->corun) || c->ready.count < 2 || is_boosted(c->ready.at[0].e) || !is_on(s, SCHED_OFF_CORUN))
		return NULL;
	return best_with_bonus(s, c);
}

/* ---- pause-loop exits ---- */

/* The waiting sibling that is furthest behind; the spinner waits for it, or it for the one that the spinner waits for. */
static unsigned waiting_laggard(const struct sched_entity *e)
{
	const struct sched_gang *g = &e->pool->gang;
	unsigned least = SCHED_GANG_MAX;

	for (unsigned i = 0; i < peek(&g->size); i++) {
		if (i == e->gang_index || state_in(peek(&g->where[i])) != SCHED_READY)
			continue;
		if (least == SCHED_GANG_MAX || peek(&g->clock[i]) < peek(&g->clock[least]))
			least = i;
	}
	return least;
}

/* It must not run far ahead of what it is due by being yielded to over and over. */
static bool can_be_preferred(struct sched *s, const struct sched_cpu *on, const struct sched_entity *e)
{
	return (e->queue == HEAP_READY || e->queue == HEAP_FUTURE) && lag_of(on, e) > -2 * (int64_t)peek(&s->slice);
}

/* Under both locks; member @i was last seen on @from. */
static void fetch(struct sched *s, struct sched_cpu *c, struct sched_cpu *from, struct sched_gang *g, unsigned i)
{
	struct sched_entity *e = peek(&g->entity[i]);
	uint32_t held;

	if (!e || peek(&g->where[i]) != (SCHED_READY | from->id << 2) || !can_be_preferred(s, from, e))
		return;
	if (from != c) {
		held = __atomic_load_n(&e->held, __ATOMIC_ACQUIRE);
		if ((held && held != c->id + 1) || !may_run_on(s, e, c->id))
			return;
		balance_move(s, e, from, c);
	}
	c->preferred = e;
}

void gang_yield(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	struct sched_gang *g = &e->pool->gang;
	unsigned i = c->yield_index;
	struct sched_cpu *from;

	c->yielded = false;
	if (!in_gang(e) || !is_on(s, SCHED_OFF_YIELD_TO))
		return;
	if (i >= SCHED_GANG_MAX || state_in(peek(&g->where[i])) != SCHED_READY)
		i = waiting_laggard(e);
	if (i >= SCHED_GANG_MAX)
		return;
	from = cpu_of(s, peek(&g->where[i]) >> 2);
	if (from == c) {
		fetch(s, c, from, g, i);
	} else if (cpu_lock_second(c, from)) {
		cpu_advance(from, c->now);
		fetch(s, c, from, g, i);
		lock_release(&from->lock);
	}
	if (!c->preferred)
		return;
	bump(&c->preferred->figures.yields_to, 1);
	c->favours = FAVOUR_SHORT;
	c->spinner = e->gang_index;
}

/* By one step, within bounds. CPUs that do this at once lose a step, and it is only a guess. */
static void lengthen_favour(struct sched_gang *g, bool shorten)
{
	uint32_t favour = peek(&g->favour);

	if (shorten && favour < FAVOUR_HALVINGS)
		poke(&g->favour, favour + 1);
	else if (!shorten && favour > 0)
		poke(&g->favour, favour - 1);
}

/*
 * Long enough to leave a critical section, short enough that it is not in the next one when it ends. Of two that share
 * a fair lock and a CPU, one that stopped inside, or in line, makes the other spin: if it had the CPU for as long as it
 * can go on, it would go on until it is next in line itself, and from then on they would take turns lock by lock. How
 * long that is follows from what becomes of it: see gang_favoured().
 */
uint64_t gang_favour(const struct sched *s, const struct sched_entity *e)
{
	return MAX(peek(&s->slice) / FAVOUR_PART >> peek(&e->pool->gang.favour), 1);
}

void gang_favoured(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	struct sched_gang *g = &e->pool->gang;
	enum favour was = c->favoured;

	c->favoured = FAVOUR_NOT;
	if (c->yielded) {
		/* It got into line itself; or who has its turn back still waits. */
		lengthen_favour(g, was == FAVOUR_SHORT);
	} else if (was == FAVOUR_SHORT && c->spinner < peek(&g->size)) {
		fetch(s, c, c, g, c->spinner);
		c->favours = FAVOUR_BACK;
	}
}

void sched_yield_to(struct sched *s, unsigned cpu, struct sched_entity *e)
{
	struct sched_cpu *c = cpu_of(s, cpu);

	lock_acquire(&c->lock);
	ASSERT(c->running);
	c->yielded = true;
	c->yield_index = e && e->pool == c->running->pool ? e->gang_index : SCHED_GANG_MAX;
	lock_release(&c->lock);
}
