/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMP's enumeration group (10): how a client learns which groups there are.
 */
#include "lib/bits.h"
#include "lua/control_internal.h"

#define ENUM_RC_TOO_MANY 2  /* the group's own codes */
#define ENUM_RC_TOO_LARGE 4

static size_t group_count(void)
{
	size_t n = 0;

	while (command_group_at(n))
		n++;
	return n;
}

static enum status count_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)c;
	(void)a;
	(void)f;
	command_put_uint(w, "count", group_count());
	return ST_OK;
}

static enum status list_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct cbor_mark list;

	(void)c;
	(void)a;
	(void)f;
	cbor_put_text(w, "groups");
	list = cbor_open(w);
	for (size_t i = 0; command_group_at(i); i++)
		cbor_put_uint(w, command_group_at(i)->id);
	cbor_close_array(w, list);
	return ST_OK;
}

static enum status single_decode(struct control *c, struct command_args *a, struct failure *f)
{
	(void)c;
	if (a->index.value < group_count())
		return ST_OK;
	f->group_rc = ENUM_RC_TOO_LARGE;
	return fail(&f->error, ST_INVALID, "index is beyond the last of %zu groups", group_count());
}

static enum status single_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	size_t i = (size_t)a->index.value;

	(void)c;
	(void)f;
	command_put_uint(w, "group", command_group_at(i)->id);
	if (!command_group_at(i + 1)) {
		cbor_put_text(w, "end");
		cbor_put_bool(w, true);
	}
	return ST_OK;
}

static enum status details_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct cbor_iter it;
	struct cbor_value e;
	uint64_t id;

	(void)c;
	if (!a->groups.given)
		return ST_OK;
	if (cbor_type_of(a->groups.value) != CBOR_ARRAY || !cbor_iterate(a->groups.value, &it))
		return fail(&f->error, ST_INVALID, "groups takes a list of numbers");
	while (cbor_next(&it, &e))
		if (!cbor_get_uint(e, &id))
			return fail(&f->error, ST_INVALID, "groups takes a list of numbers");
	if (cbor_count(a->groups.value) <= group_count())
		return ST_OK;
	f->group_rc = ENUM_RC_TOO_MANY;
	return fail(&f->error, ST_INVALID, "groups has more entries than there are groups");
}

static bool is_asked(const struct command_args *a, unsigned group)
{
	struct cbor_iter it;
	struct cbor_value e;
	uint64_t id;

	if (!a->groups.given)
		return true;
	if (!cbor_iterate(a->groups.value, &it))
		return false;
	while (cbor_next(&it, &e))
		if (cbor_get_uint(e, &id) && id == group)
			return true;
	return false;
}

static enum status details_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	const struct command_group *g;
	struct cbor_mark list, map;

	(void)c;
	(void)f;
	cbor_put_text(w, "groups");
	list = cbor_open(w);
	for (size_t i = 0; (g = command_group_at(i)); i++) {
		if (!is_asked(a, g->id))
			continue;
		map = cbor_open(w);
		command_put_uint(w, "group", g->id);
		command_put_text(w, "name", g->name);
		command_put_uint(w, "handlers", g->count);
		cbor_close_map(w, map);
	}
	cbor_close_array(w, list);
	return ST_OK;
}

static const struct arg single_args[] = {{"index", ARG_NUMBER, ARG_OF(index), false}};
static const struct arg details_args[] = {{"groups", ARG_VALUE, ARG_OF(groups), false}};

static const struct command enum_commands[] = {
	{.id = ENUM_COUNT, .ops = BIT(SMP_READ), .role = ROLE_NONE, .name = "count", .help = "counts the groups",
	 .apply = count_apply},
	{.id = ENUM_LIST, .ops = BIT(SMP_READ), .role = ROLE_NONE, .name = "list", .help = "lists the groups' numbers",
	 .apply = list_apply},
	{
		.id = ENUM_SINGLE, .ops = BIT(SMP_READ), .role = ROLE_NONE, .name = "single",
		.help = "says the number of one group", .args = single_args,
		.arg_count = ARRAY_SIZE(single_args), .decode = single_decode, .apply = single_apply,
	},
	{
		.id = ENUM_DETAILS, .ops = BIT(SMP_READ), .role = ROLE_NONE, .name = "details",
		.help = "lists the groups with names", .args = details_args,
		.arg_count = ARRAY_SIZE(details_args), .decode = details_decode, .apply = details_apply,
	},
};

const struct command_group enum_group = {
	.id = GROUP_ENUM, .name = "enumeration", .commands = enum_commands, .count = ARRAY_SIZE(enum_commands),
};
