/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMP's settings group (3) over the knobs: a setting's name is its path, its
 * value the text that a person would write, in a byte string. Each write counts
 * at once (or from its VM's next start on), so that a commit finds nothing left
 * to do. The group's refusals are its own codes; a value that the setting does
 * not take is trouble with the request, which may carry a sentence.
 */
#include <string.h>

#include "lib/bits.h"
#include "lua/change.h"
#include "lua/control_internal.h"
#include "lua/keep.h"
#include "lua/saved.h"

/* The group's own codes. */
enum settings_rc {
	SETTINGS_KEY_TOO_LONG = 2,
	SETTINGS_KEY_NOT_FOUND = 3,
	SETTINGS_READ_NOT_SUPPORTED = 4,
	SETTINGS_WRITE_NOT_SUPPORTED = 6,
	SETTINGS_DELETE_NOT_SUPPORTED = 7,
	SETTINGS_SAVE_NOT_SUPPORTED = 8,
};

/* The setting that is named, or the group's code for what is wrong; @counter: the one for a counter. */
static enum status find(struct control *c, const struct command_args *a, enum settings_rc counter,
			struct tree_item *out, struct failure *f)
{
	enum status st = change_find(c, a->name.text, a->name.len, out, &f->error);

	if (a->name.len >= TREE_PATH_MAX)
		f->group_rc = SETTINGS_KEY_TOO_LONG;
	else if (st == ST_NOT_FOUND)
		f->group_rc = SETTINGS_KEY_NOT_FOUND;
	else if (st != ST_OK)
		f->group_rc = (int)counter;
	return st;
}

/* ---- read, write ---- */

static const char *value_text(struct control *c, const struct tree_item *item, char text[KNOB_TEXT_MAX])
{
	struct setting_state now;

	settings_state(c, item, &now);
	return knob_text(item_knob(item), now.value, text);
}

static enum status read_decode(struct control *c, struct command_args *a, struct failure *f)
{
	char text[KNOB_TEXT_MAX];
	struct tree_item item;
	enum status st = find(c, a, SETTINGS_READ_NOT_SUPPORTED, &item, f);

	if (st != ST_OK)
		return st;
	if (a->max_size.given && a->max_size.value < strlen(value_text(c, &item, text)))
		return fail(&f->error, ST_INVALID, "max_size is too small for the value, which has %zu bytes",
			    strlen(text));
	return ST_OK;
}

static enum status read_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	char text[KNOB_TEXT_MAX];
	struct tree_item item;
	enum status st = find(c, a, SETTINGS_READ_NOT_SUPPORTED, &item, f);

	if (st != ST_OK)
		return st;
	value_text(c, &item, text);
	cbor_put_text(w, "val");
	cbor_put_bytes(w, text, strlen(text));
	if (a->max_size.given && a->max_size.value > KNOB_TEXT_MAX - 1)
		command_put_uint(w, "max_size", KNOB_TEXT_MAX - 1);
	return ST_OK;
}

/* The change that a write asks for; its value becomes an item for change_decode(). */
static enum status read_change(struct control *c, const struct command_args *a, struct setting_change *out,
			       struct failure *f)
{
	uint8_t value[KNOB_TEXT_MAX + 8];
	struct change_request r = {.path = a->name.text, .path_len = a->name.len, .where = ""};
	struct cbor_writer w;
	struct tree_item item;
	enum status st = find(c, a, SETTINGS_WRITE_NOT_SUPPORTED, &item, f);

	if (st != ST_OK)
		return st;
	cbor_writer_init(&w, value, sizeof value);
	cbor_put_bytes(&w, a->val.text, a->val.len);
	if (w.overflow)
		return fail(&f->error, ST_INVALID, "val has %zu bytes, at most %d are possible", a->val.len,
			    KNOB_TEXT_MAX);
	r.value = cbor_root(value, w.len);
	return change_decode(c, &r, out, &f->error);
}

static enum status write_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct setting_change change;

	if (!a->val.given)
		return fail(&f->error, ST_INVALID, "write needs the argument val");
	return read_change(c, a, &change, f);
}

static enum status write_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct setting_change change;
	enum status st = read_change(c, a, &change, f);

	(void)w;
	if (st == ST_OK)
		change_apply(c, &change);
	return st;
}

static enum status access_decode(struct control *c, struct command_args *a, struct failure *f)
{
	return a->op == SMP_READ ? read_decode(c, a, f) : write_decode(c, a, f);
}

static enum status access_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	return a->op == SMP_READ ? read_apply(c, a, w, f) : write_apply(c, a, w, f);
}

/* ---- delete, commit ---- */

static enum status delete_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct tree_item item;
	enum status st = find(c, a, SETTINGS_DELETE_NOT_SUPPORTED, &item, f);

	return st == ST_OK ? change_allowed(c, &item, &f->error) : st;
}

static enum status delete_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct tree_item item;
	enum status st = find(c, a, SETTINGS_DELETE_NOT_SUPPORTED, &item, f);

	(void)w;
	if (st == ST_OK)
		change_reset(c, &item, "");
	return st;
}

static enum status commit_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)c;
	(void)a;
	(void)w;
	(void)f;
	return ST_OK;
}

/* ---- load, save ---- */

static enum status store_decode(struct control *c, struct command_args *a, struct failure *f)
{
	if (a->op == SMP_READ || keep_lasts(c))
		return ST_OK;
	f->group_rc = SETTINGS_SAVE_NOT_SUPPORTED;
	return fail(&f->error, ST_IO, "this machine has no store that can be written");
}

static enum status store_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	enum status st;

	(void)w;
	if (a->op == SMP_READ)
		return saved_read(c, "", 0, &f->error);
	st = saved_write(c, a->name.text, a->name.len, &f->error);
	if (st == ST_NOT_FOUND)
		f->group_rc = SETTINGS_KEY_NOT_FOUND;
	return st;
}

static const struct arg store_args[] = {{"name", ARG_TEXT, ARG_OF(name), false}};
static const struct arg access_args[] = {
	{"name", ARG_TEXT, ARG_OF(name), true},
	{"val", ARG_DATA, ARG_OF(val), false},
	{"max_size", ARG_NUMBER, ARG_OF(max_size), false},
};
static const struct arg delete_args[] = {{"name", ARG_TEXT, ARG_OF(name), true}};

static const struct command settings_commands[] = {
	{
		.id = SETTINGS_ACCESS, .ops = BIT(SMP_READ) | BIT(SMP_WRITE), .role = ROLE_OBSERVER, .write_role = ROLE_OPERATOR,
		.checks_rights = true,
		.name = "access", .help = "reads or writes a setting", .args = access_args,
		.arg_count = ARRAY_SIZE(access_args), .decode = access_decode, .apply = access_apply,
	},
	{
		.id = SETTINGS_DELETE, .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .checks_rights = true, .name = "delete",
		.help = "takes the changes of a setting back", .args = delete_args,
		.arg_count = ARRAY_SIZE(delete_args), .decode = delete_decode, .apply = delete_apply,
	},
	{
		.id = SETTINGS_COMMIT, .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .checks_rights = true, .unaudited = true,
		.name = "commit", .help = "makes sure that every write counts", .apply = commit_apply,
	},
	{
		.id = SETTINGS_STORE, .ops = BIT(SMP_READ) | BIT(SMP_WRITE), .role = ROLE_OWNER, .write_role = ROLE_OPERATOR,
		.name = "store", .help = "loads what was saved, or saves what the operator set", .args = store_args,
		.arg_count = ARRAY_SIZE(store_args), .decode = store_decode, .apply = store_apply,
	},
};

const struct command_group settings_group = {
	.id = GROUP_SETTINGS, .name = "settings", .commands = settings_commands,
	.count = ARRAY_SIZE(settings_commands),
};
