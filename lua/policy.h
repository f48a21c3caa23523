/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripts that stay: each has an interpreter of its own in memory of its own,
 * taken from the host when it is loaded and given back when it ends, and hooks
 * that run when their time or their event comes. A hook runs under a budget; one
 * that fails too often is quarantined, and a script that does not return at all
 * is abandoned. What the machine does without any script is in C, and goes on.
 */
#ifndef CORBEL_LUA_POLICY_H
#define CORBEL_LUA_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "lua/events.h"
#include "lua/state.h"

#define SCRIPTS_MAX 8u
#define SCRIPT_HEAP_ORDER 8u      /* 1 MiB: what a script's heap is capped to */
#define SCRIPT_NAME_MAX 64
#define SCRIPT_HOOKS_MAX 32u
#define HOOK_PERIOD_MIN_MS 10u
#define HOOK_FAILURES_IN_A_ROW 3u /* then it is quarantined, */
#define HOOK_FAILURES_MAX 32u     /* or after so many in all */
#define HOOK_WHERE_MAX 48

struct control;

enum hook_kind { HOOK_NONE, HOOK_EVERY, HOOK_ON };

struct hook {
	enum hook_kind kind;
	bool quarantined;
	bool cancelled;             /* by the script, while it or another hook ran */
	unsigned in_a_row, failures;
	int function;               /* luaL_ref */
	uint64_t period, due;       /* ticks; HOOK_EVERY */
	char event[32];             /* HOOK_ON: event_matches() */
	char where[HOOK_WHERE_MAX]; /* "site.lua:12" of its registration */
	uint64_t runs, most_steps;
};

enum script_state { SCRIPT_FREE, SCRIPT_LOADING, SCRIPT_READY, SCRIPT_ABANDONED };

struct script {
	enum script_state state;
	char name[SCRIPT_NAME_MAX];
	uint64_t generation;  /* whose it is; 0: loaded by itself, or the seed's */
	bool of_generation;   /* goes when another generation comes */
	struct interp interp; /* its memory is one block of the host's */
	struct hook hooks[SCRIPT_HOOKS_MAX];
	unsigned hook_count;
	uint64_t cursor, missed; /* events */
	unsigned next_hook;      /* the one to look at for the event under the cursor */
	uint64_t rest_until;     /* ticks: its second's budget is used up */
};

struct policy {
	struct script scripts[SCRIPTS_MAX];
	struct interp_budget text_budget; /* of a text that is loaded; its hooks have interp_hook_budget */
	struct script *running; /* whose code runs now; NULL: a text's or the prompt's, or none */
	unsigned turn;
	uint64_t hooks_run, hooks_failed, quarantined, abandoned;
};

/*
 * Takes memory and runs the text. It stays in state LOADING, without its hooks, until policy_keep(); on failure
 * nothing is left of it. ST_EXISTS: a script of that name is there. ST_OVER_LIMIT: SCRIPTS_MAX are.
 * ST_NOT_ADMITTED, ST_NO_MEMORY. Others as interp_call().
 */
MUST_CHECK enum status policy_load(struct control *c, const char *name, const char *text, size_t len,
				   struct script **out, struct error *err);
/* Lets its hooks run; one without hooks ends here. @s may be gone afterwards. */
void policy_keep(struct control *c, struct script *s);
/* Ends a script and gives its memory back. Not the one that runs. */
void policy_unload(struct control *c, struct script *s);
/* Takes back what was loaded and not kept. */
void policy_drop(struct control *c, struct script *s);
struct script *policy_find(struct control *c, const char *name);

/* Runs one hook that is due. True when another one may be. */
bool policy_step(struct control *c);

/* ---- for the Lua API: what the running script says ---- */

/* A new hook of the running script, its function at the top of the stack; raises Lua errors. */
struct lua_State;
int policy_add_hook(struct lua_State *L, struct control *c, const struct hook *hook);
/* False when the running script has no such hook. */
bool policy_cancel_hook(struct lua_State *L, struct control *c, int number);

const char *script_state_name(enum script_state state);

#endif
