/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What counters and knobs have in common: measures as text, types, ranges, steps,
 * and a counter's place in its room's figures.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/counter.h"
#include "lib/knob.h"

static void measures_are_read(void **state)
{
	static const struct {
		enum measure measure;
		const char *text;
		bool good;
		uint64_t value;
	} rows[] = {
		{MEASURE_COUNT, "0", true, 0},
		{MEASURE_COUNT, "18446744073709551615", true, UINT64_MAX},
		{MEASURE_COUNT, "18446744073709551616", false, 0},
		{MEASURE_COUNT, "99999999999999999999999", false, 0},
		{MEASURE_COUNT, "", false, 0},
		{MEASURE_COUNT, "-1", false, 0},
		{MEASURE_COUNT, "+1", false, 0},
		{MEASURE_COUNT, " 1", false, 0},
		{MEASURE_COUNT, "1 ", false, 0},
		{MEASURE_COUNT, "1 KiB", false, 0},
		{MEASURE_COUNT, "0x10", false, 0},
		{MEASURE_BYTES, "128 MiB", true, 128ull << 20},
		{MEASURE_BYTES, "128MiB", true, 128ull << 20},
		{MEASURE_BYTES, "128  MiB", false, 0},
		{MEASURE_BYTES, "128 MB", false, 0},
		{MEASURE_BYTES, "128 mib", false, 0},
		{MEASURE_BYTES, "7 B", true, 7},
		{MEASURE_BYTES, "16777215 TiB", true, 16777215ull << 40},
		{MEASURE_BYTES, "16777216 TiB", false, 0},
		{MEASURE_BYTES, "1.5 MiB", false, 0},
		{MEASURE_NS, "5 ms", true, 5000000},
		{MEASURE_NS, "2h", true, 7200000000000ull},
		{MEASURE_NS, "1 min", true, 60000000000ull},
		{MEASURE_NS, "5", true, 5},
		{MEASURE_NS, "5 KiB", false, 0},
		{MEASURE_TICKS, "3 us", true, 3000},
		{MEASURE_PAGES, "4 KiB", true, 4096},
		{MEASURE_RATE, "100 Mbit/s", true, 12500000},
		{MEASURE_RATE, "1kbit/s", true, 125},
		{MEASURE_RATE, "7", true, 7},
		{MEASURE_RATE, "7 B/s", true, 7},
		{MEASURE_RATE, "7 MiB", false, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t out = 42;

		assert_int_equal(measure_parse(rows[i].measure, rows[i].text, strlen(rows[i].text), &out), rows[i].good);
		assert_int_equal(out, rows[i].good ? rows[i].value : 42);
	}
}

static void measures_are_written(void **state)
{
	static const struct {
		enum measure measure;
		uint64_t value;
		const char *text;
	} rows[] = {
		{MEASURE_COUNT, 1024, "1024"},          {MEASURE_BYTES, 0, "0 B"},
		{MEASURE_BYTES, 1023, "1023 B"},        {MEASURE_BYTES, 1024, "1 KiB"},
		{MEASURE_BYTES, 3ull << 40, "3 TiB"},   {MEASURE_NS, 0, "0 ns"},
		{MEASURE_NS, 1500, "1500 ns"},          {MEASURE_NS, 5000000, "5 ms"},
		{MEASURE_NS, 90000000000ull, "90 s"},   {MEASURE_NS, 120000000000ull, "2 min"},
		{MEASURE_COUNT, UINT64_MAX, "18446744073709551615"},
		{MEASURE_RATE, 12500000, "100 Mbit/s"}, {MEASURE_RATE, 125000001, "125000001 B/s"},
		{MEASURE_RATE, 2500000000, "20 Gbit/s"},
	};
	char buf[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t back;

		assert_string_equal(measure_format(rows[i].measure, rows[i].value, buf, sizeof buf), rows[i].text);
		assert_true(measure_parse(rows[i].measure, buf, strlen(buf), &back));
		assert_true(back == rows[i].value);
	}
	assert_string_equal(measure_unit(MEASURE_COUNT), "");
	assert_string_equal(measure_unit(MEASURE_PAGES), "bytes");
	assert_string_equal(measure_unit(MEASURE_TICKS), "ns");
	assert_string_equal(measure_unit(MEASURE_RATE), "bytes/s");
}

/* ---- knobs ---- */

static uint64_t odd_refused = 7;

static enum status no_seven(const void *object, uint64_t value, struct error *err)
{
	(void)object;
	return value == odd_refused ? fail(err, ST_BAD_STATE, "not seven") : ST_OK;
}

static const char *const colours[] = {"red", "green", "blue", NULL};
static const struct knob number = {.type = KNOB_NUMBER, .min = 5, .max = 20, .check = no_seven};
static const struct knob bytes = {.type = KNOB_NUMBER, .measure = MEASURE_BYTES, .max = 1 << 20, .step = 4096};
static const struct knob choice = {.type = KNOB_CHOICE, .names = colours};
static const struct knob flag = {.type = KNOB_BOOL};
static const struct knob single = {.type = KNOB_NUMBER, .min = 1, .max = 1};

static void expect(const struct knob *k, uint64_t value, enum status st, const char *text)
{
	struct error err = {""};

	assert_int_equal(knob_check(k, NULL, value, &err), st);
	assert_string_equal(err.text, text);
}

static void values_are_held_to_the_declaration(void **state)
{
	(void)state;
	expect(&number, 5, ST_OK, "");
	expect(&number, 20, ST_OK, "");
	expect(&number, 4, ST_INVALID, "4 is outside 5 to 20");
	expect(&number, 21, ST_INVALID, "21 is outside 5 to 20");
	expect(&number, UINT64_MAX, ST_INVALID, "18446744073709551615 is outside 5 to 20");
	expect(&number, 7, ST_BAD_STATE, "not seven");
	expect(&bytes, 8192, ST_OK, "");
	expect(&bytes, 0, ST_OK, "");
	expect(&bytes, 4097, ST_INVALID, "4097 B is not a multiple of 4 KiB");
	expect(&bytes, (1 << 20) + 4096, ST_INVALID, "1028 KiB is outside 0 B to 1 MiB");
	expect(&choice, 2, ST_OK, "");
	expect(&choice, 3, ST_INVALID, "it takes red, green or blue");
	expect(&flag, 1, ST_OK, "");
	expect(&flag, 2, ST_INVALID, "it takes true or false");
	expect(&single, 2, ST_INVALID, "it can only be 1 in this version, not 2");
}

static void read(const struct knob *k, const char *text, bool good, uint64_t value, const char *sentence)
{
	struct error err = {""};
	uint64_t out = 42;

	assert_int_equal(knob_parse(k, text, strlen(text), &out, &err), good ? ST_OK : ST_INVALID);
	assert_string_equal(err.text, sentence);
	assert_true(!good || out == value);
}

static void texts_are_read(void **state)
{
	char buf[KNOB_TEXT_MAX];

	(void)state;
	read(&flag, "true", true, 1, "");
	read(&flag, "false", true, 0, "");
	read(&flag, "1", false, 0, "it takes true or false");
	read(&flag, "", false, 0, "it takes true or false");
	read(&choice, "blue", true, 2, "");
	read(&choice, "blu", false, 0, "it takes red, green or blue");
	read(&choice, "blues", false, 0, "it takes red, green or blue");
	read(&bytes, "8 KiB", true, 8192, "");
	read(&bytes, "much\x1b", false, 0, "it takes a number of bytes, such as 128 MiB, not much?");
	read(&number, "12", true, 12, "");
	assert_string_equal(knob_text(&choice, 1, buf), "green");
	assert_string_equal(knob_text(&choice, 9, buf), "?");
	assert_string_equal(knob_text(&flag, 1, buf), "true");
	assert_string_equal(knob_text(&bytes, 8192, buf), "8192");
	assert_string_equal(knob_type_name(KNOB_CHOICE), "choice");
}

/* ---- counters ---- */

struct figures {
	uint64_t eight[3];
	uint32_t four;
	uint16_t two;
	uint8_t one;
};

static const char *place_name(unsigned i)
{
	static const char *const names[] = {"a", "b", "c"};

	return names[i];
}

static void counters_are_read_by_width(void **state)
{
	static const struct counter_family places = {.label = "place", .count = 3, .name = place_name};
	static const struct counter rows[] = {
		COUNTER_OF(struct figures, eight, "eight", COUNTER_TOTAL, MEASURE_COUNT, &places, ""),
		COUNTER(struct figures, four, "four", COUNTER_GAUGE, MEASURE_COUNT, ""),
		COUNTER(struct figures, two, "two", COUNTER_GAUGE, MEASURE_COUNT, ""),
		COUNTER(struct figures, one, "one", COUNTER_GAUGE, MEASURE_COUNT, ""),
	};
	struct figures f = {{1ull << 60, 2, UINT64_MAX}, UINT32_MAX, UINT16_MAX, UINT8_MAX};

	(void)state;
	assert_int_equal(counter_values(&rows[0]), 3);
	assert_int_equal(counter_values(&rows[1]), 1);
	assert_true(counter_value(&rows[0], &f, 0) == 1ull << 60);
	assert_true(counter_value(&rows[0], &f, 2) == UINT64_MAX);
	assert_true(counter_value(&rows[1], &f, 0) == UINT32_MAX);
	assert_true(counter_value(&rows[2], &f, 0) == UINT16_MAX);
	assert_true(counter_value(&rows[3], &f, 0) == UINT8_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(measures_are_read),
		cmocka_unit_test(measures_are_written),
		cmocka_unit_test(values_are_held_to_the_declaration),
		cmocka_unit_test(texts_are_read),
		cmocka_unit_test(counters_are_read_by_width),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
