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
