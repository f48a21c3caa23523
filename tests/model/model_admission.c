/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMs of one to four vcpus on four CPUs, whose numbers, affinities and cores are
 * tried, refused and put back as guest/vm_cpu.c does it: one vcpu after the other.
 * What was admitted must be admitted again when a change is undone, however far
 * it had come; and the walker finds everything in order after each step.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "sched/sched.h"
#include "tests/fakes/sched_rig.h"
#include "tests/model/random.h"

#define CPUS 4u
#define VMS 5u
#define VCPUS_MAX 4u
#define STEPS 3000u
#define SLICE 5000ull
#define HOST_PART (SCHED_ONE_CPU / 5)

struct settings {
	struct rls numbers;
	struct sched_attr attr;
};

static struct sched *s;
static struct random_state *source;
static struct sched_pool host_pool;
static struct sched_entity host_task;

static struct vm {
	bool runs;
	unsigned count;
	struct settings now;
	struct sched_pool pool;
	struct sched_entity vcpu[VCPUS_MAX];
} vm[VMS];

static unsigned below(unsigned n) { return (unsigned)random_below(source, n); }

static struct settings random_settings(unsigned count)
{
	static const uint64_t reservations[] = {0, 0, 0, 100000, 500000, 1000000, 2500000};
	struct settings new = {.numbers = {.limit = SCHED_NO_LIMIT, .shares = 1000}};

	new.numbers.reservation = reservations[below(ARRAY_SIZE(reservations))];
	if (new.numbers.reservation > (uint64_t)count * SCHED_ONE_CPU)
		new.numbers.reservation = 0;
	new.attr = (struct sched_attr){.exclusive = below(3) == 0, .gang = count > 1};
	for (unsigned cpu = 0; cpu < CPUS && below(2); cpu++)
		cpuset_add(&new.attr.affinity, below(CPUS));
	return new;
}

static enum status set_all(struct vm *v, const struct settings *to, struct error *err)
{
	enum status st = sched_pool_set(s, &v->pool, &to->numbers, err);

	for (unsigned i = 0; i < v->count && st == ST_OK; i++)
		st = sched_set_attr(s, &v->vcpu[i], &to->attr, 1000, err);
	return st;
}

/* The way back is through the states that were admitted on the way there. */
static enum status put_back(struct vm *v, struct error *err)
{
	enum status st = ST_OK;

	for (unsigned i = v->count; i-- > 0 && st == ST_OK;)
		st = sched_set_attr(s, &v->vcpu[i], &v->now.attr, 1000, err);
	return st == ST_OK ? sched_pool_set(s, &v->pool, &v->now.numbers, err) : st;
}

/* All of it, or nothing. */
static void change(struct vm *v)
{
	struct settings to = random_settings(v->count);
	struct error err;

	/* One at a time, as settings are. */
	if (below(2))
		to.numbers = v->now.numbers;
	else
		to.attr = v->now.attr;
	if (set_all(v, &to, &err) == ST_OK && below(2)) {
		v->now = to;
		return;
	}
	if (put_back(v, &err) != ST_OK)
		fail_msg("what was in force is refused: %s", err.text);
}

static void stop(struct vm *v)
{
	struct error err;

	for (unsigned i = 0; i < v->count; i++)
		if (v->vcpu[i].state != SCHED_DETACHED)
			assert_true(sched_remove(s, &v->vcpu[i]));
	assert_int_equal(sched_pool_remove(s, &v->pool, &err), ST_OK);
	v->runs = false;
}

static void start(struct vm *v)
{
	struct error err;
	enum status st;

	memset(v, 0, sizeof *v);
	v->count = 1 + below(VCPUS_MAX);
	v->now = random_settings(v->count);
	if (sched_pool_add(s, &v->pool, NULL, "vm", &v->now.numbers, &err) != ST_OK)
		return;
	st = ST_OK;
	for (unsigned i = 0; i < v->count && st == ST_OK; i++)
		st = sched_add(s, &v->vcpu[i], &v->pool, "vcpu", &v->now.attr, 1000, &err);
	v->runs = true;
	if (st != ST_OK)
		stop(v);
}

static void step(void)
{
	struct vm *v = &vm[below(VMS)];

	if (!v->runs)
		start(v);
	else if (below(12) == 0)
		stop(v);
	else
		change(v);
	assert_true(sched_check(s));
}

/* The host's own task stays on CPU 0, and has a part of it. */
static void add_host(void)
{
	const struct rls part = {.reservation = HOST_PART, .limit = SCHED_NO_LIMIT, .shares = 400};
	struct sched_attr home = {.exclusive = false};
	struct error err;

	memset(&host_pool, 0, sizeof host_pool);
	memset(&host_task, 0, sizeof host_task);
	cpuset_add(&home.affinity, 0);
	assert_int_equal(sched_pool_add(s, &host_pool, NULL, "system", &part, &err), ST_OK);
	assert_int_equal(sched_add(s, &host_task, &host_pool, "control", &home, 1000, &err), ST_OK);
}

static void one_run(struct random_state *r)
{
	source = r;
	memset(vm, 0, sizeof vm);
	s = sched_rig_new(CPUS, SLICE);
	add_host();
	for (unsigned i = 0; i < STEPS; i++)
		step();
	free(s);
}

static void changes_can_be_undone(void **state)
{
	(void)state;
	random_runs(20, one_run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(changes_can_be_undone)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
