/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the time went. Every piece of a CPU's time goes to the entity that ran or
 * to idle, at the calls; entities keep their own counters and pools sum up when
 * asked, so that a turn writes nothing that CPUs share.
 */
#include "sched/internal.h"

static unsigned bucket_of(uint64_t ticks)
{
	return ticks ? MIN(bit_highest(ticks) + 1, SCHED_WAKE_BUCKETS - 1) : 0;
}

void account_wake_latency(struct sched_entity *e, uint64_t ticks)
{
	bump(&e->figures.wake_latency[bucket_of(ticks)], 1);
	bump(&e->figures.wake_ticks, ticks);
}

/* Figures are counters and nothing else. */
#define FIGURE_COUNT (sizeof(struct sched_figures) / sizeof(uint64_t))
_Static_assert(sizeof(struct sched_figures) % sizeof(uint64_t) == 0, "counters only");

void figures_add(struct sched_figures *sum, const struct sched_figures *more)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)more;

	for (size_t i = 0; i < FIGURE_COUNT; i++)
		poke(&to[i], to[i] + peek(&from[i]));
}

void figures_subtract(struct sched_figures *from, const struct sched_figures *less)
{
	uint64_t *to = (uint64_t *)from;
	const uint64_t *by = (const uint64_t *)less;

	for (size_t i = 0; i < FIGURE_COUNT; i++)
		poke(&to[i], to[i] - peek(&by[i]));
}

/* The part of the present state that is not yet in the counters. */
static void add_open(const struct sched_entity *e, uint64_t now, struct sched_figures *out)
{
	uint64_t open = now > e->since ? now - e->since : 0;

	if (e->state == SCHED_RUNNING)
		out->used += open;
	else if (e->state == SCHED_READY)
		out->waited += open;
	else if (e->state == SCHED_BLOCKED)
		out->blocked += open;
}

void sched_stats(struct sched *s, const struct sched_entity *e, struct sched_figures *out)
{
	struct sched_cpu *c = cpu_lock_home(s, e);

	*out = e->figures;
	add_open(e, c->now, out);
	lock_release(&c->lock);
}

void pool_sum_own(struct sched *s, const struct sched_pool *p, struct sched_figures *out)
{
	struct sched_figures one;

	list_for_each(leaf, &p->leaves) {
		sched_stats(s, list_entry(leaf, struct sched_entity, leaf), &one);
		figures_add(out, &one);
	}
}

void sched_pool_own_stats(struct sched *s, const struct sched_pool *p, struct sched_figures *out)
{
	*out = (struct sched_figures){0};
	lock_acquire(&s->lock);
	pool_sum_own(s, p, out);
	lock_release(&s->lock);
}

void sched_pool_left_stats(struct sched *s, const struct sched_pool *p, struct sched_figures *out)
{
	lock_acquire(&s->lock);
	*out = p->departed;
	lock_release(&s->lock);
}

void sched_pool_stats(struct sched *s, const struct sched_pool *top, struct sched_figures *out)
{
	lock_acquire(&s->lock);
	*out = top->departed;
	/* A VM's pool has none below it: looking at all pools for each VM would be the square of their number. */
	if (top->children == 0 && !s->unsettled) {
		pool_sum_own(s, top, out);
	} else {
		list_for_each(it, &s->pools) {
			const struct sched_pool *p = list_entry(it, struct sched_pool, node);

			if (pool_counts_in(&p->counted, top))
				pool_sum_own(s, p, out);
		}
	}
	lock_release(&s->lock);
}

void sched_pool_levels(struct sched *s, const struct sched_pool *p, struct sched_levels *out)
{
	uint64_t wanted = 0;

	/* At rest the last division stands, for those who had demand before (entitle.c). */
	for (unsigned cpu = 0; cpu < s->cpus; cpu++)
		wanted |= peek(&s->cpu[cpu].rate);
	*out = (struct sched_levels){.entitled = ppm_of_rate(peek(&p->entitled)),
				     .allowed = wanted ? ppm_of_rate(peek(&p->rate)) : 0};
}

void sched_cpu_stats(struct sched *s, unsigned cpu, struct sched_cpu_stats *out)
{
	struct sched_cpu *c = cpu_of(s, cpu);
	uint64_t busy;

	lock_acquire(&c->lock);
	busy = cpu_busy(c, c->now);
	*out = (struct sched_cpu_stats){
		.busy = busy,
		.idle = c->now - c->started - busy,
		.ready = c->waiting,
		.rate = ppm_of_rate(c->rate),
		.pulled = c->pulled,
		.behind = cpu_behind(c, c->now),
	};
	lock_release(&c->lock);
}

/* ---- counters ---- */

struct figures {
	uint64_t cpus, busy, idle, ready, migrations;
};

static void sum_cpus(const void *object, void *out)
{
	struct sched *s = (struct sched *)object;
	struct figures sum = {.cpus = s->cpus};

	for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
		struct sched_cpu_stats one;

		sched_cpu_stats(s, cpu, &one);
		sum.busy += one.busy;
		sum.idle += one.idle;
		sum.ready += one.ready;
		sum.migrations += one.pulled;
	}
	*(struct figures *)out = sum;
}

#define FIGURE(field, kind, measure, help) COUNTER(struct figures, field, #field, kind, measure, help)

static const struct counter rows[] = {
	FIGURE(cpus, COUNTER_GAUGE, MEASURE_COUNT, "Processors in use"),
	FIGURE(busy, COUNTER_TOTAL, MEASURE_TICKS, "Time that processors ran something"),
	FIGURE(idle, COUNTER_TOTAL, MEASURE_TICKS, "Time that processors had nothing to run"),
	FIGURE(ready, COUNTER_GAUGE, MEASURE_COUNT, "What waits for a processor now"),
	FIGURE(migrations, COUNTER_TOTAL, MEASURE_COUNT, "What waited on one processor and was taken over by another"),
};

const struct counter_table sched_counters = {
	.group = "host.cpu", .rows = rows, .count = ARRAY_SIZE(rows), .figures_bytes = sizeof(struct figures),
	.figures = sum_cpus,
};
