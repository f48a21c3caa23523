/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of settings as they come from outside (the wire, scripts, the prompt):
 * path and value are read by the knob's declaration and checked in full, then
 * applied. One door for every face, so one set of checks and one log line.
 */
#ifndef CORBEL_LUA_CHANGE_H
#define CORBEL_LUA_CHANGE_H

#include "lua/cbor.h"
#include "lua/settings.h"

/* As it came; nothing of it is checked but the CBOR. */
struct change_request {
	const char *path;
	size_t path_len;
	struct cbor_value value; /* a boolean, a number, a quantity of a script's (lua/bridge.h), or text */
	uint64_t for_ns;         /* 0: for good */
	const char *why;
	size_t why_len;          /* 0: none */
	const char *where;       /* a script's file and line; "" for the operator */
	bool script;             /* not the operator: roles are not asked for */
	bool units;              /* Lua's values: sizes and times are quantities */
};

/* The setting of that name; ST_INVALID for a counter, which cannot be set. */
MUST_CHECK enum status change_find(struct control *c, const char *path, size_t len, struct tree_item *out,
				   struct error *err);
/* Reads and checks the whole request. Changes nothing. */
MUST_CHECK enum status change_decode(struct control *c, const struct change_request *r, struct setting_change *out,
				     struct error *err);
/* May the session at the line change it? ST_DENIED: its role or the VMs that its key is limited to do not allow it. */
MUST_CHECK enum status change_allowed(struct control *c, const struct tree_item *item, struct error *err);
/* Makes a change that was decoded, with nothing in between, and logs it, in the audit log too. */
void change_apply(struct control *c, const struct setting_change *change);
/* Takes all changes of a setting back, and logs it. @where: as in struct change_request. */
void change_reset(struct control *c, const struct tree_item *item, const char *where);

/* Pushes the value of a counter or setting as Lua has it: a quantity, a number, a boolean, a word. */
struct lua_State;
void tree_push_value(struct lua_State *L, struct control *c, const struct tree_item *item);
/* The other way: the value at @index as CBOR in @buf, for r->value; r->path is set. Raises Lua errors. */
#define CHANGE_VALUE_MAX 128u
void tree_take_value(struct lua_State *L, int index, struct change_request *r, uint8_t buf[CHANGE_VALUE_MAX]);
/* "boot.lua:12" of the code that called us; empty at the prompt, where the operator speaks. */
void tree_where(struct lua_State *L, const struct control *c, char out[SETTINGS_WHERE_MAX]);

/* The value of a knob as the wire has it: a boolean, a number, or a word. */
struct cbor_writer;
void tree_put_knob_value(const struct knob *k, uint64_t value, struct cbor_writer *w);

#endif
