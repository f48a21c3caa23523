/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits: a cap on use in each window of host time, the same windows for all. An
 * entity takes its turn's ticks out of the window of each limited pool above it
 * before it runs, and gives back what it did not use: several of them on as many
 * CPUs cannot pass the cap together, not even by turns that end late. The pace
 * within the window is not made here: who is bound by a limit is due that much and
 * never runs ahead (PARK_PACE).
 *
 * What is held for a late end at the end of a window is lost in it, and would be for
 * ever: a window has up to a sixteenth of a tick of what the one before left, so the
 * sum over many is exact.
 *
 * The window's number and its use share a word, so that taking is one
 * compare-and-swap and a new window needs no timer. The use begins at that most, less
 * what was left.
 */
#include "sched/internal.h"

#include "lib/clock.h"

#define USE_BITS 44
#define USE_MASK (BIT(USE_BITS) - 1)
#define NUMBER_MASK (BIT(64 - USE_BITS) - 1)
#define FRESH UINT64_MAX /* in place of window and use: the limit has just changed */

static uint64_t carry_most(const struct sched *s) { return s->tick / 16; }

static uint64_t word_of(uint64_t number, uint64_t use)
{
	return number << USE_BITS | MIN(use, USE_MASK - 1);
}

/* At the end of a window that has used @use of @most: what the next one begins with. */
static uint64_t carried(const struct sched *s, uint64_t use, uint64_t most)
{
	return carry_most(s) - MIN(carry_most(s), most - MIN(use, most));
}

/*
 * What counts as used at @now in window number @number, of @most. The rest of a window in which the limit changed has
 * its part of the new one: what was used under the old one is no measure.
 */
static uint64_t used_in(const struct sched *s, uint64_t word, uint64_t number, uint64_t most, uint64_t now)
{
	if (word == FRESH)
		return carry_most(s) + mul_div(most - carry_most(s), now % s->window, s->window);
	if (word >> USE_BITS == (number & NUMBER_MASK))
		return word & USE_MASK;
	return word >> USE_BITS == ((number - 1) & NUMBER_MASK) ? carried(s, word & USE_MASK, most) : carry_most(s);
}

/* Takes up to @want in the window of @now; 0 when it is used up. */
static uint64_t take(const struct sched *s, struct sched_pool *p, uint64_t now, uint64_t want)
{
	uint64_t number = now / s->window, word = peek(&p->window), limit = peek(&p->limit_ticks), got, use;
	uint64_t most = MIN(limit, USE_MASK / 2) + carry_most(s);

	do {
		use = used_in(s, word, number, most, now);
		got = use < most ? MIN(want, most - use) : 0;
	} while (!__atomic_compare_exchange_n(&p->window, &word, word_of(number, use + got), true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return got;
}

/* Corrects the use of window number @number, if it is still the present one. */
static void correct(struct sched_pool *p, uint64_t number, int64_t change)
{
	uint64_t word = peek(&p->window), use;

	do {
		if (word == FRESH || word >> USE_BITS != (number & NUMBER_MASK))
			return;
		use = (uint64_t)MAX((int64_t)(word & USE_MASK) + change, 0);
	} while (!__atomic_compare_exchange_n(&p->window, &word, word_of(number, use), true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
}

static struct sched_pool *next_limited(const struct sched_pool *p)
{
	const struct sched_pool *parent = peek(&p->parent);

	return parent ? peek(&parent->limited) : NULL;
}

void limit_changed(struct sched_pool *p)
{
	poke(&p->window, FRESH);
}

/* What a turn may end late, held for it: a 32nd of a tick, but not the most of what a small limit lets it have. */
static uint64_t reserve_of(const struct sched *s, const struct sched_entity *e)
{
	uint64_t reserve = s->tick / 32;

	for (const struct sched_pool *p = peek(&e->pool->limited); p; p = next_limited(p))
		reserve = MIN(reserve, peek(&p->limit_ticks) / 8);
	return reserve;
}

static void give_back(struct sched_entity *e, uint64_t ticks)
{
	for (struct sched_pool *p = peek(&e->pool->limited); p; p = next_limited(p))
		correct(p, e->granted_in, -(int64_t)ticks);
}

uint64_t limit_take(struct sched *s, struct sched_entity *e, uint64_t now, uint64_t want)
{
	uint64_t number = now / s->window, reserve = reserve_of(s, e);

	/* A turn ends with the window, so that its use is of one window only. */
	want = MIN(want, limit_window_end(s, now) - now) + reserve;
	e->granted_in = number;
	for (struct sched_pool *p = peek(&e->pool->limited); p && want; p = next_limited(p)) {
		uint64_t got = take(s, p, now, want);

		for (struct sched_pool *below = peek(&e->pool->limited); got < want && below != p; below = next_limited(below))
			correct(below, number, (int64_t)got - (int64_t)want);
		want = got;
	}
	e->grant = want > reserve ? want : 0;
	if (e->grant)
		return want - reserve;
	give_back(e, want);
	return 0;
}

/* Turns end a little late: what @e ran of the next window, up to @now, is taken out of that one. */
static void settle_late(struct sched *s, struct sched_entity *e, uint64_t now, uint64_t late)
{
	for (struct sched_pool *p = peek(&e->pool->limited); p; p = next_limited(p)) {
		take(s, p, now, 0);
		correct(p, now / s->window, (int64_t)late);
	}
}

void limit_settle(struct sched *s, struct sched_entity *e, uint64_t ran, uint64_t now)
{
	int64_t change = (int64_t)ran - (int64_t)e->grant;

	if (now / s->window != e->granted_in)
		settle_late(s, e, now, MIN(ran, now % s->window));
	for (struct sched_pool *p = peek(&e->pool->limited); p && change; p = next_limited(p))
		correct(p, e->granted_in, change);
	e->grant = 0;
}
