/* SPDX-License-Identifier: Apache-2.0 */
/* Pools: a table of them, one of them, and what changes them. */
#include <stdio.h>
#include <string.h>

#include "lib/bits.h"
#include "lib/measure.h"
#include "tools/commands.h"
#include "tools/reply.h"
#include "tools/show.h"

#define NAME_SIZE 40
#define PPM_OF_PERCENT 10000.0
#define DEPTH_MAX 8

/* ---- list ---- */

/* Kept until all have come: a pool may stand before its parent. */
struct pool_row {
	char name[NAME_SIZE], parent[NAME_SIZE];
	uint64_t shares, reservation, limit, entitled, allowed, used_ns, vms;
	bool limited;
};

#define ROWS_MAX 64u

struct pool_list {
	struct pool_row rows[ROWS_MAX];
	unsigned count;
};

static void take_row(struct cbor_value entry, void *ctx)
{
	struct pool_list *list = ctx;
	struct cbor_value cpu;
	struct pool_row *r;

	if (list->count == ROWS_MAX || !cbor_find(entry, "cpu", &cpu))
		return;
	r = &list->rows[list->count++];
	reply_text(entry, "name", r->name, sizeof r->name);
	reply_text(entry, "parent", r->parent, sizeof r->parent);
	r->shares = reply_uint(cpu, "shares");
	r->reservation = reply_uint(cpu, "reservation");
	r->limited = reply_has(cpu, "limit");
	r->limit = reply_uint(cpu, "limit");
	r->entitled = reply_uint(cpu, "entitled");
	r->allowed = reply_uint(cpu, "allowed");
	r->used_ns = reply_uint(cpu, "used_ns");
	r->vms = reply_uint(entry, "vm_count");
}

static const char *percent(uint64_t ppm, char *out, size_t size)
{
	snprintf(out, size, "%.4g%%", (double)ppm / PPM_OF_PERCENT);
	return out;
}

static void print_row(const struct pool_row *r, int depth)
{
	char reservation[24], limit[24], entitled[24], allowed[24], used[24], name[NAME_SIZE + 2 * DEPTH_MAX];

	snprintf(name, sizeof name, "%*s%s", 2 * depth, "", r->name);
	printf("%-24s %4llu %8llu %11s %8s %8s %8s %10s\n", name, (unsigned long long)r->vms, (unsigned long long)r->shares,
	       percent(r->reservation, reservation, sizeof reservation),
	       r->limited ? percent(r->limit, limit, sizeof limit) : "none", percent(r->entitled, entitled, sizeof entitled),
	       percent(r->allowed, allowed, sizeof allowed), show_ns(r->used_ns, used, sizeof used));
}

/* Those below @parent, each with what is below it. */
static void print_tree(const struct pool_list *list, const char *parent, int depth)
{
	for (unsigned i = 0; i < list->count && depth < DEPTH_MAX; i++) {
		if (strcmp(list->rows[i].parent, parent) != 0)
			continue;
		print_row(&list->rows[i], depth);
		print_tree(list, list->rows[i].name, depth + 1);
	}
}

enum exit_status pool_list(struct client *c, int argc, char **argv)
{
	static struct pool_list list;
	const struct page_list pages = {
		.group = GROUP_CPU, .command = CPU_POOL_LIST, .key = "pools", .each = take_row, .ctx = &list,
	};
	enum exit_status st;

	(void)argc;
	(void)argv;
	list.count = 0;
	st = page_list_show(c, &pages);
	if (st == EXIT_OK && !c->json) {
		printf("%-24s %4s %8s %11s %8s %8s %8s %10s\n", "pool", "vms", "shares", "reservation", "limit", "entitled",
		       "allowed", "used");
		print_tree(&list, "", 0);
	}
	return st;
}

/* ---- one ---- */

enum exit_status pool_show(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	request_begin(&r);
	request_text(&r, "name", argv[0]);
	return request_show(c, CLIENT_READ, GROUP_CPU, CPU_POOL_SHOW, &r);
}

enum exit_status pool_delete(struct client *c, int argc, char **argv)
{
	return request_each(c, GROUP_CPU, CPU_POOL_REMOVE, argc, argv);
}

enum exit_status pool_move(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	request_begin(&r);
	request_text(&r, "name", argv[0]);
	request_text(&r, "pool", argv[1]);
	return request_do(c, GROUP_CPU, CPU_POOL_MOVE, &r);
}

/* ---- create, set ---- */

struct pool_words {
	const char *name, *parent;
	const char *number[3]; /* in the order of number_options */
	uint64_t value[3];
};

static const struct {
	const char *option, *key;
	enum measure measure;
} number_options[] = {
	{"--shares", "shares", MEASURE_COUNT},
	{"--reservation", "reservation", MEASURE_PPM},
	{"--limit", "limit", MEASURE_PPM},
};

static bool is_none(const char *text)
{
	return strcmp(text, "none") == 0;
}

static bool read_number(unsigned i, const char *text, struct pool_words *w)
{
	w->number[i] = text;
	if (strcmp(number_options[i].key, "limit") == 0 && is_none(text))
		return true;
	if (measure_parse(number_options[i].measure, text, strlen(text), &w->value[i]))
		return true;
	complain("%s takes %s, not %s", number_options[i].option,
		 number_options[i].measure == MEASURE_PPM ? "parts of one processor such as 20% or 150%" : "a number", text);
	return false;
}

/* One option with its value; false after a sentence. */
static bool read_option(const char *option, const char *text, struct pool_words *w)
{
	if (!text) {
		complain("%s needs a value", option);
		return false;
	}
	if (strcmp(option, "--parent") == 0) {
		w->parent = text;
		return true;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(number_options); i++)
		if (strcmp(option, number_options[i].option) == 0)
			return read_number(i, text, w);
	complain("there is no option %s: there are --parent, --shares, --reservation and --limit", option);
	return false;
}

static bool read_words(int argc, char **argv, struct pool_words *w)
{
	*w = (struct pool_words){.name = argv[0]};
	for (int i = 1; i < argc; i += 2)
		if (!read_option(argv[i], i + 1 < argc ? argv[i + 1] : NULL, w))
			return false;
	return true;
}

static void put_config(struct request *r, const struct pool_words *w)
{
	struct cbor_mark map, sub;

	cbor_put_text(&r->w, "config");
	map = cbor_open(&r->w);
	if (w->parent) {
		cbor_put_text(&r->w, "parent");
		cbor_put_text(&r->w, w->parent);
	}
	cbor_put_text(&r->w, "cpu");
	sub = cbor_open(&r->w);
	for (unsigned i = 0; i < ARRAY_SIZE(number_options); i++) {
		if (!w->number[i])
			continue;
		cbor_put_text(&r->w, number_options[i].key);
		if (is_none(w->number[i]))
			cbor_put_text(&r->w, "none");
		else
			cbor_put_uint(&r->w, w->value[i]);
	}
	cbor_close_map(&r->w, sub);
	cbor_close_map(&r->w, map);
}

static enum exit_status write_pool(struct client *c, unsigned command, int argc, char **argv)
{
	struct pool_words w;
	struct request r;

	if (!read_words(argc, argv, &w))
		return EXIT_USAGE;
	request_begin(&r);
	request_text(&r, "name", w.name);
	put_config(&r, &w);
	return request_do(c, GROUP_CPU, command, &r);
}

enum exit_status pool_create(struct client *c, int argc, char **argv)
{
	return write_pool(c, CPU_POOL_CREATE, argc, argv);
}

enum exit_status pool_set(struct client *c, int argc, char **argv)
{
	if (argc == 1) {
		complain("usage: pool set NAME with --parent, --shares, --reservation or --limit");
		return EXIT_USAGE;
	}
	return write_pool(c, CPU_POOL_SET, argc, argv);
}
