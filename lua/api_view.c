/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One set of metamethods for every kind of thing. The table of all has control,
 * the views made so far by number, and the kind as upvalues; a view finds its
 * thing by number first, which costs no search, and by name when the number has
 * gone to another.
 */
#include "lua/api_view.h"

#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lua/api.h"
#include "lua/control_internal.h"

/* Upvalues of the table's methods; control's is the first, as everywhere. */
enum { UP_CONTROL = 1, UP_VIEWS, UP_KIND, UPVALUES = UP_KIND };

struct view {
	struct control *c;
	const struct view_kind *kind;
	unsigned id; /* where it was found last */
	char name[VOLUME_NAME_MAX];
};

/* ---- fields ---- */

int view_push_count(lua_State *L, uint64_t n)
{
	lua_pushinteger(L, (lua_Integer)n);
	return 1;
}

int view_push_text(lua_State *L, const char *text)
{
	lua_pushstring(L, text);
	return 1;
}

int view_push_flag(lua_State *L, bool b)
{
	lua_pushboolean(L, b);
	return 1;
}

int view_push_bytes(lua_State *L, uint64_t n)
{
	return api_push_quantity(L, (int64_t)n, UNIT_BYTES);
}

int view_push_time(lua_State *L, uint64_t ns)
{
	return api_push_quantity(L, (int64_t)ns, UNIT_TIME);
}

int view_read_only(lua_State *L)
{
	return luaL_error(L, "now is for reading");
}

/* ---- one ---- */

/* The view at index 1 of a method, whose first upvalue is its kind. */
static struct view *self(lua_State *L)
{
	const struct view_kind *kind = lua_touserdata(L, lua_upvalueindex(1));

	return luaL_checkudata(L, 1, kind->type);
}

/* NULL when it is gone. */
static const void *thing_of(struct view *view)
{
	struct machine *m = view->c->cfg.machine;
	const void *thing = view->kind->by_id(m, view->id);

	if (!thing || strcmp(view->kind->name(thing), view->name) != 0)
		thing = view->kind->find(m, view->name);
	if (thing)
		view->id = view->kind->id(thing);
	return thing;
}

static int view_index(lua_State *L)
{
	struct view *view = self(L);
	const char *key = luaL_checkstring(L, 2);
	const struct view_kind *kind = view->kind;

	for (size_t i = 0; i < kind->field_count; i++) {
		const void *thing;

		if (strcmp(kind->fields[i].name, key) != 0)
			continue;
		thing = thing_of(view);
		if (thing)
			return kind->fields[i].push(L, view->c, thing);
		lua_pushnil(L);
		return 1;
	}
	if (strcmp(key, "name") == 0)
		return view_push_text(L, view->name);
	return luaL_error(L, "a %s has no field %s", kind->what, key);
}

static int view_tostring(lua_State *L)
{
	const struct view *view = self(L);

	lua_pushfstring(L, "%s %s", view->kind->what, view->name);
	return 1;
}

const char *view_name(lua_State *L, int index, const struct view_kind *kind)
{
	const struct view *view = luaL_testudata(L, index, kind->type);

	return view ? view->name : NULL;
}

static void push_kind(lua_State *L, const struct view_kind *kind)
{
	lua_pushlightuserdata(L, (void *)(uintptr_t)kind);
}

static void make_type(lua_State *L, const struct view_kind *kind)
{
	static const luaL_Reg methods[] = {
		{"__index", view_index}, {"__newindex", view_read_only}, {"__tostring", view_tostring}, {NULL, NULL},
	};

	luaL_newmetatable(L, kind->type);
	push_kind(L, kind);
	luaL_setfuncs(L, methods, 1);
	lua_pushliteral(L, "view");
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}

/* ---- all ---- */

static const struct view_kind *kind_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(UP_KIND));
}

/* Pushes the view of @thing: the one that was made before, or a new one. */
static int push_view(lua_State *L, const void *thing)
{
	const struct view_kind *kind = kind_of(L);
	unsigned id = kind->id(thing);
	struct view *view;

	lua_rawgeti(L, lua_upvalueindex(UP_VIEWS), id);
	view = lua_touserdata(L, -1);
	if (view && strcmp(view->name, kind->name(thing)) == 0)
		return 1;
	lua_pop(L, 1);
	view = lua_newuserdatauv(L, sizeof *view, 0);
	*view = (struct view){.c = control_of(L), .kind = kind, .id = id};
	memcpy(view->name, kind->name(thing), sizeof view->name);
	luaL_setmetatable(L, kind->type);
	lua_pushvalue(L, -1);
	lua_rawseti(L, lua_upvalueindex(UP_VIEWS), id);
	return 1;
}

static int all_index(lua_State *L)
{
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
	const void *thing = name ? kind_of(L)->find(control_of(L)->cfg.machine, name) : NULL;

	if (thing)
		return push_view(L, thing);
	lua_pushnil(L);
	return 1;
}

static int all_len(lua_State *L)
{
	const struct view_kind *kind = kind_of(L);
	const void *thing = NULL;
	lua_Integer n = 0;

	while ((thing = kind->next(control_of(L)->cfg.machine, thing)))
		n++;
	lua_pushinteger(L, n);
	return 1;
}

/* The iterator's state is the name of the last one, so things may come and go meanwhile. */
static int all_next(lua_State *L)
{
	struct machine *m = control_of(L)->cfg.machine;
	const struct view_kind *kind = kind_of(L);
	const char *last = lua_tostring(L, 2);
	const void *thing = last ? kind->find(m, last) : NULL;

	if (last && !thing)
		return 0;
	thing = kind->next(m, thing);
	if (!thing)
		return 0;
	lua_pushstring(L, kind->name(thing));
	push_view(L, thing);
	return 2;
}

static int all_pairs(lua_State *L)
{
	for (int i = 1; i <= UPVALUES; i++)
		lua_pushvalue(L, lua_upvalueindex(i));
	lua_pushcclosure(L, all_next, UPVALUES);
	lua_pushvalue(L, 1);
	lua_pushnil(L);
	return 3;
}

void view_push_all(lua_State *L, struct control *c, const struct view_kind *kind)
{
	static const luaL_Reg methods[] = {
		{"__index", all_index}, {"__len", all_len}, {"__pairs", all_pairs}, {"__newindex", view_read_only}, {NULL, NULL},
	};

	make_type(L, kind);
	lua_newuserdatauv(L, 0, 0); /* without content: the methods know */
	lua_newtable(L);
	lua_pushlightuserdata(L, c);
	lua_newtable(L);
	push_kind(L, kind);
	luaL_setfuncs(L, methods, UPVALUES);
	lua_pushliteral(L, "view");
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
}
