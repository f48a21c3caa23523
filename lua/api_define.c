/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is defined by a word, a name and a table, as in vm "web" { ... }: the word
 * takes the name and waits for the table, which goes through the bridge into the
 * decoder that the wire uses. A name that never gets its table is found at the
 * end of the text, or by the next.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lib/format.h"
#include "lib/log.h"
#include "lua/api.h"
#include "lua/bridge.h"
#include "lua/control_internal.h"

/* Upvalues of a word and of what waits for its table. */
enum { UP_CONTROL = 1, UP_DEFINER, UP_NAME };

void api_where(lua_State *L, char *out, size_t size)
{
	const char *text;
	size_t len;

	luaL_where(L, 1);
	text = lua_tolstring(L, -1, &len);
	if (len >= 2) /* it ends in ": " */
		len -= 2;
	log_clean(out, size, text, len);
	lua_pop(L, 1);
}

/* The table at index 1 as CBOR in c->script_reply; returns the length. */
static size_t settings_to_cbor(lua_State *L, struct control *c, const char *kind, const struct define_source *src)
{
	struct cbor_writer w;
	struct error err;

	cbor_writer_init(&w, c->script_reply, sizeof c->script_reply);
	if (bridge_put(L, 1, &w, &err) != ST_OK)
		luaL_error(L, "%s %s (%s): %s", kind, src->name, src->origin, err.text);
	if (w.overflow)
		luaL_error(L, "%s %s (%s): its settings take more than %d bytes", kind, src->name, src->origin,
			   (int)sizeof c->script_reply);
	return w.len;
}

/* The table behind the name. */
static int take_settings(lua_State *L)
{
	const struct api_definer *definer = lua_touserdata(L, lua_upvalueindex(UP_DEFINER));
	struct control *c = control_of(L);
	char origin[VM_PATH_MAX];
	struct define_source src = {.origin = origin, .units = true};
	struct error err;
	enum status st;
	size_t len;

	src.name = lua_tolstring(L, lua_upvalueindex(UP_NAME), &src.name_len);
	api_where(L, origin, sizeof origin);
	if (!lua_istable(L, 1))
		return luaL_error(L, "%s %s (%s): its settings are a %s, not a table", definer->kind, src.name, origin,
				  luaL_typename(L, 1));
	c->unfinished[0] = '\0';
	len = settings_to_cbor(L, c, definer->kind, &src);
	interp_shelter();
	st = definer->define(c, &src, cbor_root(c->script_reply, len), &err);
	interp_unshelter();
	if (st == ST_OK)
		return 0;
	lua_pushstring(L, err.text); /* it names the place itself, so none is put before it */
	return lua_error(L);
}

static int take_name(lua_State *L)
{
	const struct api_definer *definer = lua_touserdata(L, lua_upvalueindex(UP_DEFINER));
	struct control *c = control_of(L);
	char origin[VM_PATH_MAX], shown[VM_NAME_MAX];

	if (lua_type(L, 1) != LUA_TSTRING)
		return luaL_error(L, "%s takes a name and a table, as in %s \"name\" { ... }", definer->word, definer->word);
	if (c->unfinished[0])
		return luaL_error(L, "%s", c->unfinished);
	api_where(L, origin, sizeof origin);
	log_clean(shown, sizeof shown, lua_tostring(L, 1), lua_rawlen(L, 1));
	format(c->unfinished, sizeof c->unfinished, "%s %s (%s): its table of settings is missing", definer->kind, shown,
	       origin);
	lua_pushvalue(L, lua_upvalueindex(UP_CONTROL));
	lua_pushvalue(L, lua_upvalueindex(UP_DEFINER));
	lua_pushvalue(L, 1);
	lua_pushcclosure(L, take_settings, UP_NAME);
	return 1;
}

void api_open_definer(lua_State *L, struct control *c, const struct api_definer *definer)
{
	lua_pushlightuserdata(L, c);
	lua_pushlightuserdata(L, (void *)(uintptr_t)definer);
	lua_pushcclosure(L, take_name, UP_DEFINER);
	lua_setglobal(L, definer->word);
}
