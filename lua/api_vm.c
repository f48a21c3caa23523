/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMs for scripts: vm "name" { ... }, and the verbs. Every verb is the wire's
 * command, called with its arguments in CBOR: a script can do nothing that an
 * operator cannot.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/api.h"
#include "lua/bridge.h"
#include "lua/control_internal.h"

#define CONSOLE_LAST 2000 /* bytes that console() shows by default */

/* ---- definitions ---- */

/* linux { ... }, virtio { ... }: the table again, with the word in it. */
static const struct table_word {
	const char *word, *key, *example;
} table_words[] = {
	{"linux", "protocol", "image"}, {"pvh", "protocol", "image"}, {"multiboot", "protocol", "image"},
	{"virtio", "device", "volume"},
};

static int table_word(lua_State *L)
{
	const struct table_word *w = lua_touserdata(L, lua_upvalueindex(1));

	if (!lua_istable(L, 1))
		return luaL_error(L, "%s takes a table, as in %s { %s = \"...\" }", w->word, w->word, w->example);
	lua_newtable(L);
	lua_pushnil(L);
	while (lua_next(L, 1)) {
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, 2);
	}
	lua_pushstring(L, w->word);
	lua_setfield(L, 2, w->key);
	return 1;
}

static enum status take_definition(struct control *c, const struct vm_config *cfg, struct error *err)
{
	if (!c->collect) {
		enum status st = vm_apply_definitions(c, cfg, 1, err);

		if (st == ST_OK)
			log_info("VM %s: defined (%s)", cfg->name, cfg->origin);
		return st;
	}
	if (c->pending_count == c->pending_max)
		return fail(err, ST_OVER_LIMIT, "VM %s (%.64s): one text defines at most %u VMs", cfg->name,
			    cfg->origin, c->pending_max);
	c->pending[c->pending_count++] = *cfg;
	return ST_OK;
}

static enum status define(struct control *c, const struct define_source *src, struct cbor_value settings, struct error *err)
{
	struct vm_config cfg;
	enum status st = vm_decode_definition(c, src, settings, &cfg, err);

	return st == ST_OK ? take_definition(c, &cfg, err) : st;
}

static const struct api_definer vm_definer = {.word = "vm", .kind = "VM", .define = define};

/* ---- commands ---- */

void api_args_begin(struct api_args *args)
{
	cbor_writer_init(&args->w, args->buf, sizeof args->buf);
	args->map = cbor_open(&args->w);
}

void api_run_command(lua_State *L, struct control *c, unsigned group, unsigned id, struct api_args *args)
{
	struct command_request req = {
		.group = command_group_find(group), .command = command_find(group, id), .from_script = true,
	};
	struct cbor_writer w;
	struct failure f;
	enum status st;

	cbor_close_map(&args->w, args->map);
	req.args = cbor_root(args->buf, args->w.len);
	req.op = req.command->ops & BIT(SMP_READ) ? SMP_READ : SMP_WRITE;
	if (args->w.overflow)
		luaL_error(L, "%s: the arguments are too long", req.command->name);
	if (c->collect && req.command->ops & BIT(SMP_WRITE))
		luaL_error(L, "a definition cannot %s%s", req.command->name, group == GROUP_VM ? " a VM" : "");
	cbor_writer_init(&w, c->script_reply, sizeof c->script_reply);
	interp_shelter();
	interp_clock_stop();
	st = command_run(c, &req, &w, &f);
	interp_clock_go();
	interp_unshelter();
	if (st != ST_OK)
		luaL_error(L, "%s", f.error.text);
	bridge_push(L, cbor_root(c->script_reply, w.len));
}

void api_put_name(lua_State *L, struct api_args *args, int index, const char *key, const char *verb, const char *what)
{
	size_t len;
	const char *name;

	if (lua_type(L, index) != LUA_TSTRING)
		luaL_error(L, "%s takes the name of a %s, not a %s", verb, what, luaL_typename(L, index));
	name = lua_tolstring(L, index, &len);
	if (!cbor_utf8_valid(name, len))
		luaL_error(L, "there is no %s of that name", what);
	cbor_put_text(&args->w, key);
	cbor_put_text_n(&args->w, name, len);
}

void api_put_vm(lua_State *L, struct api_args *args, const char *verb)
{
	if (api_vm_name(L, 1)) {
		lua_pushstring(L, api_vm_name(L, 1));
		lua_replace(L, 1);
	} else if (lua_istable(L, 1)) {
		lua_getfield(L, 1, "name");
		lua_replace(L, 1);
	}
	if (lua_isinteger(L, 1) && lua_tointeger(L, 1) >= 0)
		command_put_uint(&args->w, "id", (uint64_t)lua_tointeger(L, 1));
	else
		api_put_name(L, args, 1, "name", verb, "VM");
}

/* start "alpha" and its like; upvalue 2 is the command's number. */
static int verb(lua_State *L)
{
	unsigned id = (unsigned)lua_tointeger(L, lua_upvalueindex(2));
	struct api_args args;

	api_args_begin(&args);
	api_put_vm(L, &args, command_find(GROUP_VM, id)->name);
	api_run_command(L, control_of(L), GROUP_VM, id, &args);
	return command_find(GROUP_VM, id)->ops & BIT(SMP_READ) ? 1 : 0;
}

/* Appends the entries of the page on top of the stack to the list at @list and pops it; its cursor, or -1. */
static lua_Integer append_page(lua_State *L, int list)
{
	lua_Integer next = -1;

	lua_getfield(L, -1, "vms");
	for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++)
		lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
	lua_pop(L, 2);
	if (lua_getfield(L, -1, "next") == LUA_TNUMBER)
		next = lua_tointeger(L, -1);
	lua_pop(L, 2);
	return next;
}

/* vms(): all VMs, as a list of tables. */
static int vms(lua_State *L)
{
	struct control *c = control_of(L);
	lua_Integer after = 0;

	lua_settop(L, 0);
	lua_newtable(L);
	while (after >= 0) {
		struct api_args args;

		api_args_begin(&args);
		command_put_uint(&args.w, "after", (uint64_t)after);
		api_run_command(L, c, GROUP_VM, VM_LIST, &args);
		after = append_page(L, 1);
	}
	return 1;
}

static lua_Integer field_integer(lua_State *L, int table, const char *key)
{
	lua_Integer n;

	lua_getfield(L, table, key);
	n = lua_tointeger(L, -1);
	lua_pop(L, 1);
	return n;
}

static void field_text(lua_State *L, int table, const char *key, char *out, size_t size)
{
	lua_getfield(L, table, key);
	format(out, size, "%s", lua_isnil(L, -1) ? "" : lua_tostring(L, -1));
	lua_pop(L, 1);
}

/* vm_list(): the same, printed for a person. */
static int vm_list(lua_State *L)
{
	struct control *c = control_of(L);
	char line[160], name[VM_NAME_MAX], state[16], reason[24];

	vms(L);
	format(line, sizeof line, "%3s  %-20s %-9s %10s %12s  %s", "id", "name", "state", "memory", "cpu", "reason");
	script_print(c, line, strlen(line));
	for (lua_Integer i = 1; lua_rawgeti(L, 1, i) == LUA_TTABLE; i++) {
		int entry = lua_gettop(L);

		field_text(L, entry, "name", name, sizeof name);
		field_text(L, entry, "state", state, sizeof state);
		field_text(L, entry, "reason", reason, sizeof reason);
		format(line, sizeof line, "%3llu  %-20s %-9s %6llu MiB %9llu ms  %s",
		       (unsigned long long)field_integer(L, entry, "id"), name, state,
		       (unsigned long long)field_integer(L, entry, "size") >> 20,
		       (unsigned long long)field_integer(L, entry, "cpu_ns") / 1000000, reason);
		script_print(c, line, strlen(line));
		lua_settop(L, 1);
	}
	return 0;
}

/* console(name [, bytes]): the end of what it printed, as text. */
static int console(lua_State *L)
{
	lua_Integer last = luaL_optinteger(L, 2, CONSOLE_LAST);
	struct api_args args;

	if (last < 1)
		return luaL_error(L, "console takes a number of bytes from 1 on");
	api_args_begin(&args);
	api_put_vm(L, &args, "console");
	command_put_uint(&args.w, "last", (uint64_t)last);
	command_put_uint(&args.w, "max", (uint64_t)last);
	cbor_put_text(&args.w, "text");
	cbor_put_bool(&args.w, true);
	api_run_command(L, control_of(L), GROUP_CONSOLE, CONSOLE_READ, &args);
	lua_getfield(L, -1, "data");
	return 1;
}

/* host() and check(): commands without arguments; upvalue 2 is the number. */
static int inspect(lua_State *L)
{
	unsigned id = (unsigned)lua_tointeger(L, lua_upvalueindex(2));
	struct api_args args;

	api_args_begin(&args);
	api_run_command(L, control_of(L), GROUP_INSPECT, id, &args);
	return 1;
}

/* host() as above; with a table it sets what is in it. */
static int host(lua_State *L)
{
	return lua_gettop(L) == 0 ? inspect(L) : api_host_settings(L, control_of(L));
}

/* plan "scripts/site.lua", apply, run: texts of the store; upvalue 2 is the command's number. */
static int source_command(lua_State *L)
{
	unsigned id = (unsigned)lua_tointeger(L, lua_upvalueindex(2));
	struct api_args args;

	api_args_begin(&args);
	api_put_name(L, &args, 1, "file", command_find(GROUP_POLICY, id)->name, "file of the store");
	api_run_command(L, control_of(L), GROUP_POLICY, id, &args);
	return 1;
}

static void set_function(lua_State *L, struct control *c, const char *name, lua_CFunction fn, unsigned number)
{
	lua_pushlightuserdata(L, c);
	lua_pushinteger(L, number);
	lua_pushcclosure(L, fn, 2);
	lua_setglobal(L, name);
}

void api_open_vm(lua_State *L, struct control *c)
{
	static const enum vm_command verbs[] = {VM_START, VM_STOP, VM_PAUSE, VM_RESUME, VM_DESTROY, VM_INFO, VM_POWER};

	for (size_t i = 0; i < ARRAY_SIZE(table_words); i++) {
		lua_pushlightuserdata(L, (void *)(uintptr_t)&table_words[i]);
		lua_pushcclosure(L, table_word, 1);
		lua_setglobal(L, table_words[i].word);
	}
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		set_function(L, c, command_find(GROUP_VM, verbs[i])->name, verb, verbs[i]);
	set_function(L, c, "plan", source_command, POLICY_PLAN);
	set_function(L, c, "apply", source_command, POLICY_APPLY);
	set_function(L, c, "run", source_command, POLICY_RUN);
	api_open_definer(L, c, &vm_definer);
	set_function(L, c, "vms", vms, 0);
	set_function(L, c, "vm_list", vm_list, 0);
	set_function(L, c, "console", console, 0);
	set_function(L, c, "host", host, INSPECT_HOST);
	set_function(L, c, "check", inspect, INSPECT_CHECK);
}
