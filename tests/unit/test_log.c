/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines as the sink sees them: levels, stamps, cutting, and that no text
 * can forge a second line. Also panic() and fail(), which only add a target to
 * the formatter.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/log.h"
#include "tests/expect_panic.h"

static char seen[512];
static size_t seen_len;
static unsigned lines;

static void sink(const char *line, size_t len)
{
	assert_true(len < sizeof seen);
	memcpy(seen, line, len);
	seen[len] = '\0';
	seen_len = len;
	lines++;
}

static unsigned long long fixed_us(void)
{
	return 12003456ull;
}

static int reset(void **state)
{
	(void)state;
	log_init(sink, NULL);
	log_set_level(LOG_INFO);
	seen[0] = '\0';
	lines = 0;
	return 0;
}

static void levels_filter_and_name(void **state)
{
	(void)state;
	log_info("hello %d", 5);
	assert_string_equal(seen, "hello 5\n");
	log_warn("w");
	assert_string_equal(seen, "warning: w\n");
	log_error("e");
	assert_string_equal(seen, "error: e\n");
	log_debug("unseen");
	assert_int_equal(lines, 3);
	log_set_level(LOG_DEBUG);
	log_debug("d");
	assert_string_equal(seen, "debug: d\n");
	log_set_level(LOG_ERROR);
	log_warn("unseen");
	assert_int_equal(lines, 4);
}

static void stamp_is_seconds_and_micros(void **state)
{
	(void)state;
	log_init(sink, fixed_us);
	log_info("x");
	assert_string_equal(seen, "[   12.003456] x\n");
}

static void no_sink_is_silent(void **state)
{
	(void)state;
	log_init(NULL, fixed_us);
	log_error("nobody hears");
	assert_int_equal(lines, 0);
}

static void long_lines_are_cut(void **state)
{
	char text[300];

	(void)state;
	memset(text, 'a', sizeof text);
	text[240] = '\0';
	log_info("%s", text);
	assert_int_equal(seen_len, 241);
	assert_memory_equal(seen + 236, "aaaa\n", 6);
	text[240] = 'a';
	text[241] = '\0';
	log_info("%s", text);
	assert_int_equal(seen_len, 241);
	assert_memory_equal(seen + 236, "a...\n", 6);
}

static void text_cannot_forge_a_line(void **state)
{
	(void)state;
	log_info("a\nerror: forged\x1b[2J\x7f\xff");
	assert_string_equal(seen, "a?error: forged?[2J??\n");
}

static void clean_bounds_and_replaces(void **state)
{
	char out[6];

	(void)state;
	assert_string_equal(log_clean(out, sizeof out, "a\0\n~\x80zzz", 8), "a??~?");
	assert_string_equal(log_clean(out, sizeof out, "ab", 2), "ab");
	assert_string_equal(log_clean(out, 1, "ab", 2), "");
	assert_string_equal(log_clean(NULL, 0, "ab", 2), "");
}

static void panic_hands_the_text_over(void **state)
{
	(void)state;
	EXPECT_PANIC(panic("frame %u of %s", 7u, "vm"));
	assert_string_equal(expect_panic_text, "frame 7 of vm");
	EXPECT_PANIC(ASSERT(lines == 77));
	assert_non_null(strstr(expect_panic_text, "assertion failed: lines == 77"));
}

static void fail_returns_and_formats(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(fail(NULL, ST_INVALID, "%d", 1), ST_INVALID);
	assert_int_equal(fail(&err, ST_OVER_LIMIT, "%s: %d", "size", 9), ST_OVER_LIMIT);
	assert_string_equal(err.text, "size: 9");
	fail(&err, ST_INVALID, "%300d", 1);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(levels_filter_and_name, reset),
		cmocka_unit_test_setup(stamp_is_seconds_and_micros, reset),
		cmocka_unit_test_setup(no_sink_is_silent, reset),
		cmocka_unit_test_setup(long_lines_are_cut, reset),
		cmocka_unit_test_setup(text_cannot_forge_a_line, reset),
		cmocka_unit_test_setup(clean_bounds_and_replaces, reset),
		cmocka_unit_test_setup(panic_hands_the_text_over, reset),
		cmocka_unit_test_setup(fail_returns_and_formats, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
