/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and settings by name: get, set, unset, why, and the statistics groups
 * as a stock client sees them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "lib/measure.h"
#include "tools/commands.h"
#include "tools/reply.h"
#include "tools/show.h"

#define PATH_SIZE 128
#define VALUE_SIZE 64

/* ---- values for people ---- */

/* Text of the value @key of an item or a link, with its unit; @unit as measure_unit() says. */
static const char *value_text(struct cbor_value map, const char *key, const char *unit, char *out, size_t size)
{
	enum measure m = strcmp(unit, "bytes") == 0 ? MEASURE_BYTES : strcmp(unit, "ns") == 0 ? MEASURE_NS
			 : strcmp(unit, "ppm") == 0 ? MEASURE_PPM : strcmp(unit, "bytes/s") == 0 ? MEASURE_RATE : MEASURE_COUNT;
	struct cbor_value v;
	const char *text;
	size_t len;
	uint64_t n;
	bool yes;

	out[0] = '\0';
	if (!cbor_find(map, key, &v))
		return out;
	if (cbor_get_uint(v, &n))
		measure_format(m, n, out, size);
	else if (cbor_get_bool(v, &yes))
		snprintf(out, size, "%s", yes ? "true" : "false");
	else if (cbor_get_text(v, &text, &len))
		snprintf(out, size, "%.*s", (int)MIN(len, size - 1), text);
	return out;
}

static void print_clean(const char *text)
{
	show_clean(stdout, text, strlen(text));
}

/* ---- get ---- */

struct get_run {
	const char *prefix;
	bool changed;
};

static void get_fill(struct request *r, void *ctx)
{
	const struct get_run *run = ctx;

	if (run->prefix)
		request_text(r, "prefix", run->prefix);
	if (run->changed) {
		cbor_put_text(&r->w, "changed");
		cbor_put_bool(&r->w, true);
	}
}

static void get_row(struct cbor_value item, void *ctx)
{
	char path[PATH_SIZE], unit[16], value[VALUE_SIZE], origin[16], next[VALUE_SIZE];
	const struct get_run *run = ctx;

	reply_text(item, "path", path, sizeof path);
	reply_text(item, "unit", unit, sizeof unit);
	reply_text(item, "origin", origin, sizeof origin);
	value_text(item, "value", unit, value, sizeof value);
	value_text(item, "next_value", unit, next, sizeof next);
	if (run->prefix && strcmp(path, run->prefix) == 0) {
		print_clean(value);
	} else {
		printf("%-40s ", path);
		print_clean(value);
	}
	if (next[0])
		printf("  (from the next start on: %s)", next);
	if (origin[0] && (!run->prefix || strcmp(path, run->prefix) != 0))
		printf("  [%s]", origin);
	putchar('\n');
}

enum exit_status tree_get(struct client *c, int argc, char **argv)
{
	struct get_run run = {.prefix = NULL};
	const struct page_list list = {
		.group = GROUP_TREE, .command = TREE_LIST, .key = "items", .fill = get_fill, .each = get_row, .ctx = &run,
	};

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--changed") == 0) {
			run.changed = true;
		} else if (!run.prefix && argv[i][0] != '-') {
			run.prefix = argv[i];
		} else {
			complain("usage: get [--changed] [PATH]");
			return EXIT_USAGE;
		}
	}
	return page_list_show(c, &list);
}

/* ---- set, unset ---- */

static void print_setting(struct cbor_value item, const char *asked)
{
	char path[PATH_SIZE], unit[16], value[VALUE_SIZE], origin[16], next[VALUE_SIZE];

	reply_text(item, "path", path, sizeof path);
	reply_text(item, "unit", unit, sizeof unit);
	reply_text(item, "origin", origin, sizeof origin);
	value_text(item, "value", unit, value, sizeof value);
	value_text(item, "next_value", unit, next, sizeof next);
	printf("%s = ", path);
	print_clean(value);
	if (next[0])
		printf(", and from the next start on %s", next);
	if (asked && strcmp(origin, asked) != 0)
		printf(" (an %s is above it, see: why %s)", origin, path);
	putchar('\n');
}

static enum exit_status show_change(struct client *c, unsigned command, struct request *r, const char *asked)
{
	struct cbor_value reply;
	enum exit_status st = client_request(c, CLIENT_WRITE, GROUP_TREE, command, r, &reply);

	if (st != EXIT_OK)
		return st;
	if (!reply_as_json(c, reply))
		print_setting(reply, asked);
	return EXIT_OK;
}

struct set_words {
	const char *path, *value, *why;
	uint64_t for_ns;
};

/* True when @text is a time with a unit, and not nothing. */
static bool read_duration(const char *text, uint64_t *out)
{
	bool bare = text[strspn(text, "0123456789")] == '\0';

	return !bare && measure_parse(MEASURE_NS, text, strlen(text), out) && *out > 0;
}

static bool read_set_words(int argc, char **argv, struct set_words *w)
{
	for (int i = 0; i < argc; i++) {
		bool for_time = strcmp(argv[i], "--for") == 0, why = strcmp(argv[i], "--why") == 0;

		if ((for_time || why) && i + 1 == argc) {
			complain("%s needs a value", argv[i]);
			return false;
		}
		if (why) {
			w->why = argv[++i];
		} else if (for_time) {
			if (!read_duration(argv[++i], &w->for_ns)) {
				complain("--for takes a time such as 60s or 5min, not %s", argv[i]);
				return false;
			}
		} else if (!w->path) {
			w->path = argv[i];
		} else if (!w->value) {
			w->value = argv[i];
		} else {
			complain("usage: set PATH VALUE [--for TIME] [--why TEXT]");
			return false;
		}
	}
	if (!w->value)
		complain("usage: set PATH VALUE [--for TIME] [--why TEXT]");
	return w->value != NULL;
}

enum exit_status tree_set(struct client *c, int argc, char **argv)
{
	struct set_words w = {NULL, NULL, NULL, 0};
	struct request r;

	if (!read_set_words(argc, argv, &w))
		return EXIT_USAGE;
	request_begin(&r);
	request_text(&r, "path", w.path);
	request_text(&r, "value", w.value);
	if (w.why)
		request_text(&r, "why", w.why);
	if (w.for_ns)
		request_uint(&r, "for_ns", w.for_ns);
	return show_change(c, TREE_SET, &r, w.for_ns ? "override" : "operator");
}

enum exit_status tree_unset(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	request_begin(&r);
	request_text(&r, "path", argv[0]);
	return show_change(c, TREE_UNSET, &r, NULL);
}

enum exit_status tree_save(struct client *c, int argc, char **argv)
{
	struct request r;

	request_begin(&r);
	if (argc > 0)
		request_text(&r, "name", argv[0]);
	return request_do(c, GROUP_SETTINGS, SETTINGS_STORE, &r);
}

/* ---- why ---- */

static void print_link(struct cbor_value link, const char *unit)
{
	char origin[16], value[VALUE_SIZE], by[16], where[80], why[128], left[32];

	reply_text(link, "origin", origin, sizeof origin);
	reply_text(link, "by", by, sizeof by);
	reply_text(link, "where", where, sizeof where);
	reply_text(link, "why", why, sizeof why);
	printf("  %-9s %s", origin, value_text(link, "value", unit, value, sizeof value));
	if (reply_has(link, "left_ns"))
		printf(", for %s more, by %s%s", show_ns(reply_uint(link, "left_ns"), left, sizeof left),
		       strcmp(by, "operator") == 0 ? "the " : "a ", by);
	if (where[0]) {
		fputs(", ", stdout);
		print_clean(where);
	}
	if (why[0]) {
		fputs(": ", stdout);
		print_clean(why);
	}
	putchar('\n');
}

enum exit_status tree_why(struct client *c, int argc, char **argv)
{
	struct cbor_value reply, link;
	enum exit_status st;
	struct cbor_iter it;
	struct request r;
	char unit[16];

	(void)argc;
	request_begin(&r);
	request_text(&r, "path", argv[0]);
	st = client_request(c, CLIENT_READ, GROUP_TREE, TREE_WHY, &r, &reply);
	if (st != EXIT_OK)
		return st;
	if (reply_as_json(c, reply))
		return EXIT_OK;
	print_setting(reply, NULL);
	reply_text(reply, "unit", unit, sizeof unit);
	if (reply_list(reply, "chain", &it))
		while (cbor_next(&it, &link))
			print_link(link, unit);
	return EXIT_OK;
}

/* ---- statistics groups ---- */

static enum exit_status list_groups(struct client *c)
{
	struct cbor_value reply, name;
	enum exit_status st;
	struct cbor_iter it;
	struct request r;
	const char *text;
	size_t len;

	request_begin(&r);
	st = client_request(c, CLIENT_READ, GROUP_STAT, STAT_LIST, &r, &reply);
	if (st != EXIT_OK)
		return st;
	if (!reply_as_json(c, reply) && reply_list(reply, "stat_list", &it)) {
		while (cbor_next(&it, &name) && cbor_get_text(name, &text, &len)) {
			show_clean(stdout, text, len);
			putchar('\n');
		}
	}
	return EXIT_OK;
}

enum exit_status tree_stats(struct client *c, int argc, char **argv)
{
	struct cbor_value reply, fields, key, value;
	enum exit_status st;
	struct cbor_iter it;
	struct request r;
	const char *text;
	size_t len;
	uint64_t n;

	if (argc == 0)
		return list_groups(c);
	request_begin(&r);
	request_text(&r, "name", argv[0]);
	st = client_request(c, CLIENT_READ, GROUP_STAT, STAT_DATA, &r, &reply);
	if (st != EXIT_OK)
		return st;
	if (reply_as_json(c, reply))
		return EXIT_OK;
	if (!cbor_find(reply, "fields", &fields) || !cbor_iterate(fields, &it))
		return EXIT_OK;
	while (cbor_next_pair(&it, &key, &value))
		if (cbor_get_text(key, &text, &len) && cbor_get_uint(value, &n))
			printf("%-40.*s %20llu\n", (int)len, text, (unsigned long long)n);
	return EXIT_OK;
}
