/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One interpreter: a Lua state that can use up its own block of memory and its
 * own budget of steps and time, and nothing else. What runs past its budget is
 * killed; the kill is raised again on every line, so no pcall survives it. What
 * does not come back even so (it loops inside one of Lua's C functions) is
 * discarded: the whole block is dropped and made anew for the next call.
 *
 * A step is about one instruction of Lua's virtual machine, or as much work in
 * its library (see lua/corbel_luaconf.h). One interpreter runs at a time, in the
 * control task.
 */
#ifndef CORBEL_LUA_STATE_H
#define CORBEL_LUA_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/error.h"
#include "lua/heap.h"

struct lua_State;

#define INTERP_MEMORY_MIN (128u * 1024)

/* What a call, and all calls of an interval together, may take. */
struct interp_budget {
	uint64_t call_steps;
	uint64_t call_ns;
	uint64_t interval_steps;
	uint64_t interval_ns;
};

extern const struct interp_budget interp_default_budget;

struct interp {
	void *memory;       /* the caller's; all of the interpreter is in it */
	size_t size;
	struct heap heap;
	struct lua_State *L; /* NULL until the first call, and after a discard */
	const struct clock *clock;
	struct interp_budget budget;
	/* Fills a new state with its globals; may raise Lua errors. */
	void (*open)(struct lua_State *L, void *ctx);
	void *open_ctx;
	uint64_t interval_start, interval_used; /* ticks, steps */
	uint64_t kills, discards;
};

/* @memory of @size >= INTERP_MEMORY_MIN bytes is the interpreter's until it is no more used. */
void interp_init(struct interp *in, void *memory, size_t size, const struct clock *clock,
		 void (*open)(struct lua_State *L, void *ctx), void *ctx);

/*
 * Calls @fn, a function of Lua's C API, with @arg as its one argument (light
 * userdata) and no results, protected and within the budget. What @fn hands out
 * goes through @arg: a discard leaves @fn by longjmp.
 *
 * ST_OK. ST_INVALID: a Lua error, its message in @err. ST_NO_MEMORY. ST_OVER_LIMIT: killed.
 * ST_BUSY: the interval's budget is used up. Every text in @err is printable ASCII.
 */
MUST_CHECK enum status interp_call(struct interp *in, int (*fn)(struct lua_State *L), void *arg, struct error *err);

/* Forgets the state: the next call starts with a new one. Not from within a call. */
void interp_discard(struct interp *in);

/* Takes @ticks out of the running call's time: it waited for work that is not its own. */
void interp_exclude(uint64_t ticks);

/* Charges the running call for work done on its behalf. */
void interp_charge(uint64_t steps);

#endif
