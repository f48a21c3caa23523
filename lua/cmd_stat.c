/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMP's statistics group (2): each table of counters is one of its groups, called
 * by its place in the tree ("host.mem", "vm.alpha"), each counter a field. Its
 * values are whole numbers, so a state is its index.
 */
#include <string.h>

#include "lib/bits.h"
#include "lib/log.h"
#include "lua/control_internal.h"

#define STAT_RC_INVALID_GROUP 2 /* the group's own code */

/* The counters at the place @name; false when there are none. */
static bool find_table(struct control *c, const struct arg_text *name, struct tree_table *out)
{
	char place[TREE_PATH_MAX];
	struct tree_table t;
	uint32_t cursor = 0;

	while (tree_next_table(c, &cursor, &t)) {
		if (!t.counters || tree_place(&t, place) != name->len || memcmp(place, name->text, name->len) != 0)
			continue;
		*out = t;
		return true;
	}
	return false;
}

static enum status data_decode(struct control *c, struct command_args *a, struct failure *f)
{
	char shown[TREE_PATH_MAX];
	struct tree_table t;

	if (find_table(c, &a->name, &t))
		return ST_OK;
	f->group_rc = STAT_RC_INVALID_GROUP;
	return fail(&f->error, ST_NOT_FOUND, "there is no group of counters called %s",
		    log_clean(shown, sizeof shown, a->name.text, a->name.len));
}

static void put_field(struct control *c, const struct tree_item *item, struct tree_figures *figures,
		      struct cbor_writer *w)
{
	char place[TREE_PATH_MAX], path[TREE_PATH_MAX];

	tree_path(item, path);
	command_put_uint(w, path + tree_place(&item->table, place) + 1, tree_counter(c, item, figures));
}

static enum status data_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct tree_figures figures = {.table = NULL};
	struct tree_item item = {.row = 0};
	struct cbor_mark map;

	if (!find_table(c, &a->name, &item.table))
		return fail(&f->error, ST_NOT_FOUND, "the group of counters is gone");
	cbor_put_text(w, "name");
	cbor_put_text_n(w, a->name.text, a->name.len);
	cbor_put_text(w, "fields");
	map = cbor_open(w);
	for (item.row = 0; item.row < item.table.counters->count; item.row++)
		for (item.member = 0; item.member < counter_values(item_counter(&item)); item.member++)
			if (tree_shown(&item))
				put_field(c, &item, &figures, w);
	cbor_close_map(w, map);
	return ST_OK;
}

static enum status list_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	char place[TREE_PATH_MAX];
	struct cbor_mark list;
	struct tree_table t;
	uint32_t cursor = 0;

	(void)a;
	(void)f;
	cbor_put_text(w, "stat_list");
	list = cbor_open(w);
	while (tree_next_table(c, &cursor, &t))
		if (t.counters)
			cbor_put_text_n(w, place, tree_place(&t, place));
	cbor_close_array(w, list);
	return ST_OK;
}

static const struct arg data_args[] = {{"name", ARG_TEXT, ARG_OF(name), true}};

static const struct command stat_commands[] = {
	{
		.id = STAT_DATA, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "data",
		.help = "reads the counters of one place", .args = data_args, .arg_count = ARRAY_SIZE(data_args),
		.decode = data_decode, .apply = data_apply,
	},
	{
		.id = STAT_LIST, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "list",
		.help = "lists the places that have counters", .apply = list_apply,
	},
};

const struct command_group stat_group = {
	.id = GROUP_STAT, .name = "statistics", .commands = stat_commands, .count = ARRAY_SIZE(stat_commands),
};
