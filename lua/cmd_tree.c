/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our group of the tree (76): every counter and every setting by its name, with
 * pages and origins, which the standard groups 2 and 3 do not have. Declarations and
 * whole tables are in cmd_declare.c.
 */
#include "lua/cmd_tree.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/change.h"
#include "lua/control_internal.h"

#define ITEM_MAX (TREE_PATH_MAX + 400u) /* bytes that one entry of a list takes, at most */

/* ---- one item ---- */

static void put_state(const struct counter *row, uint64_t value, struct cbor_writer *w)
{
	const char *name = value < row->family->count ? row->family->name((unsigned)value) : NULL;

	cbor_put_text(w, name ? name : "unknown");
}

void tree_put_knob_value(const struct knob *k, uint64_t value, struct cbor_writer *w)
{
	char text[KNOB_TEXT_MAX];

	if (k->type == KNOB_BOOL)
		cbor_put_bool(w, value != 0);
	else if (k->type == KNOB_NUMBER && !(k->none && value == KNOB_NONE))
		cbor_put_uint(w, value);
	else
		cbor_put_text(w, knob_text(k, value, text));
}

static void put_counter(struct control *c, const struct tree_item *item, struct tree_figures *figures,
			struct cbor_writer *w)
{
	const struct counter *row = item_counter(item);
	uint64_t value = tree_counter(c, item, figures);

	cbor_put_text(w, "value");
	if (row->kind == COUNTER_STATE)
		put_state(row, value, w);
	else
		cbor_put_uint(w, value);
	if (row->kind != COUNTER_HISTOGRAM)
		tree_put_unit(row->measure, w);
}

static void put_setting(struct control *c, const struct tree_item *item, struct cbor_writer *w)
{
	const struct knob *k = item_knob(item);
	struct setting_state now;

	settings_state(c, item, &now);
	cbor_put_text(w, "value");
	tree_put_knob_value(k, now.value, w);
	if (k->type == KNOB_NUMBER)
		tree_put_unit(k->measure, w);
	command_put_text(w, "origin", origin_name(now.origin));
	if (!now.pending)
		return;
	cbor_put_text(w, "next_value");
	tree_put_knob_value(k, now.next_value, w);
}

/* The pairs of an item, inside an open map. */
static void put_item(struct control *c, const struct tree_item *item, struct tree_figures *figures,
		     struct cbor_writer *w)
{
	char path[TREE_PATH_MAX];

	tree_path(item, path);
	command_put_text(w, "path", path);
	if (item_knob(item))
		put_setting(c, item, w);
	else
		put_counter(c, item, figures, w);
}

/* ---- list ---- */

static bool is_changed(struct control *c, const struct tree_item *item)
{
	struct setting_state now;

	if (!item_knob(item))
		return false;
	settings_state(c, item, &now);
	return now.origin != ORIGIN_DEFAULT || now.pending;
}

static bool is_wanted(struct control *c, const struct command_args *a, const struct tree_item *item)
{
	return tree_below(item, a->prefix.text, a->prefix.len) && (!a->changed || is_changed(c, item)) &&
	       (!a->settings || item_knob(item));
}

static enum status list_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	uint64_t max = a->max.given ? a->max.value : UINT64_MAX, count = 0;
	struct tree_figures figures = {.table = NULL};
	uint32_t cursor = (uint32_t)a->after.value, last = cursor;
	struct tree_item item;
	struct cbor_mark list, map;
	bool more = false;

	(void)f;
	cbor_put_text(w, "items");
	list = cbor_open(w);
	while (tree_next(c, &cursor, &item)) {
		if (!is_wanted(c, a, &item))
			continue;
		more = count++ == max || !command_fits(w, ITEM_MAX);
		if (more)
			break;
		map = cbor_open(w);
		put_item(c, &item, &figures, w);
		cbor_close_map(w, map);
		last = cursor;
	}
	cbor_close_array(w, list);
	if (more)
		command_put_uint(w, "next", last);
	return ST_OK;
}

/* A prefix that nothing is below is a name that somebody got wrong. */
static enum status list_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct tree_item item;
	uint32_t cursor = 0;
	enum status st = tree_page_decode(c, a, f);

	if (st != ST_OK || a->prefix.len == 0)
		return st;
	while (tree_next(c, &cursor, &item))
		if (tree_below(&item, a->prefix.text, a->prefix.len))
			return ST_OK;
	return tree_find(c, a->prefix.text, a->prefix.len, &item, &f->error);
}

/* ---- get ---- */

static enum status path_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct tree_item item;

	return tree_find(c, a->path.text, a->path.len, &item, &f->error);
}

static enum status get_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct tree_figures figures = {.table = NULL};
	struct tree_item item;
	enum status st = tree_find(c, a->path.text, a->path.len, &item, &f->error);

	if (st == ST_OK)
		put_item(c, &item, &figures, w);
	return st;
}

/* ---- set, unset ---- */

/* The change that the arguments ask for, checked. */
static enum status read_change(struct control *c, const struct command_args *a, struct setting_change *out,
			       struct error *err)
{
	struct change_request r = {
		.path = a->path.text, .path_len = a->path.len, .value = a->value.value, .for_ns = a->for_ns.value,
		.why = a->why.text, .why_len = a->why.len, .where = "",
	};

	if (a->for_ns.given && a->for_ns.value == 0)
		return fail(err, ST_INVALID, "for_ns is 0: an override lasts from 1 ms to 366 days");
	return change_decode(c, &r, out, err);
}

static enum status set_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct setting_change change;

	return read_change(c, a, &change, &f->error);
}

static enum status set_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct setting_change change;
	enum status st = read_change(c, a, &change, &f->error);

	if (st != ST_OK)
		return st;
	change_apply(c, &change);
	put_item(c, &change.item, NULL, w);
	return ST_OK;
}

static enum status unset_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct tree_item item;
	enum status st = change_find(c, a->path.text, a->path.len, &item, &f->error);

	return st == ST_OK && a->op == SMP_WRITE ? change_allowed(c, &item, &f->error) : st;
}

static enum status unset_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct tree_item item;
	enum status st = change_find(c, a->path.text, a->path.len, &item, &f->error);

	if (st != ST_OK)
		return st;
	change_reset(c, &item, "");
	put_item(c, &item, NULL, w);
	return ST_OK;
}

/* ---- why ---- */

static void put_entry(struct control *c, const struct setting_entry *e, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w);
	uint64_t now = control_ticks(c);

	command_put_text(w, "origin", origin_name(e->origin));
	cbor_put_text(w, "value");
	tree_put_knob_value(e->knob, e->value, w);
	if (e->origin == ORIGIN_OVERRIDE) {
		command_put_text(w, "by", e->by_script ? "script" : "operator");
		command_put_uint(w, "left_ns", e->expires > now ? ticks_to_ns(e->expires - now, c->cfg.clock->hz) : 0);
	}
	if (e->where[0])
		command_put_text(w, "where", e->where);
	if (e->why[0])
		command_put_text(w, "why", e->why);
	cbor_close_map(w, map);
}

static enum status why_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	static struct setting_entry chain[SETTINGS_CHAIN_MAX]; /* the control task's; too large for its stack */
	struct tree_item item;
	enum status st = change_find(c, a->path.text, a->path.len, &item, &f->error);
	struct cbor_mark list;
	unsigned count;

	if (st != ST_OK)
		return st;
	put_item(c, &item, NULL, w);
	count = settings_chain(c, &item, chain);
	cbor_put_text(w, "chain");
	list = cbor_open(w);
	for (unsigned i = 0; i < count; i++)
		put_entry(c, &chain[i], w);
	cbor_close_array(w, list);
	return ST_OK;
}

/* ---- the table ---- */

static const struct arg list_args[] = {
	{"prefix", ARG_TEXT, ARG_OF(prefix), false},  {"after", ARG_NUMBER, ARG_OF(after), false},
	{"max", ARG_NUMBER, ARG_OF(max), false},      {"changed", ARG_BOOL, ARG_OF(changed), false},
	{"settings", ARG_BOOL, ARG_OF(settings), false},
};
static const struct arg path_args[] = {{"path", ARG_TEXT, ARG_OF(path), true}};
static const struct arg set_args[] = {
	{"path", ARG_TEXT, ARG_OF(path), true},
	{"value", ARG_VALUE, ARG_OF(value), true},
	{"why", ARG_TEXT, ARG_OF(why), false},
	{"for_ns", ARG_NUMBER, ARG_OF(for_ns), false},
};
static const struct arg describe_args[] = {{"after", ARG_NUMBER, ARG_OF(after), false}};
static const struct arg values_args[] = {
	{"group", ARG_TEXT, ARG_OF(group), false},
	{"after", ARG_NUMBER, ARG_OF(after), false},
};

#define ARGS(rows) .args = rows, .arg_count = ARRAY_SIZE(rows)

static const struct command tree_commands[] = {
	{.id = TREE_LIST, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "list",
	 .help = "lists counters and settings with their values", ARGS(list_args), .decode = list_decode,
	 .apply = list_apply},
	{.id = TREE_GET, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "get",
	 .help = "reads one counter or setting", ARGS(path_args), .decode = path_decode, .apply = get_apply},
	{.id = TREE_SET, .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .checks_rights = true, .name = "set",
	 .help = "changes a setting, for good or for a time", ARGS(set_args), .decode = set_decode,
	 .apply = set_apply},
	{.id = TREE_UNSET, .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .checks_rights = true, .name = "unset",
	 .help = "takes every change of a setting back", ARGS(path_args), .decode = unset_decode,
	 .apply = unset_apply},
	{.id = TREE_WHY, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "why",
	 .help = "says where a setting's value comes from", ARGS(path_args), .decode = unset_decode,
	 .apply = why_apply},
	{.id = TREE_DESCRIBE, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "describe",
	 .help = "lists the declarations of all counters and settings", ARGS(describe_args), .decode = tree_page_decode,
	 .apply = tree_describe},
	{.id = TREE_VALUES, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "values",
	 .help = "reads whole tables of counters", ARGS(values_args), .decode = tree_values_decode,
	 .apply = tree_values},
};

const struct command_group tree_group = {
	.id = GROUP_TREE, .name = "corbel tree", .commands = tree_commands, .count = ARRAY_SIZE(tree_commands),
};
