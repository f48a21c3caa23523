/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The formatter against the host's snprintf: a table of corner cases and a
 * random walk over flags, widths, precisions and lengths.
 */
#include "tests/cmocka_all.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"

/* The table holds formats the compiler cannot check. */
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-zero-length"
#pragma GCC diagnostic ignored "-Wformat-overflow"

#define SAME(...)                                                     \
	do {                                                          \
		char ours[128], theirs[128];                          \
		size_t n = format(ours, sizeof ours, __VA_ARGS__);    \
		int m = snprintf(theirs, sizeof theirs, __VA_ARGS__); \
		assert_string_equal(ours, theirs);                    \
		assert_int_equal(n, m);                               \
	} while (0)

static void numbers_match_snprintf(void **state)
{
	(void)state;
	SAME("");
	SAME("plain");
	SAME("%d %i", 0, -1);
	SAME("%d %d", INT_MAX, INT_MIN);
	SAME("%ld %ld", LONG_MAX, LONG_MIN);
	SAME("%lld %llu", LLONG_MIN, ULLONG_MAX);
	SAME("%hhd %hhu %hd %hu", 0x1ff, 0x1ff, 0x1ffff, 0x1ffff);
	SAME("%zu %zx %zd", SIZE_MAX, SIZE_MAX, (ssize_t)-1);
	SAME("%x %X %lx", 0xdeadbeefu, 0xdeadbeefu, ULONG_MAX);
	SAME("%08x|%-8x|%8x|%.8x", 0xabc, 0xabc, 0xabc, 0xabc);
	SAME("%5d|%-5d|%05d|%.3d|%8.3d|%-8.3d|%08.3d", -7, -7, -7, -7, -7, -7, -7);
	SAME("%.0d|%.0d|%5.0d|%05d|%-05d", 0, 1, 0, 0, 0);
	SAME("%*d|%*d|%.*d|%.*d", 6, 42, -6, 42, 4, 42, -4, 42);
	SAME("%5c|%-5c|%c", 'a', 'b', 'c');
	SAME("100%%");
}

static void strings_match_snprintf(void **state)
{
	char open_ended[3] = {'a', 'b', 'c'};
	char out[16];

	(void)state;
	SAME("%s|%10s|%-10s|%.2s|%10.2s", "text", "text", "text", "text", "text");
	SAME("%s", "");

	/* ASan sees a read beyond the precision in ours (and suspects snprintf of one). */
	format(out, sizeof out, "%.*s|%.0s|", 3, open_ended, open_ended);
	assert_string_equal(out, "abc||");
}

static void where_we_differ_is_as_stated(void **state)
{
	char out[64];

	(void)state;
	format(out, sizeof out, "%p %p", (void *)0x1000, NULL);
	assert_string_equal(out, "0x1000 0x0");
	format(out, sizeof out, "%s", (char *)NULL);
	assert_string_equal(out, "(null)");
	assert_int_equal(format(out, sizeof out, "%q"), 2);
	assert_string_equal(out, "%q");
	format(out, sizeof out, "%d %5", 3);
	assert_string_equal(out, "3 %5");
	assert_int_equal(format(out, sizeof out, "%*d", INT_MAX, 1), 4095);
	assert_int_equal(format(out, sizeof out, "%99999999999d", 1), 4095);
	assert_int_equal(format(out, sizeof out, "%*d", INT_MIN, 1), 4095);
}

static void output_is_bounded_and_ended(void **state)
{
	char *out = malloc(5);

	(void)state;
	assert_int_equal(format(out, 5, "%s", "123456789"), 9);
	assert_string_equal(out, "1234");
	assert_int_equal(format(out, 1, "%d", 77), 2);
	assert_string_equal(out, "");
	assert_int_equal(format(NULL, 0, "%d", 77), 2);
	free(out);
}

/* One random conversion over @kinds; the value is random in length. */
static void random_case(void)
{
	static const char *const lengths[] = {"", "l", "ll", "z", "h", "hh"};
	static const char kinds[] = "diuxX";
	char fmt[32];
	size_t at = 0;
	unsigned long long v = ((unsigned long long)rand() << 33 ^ (unsigned long long)rand() << 11) >> rand() % 64;

	fmt[at++] = '%';
	if (rand() % 3 == 0)
		fmt[at++] = '0';
	if (rand() % 3 == 0)
		fmt[at++] = '-';
	if (rand() % 2)
		at += (size_t)sprintf(fmt + at, "%d", 1 + rand() % 30);
	if (rand() % 3 == 0)
		at += (size_t)sprintf(fmt + at, ".%d", rand() % 30);
	sprintf(fmt + at, "%s%c", lengths[rand() % 6], kinds[rand() % 5]);
	if (rand() % 4 == 0)
		v = 0 - v;
	SAME(fmt, v);
}

static void random_conversions_match_snprintf(void **state)
{
	(void)state;
	srand(1);
	for (int i = 0; i < 100000; i++)
		random_case();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_match_snprintf),
		cmocka_unit_test(strings_match_snprintf),
		cmocka_unit_test(where_we_differ_is_as_stated),
		cmocka_unit_test(output_is_bounded_and_ended),
		cmocka_unit_test(random_conversions_match_snprintf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
