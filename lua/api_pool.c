/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools for scripts: pool "name" { ... } in a text, where it is collected with
 * the VMs, or at once; the verbs are the wire's commands. And now.pool, read where it is.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/api.h"
#include "lua/control_internal.h"
#include "lua/genpools.h"
#include "lua/pools.h"

#define POOL_TYPE "corbel.pool"
#define ARGS_MAX 256

static struct control *control_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(1));
}

/* ---- definitions ---- */

static enum status take_definition(struct control *c, const struct pool_config *cfg, struct error *err)
{
	struct pool *p;

	if (c->planning)
		return genpools_collect(c, cfg, err);
	if (c->collect)
		return fail(err, ST_INVALID, "pool %s (%.64s): a text for vm define has VMs alone; apply takes pools", cfg->name,
			    cfg->origin);
	return pools_define(c, cfg, &p, err);
}

/* The table behind pool "name". */
static int pool_settings(lua_State *L)
{
	struct control *c = control_of(L);
	char origin[VM_PATH_MAX];
	struct define_source src = {.origin = origin, .units = true};
	struct pool_config cfg;
	struct error err;
	enum status st;
	size_t len;

	src.name = lua_tolstring(L, lua_upvalueindex(2), &src.name_len);
	api_where(L, origin);
	if (!lua_istable(L, 1))
		return luaL_error(L, "pool %s (%s): its settings are a %s, not a table", src.name, origin,
				  luaL_typename(L, 1));
	c->unfinished[0] = '\0';
	len = api_settings_to_cbor(L, c, "pool", src.name, origin);
	/* The sentences name the place, so none is put before them. */
	interp_shelter();
	st = define_decode_pool(&src, cbor_root(c->script_reply, len), NULL, &cfg, &err);
	if (st == ST_OK)
		st = take_definition(c, &cfg, &err);
	interp_unshelter();
	if (st != ST_OK) {
		lua_pushstring(L, err.text);
		return lua_error(L);
	}
	return 0;
}

/* pool "name": waits for the table, as vm "name" does. */
static int pool_name(lua_State *L)
{
	struct control *c = control_of(L);
	char origin[VM_PATH_MAX], shown[VM_NAME_MAX];

	if (lua_type(L, 1) != LUA_TSTRING)
		return luaL_error(L, "pool takes a name and a table, as in pool \"name\" { ... }");
	if (c->unfinished[0])
		return luaL_error(L, "%s", c->unfinished);
	api_where(L, origin);
	log_clean(shown, sizeof shown, lua_tostring(L, 1), lua_rawlen(L, 1));
	format(c->unfinished, sizeof c->unfinished, "pool %s (%s): its table of settings is missing", shown, origin);
	lua_pushlightuserdata(L, c);
	lua_pushvalue(L, 1);
	lua_pushcclosure(L, pool_settings, 2);
	return 1;
}

/* ---- commands ---- */

static void put_name(lua_State *L, struct cbor_writer *w, int index, const char *key, const char *verb)
{
	size_t len;
	const char *name;

	if (lua_type(L, index) != LUA_TSTRING)
		luaL_error(L, "%s takes the name of a pool, not a %s", verb, luaL_typename(L, index));
	name = lua_tolstring(L, index, &len);
	if (!cbor_utf8_valid(name, len))
		luaL_error(L, "there is no pool of that name");
	cbor_put_text(w, key);
	cbor_put_text_n(w, name, len);
}

/* pool_remove "edge" */
static int pool_remove_verb(lua_State *L)
{
	struct control *c = control_of(L);
	uint8_t args[ARGS_MAX];
	struct cbor_mark map;
	struct cbor_writer w;

	cbor_writer_init(&w, args, sizeof args);
	map = cbor_open(&w);
	put_name(L, &w, 1, "name", "pool_remove");
	cbor_close_map(&w, map);
	api_run_command(L, c, GROUP_CPU, CPU_POOL_REMOVE, &w);
	return 0;
}

/* pool_move("web", "edge") */
static int pool_move_verb(lua_State *L)
{
	struct control *c = control_of(L);
	uint8_t args[ARGS_MAX];
	struct cbor_mark map;
	struct cbor_writer w;

	cbor_writer_init(&w, args, sizeof args);
	map = cbor_open(&w);
	api_put_vm(L, &w, "pool_move");
	put_name(L, &w, 2, "pool", "pool_move");
	cbor_close_map(&w, map);
	api_run_command(L, c, GROUP_CPU, CPU_POOL_MOVE, &w);
	return 0;
}

/* ---- now.pool ---- */

struct pool_view {
	struct control *c;
	char name[VM_NAME_MAX];
};

static int push_share(lua_State *L, uint64_t ppm)
{
	return api_push_quantity(L, ppm > INT64_MAX ? INT64_MAX : (int64_t)ppm, UNIT_SHARE);
}

static int push_time(lua_State *L, struct control *c, uint64_t ticks)
{
	return api_push_quantity(L, (int64_t)ticks_to_ns(ticks, c->cfg.clock->hz), UNIT_TIME);
}

static int push_count(lua_State *L, uint64_t n)
{
	lua_pushinteger(L, (lua_Integer)n);
	return 1;
}

static int push_text(lua_State *L, const char *text)
{
	lua_pushstring(L, text);
	return 1;
}

static struct pool_info info_of(const struct pool *p)
{
	struct pool_info info;

	pool_info(p, &info);
	return info;
}

/* nil for none: then there is nothing to compare with. */
static int push_limit(lua_State *L, uint64_t limit)
{
	if (limit != RLS_UNLIMITED)
		return push_share(L, limit);
	lua_pushnil(L);
	return 1;
}

#define VIEW(name, push) static int pool_##name(lua_State *L, struct control *c, const struct pool *p) { (void)c; return push; }
VIEW(id, push_count(L, p->id))
VIEW(parent_name, push_text(L, pool_parent(p) ? pool_parent(p)->config.name : ""))
VIEW(origin, push_text(L, p->config.origin))
VIEW(shares, push_count(L, p->cpu->numbers.shares))
VIEW(reservation, push_share(L, p->cpu->numbers.reservation))
VIEW(limit, push_limit(L, p->cpu->numbers.limit))
VIEW(entitled, push_share(L, info_of(p).entitled))
VIEW(allowed, push_share(L, info_of(p).allowed))
VIEW(used, push_time(L, c, info_of(p).used))
VIEW(used_ns, push_count(L, ticks_to_ns(info_of(p).used, c->cfg.clock->hz)))
VIEW(waited, push_time(L, c, info_of(p).waited))
VIEW(limited, push_time(L, c, info_of(p).limited))
VIEW(vms, push_count(L, info_of(p).vms))
VIEW(pools, push_count(L, info_of(p).pools))

static const struct {
	const char *name;
	int (*push)(lua_State *L, struct control *c, const struct pool *p);
} fields[] = {
	{"id", pool_id}, {"parent", pool_parent_name}, {"origin", pool_origin}, {"shares", pool_shares},
	{"reservation", pool_reservation}, {"limit", pool_limit}, {"entitled", pool_entitled},
	{"allowed", pool_allowed}, {"used", pool_used}, {"used_ns", pool_used_ns}, {"waited", pool_waited},
	{"limited", pool_limited}, {"vms", pool_vms}, {"pools", pool_pools},
};

static int view_index(lua_State *L)
{
	const struct pool_view *view = luaL_checkudata(L, 1, POOL_TYPE);
	const char *key = luaL_checkstring(L, 2);
	const struct pool *p = pool_find(view->c->cfg.machine, view->name);

	if (strcmp(key, "name") == 0)
		return push_text(L, view->name);
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (strcmp(fields[i].name, key) != 0)
			continue;
		if (p)
			return fields[i].push(L, view->c, p);
		lua_pushnil(L); /* it was removed */
		return 1;
	}
	return luaL_error(L, "a pool has no field %s", key);
}

static int view_tostring(lua_State *L)
{
	const struct pool_view *view = luaL_checkudata(L, 1, POOL_TYPE);

	lua_pushfstring(L, "pool %s", view->name);
	return 1;
}

static int read_only(lua_State *L)
{
	return luaL_error(L, "now is for reading");
}

static void push_view(lua_State *L, struct control *c, const struct pool *p)
{
	struct pool_view *view = lua_newuserdatauv(L, sizeof *view, 0);

	*view = (struct pool_view){.c = c};
	memcpy(view->name, p->config.name, sizeof view->name);
	luaL_setmetatable(L, POOL_TYPE);
}

static int pools_index(lua_State *L)
{
	struct control *c = control_of(L);
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
	const struct pool *p = name ? pool_find(c->cfg.machine, name) : NULL;

	if (p)
		push_view(L, c, p);
	else
		lua_pushnil(L);
	return 1;
}

static int pools_len(lua_State *L)
{
	struct machine *m = control_of(L)->cfg.machine;
	lua_Integer n = 0;

	for (struct pool *p = pool_next(m, NULL); p; p = pool_next(m, p))
		n++;
	lua_pushinteger(L, n);
	return 1;
}

/* The iterator's state is the name of the last one. */
static int pools_next(lua_State *L)
{
	struct control *c = control_of(L);
	const char *last = lua_tostring(L, 2);
	const struct pool *p = last ? pool_find(c->cfg.machine, last) : NULL;

	if (last && !p)
		return 0;
	p = pool_next(c->cfg.machine, p);
	if (!p)
		return 0;
	lua_pushstring(L, p->config.name);
	push_view(L, c, p);
	return 2;
}

static int pools_pairs(lua_State *L)
{
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushcclosure(L, pools_next, 1);
	lua_pushvalue(L, 1);
	lua_pushnil(L);
	return 3;
}

void api_push_pools(lua_State *L, struct control *c)
{
	static const luaL_Reg view_methods[] = {
		{"__index", view_index}, {"__newindex", read_only}, {"__tostring", view_tostring}, {NULL, NULL},
	};
	static const luaL_Reg methods[] = {
		{"__index", pools_index}, {"__len", pools_len}, {"__pairs", pools_pairs}, {"__newindex", read_only},
		{NULL, NULL},
	};

	luaL_newmetatable(L, POOL_TYPE);
	luaL_setfuncs(L, view_methods, 0);
	lua_pushliteral(L, "view");
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
	lua_newuserdatauv(L, 0, 0);
	lua_newtable(L);
	lua_pushlightuserdata(L, c);
	luaL_setfuncs(L, methods, 1);
	lua_pushliteral(L, "view");
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
}

void api_open_pool(lua_State *L, struct control *c)
{
	static const luaL_Reg functions[] = {
		{"pool", pool_name}, {"pool_remove", pool_remove_verb}, {"pool_move", pool_move_verb}, {NULL, NULL},
	};

	lua_pushglobaltable(L);
	lua_pushlightuserdata(L, c);
	luaL_setfuncs(L, functions, 1);
	lua_pop(L, 1);
}
