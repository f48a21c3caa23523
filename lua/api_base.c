/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lua's own libraries, less what has no place in a hypervisor: files, bytecode,
 * the debug library, warnings. Two more holes are closed here: a finalizer
 * (__gc) runs with hooks off, so a metatable may have none; and a full garbage
 * collection is charged for, since it is one instruction to ask for.
 */
#include "lua/api.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <string.h>

#include "lib/bits.h"
#include "lua/state.h"

#define COLLECT_STEPS_PER_KIB 4u

/* load(text or function [, name [, ignored mode [, env]]]): text chunks only. */
static int base_load(lua_State *L)
{
	lua_settop(L, 4);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_pushliteral(L, "t");
	lua_replace(L, 4);
	/* Lua's load tells an absent environment from a nil one by the number of arguments. */
	if (lua_isnil(L, 5))
		lua_settop(L, 4);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	return lua_gettop(L);
}

static int base_setmetatable(lua_State *L)
{
	if (lua_istable(L, 2)) {
		lua_pushliteral(L, "__gc");
		lua_rawget(L, 2);
		if (!lua_isnil(L, -1))
			return luaL_error(L, "a metatable may not have __gc here");
		lua_pop(L, 1);
	}
	lua_settop(L, 2);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, 2, 1);
	return 1;
}

static int base_collectgarbage(lua_State *L)
{
	static const char *const options[] = {"collect", "count", NULL};
	int kib = lua_gc(L, LUA_GCCOUNT, 0);

	if (luaL_checkoption(L, 1, "collect", options) == 1) {
		lua_pushnumber(L, kib + lua_gc(L, LUA_GCCOUNTB, 0) / 1024.0);
		return 1;
	}
	interp_charge((uint64_t)kib * COLLECT_STEPS_PER_KIB);
	lua_gc(L, LUA_GCCOLLECT, 0);
	lua_pushinteger(L, 0);
	return 1;
}

/* Replaces global @name by @fn, which finds the old one as its upvalue. */
static void wrap(lua_State *L, const char *name, lua_CFunction fn)
{
	lua_getglobal(L, name);
	lua_pushcclosure(L, fn, 1);
	lua_setglobal(L, name);
}

static void remove_global(lua_State *L, const char *name)
{
	lua_pushnil(L);
	lua_setglobal(L, name);
}

void api_open_base(lua_State *L)
{
	static const luaL_Reg libraries[] = {
		{LUA_GNAME, luaopen_base},       {LUA_COLIBNAME, luaopen_coroutine}, {LUA_TABLIBNAME, luaopen_table},
		{LUA_STRLIBNAME, luaopen_string}, {LUA_MATHLIBNAME, luaopen_math},    {LUA_UTF8LIBNAME, luaopen_utf8},
	};
	static const char *const removed[] = {"dofile", "loadfile", "warn", "print"};

	for (size_t i = 0; i < ARRAY_SIZE(libraries); i++) {
		luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
		lua_pop(L, 1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(removed); i++)
		remove_global(L, removed[i]);
	lua_getglobal(L, LUA_STRLIBNAME);
	lua_pushnil(L);
	lua_setfield(L, -2, "dump");
	lua_pop(L, 1);
	wrap(L, "load", base_load);
	wrap(L, "setmetatable", base_setmetatable);
	wrap(L, "collectgarbage", base_collectgarbage);
}
