/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler against the fluid optimum: random machines and trees of pools,
 * and between random changes windows of constant demand, in which nobody
 * may be off by more than 1 % or two slices and a tick, nor by 1 % over 100
 * rounds. Then loads that never keep still, for what must hold all the same:
 * reservations, limits, sums.
 *
 * MODEL_SEED and MODEL_RUNS as for every model test; MODEL_DECISIONS=n goes on, with
 * further seeds, until n decisions are made, and prints the worst of each figure.
 */
#include "tests/cmocka_all.h"

#include "lib/bits.h"
#include "tests/model/sched_sim.h"
#include "tests/model/sched_window.h"

/* The exception: of so many windows, one may be beyond the bar, by as much as its load says. */
#define WINDOWS_PER_EXCEPTION 500u
#define SHOWN 4u /* windows of which every entity that is off is shown */

struct load {
	const char *name;
	unsigned cpus_most, entities_most, pools_most, epochs;
	unsigned slices_most;   /* of an epoch */
	bool affinity;          /* some are bound to some CPUs */
	bool rounds;            /* the last epoch has 100 rounds */
	unsigned check_every;
	double most;            /* of what is allowed, in a window */
};

static struct sim sim;
static struct cpuset affinity[SIM_POOLS];

/* Worst of all runs so far. */
static double worst_window, worst_rounds, worst_short;
static uint64_t decisions, worst_over, longest_idle;
static unsigned windows, missed, changes, beyond, all_windows, all_missed; /* beyond: the bar, of all windows */
static bool long_run; /* counts failures and goes on */
static uint64_t long_seed;

#define failed(...)                                  \
	do {                                         \
		if (!long_run)                       \
			fail_msg(__VA_ARGS__);       \
		fprintf(stderr, "seed %llu, ", (unsigned long long)long_seed); \
		fprintf(stderr, __VA_ARGS__);        \
		fprintf(stderr, "\n");               \
		all_missed++;                        \
	} while (0)

/* ---- random machines ---- */

static uint64_t some(uint64_t least, uint64_t most)
{
	return least + random_below(&sim.random, most - least + 1);
}

static bool one_in(unsigned n) { return random_below(&sim.random, n) == 0; }

static uint32_t some_shares(void)
{
	static const uint32_t usual[] = {500, 1000, 1000, 1000, 2000, 4000};

	return one_in(6) ? (uint32_t)some(100, 10000) : usual[some(0, ARRAY_SIZE(usual) - 1)];
}

/* Reservations of all together stay below four fifths of the machine, so that affinity can serve them too. */
static struct rls some_numbers(unsigned pools)
{
	uint64_t all = sim.cfg.cpus * SCHED_ONE_CPU;
	struct rls n = {.limit = SCHED_NO_LIMIT, .shares = some_shares()};

	if (one_in(4))
		n.reservation = some(0, all * 4 / 5 / pools);
	if (one_in(5))
		n.limit = n.reservation + some(SCHED_ONE_CPU / 20, MIN(all, 4 * SCHED_ONE_CPU));
	return n;
}

static struct cpuset some_cpus(void)
{
	unsigned count = (unsigned)some(1, sim.cfg.cpus);
	struct cpuset set = {{0}};

	for (unsigned i = 0; one_in(2) && i < count; i++)
		cpuset_add(&set, (unsigned)some(0, sim.cfg.cpus - 1));
	return set;
}

/* All vcpus of a VM have its affinity: else the optimum would be a matter of taste. */
static struct sched_attr some_attr(const struct load *l, const struct sim_pool *p)
{
	return (struct sched_attr){.latency = one_in(8), .affinity = l->affinity ? affinity[p - sim.pool] : (struct cpuset){{0}}};
}

static struct sim_pool *some_pool(void)
{
	return &sim.pool[some(0, sim.pools - 1)];
}

static void build(const struct load *l, uint64_t seed)
{
	struct random_state r = random_seed(seed ^ 0x5eed);
	struct sched_config cfg = {.cpus = 2 + (unsigned)random_below(&r, l->cpus_most - 1)};
	unsigned pools = 1 + (unsigned)random_below(&r, l->pools_most);
	unsigned entities = cfg.cpus + (unsigned)random_below(&r, l->entities_most - cfg.cpus);

	if (l->cpus_most > 64)
		cfg.cpus = l->cpus_most;
	sim_start(&sim, &cfg, seed);
	sim.check_every = l->check_every;
	for (unsigned i = 0; i < pools; i++) {
		struct sim_pool *parent = sim.pools && !l->affinity && one_in(3) ? some_pool() : NULL;
		struct rls n = parent ? (struct rls){0, SCHED_NO_LIMIT, some_shares()} : some_numbers(pools);

		while (parent && parent->parent && parent->parent->parent)
			parent = parent->parent;
		affinity[i] = some_cpus();
		assert_non_null(sim_pool(&sim, parent, n.reservation, n.limit, n.shares));
	}
	for (unsigned i = 0; i < entities; i++) {
		struct sim_pool *p = some_pool();
		struct sched_attr attr = some_attr(l, p);
		struct sim_entity *x = sim_entity(&sim, p, &attr);

		if (x && !one_in(4))
			sim_want(x, SIM_BURNER, 0, 0);
	}
}

/* ---- changes ---- */

static struct sim_entity *some_entity(void)
{
	/* None when every one was refused. */
	struct sim_entity *x = &sim.entity[some(0, MAX(sim.entities, 1u) - 1)];

	return x->added ? x : NULL;
}

static void change_demand(void)
{
	struct sim_entity *x = some_entity();

	if (x)
		sim_want(x, x->kind == SIM_BURNER ? SIM_IDLE : SIM_BURNER, 0, 0);
}

static void change_numbers(void)
{
	struct sim_pool *p = some_pool();
	struct rls n = p->parent ? (struct rls){0, SCHED_NO_LIMIT, some_shares()} : some_numbers(sim.pools);

	(void)sim_pool_set(&sim, p, &n); /* children may have reserved more already: refused then, as it should */
}

/* A VM's affinity moves for all its vcpus; one that is refused leaves them as they are. */
static void change_attr(const struct load *l)
{
	struct sim_pool *p = some_pool();
	struct cpuset before = affinity[p - sim.pool];
	bool ok = true;

	affinity[p - sim.pool] = some_cpus();
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < sim.entities; i++) {
			struct sim_entity *x = &sim.entity[i];
			struct sched_attr attr = some_attr(l, p);

			if (x->added && x->pool == p && !sim_set_attr(x, &attr))
				ok = false;
		}
		if (ok)
			return;
		affinity[p - sim.pool] = before;
	}
}

static void change_members(const struct load *l)
{
	struct sim_pool *p = some_pool();
	struct sched_attr attr = some_attr(l, p);
	struct sim_entity *x = some_entity();

	if (x && x->blocked && x->kind == SIM_IDLE)
		sim_remove(x);
	else if (sim.entities < l->entities_most && (x = sim_entity(&sim, p, &attr)) != NULL)
		sim_want(x, SIM_BURNER, 0, 0);
}

static void change(const struct load *l)
{
	for (uint64_t n = some(1, 1 + sim.entities / 8); n; n--) {
		switch (some(0, 5)) {
		case 0:
			change_numbers();
			break;
		case 1:
			change_attr(l);
			break;
		case 2:
			change_members(l);
			break;
		default:
			change_demand();
		}
	}
}

/* ---- windows of constant demand ---- */

/* The most by which a limit was passed in a window of this run. */
static uint64_t passed_limits(void)
{
	uint64_t most = 0;

	for (unsigned i = 0; i < sim.pools; i++)
		most = MAX(most, sim.pool[i].worst_over);
	worst_over = MAX(worst_over, most);
	return most;
}

static void epoch(const struct load *l, bool long_one)
{
	struct window w;
	uint64_t ticks = some(1, l->slices_most * sim.cfg.slice);

	/* Who is due a millionth of a CPU may take long until it can block; then there is no constant demand. */
	if (!sim_run_until_settled(&sim, 4000 * sim.cfg.slice))
		return;
	if (!window_begin(&w, &sim))
		return;
	window_run(&w, long_one ? MAX(ticks, window_rounds(&w, 100)) : ticks);
	window_end(&w);
	worst_window = MAX(worst_window, w.worst);
	longest_idle = MAX(longest_idle, w.idle_beside_work);
	worst_rounds = MAX(worst_rounds, w.worst_rounds);
	windows++;
	beyond += w.worst > 1;
	if (w.worst <= l->most && w.worst_rounds <= 1 && w.worst_level <= 0.001 && w.idle_beside_work <= sim.cfg.tick)
		return;
	missed++;
	if (long_run)
		fprintf(stderr, "seed %llu, ", (unsigned long long)long_seed);
	fprintf(stderr, "%s: %u CPUs, %u entities, %u changes: off by %.2f of what is allowed, %.2f over 100 rounds; "
		"division off by %.4f; idle beside work for %.2f ticks\n", l->name, sim.cfg.cpus, sim.entities, changes, w.worst,
		w.worst_rounds, w.worst_level, (double)w.idle_beside_work / SIM_TICK);
	if (missed <= SHOWN)
		window_show(&w, l->most);
}

static void run_load(const struct load *l, struct random_state *r)
{
	build(l, random_next(r));
	windows = missed = changes = 0;
	for (unsigned i = 0; i < l->epochs; i++) {
		epoch(l, l->rounds && i + 1 == l->epochs);
		assert_true(sched_check(sim.s));
		assert_true(sim_sums_agree(&sim));
		change(l);
		changes++;
	}
	all_windows += windows;
	all_missed += missed;
	if (missed && !long_run)
		fail_msg("%u of %u windows off", missed, windows);
	if (passed_limits() > sim.cfg.tick)
		failed("%s: a limit was passed by %.2f ticks in a window", l->name, (double)passed_limits() / SIM_TICK);
	decisions += sim.decisions;
	sim_end(&sim);
}

/* ---- the division alone ---- */

/* Aligned blocks, which are disjoint or nested, or any sets. */
static struct cpuset some_block(bool aligned)
{
	unsigned cpus = sim.cfg.cpus, size = 1u << some(0, 3), at = (unsigned)some(0, cpus - 1) / size * size;
	struct cpuset set = {{0}};

	for (unsigned i = at; aligned && i < MIN(at + size, cpus); i++)
		cpuset_add(&set, i);
	for (uint64_t n = aligned ? 0 : some(0, cpus); n; n--)
		cpuset_add(&set, (unsigned)some(0, cpus - 1));
	return set;
}

static void add_bound_pool(unsigned pools, bool aligned)
{
	struct rls n = some_numbers(pools);
	struct sim_pool *p = sim_pool(&sim, NULL, one_in(2) ? n.reservation : 0, n.limit, n.shares);
	const struct sched_attr attr = {.affinity = some_block(aligned)};

	assert_non_null(p);
	for (uint64_t k = some(1, 4); k; k--) {
		struct sim_entity *x = sim_entity(&sim, p, &attr);

		if (x)
			sim_want(x, SIM_BURNER, 0, 0);
	}
}

/* Random affinities on up to 8 CPUs: what each pool is due, against the optimum. */
static void run_division(struct random_state *r)
{
	struct sched_config cfg = {.cpus = 2 + (unsigned)random_below(r, 7)};
	unsigned pools = 1 + (unsigned)random_below(r, 8);
	struct window w;

	sim_start(&sim, &cfg, random_next(r));
	for (unsigned i = 0; i < pools; i++)
		add_bound_pool(pools, pools % 2);
	sim_run(&sim, 4 * sim.cfg.tick);
	if (window_begin(&w, &sim)) {
		window_run(&w, 4 * sim.cfg.tick);
		window_end(&w);
		if (w.worst_level > 0.001)
			window_show(&w, 1);
		assert_true(w.worst_level <= 0.001);
		all_windows++;
	}
	sim_end(&sim);
}

static void rates_of_those_who_are_bound(void **state)
{
	(void)state;
	all_windows = 0;
	random_runs(400, run_division);
	assert_true(getenv("MODEL_SEED") || all_windows > 300);
}

/* ---- loads that never keep still ---- */

#define GUARDED 3u

/* Pools 0 .. GUARDED - 1 have a reservation, no shares to speak of, and one vcpu that always wants to run. */
struct guarded {
	struct sim_entity *x;
	double reserved;        /* CPUs */
	double ahead, high;     /* of what was reserved, in ticks; and the most so far */
	double worst;           /* most that any window fell short */
	uint64_t used;
};

static void guard(struct guarded *g)
{
	uint64_t reservation = some(SCHED_ONE_CPU / 10, SCHED_ONE_CPU * 6 / 10);
	struct sim_pool *p = sim_pool(&sim, NULL, reservation, SCHED_NO_LIMIT, 1);

	assert_non_null(p);
	*g = (struct guarded){.x = sim_entity(&sim, p, NULL), .reserved = (double)reservation / SCHED_ONE_CPU};
	assert_non_null(g->x);
	sim_want(g->x, SIM_BURNER, 0, 0);
}

static void follow(struct guarded *g, uint64_t ticks)
{
	g->ahead += (double)(g->x->used - g->used) - g->reserved * (double)ticks;
	g->used = g->x->used;
	g->high = MAX(g->high, g->ahead);
	g->worst = MAX(g->worst, g->high - g->ahead);
}

static struct sim_pool *some_unguarded(void)
{
	return &sim.pool[some(GUARDED, sim.pools - 1)];
}

static void add_restless(void)
{
	struct sched_attr attr = {.latency = one_in(4), .gang = one_in(3), .exclusive = sim.cfg.cpus > 3 && one_in(40)};
	struct sim_entity *x = sim_entity(&sim, some_unguarded(), &attr);
	static const enum sim_kind kinds[] = {SIM_BURNER, SIM_BURSTY, SIM_BURSTY, SIM_BURSTY, SIM_PERIODIC};
	uint64_t burst = some(SIM_SLICE / 50, 3 * SIM_SLICE);

	if (x)
		sim_want(x, kinds[some(0, ARRAY_SIZE(kinds) - 1)], some(burst, 6 * burst), burst);
}

/* Numbers of the guarded stay; the others' reservations leave them theirs. */
static void disturb(unsigned most, bool limits)
{
	struct sim_entity *x = &sim.entity[some(GUARDED, MAX(sim.entities, GUARDED + 1) - 1)];
	struct sim_pool *p = some_unguarded();
	struct rls n = {.limit = SCHED_NO_LIMIT, .shares = some_shares()};

	switch (some(0, 7)) {
	case 0:
		n.limit = limits && one_in(2) ? some(SCHED_ONE_CPU / 50, 2 * SCHED_ONE_CPU) : SCHED_NO_LIMIT;
		(void)sim_pool_set(&sim, p, &n);
		break;
	case 1:
		if (x->added && (x->blocked || (x->on < 0 && x->held < 0)))
			sim_remove(x);
		break;
	case 2:
		if (sim.entities < most)
			add_restless();
		break;
	default:
		if (x->added && x->blocked)
			sim_poke(x, some(1, SIM_SLICE));
	}
}

/* @limits: others' limits change as well. */
static void restless(struct random_state *r, bool limits)
{
	struct sched_config cfg = {.cpus = 2 + (unsigned)random_below(r, 5)};
	struct guarded g[GUARDED];
	uint64_t longest = 0;

	sim_start(&sim, &cfg, random_next(r));
	sim.check_every = 3;
	for (unsigned i = 0; i < GUARDED; i++)
		guard(&g[i]);
	for (unsigned i = 0; i < 6; i++)
		assert_non_null(sim_pool(&sim, i > 3 ? &sim.pool[GUARDED] : NULL, 0, SCHED_NO_LIMIT, some_shares()));
	for (unsigned i = 0; i < 6 * cfg.cpus; i++)
		add_restless();
	for (unsigned i = 0; i < 4000; i++) {
		uint64_t before = sim.now;

		sim_run(&sim, some(1, SIM_SLICE / 2));
		for (unsigned k = 0; k < GUARDED; k++)
			follow(&g[k], sim.now - before);
		longest = MAX(longest, sim_idle_beside_work(&sim));
		disturb(12 * cfg.cpus, limits);
	}
	assert_true(sim_sums_agree(&sim));
	decisions += sim.decisions;
	for (unsigned k = 0; k < GUARDED; k++) {
		worst_short = MAX(worst_short, g[k].worst);
		if (g[k].worst > 2 * SIM_SLICE + SIM_TICK)
			failed("%u CPUs: a reservation of %.3f CPU falls short by %.2f slices", cfg.cpus, g[k].reserved,
			       g[k].worst / SIM_SLICE);
	}
	longest_idle = MAX(longest_idle, longest);
	if (longest > SIM_TICK)
		failed("%u CPUs: one idles beside work for %.2f ticks", cfg.cpus, (double)longest / SIM_TICK);
	if (passed_limits() > SIM_TICK)
		failed("a limit was passed by %.2f ticks in a window", (double)passed_limits() / SIM_TICK);
	sim_end(&sim);
}

static void run_restless(struct random_state *r) { restless(r, false); }
static void run_restless_limits(struct random_state *r) { restless(r, true); }

/* ---- runs ---- */

/*
 * The last figure: what no window may be off by, as a part of what is allowed. Where somebody is bound to a CPU that is
 * full, and on 256 CPUs, of which each looks at a few only, it is more than 1, and then for one window of
 * WINDOWS_PER_EXCEPTION at most: with the seeds of a plain run, none. 100 rounds are within their bar everywhere.
 */
static const struct load loads[] = {
	{"few", 4, 12, 5, 20, 200, false, true, 1, 1},
	{"bound", 4, 14, 4, 12, 200, true, true, 1, 1.5},
	{"some", 16, 100, 20, 8, 300, false, false, 13, 1},
	{"many", 256, SIM_ENTITIES, 120, 3, 60, false, false, 997, 2},
};

static void run_few(struct random_state *r) { run_load(&loads[0], r); }
static void run_bound(struct random_state *r) { run_load(&loads[1], r); }
static void run_some(struct random_state *r) { run_load(&loads[2], r); }
static void run_many(struct random_state *r) { run_load(&loads[3], r); }

static void run_windows(unsigned seeds, void (*run)(struct random_state *r))
{
	beyond = all_windows = 0;
	random_runs(seeds, run);
	if (beyond * WINDOWS_PER_EXCEPTION > all_windows)
		fail_msg("%u of %u windows are beyond the bar", beyond, all_windows);
}

static void few_entities(void **state)
{
	(void)state;
	run_windows(30, run_few);
}

static void few_that_are_bound(void **state)
{
	(void)state;
	run_windows(20, run_bound);
}

static void a_hundred_entities(void **state)
{
	(void)state;
	run_windows(10, run_some);
}

static void a_thousand_entities(void **state)
{
	(void)state;
	run_windows(3, run_many);
}

static void loads_that_never_keep_still(void **state)
{
	(void)state;
	random_runs(8, run_restless);
}

static void loads_whose_limits_change(void **state)
{
	(void)state;
	random_runs(8, run_restless_limits);
}

/* The long run: all of the above with ever new seeds; what is off is counted, and shown at the end. */
static void many_decisions(void **state)
{
	static void (*const runs[])(struct random_state *) = {run_few, run_bound, run_some, run_many, run_restless,
						      run_restless_limits};
	uint64_t wanted = strtoull(getenv("MODEL_DECISIONS"), NULL, 0);

	(void)state;
	for (uint64_t seed = 1; decisions < wanted; seed++) {
		struct random_state r = random_seed(seed);

		long_seed = seed;
		runs[seed % ARRAY_SIZE(runs)](&r);
	}
	print_message("%llu decisions, %u windows: %u beyond the bar, the worst %.2f of what is allowed, over 100 "
		      "rounds %.2f; a limit passed by %.2f ticks, a reservation short by %.2f slices, idle beside work "
		      "for %.2f ticks\n",
		      (unsigned long long)decisions, all_windows, beyond, worst_window, worst_rounds,
		      (double)worst_over / SIM_TICK, worst_short / SIM_SLICE, (double)longest_idle / SIM_TICK);
	assert_int_equal(all_missed, 0);
	assert_true(beyond * WINDOWS_PER_EXCEPTION <= all_windows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_entities),
		cmocka_unit_test(few_that_are_bound),
		cmocka_unit_test(rates_of_those_who_are_bound),
		cmocka_unit_test(a_hundred_entities),
		cmocka_unit_test(a_thousand_entities),
		cmocka_unit_test(loads_that_never_keep_still),
		cmocka_unit_test(loads_whose_limits_change),
	};
	const struct CMUnitTest endurance[] = {cmocka_unit_test(many_decisions)};

	long_run = getenv("MODEL_DECISIONS") != NULL;
	return long_run ? cmocka_run_group_tests(endurance, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
