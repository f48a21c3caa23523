/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host { ... }: the machine's settings, declared in a text as a VM's are. Each is
 * what set() would make of it, with the block's line as its origin; the block
 * adds that all of it is read and checked before any of it counts, and that
 * nothing is declared twice. Names are paths of the tree, cut into tables
 * anywhere, and may leave out the "host." in front.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/api.h"
#include "lua/change.h"
#include "lua/control_internal.h"
#include "lua/genplan.h"

#define DEPTH_MAX 8 /* tables in tables */
#define PLACE "host."

/* The block that is read: the control task's, and too large for its stack. Nothing else of Lua runs meanwhile. */
static struct block {
	struct control *c;
	char where[SETTINGS_WHERE_MAX];
	struct setting_change changes[PLAN_SETTINGS_MAX];
	unsigned count;
} block;

static bool same_setting(const struct tree_item *a, const struct tree_item *b)
{
	return item_knob(a) == item_knob(b) && a->table.object == b->table.object;
}

/* True when @path is below a place of the tree, so that it is meant as it stands. */
static bool is_full(const char *path)
{
	size_t first = strcspn(path, ".");
	struct tree_table t;

	for (unsigned i = 0; tree_kind(block.c, i, &t); i++) {
		const char *group = t.counters ? t.counters->group : t.knobs->group;

		if (strncmp(group, path, first) == 0 && (group[first] == '\0' || group[first] == '.'))
			return true;
	}
	return false;
}

static void refuse_twice(lua_State *L, const struct setting_change *change, const char *path)
{
	const char *before = "";

	for (unsigned i = 0; i < block.count; i++)
		if (same_setting(&block.changes[i].item, &change->item))
			before = block.where[0] ? block.where : "in this block";
	if (!before[0] && block.c->planning)
		before = generation_recorded(block.c, &change->item);
	if (before[0])
		luaL_error(L, "%s is set already (%s)", path, before);
}

/* Reads the value on top of the stack as that of @path. */
static void take(lua_State *L, const char *path)
{
	struct change_request r = {.script = block.c->print_to != PRINT_REPLY, .where = block.where, .units = true};
	char full[sizeof PLACE + TREE_PATH_MAX];
	struct setting_change *change = &block.changes[block.count];
	uint8_t value[CHANGE_VALUE_MAX];
	struct error err;

	format(full, sizeof full, "%s%s", is_full(path) ? "" : PLACE, path);
	if (block.count == ARRAY_SIZE(block.changes))
		luaL_error(L, "a block has at most %d settings", (int)ARRAY_SIZE(block.changes));
	r.path = full;
	r.path_len = strlen(full);
	tree_take_value(L, lua_gettop(L), &r, value);
	if (change_decode(block.c, &r, change, &err) != ST_OK)
		luaL_error(L, "%s", err.text);
	if (change->item.table.vm)
		luaL_error(L, "%s is not the host's: it belongs into the definition of its VM", full);
	if (change->item.table.pool)
		luaL_error(L, "%s is not the host's: it belongs into the definition of its pool", full);
	refuse_twice(L, change, full);
	block.count++;
}

/* Reads the table on top of the stack; @path of TREE_PATH_MAX bytes has @len so far. */
static void walk(lua_State *L, char *path, size_t len, unsigned depth)
{
	int table = lua_gettop(L);

	if (depth == DEPTH_MAX)
		luaL_error(L, "the tables of host are more than %d deep", DEPTH_MAX);
	luaL_checkstack(L, 4, NULL);
	lua_pushnil(L);
	while (lua_next(L, table)) {
		char key[TREE_PATH_MAX];
		size_t key_len;
		const char *text;

		if (lua_type(L, -2) != LUA_TSTRING)
			luaL_error(L, "host takes settings by their names, not a list");
		text = lua_tolstring(L, -2, &key_len);
		log_clean(key, sizeof key, text, key_len);
		if (key_len == 0 || len + key_len + 2 > TREE_PATH_MAX)
			luaL_error(L, "there is no setting %s%s", path, key);
		format(path + len, TREE_PATH_MAX - len, "%s", key);
		if (lua_istable(L, -1)) {
			format(path + len + key_len, TREE_PATH_MAX - len - key_len, ".");
			walk(L, path, len + key_len + 1, depth + 1);
		} else {
			take(L, path);
		}
		path[len] = '\0';
		lua_settop(L, table + 1); /* the key */
	}
}

/* All of it, or none when there is no room. */
static enum status apply(struct error *err)
{
	struct control *c = block.c;
	enum status st = ST_OK;

	if (!c->planning)
		st = settings_check_room(c, block.changes, block.count, err);
	for (unsigned i = 0; i < block.count && st == ST_OK; i++) {
		if (c->planning)
			st = generation_record(c, &block.changes[i], err);
		else
			change_apply(c, &block.changes[i]);
	}
	return st;
}

int api_host_settings(lua_State *L, struct control *c)
{
	char path[TREE_PATH_MAX] = "";
	struct error err;
	enum status st;

	if (!lua_istable(L, 1))
		return luaL_error(L, "host takes a table of settings, as in host { [\"log.level\"] = \"warn\" }, not a %s",
				  luaL_typename(L, 1));
	if (c->collect && !c->planning)
		return luaL_error(L, "a definition cannot set the host");
	lua_settop(L, 1);
	block.c = c;
	block.count = 0;
	tree_where(L, c, block.where);
	walk(L, path, 0, 0);
	interp_shelter();
	st = apply(&err);
	interp_unshelter();
	return st == ST_OK ? 0 : luaL_error(L, "%s", err.text);
}
