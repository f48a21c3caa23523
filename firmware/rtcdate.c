/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The date in the MC146818's registers, in either of its formats. Days are
 * counted by the proleptic Gregorian rule, with the year begun in March so that
 * the leap day comes last.
 */
#include "firmware/wallclock.h"

#include "lib/bits.h"

#define STATUS_B_24H BIT(1)
#define STATUS_B_BINARY BIT(2)
#define HOUR_PM BIT(7)
#define DAYS_OF_400_YEARS 146097
#define DAYS_TO_1970 719468 /* from 0000-03-01 */
#define DAY_SECONDS 86400u

static unsigned plain(const struct rtc_registers *r, uint8_t value)
{
	return r->status_b & STATUS_B_BINARY ? value : (unsigned)(value >> 4) * 10 + (value & 15);
}

static unsigned hour_of(const struct rtc_registers *r)
{
	unsigned hour;

	if (r->status_b & STATUS_B_24H)
		return plain(r, r->hour);
	hour = plain(r, r->hour & (uint8_t)~HOUR_PM);
	if (hour < 1 || hour > 12)
		return 24;
	return hour % 12 + (r->hour & HOUR_PM ? 12 : 0);
}

static uint64_t days_since_1970(unsigned year, unsigned month, unsigned day)
{
	unsigned y = month <= 2 ? year - 1 : year;
	unsigned of_era = y % 400;
	unsigned of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;

	return (uint64_t)(y / 400) * DAYS_OF_400_YEARS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_1970;
}

enum status rtc_to_seconds(const struct rtc_registers *r, uint64_t *out, struct error *err)
{
	unsigned hour = hour_of(r), minute = plain(r, r->minute), second = plain(r, r->second);
	unsigned day = plain(r, r->day), month = plain(r, r->month), year = plain(r, r->year);

	if (year > 99 || month < 1 || month > 12 || day < 1 || day > 31)
		return fail(err, ST_INVALID, "real-time clock: year %u, month %u, day %u is no date", year, month, day);
	if (hour > 23 || minute > 59 || second > 59)
		return fail(err, ST_INVALID, "real-time clock: %u:%u:%u is no time", hour, minute, second);
	year += year < 70 ? 2000 : 1900;
	*out = days_since_1970(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
	return ST_OK;
}
