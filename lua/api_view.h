/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views: what now.vm and now.pool are made of. Nothing is copied ahead. A view is
 * a small userdata that knows the name of its thing, made once and kept; each
 * field is fetched from the C structs when it is asked for, and is nil when the
 * thing is gone. For lua/ alone.
 */
#ifndef CORBEL_LUA_API_VIEW_H
#define CORBEL_LUA_API_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lua_State;
struct control;
struct machine;

struct view_field {
	const char *name;
	/* Pushes one value and returns 1. */
	int (*push)(struct lua_State *L, struct control *c, const void *thing);
};

/* Things of one kind, each with a name and a number. */
struct view_kind {
	const char *type;  /* of the userdata */
	const char *what;  /* "VM", for sentences */
	const struct view_field *fields; /* besides the name, which every view has */
	size_t field_count;
	/* NULL when there is none; next: in the order of numbers, NULL begins. */
	const void *(*find)(struct machine *m, const char *name);
	const void *(*by_id)(struct machine *m, unsigned id);
	const void *(*next)(struct machine *m, const void *prev);
	const char *(*name)(const void *thing);
	unsigned (*id)(const void *thing);
};

/* Pushes the table of all: by name, with a length, for pairs(). */
void view_push_all(struct lua_State *L, struct control *c, const struct view_kind *kind);
/* The name of the thing of @kind that the view at @index is of, NULL when there is something else. */
const char *view_name(struct lua_State *L, int index, const struct view_kind *kind);
/* The metamethod for writing: raises an error. */
int view_read_only(struct lua_State *L);

/* What a field is; all push it and return 1. */
int view_push_count(struct lua_State *L, uint64_t n);
int view_push_text(struct lua_State *L, const char *text);
int view_push_flag(struct lua_State *L, bool b);
int view_push_bytes(struct lua_State *L, uint64_t n);
int view_push_time(struct lua_State *L, uint64_t ns);

#endif
