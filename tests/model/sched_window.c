/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of the simulated machine as nodes of the fluid optimum. Deviation in
 * any window [a, b] is the difference of (used - due) at b and at a, so the
 * greatest over all windows is between its extremes; they are kept as they come.
 */
#include "tests/model/sched_window.h"

#include <math.h>
#include <stdlib.h>

#include "lib/bits.h"
#include "tests/model/sched_fluid.h"

#define PART 0.01
#define PPM 1e6
#define LEVEL_OFF 0.001

static struct fluid_node node[1 + SIM_POOLS + SIM_ENTITIES];

static double limit_of(const struct rls *n)
{
	return n->limit == SCHED_NO_LIMIT ? FLUID_NO_LIMIT : (double)n->limit / PPM;
}

static double demand_of(const struct sim_entity *x)
{
	if (x->kind == SIM_PERIODIC)
		return fmin(1, (double)x->burst / (double)x->period);
	return x->kind == SIM_BURNER;
}

static bool is_anywhere(const struct cpuset *set)
{
	for (unsigned i = 0; i < ARRAY_SIZE(set->word); i++) {
		if (set->word[i])
			return false;
	}
	return true;
}

static struct fluid_cpus affinity_of(const struct sim_entity *x)
{
	struct fluid_cpus set = {{0}};

	if (is_anywhere(&x->attr.affinity))
		return fluid_first(FLUID_CPUS);
	for (unsigned i = 0; i < ARRAY_SIZE(set.bit); i++)
		set.bit[i] = x->attr.affinity.word[i];
	return set;
}

static int pool_node(const struct sim *m, const struct sim_pool *p)
{
	return p ? 1 + (int)(p - m->pool) : 0;
}

/* Exclusive entities have one of the last CPUs each, which is as good as any where nobody is bound to a CPU. */
static unsigned make_tree(struct sim *m, struct fluid_cpus *online)
{
	unsigned count = 0, free = m->cfg.cpus;

	node[count++] = (struct fluid_node){.parent = -1, .limit = FLUID_NO_LIMIT, .shares = 1};
	for (unsigned i = 0; i < m->pools; i++) {
		const struct sim_pool *p = &m->pool[i];

		node[count++] = (struct fluid_node){.parent = pool_node(m, p->parent), .limit = limit_of(&p->numbers),
			.reservation = (double)p->numbers.reservation / PPM, .shares = p->numbers.shares};
	}
	for (unsigned i = 0; i < m->entities; i++) {
		const struct sim_entity *x = &m->entity[i];

		free -= x->added && x->attr.exclusive;
		node[count++] = (struct fluid_node){.parent = pool_node(m, x->pool), .leaf = true, .limit = FLUID_NO_LIMIT,
			.shares = RLS_SHARES_DEFAULT, .demand = x->added && !x->attr.exclusive ? demand_of(x) : 0,
			.affinity = affinity_of(x)};
	}
	*online = fluid_first(free);
	return count;
}

/* What the scheduler's own division says of the pools, against the optimum's rates of them. */
static void compare_levels(struct window *w)
{
	for (unsigned i = 0; i < w->m->pools; i++) {
		struct sched_levels levels;
		double off;

		sched_pool_levels(w->m->s, &w->m->pool[i].p, &levels);
		off = fabs((double)levels.allowed / PPM - w->m->pool[i].rate);
		if (off > w->worst_level) {
			w->worst_level = off;
			w->worst_pool = i;
		}
	}
}

bool window_begin(struct window *w, struct sim *m)
{
	struct fluid_cpus online;
	unsigned count = make_tree(m, &online);

	*w = (struct window){.m = m, .from = m->now, .slowest = 1};
	if (!fluid_solve(node, count, &online))
		return false;
	sim_account(m);
	for (unsigned i = 0; i < m->pools; i++)
		m->pool[i].rate = node[1 + i].rate;
	for (unsigned i = 0; i < m->entities; i++) {
		struct sim_entity *x = &m->entity[i];

		x->rate = x->added && x->attr.exclusive ? demand_of(x) : node[1 + m->pools + i].rate;
		x->low = x->high = 0;
		x->low_at = x->high_at = m->now;
		x->used_before = x->used;
		if (x->rate > 0 && x->rate < w->slowest)
			w->slowest = x->rate;
	}
	return true;
}

static double error_of(const struct window *w, const struct sim_entity *x)
{
	return (double)(x->used - x->used_before) - x->rate * (double)(w->m->now - w->from);
}

static void look(struct window *w)
{
	for (unsigned i = 0; i < w->m->entities; i++) {
		struct sim_entity *x = &w->m->entity[i];
		double error = error_of(w, x);

		if (error < x->low) {
			x->low = error;
			x->low_at = w->m->now;
		}
		if (error > x->high) {
			x->high = error;
			x->high_at = w->m->now;
		}
	}
}

void window_run(struct window *w, uint64_t ticks)
{
	uint64_t to = w->m->now + ticks, step = w->m->cfg.slice / 2;

	while (w->m->now < to) {
		sim_run(w->m, MIN(step, to - w->m->now));
		look(w);
		w->idle_beside_work = MAX(w->idle_beside_work, sim_idle_beside_work(w->m));
	}
}

uint64_t window_rounds(const struct window *w, unsigned rounds)
{
	return (uint64_t)(rounds * (double)w->m->cfg.slice / w->slowest);
}

/* As a part of what is allowed between the two extremes. */
static double deviation(const struct window *w, const struct sim_entity *x)
{
	uint64_t apart = x->low_at > x->high_at ? x->low_at - x->high_at : x->high_at - x->low_at;
	double allowed = 2. * (double)w->m->cfg.slice + (double)w->m->cfg.tick;

	return (x->high - x->low) / fmax(allowed, PART * x->rate * (double)apart);
}

static double deviation_of_whole(const struct window *w, const struct sim_entity *x)
{
	double due = x->rate * (double)(w->m->now - w->from);

	return due > 0 ? fabs(error_of(w, x)) / (PART * due) : 0;
}

void window_end(struct window *w)
{
	bool rounds = w->m->now - w->from >= window_rounds(w, 100);

	sim_account(w->m);
	look(w);
	if (w->m->now - w->from > 3 * w->m->cfg.tick)
		compare_levels(w);
	for (unsigned i = 0; i < w->m->entities; i++) {
		struct sim_entity *x = &w->m->entity[i];

		if (!x->added)
			continue;
		if (deviation(w, x) > w->worst) {
			w->worst = deviation(w, x);
			w->worst_entity = i;
		}
		if (rounds && deviation_of_whole(w, x) > w->worst_rounds) {
			w->worst_rounds = deviation_of_whole(w, x);
			w->worst_rounds_entity = i;
		}
	}
}

static void show(const struct window *w, unsigned i, const char *what, double part)
{
	const struct sim_entity *x = &w->m->entity[i];
	double ticks = (double)(w->m->now - w->from);

	fprintf(stderr, "  entity %u of pool %d%s on CPUs %#llx, %s: %.2f of what is allowed; "
		"due %.5f CPU, has had %.5f in %.1f slices; from %.2f to %.2f slices\n",
		i, pool_node(w->m, x->pool) - 1, x->attr.latency ? ", latency class," : "",
		(unsigned long long)x->attr.affinity.word[0], what, part, x->rate, (double)(x->used - x->used_before) / ticks, ticks / (double)w->m->cfg.slice,
		x->low / (double)w->m->cfg.slice, x->high / (double)w->m->cfg.slice);
}

void window_show(const struct window *w, double times)
{
	for (unsigned i = 0, shown = 0; i < w->m->entities && shown < 20; i++) {
		const struct sim_entity *x = &w->m->entity[i];

		if (x->added && deviation(w, x) > times) {
			show(w, i, "in a window", deviation(w, x));
			shown++;
		}
	}
	if (w->worst_level > LEVEL_OFF)
		fprintf(stderr, "  pool %u: the optimum gives it %.5f CPU, the division is off by %.5f\n", w->worst_pool,
			w->m->pool[w->worst_pool].rate, w->worst_level);
	if (w->worst_rounds > times)
		show(w, w->worst_rounds_entity, "over 100 rounds", w->worst_rounds);
}
