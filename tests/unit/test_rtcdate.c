/* SPDX-License-Identifier: Apache-2.0 */
/*
 * firmware/rtcdate.c against the C library's calendar, in both formats of the
 * chip, and registers that hold no date.
 */
#include <string.h>
#include <time.h>

#include "firmware/wallclock.h"
#include "lib/bits.h"
#include "tests/cmocka_all.h"

#define BINARY_24H 0x06
#define BCD_24H 0x02
#define BCD_12H 0x00
#define PM 0x80

static uint8_t bcd(int v) { return (uint8_t)(v / 10 << 4 | v % 10); }

static void every_day_as_the_library_counts(void **state)
{
	(void)state;
	for (time_t t = 0; t < 4102444800; t += 86400 - 7) { /* 1970 to 2100, all times of day */
		struct rtc_registers r;
		struct error err;
		struct tm tm;
		uint64_t got;

		gmtime_r(&t, &tm);
		if (tm.tm_year >= 170)
			break; /* two digits: 70 is 1970 */
		r = (struct rtc_registers){(uint8_t)tm.tm_sec,	 (uint8_t)tm.tm_min,	  (uint8_t)tm.tm_hour,
					   (uint8_t)tm.tm_mday, (uint8_t)(tm.tm_mon + 1), (uint8_t)(tm.tm_year % 100),
					   BINARY_24H};
		assert_int_equal(rtc_to_seconds(&r, &got, &err), ST_OK);
		assert_int_equal(got, t);
		r = (struct rtc_registers){bcd(tm.tm_sec),  bcd(tm.tm_min),	bcd(tm.tm_hour),      bcd(tm.tm_mday),
					   bcd(tm.tm_mon + 1), bcd(tm.tm_year % 100), BCD_24H};
		assert_int_equal(rtc_to_seconds(&r, &got, &err), ST_OK);
		assert_int_equal(got, t);
	}
}

static void twelve_hours(void **state)
{
	static const struct { uint8_t hour; unsigned is; } cases[] = {
		{0x12, 0}, {0x01, 1}, {0x11, 11}, {0x12 | PM, 12}, {0x01 | PM, 13}, {0x11 | PM, 23}};
	struct rtc_registers r = {0, 0, 0, 1, 1, bcd(26), BCD_12H};
	uint64_t midnight, got;
	struct error err;

	(void)state;
	r.hour = 0x12;
	assert_int_equal(rtc_to_seconds(&r, &midnight, &err), ST_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		r.hour = cases[i].hour;
		assert_int_equal(rtc_to_seconds(&r, &got, &err), ST_OK);
		assert_int_equal(got - midnight, cases[i].is * 3600);
	}
	r.hour = 0x00;
	assert_int_equal(rtc_to_seconds(&r, &got, &err), ST_INVALID);
	r.hour = 0x13 | PM;
	assert_int_equal(rtc_to_seconds(&r, &got, &err), ST_INVALID);
}

static void what_is_no_date(void **state)
{
	const struct rtc_registers good = {59, 59, 23, 31, 12, 99, BINARY_24H};
	const size_t fields[] = {offsetof(struct rtc_registers, second), offsetof(struct rtc_registers, minute),
				 offsetof(struct rtc_registers, hour),	 offsetof(struct rtc_registers, day),
				 offsetof(struct rtc_registers, month),	 offsetof(struct rtc_registers, year)};
	struct error err;
	uint64_t got;

	(void)state;
	assert_int_equal(rtc_to_seconds(&good, &got, &err), ST_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
		struct rtc_registers bad = good;

		((uint8_t *)&bad)[fields[i]]++;
		assert_int_equal(rtc_to_seconds(&bad, &got, &err), ST_INVALID);
		assert_non_null(strstr(err.text, "real-time clock"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_day_as_the_library_counts),
		cmocka_unit_test(twelve_hours),
		cmocka_unit_test(what_is_no_date),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
