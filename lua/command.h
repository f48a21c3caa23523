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
#include "lua/session.h"
#include "lua/smp.h"

struct control;

/* Groups of our own (the numbers below 64 are SMP's). */
enum command_group_id {
	GROUP_OS = 0,
	GROUP_IMAGE = 1,
	GROUP_STAT = 2,
	GROUP_SETTINGS = 3,
	GROUP_FILE = 8,
	GROUP_SHELL = 9,
	GROUP_ENUM = 10,
	GROUP_SESSION = 64,
	GROUP_VM = 65,
	GROUP_CPU = 67,
	GROUP_POLICY = 70,
	GROUP_EVENTS = 71,
	GROUP_CONSOLE = 72,
	GROUP_INSPECT = 74,
	GROUP_TREE = 76,
	GROUP_STORE = 77,
};

enum session_command {
	SESSION_WHOAMI,
	SESSION_CHALLENGE,
	SESSION_LOGIN,
	SESSION_LOGOUT,
	SESSION_KEYS,
	SESSION_ENROLL,
	SESSION_REVOKE,
	SESSION_TRUST,
	SESSION_AUDIT
};
enum vm_command {
	VM_LIST,
	VM_DEFINE,
	VM_START,
	VM_STOP,
	VM_PAUSE,
	VM_RESUME,
	VM_DESTROY,
	VM_INFO,
	VM_POWER,
	VM_REPORT
};
enum cpu_command {
	CPU_LIST,
	CPU_TRACE,
	CPU_RECORDS,
	CPU_POOL_LIST,
	CPU_POOL_SHOW,
	CPU_POOL_CREATE,
	CPU_POOL_SET,
	CPU_POOL_REMOVE,
	CPU_POOL_MOVE
};
enum console_command { CONSOLE_LIST, CONSOLE_READ, CONSOLE_ATTACH, CONSOLE_DETACH, CONSOLE_INPUT };
enum policy_command {
	POLICY_SCRIPTS,
	POLICY_HOOKS,
	POLICY_PLAN,
	POLICY_APPLY,
	POLICY_RUN,
	POLICY_STOP,
	POLICY_GENERATIONS,
	POLICY_ROLLBACK
};
enum events_command { EVENTS_READ, EVENTS_ATTACH, EVENTS_DETACH, EVENTS_KINDS_LIST };
enum store_command { STORE_LIST, STORE_INFO, STORE_DELETE, STORE_FORMAT };
enum inspect_command { INSPECT_HOST, INSPECT_CHECK };
enum tree_command { TREE_LIST, TREE_GET, TREE_SET, TREE_UNSET, TREE_WHY, TREE_DESCRIBE, TREE_VALUES };

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

struct command {
	uint8_t id;
	uint8_t ops;          /* BIT(SMP_READ), BIT(SMP_WRITE) */
	uint8_t states;       /* BIT(enum vm_state) in which it is legal; 0: any */
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
	inspect_group, cpu_group, stat_group, settings_group, tree_group, events_group, file_group, image_group, store_group,
	policy_group;

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
