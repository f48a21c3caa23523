/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our group of scripts and policy (70): what runs, plan and apply, generations.
 * A text comes with the request, or is a file of the store when it is longer
 * than a frame.
 */
#include <string.h>

#include "guest/loadfile.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/filename.h"

#define ORIGIN_DEFAULT_NAME "text"

/* ---- the text of a request ---- */

struct source {
	char origin[GENERATION_ORIGIN_MAX];
	const char *text;
	size_t len;
	struct loaded_file file;
};

static const char *last_part(const char *path, size_t *len)
{
	for (size_t i = *len; i > 0; i--) {
		if (path[i - 1] == '/') {
			*len -= i;
			return path + i;
		}
	}
	return path;
}

static enum status source_decode(struct control *c, struct command_args *a, struct failure *f)
{
	char name[FILE_NAME_MAX];

	(void)c;
	if (a->text.given == a->file.given)
		return fail(&f->error, ST_INVALID, "either text or file is needed");
	return a->file.given ? filename_take(&a->file, FILE_USE_READ, name, &f->error) : ST_OK;
}

/* On success source_drop() ends it. */
static enum status source_open(struct control *c, const struct command_args *a, struct source *s, struct error *err)
{
	char path[FILE_NAME_MAX];
	const char *name = ORIGIN_DEFAULT_NAME;
	size_t len = strlen(name);
	enum status st;

	*s = (struct source){.text = a->text.text, .len = a->text.len};
	if (a->origin.given) {
		name = a->origin.text;
		len = a->origin.len;
	} else if (a->file.given) {
		len = a->file.len;
		name = last_part(a->file.text, &len);
	}
	log_clean(s->origin, sizeof s->origin, name, len);
	if (!a->file.given)
		return ST_OK;
	st = filename_take(&a->file, FILE_USE_READ, path, err);
	if (st != ST_OK)
		return st;
	st = loadfile_get(c->cfg.machine, path, &s->file, err);
	if (st != ST_OK)
		return st;
	s->text = s->file.data;
	s->len = s->file.size;
	return ST_OK;
}

static void source_drop(struct control *c, struct source *s)
{
	loadfile_drop(c->cfg.machine, &s->file);
}

/* ---- plan, apply, rollback ---- */

static enum status plan_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct source s;
	enum status st = source_open(c, a, &s, &f->error);

	if (st == ST_OK)
		st = generation_plan(c, s.origin, s.text, s.len, w, &f->error);
	source_drop(c, &s);
	return st;
}

static enum status apply_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct source s;
	enum status st = source_open(c, a, &s, &f->error);

	if (st == ST_OK)
		st = generation_apply(c, s.origin, s.text, s.len, w, &f->error);
	source_drop(c, &s);
	return st;
}

static enum status rollback_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	return generation_rollback(c, a->number.value, w, &f->error);
}

static enum status generations_apply(struct control *c, struct command_args *a, struct cbor_writer *w,
				     struct failure *f)
{
	(void)a;
	(void)f;
	generation_list(c, w);
	return ST_OK;
}

/* ---- run, stop ---- */

static enum status run_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct script *script;
	struct source s;
	enum status st = source_open(c, a, &s, &f->error);

	if (st == ST_OK && policy_find(c, s.origin))
		st = fail(&f->error, ST_EXISTS, "a script called %s is there already", s.origin);
	if (st == ST_OK)
		st = policy_load(c, s.origin, s.text, s.len, &script, &f->error);
	source_drop(c, &s);
	if (st != ST_OK)
		return st;
	command_put_text(w, "name", script->name);
	command_put_uint(w, "hooks", script->hook_count);
	policy_keep(c, script);
	return ST_OK;
}

static enum status script_of(struct control *c, const struct command_args *a, struct script **out, struct failure *f)
{
	char name[SCRIPT_NAME_MAX];

	log_clean(name, sizeof name, a->name.text, a->name.len);
	*out = policy_find(c, name);
	return *out ? ST_OK : fail(&f->error, ST_NOT_FOUND, "there is no script called %s", name);
}

static enum status stop_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct script *s;
	enum status st = script_of(c, a, &s, f);

	(void)w;
	if (st != ST_OK)
		return st;
	if (s == c->policy.running || s->state == SCRIPT_LOADING)
		return fail(&f->error, ST_BUSY, "script %s runs now", s->name);
	log_info("script %s: stopped", s->name);
	policy_unload(c, s);
	return ST_OK;
}

/* ---- what runs ---- */

static void put_script(const struct script *s, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w);
	unsigned quarantined = 0;

	for (unsigned i = 0; i < s->hook_count; i++)
		quarantined += s->hooks[i].kind != HOOK_NONE && s->hooks[i].quarantined;
	command_put_text(w, "name", s->name);
	command_put_text(w, "state", script_state_name(s->state));
	command_put_uint(w, "generation", s->generation);
	command_put_uint(w, "hooks", s->hook_count);
	command_put_uint(w, "quarantined", quarantined);
	command_put_uint(w, "heap_used", s->interp.memory ? s->interp.heap.used : 0);
	command_put_uint(w, "heap_peak", s->interp.memory ? s->interp.heap.peak : 0);
	command_put_uint(w, "heap_max", s->interp.memory ? s->interp.size : 0);
	command_put_uint(w, "kills", s->interp.kills);
	cbor_close_map(w, map);
}

static enum status scripts_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct cbor_mark list;

	(void)a;
	(void)f;
	cbor_put_text(w, "scripts");
	list = cbor_open(w);
	for (unsigned i = 0; i < SCRIPTS_MAX; i++)
		if (c->policy.scripts[i].state != SCRIPT_FREE)
			put_script(&c->policy.scripts[i], w);
	cbor_close_array(w, list);
	return ST_OK;
}

static void put_hook(const struct control *c, const struct hook *h, unsigned number, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w);

	command_put_uint(w, "number", number);
	command_put_text(w, "where", h->where);
	if (h->kind == HOOK_EVERY)
		command_put_uint(w, "period_ns", ticks_to_ns(h->period, c->cfg.clock->hz));
	else
		command_put_text(w, "event", h->event);
	command_put_uint(w, "runs", h->runs);
	command_put_uint(w, "failures", h->failures);
	command_put_uint(w, "most_steps", h->most_steps);
	cbor_put_text(w, "quarantined");
	cbor_put_bool(w, h->quarantined);
	cbor_close_map(w, map);
}

static enum status hooks_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct cbor_mark list;
	struct script *s;
	enum status st = script_of(c, a, &s, f);

	if (st != ST_OK)
		return st;
	cbor_put_text(w, "hooks");
	list = cbor_open(w);
	for (unsigned i = 0; i < s->hook_count; i++)
		if (s->hooks[i].kind != HOOK_NONE)
			put_hook(c, &s->hooks[i], i + 1, w);
	cbor_close_array(w, list);
	return ST_OK;
}

/* ---- the table ---- */

static const struct arg source_args[] = {
	{"text", ARG_TEXT, ARG_OF(text), false},
	{"file", ARG_TEXT, ARG_OF(file), false},
	{"origin", ARG_TEXT, ARG_OF(origin), false},
};
static const struct arg name_args[] = {{"name", ARG_TEXT, ARG_OF(name), true}};
static const struct arg number_args[] = {{"number", ARG_NUMBER, ARG_OF(number), true}};

#define SOURCE_COMMAND(number, least, verb, function, text)                                        \
	{                                                                                           \
		.id = (number), .ops = BIT(SMP_WRITE), .role = (least), .name = (verb), .help = (text), \
		.args = source_args, .arg_count = ARRAY_SIZE(source_args), .decode = source_decode,   \
		.apply = (function),                                                                  \
	}

static const struct command policy_commands[] = {
	{.id = POLICY_SCRIPTS, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "scripts",
	 .help = "lists the scripts that stay", .apply = scripts_apply},
	{.id = POLICY_HOOKS, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "hooks",
	 .help = "lists the hooks of a script", .args = name_args, .arg_count = ARRAY_SIZE(name_args),
	 .apply = hooks_apply},
	SOURCE_COMMAND(POLICY_PLAN, ROLE_OWNER, "plan", plan_apply, "says what applying a text would change"),
	SOURCE_COMMAND(POLICY_APPLY, ROLE_OWNER, "apply", apply_apply, "makes a text the next generation, all or nothing"),
	SOURCE_COMMAND(POLICY_RUN, ROLE_OWNER, "run", run_apply, "runs a script, which stays when it has hooks"),
	{.id = POLICY_STOP, .ops = BIT(SMP_WRITE), .role = ROLE_OWNER, .name = "stop_script",
	 .help = "ends a script that stays", .args = name_args, .arg_count = ARRAY_SIZE(name_args), .apply = stop_apply},
	{.id = POLICY_GENERATIONS, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "generations",
	 .help = "lists the generations that are kept", .apply = generations_apply},
	{.id = POLICY_ROLLBACK, .ops = BIT(SMP_WRITE), .role = ROLE_OWNER, .name = "rollback",
	 .help = "applies a generation that is kept", .args = number_args, .arg_count = ARRAY_SIZE(number_args),
	 .apply = rollback_apply},
};

const struct command_group policy_group = {
	.id = GROUP_POLICY, .name = "corbel policy", .commands = policy_commands,
	.count = ARRAY_SIZE(policy_commands),
};
