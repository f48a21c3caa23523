/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the control plane share: its one state, and the parts that
 * commands act on. For lua/ alone. Everything here belongs to the control task.
 */
#ifndef CORBEL_LUA_CONTROL_INTERNAL_H
#define CORBEL_LUA_CONTROL_INTERNAL_H

#include "guest/machine.h"
#include "lib/ring.h"
#include "lua/audit.h"
#include "lua/command.h"
#include "lua/control.h"
#include "lua/define.h"
#include "lua/digest.h"
#include "lua/event_push.h"
#include "lua/events.h"
#include "lua/generation.h"
#include "lua/genuse.h"
#include "lua/keys.h"
#include "lua/login.h"
#include "lua/later.h"
#include "lua/policy.h"
#include "lua/session.h"
#include "lua/settings.h"
#include "lua/slots.h"
#include "lua/smp.h"
#include "lua/state.h"
#include "lua/upload.h"
#include "lua/wire.h"

#define INPUT_BYTES 16384u     /* received, not yet looked at; a power of two */
#define SHELL_OUTPUT_MAX 7680u /* what a shell command can print: fits one reply */
#define PROMPT_MAX 7680u       /* a line at the prompt */
#define DEFINE_MAX 16u         /* VMs in one text */
#define LOG_CONSOLE 0u         /* the hypervisor's log among the consoles */
#define LOG_CONSOLE_NAME "corbel"

/* A console whose output is pushed on the line. */
struct attachment {
	bool on;
	bool closing;        /* its VM is gone: say so, then forget it */
	uint64_t next;       /* sequence number of the next byte to push */
	uint64_t credit;     /* bytes that may still be pushed before the client asks again */
	enum vm_state state; /* as last said */
	enum vm_reason reason;
	uint64_t starts;
};

/* A VM as the last look at it found it: watch.c. */
struct seen_vm {
	bool there;
	bool full;                          /* paused because a volume is */
	uint64_t error_told[VM_DISKS_MAX];  /* ticks when it was said that a disk fails; 0: never */
	enum vm_state state;
	enum vm_reason reason;
	uint64_t starts;
	char name[VM_NAME_MAX];
};

/* The figures of one VM that a script asked for: good for one run of it (api_now.c). */
struct view_cache {
	uint64_t stamp;
	unsigned vm;
	struct vm_info info;
};

/* Where print() of the running script goes. */
enum print_to { PRINT_LOG, PRINT_REPLY };

struct control_counts {
	uint64_t frames;   /* requests that arrived whole */
	uint64_t dropped;  /* frames that did not */
	uint64_t errors;   /* requests answered with an error */
	uint64_t lost;     /* bytes that found the input full */
	uint64_t pushed;   /* console bytes */
};

/* The file that is downloaded: what it was when that began. */
struct download {
	char name[KVLOG_KEY_MAX + 1];
	uint64_t version;
};

struct control {
	struct control_config cfg;
	uint64_t started; /* ticks */
	struct session session;

	/* who may log in */
	struct keyring keys, keys_next; /* as believed; as a command would have them */
	char keys_trouble[ERROR_TEXT_MAX]; /* why those in the store cannot be read: then nobody is trusted */
	bool trust_boot;                /* the boot arguments say that the line is trusted */
	struct login login;
	uint8_t keys_blob[KEYRING_BYTES_MAX];
	struct audit audit;

	/* in */
	struct ring input;
	uint8_t input_buf[INPUT_BYTES];
	struct wire_receiver rx;
	uint8_t rx_buf[SMP_BODY_MAX];

	/* out: one reply at a time, and one built line that waits for room */
	uint8_t reply[SMP_BODY_MAX];
	struct wire_sender tx;
	bool sending;
	uint8_t line[WIRE_LINE_MAX];
	size_t line_len;
	bool reset_due;
	bool start_due; /* VMs that start by themselves wait for the volumes that a text has begun */
	bool start_later[VMS_MAX + 1]; /* by id: likewise, of a generation that was applied */
	bool starts_wait; /* one of them does */
	struct control_counts counters;
	uint64_t drop_logged; /* ticks: of the last log line on a dropped frame */

	struct settings settings;
	bool storage_failed; /* the writable store takes no writes any more, and that was told */

	/* consoles, by id */
	struct attachment attached[VMS_MAX + 1];
	unsigned push_turn;

	/* what happened, and what of it was seen of each VM, by id */
	struct events events;
	struct seen_vm seen[VMS_MAX + 1];
	uint64_t seen_changes; /* machine.changes when they were looked at */
	uint64_t errors_at;    /* ticks: when it may be said again that a disk fails, TIMERQ_NEVER: none does */
	struct event_push event_push;
	struct event_poll poll, poll_asked;

	/* files on their way, and read through for a hash */
	struct upload upload;
	struct slots slots;
	struct download download;
	struct digest_job hash, hash_asked;

	/* requests whose replies come later */
	struct later later[LATER_KINDS];

	/* scripts that stay, and when the task is to be woken for them */
	struct policy policy;
	struct generation_state generation;
	struct genuse uses;
	struct view_cache view;
	uint64_t view_stamp;
	struct host_alarm wake_alarm;
	uint64_t wake_at; /* ticks, TIMERQ_NEVER */

	/* scripts */
	struct interp shell, script;
	const char *script_name; /* of what runs, for its log lines */
	enum print_to print_to;
	char print[SHELL_OUTPUT_MAX + 1];
	size_t print_len, print_lost;
	char prompt[PROMPT_MAX];            /* the line, its words joined */
	uint8_t script_reply[SMP_BODY_MAX]; /* of a command that a script called */
	bool collect;                       /* vm{} collects into pending[] */
	bool planning;                      /* and set{} into the plan: generation.c */
	bool booting;                       /* a generation that is kept is brought up */
	struct vm_config *pending;          /* of a definition while it is taken, or of a plan; else NULL */
	unsigned pending_max;
	unsigned pending_count;
	char unfinished[ERROR_TEXT_MAX];    /* a vm "name" that still wants its table */
};

/* ---- control.c ---- */

/* A writer for the reply that goes out next; nothing may be on its way (c->sending). */
void control_reply_begin(struct control *c, struct cbor_writer *w);
/* Sends the reply to @h: what is in @w, or, unless @st is ST_OK, the error. */
void control_reply_end(struct control *c, const struct smp_header *h, enum status st, const struct cbor_writer *w,
		       const struct failure *f);

/* ---- keystore.c ---- */

/* Reads the keys that are stored and says whether the line is trusted; then begins the session that it is worth. */
void keystore_load(struct control *c);
/* Writes c->keys_next and believes it. Nothing is changed when it cannot be written. */
MUST_CHECK enum status keystore_commit(struct control *c, struct error *err);
/* True when the keys in force are the operators' own: not the seed's, and not none. */
bool keystore_is_own(const struct control *c);
/*
 * The store was made anew and is empty. Keys that could not be read are forgotten, and the seed's count; else
 * @own ones are written to it.
 */
MUST_CHECK enum status keystore_store_made(struct control *c, bool own, struct error *err);
/* One sentence on whether the line is trusted, and why. */
void keystore_describe(const struct control *c, char *out, size_t size);

/* ---- push.c: consoles onto the line ---- */

struct bytelog;
/* The console's bytes; @vm NULL for the log. */
const struct bytelog *console_log(const struct control *c, const struct vm *vm);
/* bytelog_read() with the writer kept out. */
size_t console_read(const struct control *c, struct vm *vm, uint64_t *seq, void *out, size_t max);
/* @credit: bytes, UINT64_MAX for no bound. */
void push_attach(struct control *c, unsigned id, uint64_t from, uint64_t credit);
void push_detach(struct control *c, unsigned id);
/* The VM is about to go. */
void push_forget(struct control *c, unsigned id);
/* Builds at most one pushed line into c->line; false when there is nothing to push. */
bool push_step(struct control *c);

/* ---- watch.c ---- */

/* Posts what changed of the VMs since the last look, and operations on volumes that have ended. */
void watch_vms(struct control *c);

/* ---- cmd_store.c ---- */

/* How the writable store is, in an open map. */
void cmd_store_put(const struct control *c, struct cbor_writer *w);
/* A step of housekeeping, when nothing else is to do; tells once when the store fails. True: there is more. */
bool cmd_store_step(struct control *c);

/* ---- script.c ---- */

/* Runs Lua text of the wire and collects its VMs, checked, in c->pending. Nothing else of it has an effect. */
MUST_CHECK enum status script_collect(struct control *c, const char *text, size_t len, const char *origin,
				      struct error *err);
/*
 * Evaluates a line at the prompt: an expression, whose values are shown, or a statement. What it
 * printed is in c->print, also when it failed.
 */
MUST_CHECK enum status script_eval(struct control *c, const char *text, size_t len, struct error *err);
/* print() from a script: text without its newline, any bytes. */
void script_print(struct control *c, const char *text, size_t len);
/* A line of the running script in the log. */
void script_log(struct control *c, const char *text, size_t len);

/* ---- cmd_vm.c ---- */

/* Decodes one definition and checks it against the VMs that exist and those in c->pending. */
MUST_CHECK enum status vm_decode_definition(struct control *c, const struct define_source *src,
					    struct cbor_value settings, struct vm_config *out, struct error *err);
/* Defines what was decoded; undoes all of it when one fails. */
MUST_CHECK enum status vm_apply_definitions(struct control *c, const struct vm_config *cfg, unsigned count,
					    struct error *err);
/* The masked section around what a vcpu's CPU also touches. */
static inline unsigned long control_mask(const struct control *c)
{
	return c->cfg.machine->host->mask();
}

static inline void control_unmask(const struct control *c, unsigned long state)
{
	c->cfg.machine->host->unmask(state);
}

/* The task is to look again at @ticks at the latest. Holds for the present step: ask in each. */
void control_wake_at(struct control *c, uint64_t ticks);

static inline uint64_t control_ticks(const struct control *c)
{
	return c->cfg.clock->ticks();
}

#endif
