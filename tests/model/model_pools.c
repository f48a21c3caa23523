/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools that change many at a time while what is in them runs, against a model that
 * only walks upwards and adds up: who may be where, whose limits hold, and what
 * each pool's figures come to, all of them, to the tick. Changes are planned, committed
 * and settled step by step as guest/pool.c does it, and the CPUs go on in between.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "sched/sched.h"
#include "tests/fakes/sched_rig.h"
#include "tests/model/random.h"

#define CPUS 3u
#define GROUPS 14u /* the first ones have pools below them, */
#define NODES 40u  /* the others entities */
#define ROOT NODES
#define ENTITIES 48u
#define STEPS 1200u
#define SLICE 5000ull
#define FIGURES (sizeof(struct sched_figures) / sizeof(uint64_t))

static struct sched *s;
static struct random_state *source;
static uint64_t now;
static struct sched_pool node[NODES];
static struct sched_entity entity[ENTITIES];
static struct sched_entity *runs[CPUS];
static unsigned done, refused, moved;

/* What there should be: parents by index. */
struct tree {
	unsigned parent[NODES];
	struct rls numbers[NODES];
};

static struct tree tree;
static unsigned home[ENTITIES];           /* the node of an entity that is there, or ROOT */
static bool bound[ENTITIES];              /* to CPU 0 */
static bool counts[NODES][NODES + 1];     /* what is in a node counts in a pool */
static uint64_t seen[ENTITIES][FIGURES], total[NODES + 1][FIGURES];

static unsigned below(unsigned n) { return (unsigned)random_below(source, n); }

static struct sched_pool *pool_of(unsigned i) { return i == ROOT ? sched_root(s) : &node[i]; }

/* ---- the model ---- */

static unsigned depth(const struct tree *t, unsigned i)
{
	unsigned steps = 0;

	for (; i != ROOT && steps <= NODES; steps++)
		i = t->parent[i];
	return steps;
}

static unsigned leaves(unsigned i)
{
	unsigned n = 0;

	for (unsigned e = 0; e < ENTITIES; e++)
		n += home[e] == i;
	return n;
}

static bool fits(const struct tree *t)
{
	uint64_t on_cpu_0 = 0;

	for (unsigned p = 0; p <= NODES; p++) {
		uint64_t sum = 0;

		for (unsigned i = 0; i < NODES; i++)
			sum += t->parent[i] == p ? t->numbers[i].reservation : 0;
		if (sum > (p == ROOT ? CPUS * SCHED_ONE_CPU : t->numbers[p].reservation))
			return false;
	}
	for (unsigned e = 0; e < ENTITIES; e++)
		if (home[e] != ROOT && bound[e])
			on_cpu_0 += t->numbers[home[e]].reservation / leaves(home[e]);
	return on_cpu_0 <= SCHED_ONE_CPU;
}

static bool possible(const struct tree *t)
{
	for (unsigned i = 0; i < NODES; i++)
		if (depth(t, i) >= SCHED_DEPTH_MAX)
			return false;
	return fits(t);
}

/* What one has come to since the last look belongs to the pools that count it now. */
static void count_more(unsigned e, const struct sched_figures *f)
{
	for (unsigned k = 0; k < FIGURES; k++) {
		uint64_t more = ((const uint64_t *)f)[k] - seen[e][k];

		seen[e][k] += more;
		for (unsigned p = 0; p <= NODES; p++)
			total[p][k] += counts[home[e]][p] ? more : 0;
	}
}

static void observe(void)
{
	for (unsigned e = 0; e < ENTITIES; e++) {
		struct sched_figures f;

		if (home[e] == ROOT)
			continue;
		sched_stats(s, &entity[e], &f);
		count_more(e, &f);
	}
}

static void count_as_placed(unsigned i)
{
	memset(counts[i], 0, sizeof counts[i]);
	for (unsigned at = i; at != ROOT; at = tree.parent[at])
		counts[i][at] = true;
	counts[i][ROOT] = true;
}

/* ---- it holds ---- */

static void check_node(unsigned i)
{
	struct sched_pool *limited = NULL;

	assert_ptr_equal(node[i].parent, pool_of(tree.parent[i]));
	assert_int_equal(node[i].depth, depth(&tree, i));
	assert_memory_equal(&node[i].numbers, &tree.numbers[i], sizeof(uint64_t[2]) + sizeof(uint32_t));
	for (unsigned at = i; at != ROOT && !limited; at = tree.parent[at])
		limited = tree.numbers[at].limit == SCHED_NO_LIMIT ? NULL : &node[at];
	assert_ptr_equal(node[i].limited, limited);
	assert_int_equal(node[i].limit_ticks == UINT64_MAX, tree.numbers[i].limit == SCHED_NO_LIMIT);
}

static void check(void)
{
	observe();
	assert_true(sched_check(s));
	for (unsigned i = 0; i < NODES; i++)
		check_node(i);
	for (unsigned i = 0; i <= NODES; i++) {
		struct sched_figures f;

		sched_pool_stats(s, pool_of(i), &f);
		assert_memory_equal(&f, total[i], sizeof f);
	}
}

/* ---- what goes on ---- */

static void turn(unsigned cpu)
{
	uint64_t end;

	now += random_below(source, SLICE);
	if (runs[cpu])
		sched_rig_end(s, cpu, runs[cpu], now, below(3) ? SCHED_END_READY : SCHED_END_BLOCKED);
	runs[cpu] = below(4) ? sched_pick(s, cpu, now, &end) : NULL;
}

static void wake_some(void)
{
	unsigned e = below(ENTITIES);

	if (home[e] != ROOT)
		sched_wake(s, &entity[e], now);
}

static void some_turns(void)
{
	for (unsigned n = below(6); n > 0; n--) {
		turn(below(CPUS));
		wake_some();
	}
}

static void come_or_go(void)
{
	unsigned e = below(ENTITIES), i = GROUPS + below(NODES - GROUPS);
	struct sched_attr attr = {.gang = below(2)};
	struct error err;

	if (home[e] != ROOT) {
		if (!sched_remove(s, &entity[e]))
			return;
		count_more(e, &entity[e].figures);
		home[e] = ROOT;
		return;
	}
	bound[e] = below(2);
	if (bound[e])
		cpuset_add(&attr.affinity, 0);
	home[e] = i;
	memset(&entity[e], 0, sizeof entity[e]);
	memset(seen[e], 0, sizeof seen[e]);
	if (sched_add(s, &entity[e], &node[i], "e", &attr, now, &err) == ST_OK) {
		assert_true(fits(&tree));
		return;
	}
	assert_false(fits(&tree));
	home[e] = ROOT;
}

/* A pool that has nobody goes, and comes back elsewhere with nothing used. */
static void replace_one(void)
{
	unsigned i = below(NODES);
	const struct rls nothing = {.limit = SCHED_NO_LIMIT, .shares = 1};
	struct error err;

	if (sched_pool_remove(s, &node[i], &err) != ST_OK)
		return;
	assert_int_equal(leaves(i), 0);
	tree.parent[i] = ROOT;
	tree.numbers[i] = nothing;
	assert_int_equal(sched_pool_add(s, &node[i], NULL, "again", &nothing, &err), ST_OK);
	memset(total[i], 0, sizeof total[i]);
	for (unsigned other = 0; other < NODES; other++)
		counts[other][i] = false;
	count_as_placed(i);
}

/* ---- changes ---- */

static struct rls random_numbers(void)
{
	static const uint64_t reservations[] = {0, 0, 0, 0, 0, 0, 0, 0, 50000, 250000, 600000};
	struct rls n = {.reservation = reservations[below(ARRAY_SIZE(reservations))], .limit = SCHED_NO_LIMIT, .shares = 1 + below(9)};

	if (below(4) == 0)
		n.limit = n.reservation + 1 + random_below(source, 2 * SCHED_ONE_CPU);
	return n;
}

/* All of a kind of them, or a few; a pool with pools below it is given what those need, as often as not. */
static unsigned random_changes(struct tree *t, struct sched_change *out)
{
	unsigned count = 0, part = below(3) ? 1 + below(8) : 1, first = below(NODES);

	for (unsigned n = 0; n < NODES; n++) {
		unsigned i = (first + n) % NODES;

		if (below(part))
			continue;
		if (below(3))
			t->parent[i] = below(3) ? below(GROUPS) : ROOT;
		if (below(2))
			t->numbers[i] = random_numbers();
		out[count++] = (struct sched_change){.pool = &node[i]};
	}
	for (unsigned k = 0; k < count; k++) {
		unsigned i = (unsigned)(out[k].pool - node);

		out[k].parent = t->parent[i] == ROOT ? NULL : &node[t->parent[i]];
		out[k].numbers = t->numbers[i];
	}
	return count;
}

/* A few of those with entities are promised much: what is bound to one CPU may be more than that. */
static unsigned much_promised(struct tree *t, struct sched_change *out)
{
	unsigned first = GROUPS + below(NODES - GROUPS), count = 0;

	for (unsigned i = first; i < NODES && count < 4; i++) {
		t->parent[i] = ROOT;
		t->numbers[i] = random_numbers();
		t->numbers[i].reservation = below(3) ? 1 + below(700000) : 0;
		t->numbers[i].limit = SCHED_NO_LIMIT;
		out[count++] = (struct sched_change){.pool = &node[i], .numbers = t->numbers[i]};
	}
	return count;
}

/* Every one of them moves, to where there is no loop: a pool comes below those that are before it in a random order. */
static unsigned all_elsewhere(struct tree *t, struct sched_change *out)
{
	unsigned order[GROUPS];

	for (unsigned i = 0; i < GROUPS; i++) {
		unsigned at = below(i + 1);

		order[i] = order[at];
		order[at] = i;
	}
	for (unsigned i = 0; i < NODES; i++) {
		t->parent[i] = i < GROUPS ? (order[i] && below(4) ? below(GROUPS) : ROOT) : below(GROUPS);
		t->numbers[i] = random_numbers();
		t->numbers[i].reservation = 0;
	}
	for (unsigned i = 0; i < GROUPS; i++)
		if (t->parent[i] != ROOT && order[t->parent[i]] >= order[i])
			t->parent[i] = ROOT;
	for (unsigned i = 0; i < NODES; i++)
		out[i] = (struct sched_change){.pool = &node[i], .parent = t->parent[i] == ROOT ? NULL : &node[t->parent[i]],
					       .numbers = t->numbers[i]};
	return NODES;
}

/* Step by step, and the CPUs go on; a step settles one that has entities, as the model sees it. */
static void settle(void)
{
	bool more;

	do {
		unsigned with_entities = 0;

		check();
		more = sched_pool_settle(s);
		for (unsigned i = 0; i < NODES; i++) {
			bool counted[NODES + 1];

			if (node[i].unsettled)
				continue;
			memcpy(counted, counts[i], sizeof counted);
			count_as_placed(i);
			with_entities += leaves(i) > 0 && memcmp(counted, counts[i], sizeof counted) != 0;
		}
		assert_true(with_entities <= 1);
		check();
		some_turns();
	} while (more);
}

static void change(void)
{
	struct sched_change changes[NODES];
	struct tree then = tree;
	unsigned (*const kinds[])(struct tree *, struct sched_change *) = {random_changes, random_changes, much_promised, all_elsewhere};
	unsigned count = kinds[below(ARRAY_SIZE(kinds))](&then, changes);
	struct error err;
	enum status st = sched_pool_plan(s, changes, count, &err);

	assert_int_equal(st == ST_OK, possible(&then));
	if (st != ST_OK) {
		refused++;
		return check();
	}
	done++;
	if (below(4) == 0)
		return check(); /* only asked */
	observe();
	for (unsigned i = 0; i < NODES; i++)
		moved += then.parent[i] != tree.parent[i];
	tree = then;
	sched_pool_commit(s, changes, count);
	settle();
	for (unsigned i = 0; i < NODES; i++)
		assert_false(node[i].unsettled);
}

static void one_run(struct random_state *r)
{
	const struct rls nothing = {.limit = SCHED_NO_LIMIT, .shares = 1};
	struct error err;

	source = r;
	now = 1000;
	s = sched_rig_new(CPUS, SLICE);
	memset(runs, 0, sizeof runs);
	memset(total, 0, sizeof total);
	memset(counts, 0, sizeof counts);
	for (unsigned i = 0; i < NODES; i++) {
		assert_int_equal(sched_pool_add(s, &node[i], NULL, "p", &nothing, &err), ST_OK);
		tree.parent[i] = ROOT;
		tree.numbers[i] = nothing;
		count_as_placed(i);
	}
	for (unsigned e = 0; e < ENTITIES; e++)
		home[e] = ROOT;
	for (unsigned i = 0; i < STEPS; i++) {
		some_turns();
		come_or_go();
		if (below(8) == 0)
			replace_one();
		if (below(4) == 0)
			change();
		check();
	}
	free(s);
}

static void many_at_once(void **state)
{
	(void)state;
	random_runs(6, one_run);
	print_message("%u changes of many done, %u refused, %u moves\n", done, refused, moved);
	assert_true(done > 100 && refused > 100 && moved > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(many_at_once)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
