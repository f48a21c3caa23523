/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random adds, wakes, turns and removals on several CPUs against a naive
 * scheduler: arrays in order of arrival, and times summed by an observer that
 * looks at every tick interval itself.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "sched/sched.h"
#include "tests/fakes/sched_rig.h"
#include "tests/model/random.h"

#define CPUS 3u
#define ENTITIES 24u
#define STEPS 20000
#define SLICE 1000ull

struct naive_entity {
	enum sched_state state;
	unsigned cpu;
	bool pending;
	uint64_t used, waited, dispatches;
};

struct naive_cpu {
	unsigned queue[ENTITIES], count;
	int running; /* -1: idle */
	bool long_turn;
	uint64_t busy, idle;
};

static struct sched *s;
static struct sched_entity entity[ENTITIES];
static struct naive_entity naive[ENTITIES];
static struct naive_cpu cpus[CPUS];
static uint64_t now;

/* Every entity and CPU is credited for each interval by what it is at the time. */
static void pass_time(uint64_t ticks)
{
	now += ticks;
	for (unsigned i = 0; i < ENTITIES; i++) {
		naive[i].used += naive[i].state == SCHED_RUNNING ? ticks : 0;
		naive[i].waited += naive[i].state == SCHED_READY ? ticks : 0;
	}
	for (unsigned i = 0; i < CPUS; i++) {
		cpus[i].busy += cpus[i].running >= 0 ? ticks : 0;
		cpus[i].idle += cpus[i].running < 0 ? ticks : 0;
	}
}

static void queue_up(unsigned i)
{
	struct naive_cpu *c = &cpus[naive[i].cpu];

	naive[i].state = SCHED_READY;
	c->queue[c->count++] = i;
}

static void take_out(unsigned i)
{
	struct naive_cpu *c = &cpus[naive[i].cpu];
	unsigned at = 0;

	while (c->queue[at] != i)
		at++;
	memmove(&c->queue[at], &c->queue[at + 1], (c->count - at - 1) * sizeof c->queue[0]);
	c->count--;
}

static void do_add(struct random_state *r, unsigned i)
{
	if (naive[i].state != SCHED_DETACHED)
		return;
	naive[i] = (struct naive_entity){.state = SCHED_BLOCKED, .cpu = (unsigned)random_below(r, CPUS)};
	sched_add(s, &entity[i], "entity", naive[i].cpu, now);
}

static void do_remove(unsigned i)
{
	if (naive[i].state != SCHED_BLOCKED && naive[i].state != SCHED_READY)
		return;
	if (naive[i].state == SCHED_READY)
		take_out(i);
	naive[i].state = SCHED_DETACHED;
	assert_true(sched_remove(s, &entity[i]));
}

static void do_wake(unsigned i)
{
	struct naive_cpu *c = &cpus[naive[i].cpu];
	bool want = false;

	if (naive[i].state == SCHED_RUNNING)
		naive[i].pending = true;
	if (naive[i].state == SCHED_BLOCKED) {
		want = c->running < 0 || c->long_turn;
		queue_up(i);
	}
	assert_int_equal(sched_rig_wake(s, &entity[i], now), want);
}

static void do_pick(unsigned cpu)
{
	struct naive_cpu *c = &cpus[cpu];
	struct sched_entity *want = NULL, *got;
	uint64_t want_end = UINT64_MAX, end = 0;

	if (c->running >= 0)
		return;
	if (c->count > 0) {
		unsigned i = c->queue[0];

		take_out(i);
		c->running = (int)i;
		c->long_turn = c->count == 0;
		naive[i].state = SCHED_RUNNING;
		naive[i].pending = false;
		naive[i].dispatches++;
		want = &entity[i];
		want_end = now + SLICE * (c->long_turn ? SCHED_ALONE_SLICES : 1);
	}
	got = sched_pick(s, cpu, now, &end);
	assert_ptr_equal(got, want);
	assert_true(end == want_end);
}

static void do_charge(unsigned cpu, enum sched_end end)
{
	struct naive_cpu *c = &cpus[cpu];
	unsigned i = (unsigned)c->running;

	if (c->running < 0)
		return;
	c->running = -1;
	if (end == SCHED_END_READY || naive[i].pending)
		queue_up(i);
	else
		naive[i].state = SCHED_BLOCKED;
	naive[i].pending = false;
	sched_rig_end(s, cpu, &entity[i], now, end);
}

static void compare(void)
{
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		struct sched_cpu_stats stats;

		assert_int_equal(sched_others_ready(s, cpu), cpus[cpu].count > 0);
		sched_cpu_stats(s, cpu, &stats);
		assert_int_equal(stats.ready, cpus[cpu].count);
		assert_true(stats.busy + stats.idle <= cpus[cpu].busy + cpus[cpu].idle);
	}
	for (unsigned i = 0; i < ENTITIES; i++) {
		assert_int_equal(entity[i].state, naive[i].state);
		assert_true(entity[i].dispatches == naive[i].dispatches);
		if (naive[i].state == SCHED_BLOCKED)
			assert_true(entity[i].used == naive[i].used && entity[i].waited == naive[i].waited);
	}
	assert_true(sched_check(s));
}

/* Ends all turns and idle times, so that every tick has been given to someone. */
static void settle(void)
{
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		struct sched_cpu_stats stats;

		do_charge(cpu, SCHED_END_BLOCKED);
		do_pick(cpu);
		do_charge(cpu, SCHED_END_BLOCKED);
		sched_cpu_stats(s, cpu, &stats);
		assert_true(stats.busy == cpus[cpu].busy && stats.idle == cpus[cpu].idle);
	}
}

static void step(struct random_state *r)
{
	unsigned i = (unsigned)random_below(r, ENTITIES), cpu = (unsigned)random_below(r, CPUS);

	if (random_below(r, 3) != 0)
		pass_time(random_below(r, 500));
	switch (random_below(r, 12)) {
	case 0:
		do_add(r, i);
		break;
	case 1:
		if (random_below(r, 4) == 0)
			do_remove(i);
		break;
	case 2:
	case 3:
	case 4:
		do_wake(i);
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		do_pick(cpu);
		break;
	case 9:
	case 10:
		do_charge(cpu, SCHED_END_BLOCKED);
		break;
	default:
		do_charge(cpu, SCHED_END_READY);
	}
}

static void run(struct random_state *r)
{
	uint64_t end;

	memset(entity, 0, sizeof entity);
	memset(naive, 0, sizeof naive);
	memset(cpus, 0, sizeof cpus);
	now = random_below(r, UINT64_MAX / 2);
	s = sched_rig_new(CPUS, SLICE);
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		cpus[cpu].running = -1;
		assert_null(sched_pick(s, cpu, now, &end)); /* begins its time */
	}
	for (int i = 0; i < STEPS; i++) {
		step(r);
		compare();
	}
	settle();
	compare();
	free(s);
}

static void against_a_naive_scheduler(void **state)
{
	(void)state;
	random_runs(20, run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(against_a_naive_scheduler)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
