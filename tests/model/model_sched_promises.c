/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One promise at a time on a simulated machine, and each mechanism off against
 * on: with it off the same scenario must show the worse figure, or the test
 * would prove nothing.
 */
#include "tests/cmocka_all.h"

#include "lib/bits.h"
#include "tests/model/sched_sim.h"
#include "tests/model/sched_window.h"

static struct sim sim;
static uint64_t seed = 4;

static void machine(unsigned cpus, unsigned off)
{
	struct sched_config cfg = {.cpus = cpus, .off = off};

	sim_start(&sim, &cfg, seed);
	sim.check_every = 7;
}

static struct sim_entity *member(struct sim_pool *p, const struct sched_attr *attr)
{
	struct sim_entity *x = sim_entity(&sim, p, attr);

	assert_non_null(x);
	return x;
}

/* A VM of one vcpu, with numbers of its own. */
static struct sim_entity *vm(uint64_t reservation, uint64_t limit, uint32_t shares, const struct sched_attr *attr)
{
	struct sim_pool *p = sim_pool(&sim, NULL, reservation, limit, shares);

	assert_non_null(p);
	return member(p, attr);
}

static struct sim_entity *burner(uint32_t shares)
{
	struct sim_entity *x = vm(0, SCHED_NO_LIMIT, shares, NULL);

	sim_want(x, SIM_BURNER, 0, 0);
	return x;
}

/* ---- waking ---- */

/* The longest of 300 wakes, at random times, of @x beside what runs. */
static uint64_t longest_wake(struct sim_entity *x, uint64_t burst)
{
	x->worst_wake = 0;
	for (unsigned i = 0; i < 300; i++) {
		sim_run(&sim, burst * 4 + random_below(&sim.random, 8 * SIM_SLICE));
		sim_poke(x, burst);
	}
	sim_run(&sim, 20 * SIM_SLICE);
	assert_true(x->blocked);
	return x->worst_wake;
}

static uint64_t return_of_a_share(uint32_t shares, unsigned off)
{
	struct sim_entity *owner;
	uint64_t longest;

	machine(2, off);
	for (unsigned i = 0; i < 4; i++)
		burner(1000);
	owner = vm(0, SCHED_NO_LIMIT, shares, NULL);
	longest = longest_wake(owner, SIM_TICK);
	sim_end(&sim);
	return longest;
}

/* Of an owner, on two CPUs, who wants a tick in four or five, and sleeps as soon as he has had it. */
static uint64_t return_again(uint32_t shares)
{
	struct sim_entity *owner;
	uint64_t longest;

	machine(2, 0);
	for (unsigned i = 0; i < 4; i++)
		burner(1000);
	owner = vm(0, SCHED_NO_LIMIT, shares, NULL);
	for (unsigned i = 0; i < 1000; i++) {
		if (owner->blocked)
			sim_poke(owner, SIM_TICK);
		sim_run(&sim, 4 * SIM_TICK + random_below(&sim.random, SIM_TICK));
	}
	longest = owner->worst_wake;
	sim_end(&sim);
	return longest;
}

static void run_returns(struct random_state *r)
{
	uint64_t on, off;

	seed = random_next(r);
	on = return_of_a_share(2000, 0);
	off = return_of_a_share(2000, SCHED_OFF_CREDIT);
	print_message("the owner of an idle share waits %.3f ticks at most; without credit %.3f\n", (double)on / SIM_TICK,
		      (double)off / SIM_TICK);
	assert_true(on <= SIM_TICK);
	assert_true(off > SIM_TICK);
	for (uint32_t shares = 750; shares <= 6000; shares += 750)
		assert_true(return_of_a_share(shares, 0) <= SIM_TICK);
	/* Who is due more than half a CPU has never had all of it, however soon it is back. */
	for (uint32_t shares = 1500; shares <= 6000; shares += 500)
		assert_true(return_again(shares) <= SIM_TICK);
}

static void an_idle_share_comes_back_within_a_tick(void **state)
{
	uint64_t before = seed;

	(void)state;
	random_runs(20, run_returns);
	seed = before;
}

static uint64_t wake_of_latency_class(unsigned off)
{
	const struct sched_attr attr = {.latency = true};
	struct sim_entity *x;
	uint64_t longest;

	machine(1, off | SCHED_OFF_CREDIT);
	for (unsigned i = 0; i < 3; i++)
		burner(1000);
	x = vm(0, SCHED_NO_LIMIT, 1000, &attr);
	longest = longest_wake(x, SIM_SLICE / 50);
	sim_end(&sim);
	return longest;
}

static void the_latency_class_runs_at_once(void **state)
{
	uint64_t on = wake_of_latency_class(0), off = wake_of_latency_class(SCHED_OFF_LATENCY);

	(void)state;
	print_message("latency class: at most %.4f slices; ignored: %.4f\n", (double)on / SIM_SLICE, (double)off / SIM_SLICE);
	assert_true(on <= sim.kick_latency);
	assert_true(off > SIM_TICK);
}

/* Who never sleeps has no use of the class: it may run ahead of its share by a slice, and no more. */
static void the_latency_class_is_no_gift(void **state)
{
	const struct sched_attr attr = {.latency = true};
	struct window w;

	(void)state;
	machine(2, 0);
	for (unsigned i = 0; i < 5; i++)
		burner(1000);
	for (unsigned i = 0; i < 2; i++)
		sim_want(vm(0, SCHED_NO_LIMIT, 1000, &attr), SIM_PERIODIC, SIM_SLICE / 2, SIM_SLICE / 2 - 500);
	sim_run(&sim, 20 * SIM_SLICE);
	assert_true(window_begin(&w, &sim));
	window_run(&w, window_rounds(&w, 100));
	window_end(&w);
	window_show(&w, 1);
	assert_true(w.worst <= 1 && w.worst_rounds <= 1);
	sim_end(&sim);
}

/* Whoever slept for long takes back no more than two slices and a tick of what it left to others. */
static void a_sleeper_has_a_bounded_credit(void **state)
{
	struct sim_entity *x;
	struct window w;

	(void)state;
	machine(1, 0);
	for (unsigned i = 0; i < 3; i++)
		burner(1000);
	x = vm(0, SCHED_NO_LIMIT, 4000, NULL);
	for (unsigned i = 0; i < 20; i++) {
		sim_run(&sim, SIM_SECOND);
		sim_want(x, SIM_BURNER, 0, 0);
		assert_true(window_begin(&w, &sim));
		window_run(&w, 60 * SIM_SLICE);
		window_end(&w);
		window_show(&w, 1);
		assert_true(w.worst <= 1);
		sim_want(x, SIM_IDLE, 0, 0);
		assert_true(sim_run_until_settled(&sim, SIM_SECOND));
	}
	sim_end(&sim);
}

/* They come and go: who wakes where nobody has been since before the last division is owed nothing from then. */
static void an_old_division_makes_no_claims(void **state)
{
	struct sim_pool *p;
	struct sim_entity *x[3];
	struct window w;
	double worst = 0;

	(void)state;
	machine(2, 0);
	p = sim_pool(&sim, NULL, 0, SCHED_ONE_CPU * 4 / 10, 1000);
	for (unsigned i = 0; i < ARRAY_SIZE(x); i++)
		x[i] = member(p, NULL);
	for (unsigned i = 0; i < 200; i++) {
		sim_want(x[random_below(&sim.random, ARRAY_SIZE(x))], i % 2 ? SIM_IDLE : SIM_BURNER, 0, 0);
		assert_true(sim_run_until_settled(&sim, SIM_SECOND));
		assert_true(window_begin(&w, &sim));
		window_run(&w, random_below(&sim.random, 60 * SIM_SLICE));
		window_end(&w);
		worst = MAX(worst, w.worst);
	}
	print_message("who comes and goes: off by %.2f of what is allowed\n", worst);
	assert_true(worst <= 1);
	sim_end(&sim);
}

/* ---- limits and reservations ---- */

static uint64_t passed_by(unsigned off)
{
	struct sim_pool *p;
	uint64_t over;

	machine(4, off);
	p = sim_pool(&sim, NULL, 0, SCHED_ONE_CPU / 4, 1000);
	for (unsigned i = 0; i < 4; i++)
		sim_want(member(p, NULL), i < 3 ? SIM_BURNER : SIM_BURSTY, 3 * SIM_SLICE, SIM_SLICE);
	burner(1000);
	sim_run(&sim, 40 * SIM_WINDOW);
	over = p->worst_over;
	sim_end(&sim);
	return over;
}

static void a_limit_holds_in_every_window(void **state)
{
	uint64_t on = passed_by(0), off = passed_by(SCHED_OFF_LIMIT);

	(void)state;
	print_message("a limit of a quarter of a CPU is passed by %.3f ticks; switched off by %.3f\n",
		      (double)on / SIM_TICK, (double)off / SIM_TICK);
	/* What the window before left. */
	assert_true(on <= SIM_TICK / 16);
	assert_true(off > SIM_TICK);
}

/*
 * What is held at the end of each window, for turns that end late, is not lost: a small limit is had in full, to a
 * quarter of a per cent, and none of it twice.
 */
static void a_limit_is_had_in_full(void **state)
{
	const uint64_t limit = SCHED_ONE_CPU / 50, windows = 400;
	struct sim_pool *p;
	double had;

	(void)state;
	machine(2, 0);
	p = sim_pool(&sim, NULL, 0, limit, 1000);
	for (unsigned i = 0; i < 2; i++)
		sim_want(member(p, NULL), SIM_BURNER, 0, 0);
	burner(1000);
	sim_run(&sim, 2 * SIM_WINDOW);
	p->used = 0;
	sim_run(&sim, windows * SIM_WINDOW);
	had = (double)p->used / (double)(windows * SIM_WINDOW) * 50;
	print_message("of a limit of a fiftieth of a CPU %.4f are had\n", had);
	assert_true(had > 0.9975 && had <= 1.0005);
	sim_end(&sim);
}

/* Of two hundred on 128 CPUs, many of whose turns end late just when nothing is left. */
static void a_limit_of_many_holds(void **state)
{
	struct sim_pool *p;

	(void)state;
	machine(128, 0);
	sim.check_every = 0;
	p = sim_pool(&sim, NULL, 0, 20 * SCHED_ONE_CPU, 1000);
	for (unsigned i = 0; i < 200; i++)
		sim_want(member(p, NULL), SIM_BURNER, 0, 0);
	sim_run(&sim, 20 * SIM_WINDOW);
	assert_true(p->worst_over <= SIM_TICK / 16);
	assert_true(p->used > 399 * SIM_WINDOW);
	sim_end(&sim);
}

/* Most that @x fell short of @rate in any window, beside loads that never keep still. */
static double shortfall(uint64_t reservation)
{
	struct sim_entity *x, *noise[30];
	double ahead = 0, most = 0, high = 0;

	machine(2, 0);
	x = vm(reservation, SCHED_NO_LIMIT, 1, NULL);
	sim_want(x, SIM_BURNER, 0, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(noise); i++) {
		noise[i] = vm(0, SCHED_NO_LIMIT, 1000 + 300 * i, NULL);
		sim_want(noise[i], SIM_BURSTY, SIM_SLICE << i % 6, SIM_SLICE << i % 4);
	}
	sim_run(&sim, 20 * SIM_SLICE);
	for (unsigned i = 0; i < 4000; i++) {
		uint64_t before = x->used;

		sim_run(&sim, SIM_SLICE / 4);
		ahead += (double)(x->used - before) - 0.5 * SIM_SLICE / 4;
		high = MAX(high, ahead);
		most = MAX(most, high - ahead);
	}
	sim_end(&sim);
	return most;
}

/* The same on one CPU, beside a crowd that sleeps and wakes all at once, each for a tick. */
static double shortfall_beside_a_crowd(void)
{
	struct sim_entity *x, *crowd[30];
	double most = 0;

	machine(1, 0);
	x = vm(SCHED_ONE_CPU / 2, SCHED_NO_LIMIT, 1, NULL);
	sim_want(x, SIM_BURNER, 0, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(crowd); i++)
		crowd[i] = vm(0, SCHED_NO_LIMIT, 1000, NULL);
	for (unsigned i = 0; i < 100; i++) {
		double ahead = 0, high = 0;

		sim_run(&sim, 20 * SIM_SLICE);
		for (unsigned k = 0; k < ARRAY_SIZE(crowd); k++)
			sim_poke(crowd[k], SIM_TICK);
		for (unsigned k = 0; k < 80; k++) {
			uint64_t before = x->used;

			sim_run(&sim, SIM_SLICE / 4);
			ahead += (double)(x->used - before) - 0.5 * SIM_SLICE / 4;
			high = MAX(high, ahead);
			most = MAX(most, high - ahead);
		}
	}
	sim_end(&sim);
	return most;
}

static void a_reservation_is_kept_whatever_others_do(void **state)
{
	double with = shortfall(SCHED_ONE_CPU / 2), without = shortfall(0);

	(void)state;
	print_message("short of half a CPU by %.2f slices at most; without reservation by %.2f\n", with / SIM_SLICE,
		      without / SIM_SLICE);
	assert_true(with <= 2 * SIM_SLICE + SIM_TICK);
	assert_true(without > 20 * SIM_SLICE);
	with = shortfall_beside_a_crowd();
	print_message("and beside a crowd that wakes by %.2f\n", with / SIM_SLICE);
	assert_true(2 * with <= 3 * SIM_SLICE);
}

/* ---- balancing ---- */

static double unfairness(unsigned off)
{
	struct sim_entity *x[8];
	struct window w;

	machine(2, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(x); i++)
		x[i] = burner(1000);
	sim_run(&sim, 10 * SIM_SLICE);
	sched_set_switches(sim.s, off);
	for (unsigned i = 0; i < 5; i++) {
		sim_want(x[i], SIM_IDLE, 0, 0);
		assert_true(sim_run_until_settled(&sim, SIM_SECOND));
	}
	assert_true(window_begin(&w, &sim));
	window_run(&w, 300 * SIM_SLICE);
	window_end(&w);
	sim_end(&sim);
	return w.worst;
}

static void three_share_two_cpus(void **state)
{
	double on = unfairness(0), off = unfairness(SCHED_OFF_BALANCE);

	(void)state;
	print_message("three on two CPUs: off by %.2f of what is allowed; without balancing %.2f\n", on, off);
	assert_true(on <= 1);
	assert_true(off > 1);
}

/* One that is due a whole CPU, of which each of two CPUs has only a part left: it must commute. */
static void one_lives_in_two_gaps(void **state)
{
	struct sched_attr bound = {.latency = false};
	struct window w;

	(void)state;
	machine(2, 0);
	sim_want(vm(0, SCHED_NO_LIMIT, 10000, NULL), SIM_BURNER, 0, 0);
	for (unsigned i = 0; i < 5; i++) {
		bound.affinity = (struct cpuset){{i < 2 ? 1 : 2}};
		sim_want(vm(0, SCHED_NO_LIMIT, 1000, &bound), SIM_BURNER, 0, 0);
	}
	sim_run(&sim, 10 * SIM_SLICE);
	assert_true(window_begin(&w, &sim));
	window_run(&w, 300 * SIM_SLICE);
	window_end(&w);
	window_show(&w, 1);
	assert_true(w.worst <= 1 && w.worst_rounds <= 1);
	sim_end(&sim);
}

/*
 * Several wait where they may not stay any more, or need not: all idle CPUs fetch one within a tick, though only one is
 * told by the CPU where they are.
 */
static void idle_cpus_tell_each_other(void **state)
{
	struct sched_attr bound = {.affinity = {{1}}}, free_again = {.latency = false};
	struct sim_entity *x[8];
	unsigned running = 0;

	(void)state;
	machine(8, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(x); i++)
		sim_want(x[i] = vm(0, SCHED_NO_LIMIT, 1000, &bound), SIM_BURNER, 0, 0);
	for (unsigned round = 0; round < 50; round++) {
		sim_run(&sim, 5 * SIM_SLICE + random_below(&sim.random, SIM_SLICE));
		for (unsigned i = 0; i < ARRAY_SIZE(x); i++)
			assert_true(sim_set_attr(x[i], &free_again));
		sim_run(&sim, SIM_TICK);
		running = 0;
		for (unsigned i = 0; i < ARRAY_SIZE(x); i++)
			running += x[i]->on >= 0;
		assert_int_equal(running, ARRAY_SIZE(x));
		for (unsigned i = 0; i < ARRAY_SIZE(x); i++)
			assert_true(sim_set_attr(x[i], &bound));
	}
	sim_end(&sim);
}

/* ---- places ---- */

static unsigned shared_cores(bool separate)
{
	static const uint16_t core_of[] = {0, 0, 1, 1};
	struct sched_config cfg = {.cpus = 4, .core_of = core_of, .separate_cores = separate};
	unsigned shared = 0;

	sim_start(&sim, &cfg, 3);
	for (unsigned i = 0; i < 3; i++) {
		struct sim_pool *p = sim_pool(&sim, NULL, 0, SCHED_NO_LIMIT, 1000);

		for (unsigned k = 0; k < 2; k++)
			sim_want(member(p, NULL), k ? SIM_BURSTY : SIM_BURNER, SIM_SLICE, 2 * SIM_SLICE);
	}
	for (unsigned i = 0; i < 20000; i++) {
		sim_run(&sim, SIM_SLICE / 50);
		for (unsigned cpu = 0; cpu < 4; cpu += 2) {
			const struct sim_entity *a = sim.cpu[cpu].running, *b = sim.cpu[cpu + 1].running;

			/* What is being kicked off counts only when it is there longer than a kick takes. */
			shared += a && b && a->pool != b->pool && sim.now - MAX(sim.cpu[cpu].turn_from, sim.cpu[cpu + 1].turn_from) > SIM_TICK;
		}
	}
	sim_end(&sim);
	return shared;
}

static void pools_keep_off_each_others_cores(void **state)
{
	(void)state;
	assert_int_equal(shared_cores(true), 0);
	assert_true(shared_cores(false) > 0);
}

/*
 * Three pools that always want the one core there is, the first with a vcpu for each of its threads: they take turns,
 * in proportion to what they are due, and nobody is kept off for long.
 */
static void pools_take_turns_on_a_core(void **state)
{
	static const uint16_t core_of[] = {0, 0};
	static const uint32_t shares[] = {2000, 1000, 1000};
	struct sched_config cfg = {.cpus = 2, .core_of = core_of, .separate_cores = true};
	struct sim_pool *p[3];
	uint64_t before[3] = {0}, begun[3];

	(void)state;
	sim_start(&sim, &cfg, 3);
	sim.check_every = 7;
	for (unsigned i = 0; i < 3; i++) {
		p[i] = sim_pool(&sim, NULL, 0, SCHED_NO_LIMIT, shares[i]);
		for (unsigned k = 0; k < (i ? 1 : 2); k++)
			sim_want(member(p[i], NULL), SIM_BURNER, 0, 0);
	}
	sim_run(&sim, 50 * SIM_SLICE);
	for (unsigned i = 0; i < 3; i++)
		begun[i] = before[i] = p[i]->used;
	for (unsigned n = 0; n < 100; n++) {
		sim_run(&sim, 8 * SIM_SLICE);
		for (unsigned i = 0; i < 3; i++) {
			assert_true(p[i]->used > before[i]);
			before[i] = p[i]->used;
		}
	}
	print_message("three pools on one core: %.3f, %.3f and %.3f of its time\n", (double)(p[0]->used - begun[0]) / 800 / SIM_SLICE,
		      (double)(p[1]->used - begun[1]) / 800 / SIM_SLICE, (double)(p[2]->used - begun[2]) / 800 / SIM_SLICE);
	for (unsigned i = 1; i < 3; i++)
		assert_true(p[i]->used - begun[i] > 800 * SIM_SLICE / 5);
	sim_end(&sim);
}

static void an_exclusive_core_is_nobody_elses(void **state)
{
	const struct sched_attr attr = {.exclusive = true};
	struct sim_entity *x, *second;
	int own = -1;

	(void)state;
	machine(2, 0);
	for (unsigned i = 0; i < 4; i++)
		burner(1000);
	sim_run(&sim, 10 * SIM_SLICE);
	x = vm(0, SCHED_NO_LIMIT, 1, &attr);
	second = sim_entity(&sim, NULL, &attr);
	assert_null(second); /* a machine keeps a CPU for everybody else */
	sim_run(&sim, 5 * SIM_SLICE);
	x->worst_wake = 0;
	for (unsigned i = 0; i < 200; i++) {
		sim_run(&sim, random_below(&sim.random, SIM_SLICE));
		sim_poke(x, SIM_TICK);
		sim_run(&sim, SIM_TICK / 2);
		assert_true(x->on >= 0 && (own < 0 || x->on == own));
		own = x->on;
		sim_run(&sim, SIM_TICK);
		assert_null(sim.cpu[own].running);
	}
	assert_true(x->worst_wake <= sim.kick_latency);
	sim_end(&sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_idle_share_comes_back_within_a_tick),
		cmocka_unit_test(the_latency_class_runs_at_once),
		cmocka_unit_test(the_latency_class_is_no_gift),
		cmocka_unit_test(a_sleeper_has_a_bounded_credit),
		cmocka_unit_test(an_old_division_makes_no_claims),
		cmocka_unit_test(a_limit_holds_in_every_window),
		cmocka_unit_test(a_limit_is_had_in_full),
		cmocka_unit_test(a_limit_of_many_holds),
		cmocka_unit_test(a_reservation_is_kept_whatever_others_do),
		cmocka_unit_test(three_share_two_cpus),
		cmocka_unit_test(one_lives_in_two_gaps),
		cmocka_unit_test(idle_cpus_tell_each_other),
		cmocka_unit_test(pools_keep_off_each_others_cores),
		cmocka_unit_test(pools_take_turns_on_a_core),
		cmocka_unit_test(an_exclusive_core_is_nobody_elses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
