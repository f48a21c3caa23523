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
	static const char *const names[] = {[KNOB_BOOL] = "bool", [KNOB_NUMBER] = "number", [KNOB_CHOICE] = "choice"};

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
		[MEASURE_TICKS] = " of nanoseconds, or 5 ms",
	};
	char shown[SHOWN_MAX];

	if (measure_parse(k->measure, text, len, out))
		return ST_OK;
	return fail(err, ST_INVALID, "it takes a number%s, not %s", examples[k->measure],
		    log_clean(shown, sizeof shown, text, len));
}

enum status knob_parse(const struct knob *k, const char *text, size_t len, uint64_t *out, struct error *err)
{
	char names[CHOICES_MAX];

	if (k->type == KNOB_BOOL)
		return parse_bool(text, len, out, err);
	if (k->type == KNOB_NUMBER)
		return parse_number(k, text, len, out, err);
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
	else
		format(buf, KNOB_TEXT_MAX, "%llu", (unsigned long long)value);
	return buf;
}
