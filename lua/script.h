/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripts and their two interpreters: one for the operator's prompt, which keeps
 * its variables, and one for texts (start-up, definitions), new for each.
 */
#ifndef CORBEL_LUA_SCRIPT_H
#define CORBEL_LUA_SCRIPT_H

#include <stddef.h>

#include "lib/error.h"

struct control;

/* Cuts @memory in two for the interpreters. */
void script_init(struct control *c, void *memory, size_t size);
/* Runs Lua text of the store: its definitions take effect one by one, as they come. */
MUST_CHECK enum status script_run(struct control *c, const char *text, size_t len, const char *name, struct error *err);

/* Opens the whole API in a new state; @ctx is the control. */
struct lua_State;
void script_open(struct lua_State *L, void *ctx);
/* Runs the text in @in, under @name in messages. */
struct interp;
MUST_CHECK enum status script_run_in(struct control *c, struct interp *in, const char *text, size_t len,
				     const char *name, struct error *err);

#endif
