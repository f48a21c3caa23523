/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lua values as CBOR and back: how a script's table enters the same checks as a
 * request on the wire, and how a command's reply becomes a table. A quantity
 * (api.h) is a tagged integer, so that a reader can tell MiB(1) from 1048576.
 * Keys are written sorted, so that a script's errors do not depend on the hash.
 */
#ifndef CORBEL_LUA_BRIDGE_H
#define CORBEL_LUA_BRIDGE_H

#include "lib/error.h"
#include "lua/cbor.h"

struct lua_State;

/* Tag of a quantity of kind k: BRIDGE_TAG_QUANTITY + k (enum unit_kind), around an integer. Never on the wire. */
#define BRIDGE_TAG_QUANTITY 0x436f7262656cull
#define BRIDGE_ENTRIES_MAX 64 /* in one table */
#define BRIDGE_DEPTH_MAX 8

/*
 * Writes the value at @index. ST_INVALID for what is no data (functions, tables that mix list and
 * names), ST_OVER_LIMIT for tables too deep or too large; @err names the key. An empty table is an empty map.
 */
MUST_CHECK enum status bridge_put(struct lua_State *L, int index, struct cbor_writer *w, struct error *err);

/* Pushes the checked value @v. Tags are dropped, null is nil, byte strings are strings. */
void bridge_push(struct lua_State *L, struct cbor_value v);

/*
 * Appends the value at @index to @out of @size bytes as a Lua literal in one
 * line, tables to a bounded depth and length; always NUL-terminated. For the prompt.
 */
void bridge_show(struct lua_State *L, int index, char *out, size_t size);

#endif
