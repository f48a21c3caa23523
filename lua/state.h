/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One interpreter: a Lua state that can use up its own block of memory and its
 * own budget of steps and time, and nothing else. Three ways it ends that will
 * not end by itself:
 *
 *	killed     in Lua code, within 1 % of its budget: an error that is raised again
 *	           at every line and instruction, so that no pcall survives it. The state
 *	           stays, with its variables
 *	discarded  in a function of Lua's library that the meter sees, 1.5 ms after it was seen
 *	           over its budget: the whole block is dropped
 *	abandoned  anywhere else, when it has given no sign of life for half a second, or for
 *	           1.5 ms over its budget: the host's timer interrupt leaves it for good
 *	           (interp_abandon), block and all
 *
 * That interrupt comes every 2 ms of the control task's time, so that none of these takes
 * more than 5 ms beyond its budget, a preemption slice: interp_worst_overshoot().
 *
 * A step is about one instruction of Lua's virtual machine, or as much work in
 * its library (see lua/corbel_luaconf.h). One interpreter runs at a time, in the
 * control task; its C functions may run another one within.
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
#define INTERP_BYTES_PER_STEP 64u /* allocated, compared or searched */

/* What a call, and all calls of a second together, may take. */
struct interp_budget {
	uint64_t call_steps;
	uint64_t call_ns;      /* of CPU: time in which others ran does not count (interp_exclude) */
	uint64_t second_steps; /* at least call_steps */
};

/* Of the prompt and of texts that run once, and of a resident script's hooks. */
extern const struct interp_budget interp_default_budget, interp_hook_budget;

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
	uint64_t second_start, second_used; /* ticks, steps */
	uint64_t last_steps;                /* of the latest call */
	uint64_t kills, discards, abandoned;
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
 * ST_BUSY: the second's budget is used up; nothing was called. Every text in @err is printable ASCII.
 */
MUST_CHECK enum status interp_call(struct interp *in, int (*fn)(struct lua_State *L), void *arg, struct error *err);

/* Forgets the state: the next call starts with a new one. Not from within a call. */
void interp_discard(struct interp *in);

/* From the interrupt: takes @ticks, in which others had the CPU, out of the running call's time. */
void interp_exclude(uint64_t ticks);

/* The running call's clock stands between these, whoever has the CPU: around work that is not the script's. They nest. */
void interp_clock_stop(void);
void interp_clock_go(void);

/* Charges the running call for work done on its behalf. */
void interp_charge(uint64_t steps);

/* Ticks: the most that a call has taken beyond its budget so far, whichever way it ended. */
uint64_t interp_worst_overshoot(void);

/* ---- being abandoned ---- */

/*
 * Between these an abandonment is held off: around whatever changes something that outlives the script.
 * They nest. No Lua error may be raised and no Lua function called in between.
 */
void interp_shelter(void);
void interp_unshelter(void);

/*
 * From the timer's interrupt, when it has interrupted the control task. A call that is over its budget is made to
 * look at it. True when one is stuck in a function that neither the meter nor the hook sees, and not sheltered: it
 * did not look when it was last made to. Then interp_abandon() on the control task's own stack, with
 * interrupts as interp_call() is to go on with: it does not come back, interp_call() returns ST_OVER_LIMIT.
 */
bool interp_overdue(void);
__attribute__((noreturn)) void interp_abandon(void);

#endif
