/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns by hand: order and slices, the long turn of a lone entity, wake races,
 * what a CPU holds, accounting, limits, the latency class, affinity, exclusive
 * cores, and that the walker sees broken structures.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "sched/internal.h"
#include "sched/sched.h"
#include "tests/expect_panic.h"
#include "tests/fakes/sched_rig.h"

#define SLICE 100ull
#define CPUS 2u

static struct sched *s;
static struct sched_entity a, b, c;
static struct error err;
static uint64_t end;

/* On one CPU, with no affinity when that is CPUS. */
static void add(struct sched_entity *e, const char *name, unsigned cpu)
{
	struct sched_attr attr = {.exclusive = false};

	memset(e, 0, sizeof *e);
	if (cpu < CPUS)
		cpuset_add(&attr.affinity, cpu);
	assert_int_equal(sched_add(s, e, NULL, name, &attr, 1000, &err), ST_OK);
}

static int setup_with(unsigned cpus)
{
	s = sched_rig_new(cpus, SLICE);
	add(&a, "a", 0);
	add(&b, "b", 0);
	add(&c, "c", 0);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_with(1);
}

static int setup_two(void **state)
{
	(void)state;
	return setup_with(CPUS);
}

static int teardown(void **state)
{
	(void)state;
	assert_true(sched_check(s));
	free(s);
	return 0;
}

/* Ends the turn at @now and says what comes then. */
static struct sched_entity *turn(unsigned cpu, struct sched_entity *e, uint64_t now, enum sched_end how)
{
	sched_rig_end(s, cpu, e, now, how);
	return sched_pick(s, cpu, now, &end);
}

/* Runs turns until @until, everybody burning; who got how much is in the entities. */
static void burn(uint64_t now, uint64_t until)
{
	struct sched_entity *e = sched_pick(s, 0, now, &end);

	while (now < until) {
		now = MIN(end, until);
		if (e)
			sched_rig_end(s, 0, e, now, SCHED_END_READY);
		e = sched_pick(s, 0, now, &end);
	}
	if (e)
		sched_rig_end(s, 0, e, now, SCHED_END_READY);
}

static bool within(uint64_t got, uint64_t want, uint64_t by)
{
	return got + by >= want && got <= want + by;
}

static struct sched_pool pool_of_a, pool_of_b;

/* @e, BLOCKED, below a pool of its own with these numbers. */
static void into_pool(struct sched_entity *e, struct sched_pool *p, struct rls numbers)
{
	assert_true(sched_remove(s, e));
	memset(p, 0, sizeof *p);
	assert_int_equal(sched_pool_add(s, p, NULL, "pool", &numbers, &err), ST_OK);
	assert_int_equal(sched_add(s, e, p, "in a pool", NULL, 1000, &err), ST_OK);
}

/* ---- turns ---- */

static void equals_take_turns(void **state)
{
	struct sched_figures of_a;

	(void)state;
	assert_true(sched_rig_wake(s, &b, 1000));
	sched_wake(s, &a, 1000);
	sched_wake(s, &c, 1000);
	burn(1000, 1000 + 30 * SLICE);
	assert_true(within(a.figures.used, 10 * SLICE, SLICE));
	assert_true(within(b.figures.used, 10 * SLICE, SLICE));
	assert_true(within(c.figures.used, 10 * SLICE, SLICE));
	assert_true(a.figures.used + b.figures.used + c.figures.used == 30 * SLICE);
	sched_stats(s, &a, &of_a);
	assert_true(of_a.waited + of_a.used == 30 * SLICE);
}

static void a_turn_is_a_slice_while_others_wait(void **state)
{
	(void)state;
	sched_wake(s, &a, 1000);
	sched_wake(s, &b, 1000);
	assert_non_null(sched_pick(s, 0, 1000, &end));
	assert_true(end > 1000 && end <= 1000 + SLICE);
	assert_true(sched_others_ready(s, 0));
	sched_charge(s, 0, end, SCHED_END_READY);
}

/* What the CPU does between two turns is paid by the one before, in the figures and in what it is due. */
static void pays_for_what_comes_after(enum sched_end how)
{
	const uint64_t after = SLICE / 10;
	struct sched_cpu_stats cpu;
	struct sched_figures of_a;
	struct sched_entity *e;
	uint64_t now = 1000;

	sched_wake(s, &a, now);
	sched_wake(s, &b, now);
	while (now < 1000 + 400 * SLICE) {
		e = sched_pick(s, 0, now, &end);
		now = e == &a ? now + after : end;
		sched_charge(s, 0, now, e == &a ? how : SCHED_END_READY);
		if (e == &a)
			now += after;
		sched_wake(s, &a, now);
	}
	assert_non_null(sched_pick(s, 0, now, &end));
	sched_charge(s, 0, now, SCHED_END_READY);
	sched_stats(s, &a, &of_a);
	sched_cpu_stats(s, 0, &cpu);
	assert_int_equal(cpu.idle, 0);
	assert_true(within(a.figures.used, 200 * SLICE, 4 * SLICE));
	assert_true(a.figures.used + b.figures.used == cpu.busy);
	assert_true(of_a.used + of_a.waited + of_a.blocked <= now - 1000);
}

static void the_time_after_a_turn_is_its_own(void **state)
{
	(void)state;
	pays_for_what_comes_after(SCHED_END_READY);
}

/* A limit holds from the end of that time on: nobody is held back for longer than he waits. */
static void nor_is_it_time_under_a_limit(void **state)
{
	struct rls half = {.limit = 500000, .shares = SCHED_SHARES_DEFAULT};
	struct sched_figures of_a;
	struct sched_entity *e;
	uint64_t now = 1000;

	(void)state;
	into_pool(&a, &pool_of_a, half);
	sched_wake(s, &a, now);
	while (now < 1000 + 100 * SLICE) {
		e = sched_pick(s, 0, now, &end);
		now = end;
		if (e)
			sched_charge(s, 0, now, SCHED_END_READY);
		now += e ? SLICE / 10 : 0;
	}
	e = sched_pick(s, 0, now, &end);
	if (e)
		sched_charge(s, 0, now, SCHED_END_BLOCKED);
	sched_stats(s, &a, &of_a);
	assert_true(of_a.limited > 0 && of_a.limited <= of_a.waited);
	assert_true(of_a.used + of_a.waited + of_a.blocked <= now - 1000);
	sched_release(s, 0, &a);
	assert_true(sched_remove(s, &a));
	assert_int_equal(sched_pool_remove(s, &pool_of_a, &err), ST_OK);
}

static void so_is_the_time_after_a_block(void **state)
{
	(void)state;
	pays_for_what_comes_after(SCHED_END_BLOCKED);
}

/* Who looked at the clock, and then waited for a lock, takes somebody from a CPU whose clock is further on. */
static void nobody_waits_and_runs_at_a_time(void **state)
{
	const struct sched_attr anywhere = {.exclusive = false};
	struct sched_figures of_a;
	struct sched_cpu_stats of_cpu;

	(void)state;
	assert_true(sched_rig_wake(s, &b, 1000));
	assert_ptr_equal(sched_pick(s, 0, 1000, &end), &b);
	sched_wake(s, &a, 1010);
	assert_int_equal(sched_set_attr(s, &a, &anywhere, 1010, &err), ST_OK);
	sched_charge(s, 0, 1080, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 1, 1050, &end), &a);
	sched_charge(s, 1, 1150, SCHED_END_BLOCKED);
	sched_stats(s, &a, &of_a);
	assert_true(of_a.blocked == 10 && of_a.waited == 70 && of_a.used == 70);
	sched_cpu_stats(s, 1, &of_cpu);
	assert_true(of_cpu.busy == 70);
}

/*
 * One of a pool wakes its siblings in each of its turns, and they block again: whatever rate they wake with comes out
 * of what the pool is due, not of the neighbour's.
 */
static void the_rate_of_who_wakes_is_his_pools(void **state)
{
	static struct sched_entity d;
	struct sched_entity *siblings[] = {&a, &c, &d};
	const struct rls numbers = {.limit = SCHED_NO_LIMIT, .shares = SCHED_SHARES_DEFAULT};
	struct sched_attr attr = {.gang = true};
	uint64_t now = 1000;

	(void)state;
	cpuset_add(&attr.affinity, 0);
	add(&d, "d", 0);
	memset(&pool_of_a, 0, sizeof pool_of_a);
	memset(&pool_of_b, 0, sizeof pool_of_b);
	assert_int_equal(sched_pool_add(s, &pool_of_a, NULL, "wakes", &numbers, &err), ST_OK);
	assert_int_equal(sched_pool_add(s, &pool_of_b, NULL, "burns", &numbers, &err), ST_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(siblings); i++) {
		assert_true(sched_remove(s, siblings[i]));
		assert_int_equal(sched_add(s, siblings[i], &pool_of_a, "sibling", &attr, now, &err), ST_OK);
	}
	assert_true(sched_remove(s, &b));
	assert_int_equal(sched_add(s, &b, &pool_of_b, "burner", &attr, now, &err), ST_OK);
	sched_wake(s, &a, now);
	sched_wake(s, &b, now);
	while (now < 1000 + 400 * SLICE) {
		struct sched_entity *e = sched_pick(s, 0, now, &end);

		assert_non_null(e);
		now = e == &b ? end : MIN(end, now + SLICE / 3);
		if (e == &a) {
			sched_wake(s, &c, now);
			sched_wake(s, &d, now);
		}
		sched_rig_end(s, 0, e, now, e == &a || e == &b ? SCHED_END_READY : SCHED_END_BLOCKED);
	}
	assert_true(b.figures.used >= 196 * SLICE);
}

/* Turns end late; what is left of a request then may be less than a switch costs. */
static void no_turn_is_next_to_nothing(void **state)
{
	uint64_t now = 1000;

	(void)state;
	sched_wake(s, &a, now);
	sched_wake(s, &b, now);
	for (unsigned i = 0; i < 1000; i++) {
		assert_non_null(sched_pick(s, 0, now, &end));
		assert_true(end - now >= SLICE / 8);
		now = end + i % 97;
		sched_charge(s, 0, now, SCHED_END_READY);
	}
	assert_true(within(a.figures.used, b.figures.used, 2 * SLICE));
}

/*
 * Two witnesses share a CPU with a VM whose first vcpu starts its siblings again and again and spins until they have
 * done a little and sleep. Whoever is yielded to runs before his time, and who sleeps does so in debt: all of it is
 * paid. A switch takes a quarter of a slice.
 */
static struct sched_pool spinners, of_witness[2];
static struct sched_entity spinner[4], witness[2];

static void spinners_start(uint64_t now)
{
	const struct rls numbers = {.limit = SCHED_NO_LIMIT, .shares = SCHED_SHARES_DEFAULT};
	struct sched_attr alone = {.gang = false}, gang = {.gang = true};

	cpuset_add(&alone.affinity, 1);
	cpuset_add(&gang.affinity, 1);
	memset(&spinners, 0, sizeof spinners);
	assert_int_equal(sched_pool_add(s, &spinners, NULL, "spins", &numbers, &err), ST_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(spinner); i++) {
		memset(&spinner[i], 0, sizeof spinner[i]);
		assert_int_equal(sched_add(s, &spinner[i], &spinners, "sibling", &gang, now, &err), ST_OK);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(witness); i++) {
		memset(&of_witness[i], 0, sizeof of_witness[i]);
		memset(&witness[i], 0, sizeof witness[i]);
		assert_int_equal(sched_pool_add(s, &of_witness[i], NULL, "burns", &numbers, &err), ST_OK);
		assert_int_equal(sched_add(s, &witness[i], &of_witness[i], "witness", &alone, now, &err), ST_OK);
		sched_wake(s, &witness[i], now);
	}
	sched_wake(s, &spinner[0], now);
}

static uint64_t work[ARRAY_SIZE(spinner)]; /* that each has to do before it sleeps */

static void start_siblings(uint64_t now)
{
	for (unsigned i = 1; i < ARRAY_SIZE(spinner); i++) {
		work[i] = SLICE / 20;
		sched_wake(s, &spinner[i], now);
	}
}

/* When the turn of @e is over that begins, after the switch, at @now, and how it ends. */
static uint64_t play(struct sched_entity *e, uint64_t now, enum sched_end *how)
{
	uint64_t *mine;

	*how = SCHED_END_READY;
	if (e->pool != &spinners)
		return end;
	if (e == &spinner[0]) {
		if (!(work[1] | work[2] | work[3]))
			start_siblings(now);
		sched_yield_to(s, 1, NULL);
		return MIN(now + SLICE / 5, end);
	}
	mine = &work[e - spinner];
	if (*mine > end - now) {
		*mine -= end - now;
		return end;
	}
	now += *mine;
	*mine = 0;
	*how = SCHED_END_BLOCKED;
	return now;
}

static void spinning_pays_for_itself(void **state)
{
	const uint64_t start = 1000, stop = start + 4000 * SLICE, part = (stop - start) / 3;
	uint64_t now = start;
	enum sched_end how;

	(void)state;
	memset(work, 0, sizeof work);
	spinners_start(now);
	while (now < stop) {
		struct sched_entity *e = sched_pick(s, 1, now, &end);

		assert_non_null(e);
		end += SLICE / 4;
		now = play(e, now + SLICE / 4, &how);
		sched_charge(s, 1, now, how);
	}
	assert_true(witness[0].figures.used >= part / 100 * 98);
	assert_true(witness[1].figures.used >= part / 100 * 98);
}

static void a_lone_entity_has_a_long_turn(void **state)
{
	struct sched_entity *e;

	(void)state;
	sched_wake(s, &a, 1000);
	assert_ptr_equal(sched_pick(s, 0, 1000, &end), &a);
	assert_true(end == 1000 + SLICE * SCHED_ALONE_SLICES);
	assert_false(sched_others_ready(s, 0));
	assert_true(sched_rig_wake(s, &b, 1050)); /* solitude ends: choose again */
	e = turn(0, &a, 1050, SCHED_END_READY);
	assert_ptr_equal(e, &b);
	assert_true(end <= 1050 + SLICE);
	assert_false(sched_rig_wake(s, &b, 1060)); /* it runs */
	sched_charge(s, 0, 1060, SCHED_END_READY);
}

static void nothing_to_do(void **state)
{
	struct sched_cpu_stats stats;

	(void)state;
	assert_null(sched_pick(s, 0, 1010, &end));
	assert_true(end == UINT64_MAX);
	assert_null(sched_pick(s, 0, 1040, &end));
	sched_cpu_stats(s, 0, &stats);
	assert_true(stats.idle == 40 && stats.busy == 0 && stats.ready == 0);
	assert_null(sched_pick(s, 1, 5, &end)); /* a CPU's time begins with its first call */
	sched_cpu_stats(s, 1, &stats);
	assert_true(stats.idle == 0);
}

/* Its first request is a short one, with a near deadline. */
static void who_wakes_runs_before_who_had_his_share(void **state)
{
	struct sched_entity *e;

	(void)state;
	sched_wake(s, &a, 1000);
	sched_wake(s, &b, 1000);
	burn(1000, 1000 + 10 * SLICE);
	e = sched_pick(s, 0, 2000, &end);
	assert_non_null(e);
	sched_wake(s, &c, 2010);
	assert_ptr_equal(turn(0, e, end, SCHED_END_READY), &c);
	assert_true(end <= c.since + SLICE / 4);
	sched_charge(s, 0, c.since + 10, SCHED_END_BLOCKED);
}

/* A lone burner has borrowed everything; who is entitled to half of it gets it back at once, by a kick. */
static void what_was_lent_comes_back_at_once(void **state)
{
	struct sched_entity *e;

	(void)state;
	sched_wake(s, &a, 1000);
	e = sched_pick(s, 0, 1000, &end);
	assert_ptr_equal(e, &a);
	assert_true(sched_rig_wake(s, &b, 1500));
	assert_ptr_equal(turn(0, e, 1500, SCHED_END_READY), &b);
	sched_charge(s, 0, 1510, SCHED_END_BLOCKED);
}

/* A sleeper saves nothing up: after any sleep it is at most half a slice ahead of where it was. */
static void credit_is_bounded(void **state)
{
	(void)state;
	sched_wake(s, &a, 1000);
	burn(1000, 1000 + 100 * SLICE);
	sched_wake(s, &b, 1000 + 100 * SLICE);
	burn(1000 + 100 * SLICE, 1000 + 120 * SLICE);
	assert_true(within(b.figures.used, 10 * SLICE, SLICE + SLICE / 2));
}

/* Who asks for less at a time has shorter turns, of the same time in all, and a claim of half of that after a sleep. */
static void who_asks_for_less(void **state)
{
	struct sched_attr less = {.request = SLICE / 5}, plain = {.request = 0};
	struct sched_entity *e;
	uint64_t now = 1000;

	(void)state;
	assert_int_equal(sched_set_attr(s, &b, &less, now, &err), ST_OK);
	sched_wake(s, &a, now);
	sched_wake(s, &b, now);
	e = sched_pick(s, 0, now, &end);
	while (now < 1000 + 100 * SLICE) {
		assert_true(end - now <= (e == &b ? SLICE / 5 : SLICE));
		now = end;
		e = turn(0, e, now, SCHED_END_READY);
	}
	assert_true(within(b.figures.used, 50 * SLICE, SLICE));
	sched_rig_end(s, 0, e, now, SCHED_END_READY);
	while ((e = sched_pick(s, 0, now, &end)) != &b)
		sched_rig_end(s, 0, e, now = end, SCHED_END_READY);
	sched_rig_end(s, 0, &b, ++now, SCHED_END_BLOCKED);
	b.lag = 10 * SLICE;
	sched_wake(s, &b, now + 10);
	assert_true(within((uint64_t)lag_of(&s->cpu[0], &b), SLICE / 10, 1));
	assert_ptr_equal(sched_pick(s, 0, now + 10, &end), &b);
	sched_rig_end(s, 0, &b, now + 11, SCHED_END_BLOCKED);
	assert_int_equal(sched_set_attr(s, &b, &plain, now + 11, &err), ST_OK);
	b.lag = 10 * SLICE;
	sched_wake(s, &b, now + 20);
	assert_true(within((uint64_t)lag_of(&s->cpu[0], &b), SLICE / 2, 1));
}

static void a_wake_that_races_with_a_block_is_kept(void **state)
{
	(void)state;
	sched_wake(s, &a, 1000);
	assert_ptr_equal(sched_pick(s, 0, 1000, &end), &a);
	assert_false(sched_rig_wake(s, &a, 1010));
	assert_true(a.wake_pending);
	assert_ptr_equal(turn(0, &a, 1020, SCHED_END_BLOCKED), &a);
	assert_false(a.wake_pending);
	assert_null(turn(0, &a, 1030, SCHED_END_BLOCKED)); /* one wake is good for one turn */
	assert_int_equal(a.state, SCHED_BLOCKED);
	assert_true(a.figures.used == 30);
}

static void wakes_of_ready_and_detached_change_nothing(void **state)
{
	(void)state;
	sched_wake(s, &a, 1000);
	assert_false(sched_rig_wake(s, &a, 1005));
	assert_true(a.since == 1000);
	assert_true(sched_remove(s, &a));
	assert_false(sched_rig_wake(s, &a, 1010));
	assert_int_equal(a.state, SCHED_DETACHED);
	assert_null(sched_pick(s, 0, 1020, &end));
}

static void removal_keeps_the_sums(void **state)
{
	struct sched_figures all;

	(void)state;
	sched_wake(s, &a, 1000);
	sched_pick(s, 0, 1000, &end);
	assert_false(sched_remove(s, &a)); /* it runs */
	assert_true(a.release_due);
	sched_charge(s, 0, 1500, SCHED_END_READY);
	assert_false(sched_remove(s, &a)); /* its state is still in the CPU */
	sched_release(s, 0, &a);
	assert_false(a.release_due);
	assert_true(sched_remove(s, &a));
	assert_true(sched_check(s));
	sched_pool_stats(s, sched_root(s), &all);
	assert_true(all.used == 500);
	assert_int_equal(sched_add(s, &a, NULL, "again", NULL, 1600, &err), ST_OK);
	assert_true(a.figures.used == 0 && a.state == SCHED_BLOCKED);
}

/* Another CPU's counter may be behind ours: time stands still, and never wraps. */
static void time_does_not_go_back(void **state)
{
	struct sched_entity *first, *second;

	(void)state;
	sched_wake(s, &a, 2000);
	sched_wake(s, &b, 1990);
	first = sched_pick(s, 0, 1995, &end);
	assert_non_null(first);
	assert_true(end > 2000 && end <= 2100);
	second = turn(0, first, 1999, SCHED_END_BLOCKED);
	assert_true(first->figures.used == 0 && first->figures.waited == 0);
	assert_true(second && second != first);
	sched_charge(s, 0, 2001, SCHED_END_BLOCKED);
	assert_true(second->figures.used == 1);
}

static void misuse_stops_the_machine(void **state)
{
	(void)state;
	EXPECT_PANIC(sched_pick(s, CPUS, 1000, &end));
	EXPECT_PANIC(sched_release(s, CPUS, &a));
	EXPECT_PANIC(assert_int_not_equal(sched_add(s, &a, NULL, "twice", NULL, 1600, NULL), ST_OK));
}

/* The machine stops with a lock held. */
static void turns_out_of_order_stop_the_machine(void **state)
{
	(void)state;
	EXPECT_PANIC(sched_charge(s, 0, 1000, SCHED_END_READY));
	lock_set_context(NULL);
	free(s);
	setup(state);
	EXPECT_PANIC(sched_release(s, 0, &a));
	lock_set_context(NULL);
	free(s);
	setup(state);
	sched_wake(s, &a, 1000);
	sched_pick(s, 0, 1000, &end);
	EXPECT_PANIC(sched_pick(s, 0, 1000, &end));
	lock_set_context(NULL);
	free(s);
	setup(state);
}

static void init_with(unsigned cpus, uint64_t slice, unsigned entities)
{
	const struct sched_config cfg = {.cpus = cpus, .slice = slice, .entities_max = entities, .kick = sched_rig_kick};

	(void)sched_init(s, &cfg);
}

static void the_configuration_must_make_sense(void **state)
{
	(void)state;
	EXPECT_PANIC(init_with(0, 1, 1));
	EXPECT_PANIC(init_with(1, 0, 1));
	EXPECT_PANIC(init_with(1, 1, 0));
	EXPECT_PANIC(init_with(SCHED_MAX_CPUS + 1, 1, 1));
}

/* ---- shares, reservations, limits ---- */

static void shares_divide(void **state)
{
	(void)state;
	into_pool(&a, &pool_of_a, (struct rls){.limit = SCHED_NO_LIMIT, .shares = 1000});
	into_pool(&b, &pool_of_b, (struct rls){.limit = SCHED_NO_LIMIT, .shares = 3000});
	sched_wake(s, &a, 1000);
	sched_wake(s, &b, 1000);
	burn(1000, 1000 + 400 * SLICE);
	assert_true(within(a.figures.used, 100 * SLICE, 2 * SLICE));
	assert_true(within(b.figures.used, 300 * SLICE, 2 * SLICE));
}

static void a_reservation_is_kept(void **state)
{
	struct sched_levels levels;

	(void)state;
	into_pool(&a, &pool_of_a, (struct rls){.reservation = 700000, .limit = SCHED_NO_LIMIT, .shares = 1});
	into_pool(&b, &pool_of_b, (struct rls){.limit = SCHED_NO_LIMIT, .shares = 1000000});
	sched_wake(s, &a, 1000);
	sched_wake(s, &b, 1000);
	burn(1000, 1000 + 100 * SLICE);
	assert_true(within(a.figures.used, 70 * SLICE, 2 * SLICE));
	sched_pool_levels(s, &pool_of_a, &levels);
	assert_true(levels.entitled == 700000 && levels.allowed == 700000);
}

/* 20 slices are the window; a tenth of it is two slices. */
static void a_limit_holds_in_every_window(void **state)
{
	uint64_t before = 0;

	(void)state;
	into_pool(&a, &pool_of_a, (struct rls){.limit = 100000, .shares = 1000});
	sched_wake(s, &a, 2000);
	for (uint64_t now = 2000; now < 2000 + 200 * SLICE; now += 20 * SLICE) {
		burn(now, now + 20 * SLICE);
		assert_true(a.figures.used - before <= 2 * SLICE);
		before = a.figures.used;
	}
	assert_true(within(a.figures.used, 20 * SLICE, SLICE));
	assert_true(a.figures.limited > 150 * SLICE);
}

static void without_limits_nobody_is_held_back(void **state)
{
	(void)state;
	into_pool(&a, &pool_of_a, (struct rls){.limit = 100000, .shares = 1000});
	sched_set_switches(s, SCHED_OFF_LIMIT);
	sched_wake(s, &a, 2000);
	burn(2000, 2000 + 100 * SLICE);
	assert_true(a.figures.used == 100 * SLICE);
}

static void what_cannot_be_kept_is_refused(void **state)
{
	struct sched_pool p = {.depth = 0}, q = {.depth = 0};
	const struct rls half = {.reservation = 600000, .limit = SCHED_NO_LIMIT, .shares = 1000};
	const struct rls wrong[] = {
		{.reservation = 2, .limit = 1, .shares = 1000}, {.limit = SCHED_NO_LIMIT, .shares = 0},
		{.limit = SCHED_NO_LIMIT, .shares = 1u << 31}, {.limit = 0, .shares = 1},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(sched_pool_add(s, &p, NULL, "p", &wrong[i], &err), ST_INVALID);
	assert_int_equal(sched_pool_add(s, &p, NULL, "p", &half, &err), ST_OK);
	assert_int_equal(sched_pool_add(s, &q, NULL, "q", &half, &err), ST_NOT_ADMITTED);
	assert_string_equal(err.text, "reservations of 600000 + 600000 ppm do not fit the 1000000 ppm of pool root");
	assert_int_equal(sched_pool_add(s, &q, &p, "q", &half, &err), ST_OK);
	assert_int_equal(sched_pool_set(s, &p, &(struct rls){.reservation = 1, .limit = SCHED_NO_LIMIT, .shares = 1}, &err),
			 ST_NOT_ADMITTED);
	assert_string_equal(err.text, "reservations of 600000 ppm below pool p do not fit its 1 ppm");
	assert_int_equal(sched_pool_move(s, &p, &q, &err), ST_INVALID);
	assert_string_equal(err.text, "pool p would be below itself");
	assert_int_equal(sched_pool_remove(s, &p, &err), ST_BUSY);
	assert_int_equal(sched_pool_set(s, sched_root(s), &half, &err), ST_DENIED);
	assert_int_equal(sched_pool_remove(s, &q, &err), ST_OK);
	assert_int_equal(sched_pool_remove(s, &p, &err), ST_OK);
}

/* ---- the latency class ---- */

static uint64_t ticks_until_c_runs(bool latency)
{
	struct sched_attr attr = {.latency = latency};
	uint64_t now = 1000 + 40 * SLICE;
	struct sched_entity *e;

	assert_int_equal(sched_set_attr(s, &c, &attr, 1000, &err), ST_OK);
	into_pool(&a, &pool_of_a, (struct rls){.limit = SCHED_NO_LIMIT, .shares = 100000});
	into_pool(&b, &pool_of_b, (struct rls){.limit = SCHED_NO_LIMIT, .shares = 100000});
	sched_wake(s, &a, 1000);
	sched_wake(s, &b, 1000);
	burn(1000, now);
	e = sched_pick(s, 0, now, &end);
	while (e != &c) {
		uint64_t next = end;

		if (!c.figures.wakes && sched_rig_wake(s, &c, now + 10))
			next = now + 10;
		now = next;
		e = turn(0, e, now, SCHED_END_READY);
	}
	sched_charge(s, 0, now + 1, SCHED_END_BLOCKED);
	return now - (1000 + 40 * SLICE);
}

static void the_latency_class_runs_when_it_wakes(void **state)
{
	(void)state;
	assert_int_equal(ticks_until_c_runs(true), 10);
}

static void without_the_class_a_small_one_waits(void **state)
{
	(void)state;
	assert_true(ticks_until_c_runs(false) > SLICE);
}

/* Who burns in the latency class gets his share and a slice, no more. */
static void the_latency_class_is_no_gift(void **state)
{
	struct sched_attr attr = {.latency = true};

	(void)state;
	assert_int_equal(sched_set_attr(s, &a, &attr, 1000, &err), ST_OK);
	sched_wake(s, &a, 1000);
	sched_wake(s, &b, 1000);
	burn(1000, 1000 + 100 * SLICE);
	assert_true(within(a.figures.used, 50 * SLICE, 2 * SLICE));
}

/* ---- two CPUs ---- */

static void a_waking_entity_goes_to_the_idle_cpu(void **state)
{
	struct sched_attr anywhere = {.latency = false};

	(void)state;
	assert_null(sched_pick(s, 1, 1000, &end));
	sched_wake(s, &a, 1000);
	assert_ptr_equal(sched_pick(s, 0, 1000, &end), &a);
	assert_int_equal(sched_set_attr(s, &b, &anywhere, 1000, &err), ST_OK);
	assert_true(sched_rig_wake(s, &b, 1010));
	assert_ptr_equal(sched_pick(s, 1, 1010, &end), &b);
	sched_charge(s, 0, 1020, SCHED_END_BLOCKED);
	sched_charge(s, 1, 1020, SCHED_END_BLOCKED);
}

static void an_idle_cpu_takes_what_waits_but_not_what_is_held(void **state)
{
	struct sched_attr anywhere = {.latency = false};

	(void)state;
	sched_wake(s, &a, 1000);
	assert_ptr_equal(sched_pick(s, 0, 1000, &end), &a);
	assert_int_equal(sched_set_attr(s, &a, &anywhere, 1000, &err), ST_OK);
	sched_wake(s, &b, 1000);
	sched_charge(s, 0, 1100, SCHED_END_READY);
	assert_null(sched_pick(s, 1, 1100, &end)); /* b may not come, a is held */
	sched_release(s, 0, &a);
	assert_ptr_equal(sched_pick(s, 1, 1100, &end), &a);
	assert_true(a.figures.migrations == 1 && a.cpu == 1);
	sched_charge(s, 1, 1101, SCHED_END_BLOCKED);
}

static void affinity_is_followed_at_once(void **state)
{
	struct sched_attr there = {.latency = false};

	(void)state;
	cpuset_add(&there.affinity, 1);
	sched_wake(s, &a, 1000);
	sched_wake(s, &b, 1000);
	assert_ptr_equal(sched_pick(s, 0, 1000, &end), &a);
	assert_int_equal(sched_set_attr(s, &b, &there, 1000, &err), ST_OK); /* waits */
	assert_int_equal(b.cpu, 1);
	assert_int_equal(sched_set_attr(s, &a, &there, 1000, &err), ST_OK); /* runs */
	sched_charge(s, 0, 1010, SCHED_END_READY);
	assert_true(a.release_due);
	assert_null(sched_pick(s, 0, 1010, &end));
	sched_release(s, 0, &a);
	assert_int_equal(a.cpu, 1);
	assert_non_null(sched_pick(s, 1, 1010, &end));
	sched_charge(s, 1, 1020, SCHED_END_READY);
}

static void an_affinity_needs_a_cpu_of_the_machine(void **state)
{
	struct sched_attr nowhere = {.latency = false};

	(void)state;
	cpuset_add(&nowhere.affinity, 1);
	cpuset_add(&nowhere.affinity, CPUS);
	assert_int_equal(sched_set_attr(s, &a, &nowhere, 1000, &err), ST_INVALID);
	assert_string_equal(err.text, "the affinity names a CPU that is not there; CPUs are 0 to 1");
}

static void reservations_must_fit_the_cpus_of_an_affinity(void **state)
{
	struct sched_attr there = {.latency = false};
	const struct rls most = {.reservation = 600000, .limit = SCHED_NO_LIMIT, .shares = 1000};

	(void)state;
	into_pool(&a, &pool_of_a, most);
	into_pool(&b, &pool_of_b, most);
	cpuset_add(&there.affinity, 1);
	assert_int_equal(sched_set_attr(s, &a, &there, 1000, &err), ST_OK);
	assert_int_equal(sched_set_attr(s, &b, &there, 1000, &err), ST_NOT_ADMITTED);
	assert_string_equal(err.text, "reservations of 1200000 ppm would be confined to 1 CPUs, which offer 1000000 ppm");
	assert_true(sched_check(s));
}

static unsigned only_cpu(const struct sched_entity *e) { return bit_lowest(s->mask[e->mask].cpus.word[0]); }

static void an_exclusive_core_is_nobody_elses(void **state)
{
	struct sched_attr exclusive = {.exclusive = true};
	struct sched_attr anywhere = {.latency = false};
	struct sched_entity d;

	(void)state;
	assert_int_equal(sched_set_attr(s, &b, &anywhere, 1000, &err), ST_OK);
	sched_wake(s, &a, 1000);
	sched_wake(s, &b, 1000);
	assert_non_null(sched_pick(s, 0, 1000, &end));
	memset(&d, 0, sizeof d);
	assert_int_equal(sched_add(s, &d, NULL, "exclusive", &exclusive, 1000, &err), ST_OK);
	assert_null(sched_pick(s, 1, 1000, &end));
	assert_int_equal(sched_set_attr(s, &c, &exclusive, 1000, &err), ST_NOT_ADMITTED); /* CPU 0 is needed */
	sched_wake(s, &d, 1000);
	assert_ptr_equal(sched_pick(s, 1, 1001, &end), &d);
	sched_rig_end(s, 1, &d, 1002, SCHED_END_BLOCKED);
	assert_null(sched_pick(s, 1, 1002, &end)); /* idle, and still not lent */
	assert_true(sched_remove(s, &d));
	assert_true(sched_check(s));
}

/* It waits where it may, is to go where it may not, and goes on waiting where it was. */
static void a_refused_affinity_changes_nothing(void **state)
{
	struct sched_attr exclusive = {.exclusive = true}, other = {.latency = true};
	struct sched_entity d;

	(void)state;
	memset(&d, 0, sizeof d);
	assert_int_equal(sched_add(s, &d, NULL, "exclusive", &exclusive, 1000, &err), ST_OK);
	assert_int_equal(only_cpu(&d), 1);
	sched_wake(s, &b, 1000);
	assert_ptr_equal(sched_pick(s, 0, 1000, &end), &b);
	sched_wake(s, &a, 1000);
	cpuset_add(&other.affinity, 1);
	assert_int_equal(sched_set_attr(s, &a, &other, 1000, &err), ST_NOT_ADMITTED);
	assert_true(sched_check(s));
	assert_int_equal(only_cpu(&a), 0);
	assert_false(a.attr.latency);
	assert_ptr_equal(turn(0, &b, 1000 + SLICE, SCHED_END_BLOCKED), &a);
	sched_rig_end(s, 0, &a, 1000 + 2 * SLICE, SCHED_END_BLOCKED);
	assert_true(sched_remove(s, &d));
}

static int setup_four(void **state)
{
	(void)state;
	return setup_with(2 * CPUS);
}

/* A core that would be taken from somebody who may run nowhere else is no reason to refuse the next one. */
static void a_core_is_kept_and_another_one_is_tried(void **state)
{
	struct sched_attr exclusive = {.exclusive = true}, last = {.latency = false};
	struct sched_entity d, e, f;

	(void)state;
	memset(&d, 0, sizeof d);
	e = f = d;
	assert_int_equal(sched_add(s, &d, NULL, "d", &exclusive, 1000, &err), ST_OK);
	assert_int_equal(sched_add(s, &e, NULL, "e", &exclusive, 1000, &err), ST_OK);
	assert_int_equal(only_cpu(&d), 3);
	assert_int_equal(only_cpu(&e), 2);
	assert_true(sched_remove(s, &d));
	cpuset_add(&last.affinity, 3);
	assert_int_equal(sched_set_attr(s, &c, &last, 1000, &err), ST_OK);
	assert_int_equal(sched_set_attr(s, &e, &exclusive, 1000, &err), ST_OK);
	assert_int_equal(only_cpu(&e), 2);
	assert_int_equal(sched_add(s, &f, NULL, "f", &exclusive, 1000, &err), ST_OK);
	assert_int_equal(only_cpu(&f), 1);
	/* Who is confined to one CPU may have it for itself. */
	assert_int_equal(sched_set_attr(s, &c, &last, 1000, &err), ST_OK);
	last.exclusive = true;
	assert_int_equal(sched_set_attr(s, &c, &last, 1000, &err), ST_OK);
	assert_int_equal(only_cpu(&c), 3);
	assert_true(sched_check(s));
	assert_true(sched_remove(s, &e));
	assert_true(sched_remove(s, &f));
}

/* ---- cores with two threads ---- */

static struct sched_entity *second_thread_runs(bool separate)
{
	static const uint16_t one_core[CPUS];
	const struct sched_config cfg = {
		.cpus = CPUS, .entities_max = 4, .slice = SLICE, .core_of = one_core, .separate_cores = separate, .kick = sched_rig_kick,
	};
	const struct rls plain = {.limit = SCHED_NO_LIMIT, .shares = 1000};
	struct sched_entity *e;

	free(s);
	s = sched_init(aligned_alloc(64, align_up(sched_bytes(CPUS, 4), 64)), &cfg);
	memset(&a, 0, sizeof a);
	memset(&b, 0, sizeof b);
	memset(&pool_of_a, 0, sizeof pool_of_a);
	memset(&pool_of_b, 0, sizeof pool_of_b);
	assert_int_equal(sched_pool_add(s, &pool_of_a, NULL, "one", &plain, &err), ST_OK);
	assert_int_equal(sched_pool_add(s, &pool_of_b, NULL, "other", &plain, &err), ST_OK);
	assert_int_equal(sched_add(s, &a, &pool_of_a, "a", NULL, 1000, &err), ST_OK);
	assert_int_equal(sched_add(s, &b, &pool_of_b, "b", NULL, 1000, &err), ST_OK);
	sched_wake(s, &a, 1000);
	sched_wake(s, &b, 1000);
	assert_non_null(sched_pick(s, 0, 1000, &end));
	e = sched_pick(s, 1, 1000, &end);
	if (!e) {
		/* The core is free for the other pool as soon as the first thread is. */
		sched_charge(s, 0, 1010, SCHED_END_BLOCKED);
		assert_null(sched_pick(s, 0, 1010, &end));
		assert_non_null(sched_pick(s, 1, 1000 + SLICE, &end));
	}
	return e;
}

static void pools_keep_off_each_others_cores(void **state)
{
	(void)state;
	assert_null(second_thread_runs(true));
}

static void cores_are_shared_otherwise(void **state)
{
	(void)state;
	assert_non_null(second_thread_runs(false));
}

/* ---- siblings ---- */

/* a and b, of one VM, anywhere; c burns on CPU 1, so that b, the second of the two there, waits; a runs on CPU 0. */
static void siblings_start(unsigned off)
{
	struct sched_attr gang = {.gang = true}, there = {.gang = false};
	const struct rls plain = {.limit = SCHED_NO_LIMIT, .shares = 1000};

	sched_set_switches(s, off | SCHED_OFF_BALANCE);
	memset(&pool_of_a, 0, sizeof pool_of_a);
	assert_int_equal(sched_pool_add(s, &pool_of_a, NULL, "vm", &plain, &err), ST_OK);
	assert_true(sched_remove(s, &a) && sched_remove(s, &b));
	cpuset_add(&there.affinity, 1);
	assert_int_equal(sched_set_attr(s, &c, &there, 1000, &err), ST_OK);
	assert_int_equal(sched_add(s, &a, &pool_of_a, "vm/0", &gang, 1000, &err), ST_OK);
	gang.affinity = there.affinity;
	assert_int_equal(sched_add(s, &b, &pool_of_a, "vm/1", &gang, 1000, &err), ST_OK);
	gang.affinity = (struct cpuset){{0}};
	sched_wake(s, &a, 1000);
	assert_ptr_equal(sched_pick(s, 0, 1000, &end), &a);
	sched_wake(s, &c, 1000);
	assert_ptr_equal(sched_pick(s, 1, 1000, &end), &c);
	sched_wake(s, &b, 1000);
	assert_int_equal(sched_set_attr(s, &b, &gang, 1000, &err), ST_OK);
	assert_true(b.state == SCHED_READY && b.cpu == 1);
}

static void siblings_end(uint64_t now)
{
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		if (s->cpu[cpu].running)
			sched_charge(s, cpu, now, SCHED_END_BLOCKED);
	}
	assert_true(sched_check(s));
}

/* b gets CPU 1 to itself from @now on, and makes progress by @ticks. */
static void laggard_runs(uint64_t now, uint64_t ticks)
{
	struct sched_entity *e = s->cpu[1].running;

	sched_charge(s, 1, now, e == &b ? SCHED_END_READY : SCHED_END_BLOCKED);
	assert_ptr_equal(sched_pick(s, 1, now, &end), &b);
	b.progress += ticks;
	sched_charge(s, 1, now + ticks, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 1, now + ticks, &end), &b);
}

/* Two slices of progress are allowed, a leads by 500 ticks: that counts as 300. */
static void a_leader_is_stopped(void **state)
{
	(void)state;
	siblings_start(0);
	a.progress += 500;
	sched_charge(s, 0, 1500, SCHED_END_READY);
	assert_null(sched_pick(s, 0, 1500, &end));
	assert_true(end > 1500 && end <= 1500 + SLICE / 5); /* looked at again each tick */
	laggard_runs(1500, 90);
	assert_null(sched_pick(s, 0, 1590, &end));
	laggard_runs(1600, 10);
	assert_ptr_equal(sched_pick(s, 0, 1610, &end), &a);
	assert_true(a.figures.costops > 0 && a.figures.costopped == 110);
	siblings_end(1650);
}

static void without_catching_up_it_stays_stopped(void **state)
{
	(void)state;
	siblings_start(SCHED_OFF_CATCHUP);
	a.progress += 500;
	sched_charge(s, 0, 1500, SCHED_END_READY);
	assert_null(sched_pick(s, 0, 1500, &end));
	laggard_runs(1500, 290);
	assert_null(sched_pick(s, 0, 1790, &end));
	laggard_runs(1790, 10);
	assert_ptr_equal(sched_pick(s, 0, 1810, &end), &a);
	siblings_end(2000);
}

static void without_skew_control_it_runs_on(void **state)
{
	(void)state;
	siblings_start(SCHED_OFF_SKEW);
	a.progress += 500;
	sched_charge(s, 0, 1500, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 0, 1500, &end), &a);
	siblings_end(1600);
}

/* Who sleeps is no laggard. */
static void a_sleeper_stops_nobody(void **state)
{
	(void)state;
	siblings_start(0);
	sched_charge(s, 1, 1100, SCHED_END_BLOCKED);
	assert_ptr_equal(sched_pick(s, 1, 1100, &end), &b);
	sched_charge(s, 1, 1110, SCHED_END_BLOCKED);
	a.progress += 500;
	sched_charge(s, 0, 1500, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 0, 1500, &end), &a);
	sched_wake(s, &b, 1510);
	a.progress += 10;
	sched_charge(s, 0, 1520, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 0, 1520, &end), &a);
	siblings_end(1600);
}

static void a_spinner_yields_to_its_sibling_elsewhere(void **state)
{
	(void)state;
	siblings_start(0);
	sched_yield_to(s, 0, NULL);
	sched_charge(s, 0, 1010, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 0, 1010, &end), &b);
	assert_true(b.figures.yields_to == 1 && b.figures.migrations == 1);
	siblings_end(1020);
}

/* For a part of a slice; then the spinner goes on with its own turn. */
static void who_is_yielded_to_gives_the_cpu_back(void **state)
{
	uint64_t whole;

	(void)state;
	siblings_start(0);
	whole = a.left;
	sched_yield_to(s, 0, NULL);
	sched_charge(s, 0, 1010, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 0, 1010, &end), &b);
	assert_int_equal(end, 1010 + SLICE / 32);
	sched_charge(s, 0, end, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 0, 1013, &end), &a);
	assert_int_equal(a.left, whole - 10); /* of a first request */
	assert_int_equal(end, 1013 + MAX(a.left, SLICE / 8));
	siblings_end(1020);
}

/* Two that wait for one another: the favoured one spins as well, and the first one goes on, for a shorter time. */
static void who_is_yielded_to_yields_itself(void **state)
{
	(void)state;
	siblings_start(0);
	sched_yield_to(s, 0, NULL);
	sched_charge(s, 0, 1010, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 0, 1010, &end), &b);
	sched_yield_to(s, 0, NULL);
	sched_charge(s, 0, 1012, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 0, 1012, &end), &a);
	assert_int_equal(end, 1012 + SLICE / 32 / 2);
	assert_int_equal(a.pool->gang.favour, 1);
	sched_charge(s, 0, end, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 0, 1013, &end), &b);
	sched_yield_to(s, 0, NULL); /* still: a had too little */
	sched_charge(s, 0, 1014, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 0, 1014, &end), &a);
	assert_int_equal(a.pool->gang.favour, 0);
	siblings_end(1020);
}

static void without_yielding_the_spinner_runs_on(void **state)
{
	(void)state;
	siblings_start(SCHED_OFF_YIELD_TO);
	sched_yield_to(s, 0, NULL);
	sched_charge(s, 0, 1010, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 0, 1010, &end), &a);
	siblings_end(1020);
}

/* ---- the walker ---- */

/* A block and a wake with nobody else about leave what the last division was made with. */
static void a_halt_and_a_wake_divide_nothing(void **state)
{
	uint64_t epoch, now = 1000;

	(void)state;
	sched_wake(s, &a, now);
	assert_ptr_equal(sched_pick(s, 0, now, &end), &a);
	now += SLICE;
	assert_ptr_equal(turn(0, &a, now, SCHED_END_READY), &a);
	epoch = s->epoch;
	for (unsigned i = 0; i < 5; i++) {
		now += 10 * SLICE;
		assert_null(turn(0, &a, now, SCHED_END_BLOCKED));
		now += 10 * SLICE;
		sched_wake(s, &a, now);
		assert_ptr_equal(sched_pick(s, 0, now, &end), &a);
	}
	assert_true(s->epoch == epoch);
	sched_wake(s, &b, now); /* another demand than that */
	turn(0, &a, now + SLICE, SCHED_END_READY);
	assert_true(s->epoch == epoch + 1);
	sched_charge(s, 0, now + SLICE, SCHED_END_READY);
}

/* One wakes and another blocks before anybody divides: as many as before, but the one that woke has a guessed rate. */
static void a_guessed_rate_does_not_stay(void **state)
{
	(void)state;
	sched_wake(s, &a, 1000);
	assert_ptr_equal(sched_pick(s, 0, 1000, &end), &a);
	assert_ptr_equal(turn(0, &a, 2000, SCHED_END_READY), &a);
	sched_wake(s, &b, 2001);
	assert_ptr_equal(turn(0, &a, 2002, SCHED_END_BLOCKED), &b);
	assert_true(b.rate < RATE_ONE);
	assert_ptr_equal(turn(0, &b, 2002 + SLICE, SCHED_END_READY), &b);
	assert_true(b.rate == RATE_ONE);
	sched_charge(s, 0, 2002 + SLICE, SCHED_END_READY);
}

static void the_walker_sees_damage(void **state)
{
	int64_t key, lag;

	(void)state;
	sched_wake(s, &a, 1000);
	sched_wake(s, &b, 1000);
	assert_true(sched_check(s));
	a.state = SCHED_BLOCKED;
	assert_false(sched_check(s));
	a.state = SCHED_READY;
	a.figures.used = 1;
	assert_false(sched_check(s));
	a.figures.used = 0;
	key = s->cpu[0].ready.at[0].key;
	s->cpu[0].ready.at[0].key = INT64_MAX;
	assert_false(sched_check(s));
	s->cpu[0].ready.at[0].key = key;
	s->root.demand++;
	assert_false(sched_check(s));
	s->root.demand--;
	assert_true(sched_check(s));
	cpu_dequeue(&s->cpu[0], &a);
	lag = cpu_leave(&s->cpu[0], &a);
	assert_false(sched_check(s)); /* in nobody's hands */
	cpu_join(&s->cpu[0], &a, lag);
	cpu_enqueue(s, &s->cpu[0], &a);
	assert_true(sched_check(s));
}

#define ONE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
#define FOUR(t) cmocka_unit_test_setup_teardown(t, setup_four, teardown)
#define TWO(t) cmocka_unit_test_setup_teardown(t, setup_two, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(equals_take_turns), ONE(a_turn_is_a_slice_while_others_wait), ONE(the_time_after_a_turn_is_its_own), ONE(so_is_the_time_after_a_block),
		ONE(nor_is_it_time_under_a_limit),
		TWO(the_rate_of_who_wakes_is_his_pools), TWO(spinning_pays_for_itself), ONE(no_turn_is_next_to_nothing),
		ONE(a_lone_entity_has_a_long_turn),
		TWO(nothing_to_do), TWO(nobody_waits_and_runs_at_a_time), ONE(who_wakes_runs_before_who_had_his_share), ONE(what_was_lent_comes_back_at_once),
		ONE(credit_is_bounded), ONE(who_asks_for_less),
		ONE(a_wake_that_races_with_a_block_is_kept), ONE(wakes_of_ready_and_detached_change_nothing),
		ONE(removal_keeps_the_sums), ONE(time_does_not_go_back), ONE(misuse_stops_the_machine),
		ONE(turns_out_of_order_stop_the_machine), ONE(the_configuration_must_make_sense), ONE(shares_divide), ONE(a_reservation_is_kept),
		ONE(a_limit_holds_in_every_window), ONE(without_limits_nobody_is_held_back), ONE(what_cannot_be_kept_is_refused),
		ONE(the_latency_class_runs_when_it_wakes), ONE(without_the_class_a_small_one_waits),
		ONE(the_latency_class_is_no_gift), TWO(a_waking_entity_goes_to_the_idle_cpu),
		TWO(an_idle_cpu_takes_what_waits_but_not_what_is_held), TWO(affinity_is_followed_at_once),
		TWO(an_affinity_needs_a_cpu_of_the_machine), TWO(reservations_must_fit_the_cpus_of_an_affinity),
		TWO(pools_keep_off_each_others_cores), TWO(cores_are_shared_otherwise), TWO(a_leader_is_stopped), TWO(without_catching_up_it_stays_stopped), TWO(without_skew_control_it_runs_on),
		TWO(a_sleeper_stops_nobody), TWO(a_spinner_yields_to_its_sibling_elsewhere),
		TWO(who_is_yielded_to_gives_the_cpu_back), TWO(who_is_yielded_to_yields_itself),
		TWO(without_yielding_the_spinner_runs_on), TWO(an_exclusive_core_is_nobody_elses), TWO(a_refused_affinity_changes_nothing),
		FOUR(a_core_is_kept_and_another_one_is_tried), ONE(a_halt_and_a_wake_divide_nothing),
		ONE(a_guessed_rate_does_not_stay), ONE(the_walker_sees_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
