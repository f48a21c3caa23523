/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables are walked by a cursor of our own: the smallest key that is larger than
 * the last one, found by a full scan. That is quadratic in a number bounded by
 * BRIDGE_ENTRIES_MAX, and needs no memory of Lua's.
 */
#include "lua/bridge.h"

#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lua/api.h"

#define STACK_PER_LEVEL 6

/* ---- Lua to CBOR ---- */

/* Compares text keys bytewise; @b NULL is below everything. */
static bool key_above(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t common = a_len < b_len ? a_len : b_len;
	int order;

	if (!b)
		return true;
	order = memcmp(a, b, common);
	return order > 0 || (order == 0 && a_len > b_len);
}

/*
 * Pushes the smallest text key of the table at @table above the key on top of the
 * stack (nil: the first), which it replaces. False, and nothing on the stack, at the end.
 */
static bool next_key(lua_State *L, int table)
{
	size_t last_len = 0, best_len = 0, len;
	const char *last = lua_isnil(L, -1) ? NULL : lua_tolstring(L, -1, &last_len), *best = NULL, *key;

	lua_pushnil(L); /* the best so far */
	lua_pushnil(L);
	while (lua_next(L, table)) {
		lua_pop(L, 1);
		if (lua_type(L, -1) != LUA_TSTRING)
			continue;
		key = lua_tolstring(L, -1, &len);
		if (!key_above(key, len, last, last_len) || (best && key_above(key, len, best, best_len)))
			continue;
		best = key;
		best_len = len;
		lua_pushvalue(L, -1);
		lua_replace(L, -3);
	}
	lua_remove(L, -2);
	if (best)
		return true;
	lua_pop(L, 1);
	return false;
}

/* Counts entries by kind of key; false for a key that is neither text nor a list position. */
static bool count_keys(lua_State *L, int table, size_t *names, size_t *positions)
{
	bool good = true;

	*names = *positions = 0;
	lua_pushnil(L);
	while (lua_next(L, table)) {
		lua_pop(L, 1);
		if (lua_type(L, -1) == LUA_TSTRING)
			++*names;
		else if (lua_isinteger(L, -1))
			++*positions;
		else
			good = false;
	}
	return good;
}

static enum status put(lua_State *L, int index, struct cbor_writer *w, const char *key, int depth, struct error *err);

static enum status put_list(lua_State *L, int table, size_t count, struct cbor_writer *w, const char *key, int depth,
			    struct error *err)
{
	struct cbor_mark mark = cbor_open(w);

	for (size_t i = 1; i <= count; i++) {
		enum status st;

		lua_rawgeti(L, table, (lua_Integer)i);
		if (lua_isnil(L, -1))
			return fail(err, ST_INVALID, "%.64s is a list with a gap at %zu", key, i);
		st = put(L, lua_gettop(L), w, key, depth + 1, err);
		if (st != ST_OK)
			return st;
		lua_pop(L, 1);
	}
	cbor_close_array(w, mark);
	return ST_OK;
}

static enum status put_map(lua_State *L, int table, struct cbor_writer *w, int depth, struct error *err)
{
	struct cbor_mark mark = cbor_open(w);

	lua_pushnil(L);
	while (next_key(L, table)) {
		size_t len;
		const char *key = lua_tolstring(L, -1, &len);
		enum status st;

		if (!cbor_utf8_valid(key, len))
			return fail(err, ST_INVALID, "a key is not UTF-8 text");
		cbor_put_text_n(w, key, len);
		lua_pushvalue(L, -1);
		lua_rawget(L, table);
		st = put(L, lua_gettop(L), w, key, depth + 1, err);
		if (st != ST_OK)
			return st;
		lua_pop(L, 1);
	}
	cbor_close_map(w, mark);
	return ST_OK;
}

static enum status put_table(lua_State *L, int table, struct cbor_writer *w, const char *key, int depth,
			     struct error *err)
{
	size_t names, positions;

	if (depth >= BRIDGE_DEPTH_MAX || !lua_checkstack(L, STACK_PER_LEVEL))
		return fail(err, ST_OVER_LIMIT, "%.64s is nested too deep", key);
	if (!count_keys(L, table, &names, &positions))
		return fail(err, ST_INVALID, "%.64s has a key that is neither a name nor a list position", key);
	if (names && positions)
		return fail(err, ST_INVALID, "%.64s mixes names and a list", key);
	if (names + positions > BRIDGE_ENTRIES_MAX)
		return fail(err, ST_OVER_LIMIT, "%.64s has more than %d entries", key, BRIDGE_ENTRIES_MAX);
	return positions ? put_list(L, table, positions, w, key, depth, err) : put_map(L, table, w, depth, err);
}

static void put_string(lua_State *L, int index, struct cbor_writer *w)
{
	size_t len;
	const char *text = lua_tolstring(L, index, &len);

	if (cbor_utf8_valid(text, len))
		cbor_put_text_n(w, text, len);
	else
		cbor_put_bytes(w, text, len);
}

static enum status put(lua_State *L, int index, struct cbor_writer *w, const char *key, int depth, struct error *err)
{
	const struct quantity *q;

	switch (lua_type(L, index)) {
	case LUA_TNIL:
		cbor_put_null(w);
		return ST_OK;
	case LUA_TBOOLEAN:
		cbor_put_bool(w, lua_toboolean(L, index));
		return ST_OK;
	case LUA_TNUMBER:
		if (lua_isinteger(L, index))
			cbor_put_int(w, lua_tointeger(L, index));
		else
			cbor_put_float(w, lua_tonumber(L, index));
		return ST_OK;
	case LUA_TSTRING:
		put_string(L, index, w);
		return ST_OK;
	case LUA_TTABLE:
		return put_table(L, index, w, key, depth, err);
	default:
		q = api_to_quantity(L, index);
		if (!q)
			return fail(err, ST_INVALID, "%.64s is a %s, which is no data", key, luaL_typename(L, index));
		cbor_put_tag(w, BRIDGE_TAG_QUANTITY + q->kind);
		cbor_put_int(w, q->value);
		return ST_OK;
	}
}

enum status bridge_put(lua_State *L, int index, struct cbor_writer *w, struct error *err)
{
	int top = lua_gettop(L);
	enum status st = put(L, lua_absindex(L, index), w, "the table", 0, err);

	lua_settop(L, top);
	return st;
}

/* ---- CBOR to Lua ---- */

static void push_array(lua_State *L, struct cbor_value v)
{
	struct cbor_value e;
	struct cbor_iter it;

	lua_newtable(L);
	if (!cbor_iterate(v, &it))
		return;
	for (lua_Integer i = 1; cbor_next(&it, &e); i++) {
		bridge_push(L, e);
		lua_rawseti(L, -2, i);
	}
}

static void push_map(lua_State *L, struct cbor_value v)
{
	struct cbor_value key, value;
	struct cbor_iter it;

	lua_newtable(L);
	if (!cbor_iterate(v, &it))
		return;
	while (cbor_next_pair(&it, &key, &value)) {
		bridge_push(L, key);
		if (lua_isnil(L, -1)) {
			lua_pop(L, 1);
			continue;
		}
		bridge_push(L, value);
		lua_rawset(L, -3);
	}
}

static void push_number(lua_State *L, struct cbor_value v)
{
	int64_t i;
	double d;

	if (cbor_get_int(v, &i))
		lua_pushinteger(L, i);
	else if (cbor_get_float(v, &d) && d == d)
		lua_pushnumber(L, d);
	else
		lua_pushnil(L); /* an integer outside Lua's, a NaN (no table key), undefined */
}

void bridge_push(lua_State *L, struct cbor_value v)
{
	struct cbor_value content;
	const char *text;
	size_t len;
	uint64_t tag;
	bool b;

	luaL_checkstack(L, STACK_PER_LEVEL, "nested too deep");
	switch (cbor_type_of(v)) {
	case CBOR_ARRAY:
		push_array(L, v);
		return;
	case CBOR_MAP:
		push_map(L, v);
		return;
	case CBOR_TAG:
		if (cbor_get_tag(v, &tag, &content)) {
			bridge_push(L, content);
			return;
		}
		break;
	default:
		break;
	}
	if (cbor_get_text(v, &text, &len) || cbor_get_bytes(v, (const uint8_t **)&text, &len))
		lua_pushlstring(L, text, len);
	else if (cbor_get_bool(v, &b))
		lua_pushboolean(L, b);
	else
		push_number(L, v);
}

/* ---- showing ---- */

#define SHOW_DEPTH 4
#define SHOW_ENTRIES 100

struct shown {
	char *out;
	size_t size, len;
};

static void show_text(struct shown *s, const char *text, size_t len)
{
	size_t room = s->size - s->len - 1, n = len < room ? len : room;

	memcpy(s->out + s->len, text, n);
	s->len += n;
	s->out[s->len] = '\0';
}

static void show_z(struct shown *s, const char *text)
{
	show_text(s, text, strlen(text));
}

static void show_value(lua_State *L, int index, struct shown *s, int depth);

static bool is_identifier(const char *s)
{
	if (!*s || (*s >= '0' && *s <= '9'))
		return false;
	return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] == '\0';
}

static void show_string(lua_State *L, int index, struct shown *s)
{
	size_t len;
	const char *text = lua_tolstring(L, index, &len);

	show_z(s, "\"");
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n')
			show_z(s, "\\n");
		else if (text[i] == '"' || text[i] == '\\') {
			show_z(s, "\\");
			show_text(s, text + i, 1);
		} else {
			show_text(s, text + i, 1);
		}
	}
	show_z(s, "\"");
}

static void show_key(lua_State *L, int index, struct shown *s)
{
	if (lua_type(L, index) == LUA_TSTRING && is_identifier(lua_tostring(L, index))) {
		show_z(s, lua_tostring(L, index));
		return;
	}
	show_z(s, "[");
	show_value(L, index, s, SHOW_DEPTH);
	show_z(s, "]");
}

/* The list part, then names in order, then whatever other keys there are. */
static void show_table(lua_State *L, int table, struct shown *s, int depth)
{
	size_t list = lua_rawlen(L, table), shown = 0;

	show_z(s, "{");
	for (size_t i = 1; i <= list && shown < SHOW_ENTRIES; i++) {
		show_z(s, shown++ ? ", " : " ");
		lua_rawgeti(L, table, (lua_Integer)i);
		show_value(L, lua_gettop(L), s, depth + 1);
		lua_pop(L, 1);
	}
	lua_pushnil(L);
	while (shown < SHOW_ENTRIES) {
		if (!next_key(L, table))
			break;
		show_z(s, shown++ ? ", " : " ");
		show_key(L, lua_gettop(L), s);
		show_z(s, " = ");
		lua_pushvalue(L, -1);
		lua_rawget(L, table);
		show_value(L, lua_gettop(L), s, depth + 1);
		lua_pop(L, 1);
	}
	if (shown >= SHOW_ENTRIES)
		show_z(s, ", ...");
	show_z(s, shown ? " }" : "}");
}

static void show_value(lua_State *L, int index, struct shown *s, int depth)
{
	int top = lua_gettop(L);

	if (!lua_checkstack(L, STACK_PER_LEVEL))
		return;
	if (lua_type(L, index) == LUA_TTABLE && !luaL_getmetafield(L, index, "__tostring")) {
		if (depth < SHOW_DEPTH)
			show_table(L, index, s, depth);
		else
			show_z(s, "{...}");
	} else if (lua_type(L, index) == LUA_TSTRING) {
		show_string(L, index, s);
	} else {
		show_z(s, luaL_tolstring(L, index, NULL));
	}
	lua_settop(L, top);
}

void bridge_show(lua_State *L, int index, char *out, size_t size)
{
	struct shown s = {.out = out, .size = size, .len = strlen(out)};

	show_value(L, lua_absindex(L, index), &s, 0);
}
