/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks for scripts: network "name" { ... } in a text, where it is collected with the VMs, or at once; the verbs
 * are the wire's commands.
 */
#include <lauxlib.h>
#include <lua.h>

#include "lib/bits.h"
#include "lua/api.h"
#include "lua/control_internal.h"
#include "lua/gennets.h"
#include "lua/nets.h"

static enum status take(struct control *c, const struct network_config *cfg, struct error *err)
{
	if (c->planning)
		return gennets_collect(cfg, err);
	if (c->collect)
		return fail(err, ST_INVALID, "network %s (%.64s): a text for vm define has VMs alone; apply takes networks",
			    cfg->name, cfg->origin);
	return nets_define(c, cfg, err);
}

static enum status define(struct control *c, const struct define_source *src, struct cbor_value settings, struct error *err)
{
	struct network_config cfg;
	enum status st = define_decode_network(src, settings, NULL, &cfg, err);

	return st == ST_OK ? take(c, &cfg, err) : st;
}

static const struct api_definer definer = {.word = "network", .kind = "network", .define = define};

/* ---- commands ---- */

static int with_name(lua_State *L, const char *verb, enum net_command command)
{
	struct api_args args;

	api_args_begin(&args);
	api_put_name(L, &args, 1, "name", verb, "network");
	api_run_command(L, control_of(L), GROUP_NET, command, &args);
	return 1;
}

/* network_info "lan" */
static int network_info(lua_State *L)
{
	return with_name(L, "network_info", NET_CMD_SHOW);
}

/* network_remove "lan" */
static int network_remove_verb(lua_State *L)
{
	with_name(L, "network_remove", NET_CMD_REMOVE);
	return 0;
}

/*
 * A list of tables by @command, of all its pages: each is the list @key, and how to go on is the next request's
 * "after". The name at index 1, if there is one, is in every request.
 */
static int all_pages(lua_State *L, enum net_command command, const char *key, const char *verb)
{
	bool named = !lua_isnoneornil(L, 1);
	lua_Integer after = 0;

	lua_settop(L, 1);
	lua_newtable(L);
	do {
		struct api_args args;

		api_args_begin(&args);
		if (named)
			api_put_name(L, &args, 1, "name", verb, "network");
		if (after)
			command_put_uint(&args.w, "after", (uint64_t)after);
		api_run_command(L, control_of(L), GROUP_NET, command, &args);
		lua_getfield(L, 3, key);
		for (lua_Integer i = 1; lua_rawgeti(L, 4, i) != LUA_TNIL; i++)
			lua_rawseti(L, 2, (lua_Integer)lua_rawlen(L, 2) + 1);
		after = lua_getfield(L, 3, "next") == LUA_TNUMBER ? lua_tointeger(L, -1) : 0;
		lua_settop(L, 2);
	} while (after);
	return 1;
}

/* networks() */
static int networks(lua_State *L)
{
	lua_settop(L, 0);
	lua_pushnil(L);
	return all_pages(L, NET_CMD_LIST, "networks", "networks");
}

/* nics() */
static int nics(lua_State *L)
{
	lua_settop(L, 0);
	lua_pushnil(L);
	return all_pages(L, NET_CMD_NICS, "nics", "nics");
}

/* network_ports "lan" */
static int network_ports(lua_State *L)
{
	luaL_checkany(L, 1);
	return all_pages(L, NET_CMD_PORTS, "ports", "network_ports");
}

void api_open_net(lua_State *L, struct control *c)
{
	static const luaL_Reg functions[] = {
		{"networks", networks},
		{"nics", nics},
		{"network_info", network_info},
		{"network_ports", network_ports},
		{"network_remove", network_remove_verb},
		{NULL, NULL},
	};

	api_open_definer(L, c, &definer);
	lua_pushglobaltable(L);
	lua_pushlightuserdata(L, c);
	luaL_setfuncs(L, functions, 1);
	lua_pop(L, 1);
}
