/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions that Lua's own files call for metering (corbel_luaconf.h), for
 * lua/state.c, which has them: our files must not see that header's macros.
 */
#ifndef CORBEL_LUA_METER_H
#define CORBEL_LUA_METER_H

#include <stddef.h>

extern long corbel_lua_steps; /* left of the current slice; a charge may take it below 0 */

/* A slice is used up. Returns with a new one, or leaves the interpreter for good. */
void corbel_lua_slice_end(void);
unsigned corbel_lua_seed(void);
/* memcmp, memchr and strcoll that charge for what they read. */
int corbel_lua_memcmp(const void *a, const void *b, size_t n);
void *corbel_lua_memchr(const void *s, int c, size_t n);
int corbel_lua_strcoll(const char *a, const char *b);

/* snprintf and strtod that an abandonment does not interrupt. */
__attribute__((format(printf, 3, 4))) int corbel_lua_snprintf(char *out, size_t size, const char *fmt, ...);
double corbel_lua_strtod(const char *s, char **end);

struct lua_State;
/* Thread @L is resumed with @depth nested C calls below it. */
void corbel_lua_resumed(struct lua_State *L, unsigned depth);
/* Thread @L is collected. */
void corbel_lua_freed(struct lua_State *L);

#endif
