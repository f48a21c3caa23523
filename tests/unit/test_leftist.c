/* SPDX-License-Identifier: Apache-2.0 */
/* The leftist tree against an array: random pushes, removals and new keys, its shape checked after each. */
#include "tests/cmocka_all.h"

#include <stdlib.h>

#include "lib/leftist.h"
#include "tests/expect_panic.h"

#define NODES 61

static struct leftist tree;
static struct leftist_node nodes[NODES];
static bool queued[NODES];

static int setup(void **state)
{
	(void)state;
	leftist_init(&tree);
	for (unsigned i = 0; i < NODES; i++) {
		leftist_node_init(&nodes[i]);
		queued[i] = false;
	}
	return 0;
}

static void check(void)
{
	const struct leftist_node *least = NULL;
	unsigned count = 0, walked = 0;

	for (unsigned i = 0; i < NODES; i++) {
		assert_true(leftist_queued(&nodes[i]) == queued[i]);
		if (!queued[i])
			continue;
		count++;
		if (!least || leftist_before(nodes[i].key, least->key))
			least = &nodes[i];
	}
	for (const struct leftist_node *n = tree.top; n; n = leftist_next(n)) {
		assert_true(n >= nodes && n < nodes + NODES && queued[n - nodes]);
		walked++;
	}
	assert_int_equal(walked, count);
	assert_true(tree.top ? tree.top->key == least->key : !least);
	assert_true(leftist_check(&tree));
}

static void test_random(void **state)
{
	const uint64_t base = UINT64_MAX - 20; /* keys wrap */

	(void)state;
	srand(4);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned i = (unsigned)rand() % NODES;
		uint64_t key = base + (uint64_t)rand() % 40;

		if (!queued[i])
			leftist_push(&tree, &nodes[i], key);
		else if (rand() % 2)
			leftist_set(&tree, &nodes[i], key);
		else
			leftist_remove(&tree, &nodes[i]);
		queued[i] = leftist_queued(&nodes[i]);
		check();
	}
}

/* In order or against it, all the same: the way along the right is short. */
static void test_order(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < NODES; i++)
			leftist_push(&tree, &nodes[i], round ? NODES - i : i + 1);
		for (uint64_t last = 1; tree.top; last = last + 1) {
			assert_true(tree.top->key == last);
			assert_true(leftist_check(&tree));
			leftist_remove(&tree, tree.top);
		}
	}
}

static void test_right_way_is_short(void **state)
{
	unsigned length = 0;

	(void)state;
	srand(5);
	for (unsigned i = 0; i < NODES; i++)
		leftist_push(&tree, &nodes[i], (uint64_t)rand() % 1000);
	for (const struct leftist_node *n = tree.top; n; n = n->right)
		length++;
	assert_true(length <= 5); /* log2(61 + 1) */
}

static void test_check_sees(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++)
		leftist_push(&tree, &nodes[i], i);
	assert_true(leftist_check(&tree));
	nodes[0].key = 100;
	assert_false(leftist_check(&tree));
	nodes[0].key = 0;
	tree.top->distance++;
	assert_false(leftist_check(&tree));
}

static void test_twice(void **state)
{
	(void)state;
	leftist_push(&tree, &nodes[0], 1);
	EXPECT_PANIC(leftist_push(&tree, &nodes[0], 2));
	leftist_remove(&tree, &nodes[0]);
	EXPECT_PANIC(leftist_remove(&tree, &nodes[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_random, setup),   cmocka_unit_test_setup(test_order, setup),
		cmocka_unit_test_setup(test_check_sees, setup), cmocka_unit_test_setup(test_twice, setup),
		cmocka_unit_test_setup(test_right_way_is_short, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
