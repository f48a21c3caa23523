/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chunk is loaded and called inside interp_call(), so that parsing is bounded
 * like running. At the prompt a line is first tried as an expression, as Lua's
 * own interpreter does.
 */
#include "lua/script.h"

#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/api.h"
#include "lua/bridge.h"
#include "lua/control_internal.h"

#define LOG_LINE_MAX 200

struct chunk {
	struct control *c;
	const char *text;
	size_t len;
	const char *name; /* of the text, in messages */
	bool show;        /* the prompt: an expression's values are shown */
};

/* A text in pieces, for lua_load. */
struct pieces {
	const char *text[2];
	size_t len[2];
	unsigned at;
};

void script_open(lua_State *L, void *ctx)
{
	api_open_base(L);
	api_open_units(L, ((struct control *)ctx)->cfg.clock->hz);
	api_open_vm(L, ctx);
	api_open_pool(L, ctx);
	api_open_volume(L, ctx);
	api_open_net(L, ctx);
	api_open_tree(L, ctx);
	api_open_host(L, ctx);
	api_open_store(L, ctx);
	api_open_policy(L, ctx);
	api_open_now(L, ctx);
}

void script_init(struct control *c, void *memory, size_t size)
{
	size_t half = align_down(size / 2, HEAP_ALIGN);

	interp_init(&c->shell, memory, half, c->cfg.clock, script_open, c);
	interp_init(&c->script, (uint8_t *)memory + half, half, c->cfg.clock, script_open, c);
	c->policy.text_budget = interp_default_budget;
	c->script_name = "lua";
}

static const char *next_piece(lua_State *L, void *ctx, size_t *len)
{
	struct pieces *p = ctx;

	(void)L;
	while (p->at < ARRAY_SIZE(p->text)) {
		unsigned at = p->at++;

		*len = p->len[at];
		if (*len)
			return p->text[at];
	}
	*len = 0;
	return NULL;
}

/* Loads @prefix and the chunk's text as one; a Lua status. */
static int load(lua_State *L, const struct chunk *chunk, const char *prefix)
{
	struct pieces p = {.text = {prefix, chunk->text}, .len = {strlen(prefix), chunk->len}};

	lua_pushfstring(L, "=%s", chunk->name);
	return lua_load(L, next_piece, &p, lua_tostring(L, -1), "t");
}

/* Shows what the expression left on the stack above @base. */
static void show_results(lua_State *L, struct control *c, int base)
{
	char line[2048];

	for (int i = base + 1; i <= lua_gettop(L); i++) {
		size_t len;
		const char *text;

		if (lua_type(L, i) == LUA_TSTRING) {
			text = lua_tolstring(L, i, &len);
			script_print(c, text, len);
			continue;
		}
		line[0] = '\0';
		bridge_show(L, i, line, sizeof line);
		script_print(c, line, strlen(line));
	}
}

static int run_chunk(lua_State *L)
{
	const struct chunk *chunk = lua_touserdata(L, 1);
	struct control *c = chunk->c;
	int base;

	c->unfinished[0] = '\0';
	if (!chunk->show || load(L, chunk, "return ") != LUA_OK) {
		lua_settop(L, 1);
		if (load(L, chunk, "") != LUA_OK)
			return lua_error(L);
	}
	base = lua_gettop(L) - 1;
	lua_call(L, 0, LUA_MULTRET);
	if (c->unfinished[0]) {
		lua_pushstring(L, c->unfinished);
		return lua_error(L);
	}
	if (chunk->show)
		show_results(L, c, base);
	return 0;
}

enum status script_run_in(struct control *c, struct interp *in, const char *text, size_t len, const char *name,
			  struct error *err)
{
	struct chunk chunk = {.c = c, .text = text, .len = len, .name = name};
	const char *outer = c->script_name;
	enum print_to outer_print = c->print_to;
	enum status st;

	c->script_name = name;
	c->print_to = PRINT_LOG;
	c->view_stamp++;
	st = interp_call(in, run_chunk, &chunk, err);
	c->script_name = outer;
	c->print_to = outer_print;
	return st;
}

enum status script_run(struct control *c, const char *text, size_t len, const char *name, struct error *err)
{
	enum status st;

	interp_discard(&c->script);
	st = script_run_in(c, &c->script, text, len, name, err);
	interp_discard(&c->script);
	return st;
}

enum status script_collect(struct control *c, const char *text, size_t len, const char *origin, struct error *err)
{
	enum status st;

	c->pending_count = 0;
	c->collect = true;
	st = script_run(c, text, len, origin, err);
	c->collect = false;
	return st;
}

static int collect_all(lua_State *L)
{
	lua_gc(L, LUA_GCCOLLECT);
	return 0;
}

/* More than half is free, but no quarter in one piece. */
static bool in_pieces(const struct interp *in)
{
	return in->L && in->size - in->heap.used > in->size / 2 && heap_largest(&in->heap) < in->size / 4;
}

/* After a line that was short of memory: the next one is to have what the machine has for it. */
static void recover(struct control *c, struct error *err)
{
	struct error ignored;
	size_t len = strlen(err->text);

	/* A finaliser may fail, or the second's budget be used up: then the state is looked at as it is. */
	if (c->shell.L && interp_call(&c->shell, collect_all, NULL, &ignored) != ST_OK)
		log_debug("prompt: no collection: %s", ignored.text);
	if (in_pieces(&c->shell))
		interp_discard(&c->shell);
	if (!c->shell.L)
		format(err->text + len, sizeof err->text - len, "; its variables are lost: what was free was in pieces");
}

enum status script_eval(struct control *c, const char *text, size_t len, struct error *err)
{
	struct chunk chunk = {.c = c, .text = text, .len = len, .name = "line", .show = true};
	enum status st;

	c->view_stamp++;
	c->print_to = PRINT_REPLY;
	c->print_len = c->print_lost = 0;
	st = interp_call(&c->shell, run_chunk, &chunk, err);
	if (st == ST_NO_MEMORY)
		recover(c, err);
	return st;
}

void script_log(struct control *c, const char *text, size_t len)
{
	char line[LOG_LINE_MAX];
	size_t n = MIN(len, sizeof line - 1);

	for (size_t i = 0; i < n; i++)
		line[i] = text[i] == '\t' ? ' ' : text[i];
	interp_shelter();
	log_info("%s: %s", c->script_name, log_clean(line, sizeof line, line, n));
	interp_unshelter();
}

static void keep(struct control *c, const char *text, size_t len)
{
	size_t n = MIN(len, SHELL_OUTPUT_MAX - c->print_len);

	memcpy(c->print + c->print_len, text, n);
	c->print_len += n;
	c->print_lost += len - n;
}

void script_print(struct control *c, const char *text, size_t len)
{
	if (c->print_to != PRINT_REPLY) {
		script_log(c, text, len);
		return;
	}
	interp_shelter();
	keep(c, text, len);
	keep(c, "\n", 1);
	interp_unshelter();
}
