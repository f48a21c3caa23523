/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a map is the same walk at each level: find the row, check for a repeat,
 * read the value by kind.
 */
#include "lua/decode.h"

#include <stdarg.h>
#include <string.h>

#include "lib/bits.h"
#include "lib/checked.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/api.h"
#include "lua/bridge.h"
#include "lua/hint.h"

#define SHOWN_KEY_MAX 40
#define BYTES_PER_MBIT 125000u

/* ---- errors ---- */

enum status decode_refuse(struct decoder *d, enum status st, const char *fmt, ...)
{
	char name[VM_NAME_MAX], text[ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	format_v(text, sizeof text, fmt, ap);
	va_end(ap);
	log_clean(name, sizeof name, d->src->name, d->src->name_len);
	if (d->src->origin[0])
		return fail(d->err, st, "%s %s (%.64s): %s", d->what, name, d->src->origin, text);
	return fail(d->err, st, "%s %s: %s", d->what, name, text);
}

enum status decode_wrong_type(struct decoder *d, const char *key, const char *want, struct cbor_value v)
{
	return decode_refuse(d, ST_INVALID, "%s%s takes %s, not %s", d->path, key, want, cbor_type_name(cbor_type_of(v)));
}

static const char *row_key(const void *rows, size_t i)
{
	return ((const struct setting *)rows)[i].key;
}

static enum status unknown_key(struct decoder *d, const struct section *section, const char *key, size_t len)
{
	struct hint_keys known = {.key = row_key, .rows = section->rows, .count = section->count};
	char shown[SHOWN_KEY_MAX], advice[HINT_TEXT_MAX];

	log_clean(shown, sizeof shown, key, len);
	hint_for(shown, d->path, &known, advice, sizeof advice);
	return decode_refuse(d, ST_INVALID, "unknown setting %s%s%s", d->path, shown, advice);
}

/* ---- values ---- */

enum status decode_text(struct decoder *d, const char *key, struct cbor_value v, char *out, size_t size)
{
	const char *text;
	size_t len;

	if (!cbor_get_text(v, &text, &len))
		return decode_wrong_type(d, key, "text", v);
	if (len >= size)
		return decode_refuse(d, ST_INVALID, "%s%s has %zu bytes, at most %zu are possible", d->path, key, len,
				     size - 1);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return decode_refuse(d, ST_INVALID, "%s%s holds a control character at position %zu", d->path, key,
				      i + 1);
	memcpy(out, text, len);
	out[len] = '\0';
	return ST_OK;
}

static enum status read_bool(struct decoder *d, const char *key, struct cbor_value v, bool *out)
{
	return cbor_get_bool(v, out) ? ST_OK : decode_wrong_type(d, key, "true or false", v);
}

static enum status read_count(struct decoder *d, const char *key, struct cbor_value v, unsigned *out)
{
	uint64_t n;

	if (cbor_type_of(v) == CBOR_TAG)
		return decode_refuse(d, ST_INVALID, "%s%s is a plain number and takes no unit", d->path, key);
	if (!cbor_get_uint(v, &n))
		return decode_wrong_type(d, key, "a whole number", v);
	if (n > UINT16_MAX)
		return decode_refuse(d, ST_INVALID, "%s%s is too large", d->path, key);
	*out = (unsigned)n;
	return ST_OK;
}

/* What a number of some unit is called, and how a script writes it. */
static const struct unit_words {
	const char *what, *wire;
} unit_words[UNIT_KINDS] = {
	[UNIT_BYTES] = {"a size such as MiB(128)", "a number of bytes"},
	[UNIT_TIME] = {"a time such as ms(5)", "a number of nanoseconds"},
	[UNIT_SHARE] = {"a share", "a number of millionths"},
	[UNIT_RATE] = {"a rate such as Mbps(100)", "a number of bytes a second"},
};

/* The unit function that a person who wrote the bare number @n may have meant. */
static enum status needs_unit(struct decoder *d, const char *key, enum unit_kind kind, uint64_t n)
{
	uint64_t mib = n >= BIT(20) && is_aligned(n, BIT(20)) ? n >> 20 : n;

	if (kind == UNIT_TIME || kind == UNIT_RATE)
		return decode_refuse(d, ST_INVALID, "%s%s needs a unit: write %s(%llu), not %llu", d->path, key,
				     kind == UNIT_TIME ? "ms" : "Mbps", (unsigned long long)n, (unsigned long long)n);
	return decode_refuse(d, ST_INVALID, "%s%s needs a unit: write MiB(%llu), not %llu", d->path, key,
			     (unsigned long long)mib, (unsigned long long)n);
}

/* A size in bytes or a time in nanoseconds: from a script a quantity, on the wire an integer. */
static enum status read_quantity(struct decoder *d, const char *key, struct cbor_value v, enum unit_kind kind,
				 uint64_t *out)
{
	static const char *const kinds[UNIT_KINDS] = {
		[UNIT_BYTES] = "a size", [UNIT_TIME] = "a time", [UNIT_SHARE] = "a share",
		[UNIT_RATE] = "a rate",
	};
	const struct unit_words *words = &unit_words[kind];
	struct cbor_value content;
	uint64_t tag, n;

	if (!cbor_get_tag(v, &tag, &content)) {
		if (!cbor_get_uint(v, &n))
			return decode_wrong_type(d, key, d->src->units ? words->what : words->wire, v);
		if (d->src->units)
			return needs_unit(d, key, kind, n);
		*out = n;
		return ST_OK;
	}
	if (!d->src->units || tag < BRIDGE_TAG_QUANTITY || tag >= BRIDGE_TAG_QUANTITY + UNIT_KINDS)
		return decode_wrong_type(d, key, words->wire, v);
	if (tag != BRIDGE_TAG_QUANTITY + (uint64_t)kind)
		return decode_refuse(d, ST_INVALID, "%s%s takes %s, not %s", d->path, key, words->what,
				     kinds[tag - BRIDGE_TAG_QUANTITY]);
	if (!cbor_get_uint(content, &n))
		return decode_refuse(d, ST_INVALID, "%s%s is negative", d->path, key);
	*out = n;
	return ST_OK;
}

enum status decode_size(struct decoder *d, const char *key, struct cbor_value v, uint64_t *out)
{
	return read_quantity(d, key, v, UNIT_BYTES, out);
}

static enum status read_number32(struct decoder *d, const char *key, struct cbor_value v, uint32_t *out)
{
	uint64_t n;

	if (cbor_type_of(v) == CBOR_TAG)
		return decode_refuse(d, ST_INVALID, "%s%s is a plain number and takes no unit", d->path, key);
	if (!cbor_get_uint(v, &n))
		return decode_wrong_type(d, key, "a whole number", v);
	if (n > UINT32_MAX)
		return decode_refuse(d, ST_INVALID, "%s%s is too large", d->path, key);
	*out = (uint32_t)n;
	return ST_OK;
}

/* A word, or any whole number that fits the field; what is possible is the definition's rule. */
static enum status read_shares(struct decoder *d, const char *key, struct cbor_value v, uint32_t *out)
{
	static const struct { const char *word; uint32_t shares; } words[] = {
		{"low", RLS_SHARES_DEFAULT / 2}, {"normal", RLS_SHARES_DEFAULT}, {"high", RLS_SHARES_DEFAULT * 2},
	};
	uint64_t n;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!cbor_is_text(v, words[i].word))
			continue;
		*out = words[i].shares;
		return ST_OK;
	}
	if (cbor_type_of(v) == CBOR_TAG)
		return decode_refuse(d, ST_INVALID, "%s%s is a plain number and takes no unit", d->path, key);
	if (!cbor_get_uint(v, &n))
		return decode_wrong_type(d, key, "a whole number, \"low\", \"normal\" or \"high\"", v);
	if (n > RLS_SHARES_MAX)
		return decode_refuse(d, ST_INVALID, "%s%s is %llu, it can be 1 to %u", d->path, key, (unsigned long long)n,
			      RLS_SHARES_MAX);
	*out = (uint32_t)n;
	return ST_OK;
}

/* "none" where that is a limit. */
static bool takes_none(const char *key, struct cbor_value v, uint64_t *out)
{
	if (strcmp(key, "limit") != 0 || !cbor_is_text(v, "none"))
		return false;
	*out = RLS_UNLIMITED;
	return true;
}

/* So many a second. */
static enum status read_rate(struct decoder *d, const char *key, struct cbor_value v, uint64_t *out)
{
	if (takes_none(key, v, out))
		return ST_OK;
	if (cbor_type_of(v) == CBOR_TAG)
		return decode_refuse(d, ST_INVALID, "%s%s is a plain number, of requests a second, and takes no unit",
				     d->path, key);
	return cbor_get_uint(v, out) ? ST_OK : decode_wrong_type(d, key, "a whole number", v);
}

/* Of a network: from a script a quantity, or a number of Mbit/s; on the wire bytes a second. */
static enum status read_mbps(struct decoder *d, const char *key, struct cbor_value v, uint64_t *out)
{
	uint64_t n;

	if (takes_none(key, v, out))
		return ST_OK;
	if (!d->src->units || !cbor_get_uint(v, &n))
		return read_quantity(d, key, v, UNIT_RATE, out);
	if (mul_overflows(n, BYTES_PER_MBIT, out))
		return decode_refuse(d, ST_INVALID, "%s%s is too large", d->path, key);
	return ST_OK;
}

/* Parts of one CPU: from a script a quantity, on the wire millionths. */
static enum status read_part(struct decoder *d, const char *key, struct cbor_value v, uint64_t *out)
{
	static const char want[] = "a part of one CPU such as pct(20) or mhz(500)";
	struct cbor_value content;
	uint64_t tag, n;

	if (takes_none(key, v, out))
		return ST_OK;
	if (!cbor_get_tag(v, &tag, &content)) {
		if (!cbor_get_uint(v, &n))
			return decode_wrong_type(d, key, d->src->units ? want : "a number of millionths of one CPU", v);
		if (d->src->units)
			return decode_refuse(d, ST_INVALID, "%s%s needs a unit: write pct(%llu) or mhz(...), not %llu", d->path,
					     key, (unsigned long long)n, (unsigned long long)n);
		*out = n;
		return ST_OK;
	}
	if (!d->src->units || tag != BRIDGE_TAG_QUANTITY + UNIT_SHARE)
		return decode_refuse(d, ST_INVALID, "%s%s takes %s", d->path, key,
				     d->src->units ? want : "a number of millionths of one CPU");
	if (!cbor_get_uint(content, out))
		return decode_refuse(d, ST_INVALID, "%s%s is negative", d->path, key);
	return ST_OK;
}

/* "0-3,6", or a list of numbers. */
static enum status read_cpus(struct decoder *d, const char *key, struct cbor_value v, uint64_t *out)
{
	struct cbor_iter it;
	struct cbor_value e;
	struct error why;
	const char *text;
	uint64_t cpu;
	size_t len;

	if (cbor_get_text(v, &text, &len))
		return knob_parse_cpus(text, len, out, &why) == ST_OK
			       ? ST_OK : decode_refuse(d, ST_INVALID, "%s%s: %.120s", d->path, key, why.text);
	if (cbor_type_of(v) != CBOR_ARRAY || cbor_count(v) == 0 || !cbor_iterate(v, &it))
		return decode_refuse(d, ST_INVALID, "%s%s takes CPUs such as {0, 2} or \"0-3,6\"", d->path, key);
	*out = 0;
	while (cbor_next(&it, &e)) {
		if (!cbor_get_uint(e, &cpu))
			return decode_wrong_type(d, key, "numbers of CPUs", e);
		if (cpu >= KNOB_CPUS_MAX)
			return decode_refuse(d, ST_INVALID, "%s%s: CPU %llu: in this version it names those up to %u", d->path,
					     key, (unsigned long long)cpu, KNOB_CPUS_MAX - 1);
		*out |= BIT(cpu);
	}
	return ST_OK;
}

static enum status read_choice(struct decoder *d, const struct setting *row, struct cbor_value v, unsigned *out)
{
	const char *const *names = row->detail;
	char all[64] = "";
	size_t len = 0;

	for (unsigned i = 0; names[i]; i++) {
		if (cbor_is_text(v, names[i])) {
			*out = i;
			return ST_OK;
		}
		len += format(all + len, sizeof all - len, "%s\"%s\"", i ? " or " : "", names[i]);
	}
	return decode_refuse(d, ST_INVALID, "%s%s takes %s", d->path, row->key, all);
}

/* ---- the walk ---- */

static enum status read_section(struct decoder *d, const struct section *section, struct cbor_value v);

enum status decode_section(struct decoder *d, const struct section *section, const char *key, struct cbor_value v)
{
	char above[DECODE_PATH_MAX];
	enum status st;

	if (cbor_type_of(v) != CBOR_MAP)
		return decode_wrong_type(d, key, "a table of settings", v);
	memcpy(above, d->path, sizeof above);
	format(d->path, sizeof d->path, "%s%s.", above, key);
	st = read_section(d, section, v);
	memcpy(d->path, above, sizeof above);
	return st;
}

/* Remembers that the definition gave @key, when that is a knob too. */
static void note_given(struct decoder *d, const char *key)
{
	char name[DECODE_PATH_MAX];

	format(name, sizeof name, "%s%s", d->path + d->below, key);
	for (size_t i = 0; i < d->knobs->count; i++)
		if (strcmp(d->knobs->rows[i].name, name) == 0)
			*d->given |= (uint32_t)BIT(i);
}

static enum status read_setting(struct decoder *d, const struct setting *row, struct cbor_value v)
{
	void *field = (char *)d->base + row->offset;

	switch (row->kind) {
	case KIND_TEXT:
		return decode_text(d, row->key, v, field, row->size);
	case KIND_BOOL:
		return read_bool(d, row->key, v, field);
	case KIND_COUNT:
		return read_count(d, row->key, v, field);
	case KIND_SIZE:
		return decode_size(d, row->key, v, field);
	case KIND_SHARES:
		return read_shares(d, row->key, v, field);
	case KIND_PART:
		return read_part(d, row->key, v, field);
	case KIND_RATE:
		return read_rate(d, row->key, v, field);
	case KIND_BYTE_RATE:
		return takes_none(row->key, v, field) ? ST_OK : decode_size(d, row->key, v, field);
	case KIND_BIT_RATE:
		return read_quantity(d, row->key, v, UNIT_RATE, field);
	case KIND_MBPS:
		return read_mbps(d, row->key, v, field);
	case KIND_NUMBER32:
		return read_number32(d, row->key, v, field);
	case KIND_TIME:
		return read_quantity(d, row->key, v, UNIT_TIME, field);
	case KIND_CPUS:
		return read_cpus(d, row->key, v, field);
	case KIND_CHOICE:
		return read_choice(d, row, v, field);
	case KIND_OWN:
		return row->read(d, row->key, v, field);
	case KIND_SECTION:
		return decode_section(d, row->detail, row->key, v);
	}
	return ST_UNSUPPORTED;
}

static const struct setting *find_row(const struct section *section, struct cbor_value key)
{
	for (size_t i = 0; i < section->count; i++)
		if (cbor_is_text(key, section->rows[i].key))
			return &section->rows[i];
	return NULL;
}

static enum status read_section(struct decoder *d, const struct section *section, struct cbor_value v)
{
	struct cbor_value key, value;
	struct cbor_iter it;
	uint64_t seen = 0;

	if (!cbor_iterate(v, &it))
		return ST_INVALID;
	while (cbor_next_pair(&it, &key, &value)) {
		const struct setting *row = find_row(section, key);
		const char *text;
		size_t len;
		enum status st;

		if (!cbor_get_text(key, &text, &len))
			return decode_refuse(d, ST_INVALID, "a setting's name is %s, not text",
					     cbor_type_name(cbor_type_of(key)));
		if (!row)
			return unknown_key(d, section, text, len);
		if (seen & BIT(row - section->rows))
			return decode_refuse(d, ST_INVALID, "%s%s is given twice", d->path, row->key);
		seen |= BIT(row - section->rows);
		note_given(d, row->key);
		st = read_setting(d, row, value);
		if (st != ST_OK)
			return st;
	}
	return ST_OK;
}

/* ---- the whole ---- */

enum status decode_name(struct decoder *d, char *name, char *origin)
{
	if (d->src->name_len >= VM_NAME_MAX)
		return decode_refuse(d, ST_INVALID, "the name has %zu characters, at most %d are possible", d->src->name_len,
				     VM_NAME_MAX - 1);
	memcpy(name, d->src->name, d->src->name_len);
	name[d->src->name_len] = '\0';
	if (memchr(name, '\0', d->src->name_len))
		return decode_refuse(d, ST_INVALID, "the name holds a NUL");
	format(origin, VM_PATH_MAX, "%s", d->src->origin);
	return ST_OK;
}

enum status decode_settings(struct decoder *d, const struct section *top, struct cbor_value v)
{
	if (cbor_type_of(v) != CBOR_MAP)
		return decode_refuse(d, ST_INVALID, "its settings are %s, not a table", cbor_type_name(cbor_type_of(v)));
	return read_section(d, top, v);
}

/* ---- the other way ---- */

void encode_text(struct cbor_writer *w, const char *key, const char *text)
{
	if (!text[0])
		return;
	cbor_put_text(w, key);
	cbor_put_text(w, text);
}

void encode_number(struct cbor_writer *w, const char *key, uint64_t n)
{
	cbor_put_text(w, key);
	cbor_put_uint(w, n);
}

void encode_flag(struct cbor_writer *w, const char *key, bool flag)
{
	cbor_put_text(w, key);
	cbor_put_bool(w, flag);
}

void encode_rls(struct cbor_writer *w, const struct rls *numbers)
{
	encode_number(w, "shares", numbers->shares);
	if (numbers->reservation)
		encode_number(w, "reservation", numbers->reservation);
	if (numbers->limit != RLS_UNLIMITED)
		encode_number(w, "limit", numbers->limit);
}
