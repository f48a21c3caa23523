/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What makes a script a policy: hooks by the clock and by events, and alerts.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/api.h"
#include "lua/control_internal.h"

static void check_function(lua_State *L, const char *who)
{
	if (!lua_isfunction(L, 2))
		luaL_error(L, "%s takes a function second, not a %s", who, luaL_typename(L, 2));
}

/* every(period, f): calls f(now) again and again. Returns the hook's number. */
static int policy_every(lua_State *L)
{
	const struct quantity *q = api_to_quantity(L, 1);
	struct control *c = control_of(L);
	struct hook h = {.kind = HOOK_EVERY};

	if (!q || q->kind != UNIT_TIME)
		return luaL_error(L, "every takes a time first, as in every(sec(10), f)");
	if (q->value < (int64_t)HOOK_PERIOD_MIN_MS * 1000000)
		return luaL_error(L, "every takes at least ms(%d)", (int)HOOK_PERIOD_MIN_MS);
	check_function(L, "every");
	h.period = ns_to_ticks((uint64_t)q->value, c->cfg.clock->hz);
	api_where(L, h.where, sizeof h.where);
	lua_settop(L, 2);
	lua_pushinteger(L, policy_add_hook(L, c, &h));
	return 1;
}

/* on(event, f): calls f(event, now) when such an event comes. Returns the hook's number. */
static int policy_on(lua_State *L)
{
	struct control *c = control_of(L);
	struct hook h = {.kind = HOOK_ON};
	const char *event;
	size_t len;

	if (lua_type(L, 1) != LUA_TSTRING)
		return luaL_error(L, "on takes the name of an event first, as in on(\"vm.crashed\", f)");
	event = lua_tolstring(L, 1, &len);
	if (len >= sizeof h.event || strlen(event) != len || !event_pattern_good(event))
		return luaL_error(L, "there is no event %s", event);
	check_function(L, "on");
	format(h.event, sizeof h.event, "%s", event);
	api_where(L, h.where, sizeof h.where);
	lua_settop(L, 2);
	lua_pushinteger(L, policy_add_hook(L, c, &h));
	return 1;
}

/* cancel(hook): true when there was one of that number. */
static int policy_cancel(lua_State *L)
{
	lua_Integer number = luaL_checkinteger(L, 1);

	lua_pushboolean(L, number > 0 && number <= (lua_Integer)SCRIPT_HOOKS_MAX &&
				   policy_cancel_hook(L, control_of(L), (int)number));
	return 1;
}

/* alert(text [, vm]): an event that management clients see, and a line in the log. */
static int policy_alert(lua_State *L)
{
	struct control *c = control_of(L);
	const char *text = luaL_checkstring(L, 1), *name = api_vm_name(L, 2);
	const struct vm *vm = NULL;

	if (!name && !lua_isnoneornil(L, 2))
		name = luaL_checkstring(L, 2);
	if (name)
		vm = vm_find(c->cfg.machine, name);
	if (name && !vm)
		return luaL_error(L, "there is no VM of that name");
	if (c->collect)
		return 0; /* a plan alerts nobody */
	interp_shelter();
	events_post(&c->events, EVENT_ALERT, vm, "%s", text);
	interp_unshelter();
	script_log(c, text, strlen(text));
	return 0;
}

void api_open_policy(lua_State *L, struct control *c)
{
	static const luaL_Reg functions[] = {
		{"every", policy_every}, {"on", policy_on}, {"cancel", policy_cancel}, {"alert", policy_alert}, {NULL, NULL},
	};

	lua_pushglobaltable(L);
	lua_pushlightuserdata(L, c);
	luaL_setfuncs(L, functions, 1);
	lua_pop(L, 1);
}
