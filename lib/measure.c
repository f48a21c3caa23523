/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table of units for reading and writing. Sizes use the binary prefixes of
 * IEC 80000-13, which say what they mean.
 */
#include "lib/measure.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/checked.h"
#include "lib/format.h"

struct unit {
	const char *name;
	uint64_t factor;
};

/* Rising factors. */
static const struct unit byte_units[] = {
	{"B", 1}, {"KiB", BIT(10)}, {"MiB", BIT(20)}, {"GiB", BIT(30)}, {"TiB", BIT(40)},
};
static const struct unit time_units[] = {
	{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"min", 60000000000}, {"h", 3600000000000},
};

static const struct unit share_units[] = {{"ppm", 1}, {"%", 10000}};
/* Networks count bits, and by thousands. */
static const struct unit rate_units[] = {{"B/s", 1}, {"kbit/s", 125}, {"Mbit/s", 125000}, {"Gbit/s", 125000000}};

/* The units of @m; none for a plain count. */
static const struct unit *units_of(enum measure m, size_t *count)
{
	switch (m) {
	case MEASURE_BYTES:
	case MEASURE_PAGES:
		*count = ARRAY_SIZE(byte_units);
		return byte_units;
	case MEASURE_NS:
	case MEASURE_TICKS:
		*count = ARRAY_SIZE(time_units);
		return time_units;
	case MEASURE_PPM:
		*count = ARRAY_SIZE(share_units);
		return share_units;
	case MEASURE_RATE:
		*count = ARRAY_SIZE(rate_units);
		return rate_units;
	default:
		*count = 0;
		return NULL;
	}
}

const char *measure_unit(enum measure m)
{
	size_t count;
	const struct unit *units = units_of(m, &count);

	if (!units)
		return "";
	if (units == rate_units)
		return "bytes/s";
	return units == byte_units ? "bytes" : units == time_units ? "ns" : "ppm";
}

/* Digits at the start of @text; how many, 0 when there are none or they do not fit. */
static size_t parse_digits(const char *text, size_t len, uint64_t *out)
{
	uint64_t v = 0;
	size_t i = 0;

	for (; i < len && text[i] >= '0' && text[i] <= '9'; i++)
		if (mul_overflows(v, 10, &v) || add_overflows(v, (uint64_t)(text[i] - '0'), &v))
			return 0;
	*out = v;
	return i;
}

bool measure_parse(enum measure m, const char *text, size_t len, uint64_t *out)
{
	uint64_t number = 0, value;
	size_t used = parse_digits(text, len, &number), count;
	const struct unit *units = units_of(m, &count);

	if (used == 0)
		return false;
	if (used == len) {
		*out = number;
		return true;
	}
	if (text[used] == ' ')
		used++;
	for (size_t i = 0; i < count; i++) {
		if (strlen(units[i].name) != len - used || memcmp(units[i].name, text + used, len - used) != 0)
			continue;
		if (mul_overflows(number, units[i].factor, &value))
			return false;
		*out = value;
		return true;
	}
	return false;
}

const char *measure_format(enum measure m, uint64_t value, char *buf, size_t size)
{
	size_t count, best = 0;
	const struct unit *units = units_of(m, &count);

	for (size_t i = 1; i < count; i++)
		if (value % units[i].factor == 0 && value != 0)
			best = i;
	if (units)
		format(buf, size, "%llu %s", (unsigned long long)(value / units[best].factor), units[best].name);
	else
		format(buf, size, "%llu", (unsigned long long)value);
	return buf;
}
