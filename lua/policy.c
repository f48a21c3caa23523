/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A script is loaded in two steps, so that plan and apply can run it, look at
 * what it wants, and drop it or keep it. Each step of the control plane runs one
 * hook at most; scripts take turns, and one whose second is used up rests until
 * the next. The task is woken by the clock when a hook is due (control_wake_at).
 */
#include "lua/policy.h"

#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/checked.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/api.h"
#include "lua/control_internal.h"
#include "lua/script.h"

#define HEAP_BYTES (PAGE_SIZE << SCRIPT_HEAP_ORDER)

const char *script_state_name(enum script_state state)
{
	static const char *const names[] = {"free", "loading", "ready", "abandoned"};

	return (unsigned)state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

/* ---- memory ---- */

static enum status take_memory(struct control *c, struct script *s, struct error *err)
{
	struct machine *m = c->cfg.machine;
	unsigned long masked;
	enum status st = ST_NOT_ADMITTED;
	hfn_t frame;

	masked = control_mask(c);
	if (range_fits(m->committed, HEAP_BYTES, m->capacity)) {
		st = memmgr_alloc(m->mm, SCRIPT_HEAP_ORDER, &frame);
		if (st == ST_OK)
			m->committed += HEAP_BYTES;
	}
	control_unmask(c, masked);
	if (st != ST_OK)
		return fail(err, st, "script %s: there is no memory for it: %lu bytes are wanted, %llu of %llu promised",
			    s->name, (unsigned long)HEAP_BYTES, (unsigned long long)m->committed,
			    (unsigned long long)m->capacity);
	interp_init(&s->interp, memmgr_va(m->mm, frame), HEAP_BYTES, c->cfg.clock, script_open, c);
	s->interp.budget = c->policy.text_budget;
	return ST_OK;
}

static void give_memory(struct control *c, struct script *s)
{
	struct machine *m = c->cfg.machine;
	unsigned long masked = control_mask(c);

	memmgr_free(m->mm, memmgr_hfn(m->mm, s->interp.memory), SCRIPT_HEAP_ORDER);
	m->committed -= HEAP_BYTES;
	control_unmask(c, masked);
	s->interp.memory = NULL;
}

/* ---- coming and going ---- */

struct script *policy_find(struct control *c, const char *name)
{
	for (unsigned i = 0; i < SCRIPTS_MAX; i++)
		if (c->policy.scripts[i].state != SCRIPT_FREE && strcmp(c->policy.scripts[i].name, name) == 0)
			return &c->policy.scripts[i];
	return NULL;
}

static struct script *free_place(struct control *c)
{
	for (unsigned i = 0; i < SCRIPTS_MAX; i++)
		if (c->policy.scripts[i].state == SCRIPT_FREE)
			return &c->policy.scripts[i];
	return NULL;
}

/* A text that was loaded leaves neither memory nor name behind. */
void policy_drop(struct control *c, struct script *s)
{
	give_memory(c, s);
	memset(s, 0, sizeof *s);
}

enum status policy_load(struct control *c, const char *name, const char *text, size_t len, struct script **out,
			struct error *err)
{
	struct script *s = free_place(c), *outer = c->policy.running;
	enum status st;

	if (!s)
		return fail(err, ST_OVER_LIMIT, "script %s: there are %u scripts already, which is all there may be",
			    name, SCRIPTS_MAX);
	memset(s, 0, sizeof *s);
	format(s->name, sizeof s->name, "%s", name);
	st = take_memory(c, s, err);
	if (st != ST_OK)
		return st;
	s->state = SCRIPT_LOADING;
	s->cursor = c->events.head;
	c->policy.running = s;
	st = script_run_in(c, &s->interp, text, len, s->name, err);
	c->policy.running = outer;
	if (st == ST_OK)
		*out = s;
	else
		policy_drop(c, s);
	return st;
}

void policy_unload(struct control *c, struct script *s)
{
	ASSERT(s->state != SCRIPT_FREE && c->policy.running != s);
	events_post(&c->events, EVENT_SCRIPT_ENDED, NULL, "%s", s->name);
	if (s->interp.memory)
		policy_drop(c, s);
	else
		memset(s, 0, sizeof *s);
}

void policy_keep(struct control *c, struct script *s)
{
	uint64_t now = control_ticks(c);

	ASSERT(s->state == SCRIPT_LOADING);
	if (s->hook_count == 0) {
		policy_drop(c, s);
		return;
	}
	s->state = SCRIPT_READY;
	s->interp.budget = interp_hook_budget;
	for (unsigned i = 0; i < s->hook_count; i++)
		s->hooks[i].due = now + s->hooks[i].period;
	events_post(&c->events, EVENT_SCRIPT_LOADED, NULL, "%s", s->name);
	log_info("script %s: %u hooks", s->name, s->hook_count);
}

/* It did not return: its variables are gone, and its functions with them. */
static void abandon(struct control *c, struct script *s, const char *where)
{
	c->policy.abandoned++;
	s->state = SCRIPT_ABANDONED;
	s->hook_count = 0;
	give_memory(c, s);
	events_post(&c->events, EVENT_SCRIPT_ABANDONED, NULL, "%s: the hook of %s did not return", s->name, where);
	log_error("script %s: abandoned, the hook of %s did not return", s->name, where);
}

/* ---- registration ---- */

int policy_add_hook(lua_State *L, struct control *c, const struct hook *hook)
{
	struct script *s = c->policy.running;
	unsigned at = 0;

	if (!s)
		return luaL_error(L, "only a script that stays can have hooks: run or apply it");
	while (at < s->hook_count && s->hooks[at].kind != HOOK_NONE)
		at++;
	if (at == SCRIPT_HOOKS_MAX)
		return luaL_error(L, "a script has at most %d hooks", (int)SCRIPT_HOOKS_MAX);
	s->hooks[at] = *hook;
	s->hooks[at].function = luaL_ref(L, LUA_REGISTRYINDEX);
	s->hooks[at].due = control_ticks(c) + hook->period;
	s->hook_count = MAX(s->hook_count, at + 1);
	return (int)at + 1;
}

bool policy_cancel_hook(lua_State *L, struct control *c, int number)
{
	struct script *s = c->policy.running;
	struct hook *h = s && number >= 1 && (unsigned)number <= s->hook_count ? &s->hooks[number - 1] : NULL;

	if (!h || h->kind == HOOK_NONE)
		return false;
	luaL_unref(L, LUA_REGISTRYINDEX, h->function);
	h->kind = HOOK_NONE;
	h->cancelled = true;
	return true;
}

/* ---- running ---- */

struct hook_call {
	struct control *c;
	const struct hook *hook;
	const struct event_record *event; /* a copy; NULL for HOOK_EVERY */
	uint64_t missed;
};

static void set_text(lua_State *L, const char *key, const char *text)
{
	lua_pushstring(L, text);
	lua_setfield(L, -2, key);
}

static void set_number(lua_State *L, const char *key, uint64_t n)
{
	lua_pushinteger(L, (lua_Integer)n);
	lua_setfield(L, -2, key);
}

static void push_event(lua_State *L, const struct event_record *e, uint64_t missed)
{
	lua_createtable(L, 0, 6);
	set_text(L, "kind", event_kind_name(e->kind));
	set_text(L, "text", e->text);
	set_number(L, "seq", e->seq);
	set_number(L, "time_ns", e->time_ns);
	set_number(L, "missed", missed);
	if (e->vm)
		set_text(L, "vm", e->vm_name);
}

/* Calls f(now) or f(event, now). */
static int call_hook(lua_State *L)
{
	const struct hook_call *call = lua_touserdata(L, 1);

	lua_rawgeti(L, LUA_REGISTRYINDEX, call->hook->function);
	if (call->event)
		push_event(L, call->event, call->missed);
	api_push_now(L);
	lua_call(L, call->event ? 2 : 1, 0);
	return 0;
}

static void quarantine(struct control *c, const struct script *s, struct hook *h)
{
	h->quarantined = true;
	c->policy.quarantined++;
	events_post(&c->events, EVENT_HOOK_QUARANTINED, NULL, "%s after %u failures", h->where, h->failures);
	log_warn("script %s: the hook of %s is quarantined after %u failures", s->name, h->where, h->failures);
}

static void count_failure(struct control *c, const struct script *s, struct hook *h, const struct error *err)
{
	c->policy.hooks_failed++;
	h->failures++;
	h->in_a_row++;
	events_post(&c->events, EVENT_HOOK_FAILED, NULL, "%s: %s", h->where, err->text);
	log_warn("script %s: the hook of %s failed: %s", s->name, h->where, err->text);
	if (h->in_a_row >= HOOK_FAILURES_IN_A_ROW || h->failures >= HOOK_FAILURES_MAX)
		quarantine(c, s, h);
}

/* False when the script's second is used up: the hook was not called. */
static bool run_hook(struct control *c, struct script *s, struct hook *h, const struct event_record *event)
{
	struct hook_call call = {.c = c, .hook = h, .event = event, .missed = s->missed};
	struct error err;
	enum status st;

	c->script_name = s->name;
	c->print_to = PRINT_LOG;
	c->policy.running = s;
	c->view_stamp++;
	h->cancelled = false;
	st = interp_call(&s->interp, call_hook, &call, &err);
	c->policy.running = NULL;
	c->script_name = "lua";
	if (st == ST_BUSY) {
		s->rest_until = s->interp.second_start + s->interp.clock->hz;
		return false;
	}
	s->missed = 0;
	c->policy.hooks_run++;
	h->runs++;
	h->most_steps = MAX(h->most_steps, s->interp.last_steps);
	if (!s->interp.L)
		abandon(c, s, h->where);
	else if (st == ST_OK)
		h->in_a_row = 0;
	else if (!h->cancelled) /* else the place may have another hook by now */
		count_failure(c, s, h, &err);
	return true;
}

static bool runs(const struct hook *h, enum hook_kind kind)
{
	return h->kind == kind && !h->quarantined;
}

/* Runs the hook that is longest due by the clock; false when none is. */
static bool run_timed(struct control *c, struct script *s, uint64_t now)
{
	struct hook *first = NULL;

	for (unsigned i = 0; i < s->hook_count; i++)
		if (runs(&s->hooks[i], HOOK_EVERY) && s->hooks[i].due <= now && (!first || s->hooks[i].due < first->due))
			first = &s->hooks[i];
	if (!first)
		return false;
	/* What was missed is missed: one call, and the rhythm goes on from now. */
	first->due = MAX(first->due + first->period, now + first->period / 2);
	return run_hook(c, s, first, NULL);
}

/* The next hook that wants the event under the script's cursor; moves on to events that somebody wants. */
static bool run_event(struct control *c, struct script *s)
{
	for (;;) {
		uint64_t at = s->cursor;
		const struct event_record *e = events_next(&c->events, &at, &s->missed);
		struct event_record copy;

		if (!e)
			return false;
		if (s->cursor + 1 != at) /* what was under the cursor is gone */
			s->next_hook = 0;
		s->cursor = at - 1;
		for (unsigned i = s->next_hook; i < s->hook_count; i++) {
			if (!runs(&s->hooks[i], HOOK_ON) || !event_matches(s->hooks[i].event, e->kind))
				continue;
			copy = *e; /* the ring may turn while it runs */
			if (run_hook(c, s, &s->hooks[i], &copy))
				s->next_hook = i + 1;
			return true;
		}
		s->cursor = at;
		s->next_hook = 0;
	}
}

static bool script_step(struct control *c, struct script *s, uint64_t now)
{
	if (s->state != SCRIPT_READY)
		return false;
	if (s->rest_until > now) {
		control_wake_at(c, s->rest_until);
		return false;
	}
	return run_event(c, s) || run_timed(c, s, now);
}

/* When a hook is next due by the clock. */
static void ask_for_wake(struct control *c, const struct script *s)
{
	for (unsigned i = 0; i < s->hook_count; i++)
		if (runs(&s->hooks[i], HOOK_EVERY))
			control_wake_at(c, s->hooks[i].due);
}

bool policy_step(struct control *c)
{
	uint64_t now = control_ticks(c);
	bool any = false;

	for (unsigned i = 0; i < SCRIPTS_MAX && !any; i++) {
		unsigned at = (c->policy.turn + i) % SCRIPTS_MAX;

		any = script_step(c, &c->policy.scripts[at], now);
		if (any)
			c->policy.turn = at + 1;
	}
	for (unsigned i = 0; i < SCRIPTS_MAX && !any; i++)
		if (c->policy.scripts[i].state == SCRIPT_READY && c->policy.scripts[i].rest_until <= now)
			ask_for_wake(c, &c->policy.scripts[i]);
	return any;
}
