/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests with several vcpus: what they lose when a lock holder, or the next in
 * line of a ticket lock, has no CPU; how far apart siblings get; and what each part
 * of implicit co-scheduling is good for, off against on.
 */
#include "tests/cmocka_all.h"

#include "lib/bits.h"
#include "tests/model/sched_sim.h"

static struct sim sim;

/* ---- a guest with one ticket lock ---- */

#define VCPUS_MAX 4u
#define THINK 400u     /* ticks outside the lock, on average */
#define HOLD 150u
#define PLE_WINDOW 400u /* ticks of spinning until the CPU reports a pause loop */
#define ROUNDS 20000u

enum doing { THINKS, SPINS, HOLDS };

struct guest {
	struct sim_entity *vcpu[VCPUS_MAX];
	enum doing doing[VCPUS_MAX];
	unsigned ticket[VCPUS_MAX], vcpus;
	unsigned next, serving, rounds;
	bool reports_loops;
};

static struct guest guest;

static unsigned index_of(const struct sim_entity *x)
{
	unsigned i = 0;

	while (guest.vcpu[i] != x)
		i++;
	return i;
}

static void enter(unsigned i)
{
	guest.doing[i] = HOLDS;
	sim_set_piece(guest.vcpu[i], HOLD);
}

static void leave(unsigned i)
{
	guest.serving++;
	guest.rounds++;
	guest.doing[i] = THINKS;
	for (unsigned k = 0; k < guest.vcpus; k++) {
		if (guest.doing[k] == SPINS && guest.ticket[k] == guest.serving)
			enter(k); /* whether it runs or not: the lock is unfair to nobody, and waits for it */
	}
}

static bool guest_code(struct sim_entity *x)
{
	unsigned i = index_of(x);

	if (guest.doing[i] == HOLDS) {
		leave(i);
		x->piece = 1 + random_below(&sim.random, 2 * THINK);
		if (guest.rounds < ROUNDS)
			return true;
		for (unsigned k = 0; k < guest.vcpus; k++)
			sim_want(guest.vcpu[k], SIM_IDLE, 0, 0);
		return false;
	}
	if (guest.doing[i] == THINKS) {
		guest.ticket[i] = guest.next++;
		guest.doing[i] = SPINS;
		x->piece = guest.reports_loops ? PLE_WINDOW : UINT64_MAX;
		if (guest.ticket[i] == guest.serving)
			enter(i);
		return true;
	}
	x->piece = PLE_WINDOW;
	sched_yield_to(sim.s, (unsigned)x->on, NULL);
	return false;
}

static struct sim_entity *vm_burner(uint32_t shares)
{
	struct sim_pool *p = sim_pool(&sim, NULL, 0, SCHED_NO_LIMIT, shares);
	struct sim_entity *x = sim_entity(&sim, p, NULL);

	assert_non_null(x);
	sim_want(x, SIM_BURNER, 0, 0);
	return x;
}

struct result {
	double cpu;      /* CPU time of the guest for its rounds, in slices */
	double wall;     /* until they are done, in slices */
	double together; /* part of the time that all its vcpus ran at once */
};

/* The guest beside @burners that have as much of a claim each as it has, until its rounds are done. */
static struct result locked_guest(unsigned cpus, unsigned vcpus, unsigned burners, unsigned off, bool reports_loops)
{
	struct sched_config cfg = {.cpus = cpus, .off = off};
	const struct sched_attr gang = {.gang = true};
	struct result r = {0};
	struct sim_pool *p;
	unsigned samples = 0, together = 0;

	sim_start(&sim, &cfg, 11);
	sim.check_every = 101;
	guest = (struct guest){.vcpus = vcpus, .reports_loops = reports_loops};
	p = sim_pool(&sim, NULL, 0, SCHED_NO_LIMIT, 1000);
	for (unsigned i = 0; i < vcpus; i++)
		guest.vcpu[i] = sim_entity(&sim, p, &gang);
	for (unsigned i = 0; i < burners; i++)
		vm_burner(1000);
	sim_run(&sim, SIM_SLICE);
	for (unsigned i = 0; i < vcpus; i++) {
		guest.vcpu[i]->code = guest_code;
		guest.vcpu[i]->piece = 1 + THINK;
		sim_want(guest.vcpu[i], SIM_BURNER, 0, 0);
	}
	while (guest.rounds < ROUNDS) {
		unsigned running = 0;

		sim_run(&sim, SIM_TICK / 5);
		samples++;
		for (unsigned i = 0; i < vcpus; i++)
			running += guest.vcpu[i]->on >= 0;
		together += running == vcpus;
		assert_true(samples < 2000000);
	}
	for (unsigned i = 0; i < vcpus; i++)
		r.cpu += (double)guest.vcpu[i]->used / SIM_SLICE;
	r.together = (double)together / samples;
	r.wall = samples / 5. * SIM_TICK / SIM_SLICE;
	sim_end(&sim);
	return r;
}

#define ALL_OFF (SCHED_OFF_SKEW | SCHED_OFF_CATCHUP | SCHED_OFF_CORUN | SCHED_OFF_SPREAD | SCHED_OFF_YIELD_TO)

static void a_spinning_guest_wastes_little(void **state)
{
	struct result alone = locked_guest(2, 2, 0, 0, true), on = locked_guest(2, 2, 1, 0, true);
	struct result off = locked_guest(2, 2, 1, ALL_OFF, false);

	(void)state;
	print_message("2 vcpus on 2 CPUs beside a burner: %.2f of the CPU time alone, with all off %.2f; done after "
		      "%.1f of the time, %.1f\n",
		      on.cpu / alone.cpu, off.cpu / alone.cpu, on.wall / alone.wall, off.wall / alone.wall);
	assert_true(on.cpu <= 1.3 * alone.cpu);
	assert_true(on.cpu <= 0.5 * off.cpu);
}

static void four_vcpus_on_two_cpus(void **state)
{
	struct result alone = locked_guest(4, 4, 0, 0, true), on = locked_guest(2, 4, 0, 0, true);
	struct result off = locked_guest(2, 4, 0, ALL_OFF, false);

	(void)state;
	print_message("4 vcpus on 2 CPUs: %.2f of the CPU time on 4, with all off %.2f (no bar)\n", on.cpu / alone.cpu,
		      off.cpu / alone.cpu);
	assert_true(on.cpu < off.cpu);
}

static void a_pause_loop_yields_to_the_one_it_waits_for(void **state)
{
	struct result on = locked_guest(2, 4, 3, 0, true), off = locked_guest(2, 4, 3, SCHED_OFF_YIELD_TO, true);

	(void)state;
	print_message("4 vcpus on 2 CPUs beside three burners: %.0f slices of CPU time; yielding to anybody %.0f\n", on.cpu, off.cpu);
	assert_true(on.cpu < 0.6 * off.cpu);
}

/* ---- siblings that burn ---- */

/* How often both vcpus of each of two guests run at once beside a burner, on two CPUs. */
static double coruns(unsigned off)
{
	struct sched_config cfg = {.cpus = 2, .off = off};
	const struct sched_attr gang = {.gang = true};
	struct sim_entity *v[4];
	unsigned together = 0;

	sim_start(&sim, &cfg, 5);
	sim.check_every = 101;
	for (unsigned i = 0; i < 4; i++) {
		struct sim_pool *p = i % 2 ? v[i - 1]->pool : sim_pool(&sim, NULL, 0, SCHED_NO_LIMIT, 1000);

		v[i] = sim_entity(&sim, p, &gang);
		sim_want(v[i], SIM_BURNER, 0, 0);
	}
	vm_burner(500);
	sim_run(&sim, 10 * SIM_SLICE);
	for (unsigned i = 0; i < 20000; i++) {
		sim_run(&sim, SIM_TICK / 4);
		together += (v[0]->on >= 0 && v[1]->on >= 0) || (v[2]->on >= 0 && v[3]->on >= 0);
	}
	sim_end(&sim);
	return together / 20000.;
}

static void siblings_run_at_once_more_often(void **state)
{
	double on = coruns(0), no_bonus = coruns(SCHED_OFF_CORUN), neither = coruns(SCHED_OFF_CORUN | SCHED_OFF_SPREAD);

	(void)state;
	print_message("siblings run together %.2f of the time; without bonus %.2f; nor spreading %.2f\n", on, no_bonus, neither);
	assert_true(on > no_bonus + 0.05);
	assert_true(on > neither + 0.05);
}

/* How often a vcpu waits on the very CPU on which its sibling runs: guests that sleep and wake, beside burners. */
static double in_each_others_way(unsigned off)
{
	struct sched_config cfg = {.cpus = 4, .off = off};
	const struct sched_attr gang = {.gang = true};
	struct sim_entity *v[8];
	unsigned stacked = 0;

	sim_start(&sim, &cfg, 5);
	sim.check_every = 101;
	for (unsigned i = 0; i < 8; i++) {
		struct sim_pool *p = i % 2 ? v[i - 1]->pool : sim_pool(&sim, NULL, 0, SCHED_NO_LIMIT, 1000);

		v[i] = sim_entity(&sim, p, &gang);
		sim_want(v[i], SIM_BURSTY, SIM_SLICE, 2 * SIM_SLICE);
	}
	vm_burner(1000);
	vm_burner(1000);
	sim_run(&sim, 10 * SIM_SLICE);
	for (unsigned i = 0; i < 20000; i++) {
		sim_run(&sim, SIM_TICK / 4);
		for (unsigned k = 0; k < 8; k++)
			stacked += v[k]->e.state == SCHED_READY && v[k ^ 1]->on >= 0 && v[k]->e.cpu == (unsigned)v[k ^ 1]->on;
	}
	sim_end(&sim);
	return stacked / 20000.;
}

static void siblings_keep_off_each_others_cpus(void **state)
{
	double on = in_each_others_way(0), off = in_each_others_way(SCHED_OFF_SPREAD);

	(void)state;
	print_message("a vcpu waits behind its sibling %.3f of the time; without spreading %.3f\n", on, off);
	assert_true(on < 0.7 * off);
}

/* ---- skew ---- */

/* A vcpu uses its time without getting ahead (its host works for it) for 40 slices, its sibling could run on. */
static double greatest_skew(unsigned off)
{
	struct sched_config cfg = {.cpus = 2, .off = off};
	const struct sched_attr gang = {.gang = true};
	struct sim_pool *p;
	struct sim_entity *a, *b;
	double most = 0;

	sim_start(&sim, &cfg, 5);
	p = sim_pool(&sim, NULL, 0, SCHED_NO_LIMIT, 1000);
	a = sim_entity(&sim, p, &gang);
	b = sim_entity(&sim, p, &gang);
	sim_want(a, SIM_BURNER, 0, 0);
	sim_want(b, SIM_BURNER, 0, 0);
	sim_run(&sim, 10 * SIM_SLICE);
	b->stalled = true;
	for (unsigned i = 0; i < 400; i++) {
		sim_run(&sim, SIM_SLICE / 10);
		most = MAX(most, (double)a->e.progress - (double)b->e.progress);
	}
	sim_end(&sim);
	return most / SIM_SLICE;
}

static void a_leader_is_stopped(void **state)
{
	double on = greatest_skew(0), off = greatest_skew(SCHED_OFF_SKEW);

	(void)state;
	print_message("a sibling that stands still is left behind by %.2f slices; without co-stop by %.2f\n", on, off);
	assert_true(on <= 2 + 1 + 0.3); /* the threshold, a turn and a tick */
	assert_true(off > 30);
}

/* A thousand thresholds behind at once: how long the leader stands still. */
static double stopped_after_a_long_stall(unsigned off)
{
	struct sched_config cfg = {.cpus = 2, .off = off};
	const struct sched_attr gang = {.gang = true};
	struct sched_figures f;
	struct sim_entity *a, *b;
	struct sim_pool *p;

	sim_start(&sim, &cfg, 5);
	p = sim_pool(&sim, NULL, 0, SCHED_NO_LIMIT, 1000);
	a = sim_entity(&sim, p, &gang);
	b = sim_entity(&sim, p, &gang);
	sim_want(a, SIM_BURNER, 0, 0);
	sim_want(b, SIM_BURNER, 0, 0);
	sim_run(&sim, 10 * SIM_SLICE);
	a->e.progress += 2000 * SIM_SLICE;
	sim_run(&sim, 4000 * SIM_SLICE);
	sched_stats(sim.s, &a->e, &f);
	sim_end(&sim);
	return (double)f.costopped / SIM_SLICE;
}

static void a_long_stall_is_caught_up_by_its_logarithm(void **state)
{
	double on = stopped_after_a_long_stall(0), off = stopped_after_a_long_stall(SCHED_OFF_CATCHUP);

	(void)state;
	print_message("2,000 slices behind: the leader is stopped for %.1f slices; tick by tick %.1f\n", on, off);
	assert_true(on <= 20);
	assert_true(off > 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_spinning_guest_wastes_little),
		cmocka_unit_test(four_vcpus_on_two_cpus),
		cmocka_unit_test(a_pause_loop_yields_to_the_one_it_waits_for),
		cmocka_unit_test(siblings_run_at_once_more_often),
		cmocka_unit_test(siblings_keep_off_each_others_cpus),
		cmocka_unit_test(a_leader_is_stopped),
		cmocka_unit_test(a_long_stall_is_caught_up_by_its_logarithm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
