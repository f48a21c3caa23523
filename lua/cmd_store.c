/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our group of the store (77): what files there are, in the writable store and in
 * the seed below it, how the store is, and deleting. Contents travel by SMP's own
 * group of files. Housekeeping of the store, and telling when it fails, are here
 * too.
 */
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/filename.h"

#define ID_TEXT 17u /* with its NUL */
#define FILE_ENTRY_MAX (sizeof ((struct file *)0)->name + 64)

/* ---- names ---- */

/* An argument as a C string; one with a NUL inside, or too long, is no name. */
static enum status copy_name(const struct arg_text *arg, const char *key, char out[], size_t size, struct failure *f)
{
	if (arg->len >= size || memchr(arg->text, '\0', arg->len))
		return fail(&f->error, ST_INVALID, "%s is no name of a file: it has more than %zu bytes, or a NUL", key,
			    size - 1);
	memcpy(out, arg->text, arg->len);
	out[arg->len] = '\0';
	return ST_OK;
}

static void put_file(struct cbor_writer *w, const struct file *file)
{
	struct cbor_mark map = cbor_open(w);

	command_put_text(w, "name", file->name);
	command_put_uint(w, "size", file->size);
	if (!file->version) {
		cbor_put_text(w, "seed");
		cbor_put_bool(w, true);
	}
	cbor_close_map(w, map);
}

static enum status list_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	uint64_t max = a->max.given ? a->max.value : UINT64_MAX;
	char prefix[sizeof ((struct file *)0)->name] = "";
	struct cbor_mark list;
	struct file file = {.name = ""};
	enum status st = ST_OK;
	bool more = false;

	if (a->prefix.given)
		st = copy_name(&a->prefix, "prefix", prefix, sizeof prefix, f);
	if (st == ST_OK && a->after_name.given)
		st = copy_name(&a->after_name, "after", file.name, sizeof file.name, f);
	if (st != ST_OK)
		return st;
	cbor_put_text(w, "files");
	list = cbor_open(w);
	for (;;) {
		char last[sizeof file.name];

		memcpy(last, file.name, sizeof last);
		if (files_next(c->cfg.machine->files, prefix, last, &file) != ST_OK)
			break;
		more = max-- == 0 || !command_fits(w, FILE_ENTRY_MAX);
		if (more) {
			memcpy(file.name, last, sizeof last);
			break;
		}
		if (!filename_hidden(file.name))
			put_file(w, &file);
		else
			max++;
	}
	cbor_close_array(w, list);
	if (more)
		command_put_text(w, "next", file.name);
	return ST_OK;
}

static enum status delete_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	char name[FILE_NAME_MAX];
	enum status st = filename_take(&a->name, FILE_USE_WRITE, name, &f->error);

	(void)w;
	return st == ST_OK ? files_delete(c->cfg.machine->files, name, &f->error) : st;
}

/* ---- state ---- */

void cmd_store_put(const struct control *c, struct cbor_writer *w)
{
	const struct files *files = c->cfg.machine->files;
	struct kvlog_stats s = {.writable = false};

	if (files->kv)
		kvlog_stats(files->kv, &s);
	cbor_put_text(w, "writable");
	cbor_put_bool(w, s.writable);
	if (!s.writable)
		command_put_text(w, "why", files->kv ? s.why_not : files->why_not);
	if (!files->kv)
		return;
	command_put_uint(w, "size", s.size_bytes);
	command_put_uint(w, "used", s.used_bytes);
	command_put_uint(w, "free", s.free_bytes);
	command_put_uint(w, "keys", s.keys);
	command_put_uint(w, "keys_max", s.keys_max);
	command_put_uint(w, "generation", s.generation);
}

/* Its identity, by which the operator says which store is to be formatted. */
static const char *id_text(uint64_t id, char out[ID_TEXT])
{
	format(out, ID_TEXT, "%016llx", (unsigned long long)id);
	return out;
}

static void put_id(struct cbor_writer *w, uint64_t id)
{
	char text[ID_TEXT];

	command_put_text(w, "id", id_text(id, text));
}

static void put_upload(const struct upload *u, struct cbor_writer *w)
{
	struct cbor_mark map;

	if (!u->put)
		return;
	cbor_put_text(w, "upload");
	map = cbor_open(w);
	command_put_text(w, "name", u->name);
	command_put_uint(w, "off", u->at);
	command_put_uint(w, "len", u->size);
	cbor_close_map(w, map);
}

static enum status info_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	const struct kvlog *kv = c->cfg.machine->files->kv;
	struct kvlog_stats s;

	(void)a;
	(void)f;
	cmd_store_put(c, w);
	put_upload(&c->upload, w);
	if (!kv)
		return ST_OK;
	kvlog_stats(kv, &s);
	put_id(w, s.id);
	command_put_uint(w, "garbage", s.garbage_bytes);
	command_put_uint(w, "streams", s.streams);
	command_put_uint(w, "opens", s.opens);
	command_put_uint(w, "damaged", s.damaged_bytes);
	command_put_uint(w, "damaged_keys", s.damaged_keys);
	command_put_uint(w, "bad_superblocks", s.bad_superblocks);
	command_put_uint(w, "unfinished", s.unfinished);
	return ST_OK;
}

/* ---- making it anew ---- */

/* What can be read is deleted only for somebody who says which store it is. */
static enum status check_confirmed(const struct control *c, const struct command_args *a, struct failure *f)
{
	const struct kvlog *kv = c->cfg.machine->files->kv;
	struct kvlog_stats s;
	char id[ID_TEXT];

	if (!kv && a->store_id.given)
		return fail(&f->error, ST_BAD_STATE, "no store is open that confirm could be about: leave it out");
	if (!kv)
		return ST_OK;
	kvlog_stats(kv, &s);
	id_text(s.id, id);
	if (!a->store_id.given)
		return fail(&f->error, ST_BAD_STATE,
			    "the store can be read, and all in it would be deleted: confirm takes its id, %s", id);
	if (a->store_id.len != strlen(id) || memcmp(a->store_id.text, id, strlen(id)) != 0)
		return fail(&f->error, ST_INVALID, "confirm is not the store's id, which is %s", id);
	return ST_OK;
}

/* As io/kvlog.h wants it: not to be guessed, where that can be had. */
static uint64_t random_id(struct control *c)
{
	struct error ignored;
	uint64_t id;

	if (c->cfg.entropy && c->cfg.entropy(&id, sizeof id, &ignored) == ST_OK)
		return id;
	return control_ticks(c);
}

/* Nobody may hold on to what was in the store. */
static void let_go(struct control *c)
{
	upload_end(&c->upload);
	upload_end(&c->slots.upload);
	c->slots.state = SLOT_EMPTY;
	c->slots.version = 0;
	c->slots.pending = c->slots.permanent = false;
	/* The text in force stays, but no start can come back to it. */
	c->generation.good = c->generation.tries = c->generation.judged_at = 0;
}

static enum status format_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct files *files = c->cfg.machine->files;
	bool own_keys = keystore_is_own(c);
	uint64_t id = random_id(c);
	char text[ID_TEXT];
	struct error why;
	enum status st = files_check_format(files, &f->error);

	if (st == ST_OK)
		st = check_confirmed(c, a, f);
	if (st != ST_OK)
		return st == ST_DENIED ? ST_BAD_STATE : st;
	let_go(c);
	st = files_format(files, id, &f->error);
	if (st != ST_OK) {
		events_post(&c->events, EVENT_STORE, NULL, "it could not be formatted: %.180s", f->error.text);
		return st;
	}
	c->storage_failed = false;
	audit_store_made(c);
	log_warn("store: formatted by an operator, its id is %s", id_text(id, text));
	events_post(&c->events, EVENT_STORE, NULL, "formatted: its id is %s", text);
	if (keystore_store_made(c, own_keys, &why) != ST_OK)
		return fail(&f->error, ST_IO, "the store was made, but the keys are not in it: %.160s", why.text);
	put_id(w, id);
	return ST_OK;
}

/* ---- housekeeping ---- */

bool cmd_store_step(struct control *c)
{
	struct kvlog *kv = c->cfg.machine->files->kv;
	struct kvlog_stats s;
	struct error err;
	enum status st;

	if (!kv || c->storage_failed)
		return false;
	st = kvlog_step(kv, &err);
	if (st == ST_AGAIN)
		return true;
	if (kvlog_is_writable(kv))
		return false;
	kvlog_stats(kv, &s);
	c->storage_failed = true;
	log_error("store: it is read-only from now on: %s", s.why_not);
	events_post(&c->events, EVENT_STORE, NULL, "read-only: %s", s.why_not);
	return false;
}

/* ---- the table ---- */

static const struct arg list_args[] = {
	{"prefix", ARG_TEXT, ARG_OF(prefix), false},
	{"after", ARG_TEXT, ARG_OF(after_name), false},
	{"max", ARG_NUMBER, ARG_OF(max), false},
};
static const struct arg format_args[] = {{"confirm", ARG_TEXT, ARG_OF(store_id), false}};
static const struct arg delete_args[] = {{"name", ARG_TEXT, ARG_OF(name), true}};

static const struct command store_commands[] = {
	{
		.id = STORE_LIST, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "list", .help = "lists the files",
		.args = list_args, .arg_count = ARRAY_SIZE(list_args), .apply = list_apply,
	},
	{
		.id = STORE_INFO, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "info",
		.help = "says how the writable store is", .apply = info_apply,
	},
	{
		.id = STORE_DELETE, .ops = BIT(SMP_WRITE), .role = ROLE_OWNER, .name = "delete",
		.help = "deletes a file of the writable store", .args = delete_args,
		.arg_count = ARRAY_SIZE(delete_args), .apply = delete_apply,
	},
	{
		.id = STORE_FORMAT, .ops = BIT(SMP_WRITE), .role = ROLE_OWNER, .name = "format",
		.help = "makes the writable store anew, empty", .args = format_args,
		.arg_count = ARRAY_SIZE(format_args), .apply = format_apply,
	},
};

const struct command_group store_group = {
	.id = GROUP_STORE, .name = "corbel store", .commands = store_commands, .count = ARRAY_SIZE(store_commands),
};
