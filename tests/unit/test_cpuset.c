/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of CPUs: members at the edges of words, walks, full and empty.
 */
#include "tests/cmocka_all.h"

#include "lib/cpuset.h"

static void members(void **state)
{
	static const unsigned some[] = {0, 63, 64, 130, 255};
	struct cpuset s = {0};
	unsigned n = 0;

	(void)state;
	assert_true(cpuset_empty(&s));
	assert_int_equal(cpuset_next(&s, 0), CPUSET_MAX);
	for (unsigned i = 0; i < ARRAY_SIZE(some); i++)
		cpuset_add(&s, some[i]);
	for (unsigned cpu = cpuset_next(&s, 0); cpu < CPUSET_MAX; cpu = cpuset_next(&s, cpu + 1))
		assert_int_equal(cpu, some[n++]);
	assert_int_equal(n, ARRAY_SIZE(some));
	assert_true(cpuset_has(&s, 130));
	assert_false(cpuset_has(&s, 129));
	assert_int_equal(cpuset_next(&s, 65), 130);
	for (unsigned i = 0; i < ARRAY_SIZE(some); i++)
		cpuset_remove(&s, some[i]);
	assert_true(cpuset_empty(&s));
}

static void all(void **state)
{
	struct cpuset s = {0};
	unsigned n = 0;

	(void)state;
	cpuset_fill(&s);
	for (unsigned cpu = cpuset_next(&s, 0); cpu < CPUSET_MAX; cpu = cpuset_next(&s, cpu + 1))
		assert_int_equal(cpu, n++);
	assert_int_equal(n, CPUSET_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members),
		cmocka_unit_test(all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
