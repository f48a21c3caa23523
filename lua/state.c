/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ways out of a script that does not end. The count hook sees the virtual
 * machine's instructions and raises an error there: the script dies, its state
 * lives. Library functions run no hook; the meter of corbel_luaconf.h sees
 * them, and when a call is past its budget by GRACE we leave Lua by longjmp and
 * drop the state whole. That is safe at any point because nothing but the block
 * of memory belongs to a state, and costs the script its variables.
 */
#include "lua/state.h"

#include <lauxlib.h>
#include <lua.h>
#include <setjmp.h>
#include <string.h>

#include "lib/assert.h"
#include "lib/log.h"
#include "lua/corbel_lua_meter.h"

#define SLICE 4096l          /* steps between two looks at the clock */
#define HOOK_COUNT 1000      /* instructions between two calls of the hook */
#define BYTES_PER_STEP 64u   /* allocated, compared or searched */
#define GRACE(budget) ((budget) / 4)

const struct interp_budget interp_default_budget = {
	.call_steps = 5000000,
	.call_ns = 5000000000ull,
	.interval_steps = 20000000,
	.interval_ns = 10000000000ull,
};

/* The call under way; there is one at most. */
static struct {
	struct interp *in;
	uint64_t steps;      /* used so far */
	uint64_t allowed;
	uint64_t deadline;   /* ticks */
	uint64_t grace;      /* ticks behind the deadline until a discard */
	bool killed;
	jmp_buf discard;
} call;

long corbel_lua_steps = SLICE;

/* ---- the meter ---- */

static void settle(void)
{
	call.steps += (uint64_t)(SLICE - corbel_lua_steps);
	corbel_lua_steps = SLICE;
}

static uint64_t now(void)
{
	return call.in->clock->ticks();
}

static bool beyond(uint64_t steps, uint64_t ticks)
{
	return call.steps > call.allowed + steps || now() > call.deadline + ticks;
}

void corbel_lua_slice_end(void)
{
	if (!call.in) {
		corbel_lua_steps = SLICE;
		return;
	}
	settle();
	if (beyond(GRACE(call.allowed), call.grace))
		longjmp(call.discard, 1);
}

void interp_charge(uint64_t steps)
{
	corbel_lua_steps -= (long)(steps < INT32_MAX ? steps : INT32_MAX);
	if (corbel_lua_steps < 0)
		corbel_lua_slice_end();
}

void interp_exclude(uint64_t ticks)
{
	call.deadline += ticks;
}

int corbel_lua_memcmp(const void *a, const void *b, size_t n)
{
	interp_charge(n / BYTES_PER_STEP);
	return memcmp(a, b, n);
}

void *corbel_lua_memchr(const void *s, int c, size_t n)
{
	interp_charge(n / BYTES_PER_STEP);
	return memchr(s, c, n);
}

int corbel_lua_strcoll(const char *a, const char *b)
{
	interp_charge(strlen(a) / BYTES_PER_STEP);
	return strcmp(a, b);
}

/* xorshift64* (Vigna, 2016) over the clock: spreads string hashes; no secret depends on it. */
unsigned corbel_lua_seed(void)
{
	static uint64_t x = 0x9e3779b97f4a7c15ull;

	if (call.in)
		x ^= now() | 1;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	return (unsigned)(x * 0x2545f4914f6cdd1dull >> 32);
}

/* Kills the script when it is over its budget, and again at each line and instruction after that. */
static void on_count(lua_State *L, lua_Debug *ar)
{
	(void)ar;
	settle();
	if (!call.killed && !beyond(0, 0))
		return;
	if (!call.killed)
		call.in->kills++;
	call.killed = true;
	lua_sethook(L, on_count, LUA_MASKCOUNT | LUA_MASKLINE | LUA_MASKCALL, 1);
	luaL_where(L, 0); /* in a hook, level 0 is the function that was interrupted */
	lua_pushfstring(L, "stopped: it used up its %s",
			call.steps > call.allowed ? "instruction budget" : "time");
	lua_concat(L, 2);
	lua_error(L);
}

/* ---- the state ---- */

static void *allocate(void *ctx, void *p, size_t old, size_t size)
{
	struct interp *in = ctx;
	void *got;

	(void)old;
	if (size == 0) {
		heap_free(&in->heap, p);
		return NULL;
	}
	got = heap_realloc(&in->heap, p, size);
	if (got)
		interp_charge(size / BYTES_PER_STEP);
	return got;
}

/* Lua calls this for an error outside any protected call, and we make none. */
static int on_panic(lua_State *L)
{
	panic("Lua error outside a protected call: %s", lua_tostring(L, -1));
}

void interp_init(struct interp *in, void *memory, size_t size, const struct clock *clock,
		 void (*open)(lua_State *L, void *ctx), void *ctx)
{
	ASSERT(size >= INTERP_MEMORY_MIN);
	*in = (struct interp){
		.memory = memory, .size = size, .clock = clock, .budget = interp_default_budget,
		.open = open, .open_ctx = ctx, .interval_start = clock->ticks(),
	};
}

void interp_discard(struct interp *in)
{
	ASSERT(call.in != in);
	in->L = NULL;
}

static int open_state(lua_State *L)
{
	struct interp *in = lua_touserdata(L, 1);

	in->open(L, in->open_ctx);
	return 0;
}

/* What is left of the interval for one call; a new interval starts when the old one is over. */
static uint64_t steps_allowed(struct interp *in)
{
	uint64_t ticks = in->clock->ticks();

	if (ticks_to_ns(ticks - in->interval_start, in->clock->hz) >= in->budget.interval_ns) {
		in->interval_start = ticks;
		in->interval_used = 0;
	}
	if (in->interval_used >= in->budget.interval_steps)
		return 0;
	return MIN(in->budget.call_steps, in->budget.interval_steps - in->interval_used);
}

static void begin(struct interp *in, uint64_t allowed)
{
	uint64_t ticks = ns_to_ticks(in->budget.call_ns, in->clock->hz);

	ASSERT(call.in == NULL);
	call.in = in;
	call.steps = 0;
	call.allowed = allowed;
	call.deadline = in->clock->ticks() + ticks;
	call.grace = GRACE(ticks);
	call.killed = false;
	corbel_lua_steps = SLICE;
}

static void end(void)
{
	settle();
	call.in->interval_used += call.steps;
	call.in = NULL;
}

/* The message on top of the stack, without the bytes that could forge a line or a terminal sequence. */
static enum status take_message(lua_State *L, struct error *err)
{
	char text[ERROR_TEXT_MAX];
	size_t len = 0;
	const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;

	if (!s)
		return fail(err, ST_INVALID, "the script raised an error that is a %s, not a text",
			    luaL_typename(L, -1));
	return fail(err, ST_INVALID, "%s", log_clean(text, sizeof text, s, len));
}

/* Runs @fn protected in the state that exists. */
static enum status run(struct interp *in, lua_CFunction fn, void *arg, struct error *err)
{
	lua_State *L = in->L;
	enum status st = ST_OK;
	int result;

	lua_sethook(L, on_count, LUA_MASKCOUNT, HOOK_COUNT);
	lua_pushcfunction(L, fn);
	lua_pushlightuserdata(L, arg);
	result = lua_pcall(L, 1, 0, 0);
	if (result == LUA_ERRMEM)
		st = fail(err, ST_NO_MEMORY, "not enough memory for the script: it has %zu KiB", in->size / 1024);
	else if (result != LUA_OK)
		st = take_message(L, err);
	lua_settop(L, 0);
	if (!call.killed)
		return st;
	return st == ST_OK ? fail(err, ST_OVER_LIMIT, "stopped: it used up its budget") : ST_OVER_LIMIT;
}

/* Makes the state when there is none, then runs @fn. */
static enum status open_and_run(struct interp *in, lua_CFunction fn, void *arg, struct error *err)
{
	enum status st;

	if (!in->L) {
		heap_init(&in->heap, in->memory, in->size);
		in->L = lua_newstate(allocate, in);
		if (!in->L)
			return fail(err, ST_NO_MEMORY, "%zu KiB are too little for an interpreter", in->size / 1024);
		lua_atpanic(in->L, on_panic);
		st = run(in, open_state, in, err);
		if (st != ST_OK) {
			in->L = NULL;
			return st;
		}
	}
	return run(in, fn, arg, err);
}

enum status interp_call(struct interp *in, lua_CFunction fn, void *arg, struct error *err)
{
	uint64_t allowed = steps_allowed(in);
	enum status st;

	if (allowed == 0)
		return fail(err, ST_BUSY,
			    "the interpreter has used up its budget of %lu steps in %lu s: try again later",
			    (unsigned long)in->budget.interval_steps,
			    (unsigned long)(in->budget.interval_ns / 1000000000));
	begin(in, allowed);
	if (setjmp(call.discard) == 0) {
		st = open_and_run(in, fn, arg, err);
	} else {
		in->L = NULL;
		in->discards++;
		st = fail(err, ST_OVER_LIMIT,
			  "stopped: it did not return from a library function; its variables are lost");
	}
	end();
	return st;
}
