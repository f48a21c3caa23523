/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a script says and sees besides VMs: print and log, the store's files, and
 * help for the person at the prompt.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lib/bits.h"
#include "lua/api.h"
#include "lua/control_internal.h"

static struct control *control_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(1));
}

/* All arguments as text in one line, between tabs. */
static void join_arguments(lua_State *L)
{
	int n = lua_gettop(L);
	luaL_Buffer b;

	luaL_buffinit(L, &b);
	for (int i = 1; i <= n; i++) {
		if (i > 1)
			luaL_addchar(&b, '\t');
		luaL_tolstring(L, i, NULL);
		luaL_addvalue(&b);
	}
	luaL_pushresult(&b);
}

static int host_print(lua_State *L)
{
	struct control *c = control_of(L);
	size_t len;
	const char *text;

	join_arguments(L);
	text = lua_tolstring(L, -1, &len);
	script_print(c, text, len);
	return 0;
}

static int host_log(lua_State *L)
{
	struct control *c = control_of(L);
	size_t len;
	const char *text;

	join_arguments(L);
	text = lua_tolstring(L, -1, &len);
	script_log(c, text, len);
	return 0;
}

/* files(): the store's, as { name = size }. */
static int host_files(lua_State *L)
{
	struct control *c = control_of(L);
	struct file file = {.name = ""};

	lua_newtable(L);
	while (files_next(c->cfg.machine->files, "", file.name, &file) == ST_OK) {
		lua_pushinteger(L, (lua_Integer)file.size);
		lua_setfield(L, -2, file.name);
	}
	return 1;
}

static const char *const help_lines[] = {
	"vm_list()                  the VMs, one a line; vms() gives them as a table",
	"start \"a\"  stop \"a\"        also pause, resume, destroy, power (the power button)",
	"info \"a\"                   all about a VM; info(\"a\").state and so on",
	"console(\"a\" [, bytes])     the end of what it printed",
	"vm \"a\" { boot = pvh { image = \"...\", cmdline = \"...\" }, mem = { size = MiB(128) } }",
	"get \"host.mem.free\"        a counter or setting; set(\"a.b\", v, { why = \"...\", for_ = sec(60) })",
	"unset \"path\"  why \"path\"   takes changes of a setting back; says where its value comes from",
	"host()  check()  files()   the machine, its invariants, the store",
	"store.get(\"name\")          also put(name, text), list(prefix), delete(name)",
	"KiB MiB GiB us ms sec min hour pct   units; print, log, and Lua's own libraries",
};

static int host_help(lua_State *L)
{
	struct control *c = control_of(L);

	for (size_t i = 0; i < ARRAY_SIZE(help_lines); i++)
		script_print(c, help_lines[i], strlen(help_lines[i]));
	return 0;
}

void api_open_host(lua_State *L, struct control *c)
{
	static const luaL_Reg functions[] = {
		{"print", host_print}, {"log", host_log}, {"files", host_files}, {"help", host_help}, {NULL, NULL},
	};

	lua_pushglobaltable(L);
	lua_pushlightuserdata(L, c);
	luaL_setfuncs(L, functions, 1);
	lua_pop(L, 1);
}
