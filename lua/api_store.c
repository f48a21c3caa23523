/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store for Lua: store.get, list and info everywhere; put and delete only at
 * the prompt, for a script that stays or is only planned must not write on the
 * disk behind its text's back. The interpreter may be abandoned at any moment but
 * inside a shelter: each call into the store is in one, and no Lua in it.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lib/bits.h"
#include "lua/api.h"
#include "lua/control_internal.h"
#include "lua/filename.h"

#define GET_MAX (256u * 1024) /* in one string: an interpreter has about 1 MiB */
#define COPY_BYTES 2048u

/* The name at index 1, by the rule for clients: what is the control plane's own is nobody else's. */
static void name_argument(lua_State *L, const char *function, enum file_use use, char out[FILE_NAME_MAX])
{
	struct arg_text arg = {.given = true};
	struct error err;

	if (lua_type(L, 1) != LUA_TSTRING)
		luaL_error(L, "store.%s takes a name, as in store.%s(\"scripts/a.lua\"), not a %s", function, function,
			   luaL_typename(L, 1));
	arg.text = lua_tolstring(L, 1, &arg.len);
	if (filename_take(&arg, use, out, &err) != ST_OK)
		luaL_error(L, "%s", err.text);
}

static struct files *writable(lua_State *L, const char *function)
{
	struct control *c = control_of(L);

	if (c->print_to != PRINT_REPLY)
		luaL_error(L, "store.%s works at the prompt only, a script does not write to the store", function);
	return c->cfg.machine->files;
}

/* Waiting for the disk is not the script's work. */
static void leave_store(void)
{
	interp_clock_go();
	interp_unshelter();
}

static void enter_store(void)
{
	interp_shelter();
	interp_clock_stop();
}

/* store.put(name, text) */
static int store_put(lua_State *L)
{
	struct files *files = writable(L, "put");
	char name[FILE_NAME_MAX];
	const char *text;
	struct error err;
	enum status st;
	size_t len;

	if (lua_type(L, 2) != LUA_TSTRING)
		return luaL_error(L, "store.put takes a name and a text, not a %s", luaL_typename(L, 2));
	name_argument(L, "put", FILE_USE_WRITE, name);
	text = lua_tolstring(L, 2, &len);
	enter_store();
	st = files_put(files, name, text, len, &err);
	leave_store();
	return st == ST_OK ? 0 : luaL_error(L, "%s", err.text);
}

/* store.delete(name) */
static int store_delete(lua_State *L)
{
	struct files *files = writable(L, "delete");
	char name[FILE_NAME_MAX];
	struct error err;
	enum status st;

	name_argument(L, "delete", FILE_USE_WRITE, name);
	enter_store();
	st = files_delete(files, name, &err);
	leave_store();
	return st == ST_OK ? 0 : luaL_error(L, "%s", err.text);
}

static enum status sheltered_read(struct files *files, const struct file *file, uint64_t offset, char *buf, size_t len,
				  size_t *got, struct error *err)
{
	enum status st;

	interp_shelter();
	st = files_read(files, file, offset, buf, len, got, err);
	interp_unshelter();
	return st;
}

/* store.get(name [, offset [, length]]) */
static int store_get(lua_State *L)
{
	struct files *files = control_of(L)->cfg.machine->files;
	char name[FILE_NAME_MAX];
	lua_Integer offset = luaL_optinteger(L, 2, 0), length;
	struct file file;
	struct error err;
	char part[COPY_BYTES];
	luaL_Buffer b;
	size_t got;

	name_argument(L, "get", FILE_USE_READ, name);
	if (files_find(files, name, &file, &err) != ST_OK)
		return luaL_error(L, "%s", err.text);
	if (offset < 0 || (uint64_t)offset > file.size)
		return luaL_error(L, "store.get: %s has no byte %I", file.name, (LUAI_UACINT)offset);
	length = luaL_optinteger(L, 3, (lua_Integer)(file.size - (uint64_t)offset));
	if (length < 0 || length > (lua_Integer)GET_MAX)
		return luaL_error(L, "store.get: at most %d bytes at a time, not %I", (int)GET_MAX, (LUAI_UACINT)length);
	luaL_buffinit(L, &b);
	for (got = 1; length > 0 && got > 0; offset += (lua_Integer)got, length -= (lua_Integer)got) {
		size_t want = MIN((size_t)length, sizeof part);

		if (sheltered_read(files, &file, (uint64_t)offset, part, want, &got, &err) != ST_OK)
			return luaL_error(L, "%s", err.text);
		luaL_addlstring(&b, part, got);
	}
	luaL_pushresult(&b);
	return 1;
}

/* store.list([prefix]), files(): { name = size } */
static int store_list(lua_State *L)
{
	struct files *files = control_of(L)->cfg.machine->files;
	const char *prefix = luaL_optstring(L, 1, "");
	struct file file = {.name = ""};

	lua_newtable(L);
	while (files_next(files, prefix, file.name, &file) == ST_OK) {
		if (filename_hidden(file.name))
			continue;
		lua_pushinteger(L, (lua_Integer)file.size);
		lua_setfield(L, -2, file.name);
	}
	return 1;
}

void api_open_store(lua_State *L, struct control *c)
{
	static const luaL_Reg functions[] = {
		{"put", store_put}, {"get", store_get}, {"delete", store_delete}, {"list", store_list}, {NULL, NULL},
	};

	luaL_newlibtable(L, functions);
	lua_pushlightuserdata(L, c);
	luaL_setfuncs(L, functions, 1);
	lua_getfield(L, -1, "list");
	lua_setglobal(L, "files");
	lua_setglobal(L, "store");
}
