/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes for scripts: volume "name" { ... } declares one, in a text where it is
 * collected with the VMs, or at once; the verbs are the wire's commands.
 */
#include <lauxlib.h>
#include <lua.h>

#include "lib/bits.h"
#include "lua/api.h"
#include "lua/control_internal.h"
#include "lua/volumes.h"

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

static enum status define(struct control *c, const struct define_source *src, struct cbor_value settings, struct error *err)
{
	struct volume_config cfg;
	enum status st = volume_decode(src, settings, &cfg, err);

	return st == ST_OK ? take(c, &cfg, err) : st;
}

static const struct api_definer definer = {.word = "volume", .kind = "volume", .define = define};

/* ---- commands ---- */

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
	struct api_args args;

	api_args_begin(&args);
	api_put_name(L, &args, 1, "volume", v->name, "volume");
	if (v->second)
		api_put_name(L, &args, 2, v->second, v->name, "volume");
	if (v->third && !lua_isnoneornil(L, 3))
		api_put_name(L, &args, 3, v->third, v->name, "volume");
	api_run_command(L, control_of(L), GROUP_VOLUME, v->command, &args);
	return 1;
}

/* volume_job(number): how far it is. */
static int volume_job(lua_State *L)
{
	lua_Integer job = luaL_checkinteger(L, 1);
	struct api_args args;

	if (job < 1)
		return luaL_error(L, "volume_job takes the number of a job");
	api_args_begin(&args);
	command_put_uint(&args.w, "job", (uint64_t)job);
	api_run_command(L, control_of(L), GROUP_VOLUME, VOLUME_CMD_JOB, &args);
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
		struct api_args args;

		api_args_begin(&args);
		if (!lua_isnil(L, 2))
			api_put_name(L, &args, 2, "after", "volumes", "volume");
		api_run_command(L, control_of(L), GROUP_VOLUME, VOLUME_CMD_LIST, &args);
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
	api_open_definer(L, c, &definer);
	set_function(L, c, "volumes", volumes, NULL);
	set_function(L, c, "volume_job", volume_job, NULL);
	set_function(L, c, "model", model, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		set_function(L, c, verbs[i].name, verb, &verbs[i]);
}
