/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ways to the optimum. Where everybody may run anywhere, bisection for
 * lambda, pool by pool from the root down. Else progressive filling: every node
 * has a lower bound, bounds rise together, and a maximum flow says whether they
 * can still be met. CPUs that the same leaves may use count as one with more room.
 */
#include "tests/model/sched_fluid.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define EPSILON 1e-9     /* what rounding may add up to */
#define NUDGE 1e-6       /* a bound that cannot rise by this much is held back */
#define BACK_OFF 1e-8    /* a bound found by bisection uses up the rounding; it steps back by this, relative */
#define SLACK 1e-7
#define BISECTIONS 60

struct tree {
	struct fluid_node *node;
	unsigned count;
	double *low, *cap; /* of each node: what it gets at least and at most */
};

struct fluid_cpus fluid_first(unsigned cpus)
{
	struct fluid_cpus set = {{0}};

	for (unsigned cpu = 0; cpu < cpus; cpu++)
		fluid_add(&set, cpu);
	return set;
}

static struct fluid_cpus common(const struct fluid_cpus *a, const struct fluid_cpus *b)
{
	struct fluid_cpus set;

	for (unsigned i = 0; i < FLUID_CPUS / 64; i++)
		set.bit[i] = a->bit[i] & b->bit[i];
	return set;
}

static unsigned count_cpus(const struct fluid_cpus *set)
{
	unsigned count = 0;

	for (unsigned cpu = 0; cpu < FLUID_CPUS; cpu++)
		count += fluid_has(set, cpu);
	return count;
}

static double clamp(double x, double low, double high)
{
	return x < low ? low : x > high ? high : x;
}

/* ---- floors and caps ---- */

/* Children come after their parents: one pass backwards sums them up. */
static void set_bounds(struct tree *t, double capacity, const struct fluid_cpus *online)
{
	double *sum = calloc(t->count, sizeof *sum), *floors = calloc(t->count, sizeof *floors);

	for (unsigned i = t->count; i-- > 0;) {
		const struct fluid_node *n = &t->node[i];
		struct fluid_cpus usable = common(&n->affinity, online);
		double most = n->leaf ? fmin(n->demand, count_cpus(&usable) ? 1 : 0) : sum[i];

		t->cap[i] = fmin(n->limit, n->parent < 0 ? fmin(most, capacity) : most);
		t->low[i] = fmax(fmin(n->reservation, t->cap[i]), floors[i]);
		if (n->parent >= 0) {
			sum[n->parent] += t->cap[i];
			floors[n->parent] += t->low[i];
		}
	}
	free(sum);
	free(floors);
}

static bool bounds_meet(const struct tree *t)
{
	for (unsigned i = 0; i < t->count; i++) {
		if (t->low[i] > t->cap[i] + EPSILON)
			return false;
	}
	return true;
}

/* ---- everybody may run anywhere ---- */

static double sum_at(const struct tree *t, int pool, double lambda)
{
	double sum = 0;

	for (unsigned i = 0; i < t->count; i++) {
		if (t->node[i].parent == pool)
			sum += clamp(lambda * t->node[i].shares, t->low[i], t->cap[i]);
	}
	return sum;
}

static void divide(struct tree *t, int pool)
{
	double low = 0, high = 1;

	while (sum_at(t, pool, high) < t->node[pool].rate - EPSILON && high < 1e12)
		high *= 2;
	for (int i = 0; i < 2 * BISECTIONS; i++) {
		double middle = (low + high) / 2;

		if (sum_at(t, pool, middle) < t->node[pool].rate)
			low = middle;
		else
			high = middle;
	}
	for (unsigned i = 0; i < t->count; i++) {
		if (t->node[i].parent == pool)
			t->node[i].rate = clamp(high * t->node[i].shares, t->low[i], t->cap[i]);
	}
}

static bool solve_anywhere(struct tree *t)
{
	t->node[0].rate = t->cap[0];
	for (unsigned i = 0; i < t->count; i++) {
		if (!t->node[i].leaf)
			divide(t, (int)i);
	}
	return true;
}

/* ---- flow ---- */

/*
 * Vertices: the source, the tree's nodes, groups of CPUs, the sink. `room` is what
 * an edge still carries. Lower bounds on a tree: whatever low[i] exceeds the
 * sum of the children's enters at i, straight from the source; the edge from
 * the parent carries the rest up to the cap.
 */
struct flow {
	unsigned vertices;
	double *room; /* [from * vertices + to] */
	unsigned *queue;
	int *from;
};

struct groups {
	struct fluid_cpus member[FLUID_CPUS]; /* the leaves' sets agree on all of a group */
	unsigned count;
};

/* Splits groups until every leaf may use all of one or none. */
static void find_groups(const struct tree *t, const struct fluid_cpus *online, struct groups *g)
{
	*g = (struct groups){.count = 1};
	g->member[0] = *online;
	for (unsigned i = 0; i < t->count; i++) {
		unsigned before = g->count;

		for (unsigned k = 0; t->node[i].leaf && k < before; k++) {
			struct fluid_cpus inside = common(&g->member[k], &t->node[i].affinity);
			unsigned all = count_cpus(&g->member[k]), in = count_cpus(&inside);

			if (in == 0 || in == all)
				continue;
			for (unsigned w = 0; w < FLUID_CPUS / 64; w++)
				g->member[g->count].bit[w] = g->member[k].bit[w] & ~inside.bit[w];
			g->member[k] = inside;
			g->count++;
		}
	}
}

static double *room(struct flow *f, unsigned from, unsigned to)
{
	return &f->room[(size_t)from * f->vertices + to];
}

/*
 * Vertex numbers: 0 the source, 1 + i node i, then the groups, last the sink.
 * Returns what must leave the source, infinite when a bound is above its cap.
 */
static double load(struct flow *f, const struct tree *t, const struct groups *g)
{
	unsigned sink = f->vertices - 1;
	double *inner = calloc(t->count, sizeof *inner), wanted = 0;

	memset(f->room, 0, (size_t)f->vertices * f->vertices * sizeof *f->room);
	for (unsigned i = t->count; i-- > 0;) {
		const struct fluid_node *n = &t->node[i];
		double bound = fmax(t->low[i], inner[i]);

		*room(f, 0, 1 + i) = bound - inner[i];
		wanted += bound <= t->cap[i] + EPSILON ? bound - inner[i] : INFINITY;
		if (n->parent >= 0) {
			inner[n->parent] += bound;
			*room(f, 1 + (unsigned)n->parent, 1 + i) = fmax(0, t->cap[i] - bound);
		}
		for (unsigned k = 0; n->leaf && k < g->count; k++) {
			struct fluid_cpus usable = common(&g->member[k], &n->affinity);

			*room(f, 1 + i, 1 + t->count + k) = count_cpus(&usable) ? 1 : 0;
		}
	}
	for (unsigned k = 0; k < g->count; k++)
		*room(f, 1 + t->count + k, sink) = count_cpus(&g->member[k]);
	free(inner);
	return wanted;
}

/* Breadth first; true when the sink was reached. */
static bool find_path(struct flow *f)
{
	unsigned head = 0, tail = 0, sink = f->vertices - 1;

	for (unsigned v = 0; v < f->vertices; v++)
		f->from[v] = -1;
	f->from[0] = 0;
	f->queue[tail++] = 0;
	while (head < tail && f->from[sink] < 0) {
		unsigned v = f->queue[head++];

		for (unsigned w = 0; w < f->vertices; w++) {
			if (f->from[w] < 0 && *room(f, v, w) > 1e-13) {
				f->from[w] = (int)v;
				f->queue[tail++] = w;
			}
		}
	}
	return f->from[sink] >= 0;
}

static double push(struct flow *f)
{
	unsigned sink = f->vertices - 1;
	double least = INFINITY;

	for (unsigned v = sink; v != 0; v = (unsigned)f->from[v])
		least = fmin(least, *room(f, (unsigned)f->from[v], v));
	for (unsigned v = sink; v != 0; v = (unsigned)f->from[v]) {
		*room(f, (unsigned)f->from[v], v) -= least;
		*room(f, v, (unsigned)f->from[v]) += least;
	}
	return least;
}

/* Can all lower bounds be met at once? */
static bool feasible(struct flow *f, const struct tree *t, const struct groups *g)
{
	double wanted = load(f, t, g), carried = 0;

	while (isfinite(wanted) && carried < wanted - EPSILON && find_path(f))
		carried += push(f);
	return carried >= wanted - EPSILON;
}

/* ---- progressive filling ---- */

/* What shares are worth to @i: pools fill at speeds that let each finish at its own lambda = 1. */
static double speed(const struct tree *t, unsigned i)
{
	double sum = 0;

	for (unsigned k = 0; k < t->count; k++)
		sum += t->node[k].parent == t->node[i].parent ? t->node[k].shares : 0;
	return t->node[i].shares / sum * t->node[t->node[i].parent].rate;
}

struct filling {
	struct tree *t;
	struct flow f;
	struct groups g;
	unsigned *active, actives; /* nodes of this level whose bounds still rise */
	double *speed, *floor;
};

static bool try_lambda(struct filling *fill, double lambda)
{
	for (unsigned a = 0; a < fill->actives; a++) {
		unsigned i = fill->active[a];

		fill->t->low[i] = clamp(lambda * fill->speed[i], fill->floor[i], fill->t->cap[i]);
	}
	return feasible(&fill->f, fill->t, &fill->g);
}

/* Raises lambda as far as it goes, and returns it. */
static double raise_all(struct filling *fill, double low)
{
	double high = fmax(1, 2 * low);

	while (high < 1e9 && try_lambda(fill, high)) {
		low = high;
		high *= 2;
	}
	for (int i = 0; i < BISECTIONS; i++) {
		double middle = (low + high) / 2;

		if (try_lambda(fill, middle))
			low = middle;
		else
			high = middle;
	}
	low *= 1 - BACK_OFF;
	try_lambda(fill, low);
	return low;
}

/* Those who could not rise further keep what they have. */
static void freeze(struct filling *fill)
{
	unsigned left = 0;

	for (unsigned a = 0; a < fill->actives; a++) {
		unsigned i = fill->active[a];
		double now = fill->t->low[i];
		bool held = now >= fill->t->cap[i] - NUDGE;

		if (!held) {
			fill->t->low[i] = now + NUDGE;
			held = !feasible(&fill->f, fill->t, &fill->g);
			fill->t->low[i] = now;
		}
		if (!held)
			fill->active[left++] = i;
	}
	assert(left < fill->actives);
	fill->actives = left;
}

static unsigned depth(const struct tree *t, unsigned i)
{
	unsigned deep = 0;

	for (int p = t->node[i].parent; p >= 0; p = t->node[p].parent)
		deep++;
	return deep;
}

static void fill_level(struct filling *fill, unsigned level)
{
	struct tree *t = fill->t;
	double lambda = 0;

	fill->actives = 0;
	for (unsigned i = 0; i < t->count; i++) {
		if (depth(t, i) == level) {
			fill->speed[i] = speed(t, i);
			fill->floor[i] = t->low[i];
			fill->active[fill->actives++] = i;
		}
	}
	while (fill->actives) {
		lambda = raise_all(fill, lambda);
		freeze(fill);
	}
	for (unsigned i = 0; i < t->count; i++) {
		if (depth(t, i) == level) {
			/* Fixed, but for what rounding below it needs. */
			t->node[i].rate = t->low[i];
			t->cap[i] = fmin(t->cap[i], t->low[i] + SLACK);
			t->low[i] = fmax(0, t->low[i] - SLACK);
		}
	}
}

/* The root takes as much as can be used at all. */
static void fill_root(struct filling *fill)
{
	double floor = fill->t->low[0], low = floor, high = fill->t->cap[0];

	for (int i = 0; i < BISECTIONS; i++) {
		fill->t->low[0] = i ? (low + high) / 2 : high;
		if (feasible(&fill->f, fill->t, &fill->g))
			low = fill->t->low[0];
		else
			high = fill->t->low[0];
	}
	low = fmax(low * (1 - BACK_OFF), floor);
	fill->t->low[0] = fill->t->cap[0] = fill->t->node[0].rate = low;
}

static bool solve_by_flow(struct tree *t, const struct fluid_cpus *online)
{
	struct filling fill = {.t = t};
	unsigned levels = 0;
	bool ok;

	find_groups(t, online, &fill.g);
	fill.f.vertices = t->count + fill.g.count + 2;
	fill.f.room = calloc((size_t)fill.f.vertices * fill.f.vertices, sizeof *fill.f.room);
	fill.f.queue = calloc(fill.f.vertices, sizeof *fill.f.queue);
	fill.f.from = calloc(fill.f.vertices, sizeof *fill.f.from);
	fill.active = calloc(t->count, sizeof *fill.active);
	fill.speed = calloc(t->count, sizeof *fill.speed);
	fill.floor = calloc(t->count, sizeof *fill.floor);
	ok = feasible(&fill.f, t, &fill.g);
	if (ok)
		fill_root(&fill);
	for (unsigned i = 0; i < t->count; i++)
		levels = depth(t, i) > levels ? depth(t, i) : levels;
	for (unsigned level = 1; ok && level <= levels; level++)
		fill_level(&fill, level);
	free(fill.f.room);
	free(fill.f.queue);
	free(fill.f.from);
	free(fill.active);
	free(fill.speed);
	free(fill.floor);
	return ok;
}

/* ---- interface ---- */

static bool anywhere(const struct tree *t, const struct fluid_cpus *online)
{
	for (unsigned i = 0; i < t->count; i++) {
		struct fluid_cpus usable = common(&t->node[i].affinity, online);

		if (t->node[i].leaf && t->node[i].demand > 0 && memcmp(&usable, online, sizeof usable) != 0)
			return false;
	}
	return true;
}

static bool solve(struct fluid_node *node, unsigned count, const struct fluid_cpus *online, bool general)
{
	struct tree t = {.node = node, .count = count};
	bool ok;

	t.low = calloc(count, sizeof *t.low);
	t.cap = calloc(count, sizeof *t.cap);
	set_bounds(&t, count_cpus(online), online);
	ok = bounds_meet(&t);
	if (ok)
		ok = general || !anywhere(&t, online) ? solve_by_flow(&t, online) : solve_anywhere(&t);
	free(t.low);
	free(t.cap);
	return ok;
}

bool fluid_solve(struct fluid_node *node, unsigned count, const struct fluid_cpus *online)
{
	return solve(node, count, online, false);
}

bool fluid_solve_by_flow(struct fluid_node *node, unsigned count, const struct fluid_cpus *online)
{
	return solve(node, count, online, true);
}
