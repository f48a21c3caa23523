/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What scripts can call, one file a subject (docs/lua-api.md is the reference).
 * Each function opens its part in a new state; all run inside interp_call() and
 * may raise Lua errors. What changes something that outlives the script is done
 * between interp_shelter() and interp_unshelter(), or a script that is abandoned
 * would leave it half done. For lua/ alone.
 */
#ifndef CORBEL_LUA_API_H
#define CORBEL_LUA_API_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "lua/cbor.h"

struct control;
struct define_source;

/* Every function that needs control has it as its first upvalue. */
static inline struct control *control_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(1));
}

/* The libraries of Lua that a script may have, and nothing that reads files, loads bytecode or runs unmetered. */
void api_open_base(lua_State *L);
/* Unit functions: KiB(4), MiB(128), sec(5), pct(10), ... */
/* @hz: of the clock that mhz() is a part of. */
void api_open_units(lua_State *L, uint64_t hz);
/* vm "name" { ... }, linux { ... }, start "name", ... */
void api_open_vm(lua_State *L, struct control *c);
/* pool "name" { ... }, pool_move, pool_remove */
void api_open_pool(lua_State *L, struct control *c);
/* Pushes now.pool. */
void api_push_pools(lua_State *L, struct control *c);
/* Pushes now.volume. */
void api_push_volumes(lua_State *L, struct control *c);
/* volume "name" { ... }, volumes, volume_clone, ... */
void api_open_volume(lua_State *L, struct control *c);
/* network "name" { ... }, networks, network_info, ... */
void api_open_net(lua_State *L, struct control *c);
/* get, set, unset, why: counters and settings. */
void api_open_tree(lua_State *L, struct control *c);
/* log, print, host, files, help, ... */
void api_open_host(lua_State *L, struct control *c);

/* every, on, cancel, alert */
void api_open_policy(lua_State *L, struct control *c);
/* now */
void api_open_now(lua_State *L, struct control *c);
/* Pushes now. */
void api_push_now(lua_State *L);
/* The name of the VM that the view at @index (now.vm.NAME) is of, NULL when there is something else. */
const char *api_vm_name(lua_State *L, int index);

/* ---- api_define.c ---- */

/* A word of the language of definitions. */
struct api_definer {
	const char *word; /* "vm" */
	const char *kind; /* "VM", for sentences */
	/* Decodes and takes the definition @settings of @src; its sentence names kind, name and place. */
	enum status (*define)(struct control *c, const struct define_source *src, struct cbor_value settings,
			      struct error *err);
};

/* Makes the word known; @definer stays the caller's. */
void api_open_definer(lua_State *L, struct control *c, const struct api_definer *definer);
/* "boot.lua:12" of the code that called us, into @out of @size bytes, for messages. */
void api_where(lua_State *L, char *out, size_t size);

/* ---- api_vm.c, for other subjects ---- */

#define API_ARGS_MAX 512

/* A command's arguments under construction. */
struct api_args {
	struct cbor_writer w;
	struct cbor_mark map;
	uint8_t buf[API_ARGS_MAX];
};

void api_args_begin(struct api_args *args);
/*
 * Runs command @id of @group with the arguments written so far and pushes its
 * reply as a table; raises its error. The time it takes is not the script's.
 */
void api_run_command(lua_State *L, struct control *c, unsigned group, unsigned id, struct api_args *args);
/* Puts the VM that argument 1 names: a name, an id, or a table that has a name. */
void api_put_vm(lua_State *L, struct api_args *args, const char *verb);
/* Puts argument @index, the name of a @what ("pool"), as @key; raises an error when it is none. */
void api_put_name(lua_State *L, struct api_args *args, int index, const char *key, const char *verb,
		  const char *what);

/* host { ... } with its table at index 1; raises Lua errors. */
int api_host_settings(lua_State *L, struct control *c);

/* store.get, put, list, delete */
void api_open_store(lua_State *L, struct control *c);

/* ---- quantities: what unit functions make ---- */

enum unit_kind { UNIT_BYTES, UNIT_TIME, UNIT_SHARE, UNIT_RATE, UNIT_KINDS };

struct quantity {
	int64_t value; /* bytes, nanoseconds, or parts per million */
	enum unit_kind kind;
};

/* Pushes a quantity. */
int api_push_quantity(lua_State *L, int64_t value, enum unit_kind kind);
/* The quantity at @index, NULL when there is something else. */
const struct quantity *api_to_quantity(lua_State *L, int index);

#endif
