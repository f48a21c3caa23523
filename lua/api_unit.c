/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Units are functions, never bare numbers with a hidden meaning: MiB(128) makes
 * a quantity that knows it is bytes. Quantities of one kind add, subtract and
 * compare, and scale by a number; anything else is an error that says what met
 * what.
 */
#include <lauxlib.h>
#include <lua.h>

#include "lib/bits.h"
#include "lua/api.h"

#define QUANTITY_TYPE "corbel.quantity"

struct unit {
	const char *name;
	enum unit_kind kind;
	int64_t factor;
};

static const struct unit units[] = {
	{"KiB", UNIT_BYTES, 1024},
	{"MiB", UNIT_BYTES, 1024 * 1024},
	{"GiB", UNIT_BYTES, 1024 * 1024 * 1024},
	{"us", UNIT_TIME, 1000},
	{"ms", UNIT_TIME, 1000000},
	{"sec", UNIT_TIME, 1000000000},
	{"min", UNIT_TIME, 60 * 1000000000ll},
	{"hour", UNIT_TIME, 3600 * 1000000000ll},
	{"pct", UNIT_SHARE, 10000},
	{"kbps", UNIT_RATE, 125},
	{"Mbps", UNIT_RATE, 125000},
	{"Gbps", UNIT_RATE, 125000000},
};

static const char *const kind_names[UNIT_KINDS] = {
	[UNIT_BYTES] = "bytes", [UNIT_TIME] = "a time", [UNIT_SHARE] = "a share", [UNIT_RATE] = "a rate",
};

static const char *const smallest_names[UNIT_KINDS] = {
	[UNIT_BYTES] = "bytes", [UNIT_TIME] = "ns", [UNIT_SHARE] = "ppm", [UNIT_RATE] = "bytes/s",
};

const struct quantity *api_to_quantity(lua_State *L, int index)
{
	return luaL_testudata(L, index, QUANTITY_TYPE);
}

int api_push_quantity(lua_State *L, int64_t value, enum unit_kind kind)
{
	struct quantity *q = lua_newuserdatauv(L, sizeof *q, 0);

	*q = (struct quantity){.value = value, .kind = kind};
	luaL_setmetatable(L, QUANTITY_TYPE);
	return 1;
}

static int too_large(lua_State *L, const char *what)
{
	return luaL_error(L, "%s: the result is too large", what);
}

/* @number * @factor as an integer, or an error that names @what. */
static int64_t scaled(lua_State *L, int number, int64_t factor, const char *what)
{
	int64_t value = 0;
	double product;

	if (lua_isinteger(L, number)) {
		if (__builtin_mul_overflow((int64_t)lua_tointeger(L, number), factor, &value))
			too_large(L, what);
		return value;
	}
	product = lua_tonumber(L, number) * (double)factor;
	if (!(product > -9.2e18 && product < 9.2e18))
		too_large(L, what);
	value = (int64_t)product;
	if ((double)value != product)
		luaL_error(L, "%s(%f) is no whole number of its smallest unit", what, lua_tonumber(L, number));
	return value;
}

static int unit_make(lua_State *L)
{
	const struct unit *u = lua_touserdata(L, lua_upvalueindex(1));

	if (lua_type(L, 1) != LUA_TNUMBER)
		return luaL_error(L, "%s(...) takes a number, not a %s", u->name, luaL_typename(L, 1));
	return api_push_quantity(L, scaled(L, 1, u->factor, u->name), u->kind);
}

/* Both operands as quantities of one kind. */
static void same_kind(lua_State *L, const char *verb, const struct quantity **a, const struct quantity **b)
{
	*a = api_to_quantity(L, 1);
	*b = api_to_quantity(L, 2);
	if (!*a || !*b)
		luaL_error(L, "cannot %s a bare number and a quantity: give the number a unit", verb);
	else if ((*a)->kind != (*b)->kind)
		luaL_error(L, "cannot %s %s and %s", verb, kind_names[(*a)->kind], kind_names[(*b)->kind]);
}

static int quantity_add(lua_State *L)
{
	const struct quantity *a, *b;
	int64_t sum;

	same_kind(L, "add", &a, &b);
	if (__builtin_add_overflow(a->value, b->value, &sum))
		return too_large(L, "a sum");
	return api_push_quantity(L, sum, a->kind);
}

static int quantity_sub(lua_State *L)
{
	const struct quantity *a, *b;
	int64_t rest;

	same_kind(L, "subtract", &a, &b);
	if (__builtin_sub_overflow(a->value, b->value, &rest))
		return too_large(L, "a difference");
	return api_push_quantity(L, rest, a->kind);
}

static int quantity_mul(lua_State *L)
{
	const struct quantity *q = api_to_quantity(L, 1);
	int number = 2;

	if (!q) {
		q = api_to_quantity(L, 2);
		number = 1;
	}
	if (lua_type(L, number) != LUA_TNUMBER)
		return luaL_error(L, "a quantity is multiplied by a number, not by a %s", luaL_typename(L, number));
	return api_push_quantity(L, scaled(L, number, q->value, "a product"), q->kind);
}

static int quantity_eq(lua_State *L)
{
	const struct quantity *a = api_to_quantity(L, 1), *b = api_to_quantity(L, 2);

	lua_pushboolean(L, a && b && a->kind == b->kind && a->value == b->value);
	return 1;
}

static int quantity_lt(lua_State *L)
{
	const struct quantity *a, *b;

	same_kind(L, "compare", &a, &b);
	lua_pushboolean(L, a->value < b->value);
	return 1;
}

static int quantity_le(lua_State *L)
{
	const struct quantity *a, *b;

	same_kind(L, "compare", &a, &b);
	lua_pushboolean(L, a->value <= b->value);
	return 1;
}

/* In the largest unit that gives a whole number: MiB(128), sec(90). */
static int quantity_tostring(lua_State *L)
{
	const struct quantity *q = luaL_checkudata(L, 1, QUANTITY_TYPE);
	const struct unit *best = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (units[i].kind == q->kind && q->value % units[i].factor == 0)
			best = &units[i];
	if (best)
		lua_pushfstring(L, "%s(%I)", best->name, (LUAI_UACINT)(q->value / best->factor));
	else
		lua_pushfstring(L, "%I %s", (LUAI_UACINT)q->value, smallest_names[q->kind]);
	return 1;
}

/* mhz(500) is that part of one CPU which makes 500 million cycles a second of it, to the nearest millionth. */
static int mhz_make(lua_State *L)
{
	double hz = lua_tonumber(L, lua_upvalueindex(1)), n, ppm;

	if (lua_type(L, 1) != LUA_TNUMBER)
		return luaL_error(L, "mhz(...) takes a number, not a %s", luaL_typename(L, 1));
	n = lua_tonumber(L, 1);
	ppm = n * 1e12 / hz + 0.5;
	if (!(n >= 0 && ppm < 9.2e18))
		return luaL_error(L, "mhz(%f) is no rate", n);
	return api_push_quantity(L, (int64_t)ppm, UNIT_SHARE);
}

void api_open_units(lua_State *L, uint64_t hz)
{
	static const luaL_Reg methods[] = {
		{"__add", quantity_add}, {"__sub", quantity_sub}, {"__mul", quantity_mul},
		{"__eq", quantity_eq},   {"__lt", quantity_lt},   {"__le", quantity_le},
		{"__tostring", quantity_tostring}, {NULL, NULL},
	};

	luaL_newmetatable(L, QUANTITY_TYPE);
	luaL_setfuncs(L, methods, 0);
	lua_pushliteral(L, "quantity");
	lua_setfield(L, -2, "__metatable"); /* scripts cannot get at it */
	lua_pop(L, 1);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		lua_pushlightuserdata(L, (void *)(uintptr_t)&units[i]);
		lua_pushcclosure(L, unit_make, 1);
		lua_setglobal(L, units[i].name);
	}
	lua_pushnumber(L, (double)hz);
	lua_pushcclosure(L, mhz_make, 1);
	lua_setglobal(L, "mhz");
}
