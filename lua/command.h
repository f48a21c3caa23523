/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command table: one entry says by which group and number a command goes,
 * what arguments it takes, in which states of its VM it is legal, and what it
 * does. decode checks everything and changes nothing; apply either does all of
 * it or, for what the machine itself refuses, leaves everything as it was. The
 * wire and the Lua API enter here, with the same arguments and the same checks.
 */
#ifndef CORBEL_LUA_COMMAND_H
#define CORBEL_LUA_COMMAND_H

#include "guest/machine.h"
#include "lib/error.h"
#include "lua/cbor.h"
#include "lua/numbers.h"
#include "lua/session.h"
#include "lua/smp.h"

struct control;

/* Why a command failed, for every way in. */
struct failure {
	struct error error;
	int group_rc;        /* a standard group's own code; -1: none */
	bool reply_too_long; /* the command could be answered, but not in one frame */
	int later;           /* with ST_AGAIN: enum later_kind, the reply comes later (lua/later.h) */
};

/* ---- arguments ---- */

struct arg_text {
	const char *text; /* not NUL-terminated */
	size_t len;
	bool given;
};

struct arg_number {
	uint64_t value;
	bool given;
};

struct arg_value {
	struct cbor_value value;
	bool given;
};

/* All arguments that any command takes, by their names on the wire, and what they name. */
struct command_args {
	struct arg_text name, text, origin, format, d, data, role;
	struct arg_number id, after, max, from, last, credit, offset, index;
	struct arg_value config, groups, argv, message, key, vms, on;
	bool as_text;
	struct arg_number columns, rows;
	/* the tree of counters and settings */
	struct arg_text path, prefix, group, why, val;
	struct arg_number for_ns, max_size;
	struct arg_value value;
	bool changed, settings;

	/* the store */
	struct arg_text after_name, store_id;

	/* scripts */
	struct arg_text file;
	struct arg_number number;

	/* events */
	struct arg_value kinds;
	struct arg_number wait;
	/* files */
	struct arg_number off, len;
	struct arg_text type;
	/* images */
	struct arg_text hash, sha;
	struct arg_number image, slot;
	/* processors */
	struct arg_number cpu;
	struct arg_text pool;
	bool confirm, upgrade;
	/* volumes */
	struct arg_text volume;
	struct arg_number bytes, job, depth_max, latency_ns, burst;
	/* networks */
	struct arg_text port;
	struct arg_number snap, capture;

	struct vm *vm;        /* what name or id says, for commands on a VM or its console */
	unsigned console;     /* 0: the log; else vm->id */
	enum smp_op op;
	bool from_script;
};

enum arg_kind { ARG_TEXT, ARG_NUMBER, ARG_BOOL, ARG_DATA, ARG_VALUE };

struct arg {
	const char *key;
	enum arg_kind kind;
	size_t offset; /* in struct command_args */
	bool required;
};

#define ARG_OF(field) offsetof(struct command_args, field)

/* What name and id of a request point at. */
enum target { TARGET_NONE, TARGET_VM, TARGET_CONSOLE };

/* ---- the table ---- */

#define STATE_STARTS_AGAIN BIT(VM_STATES) /* stopped, but vm_starts_again() */

struct command {
	uint8_t id;
	uint8_t ops;          /* BIT(SMP_READ), BIT(SMP_WRITE) */
	uint8_t states;       /* BIT(enum vm_state) in which it is legal, and STATE_STARTS_AGAIN; 0: any */
	enum role role;       /* the least role that may run it; unset: only the owner */
	enum role write_role; /* for its write, where that takes another role than its read */
	bool unaudited;       /* its write changes nothing that matters to anybody else, or notes it itself */
	bool checks_rights;   /* its decode asks session_may() itself; else a write without a target is not for limited keys */
	enum target target;
	const char *name;     /* a verb, for sentences and for Lua */
	const char *help;
	const struct arg *args;
	size_t arg_count;
	/* Checks beyond the arguments' kinds; may be NULL. Changes nothing. */
	enum status (*decode)(struct control *c, struct command_args *a, struct failure *f);
	/* Puts the reply's pairs into @w, inside an open map. */
	enum status (*apply)(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f);
};

struct command_group {
	uint16_t id;
	const char *name;
	const struct command *commands;
	size_t count;
};

extern const struct command_group os_group, shell_group, enum_group, session_group, vm_group, console_group,
	inspect_group, cpu_group, volume_group, net_group, stat_group, settings_group, tree_group, events_group, file_group,
	image_group, store_group, policy_group;

/* Groups in rising order of number; NULL past the last. */
const struct command_group *command_group_at(size_t i);
const struct command_group *command_group_find(unsigned id);
const struct command *command_find(unsigned group, unsigned id);
/* The least role that may run @cmd with @op. */
enum role command_role(const struct command *cmd, enum smp_op op);

struct command_request {
	const struct command_group *group;
	const struct command *command;
	struct cbor_value args; /* a checked map */
	enum smp_op op;
	bool from_script;       /* a script is the machine's own: no role is asked for */
};

/*
 * Runs one command and writes its reply, a map, to @w. On failure nothing was changed, nothing is
 * in @w, and @f says why; ST_DENIED: the session's role does not allow it.
 */
MUST_CHECK enum status command_run(struct control *c, const struct command_request *req, struct cbor_writer *w,
				   struct failure *f);

/* ---- for the files of commands ---- */

/* True when @max more bytes fit into the reply, with room for its ends. */
bool command_fits(const struct cbor_writer *w, size_t max);
static inline void command_put_text(struct cbor_writer *w, const char *key, const char *text)
{
	cbor_put_key(w, key);
	cbor_put_text(w, text);
}

static inline void command_put_uint(struct cbor_writer *w, const char *key, uint64_t v)
{
	cbor_put_key(w, key);
	cbor_put_uint(w, v);
}

#endif
