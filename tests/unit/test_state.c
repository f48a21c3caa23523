/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The capped interpreter: whatever a script does, the call returns within its
 * budget, says why it was stopped, and the next call works. The clock is driven
 * by hand, so that a budget of steps is seen apart from one of time.
 */
#include "tests/cmocka_all.h"

#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "lua/api.h"
#include "lua/state.h"

#define MEMORY (512u * 1024)

static uint64_t ticks, ticks_per_look;
static struct interp interp;
static struct error err;
static char output[256];

static uint64_t read_ticks(void)
{
	return ticks += ticks_per_look;
}

static const struct clock hand_clock = {.ticks = read_ticks, .hz = 1000000000};

static void open_all(lua_State *L, void *ctx)
{
	(void)ctx;
	api_open_base(L);
	api_open_units(L, 1000000000);
}

static int setup(void **state)
{
	*state = malloc(MEMORY);
	ticks = 1;
	ticks_per_look = 0;
	interp_init(&interp, *state, MEMORY, &hand_clock, open_all, NULL);
	interp.budget.call_steps = 500000; /* a tenth of the default: the machine that tests is slow */
	interp.budget.second_steps = UINT64_MAX;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

/* Runs the text at @arg; its first result goes to output. */
static int run_text(lua_State *L)
{
	const char *text = lua_touserdata(L, 1);

	if (luaL_loadbufferx(L, text, strlen(text), "=test", "t") != LUA_OK)
		return lua_error(L);
	lua_call(L, 0, 1);
	strncpy(output, luaL_tolstring(L, -1, NULL), sizeof output - 1);
	return 0;
}

static enum status run(const char *text)
{
	err.text[0] = output[0] = '\0';
	return interp_call(&interp, run_text, (void *)(uintptr_t)text, &err);
}

static void assert_runs(const char *text, const char *want)
{
	if (run(text) != ST_OK)
		fail_msg("%s: %s", text, err.text);
	assert_string_equal(output, want);
}

static void state_is_kept_between_calls(void **state)
{
	(void)state;
	assert_runs("x = 41; return 1 + 1", "2");
	assert_runs("return x + 1.5", "42.5");
	assert_int_equal(run("return nil + 1"), ST_INVALID);
	assert_string_equal(err.text, "test:1: attempt to perform arithmetic on a nil value");
	assert_int_equal(run("syntax error here"), ST_INVALID);
	assert_non_null(strstr(err.text, "test:1: syntax error near 'error'"));
	assert_int_equal(run("error({})"), ST_INVALID);
	assert_int_equal(run("error('a\\27[2Jb\\nc')"), ST_INVALID);
	assert_string_equal(err.text, "test:1: a?[2Jb?c");
	assert_runs("return x", "41");
	interp_discard(&interp);
	assert_runs("return x", "nil");
}

static void forbidden_things_are_absent(void **state)
{
	static const char *const absent[] = {"io", "os", "debug", "package", "require", "dofile", "loadfile",
					     "string.dump", "print", "warn"};
	char text[64];

	(void)state;
	for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
		snprintf(text, sizeof text, "return %s", absent[i]);
		assert_runs(text, "nil");
	}
	assert_runs("return load('return 7')()", "7");
	assert_runs("return type(load(function() return nil end))", "function");
	assert_runs("return select(2, load('\\27Lua'))", "attempt to load a binary chunk (mode is 't')");
	assert_runs("return select(2, load('\\27Lua', 'x', 'b'))", "attempt to load a binary chunk (mode is 't')");
	assert_runs("return load('return y', 'n', 't', {y = 5})()", "5");
	assert_runs("return (pcall(setmetatable, {}, {__gc = print or 1}))", "false");
	assert_runs("return getmetatable(setmetatable({}, {__index = 3})).__index", "3");
	assert_runs("return collectgarbage('count') > 5", "true");
	assert_runs("return collectgarbage()", "0");
	assert_int_equal(run("collectgarbage('stop')"), ST_INVALID);
}

/* Scripts that never end, in the virtual machine: killed, and the state lives on. */
static void endless_scripts_are_killed(void **state)
{
	static const char *const endless[] = {
		"while true do end",
		"::a:: goto a",
		"while true do pcall(function() while true do end end) end",
		"while true do pcall(error) end",
		"local function f() while true do pcall(f) end end f()",
		"local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end",
		"while true do coroutine.wrap(function() while true do end end)() end",
		"while true do pcall(coroutine.wrap(function() while true do end end)) end",
		"local t <close> = setmetatable({}, {__close = function() while true do end end}) while true do end",
		"setmetatable(_G, {__index = function(t, k) return t[k .. 'x'] end}) return undefined",
		"local s = string.rep('a', 1000) while true do local _ = s .. s end",
		"return ('x'):rep(10):gsub('.', function() while true do end end)",
		"table.sort({3, 2, 1}, function() while true do end end)",
	};

	(void)state;
	run("kept = 1");
	for (size_t i = 0; i < sizeof endless / sizeof endless[0]; i++) {
		enum status st = run(endless[i]);

		if (st != ST_OVER_LIMIT && !(i == 9 && st == ST_INVALID))
			fail_msg("%s: %s: %s", endless[i], status_name(st), err.text);
		if (interp.discards != 0)
			fail_msg("%s: discarded", endless[i]);
		assert_true(heap_check(&interp.heap));
		assert_runs("setmetatable(_G, nil) return kept", "1");
	}
	assert_true(interp.kills >= 12);
	assert_int_equal(run("while true do end"), ST_OVER_LIMIT);
	assert_string_equal(err.text, "test:1: stopped: it used up its instruction budget");
}

/* The same where no hook fires, in library functions and error handlers: discarded, and the next state is new. */
static void endless_library_calls_are_discarded(void **state)
{
	static const char *const endless[] = {
		"table.move({}, 1, math.maxinteger - 1, 2)",
		/* the kill's own error calls the handler, with hooks off */
		"xpcall(function() while true do end end, function() while true do end end)",
		"table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 1)",
		"return ('a'):rep(30000):find(('a?'):rep(100) .. ('a'):rep(100) .. 'b')",
		"return ('a'):rep(4000):find(('.-'):rep(30) .. 'b')",
		"return ('a'):rep(4000):match(('a*'):rep(30) .. 'b')",
		"return table.unpack(setmetatable({}, {__index = function() end}), 1, 900000)",
		"local s = ('a'):rep(60000) for i = 1, 1e9 do local _ = s:find(s:sub(2) .. 'b', 1, true) end",
		"local s = ('a'):rep(90000) local t = s .. 'b' while true do local _ = s < t end",
	};

	(void)state;
	ticks_per_look = 100000; /* 0.1 ms: the slice that a library function still has passes */
	for (size_t i = 0; i < sizeof endless / sizeof endless[0]; i++) {
		enum status st;

		run("kept = 1");
		st = run(endless[i]);
		if (st != ST_OVER_LIMIT && st != ST_INVALID && st != ST_NO_MEMORY)
			fail_msg("%s: %s: %s", endless[i], status_name(st), err.text);
		assert_runs("return 1", "1");
	}
	assert_true(interp.discards >= 4);
	run("kept = 1");
	assert_int_equal(run("pcall(table.move, {}, 1, math.maxinteger - 1, 2)"), ST_OVER_LIMIT);
	assert_non_null(strstr(err.text, "its variables are lost"));
	assert_runs("return kept", "nil");
}

static void memory_is_capped(void **state)
{
	static const char *const greedy[] = {
		"return string.rep('x', 1 << 30)",
		"local t = {} for i = 1, 1e9 do t[i] = i end",
		"local s = 'x' while true do s = s .. s end",
		"local function f() return f() + 1 end return f()",
		"local t = {} for i = 1, 1e9 do t[i] = coroutine.create(f) end",
	};

	(void)state;
	for (size_t i = 0; i < sizeof greedy / sizeof greedy[0]; i++) {
		enum status st = run(greedy[i]);

		if (st == ST_OK)
			fail_msg("%s succeeded", greedy[i]);
		assert_true(interp.heap.peak <= MEMORY);
		assert_true(heap_check(&interp.heap));
		assert_runs("return 1 + 1", "2");
	}
	assert_int_equal(run("return string.rep('x', 1 << 30)"), ST_NO_MEMORY);
	assert_string_equal(err.text, "not enough memory for the script: it has 512 KiB");
	assert_runs("local ok, why = pcall(string.rep, 'x', 1 << 30) return why", "not enough memory");
}

static void nesting_is_bounded(void **state)
{
	(void)state;
	assert_int_equal(run("local function f(s) return (s:gsub('.', f)) end return f('x')"), ST_INVALID);
	assert_non_null(strstr(err.text, "C stack overflow"));
	assert_int_equal(run("return " "load(('('):rep(500) .. '1' .. (')'):rep(500))()"), ST_INVALID);
	assert_int_equal(run("local t = {} for i = 1, 300 do t = setmetatable({}, {__index = t}) end return t.x"),
			 ST_OK);
}

static void time_is_bounded(void **state)
{
	(void)state;
	ticks_per_look = 1000000; /* each look at the clock: 1 ms */
	interp.budget.call_steps = UINT64_MAX / 4;
	assert_int_equal(run("while true do end"), ST_OVER_LIMIT);
	assert_string_equal(err.text, "test:1: stopped: it used up its time");
	assert_int_equal(run("table.move({}, 1, math.maxinteger - 1, 2)"), ST_OVER_LIMIT);
	assert_int_equal(interp.discards, 1);
	ticks_per_look = 0;
	assert_runs("return 1", "1");
}

static int waits_for_others(lua_State *L)
{
	(void)L;
	ticks += 60 * 1000000000ull;
	interp_exclude(60 * 1000000000ull);
	for (int i = 0; i < 1000; i++)
		lua_pushvalue(L, 1), lua_pop(L, 1);
	return 0;
}

/* The time of others' work is counted by nobody, though interrupts exclude a part of it, too. */
static int has_work_done(lua_State *L)
{
	for (int i = 0; i < 3; i++) {
		interp_shelter();
		interp_clock_stop();
		ticks += 60 * 1000000000ull;
		interp_clock_stop();
		interp_exclude(40 * 1000000000ull);
		interp_clock_go();
		assert_false(interp_overdue());
		interp_clock_go();
		interp_unshelter();
		assert_false(interp_overdue());
	}
	lua_pushinteger(L, 7);
	lua_setglobal(L, "seven");
	return 0;
}

static void work_for_a_script_is_not_its_own(void **state)
{
	uint64_t worst = interp_worst_overshoot();

	(void)state;
	assert_int_equal(interp_call(&interp, has_work_done, NULL, &err), ST_OK);
	assert_int_equal(interp_worst_overshoot(), worst);
	assert_runs("return seven", "7");
}

static int calls_what_waits(lua_State *L)
{
	lua_pushcfunction(L, waits_for_others);
	lua_setglobal(L, "wait");
	lua_pushstring(L, "wait() for i = 1, 100000 do end");
	luaL_loadstring(L, lua_tostring(L, -1));
	lua_call(L, 0, 0);
	return 0;
}

static void waiting_is_not_the_scripts(void **state)
{
	(void)state;
	assert_int_equal(interp_call(&interp, calls_what_waits, NULL, &err), ST_OK);
}

static void seconds_are_bounded(void **state)
{
	unsigned killed = 0;

	(void)state;
	interp.budget.second_steps = 3 * interp.budget.call_steps;
	while (run("while true do end") == ST_OVER_LIMIT)
		killed++;
	assert_int_equal(killed, 3);
	assert_int_equal(run("return 1"), ST_BUSY);
	assert_non_null(strstr(err.text, "steps of this second"));
	ticks += 1000000000;
	assert_runs("return 1", "1");
}

/* However it hides: at most 1 % of its budget, as a hook has it, is overshot in Lua code. */
static void kills_are_prompt(void **state)
{
	static const char *const endless[] = {
		"while true do end",
		"while true do pcall(function() while true do end end) end",
		"while true do pcall(coroutine.wrap(function() while true do end end)) end",
		"while true do local co = coroutine.create(function() for i = 1, 700 do end coroutine.yield() "
		"while true do end end) coroutine.resume(co) coroutine.resume(co) end",
		"local function nest(n) while true do if n > 0 then pcall(coroutine.wrap(nest), n - 1) else "
		"for i = 1, 300 do end return end end end nest(20)",
		"local function f() while true do pcall(f) end end f()",
		"for i = 1, 1000000 do pcall(coroutine.wrap(function() for i = 1, 200 do end end)) end",
		"while true do local t <close> = setmetatable({}, {__close = function() while true do end end}) "
		"pcall(error) end",
		"local t = setmetatable({}, {__index = function(t, k) while true do end end}) "
		"while true do pcall(function() return t.x end) end",
		"while true do xpcall(error, function() error() end) end",
		"while true do pcall(table.sort, {1, 2, 3, 4, 5, 6}, function() return true end) end",
	};

	(void)state;
	interp.budget.call_steps = interp_hook_budget.call_steps;
	for (size_t i = 0; i < sizeof endless / sizeof endless[0]; i++) {
		enum status st = run(endless[i]);

		assert_int_equal(st, ST_OVER_LIMIT);
		if (interp.last_steps > interp.budget.call_steps + interp.budget.call_steps / 100)
			fail_msg("%s: %llu steps of %llu", endless[i], (unsigned long long)interp.last_steps,
				 (unsigned long long)interp.budget.call_steps);
		assert_int_equal(interp.discards, 0);
	}
}

static int a_million_coroutines_text(lua_State *L)
{
	lua_gc(L, LUA_GCGEN, 0, 0);
	luaL_loadstring(L, "local n = 0 for i = 1, 1000000 do local co = coroutine.create(function() "
			   "coroutine.yield() end) coroutine.resume(co) n = n + 1 end return n");
	lua_call(L, 0, 0);
	return 0;
}

static void a_million_coroutines(void **state)
{
	(void)state;
	assert_int_equal(run("local all = {} for i = 1, 1000000 do all[i] = coroutine.wrap(coroutine.yield) all[i]() end"),
			 ST_NO_MEMORY);
	assert_true(heap_check(&interp.heap));
	interp.budget.call_steps = UINT64_MAX / 16;
	assert_int_equal(interp_call(&interp, a_million_coroutines_text, NULL, &err), ST_OK);
	assert_true(heap_check(&interp.heap));
	assert_runs("return 1", "1");
}

/* ---- abandoned: what no meter sees, left from the timer's interrupt; here a signal ---- */

static volatile unsigned interrupts;

/* A clock that goes on by an hour at each interrupt. */
static uint64_t far_ticks(void)
{
	return ticks + interrupts * 3600ull * 1000000000;
}

static const struct clock far_clock = {.ticks = far_ticks, .hz = 1000000000};

static void on_alarm(int number)
{
	sigset_t set;

	(void)number;
	interrupts++;
	if (!interp_overdue())
		return;
	sigemptyset(&set);
	sigaddset(&set, SIGVTALRM);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	interp_abandon();
}

static void start_timer(unsigned ms)
{
	const struct itimerval every = {.it_interval.tv_usec = ms * 1000, .it_value.tv_usec = ms * 1000};

	interrupts = 0;
	signal(SIGVTALRM, on_alarm);
	setitimer(ITIMER_VIRTUAL, &every, NULL);
}

static void stop_timer(void)
{
	static const struct itimerval never;

	setitimer(ITIMER_VIRTUAL, &never, NULL);
}

static void what_no_meter_sees_is_abandoned(void **state)
{
	(void)state;
	interp.clock = &far_clock;
	run("kept = 1");
	start_timer(50);
	assert_int_equal(run("return pcall(string.rep, '', 1 << 50)"), ST_OVER_LIMIT);
	stop_timer();
	assert_int_equal(interp.abandoned, 1);
	assert_non_null(strstr(err.text, "its variables are lost"));
	assert_runs("return kept", "nil");
}

/* A clock that goes on by a twentieth of a second at each interrupt. */
#define BEAT_NS 50000000ull

static uint64_t beating_ticks(void)
{
	return ticks + interrupts * BEAT_NS;
}

static const struct clock beating_clock = {.ticks = beating_ticks, .hz = 1000000000};

/* Who makes no sound for half a second is gone before its time is over; who does, has all of it, and is killed. */
static void silence_is_what_is_abandoned(void **state)
{
	(void)state;
	interp.clock = &beating_clock;
	interp.budget.call_steps = UINT64_MAX / 16; /* time is what ends it */
	start_timer(2);
	assert_int_equal(run("return string.rep('', 1 << 50)"), ST_OVER_LIMIT);
	assert_in_range(interrupts, 500000000ull / BEAT_NS, 500000000ull / BEAT_NS + 2);
	assert_int_equal(interp.abandoned, 1);

	start_timer(2);
	run("kept = 1 while true do end");
	assert_in_range(interrupts, 2000000000ull / BEAT_NS, 2100000000ull / BEAT_NS);
	assert_int_equal(interp.abandoned, 1);
	assert_int_equal(interp.kills, 1);
	assert_runs("return kept", "1");

	stop_timer();
}

#define TURN_MS 2u
#define BUDGET_MS 60u

static uint64_t turning_ticks(void)
{
	return ticks + interrupts * TURN_MS * 1000000ull;
}

static const struct clock turning_clock = {.ticks = turning_ticks, .hz = 1000000000};

/*
 * Where no hook fires, with an interrupt after each turn of 2 ms: the first beyond the budget makes the script look,
 * the second finds that it did not. Of each line some 10 ms are enough to come to where it stays.
 */
static void functions_overshoot_by_two_turns(void **state)
{
	static const char *const endless[] = {
		"return string.rep('', 1 << 50)",
		"return table.move({}, 1, math.maxinteger - 1, 2)",
		"table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 1)",
		"return ('a'):rep(65536):find('.-.-.-.-b')",
		"return table.concat(setmetatable({}, {__index = function() return '' end}), '', 1, 1 << 50)",
		"local s = ('\xe2\x82\xac'):rep(20000) while true do utf8.len(s) utf8.offset(s, 19999) end",
		"while true do pcall(string.format, '%99999d', 1) string.format('%99.99f', 1e300) end",
		"local t = {} for i = 1, 3000 do t[i] = {i} end while true do collectgarbage() end",
		"xpcall(error, function() while true do end end)",
	};

	(void)state;
	interp.clock = &turning_clock;
	interp.budget.call_ns = BUDGET_MS * 1000000;
	interp.budget.call_steps = UINT64_MAX / 16;
	for (size_t i = 0; i < sizeof endless / sizeof endless[0]; i++) {
		start_timer(TURN_MS);
		assert_int_equal(run(endless[i]), ST_OVER_LIMIT);
		stop_timer();
		if (interrupts > BUDGET_MS / TURN_MS + 3)
			fail_msg("%s: %u ms over", endless[i], interrupts * TURN_MS - BUDGET_MS);
	}
	assert_true(interp.abandoned >= 1);
	assert_runs("return 1", "1");
}

static int sheltered_work(lua_State *L)
{
	unsigned *until = lua_touserdata(L, 1);

	interp_shelter();
	while (interrupts < *until)
		;
	*until = 0; /* done, whatever happens next */
	interp_unshelter();
	for (;;)
		; /* no meter sees this */
	return 0;
}

static void a_shelter_holds_it_off(void **state)
{
	unsigned until = 4;

	(void)state;
	interp.clock = &far_clock;
	start_timer(20);
	assert_int_equal(interp_call(&interp, sheltered_work, &until, &err), ST_OVER_LIMIT);
	stop_timer();
	assert_int_equal(until, 0);
	assert_int_equal(interp.abandoned, 1);
	assert_runs("return 1", "1");
}

static struct interp inner;

static int calls_another(lua_State *L)
{
	struct error why;

	(void)L;
	interp_shelter();
	assert_int_equal(interp_call(&inner, run_text, (void *)(uintptr_t)"while true do end", &why), ST_OVER_LIMIT);
	assert_int_equal(interp_call(&inner, run_text, (void *)(uintptr_t)"return 2", &why), ST_OK);
	interp_unshelter();
	lua_pushinteger(L, 5);
	lua_setglobal(L, "five");
	return 0;
}

static void one_within_another(void **state)
{
	static uint8_t memory[MEMORY];

	(void)state;
	interp_init(&inner, memory, sizeof memory, &hand_clock, open_all, NULL);
	inner.budget.call_steps = 50000;
	assert_int_equal(interp_call(&interp, calls_another, NULL, &err), ST_OK);
	assert_true(interp.last_steps < 10000);
	assert_string_equal(output, "2");
	assert_runs("return five", "5");
	assert_int_equal(run("while true do end"), ST_OVER_LIMIT);
}

static void an_empty_state_is_small(void **state)
{
	(void)state;
	assert_runs("return 1", "1");
	print_message("an empty state with its libraries: %zu bytes\n", interp.heap.used);
	assert_true(interp.heap.used <= 48 * 1024);
}

static void too_little_memory_to_open(void **state)
{
	static uint8_t small[INTERP_MEMORY_MIN];

	(void)state;
	interp_init(&interp, small, sizeof small, &hand_clock, open_all, NULL);
	assert_runs("return 1", "1"); /* the stated minimum is enough */
	interp.size = 4096;
	interp_discard(&interp);
	assert_int_equal(run("return 1"), ST_NO_MEMORY);
	interp.size = sizeof small;
	assert_runs("return 1", "1");
}

static void units(void **state)
{
	static const struct { const char *text, *want; } good[] = {
		{"return MiB(128)", "MiB(128)"}, {"return KiB(1024)", "MiB(1)"}, {"return MiB(1.5)", "KiB(1536)"},
		{"return MiB(1) + KiB(1)", "KiB(1025)"}, {"return 3 * sec(20)", "min(1)"},
		{"return sec(1) - ms(1)", "ms(999)"}, {"return MiB(1) == KiB(1024)", "true"},
		{"return MiB(1) == sec(1)", "false"}, {"return KiB(1) < MiB(1)", "true"},
		{"return GiB(1) <= MiB(1)", "false"}, {"return pct(50)", "pct(50)"}, {"return KiB(0.5)", "512 bytes"},
		{"return getmetatable(MiB(1))", "quantity"},
	};
	static const struct { const char *text, *want; } bad[] = {
		{"return MiB('128')", "test:1: MiB(...) takes a number, not a string"},
		{"return MiB()", "test:1: MiB(...) takes a number, not a no value"},
		{"return MiB(1 << 60)", "test:1: MiB: the result is too large"},
		{"return MiB(1/0)", "test:1: MiB: the result is too large"},
		{"return MiB(0/0)", "test:1: MiB: the result is too large"},
		{"return KiB(0.3)", "test:1: KiB(0.3) is no whole number of its smallest unit"},
		{"return MiB(1) + 1", "test:1: cannot add a bare number and a quantity: give the number a unit"},
		{"return MiB(1) + sec(1)", "test:1: cannot add bytes and a time"},
		{"return MiB(1) * MiB(1)", "test:1: a quantity is multiplied by a number, not by a userdata"},
		{"return GiB(8000000000) + GiB(8000000000)", "test:1: a sum: the result is too large"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_runs(good[i].text, good[i].want);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(run(bad[i].text), ST_INVALID);
		assert_string_equal(err.text, bad[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(state_is_kept_between_calls, setup, teardown),
		cmocka_unit_test_setup_teardown(forbidden_things_are_absent, setup, teardown),
		cmocka_unit_test_setup_teardown(endless_scripts_are_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(endless_library_calls_are_discarded, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_is_capped, setup, teardown),
		cmocka_unit_test_setup_teardown(nesting_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(time_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(waiting_is_not_the_scripts, setup, teardown),
		cmocka_unit_test_setup_teardown(work_for_a_script_is_not_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(seconds_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(kills_are_prompt, setup, teardown),
		cmocka_unit_test_setup_teardown(a_million_coroutines, setup, teardown),
		cmocka_unit_test_setup_teardown(what_no_meter_sees_is_abandoned, setup, teardown),
		cmocka_unit_test_setup_teardown(silence_is_what_is_abandoned, setup, teardown),
		cmocka_unit_test_setup_teardown(functions_overshoot_by_two_turns, setup, teardown),
		cmocka_unit_test_setup_teardown(a_shelter_holds_it_off, setup, teardown),
		cmocka_unit_test_setup_teardown(one_within_another, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_state_is_small, setup, teardown),
		cmocka_unit_test_setup_teardown(too_little_memory_to_open, setup, teardown),
		cmocka_unit_test_setup_teardown(units, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
