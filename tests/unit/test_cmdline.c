/* SPDX-License-Identifier: Apache-2.0 */
/* Boot arguments: keys, values, bare words, the last one, cut values. */
#include "tests/cmocka_all.h"

#include "firmware/cmdline.h"

static void values(void **state)
{
	const char *line = "  board=bochs selftest  fault=ud\tlog= board=pc ";
	char v[8] = "before";

	(void)state;
	assert_true(cmdline_get(line, "board", v, sizeof(v)));
	assert_string_equal(v, "pc");
	assert_true(cmdline_get(line, "fault", v, sizeof(v)));
	assert_string_equal(v, "ud");
	assert_true(cmdline_get(line, "selftest", v, sizeof(v)));
	assert_string_equal(v, "");
	assert_true(cmdline_get(line, "log", v, sizeof(v)));
	assert_string_equal(v, "");
	assert_true(cmdline_get(line, "selftest", NULL, 0));
	assert_true(cmdline_is(line, "fault", "ud"));
	assert_false(cmdline_is(line, "fault", "u"));
}

static void absent(void **state)
{
	char v[8] = "before";

	(void)state;
	assert_false(cmdline_get("", "a", v, sizeof(v)));
	assert_false(cmdline_get("ab abc=1 xa=2", "a", v, sizeof(v)));
	assert_string_equal(v, "before");
	assert_false(cmdline_is("board", "boar", ""));
}

static void cut(void **state)
{
	char v[4];

	(void)state;
	assert_true(cmdline_get("k=123456", "k", v, sizeof(v)));
	assert_string_equal(v, "123");
	assert_true(cmdline_get("k=1=2", "k", v, sizeof(v)));
	assert_string_equal(v, "1=2");
}

static void numbers(void **state)
{
	const char *line = "a=12 b= c d=x1 e=0 f=18446744073709551616 g=-1 a=7";
	uint64_t v = 99;

	(void)state;
	assert_true(cmdline_number(line, "a", &v));
	assert_int_equal(v, 7);
	assert_true(cmdline_number(line, "e", &v));
	assert_int_equal(v, 0);
	v = 99;
	for (const char *key = "bcdfgz"; *key; key++)
		assert_false(cmdline_number(line, (char[]){*key, 0}, &v));
	assert_int_equal(v, 99);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),
		cmocka_unit_test(absent),
		cmocka_unit_test(cut),
		cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
