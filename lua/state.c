/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways out of a script that does not end. The count hook sees the virtual
 * machine's instructions and raises an error there: the script dies, its state
 * lives. Library functions run no hook; the meter of corbel_luaconf.h sees most
 * of them, and what it does not see the timer's interrupt ends. Both leave Lua by
 * longjmp and drop the state whole. That is safe at any point because nothing but
 * the block of memory belongs to a state, and what else is touched on its behalf
 * is sheltered; it costs the script its variables.
 *
 * A hook belongs to a thread of Lua's. A kill therefore sets it anew on all that
 * wait in coroutine.resume for the running one, or each would go on for another
 * HOOK_COUNT instructions; those resumed later are caught as they are.
 */
#include "lua/state.h"

#include <lauxlib.h>
#include <lua.h>
#include <setjmp.h>
#include <string.h>

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/corbel_lua_meter.h"

#define SLICE 1024l          /* steps between two looks at the clock */
#define HOOK_COUNT 500       /* instructions between two calls of the hook: 0.25 % of the smallest budget */
#define GRACE_NS 1500000ull  /* from being seen over its budget: less than a turn of the control task, see urge() */
#define SILENCE_NS 500000000ull  /* without a sign of life: in a library function that neither meter nor hook sees */
#define ABANDON 10u          /* times its budget of steps, where no clock runs */
#define CHAIN_MAX 64u        /* threads that wait for each other; LUAI_MAXCCALLS allows fewer */
#define KILL_MASK (LUA_MASKCOUNT | LUA_MASKLINE | LUA_MASKCALL)

const struct interp_budget interp_default_budget = {
	.call_steps = 5000000,
	.call_ns = 2000000000ull,
	.second_steps = 10000000,
};

const struct interp_budget interp_hook_budget = {
	.call_steps = 200000,
	.call_ns = 500000000ull,
	.second_steps = 400000,
};

/* The call under way. One that was made from within another keeps that one's aside. */
static struct call {
	struct interp *in;
	uint64_t steps;      /* used so far */
	uint64_t allowed;
	volatile uint64_t began; /* ticks, moved by what is excluded */
	volatile unsigned stands; /* interp_clock_stop() without interp_clock_go() */
	volatile uint64_t stands_at; /* time used when it was stopped */
	uint64_t time;       /* ticks allowed */
	volatile uint64_t alive; /* ticks since it began: when meter, hook or a shelter's end last saw it */
	volatile bool over;  /* it was seen past its budget, first when it had run for */
	volatile uint64_t over_since; /* ticks */
	bool killed;
	char why[ERROR_TEXT_MAX]; /* when it was */
	volatile unsigned sheltered;
	struct {
		lua_State *thread;
		unsigned depth;
	} chain[CHAIN_MAX];  /* coroutines that were resumed, the running one last; some may have ended, none is freed */
	unsigned chain_len;
	jmp_buf discard;
} call;

long corbel_lua_steps = SLICE;
static uint64_t worst_overshoot; /* ticks */

/* ---- the meter ---- */

static uint64_t now(void)
{
	return call.in->clock->ticks();
}

/* Interrupts move the beginning. */
static uint64_t time_used(void)
{
	uint64_t began, at;

	if (call.stands > 0)
		return call.stands_at;
	do {
		began = call.began;
		at = now();
	} while (began != call.began);
	return at - began;
}

static void settle(void)
{
	call.steps += (uint64_t)(SLICE - corbel_lua_steps);
	corbel_lua_steps = SLICE;
	call.alive = time_used();
}

static bool over_budget(void)
{
	return call.steps > call.allowed || time_used() > call.time;
}

static void note_over(uint64_t used)
{
	if (call.over)
		return;
	call.over_since = used;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	call.over = true;
}

/* Over its budget since longer than a library function may still take, or by ten times in steps where the clock stands. */
static bool beyond_grace(void)
{
	if (!over_budget())
		return false;
	note_over(time_used());
	return time_used() - call.over_since > ns_to_ticks(GRACE_NS, call.in->clock->hz) ||
	       call.steps > ABANDON * call.allowed;
}

static void hook_all(void);
static void on_count(lua_State *L, lua_Debug *ar);

/* Short calls of many coroutines may never come to HOOK_COUNT: then this sees it first. */
void corbel_lua_slice_end(void)
{
	bool seen = call.over;

	if (!call.in) {
		corbel_lua_steps = SLICE;
		return;
	}
	settle();
	if (call.sheltered == 0 && beyond_grace())
		longjmp(call.discard, 1);
	if (call.over && !seen && call.in->L)
		hook_all();
}

void interp_exclude(uint64_t ticks)
{
	call.began += ticks;
}

void interp_clock_stop(void)
{
	if (call.stands == 0)
		call.stands_at = time_used();
	call.stands++;
}

void interp_clock_go(void)
{
	uint64_t seen, at;

	ASSERT(call.stands > 0);
	/* What an interrupt excludes meanwhile is part of what is excluded here. */
	while (call.stands == 1) {
		seen = call.began;
		at = now();
		if (__atomic_compare_exchange_n(&call.began, &seen, at - call.stands_at, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			break;
	}
	call.stands--;
}

void interp_shelter(void)
{
	call.sheltered++;
}

void interp_unshelter(void)
{
	ASSERT(call.sheltered > 0);
	if (call.sheltered == 1 && call.in)
		call.alive = time_used(); /* before it can be held against it */
	call.sheltered--;
}

/*
 * From the interrupt: makes the next instruction of Lua's, and the next step of the meter, look at the budget. Whoever
 * does neither until the next interrupt, a turn of the control task later, is where nothing ends it but being
 * abandoned. What is left of a slice counts as used.
 */
static void urge(void)
{
	corbel_lua_steps = -1;
	if (call.in->L)
		hook_all();
}

bool interp_overdue(void)
{
	uint64_t hz, used, heard;

	if (!call.in)
		return false;
	hz = call.in->clock->hz;
	used = time_used();
	heard = call.alive;
	if (call.over || used > call.time) {
		note_over(used);
		urge();
	}
	if (call.sheltered != 0)
		return false;
	if (call.over && used - MAX(heard, call.over_since) > ns_to_ticks(GRACE_NS, hz))
		return true;
	return used - heard > ns_to_ticks(SILENCE_NS, hz);
}

uint64_t interp_worst_overshoot(void)
{
	return worst_overshoot;
}

void interp_abandon(void)
{
	ASSERT(call.in);
	call.in->abandoned++;
	longjmp(call.discard, 1);
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

void corbel_lua_resumed(lua_State *L, unsigned depth)
{
	if (!call.in)
		return;
	while (call.chain_len > 0 && call.chain[call.chain_len - 1].depth >= depth)
		call.chain_len--; /* ended or suspended: this one stands in its place */
	if (call.chain_len < CHAIN_MAX) {
		call.chain[call.chain_len].thread = L;
		call.chain[call.chain_len++].depth = depth;
	}
	if (call.killed || call.over)
		lua_sethook(L, on_count, KILL_MASK, 1);
}

void corbel_lua_freed(lua_State *L)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < call.chain_len; i++)
		if (call.chain[i].thread != L)
			call.chain[kept++] = call.chain[i];
	call.chain_len = kept;
}

/* Sets the killing hook on all threads that run or wait for one that does. As safe as from a signal: Lua allows that. */
static void hook_all(void)
{
	for (unsigned i = 0; i < call.chain_len; i++)
		lua_sethook(call.chain[i].thread, on_count, KILL_MASK, 1);
	lua_sethook(call.in->L, on_count, KILL_MASK, 1);
}

/* What the first kill says; those that follow, on its way out through every pcall, say nothing. */
static void note_kill(lua_State *L)
{
	size_t len;
	const char *where;

	call.in->kills++;
	call.killed = true;
	luaL_where(L, 0); /* in a hook, level 0 is the function that was interrupted */
	where = lua_tolstring(L, -1, &len);
	log_clean(call.why, sizeof call.why, where, MIN(len, sizeof call.why / 2));
	len = strlen(call.why);
	format(call.why + len, sizeof call.why - len, "stopped: it used up its %s",
	       call.steps > call.allowed ? "instruction budget" : "time");
}

/* Kills the script when it is over its budget, and again at each line and instruction after that. */
static void on_count(lua_State *L, lua_Debug *ar)
{
	(void)ar;
	settle();
	if (!call.killed && !over_budget()) {
		lua_sethook(L, on_count, LUA_MASKCOUNT, HOOK_COUNT); /* a thread may be left from a call that was killed */
		return;
	}
	note_over(time_used());
	if (!call.killed)
		note_kill(L);
	hook_all();
	lua_sethook(L, on_count, KILL_MASK, 1); /* should it be missing in the chain */
	lua_pushnil(L);
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
		interp_charge(size / INTERP_BYTES_PER_STEP);
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
		.open = open, .open_ctx = ctx, .second_start = clock->ticks(),
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

/* What is left of the second for one call, 0 when that is too little; a new one starts when the old one is over. */
static uint64_t steps_allowed(struct interp *in)
{
	uint64_t ticks = in->clock->ticks();

	if (ticks - in->second_start >= in->clock->hz) {
		in->second_start = ticks;
		in->second_used = 0;
	}
	/* Half a budget is not worth a call: it would be killed for what others used. */
	if (in->second_used + in->budget.call_steps / 2 > in->budget.second_steps)
		return 0;
	return MIN(in->budget.call_steps, in->budget.second_steps - in->second_used);
}

static void begin(struct interp *in, uint64_t allowed)
{
	ASSERT(call.in == NULL);
	call.steps = 0;
	call.allowed = allowed;
	call.began = in->clock->ticks();
	call.time = ns_to_ticks(in->budget.call_ns, in->clock->hz);
	call.alive = 0;
	call.over = false;
	call.killed = false;
	call.sheltered = 0;
	call.stands = 0;
	call.chain_len = 0;
	corbel_lua_steps = SLICE;
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* an interrupt that looks finds all of it */
	call.in = in;
}

/* A budget of steps is seen to be used up within a slice of the meter; of time, it is known to the tick. */
static void note_overshoot(void)
{
	uint64_t from = call.over ? MIN(call.over_since, call.time) : call.time;

	if (time_used() > from)
		worst_overshoot = MAX(worst_overshoot, time_used() - from);
}

static void end(void)
{
	settle();
	note_overshoot();
	call.in->second_used += call.steps;
	call.in->last_steps = call.steps;
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
	if (result == LUA_ERRMEM && !call.killed)
		st = fail(err, ST_NO_MEMORY, "not enough memory for the script: it has %zu KiB", in->size / 1024);
	else if (call.killed)
		st = fail(err, ST_OVER_LIMIT, "%s", call.why);
	else if (result != LUA_OK)
		st = take_message(L, err);
	lua_settop(L, 0);
	return st;
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

static enum status refuse_for_now(const struct interp *in, struct error *err)
{
	return fail(err, ST_BUSY, "the interpreter has used up its %lu steps of this second: try again later",
		    (unsigned long)in->budget.second_steps);
}

static enum status protected_call(struct interp *in, uint64_t allowed, lua_CFunction fn, void *arg, struct error *err)
{
	enum status st;

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

enum status interp_call(struct interp *in, lua_CFunction fn, void *arg, struct error *err)
{
	uint64_t allowed = steps_allowed(in);
	struct call outer;
	struct interp *outer_in;
	enum status st;

	if (allowed == 0)
		return refuse_for_now(in, err);
	if (!call.in)
		return protected_call(in, allowed, fn, arg, err);
	/* From within another interpreter's call, whose time stands still meanwhile. It is sheltered, so stays. */
	ASSERT(call.in != in && call.sheltered > 0);
	settle();
	interp_clock_stop();
	outer = call;
	outer_in = call.in;
	outer.in = call.in = NULL;
	st = protected_call(in, allowed, fn, arg, err);
	corbel_lua_steps = SLICE;
	call = outer;
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* as in begin() */
	call.in = outer_in;
	interp_clock_go();
	return st;
}
