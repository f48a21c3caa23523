/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations on several CPUs, each followed by the walker, and an observer
 * that credits every interval of time itself. What must hold whatever the policy
 * is: nobody runs on two CPUs, where he may not, while another CPU holds him or on somebody else's core, no wake is
 * lost, and every tick is accounted for. How time is divided is another model's.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "sched/sched.h"
#include "tests/fakes/sched_rig.h"
#include "tests/model/random.h"

#define CPUS 4u
#define ENTITIES 24u
#define POOLS 6u
#define STEPS 40000
#define SLICE 1000ull

struct observed {
	bool added, pending;
	enum sched_state state;
	uint64_t used, waited, blocked;
	struct cpuset affinity; /* empty: anywhere */
	int held;               /* -1: by nobody */
	bool exclusive;
	int core;               /* of one that is exclusive, once it has been seen there; else -1 */
};

static struct sched *s;
static struct sched_entity entity[ENTITIES];
static struct sched_pool pool[POOLS];
static bool pool_added[POOLS];
static struct observed seen[ENTITIES];
static int running[CPUS];
static uint64_t now, busy[CPUS], idle[CPUS];
static struct error err;
static struct random_state *random_source;

static unsigned below(unsigned n)
{
	return (unsigned)random_below(random_source, n);
}

static void pass_time(uint64_t ticks)
{
	now += ticks;
	for (unsigned i = 0; i < ENTITIES; i++) {
		if (!seen[i].added)
			continue;
		seen[i].used += seen[i].state == SCHED_RUNNING ? ticks : 0;
		seen[i].waited += seen[i].state == SCHED_READY ? ticks : 0;
		seen[i].blocked += seen[i].state == SCHED_BLOCKED ? ticks : 0;
	}
	for (unsigned i = 0; i < CPUS; i++) {
		busy[i] += running[i] >= 0 ? ticks : 0;
		idle[i] += running[i] < 0 ? ticks : 0;
	}
}

/* ---- operations ---- */

static struct sched_attr random_attr(void)
{
	struct sched_attr attr = {.latency = below(4) == 0, .gang = below(2), .exclusive = below(12) == 0};

	for (unsigned cpu = 0; below(2) && cpu < CPUS; cpu++) {
		if (below(2))
			cpuset_add(&attr.affinity, cpu);
	}
	return attr;
}

static struct sched_pool *random_pool(void)
{
	unsigned i = below(POOLS);

	return pool_added[i] ? &pool[i] : NULL;
}

static struct rls random_numbers(void)
{
	struct rls n = {.limit = SCHED_NO_LIMIT, .shares = 1 + below(5000)};

	if (below(3) == 0)
		n.reservation = below(400000);
	if (below(3) == 0)
		n.limit = n.reservation + 1 + below(900000);
	return n;
}

static void do_pool(unsigned i)
{
	struct rls n = random_numbers();

	if (!pool_added[i]) {
		memset(&pool[i], 0, sizeof pool[i]);
		pool_added[i] = sched_pool_add(s, &pool[i], i ? random_pool() : NULL, "pool", &n, &err) == ST_OK;
		return;
	}
	switch (below(3)) {
	case 0:
		pool_added[i] = sched_pool_remove(s, &pool[i], &err) != ST_OK;
		break;
	case 1:
		assert_int_not_equal(sched_pool_set(s, &pool[i], &n, &err), ST_INVALID);
		break;
	default:
		(void)!sched_pool_move(s, &pool[i], random_pool(), &err);
	}
}

static void note_attr(unsigned i, const struct sched_attr *attr)
{
	seen[i].affinity = attr->affinity;
	seen[i].exclusive = attr->exclusive;
	seen[i].core = -1;
}

static void do_add(unsigned i)
{
	struct sched_attr attr = random_attr();

	memset(&entity[i], 0, sizeof entity[i]);
	if (sched_add(s, &entity[i], random_pool(), "entity", &attr, now, &err) != ST_OK)
		return;
	seen[i] = (struct observed){.added = true, .state = SCHED_BLOCKED, .held = -1};
	note_attr(i, &attr);
}

static void do_remove(unsigned i)
{
	bool free = seen[i].state != SCHED_RUNNING && seen[i].held < 0;

	assert_int_equal(sched_remove(s, &entity[i]), free);
	if (!free)
		return;
	assert_true(entity[i].figures.used == seen[i].used);
	/* Its CPU's clock stands where it was called last. */
	assert_true(entity[i].figures.waited <= seen[i].waited);
	seen[i].added = false;
}

static void do_wake(unsigned i)
{
	sched_wake(s, &entity[i], now);
	if (seen[i].state == SCHED_BLOCKED)
		seen[i].state = SCHED_READY;
	else if (seen[i].state == SCHED_RUNNING)
		seen[i].pending = true;
}

static void do_attr(unsigned i)
{
	struct sched_attr attr = random_attr();

	if (sched_set_attr(s, &entity[i], &attr, now, &err) == ST_OK)
		note_attr(i, &attr);
}

static void release(unsigned cpu, unsigned i)
{
	sched_release(s, cpu, &entity[i]);
	seen[i].held = -1;
}

/* What the CPU loop does: whoever was here last is put when another one comes or somebody waits for it. */
static void put_last(unsigned cpu, int next)
{
	for (unsigned i = 0; i < ENTITIES; i++) {
		if (seen[i].added && seen[i].held == (int)cpu && (int)i != next && (next >= 0 || entity[i].release_due))
			release(cpu, i);
	}
}

/* Who has a core of his own stays there, and nobody else comes. */
static void check_cores(unsigned cpu, unsigned i)
{
	for (unsigned other = 0; other < ENTITIES; other++)
		assert_false(other != i && seen[other].added && seen[other].exclusive && seen[other].core == (int)cpu);
	if (!seen[i].exclusive)
		return;
	assert_true(seen[i].core < 0 || seen[i].core == (int)cpu);
	seen[i].core = (int)cpu;
}

static void do_pick(unsigned cpu)
{
	uint64_t end;
	struct sched_entity *e = sched_pick(s, cpu, now, &end);
	int i = e ? (int)(e - entity) : -1;

	assert_true(end > now);
	if (e) {
		assert_true(seen[i].added && seen[i].state == SCHED_READY);
		assert_true(cpuset_empty(&seen[i].affinity) || cpuset_has(&seen[i].affinity, cpu));
		assert_true(seen[i].held < 0 || seen[i].held == (int)cpu);
		check_cores(cpu, (unsigned)i);
		seen[i].state = SCHED_RUNNING;
	}
	put_last(cpu, i);
	if (e)
		seen[i].held = (int)cpu;
	running[cpu] = i;
}

static void do_charge(unsigned cpu)
{
	unsigned i = (unsigned)running[cpu];
	enum sched_end end = below(3) ? SCHED_END_READY : SCHED_END_BLOCKED;

	entity[i].progress += below(SLICE);
	if (end == SCHED_END_READY && below(4) == 0)
		sched_yield_to(s, cpu, below(2) ? &entity[below(ENTITIES)] : NULL);
	sched_charge(s, cpu, now, end);
	seen[i].state = end == SCHED_END_READY || seen[i].pending ? SCHED_READY : SCHED_BLOCKED;
	seen[i].pending = false;
	running[cpu] = -1;
}

static void do_turn(unsigned cpu)
{
	if (running[cpu] >= 0)
		do_charge(cpu);
	do_pick(cpu);
}

/* ---- the observer ---- */

static void compare(void)
{
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		struct sched_cpu_stats stats;

		/* Bring its time up to now. */
		do_turn(cpu);
		sched_cpu_stats(s, cpu, &stats);
		assert_true(stats.busy == busy[cpu] && stats.idle == idle[cpu]);
	}
	for (unsigned i = 0; i < ENTITIES; i++) {
		struct sched_figures f;

		if (!seen[i].added)
			continue;
		assert_int_equal(entity[i].state, seen[i].state);
		sched_stats(s, &entity[i], &f);
		assert_true(f.used == seen[i].used && f.waited == seen[i].waited && f.blocked == seen[i].blocked);
		assert_true(f.limited + f.costopped <= f.waited);
	}
}

static void step(void)
{
	unsigned i = below(ENTITIES);

	/* All clocks are one here: a CPU that is behind counts the time when it is called next. */
	pass_time(below(SLICE / 2));
	switch (below(16)) {
	case 0:
		seen[i].added ? do_remove(i) : do_add(i);
		break;
	case 1:
		if (seen[i].added)
			do_attr(i);
		break;
	case 2:
		do_pool(below(POOLS));
		break;
	case 3: case 4: case 5:
		if (seen[i].added)
			do_wake(i);
		break;
	default:
		do_turn(below(CPUS));
	}
}

static void one_run(struct random_state *r)
{
	random_source = r;
	s = sched_rig_new(CPUS, SLICE);
	memset(entity, 0, sizeof entity);
	memset(seen, 0, sizeof seen);
	memset(pool_added, 0, sizeof pool_added);
	memset(busy, 0, sizeof busy);
	memset(idle, 0, sizeof idle);
	now = 1;
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		do_pick(cpu);
	for (unsigned i = 0; i < STEPS; i++) {
		step();
		assert_true(sched_check(s));
		if (i % 64 == 0) {
			sched_set_switches(s, below(4) ? 0 : below(512));
			compare();
		}
	}
	free(s);
}

static void random_operations(void **state)
{
	(void)state;
	random_runs(4, one_run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(random_operations)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
