/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree for programs that read all of it again and again (group 76, describe
 * and values): what there is is said once, in declarations, and from then on only
 * numbers, table by table in the order of the declarations.
 */
#include <string.h>

#include "lib/bits.h"
#include "lib/log.h"
#include "lua/change.h"
#include "lua/cmd_tree.h"
#include "lua/control_internal.h"

#define DECLARATION_MAX 1200u /* bytes that one declaration takes, with a family's names, at most */
#define VALUE_MAX 9u

void tree_put_unit(enum measure measure, struct cbor_writer *w)
{
	if (measure_unit(measure)[0])
		command_put_text(w, "unit", measure_unit(measure));
}

enum status tree_page_decode(struct control *c, struct command_args *a, struct failure *f)
{
	(void)c;
	if (a->after.value > UINT32_MAX)
		return fail(&f->error, ST_INVALID, "after is no cursor of this list");
	if (a->max.given && a->max.value == 0)
		return fail(&f->error, ST_INVALID, "max is 0: a page holds one entry at least");
	return ST_OK;
}

/* ---- declarations ---- */

static void put_names(const struct counter_family *family, struct cbor_writer *w)
{
	struct cbor_mark list;

	command_put_text(w, "label", family->label);
	cbor_put_text(w, "names");
	list = cbor_open(w);
	for (unsigned i = 0; i < family->count; i++)
		cbor_put_text(w, family->name(i) ? family->name(i) : "");
	cbor_close_array(w, list);
}

/* Up to where each value of a histogram counts; the last one has no end. */
static void put_bounds(const struct control *c, const struct counter *row, struct cbor_writer *w)
{
	struct cbor_mark list;

	cbor_put_text(w, "bounds");
	list = cbor_open(w);
	for (unsigned i = 0; i + 1 < row->family->count; i++)
		cbor_put_uint(w, ticks_to_ns(BIT(i) - 1, c->cfg.clock->hz));
	cbor_close_array(w, list);
	command_put_text(w, "sum", row->sum);
}

static void put_counter_declaration(const struct control *c, const struct counter *row, struct cbor_writer *w)
{
	static const char *const kinds[] = {
		[COUNTER_TOTAL] = "total", [COUNTER_GAUGE] = "gauge", [COUNTER_STATE] = "state",
		[COUNTER_HISTOGRAM] = "histogram",
	};

	command_put_text(w, "name", row->name);
	command_put_text(w, "kind", kinds[row->kind]);
	tree_put_unit(row->measure, w);
	if (row->family)
		put_names(row->family, w);
	if (row->kind == COUNTER_HISTOGRAM)
		put_bounds(c, row, w);
	command_put_text(w, "help", row->help);
}

static void put_choices(const struct knob *k, struct cbor_writer *w)
{
	struct cbor_mark list;

	cbor_put_text(w, "names");
	list = cbor_open(w);
	for (unsigned i = 0; k->names[i]; i++)
		cbor_put_text(w, k->names[i]);
	cbor_close_array(w, list);
}

static void put_range(const struct knob *k, struct cbor_writer *w)
{
	tree_put_unit(k->measure, w);
	command_put_uint(w, "min", k->min);
	command_put_uint(w, "max", k->max);
	if (k->step)
		command_put_uint(w, "step", k->step);
	if (k->none) {
		cbor_put_text(w, "none");
		cbor_put_bool(w, true);
	}
}

static void put_knob_declaration(const struct knob *k, struct cbor_writer *w)
{
	static const char *const members[] = {
		[MEMBER_NONE] = NULL, [MEMBER_RESERVATION] = "reservation", [MEMBER_LIMIT] = "limit",
		[MEMBER_SHARES] = "shares",
	};

	command_put_text(w, "name", k->name);
	command_put_text(w, "kind", knob_type_name(k->type));
	if (k->type == KNOB_NUMBER)
		put_range(k, w);
	if (k->type == KNOB_CHOICE)
		put_choices(k, w);
	if (k->otherwise >= k->min || k->type != KNOB_NUMBER) { /* else the definition has to say it */
		cbor_put_text(w, "default");
		tree_put_knob_value(k, k->otherwise, w);
	}
	if (members[k->member])
		command_put_text(w, "member", members[k->member]);
	command_put_text(w, "when", k->when == KNOB_LIVE ? "live" : "start");
	command_put_text(w, "role", k->by == KNOB_OWNER ? "owner" : "operator");
	command_put_text(w, "help", k->help);
}

/* One of a kind of VM's tables is described even when there is no VM: cursors count the kinds, not the tables. */
enum status tree_describe(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	uint64_t at = 0, after = a->after.value;
	struct cbor_mark list, map;
	struct tree_table t;
	bool more = false;

	(void)f;
	cbor_put_text(w, "declarations");
	list = cbor_open(w);
	for (unsigned kind = 0; !more && tree_kind(c, kind, &t); kind++) {
		size_t rows = t.counters ? t.counters->count : t.knobs->count;

		for (size_t row = 0; row < rows && !more; row++) {
			if (at++ < after)
				continue;
			more = !command_fits(w, DECLARATION_MAX);
			if (more)
				break;
			map = cbor_open(w);
			command_put_text(w, "group", t.counters ? t.counters->group : t.knobs->group);
			if (t.counters)
				put_counter_declaration(c, &t.counters->rows[row], w);
			else
				put_knob_declaration(&t.knobs->rows[row], w);
			cbor_close_map(w, map);
			after = at;
		}
	}
	cbor_close_array(w, list);
	if (more)
		command_put_uint(w, "next", after);
	return ST_OK;
}

/* ---- values, in the order of the declarations ---- */

static void put_row(struct control *c, struct tree_item *item, struct tree_figures *figures, struct cbor_writer *w)
{
	unsigned values = counter_values(item_counter(item));
	struct cbor_mark list;

	item->member = 0;
	if (values == 1) {
		cbor_put_uint(w, tree_counter(c, item, figures));
		return;
	}
	list = cbor_open(w);
	for (; item->member < values; item->member++)
		cbor_put_uint(w, tree_counter(c, item, figures));
	cbor_close_array(w, list);
}

static size_t values_max(const struct counter_table *t)
{
	size_t n = TREE_PATH_MAX;

	for (size_t row = 0; row < t->count; row++)
		n += VALUE_MAX * counter_values(&t->rows[row]) + 3;
	return n;
}

static void put_table(struct control *c, const struct tree_table *t, struct cbor_writer *w)
{
	struct tree_figures figures = {.table = NULL};
	struct tree_item item = {.table = *t};
	struct cbor_mark triple = cbor_open(w), list;
	char instance[TREE_INSTANCE_MAX];

	cbor_put_text(w, t->counters->group);
	cbor_put_text(w, tree_instance(t, instance));
	list = cbor_open(w);
	for (item.row = 0; item.row < t->counters->count; item.row++)
		put_row(c, &item, &figures, w);
	cbor_close_array(w, list);
	cbor_close_array(w, triple);
}

static bool is_group(const struct arg_text *group, const struct tree_table *t)
{
	const char *name = t->counters->group;

	return !group->given || (strlen(name) == group->len && memcmp(name, group->text, group->len) == 0);
}

enum status tree_values(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	uint32_t cursor = (uint32_t)a->after.value, last = cursor;
	struct tree_table t;
	struct cbor_mark list;
	bool more = false;

	(void)f;
	cbor_put_text(w, "values");
	list = cbor_open(w);
	while (!more && tree_next_table(c, &cursor, &t)) {
		if (!t.counters || !is_group(&a->group, &t))
			continue;
		more = !command_fits(w, values_max(t.counters));
		if (more)
			break;
		put_table(c, &t, w);
		last = cursor;
	}
	cbor_close_array(w, list);
	if (more)
		command_put_uint(w, "next", last);
	return ST_OK;
}

enum status tree_values_decode(struct control *c, struct command_args *a, struct failure *f)
{
	char shown[TREE_PATH_MAX];
	struct tree_table t;

	if (tree_page_decode(c, a, f) != ST_OK)
		return ST_INVALID;
	for (unsigned kind = 0; tree_kind(c, kind, &t); kind++)
		if (t.counters && is_group(&a->group, &t))
			return ST_OK;
	return fail(&f->error, ST_NOT_FOUND, "there is no group of counters called %s",
		    log_clean(shown, sizeof shown, a->group.text, a->group.len));
}
