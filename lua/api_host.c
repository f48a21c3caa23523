/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a script says, and takes from others: print and log, use, and help for the
 * person at the prompt.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lib/bits.h"
#include "lua/api.h"
#include "lua/control_internal.h"
#include "lua/filename.h"
#include "lua/genuse.h"

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

/* The file's bytes in memory of Lua's, so that nothing has to be given back when the script ends here. */
static const char *read_source(lua_State *L, struct control *c, const char *name, size_t *len)
{
	struct arg_text arg = {.text = name, .len = strlen(name), .given = true};
	struct files *files = c->cfg.machine->files;
	struct error err = {""};
	char path[FILE_NAME_MAX];
	enum status st;
	struct file f;
	char *text;

	if (filename_take(&arg, FILE_USE_READ, path, &err) != ST_OK)
		luaL_error(L, "%s", err.text);
	interp_shelter();
	st = genuse_find(c, path, &f, &err);
	interp_unshelter();
	if (st != ST_OK)
		luaL_error(L, "%s", err.text);
	text = lua_newuserdatauv(L, f.size ? (size_t)f.size : 1, 0);
	interp_shelter();
	st = files_read(files, &f, 0, text, (size_t)f.size, len, &err);
	interp_unshelter();
	if (st != ST_OK)
		luaL_error(L, "%s", err.text);
	return text;
}

/* use(name [, ...]): runs a script of the store here, with these arguments, as a part of this one. */
static int host_use(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1), *slash = strrchr(name, '/'), *text;
	size_t len = 0;

	text = read_source(L, control_of(L), name, &len);
	lua_insert(L, 2);
	lua_pushfstring(L, "=%s", slash ? slash + 1 : name);
	if (luaL_loadbufferx(L, text, len, lua_tostring(L, -1), "t") != LUA_OK)
		return lua_error(L);
	lua_replace(L, 1);
	lua_pop(L, 1); /* the chunk's name */
	lua_remove(L, 2);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	return lua_gettop(L);
}

static const char *const help_lines[] = {
	"vm_list()                  the VMs, one a line; vms() gives them as a table",
	"start \"a\"  stop \"a\"        also pause, resume, destroy, power (the power button)",
	"info \"a\"                   all about a VM; info(\"a\").state and so on",
	"console(\"a\" [, bytes])     the end of what it printed",
	"vm \"a\" { boot = pvh { image = \"...\", cmdline = \"...\" }, mem = { size = MiB(128) } }",
	"pool \"edge\" { cpu = { shares = 2000, limit = pct(50) } }   and vm \"a\" { pool = \"edge\", ... }",
	"volume \"data\" { ram = MiB(64) }   and vm \"a\" { disk = { root = virtio { volume = \"data\" } }, ... }",
	"network \"lan\" { uplink = \"nic0\" }   and vm \"a\" { net = { lan0 = virtio { network = \"lan\" } }, ... }",
	"get \"host.mem.free\"        a counter or setting; set(\"a.b\", v, { why = \"...\", for_ = sec(60) })",
	"unset \"path\"  why \"path\"   takes changes of a setting back; says where its value comes from",
	"host()  check()  files()   the machine, its invariants, the store",
	"host { log = { level = \"warn\" } }   settings of the machine",
	"store.get(\"name\")          also put(name, text), list(prefix), delete(name)",
	"now.vm.a.state  now.host.free   what is, at this moment",
	"every(sec(5), f)  on(\"vm.crashed\", f)   hooks, in a script that stays",
	"plan(FILE)  apply(FILE)  run(FILE)  use(FILE)   scripts of the store",
	"KiB MiB GiB us ms sec min hour pct Mbps   units; print, log, and Lua's own libraries",
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
		{"print", host_print}, {"log", host_log}, {"use", host_use}, {"help", host_help}, {NULL, NULL},
	};

	lua_pushglobaltable(L);
	lua_pushlightuserdata(L, c);
	luaL_setfuncs(L, functions, 1);
	lua_pop(L, 1);
}
