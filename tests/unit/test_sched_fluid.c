/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference that the scheduler is measured against, on cases worked out by
 * hand, and its two ways of solving against each other on random trees.
 */
#include "tests/cmocka_all.h"

#include <math.h>
#include <string.h>

#include "tests/model/random.h"
#include "tests/model/sched_fluid.h"

#define NODES_MAX 64u
#define NEAR 1e-5

static struct fluid_node tree[NODES_MAX];
static unsigned count;

static void start(void)
{
	count = 0;
	tree[count++] = (struct fluid_node){.parent = -1, .limit = FLUID_NO_LIMIT, .shares = 1};
}

static unsigned add(int parent, double reservation, double limit, double shares, bool leaf)
{
	tree[count] = (struct fluid_node){.parent = parent, .leaf = leaf, .reservation = reservation, .limit = limit,
		.shares = shares, .demand = 1, .affinity = fluid_first(FLUID_CPUS)};
	return count++;
}

static unsigned leaf(int parent, double shares) { return add(parent, 0, FLUID_NO_LIMIT, shares, true); }
static unsigned pool(int parent, double shares) { return add(parent, 0, FLUID_NO_LIMIT, shares, false); }

static void only_on(unsigned i, unsigned cpu)
{
	memset(&tree[i].affinity, 0, sizeof tree[i].affinity);
	fluid_add(&tree[i].affinity, cpu);
}

static bool close_to(double a, double b) { return fabs(a - b) < NEAR; }

/* Solves in both ways and compares them with @rates of the last @leaves nodes. */
static void expect(unsigned cpus, unsigned leaves, const double *rates)
{
	struct fluid_cpus online = fluid_first(cpus);

	for (unsigned way = 0; way < 2; way++) {
		assert_true((way ? fluid_solve_by_flow : fluid_solve)(tree, count, &online));
		for (unsigned i = 0; i < leaves; i++) {
			if (!close_to(tree[count - leaves + i].rate, rates[i]))
				fail_msg("way %u, leaf %u: %f, not %f", way, i, tree[count - leaves + i].rate, rates[i]);
		}
	}
}
#define EXPECT(cpus, ...)                                                                  \
	expect(cpus, sizeof((double[]){__VA_ARGS__}) / sizeof(double), (double[]){__VA_ARGS__})

static void equals_on_two_cpus(void **state)
{
	(void)state;
	start();
	leaf(0, 1), leaf(0, 1), leaf(0, 1);
	EXPECT(2, 2. / 3, 2. / 3, 2. / 3);
}

static void shares_of_1_2_4(void **state)
{
	(void)state;
	start();
	leaf(0, 1), leaf(0, 2), leaf(0, 4);
	EXPECT(1, 1. / 7, 2. / 7, 4. / 7);
	/* On two CPUs the third would get 8/7: it is held at one CPU, the others divide the second. */
	EXPECT(2, 1. / 3, 2. / 3, 1);
	EXPECT(4, 1, 1, 1);
}

static void nobody_gets_more_than_he_asks_for(void **state)
{
	(void)state;
	start();
	leaf(0, 1), leaf(0, 1), leaf(0, 1);
	tree[1].demand = 0.1;
	EXPECT(1, 0.1, 0.45, 0.45);
	tree[2].demand = 0;
	EXPECT(1, 0.1, 0, 0.9);
}

static void a_reservation_is_a_floor_and_a_limit_a_cap(void **state)
{
	(void)state;
	start();
	add(0, 0.5, FLUID_NO_LIMIT, 1, true), leaf(0, 2), leaf(0, 2);
	EXPECT(1, 0.5, 0.25, 0.25);
	tree[1].demand = 0.2; /* what is not asked for is lent */
	EXPECT(1, 0.2, 0.4, 0.4);
	start();
	add(0, 0, 0.1, 8, true), leaf(0, 1), leaf(0, 2);
	EXPECT(1, 0.1, 0.3, 0.6);
	start();
	add(0, 0, 0.1, 1, true); /* a limit holds on an idle machine too */
	EXPECT(4, 0.1);
}

static void reservations_beyond_the_machine(void **state)
{
	struct fluid_cpus online = fluid_first(1);

	(void)state;
	start();
	add(0, 0.6, FLUID_NO_LIMIT, 1, true), add(0, 0.6, FLUID_NO_LIMIT, 1, true);
	assert_false(fluid_solve(tree, count, &online));
	assert_false(fluid_solve_by_flow(tree, count, &online));
}

static void nested_pools(void **state)
{
	unsigned a, b;

	(void)state;
	start();
	a = pool(0, 1), b = pool(0, 3);
	leaf((int)a, 1), leaf((int)b, 1), leaf((int)b, 2);
	EXPECT(1, 0.25, 0.25, 0.5);
	tree[b].limit = 0.3; /* what the pool may not use goes to the neighbour */
	EXPECT(1, 0.7, 0.1, 0.2);
	tree[a].demand = 1, tree[3].demand = 0;
	EXPECT(1, 0, 0.1, 0.2);
}

/* A pool of two on two CPUs is worth twice a pool of one only as far as one CPU reaches. */
static void two_vcpus_against_one(void **state)
{
	unsigned a, b;

	(void)state;
	start();
	a = pool(0, 1), b = pool(0, 1);
	leaf((int)a, 1), leaf((int)b, 1), leaf((int)b, 1);
	EXPECT(2, 1, 0.5, 0.5);
	tree[a].shares = 3;
	EXPECT(2, 1, 0.5, 0.5);
	tree[b].shares = 9;
	EXPECT(2, 0.5, 0.75, 0.75);
}

static void affinity_is_a_bottleneck(void **state)
{
	(void)state;
	start();
	leaf(0, 1), leaf(0, 1), leaf(0, 1);
	only_on(1, 0), only_on(2, 0);
	EXPECT(2, 0.5, 0.5, 1);
	start();
	leaf(0, 1), leaf(0, 1), leaf(0, 1), leaf(0, 1), leaf(0, 1);
	only_on(1, 0), only_on(2, 0), only_on(3, 0);
	EXPECT(2, 1. / 3, 1. / 3, 1. / 3, 0.5, 0.5);
	only_on(5, 0); /* one who may go anywhere leaves CPU 0 to four */
	EXPECT(2, 0.25, 0.25, 0.25, 1, 0.25);
	start();
	leaf(0, 1), leaf(0, 1);
	only_on(1, 7); /* not online */
	EXPECT(2, 0, 1);
}

static void affinity_of_a_reservation(void **state)
{
	struct fluid_cpus online = fluid_first(2);

	(void)state;
	start();
	add(0, 0.8, FLUID_NO_LIMIT, 1, true), leaf(0, 1), leaf(0, 1);
	only_on(1, 0), only_on(2, 0);
	EXPECT(2, 0.8, 0.2, 1);
	tree[2].reservation = 0.3;
	assert_false(fluid_solve(tree, count, &online));
}

/* ---- both ways on random trees ---- */

static double some(struct random_state *r, double most) { return (double)random_below(r, 1001) / 1000 * most; }

static void random_tree(struct random_state *r, unsigned cpus)
{
	unsigned pools = 1 + (unsigned)random_below(r, 5), leaves = 1 + (unsigned)random_below(r, 14);

	start();
	for (unsigned i = 0; i < pools; i++) {
		double reservation = random_below(r, 3) ? 0 : some(r, 0.8 * cpus / pools);

		/* All below the root: the sum of reservations fits, and no limit is below what is inside. */
		add(0, reservation, random_below(r, 3) ? FLUID_NO_LIMIT : reservation + some(r, cpus), 1 + some(r, 8), false);
	}
	if (random_below(r, 2))
		pool(1, 1 + some(r, 4));
	for (unsigned i = 0, inner = count - 1; i < leaves; i++) {
		unsigned k = leaf(1 + (int)random_below(r, inner), 1 + some(r, 8));

		tree[k].demand = random_below(r, 2) ? 1 : some(r, 1);
	}
}

static void compare_ways(struct random_state *r)
{
	for (unsigned round = 0; round < 20; round++) {
		unsigned cpus = 1 + (unsigned)random_below(r, 6);
		struct fluid_cpus online = fluid_first(cpus);
		double want[NODES_MAX], sum = 0;

		random_tree(r, cpus);
		assert_true(fluid_solve(tree, count, &online));
		for (unsigned i = 0; i < count; i++)
			want[i] = tree[i].rate;
		assert_true(fluid_solve_by_flow(tree, count, &online));
		for (unsigned i = 0; i < count; i++) {
			if (!close_to(tree[i].rate, want[i]))
				fail_msg("round %u, node %u: %f by flow, %f", round, i, tree[i].rate, want[i]);
			sum += tree[i].leaf ? tree[i].rate : 0;
			assert_true(tree[i].rate <= tree[i].limit + NEAR);
		}
		assert_true(close_to(sum, tree[0].rate) && sum <= cpus + NEAR);
	}
}

static void both_ways_agree(void **state)
{
	(void)state;
	random_runs(8, compare_ways);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equals_on_two_cpus),
		cmocka_unit_test(shares_of_1_2_4),
		cmocka_unit_test(nobody_gets_more_than_he_asks_for),
		cmocka_unit_test(a_reservation_is_a_floor_and_a_limit_a_cap),
		cmocka_unit_test(reservations_beyond_the_machine),
		cmocka_unit_test(nested_pools),
		cmocka_unit_test(two_vcpus_against_one),
		cmocka_unit_test(affinity_is_a_bottleneck),
		cmocka_unit_test(affinity_of_a_reservation),
		cmocka_unit_test(both_ways_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
