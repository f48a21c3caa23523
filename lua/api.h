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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lua_State;
struct control;

/* The libraries of Lua that a script may have, and nothing that reads files, loads bytecode or runs unmetered. */
void api_open_base(struct lua_State *L);
/* Unit functions: KiB(4), MiB(128), sec(5), pct(10), ... */
/* @hz: of the clock that mhz() is a part of. */
void api_open_units(struct lua_State *L, uint64_t hz);
/* vm "name" { ... }, linux { ... }, start "name", ... */
void api_open_vm(struct lua_State *L, struct control *c);
/* pool "name" { ... }, pool_move, pool_remove; and the view now.pool, which is pushed. */
void api_open_pool(struct lua_State *L, struct control *c);
void api_push_pools(struct lua_State *L, struct control *c);
/* get, set, unset, why: counters and settings. */
void api_open_tree(struct lua_State *L, struct control *c);
/* log, print, host, files, help, ... */
void api_open_host(struct lua_State *L, struct control *c);

/* every, on, cancel, alert */
void api_open_policy(struct lua_State *L, struct control *c);
/* now */
void api_open_now(struct lua_State *L, struct control *c);
/* Pushes now. */
void api_push_now(struct lua_State *L);
/* The name of the VM that the view at @index (now.vm.NAME) is of, NULL when there is something else. */
const char *api_vm_name(struct lua_State *L, int index);

/* ---- api_vm.c, for other subjects ---- */

struct cbor_writer;
/* "boot.lua:12" of the code that called us, into @out of VM_PATH_MAX bytes, for messages. */
void api_where(struct lua_State *L, char *out);
/* The table at index 1 as CBOR in c->script_reply; returns the length or raises an error about @what @name. */
size_t api_settings_to_cbor(struct lua_State *L, struct control *c, const char *what, const char *name, const char *origin);
/*
 * Runs command @id of @group with the arguments written so far and pushes its
 * reply as a table; raises its error. The time it takes is not the script's.
 */
void api_run_command(struct lua_State *L, struct control *c, unsigned group, unsigned id, const struct cbor_writer *args);
/* Puts the VM that argument 1 names: a name, an id, or a table that has a name. */
void api_put_vm(struct lua_State *L, struct cbor_writer *w, const char *verb);

/* host { ... } with its table at index 1; raises Lua errors. */
int api_host_settings(struct lua_State *L, struct control *c);

/* store.get, put, list, delete */
void api_open_store(struct lua_State *L, struct control *c);

/* ---- quantities: what unit functions make ---- */

enum unit_kind { UNIT_BYTES, UNIT_TIME, UNIT_SHARE, UNIT_KINDS };

struct quantity {
	int64_t value; /* bytes, nanoseconds, or parts per million */
	enum unit_kind kind;
};

/* Pushes a quantity. */
int api_push_quantity(struct lua_State *L, int64_t value, enum unit_kind kind);
/* The quantity at @index, NULL when there is something else. */
const struct quantity *api_to_quantity(struct lua_State *L, int index);

/* Pushes one; returns 1. */
int api_push_quantity(struct lua_State *L, int64_t value, enum unit_kind kind);

#endif
