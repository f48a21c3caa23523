/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits: a cap on use in each window of host time, the same windows for all. An
 * entity takes its turn's ticks out of the window of each limited pool above it
 * before it runs, and gives back what it did not use: several of them on as many
 * CPUs cannot pass the cap together. The pace within the window is not made here:
 * who is bound by a limit is due that much and never runs ahead (PARK_PACE).
 *
 * The window's number and its use share a word, so that taking is one
 * compare-and-swap and a new window needs no timer.
 */
#include "sched/internal.h"

#define USE_BITS 44
#define USE_MASK (BIT(USE_BITS) - 1)

static uint64_t word_of(uint64_t window, uint64_t use)
{
	return window << USE_BITS | MIN(use, USE_MASK);
}

/* Takes up to @want in window number @window; 0 when it is used up. */
static uint64_t take(struct sched_pool *p, uint64_t window, uint64_t want)
{
	uint64_t word = peek(&p->window), limit = peek(&p->limit_ticks), cap = MIN(limit, USE_MASK), got, use;

	do {
		use = word >> USE_BITS == (window & (BIT(64 - USE_BITS) - 1)) ? word & USE_MASK : 0;
		got = use < cap ? MIN(want, cap - use) : 0;
	} while (!__atomic_compare_exchange_n(&p->window, &word, word_of(window, use + got), true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return got;
}

/* Corrects the use of window number @window, if it is still the present one. */
static void correct(struct sched_pool *p, uint64_t window, int64_t change)
{
	uint64_t word = peek(&p->window), use;

	do {
		if (word >> USE_BITS != (window & (BIT(64 - USE_BITS) - 1)))
			return;
		use = (uint64_t)MAX((int64_t)(word & USE_MASK) + change, 0);
	} while (!__atomic_compare_exchange_n(&p->window, &word, word_of(window, use), true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
}

static struct sched_pool *next_limited(const struct sched_pool *p)
{
	return p->parent ? peek(&p->parent->limited) : NULL;
}

uint64_t limit_take(struct sched *s, struct sched_entity *e, uint64_t now, uint64_t want)
{
	uint64_t window = now / s->window;

	/* A turn ends with the window, so that its use is of one window only. */
	want = MIN(want, limit_window_end(s, now) - now);
	e->granted_in = window;
	for (struct sched_pool *p = peek(&e->pool->limited); p && want; p = next_limited(p)) {
		uint64_t got = take(p, window, want);

		for (struct sched_pool *below = peek(&e->pool->limited); got < want && below != p; below = next_limited(below))
			correct(below, window, (int64_t)got - (int64_t)want);
		want = got;
	}
	e->grant = want;
	return want;
}

void limit_settle(struct sched *s, struct sched_entity *e, uint64_t ran)
{
	int64_t change = (int64_t)ran - (int64_t)e->grant;

	(void)s;
	for (struct sched_pool *p = peek(&e->pool->limited); p && change; p = next_limited(p))
		correct(p, e->granted_in, change);
	e->grant = 0;
}
