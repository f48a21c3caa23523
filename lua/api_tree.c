/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and settings for scripts: get, set, unset and why. Values have units
 * here: bytes and times are quantities, both ways, so that no script depends on
 * which unit a number happens to be kept in.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/api.h"
#include "lua/bridge.h"
#include "lua/change.h"
#include "lua/control_internal.h"
#include "lua/hint.h"

#define WHY_LINE_MAX 320u

/* Raises @err as it stands: its sentence names the setting. */
static int raise(lua_State *L, const struct error *err)
{
	return luaL_error(L, "%s", err->text);
}

static const char *path_argument(lua_State *L, const char *function, size_t *len)
{
	if (lua_type(L, 1) != LUA_TSTRING)
		luaL_error(L, "%s takes a path, as in %s \"host.mem.free\", not a %s", function, function,
			   luaL_typename(L, 1));
	return lua_tolstring(L, 1, len);
}

/* ---- get ---- */

static void push_number(lua_State *L, uint64_t value, enum measure measure)
{
	static const enum unit_kind kinds[MEASURES] = {
		[MEASURE_BYTES] = UNIT_BYTES, [MEASURE_PAGES] = UNIT_BYTES, [MEASURE_NS] = UNIT_TIME,
		[MEASURE_TICKS] = UNIT_TIME,  [MEASURE_PPM] = UNIT_SHARE,   [MEASURE_RATE] = UNIT_RATE,
	};
	int64_t v = value > INT64_MAX ? INT64_MAX : (int64_t)value;

	if (measure == MEASURE_COUNT)
		lua_pushinteger(L, v);
	else
		api_push_quantity(L, v, kinds[measure]);
}

static void push_knob_value(lua_State *L, const struct knob *k, uint64_t value)
{
	char text[KNOB_TEXT_MAX];

	if (k->type == KNOB_BOOL)
		lua_pushboolean(L, value != 0);
	else if (k->type == KNOB_NUMBER && !(k->none && value == KNOB_NONE))
		push_number(L, value, k->measure);
	else
		lua_pushstring(L, knob_text(k, value, text));
}

static void push_counter(lua_State *L, struct control *c, const struct tree_item *item)
{
	struct tree_figures figures = {.table = NULL};
	const struct counter *row = item_counter(item);
	uint64_t value = tree_counter(c, item, &figures);
	const char *name;

	if (row->kind != COUNTER_STATE) {
		push_number(L, value, row->kind == COUNTER_HISTOGRAM ? MEASURE_COUNT : row->measure);
		return;
	}
	name = value < row->family->count ? row->family->name((unsigned)value) : NULL;
	lua_pushstring(L, name ? name : "unknown");
}

void tree_push_value(lua_State *L, struct control *c, const struct tree_item *item)
{
	struct setting_state now;

	if (!item_knob(item)) {
		push_counter(L, c, item);
		return;
	}
	settings_state(c, item, &now);
	push_knob_value(L, item_knob(item), now.value);
}

/* get "vm.alpha.mem.present" */
static int get(lua_State *L)
{
	struct control *c = control_of(L);
	struct tree_item item;
	struct error err;
	size_t len;
	const char *path = path_argument(L, "get", &len);

	if (tree_find(c, path, len, &item, &err) != ST_OK)
		return raise(L, &err);
	tree_push_value(L, c, &item);
	return 1;
}

/* ---- set, unset ---- */

void tree_where(lua_State *L, const struct control *c, char out[SETTINGS_WHERE_MAX])
{
	out[0] = '\0';
	if (c->print_to != PRINT_REPLY)
		api_where(L, out, SETTINGS_WHERE_MAX);
}

static const char *option_key(const void *rows, size_t i)
{
	return ((const char *const *)rows)[i];
}

/* Every key of the table of options at index 3 must be one we know. */
static void check_options(lua_State *L)
{
	static const char *const known[] = {"why", "for_"};
	char advice[HINT_TEXT_MAX];

	lua_pushnil(L);
	while (lua_next(L, 3)) {
		const char *key;

		lua_pop(L, 1);
		key = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
		if (strcmp(key, known[0]) == 0 || strcmp(key, known[1]) == 0)
			continue;
		hint_for(key, "", &(struct hint_keys){option_key, known, ARRAY_SIZE(known)}, advice, sizeof advice);
		luaL_error(L, "set has no option %s%s", key, advice);
	}
}

/* { why = "...", for_ = sec(60) }; the text stays on the stack. */
static void read_options(lua_State *L, struct change_request *r)
{
	const struct quantity *q;

	if (lua_isnoneornil(L, 3))
		return;
	luaL_checktype(L, 3, LUA_TTABLE);
	check_options(L);
	if (lua_getfield(L, 3, "for_") != LUA_TNIL) {
		q = api_to_quantity(L, -1);
		if (!q || q->kind != UNIT_TIME || q->value <= 0)
			luaL_error(L, "for_ takes a time such as sec(60)");
		r->for_ns = (uint64_t)q->value;
	}
	lua_pop(L, 1);
	if (lua_getfield(L, 3, "why") == LUA_TSTRING)
		r->why = lua_tolstring(L, -1, &r->why_len);
	else if (!lua_isnil(L, -1))
		luaL_error(L, "why takes a text");
}

void tree_take_value(lua_State *L, int index, struct change_request *r, uint8_t buf[CHANGE_VALUE_MAX])
{
	struct cbor_writer w;
	struct error err;

	cbor_writer_init(&w, buf, CHANGE_VALUE_MAX);
	if (bridge_put(L, index, &w, &err) != ST_OK)
		luaL_error(L, "%s takes no such value", r->path);
	if (w.overflow)
		luaL_error(L, "%s: the value is too long", r->path);
	r->value = cbor_root(buf, w.len);
}

/* set("vm.alpha.on_reset", "stop", { why = "...", for_ = min(5) }) */
static int set(lua_State *L)
{
	struct control *c = control_of(L);
	struct change_request r = {.script = c->print_to != PRINT_REPLY};
	char from[SETTINGS_WHERE_MAX];
	struct setting_change change;
	uint8_t value[CHANGE_VALUE_MAX];
	struct error err;
	enum status st = ST_OK;

	lua_settop(L, 3);
	r.path = path_argument(L, "set", &r.path_len);
	if (c->collect && !c->planning)
		return luaL_error(L, "a definition cannot set %s", r.path);
	tree_where(L, c, from);
	r.where = from;
	r.units = true;
	read_options(L, &r);
	tree_take_value(L, 2, &r, value);
	if (change_decode(c, &r, &change, &err) != ST_OK)
		return raise(L, &err);
	interp_shelter();
	if (c->planning)
		st = generation_record(c, &change, &err);
	else
		change_apply(c, &change);
	interp_unshelter();
	return st == ST_OK ? 0 : raise(L, &err);
}

/* unset "vm.alpha.on_reset" */
static int unset(lua_State *L)
{
	struct control *c = control_of(L);
	char from[SETTINGS_WHERE_MAX];
	struct tree_item item;
	struct error err;
	size_t len;
	const char *path = path_argument(L, "unset", &len);

	if (c->collect)
		return luaL_error(L, "a definition cannot unset %s", path);
	if (change_find(c, path, len, &item, &err) != ST_OK)
		return raise(L, &err);
	tree_where(L, c, from);
	interp_shelter();
	change_reset(c, &item, from);
	interp_unshelter();
	return 0;
}

/* ---- why ---- */

static void entry_line(const struct control *c, const struct setting_entry *e, char out[WHY_LINE_MAX])
{
	char value[KNOB_TEXT_MAX], shown[KNOB_TEXT_MAX];
	uint64_t now = control_ticks(c), left = e->expires > now ? e->expires - now : 0;
	size_t len;

	knob_text(e->knob, e->value, value);
	if (e->knob->type == KNOB_NUMBER)
		measure_format(e->knob->measure, e->value, value, sizeof value);
	len = format(out, WHY_LINE_MAX, "  %-9s %s", origin_name(e->origin), value);
	if (e->origin == ORIGIN_OVERRIDE) {
		left = ticks_to_ns(left, c->cfg.clock->hz) / 1000000 * 1000000;
		len += format(out + len, WHY_LINE_MAX - len, ", for %s more, by %s",
			      measure_format(MEASURE_NS, left, shown, sizeof shown),
			      e->by_script ? "script" : "operator");
	}
	if (e->where[0])
		len += format(out + len, WHY_LINE_MAX - len, ", %s", e->where);
	if (e->why[0])
		format(out + len, WHY_LINE_MAX - len, ": %s", e->why);
}

/* why "vm.alpha.on_reset": where the value comes from, a line for each link of the chain. */
static int why(lua_State *L)
{
	static struct setting_entry chain[SETTINGS_CHAIN_MAX]; /* the control task's; too large for its stack */
	struct control *c = control_of(L);
	struct tree_item item;
	struct error err;
	char line[WHY_LINE_MAX];
	size_t len;
	const char *path = path_argument(L, "why", &len);
	luaL_Buffer b;
	unsigned count;

	if (change_find(c, path, len, &item, &err) != ST_OK)
		return raise(L, &err);
	count = settings_chain(c, &item, chain);
	luaL_buffinit(L, &b);
	luaL_addstring(&b, path);
	for (unsigned i = 0; i < count; i++) {
		entry_line(c, &chain[i], line);
		luaL_addchar(&b, '\n');
		luaL_addstring(&b, line);
	}
	luaL_pushresult(&b);
	return 1;
}

void api_open_tree(lua_State *L, struct control *c)
{
	static const luaL_Reg functions[] = {
		{"get", get}, {"set", set}, {"unset", unset}, {"why", why}, {NULL, NULL},
	};

	lua_pushglobaltable(L);
	lua_pushlightuserdata(L, c);
	luaL_setfuncs(L, functions, 1);
	lua_pop(L, 1);
}
