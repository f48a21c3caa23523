/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mClock by looking at every client at every decision (Gulati et al., OSDI 2010, Algorithm 1):
 * tags as in the paper, a request's at its arrival, and the reservation tags of those that wait given back when
 * one was served by weight. Tags are in ticks, P too.
 */
#include <string.h>

#include "bench/io_rivals.h"

#define NONE UINT64_MAX
#define SPREAD 100 /* tags by shares must run ahead of time, or arrival alone decides */

struct tags {
	uint64_t r, l, p;
};

static struct {
	uint64_t hz;
	unsigned count;
	struct client {
		uint64_t r_step, l_step, p_step;
		struct tags last, queue[IO_RIVAL_QUEUE];
		unsigned first, waiting;
	} client[IO_RIVAL_CLIENTS];
} q;

static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }

static void start(uint64_t hz)
{
	memset(&q, 0, sizeof q);
	q.hz = hz;
}

static void put(struct client *c, uint64_t now)
{
	struct tags *t = &c->queue[(c->first + c->waiting++) % IO_RIVAL_QUEUE];

	t->r = c->r_step ? later(c->last.r + c->r_step, now) : NONE;
	t->l = c->l_step ? later(c->last.l + c->l_step, now) : 0;
	t->p = later(c->last.p + c->p_step, now);
	c->last = *t;
}

static void add(unsigned i, const struct rls *numbers, uint64_t now)
{
	struct client *c = &q.client[i];

	c->r_step = numbers->reservation ? q.hz / numbers->reservation : 0;
	c->l_step = numbers->limit != RLS_UNLIMITED ? q.hz / numbers->limit : 0;
	c->p_step = q.hz / numbers->shares * SPREAD;
	q.count = i + 1;
	for (unsigned n = 0; n < IO_RIVAL_QUEUE; n++)
		put(c, now);
}

static int take(unsigned i)
{
	struct client *c = &q.client[i];

	c->first = (c->first + 1) % IO_RIVAL_QUEUE;
	c->waiting--;
	return (int)i;
}

static int pick(uint64_t now, uint64_t *next)
{
	uint64_t least_r = NONE, least_p = NONE, least_l = NONE;
	unsigned due = 0, turn = 0;

	for (unsigned i = 0; i < q.count; i++) {
		const struct client *c = &q.client[i];
		const struct tags *t = &c->queue[c->first];

		if (!c->waiting)
			continue;
		if (t->r < least_r) {
			least_r = t->r;
			due = i;
		}
		if (t->l > now) {
			least_l = t->l < least_l ? t->l : least_l;
		} else if (t->p < least_p) {
			least_p = t->p;
			turn = i;
		}
	}
	if (least_r <= now)
		return take(due);
	if (least_p == NONE) {
		*next = least_l < least_r ? least_l : least_r;
		return -1;
	}
	if (q.client[turn].r_step) {
		struct client *c = &q.client[turn];

		for (unsigned n = 1; n < c->waiting; n++)
			c->queue[(c->first + n) % IO_RIVAL_QUEUE].r -= c->r_step;
		c->last.r -= c->r_step;
	}
	return take(turn);
}

static void again(unsigned i, uint64_t now) { put(&q.client[i], now); }

const struct io_rival io_scan = {"linear scan", start, add, pick, again};
