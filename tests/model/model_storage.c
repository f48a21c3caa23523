/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage at random, from the guests' rings down to the platter (tests/fakes/storage_life.h): what was acknowledged as
 * durable survives every power cut, through layers, snapshots and merges, and nothing reads as what it is not.
 */
#include "tests/cmocka_all.h"

#include "tests/fakes/storage_life.h"
#include "tests/model/random.h"

#define RUNS 24u
#define STEPS 3000u

static struct life_figures all;

static uint64_t below(void *ctx, uint64_t n) { return random_below(ctx, n); }

static void run(struct random_state *r)
{
	struct life_source source = {below, r};
	struct life_figures f;

	storage_life(&source, STEPS, &f);
	all.requests += f.requests;
	all.reads += f.reads;
	all.flushes += f.flushes;
	all.failed += f.failed;
	all.starved += f.starved;
	all.jobs_done += f.jobs_done;
	all.cuts += f.cuts;
	all.checked += f.checked;
	all.halves += f.halves;
}

static void from_the_ring_to_the_platter(void **state)
{
	(void)state;
	random_runs(RUNS, run);
	print_message("%llu requests (%llu reads, %llu flushes, %llu failed), %llu waits for space, %llu operations, "
		      "%llu cuts, %llu sectors looked at after them, %llu halves of an import\n",
		      (unsigned long long)all.requests, (unsigned long long)all.reads, (unsigned long long)all.flushes,
		      (unsigned long long)all.failed, (unsigned long long)all.starved, (unsigned long long)all.jobs_done,
		      (unsigned long long)all.cuts, (unsigned long long)all.checked, (unsigned long long)all.halves);
	/* Otherwise nothing was tried. */
	assert_true(all.requests > 100 && all.reads > 20 && all.flushes > 5 && all.jobs_done > 0 && all.cuts > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(from_the_ring_to_the_platter)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
