/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools for scripts: pool "name" { ... } in a text, where it is collected with
 * the VMs, or at once; the verbs are the wire's commands. And now.pool, read where it is.
 */
#include <lauxlib.h>
#include <lua.h>

#include "lib/bits.h"
#include "lua/api.h"
#include "lua/api_view.h"
#include "lua/control_internal.h"
#include "lua/genpools.h"
#include "lua/pools.h"

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

static enum status define(struct control *c, const struct define_source *src, struct cbor_value settings, struct error *err)
{
	struct pool_config cfg;
	enum status st = define_decode_pool(src, settings, NULL, &cfg, err);

	return st == ST_OK ? take_definition(c, &cfg, err) : st;
}

static const struct api_definer pool_definer = {.word = "pool", .kind = "pool", .define = define};

/* ---- commands ---- */

/* pool_remove "edge" */
static int pool_remove_verb(lua_State *L)
{
	struct api_args args;

	api_args_begin(&args);
	api_put_name(L, &args, 1, "name", "pool_remove", "pool");
	api_run_command(L, control_of(L), GROUP_CPU, CPU_POOL_REMOVE, &args);
	return 0;
}

/* pool_move("web", "edge") */
static int pool_move_verb(lua_State *L)
{
	struct api_args args;

	api_args_begin(&args);
	api_put_vm(L, &args, "pool_move");
	api_put_name(L, &args, 2, "pool", "pool_move", "pool");
	api_run_command(L, control_of(L), GROUP_CPU, CPU_POOL_MOVE, &args);
	return 0;
}

/* ---- now.pool ---- */

static int push_share(lua_State *L, uint64_t ppm)
{
	return api_push_quantity(L, ppm > INT64_MAX ? INT64_MAX : (int64_t)ppm, UNIT_SHARE);
}

static int push_ticks(lua_State *L, const struct control *c, uint64_t ticks)
{
	return view_push_time(L, ticks_to_ns(ticks, c->cfg.clock->hz));
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

#define POOL_FIELD(name, push) \
	static int pool_##name(lua_State *L, struct control *c, const void *thing) \
	{ \
		const struct pool *p = thing; \
\
		(void)c; \
		return push; \
	}
POOL_FIELD(id, view_push_count(L, p->id))
POOL_FIELD(parent_name, view_push_text(L, pool_parent(p) ? pool_parent(p)->config.name : ""))
POOL_FIELD(origin, view_push_text(L, p->config.origin))
POOL_FIELD(shares, view_push_count(L, p->cpu->numbers.shares))
POOL_FIELD(reservation, push_share(L, p->cpu->numbers.reservation))
POOL_FIELD(limit, push_limit(L, p->cpu->numbers.limit))
POOL_FIELD(entitled, push_share(L, info_of(p).entitled))
POOL_FIELD(allowed, push_share(L, info_of(p).allowed))
POOL_FIELD(used, push_ticks(L, c, info_of(p).used))
POOL_FIELD(used_ns, view_push_count(L, ticks_to_ns(info_of(p).used, c->cfg.clock->hz)))
POOL_FIELD(waited, push_ticks(L, c, info_of(p).waited))
POOL_FIELD(limited, push_ticks(L, c, info_of(p).limited))
POOL_FIELD(vms, view_push_count(L, info_of(p).vms))
POOL_FIELD(pools, view_push_count(L, info_of(p).pools))

static const struct view_field fields[] = {
	{"id", pool_id}, {"parent", pool_parent_name}, {"origin", pool_origin}, {"shares", pool_shares},
	{"reservation", pool_reservation}, {"limit", pool_limit}, {"entitled", pool_entitled},
	{"allowed", pool_allowed}, {"used", pool_used}, {"used_ns", pool_used_ns}, {"waited", pool_waited},
	{"limited", pool_limited}, {"vms", pool_vms}, {"pools", pool_pools},
};

static const void *find(struct machine *m, const char *name)
{
	return pool_find(m, name);
}

static const void *by_id(struct machine *m, unsigned id)
{
	return pool_by_id(m, id);
}

static const void *next(struct machine *m, const void *prev)
{
	return pool_next(m, prev);
}

static const char *name_of(const void *thing)
{
	return ((const struct pool *)thing)->config.name;
}

static unsigned id_of(const void *thing)
{
	return ((const struct pool *)thing)->id;
}

void api_push_pools(lua_State *L, struct control *c)
{
	static const struct view_kind kind = {
		.type = "corbel.pool", .what = "pool", .fields = fields, .field_count = ARRAY_SIZE(fields), .find = find,
		.by_id = by_id, .next = next, .name = name_of, .id = id_of,
	};

	view_push_all(L, c, &kind);
}

void api_open_pool(lua_State *L, struct control *c)
{
	static const luaL_Reg functions[] = {
		{"pool_remove", pool_remove_verb}, {"pool_move", pool_move_verb}, {NULL, NULL},
	};

	api_open_definer(L, c, &pool_definer);
	lua_pushglobaltable(L);
	lua_pushlightuserdata(L, c);
	luaL_setfuncs(L, functions, 1);
	lua_pop(L, 1);
}
