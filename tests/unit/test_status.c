/* SPDX-License-Identifier: Apache-2.0 */
/* Every status has its own name, and numbers outside the enum have one too. */
#include "tests/cmocka_all.h"

#include <string.h>

#include "lib/status.h"

static void names_are_present_and_distinct(void **state)
{
	(void)state;
	for (int i = 0; i < ST_COUNT; i++) {
		assert_non_null(status_name((enum status)i));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(status_name((enum status)i), status_name((enum status)j));
	}
	assert_string_equal(status_name(ST_OK), "ok");
	assert_string_equal(status_name(ST_DENIED), "denied");
}

static void outside_the_enum(void **state)
{
	(void)state;
	assert_string_equal(status_name(ST_COUNT), "unknown status");
	assert_string_equal(status_name((enum status)-1), "unknown status");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_present_and_distinct),
		cmocka_unit_test(outside_the_enum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
