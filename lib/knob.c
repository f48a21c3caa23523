/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all knobs have in common: type, range, and values as text. Sentences do
 * not name the knob: the caller puts its path in front.
 */
#include "lib/knob.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"

#define CHOICES_MAX 96
#define SHOWN_MAX 40

const char *knob_type_name(enum knob_type type)
{
	static const char *const names[] = {[KNOB_BOOL] = "bool", [KNOB_NUMBER] = "number", [KNOB_CHOICE] = "choice",
					   [KNOB_CPUS] = "cpus"};

	return (unsigned)type < ARRAY_SIZE(names) ? names[type] : "unknown";
}

static unsigned choices(const struct knob *k)
{
	unsigned n = 0;

	while (k->names[n])
		n++;
	return n;
}

/* "a, b or c" */
static const char *list_choices(const struct knob *k, char out[CHOICES_MAX])
{
	unsigned count = choices(k);
	size_t len = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < count && len < CHOICES_MAX; i++)
		len += format(out + len, CHOICES_MAX - len, "%s%s", i == 0 ? "" : i + 1 == count ? " or " : ", ",
			      k->names[i]);
	return out;
}

static enum status out_of_range(const struct knob *k, uint64_t value, struct error *err)
{
	char low[KNOB_TEXT_MAX], high[KNOB_TEXT_MAX], shown[KNOB_TEXT_MAX];

	measure_format(k->measure, value, shown, sizeof shown);
	measure_format(k->measure, k->min, low, sizeof low);
	measure_format(k->measure, k->max, high, sizeof high);
	if (k->min == k->max)
		return fail(err, ST_INVALID, "it can only be %s in this version, not %s", low, shown);
	return fail(err, ST_INVALID, "%s is outside %s to %s", shown, low, high);
}

enum status knob_check(const struct knob *k, const void *object, uint64_t value, struct error *err)
{
	char names[CHOICES_MAX], step[KNOB_TEXT_MAX], shown[KNOB_TEXT_MAX];

	if (k->type == KNOB_BOOL && value > 1)
		return fail(err, ST_INVALID, "it takes true or false");
	if (k->type == KNOB_CHOICE && value >= choices(k))
		return fail(err, ST_INVALID, "it takes %s", list_choices(k, names));
	if (k->type == KNOB_NUMBER && k->none && value == KNOB_NONE)
		return k->check ? k->check(object, value, err) : ST_OK;
	if (k->type == KNOB_NUMBER && (value < k->min || value > k->max))
		return out_of_range(k, value, err);
	if (k->type == KNOB_NUMBER && k->step && value % k->step)
		return fail(err, ST_INVALID, "%s is not a multiple of %s",
			    measure_format(k->measure, value, shown, sizeof shown),
			    measure_format(k->measure, k->step, step, sizeof step));
	return k->check ? k->check(object, value, err) : ST_OK;
}

bool knob_choice(const struct knob *k, const char *text, size_t len, uint64_t *out)
{
	for (unsigned i = 0; k->names[i]; i++) {
		if (strlen(k->names[i]) != len || memcmp(k->names[i], text, len) != 0)
			continue;
		*out = i;
		return true;
	}
	return false;
}

static enum status parse_bool(const char *text, size_t len, uint64_t *out, struct error *err)
{
	bool yes = len == 4 && memcmp(text, "true", 4) == 0, no = len == 5 && memcmp(text, "false", 5) == 0;

	if (!yes && !no)
		return fail(err, ST_INVALID, "it takes true or false");
	*out = yes;
	return ST_OK;
}

static enum status parse_number(const struct knob *k, const char *text, size_t len, uint64_t *out, struct error *err)
{
	static const char *const examples[MEASURES] = {
		[MEASURE_COUNT] = "", [MEASURE_BYTES] = " of bytes, such as 128 MiB",
		[MEASURE_PAGES] = " of bytes, such as 128 MiB", [MEASURE_NS] = " of nanoseconds, or 5 ms",
		[MEASURE_TICKS] = " of nanoseconds, or 5 ms", [MEASURE_PPM] = " of millionths of one CPU, or 20%",
		[MEASURE_RATE] = " of bytes a second, or 100 Mbit/s",
	};
	char shown[SHOWN_MAX];

	if (k->none && len == 4 && memcmp(text, "none", 4) == 0) {
		*out = KNOB_NONE;
		return ST_OK;
	}
	if (measure_parse(k->measure, text, len, out))
		return ST_OK;
	return fail(err, ST_INVALID, "it takes a number%s, not %s", examples[k->measure],
		    log_clean(shown, sizeof shown, text, len));
}

/* ---- sets of CPUs ---- */

static size_t parse_cpu(const char *text, size_t len, unsigned *out)
{
	size_t i = 0;

	*out = 0;
	for (; i < len && i < 4 && text[i] >= '0' && text[i] <= '9'; i++)
		*out = *out * 10 + (unsigned)(text[i] - '0');
	return i;
}

/* "3" or "0-3" at the start of @text; how much of it that is, 0 when it is none. */
static size_t parse_range(const char *text, size_t len, unsigned *first, unsigned *last)
{
	size_t used = parse_cpu(text, len, first), more;

	*last = *first;
	if (used == 0 || used == len || text[used] != '-')
		return used;
	more = parse_cpu(text + used + 1, len - used - 1, last);
	return more > 0 && *first <= *last ? used + 1 + more : 0;
}

enum status knob_parse_cpus(const char *text, size_t len, uint64_t *out, struct error *err)
{
	bool any = len == 3 && memcmp(text, "any", 3) == 0;
	char shown[SHOWN_MAX];
	uint64_t set = 0;

	for (size_t at = 0; !any && at <= len;) {
		unsigned first, last;
		size_t used = parse_range(text + at, len - at, &first, &last);

		at += used;
		if (used == 0 || (at < len && text[at] != ','))
			return fail(err, ST_INVALID, "it takes CPUs such as 0-3,6, or any, not %s",
				    log_clean(shown, sizeof shown, text, len));
		if (last >= KNOB_CPUS_MAX)
			return fail(err, ST_INVALID, "CPU %u: in this version it names those up to %u", last,
				    KNOB_CPUS_MAX - 1);
		for (unsigned i = first; i <= last; i++)
			set |= BIT(i);
		at++;
	}
	*out = set;
	return ST_OK;
}

static void list_cpus(uint64_t set, char *buf)
{
	size_t len = format(buf, KNOB_TEXT_MAX, "%s", set ? "" : "any");

	for (unsigned i = 0; i < KNOB_CPUS_MAX && len < KNOB_TEXT_MAX; i++) {
		unsigned last = i;

		if (!(set & BIT(i)))
			continue;
		while (last + 1 < KNOB_CPUS_MAX && set & BIT(last + 1))
			last++;
		len += format(buf + len, KNOB_TEXT_MAX - len, last > i ? "%s%u-%u" : "%s%u", len ? "," : "", i, last);
		i = last;
	}
}

/* ---- any ---- */

enum status knob_parse(const struct knob *k, const char *text, size_t len, uint64_t *out, struct error *err)
{
	char names[CHOICES_MAX];

	if (k->type == KNOB_BOOL)
		return parse_bool(text, len, out, err);
	if (k->type == KNOB_NUMBER)
		return parse_number(k, text, len, out, err);
	if (k->type == KNOB_CPUS)
		return knob_parse_cpus(text, len, out, err);
	if (knob_choice(k, text, len, out))
		return ST_OK;
	return fail(err, ST_INVALID, "it takes %s", list_choices(k, names));
}

const char *knob_text(const struct knob *k, uint64_t value, char *buf)
{
	if (k->type == KNOB_BOOL)
		format(buf, KNOB_TEXT_MAX, "%s", value ? "true" : "false");
	else if (k->type == KNOB_CHOICE)
		format(buf, KNOB_TEXT_MAX, "%s", value < choices(k) ? k->names[value] : "?");
	else if (k->type == KNOB_CPUS)
		list_cpus(value, buf);
	else if (k->none && value == KNOB_NONE)
		format(buf, KNOB_TEXT_MAX, "none");
	else
		format(buf, KNOB_TEXT_MAX, "%llu", (unsigned long long)value);
	return buf;
}
