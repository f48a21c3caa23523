/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Round robin by hand: order, slices, the long turn of a lone entity, wake
 * races, accounting, and that the walker sees broken structures.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "sched/sched.h"
#include "tests/expect_panic.h"
#include "tests/fakes/sched_rig.h"

#define SLICE 100ull

static struct sched *s;
static struct sched_entity a, b, c;
static uint64_t end;

static int setup(void **state)
{
	(void)state;
	s = sched_rig_new(2, SLICE);
	memset(&a, 0, sizeof a);
	memset(&b, 0, sizeof b);
	memset(&c, 0, sizeof c);
	sched_add(s, &a, "a", 0, 1000);
	sched_add(s, &b, "b", 0, 1000);
	sched_add(s, &c, "c", 0, 1000);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_true(sched_check(s));
	free(s);
	return 0;
}

static void turns_go_round(void **state)
{
	struct sched_entity *const order[] = {&b, &a, &c, &b, &a, &c, &b};
	uint64_t now = 1000;

	(void)state;
	assert_true(sched_rig_wake(s, &b, now));
	assert_true(sched_rig_wake(s, &a, now)); /* still idle: nothing has chosen yet */
	sched_wake(s, &c, now);
	for (unsigned i = 0; i < 7; i++) {
		assert_ptr_equal(sched_pick(s, 0, now, &end), order[i]);
		assert_true(end == now + SLICE);
		assert_true(sched_others_ready(s, 0));
		assert_true(sched_check(s));
		now = end;
		sched_charge(s, 0, now, SCHED_END_READY);
	}
	assert_true(b.used == 300 && a.used == 200 && c.used == 200);
	assert_true(b.dispatches == 3);
	assert_true(a.waited == 100 + 200 && c.waited == 200 + 200 && b.waited == 200 + 200);
}

static void a_lone_entity_has_a_long_turn(void **state)
{
	(void)state;
	sched_wake(s, &a, 1000);
	assert_ptr_equal(sched_pick(s, 0, 1000, &end), &a);
	assert_true(end == 1000 + SLICE * SCHED_ALONE_SLICES);
	assert_false(sched_others_ready(s, 0));
	assert_true(sched_rig_wake(s, &b, 1050)); /* solitude ends: choose again */
	sched_charge(s, 0, 1050, SCHED_END_READY);
	assert_ptr_equal(sched_pick(s, 0, 1050, &end), &b);
	assert_true(end == 1050 + SLICE);
	assert_false(sched_rig_wake(s, &c, 1060)); /* its slice ends anyway */
	assert_false(sched_rig_wake(s, &c, 1060));
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

static void a_wake_that_races_with_a_block_is_kept(void **state)
{
	(void)state;
	sched_wake(s, &a, 1000);
	assert_ptr_equal(sched_pick(s, 0, 1000, &end), &a);
	assert_false(sched_rig_wake(s, &a, 1010));
	assert_true(a.wake_pending);
	sched_charge(s, 0, 1020, SCHED_END_BLOCKED);
	assert_int_equal(a.state, SCHED_READY);
	assert_ptr_equal(sched_pick(s, 0, 1020, &end), &a);
	assert_false(a.wake_pending);
	sched_charge(s, 0, 1030, SCHED_END_BLOCKED); /* one wake is good for one turn */
	assert_int_equal(a.state, SCHED_BLOCKED);
	assert_null(sched_pick(s, 0, 1030, &end));
	assert_true(a.used == 30);
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
	struct sched_cpu_stats stats;

	(void)state;
	sched_wake(s, &a, 1000);
	sched_pick(s, 0, 1000, &end);
	assert_false(sched_remove(s, &a)); /* it runs */
	assert_true(a.release_due);
	sched_charge(s, 0, 1500, SCHED_END_READY);
	assert_false(sched_remove(s, &a)); /* its state is still in the CPU */
	assert_int_equal(sched_rig_kicks, 2); /* told once */
	sched_release(s, 0, &a);
	assert_true(sched_remove(s, &a));
	assert_true(sched_check(s));
	sched_cpu_stats(s, 0, &stats);
	assert_true(stats.busy == 500 && stats.idle == 0);
	sched_add(s, &a, "again", 1, 1600);
	assert_true(a.used == 0 && a.cpu == 1 && a.state == SCHED_BLOCKED);
	EXPECT_PANIC(sched_add(s, &a, "twice", 1, 1600));
}

/* Another CPU's counter may be behind ours: time stands still, and never wraps. */
static void time_does_not_go_back(void **state)
{
	(void)state;
	sched_wake(s, &a, 2000);
	sched_wake(s, &b, 1990);
	assert_ptr_equal(sched_pick(s, 0, 1995, &end), &a);
	assert_true(end == 2100);
	sched_charge(s, 0, 1999, SCHED_END_BLOCKED);
	assert_true(a.used == 0 && a.waited == 0);
	assert_ptr_equal(sched_pick(s, 0, 2001, &end), &b);
	assert_true(b.waited == 1);
}

static void slice_end_saturates(void **state)
{
	(void)state;
	sched_wake(s, &a, UINT64_MAX - 5);
	sched_pick(s, 0, UINT64_MAX - 5, &end);
	assert_true(end == UINT64_MAX);
}

static enum sched_end run_nothing(struct sched_entity *e, uint64_t slice_end)
{
	(void)e;
	(void)slice_end;
	return SCHED_END_BLOCKED;
}

static void the_owner_says_how_it_runs(void **state)
{
	struct sched_entity mine = {.run = run_nothing};

	(void)state;
	sched_add(s, &mine, "mine", 1, 1000);
	assert_ptr_equal(mine.run, run_nothing);
	assert_true(sched_remove(s, &mine));
	assert_ptr_equal(mine.run, run_nothing);
}

static void cpus_are_apart(void **state)
{
	struct sched_entity other = {0};

	(void)state;
	sched_add(s, &other, "a name that is longer than thirty-one characters", 1, 1000);
	assert_int_equal(strlen(other.name), SCHED_NAME_MAX - 1);
	sched_wake(s, &a, 1000);
	assert_true(sched_rig_wake(s, &other, 1000));
	assert_false(sched_others_ready(s, 0) != sched_others_ready(s, 1));
	assert_ptr_equal(sched_pick(s, 1, 1000, &end), &other);
	assert_ptr_equal(sched_pick(s, 0, 1000, &end), &a);
	sched_rig_end(s, 1, &other, 1001, SCHED_END_BLOCKED);
	assert_true(sched_remove(s, &other));
}

static void no_kick(void *ctx, unsigned cpu)
{
	(void)ctx;
	(void)cpu;
}

static void init_with(unsigned cpus, uint64_t slice)
{
	const struct sched_config cfg = {.cpus = cpus, .slice = slice, .kick = no_kick};

	(void)sched_init(s, &cfg);
}

static void misuse_stops_the_machine(void **state)
{
	(void)state;
	EXPECT_PANIC(sched_pick(s, 2, 1000, &end));
	EXPECT_PANIC(sched_release(s, 2, &a));
	EXPECT_PANIC(init_with(0, 1));
	EXPECT_PANIC(init_with(1, 0));
	EXPECT_PANIC(init_with(SCHED_MAX_CPUS + 1, 1));
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
}

static void broken(enum sched_state *field, enum sched_state wrong)
{
	enum sched_state right = *field;

	*field = wrong;
	assert_false(sched_check(s));
	*field = right;
	assert_true(sched_check(s));
}

static void the_check_sees(void **state)
{
	(void)state;
	sched_wake(s, &a, 1000);
	sched_wake(s, &b, 1001);
	broken(&a.state, SCHED_BLOCKED);
	broken(&a.state, SCHED_RUNNING);
	broken(&c.state, SCHED_READY);
	broken(&c.state, SCHED_DETACHED);
	c.used++;
	assert_false(sched_check(s));
	c.used--;
	c.cpu = 1;
	assert_false(sched_check(s));
	c.cpu = 0;
	a.wake_pending = true;
	assert_false(sched_check(s));
	a.wake_pending = false;
	a.since = 1002; /* out of order */
	assert_false(sched_check(s));
	a.since = 1000;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(turns_go_round),
		CASE(a_lone_entity_has_a_long_turn),
		CASE(nothing_to_do),
		CASE(a_wake_that_races_with_a_block_is_kept),
		CASE(wakes_of_ready_and_detached_change_nothing),
		CASE(removal_keeps_the_sums),
		CASE(time_does_not_go_back),
		CASE(slice_end_saturates),
		CASE(the_owner_says_how_it_runs),
		CASE(cpus_are_apart),
		CASE(misuse_stops_the_machine),
		CASE(turns_out_of_order_stop_the_machine),
		CASE(the_check_sees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
