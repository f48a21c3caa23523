/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Adapts Debian's Lua 5.4 without touching its sources: the compiler includes
 * this header before anything else, for Lua's own files only.
 *
 * Besides taking out signals, wall-clock time and stdio, it meters the work
 * that Lua does inside its C functions, where no debug hook fires: every entry
 * into Lua's API (lua_lock), every step of pattern matching (l_unlikely) and
 * every byte compared or searched takes from corbel_lua_steps. When a slice of
 * steps is used up, lua/state.c decides whether the interpreter may go on.
 */
#ifndef CORBEL_LUACONF_H
#define CORBEL_LUACONF_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lua/corbel_lua_meter.h"

#define corbel_lua_step() ((void)(--corbel_lua_steps < 0 ? corbel_lua_slice_end() : (void)0))

#define lua_lock(L) corbel_lua_step()
#define lua_unlock(L) ((void)0)
#define luai_likely(x) (__builtin_expect(((x) != 0), 1))
#define luai_unlikely(x) (corbel_lua_step(), __builtin_expect(((x) != 0), 0))
#define memcmp(a, b, n) corbel_lua_memcmp(a, b, n)
#define memchr(s, c, n) corbel_lua_memchr(s, c, n)
#define strcoll(a, b) corbel_lua_strcoll(a, b)

/*
 * What of newlib keeps state between calls (number conversion takes memory from
 * malloc() and from lists of its own) must not be left half-way when a script is
 * abandoned: these run sheltered, see lua/state.h.
 */
#define snprintf corbel_lua_snprintf
#define strtod(s, end) corbel_lua_strtod(s, end)

/* A coroutine goes on: which threads a kill must reach. Expanded in ldo.c, where nCcalls is known. */
#define luai_userstateresume(L, n) corbel_lua_resumed(L, (L)->nCcalls & 0xffff)
#define luai_userstatefree(L, L1) corbel_lua_freed(L1)

/* Entropy, and no clock: the seed of string hashes and of math.random. */
#define luai_makeseed(L) corbel_lua_seed()
#define time(p) ((time_t)corbel_lua_seed())
#define l_randomizePivot() corbel_lua_seed()

#define l_signalT int
#define lua_getlocaledecpoint() '.'
#define lua_writestring(s, l) ((void)0)
#define lua_writeline() ((void)0)
#define lua_writestringerror(s, p) ((void)(p))

/* Nested C calls and parser levels. The dearest, a gsub() callback, takes 2.2 KiB: see CONTROL_STACK_BYTES. */
#define LUAI_MAXCCALLS 64

#endif
