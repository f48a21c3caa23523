/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Units are chosen by name: what ends in _ns is a time; what ends in _bytes, is called bytes, size or free, with
 * meta_ before or not, or is in a map called memory or mem is a number of bytes. docs/protocol.md keeps to that.
 */
#include "tools/show.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "lib/bits.h"

#define INDENT 2
#define KEY_WIDTH 14

/* ---- text ---- */

void show_clean(FILE *out, const char *text, size_t len)
{
	bool utf8 = cbor_utf8_valid(text, len);

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		/* C1 controls are C2 80..9f in UTF-8. */
		bool c1 = utf8 && c == 0xc2 && i + 1 < len && (unsigned char)text[i + 1] < 0xa0;

		if (c == '\n' || c == '\t' || (c >= ' ' && c < 0x7f) || (c >= 0x80 && utf8 && !c1))
			fputc(c, out);
		else if (c != '\r')
			fputc('?', out);
		i += c1;
	}
}

void show_json_string(FILE *out, const char *text, size_t len)
{
	fputc('"', out);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c == '\n')
			fputs("\\n", out);
		else if (c < ' ' || c == 0x7f)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void json_bytes(FILE *out, const uint8_t *data, size_t len)
{
	fputc('"', out);
	for (size_t i = 0; i < len; i++) {
		if (data[i] >= ' ' && data[i] < 0x7f && data[i] != '"' && data[i] != '\\')
			fputc(data[i], out);
		else
			fprintf(out, "\\u%04x", data[i]);
	}
	fputc('"', out);
}

/* ---- JSON ---- */

static void json_container(FILE *out, struct cbor_value v, bool map)
{
	struct cbor_value key, value;
	struct cbor_iter it;
	bool first = true;

	fputc(map ? '{' : '[', out);
	if (!cbor_iterate(v, &it))
		return;
	while (map ? cbor_next_pair(&it, &key, &value) : cbor_next(&it, &value)) {
		if (!first)
			fputs(", ", out);
		first = false;
		if (map) {
			show_json(out, key);
			fputs(": ", out);
		}
		show_json(out, value);
	}
	fputc(map ? '}' : ']', out);
}

void show_json(FILE *out, struct cbor_value v)
{
	struct cbor_value content;
	enum cbor_type type = cbor_type_of(v);
	const uint8_t *bytes;
	const char *text;
	size_t len;
	uint64_t u;
	int64_t i;
	double d;
	bool b;

	if (type == CBOR_MAP || type == CBOR_ARRAY)
		json_container(out, v, type == CBOR_MAP);
	else if (cbor_get_text(v, &text, &len))
		show_json_string(out, text, len);
	else if (cbor_get_bytes(v, &bytes, &len))
		json_bytes(out, bytes, len);
	else if (cbor_get_uint(v, &u))
		fprintf(out, "%" PRIu64, u);
	else if (cbor_get_int(v, &i))
		fprintf(out, "%" PRId64, i);
	else if (cbor_get_bool(v, &b))
		fputs(b ? "true" : "false", out);
	else if (cbor_get_float(v, &d) && d == d && d * 0 == 0)
		fprintf(out, "%.17g", d);
	else if (cbor_get_tag(v, &u, &content))
		show_json(out, content);
	else
		fputs("null", out);
}

void show_json_error(uint64_t rc, const char *why, size_t len)
{
	fputs("{\"error\": ", stdout);
	show_json_string(stdout, why, len);
	printf(", \"rc\": %" PRIu64 "}\n", rc);
}

/* ---- for people ---- */

const char *show_bytes(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	unsigned unit = 0;
	uint64_t whole = bytes;

	while (unit + 1 < ARRAY_SIZE(units) && whole >= 1024 && whole % 1024 == 0) {
		whole /= 1024;
		unit++;
	}
	if (whole < 100000) {
		snprintf(buf, size, "%" PRIu64 " %s", whole, units[unit]);
		return buf;
	}
	/* No round number: two digits behind the point will do. */
	for (unit = 0; unit + 1 < ARRAY_SIZE(units) && bytes >= 1024ull << (10 * unit); unit++)
		continue;
	snprintf(buf, size, "%.2f %s", (double)bytes / (double)(1ull << (10 * unit)), units[unit]);
	return buf;
}

const char *show_ns(uint64_t ns, char *buf, size_t size)
{
	if (ns < 1000000)
		snprintf(buf, size, "%" PRIu64 " us", ns / 1000);
	else if (ns < 10000000000ull)
		snprintf(buf, size, "%.3f s", (double)ns / 1e9);
	else
		snprintf(buf, size, "%" PRIu64 " s", ns / 1000000000);
	return buf;
}

/* True when @key ends in @unit; its length without it is then *shown. */
static bool has_unit(const char *key, size_t len, const char *unit, size_t *shown)
{
	size_t n = strlen(unit);

	if (len <= n || memcmp(key + len - n, unit, n) != 0)
		return false;
	*shown = len - n;
	return true;
}

static bool is_size(const char *key, size_t len)
{
	static const char *const sizes[] = {"bytes", "size", "free", "meta_size", "meta_free"};
	bool is = false;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		is |= len == strlen(sizes[i]) && memcmp(key, sizes[i], len) == 0;
	return is;
}

/* Pairs of where a bucket ends, in ns, and how many are in it: a line each. */
static void show_histogram(FILE *out, struct cbor_value list, int indent)
{
	struct cbor_value pair, v;
	struct cbor_iter it, in;

	fputs(":\n", out);
	if (!cbor_iterate(list, &it))
		return;
	while (cbor_next(&it, &pair)) {
		uint64_t part[2] = {0, 0};

		for (unsigned i = 0, any = cbor_iterate(pair, &in); any && i < 2 && cbor_next(&in, &v); i++)
			cbor_get_uint(v, &part[i]);
		fprintf(out, "%*sbelow %.1f us: %" PRIu64 "\n", indent + INDENT, "", (double)part[0] / 1000, part[1]);
	}
}

static void show_scalar(FILE *out, struct cbor_value v, bool bytes, bool time)
{
	char buf[40];
	const char *text;
	size_t len;
	uint64_t u;

	if (cbor_get_text(v, &text, &len))
		show_clean(out, text, len);
	else if (cbor_get_uint(v, &u) && bytes)
		fputs(show_bytes(u, buf, sizeof buf), out);
	else if (cbor_get_uint(v, &u) && time)
		fputs(show_ns(u, buf, sizeof buf), out);
	else
		show_json(out, v);
}

static void show_map(FILE *out, struct cbor_value map, int indent, bool bytes)
{
	struct cbor_value key, value;
	struct cbor_iter it;

	if (!cbor_iterate(map, &it))
		return;
	while (cbor_next_pair(&it, &key, &value)) {
		size_t len = 0, shown;
		const char *name = "";
		bool time, size;

		cbor_get_text(key, &name, &len);
		shown = len;
		time = has_unit(name, len, "_ns", &shown);
		size = has_unit(name, len, "_bytes", &shown) || bytes || is_size(name, len);
		fprintf(out, "%*s", indent, "");
		show_clean(out, name, shown);
		if (cbor_type_of(value) == CBOR_MAP && cbor_count(value) > 0) {
			fputs(":\n", out);
			show_map(out, value, indent + INDENT, cbor_is_text(key, "memory") || cbor_is_text(key, "mem"));
			continue;
		}
		if (cbor_type_of(value) == CBOR_ARRAY && cbor_is_text(key, "latency")) {
			show_histogram(out, value, indent);
			continue;
		}
		fprintf(out, ":%*s", shown + 1 < KEY_WIDTH ? (int)(KEY_WIDTH - shown - 1) : 1, "");
		show_scalar(out, value, size, time);
		fputc('\n', out);
	}
}

void show_pairs(FILE *out, struct cbor_value map, int indent)
{
	show_map(out, map, indent, false);
}
