/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes for scripts: volume "name" { ... } declares one, in a text where it is
 * collected with the VMs, or at once; the verbs are the wire's commands.
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
#include "lua/volumes.h"

#define ARGS_MAX 512

static struct control *control_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(1));
}

/* ---- declarations ---- */

/* model { ... }: a table with it as its one setting, for volume "name" { model { ... } }. */
static int model(lua_State *L)
{
	if (!lua_istable(L, 1))
		return luaL_error(L, "model takes a table, as in model { base = \"...\", iops_max = 5000, service = us(200) }");
	lua_createtable(L, 0, 1);
	lua_pushvalue(L, 1);
	lua_setfield(L, -2, "model");
	return 1;
}

static enum status take(struct control *c, const struct volume_config *cfg, struct error *err)
{
	bool made;

	if (c->planning)
		return volumes_collect(cfg, err);
	if (c->collect)
		return fail(err, ST_INVALID, "volume %s (%.64s): a text for vm define has VMs alone; apply takes volumes",
			    cfg->name, cfg->origin);
	return volumes_want(c, cfg, &made, err);
}

/* The table behind volume "name". */
static int volume_settings(lua_State *L)
{
	struct control *c = control_of(L);
	char origin[VM_PATH_MAX];
	struct define_source src = {.origin = origin, .units = true};
	struct volume_config cfg;
	struct error err;
	enum status st;
	size_t len;

	src.name = lua_tolstring(L, lua_upvalueindex(2), &src.name_len);
	api_where(L, origin);
	if (!lua_istable(L, 1))
		return luaL_error(L, "volume %s (%s): its settings are a %s, not a table", src.name, origin,
				  luaL_typename(L, 1));
	c->unfinished[0] = '\0';
	len = api_settings_to_cbor(L, c, "volume", src.name, origin);
	/* The sentences name the place, so none is put before them. */
	interp_shelter();
	st = volume_decode(&src, cbor_root(c->script_reply, len), &cfg, &err);
	if (st == ST_OK)
		st = take(c, &cfg, &err);
	interp_unshelter();
	if (st != ST_OK) {
		lua_pushstring(L, err.text);
		return lua_error(L);
	}
	return 0;
}

/* volume "name": waits for the table, as vm "name" does. */
static int volume_name(lua_State *L)
{
	struct control *c = control_of(L);
	char origin[VM_PATH_MAX], shown[VOLUME_NAME_MAX];

	if (lua_type(L, 1) != LUA_TSTRING)
		return luaL_error(L, "volume takes a name and a table, as in volume \"name\" { ram = MiB(64) }");
	if (c->unfinished[0])
		return luaL_error(L, "%s", c->unfinished);
	api_where(L, origin);
	log_clean(shown, sizeof shown, lua_tostring(L, 1), lua_rawlen(L, 1));
	format(c->unfinished, sizeof c->unfinished, "volume %s (%s): its table of settings is missing", shown, origin);
	lua_pushlightuserdata(L, c);
	lua_pushvalue(L, 1);
	lua_pushcclosure(L, volume_settings, 2);
	return 1;
}

/* ---- commands ---- */

static void put_name(lua_State *L, struct cbor_writer *w, int index, const char *key, const char *verb)
{
	size_t len;
	const char *name;

	if (lua_type(L, index) != LUA_TSTRING)
		luaL_error(L, "%s takes the name of a volume, not a %s", verb, luaL_typename(L, index));
	name = lua_tolstring(L, index, &len);
	if (!cbor_utf8_valid(name, len))
		luaL_error(L, "there is no volume of that name");
	cbor_put_text(w, key);
	cbor_put_text_n(w, name, len);
}

/* What takes one name or two and answers with a table, in which job is its number when it goes on. */
static const struct volume_verb {
	const char *name;
	enum volume_command command;
	const char *second; /* argument; NULL: none */
	const char *third;  /* which may be left out */
} verbs[] = {
	{"volume_info", VOLUME_CMD_SHOW, NULL, NULL},      {"volume_clone", VOLUME_CMD_CLONE, "name", NULL},
	{"volume_snapshot", VOLUME_CMD_SNAPSHOT, "name", NULL}, {"volume_merge", VOLUME_CMD_MERGE, NULL, NULL},
	{"volume_delete", VOLUME_CMD_DELETE, NULL, NULL},  {"volume_import", VOLUME_CMD_IMPORT, "name", "pool"},
};

static int verb(lua_State *L)
{
	const struct volume_verb *v = lua_touserdata(L, lua_upvalueindex(2));
	uint8_t args[ARGS_MAX];
	struct cbor_mark map;
	struct cbor_writer w;

	cbor_writer_init(&w, args, sizeof args);
	map = cbor_open(&w);
	put_name(L, &w, 1, "volume", v->name);
	if (v->second)
		put_name(L, &w, 2, v->second, v->name);
	if (v->third && !lua_isnoneornil(L, 3))
		put_name(L, &w, 3, v->third, v->name);
	cbor_close_map(&w, map);
	api_run_command(L, control_of(L), GROUP_VOLUME, v->command, &w);
	return 1;
}

/* volume_job(number): how far it is. */
static int volume_job(lua_State *L)
{
	lua_Integer job = luaL_checkinteger(L, 1);
	uint8_t args[ARGS_MAX];
	struct cbor_mark map;
	struct cbor_writer w;

	if (job < 1)
		return luaL_error(L, "volume_job takes the number of a job");
	cbor_writer_init(&w, args, sizeof args);
	map = cbor_open(&w);
	command_put_uint(&w, "job", (uint64_t)job);
	cbor_close_map(&w, map);
	api_run_command(L, control_of(L), GROUP_VOLUME, VOLUME_CMD_JOB, &w);
	return 1;
}

/* Appends the page on top of the stack to the list at 1 and puts the name to go on behind in place 2; false at the end. */
static bool append_page(lua_State *L)
{
	bool more;

	lua_getfield(L, -1, "volumes");
	for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++)
		lua_rawseti(L, 1, (lua_Integer)lua_rawlen(L, 1) + 1);
	lua_pop(L, 2);
	more = lua_getfield(L, -1, "next") == LUA_TSTRING;
	lua_replace(L, 2);
	lua_settop(L, 2);
	return more;
}

/* volumes(): all of them, as a list of tables. */
static int volumes(lua_State *L)
{
	lua_settop(L, 0);
	lua_newtable(L);
	lua_pushnil(L);
	do {
		uint8_t args[ARGS_MAX];
		struct cbor_mark map;
		struct cbor_writer w;

		cbor_writer_init(&w, args, sizeof args);
		map = cbor_open(&w);
		if (!lua_isnil(L, 2))
			put_name(L, &w, 2, "after", "volumes");
		cbor_close_map(&w, map);
		api_run_command(L, control_of(L), GROUP_VOLUME, VOLUME_CMD_LIST, &w);
	} while (append_page(L));
	lua_settop(L, 1);
	return 1;
}

static void set_function(lua_State *L, struct control *c, const char *name, lua_CFunction fn, const void *detail)
{
	lua_pushlightuserdata(L, c);
	lua_pushlightuserdata(L, (void *)(uintptr_t)detail);
	lua_pushcclosure(L, fn, 2);
	lua_setglobal(L, name);
}

void api_open_volume(lua_State *L, struct control *c)
{
	set_function(L, c, "volume", volume_name, NULL);
	set_function(L, c, "volumes", volumes, NULL);
	set_function(L, c, "volume_job", volume_job, NULL);
	set_function(L, c, "model", model, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		set_function(L, c, verbs[i].name, verb, &verbs[i]);
}
