/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who did what: one entry for each change that was made or refused, each login,
 * failed login and end of a session. The last AUDIT_RING are in memory; where
 * there is a writable store all of them are in it too, in segments, of which the
 * last AUDIT_SEGMENTS stay. The same thing done again at once is counted in one
 * entry, and so are a script's changes of one setting while others come between:
 * neither a repeated request nor a busy policy pushes out the rest.
 *
 * Texts are printable ASCII. A console's input is recorded, what was typed is not.
 */
#ifndef CORBEL_LUA_AUDIT_H
#define CORBEL_LUA_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/files.h"
#include "lib/error.h"
#include "lua/cbor.h"

#define AUDIT_WHO_MAX 48u
#define AUDIT_WHAT_MAX 32u
#define AUDIT_TEXT_MAX 80u
#define AUDIT_SEGMENT 32u  /* entries in one blob of the store */
#define AUDIT_SEGMENTS 32u /* blobs that stay */
#define AUDIT_RING 128u    /* entries in memory; a multiple of AUDIT_SEGMENT */
#define AUDIT_ENTRY_BYTES 512u /* of one entry as CBOR, at most */
#define AUDIT_LOOK_BACK 32u /* entries among which a script's change is sought */
#define AUDIT_PAUSE_NS 1000000000ull  /* between two writes to the store, */
#define AUDIT_COUNT_NS 10000000000ull /* and before one for counts alone */
#define AUDIT_FOLDER FILES_OWN "audit/"

struct control;
struct command_request;
struct command_args;

struct audit_entry {
	uint64_t seq;       /* rising; skips at a restart */
	uint64_t time, time_ns; /* as an event's (lua/events.h) */
	uint32_t count;     /* times in a row */
	char who[AUDIT_WHO_MAX];   /* a key's name; "line": without a login; "script NAME" */
	char what[AUDIT_WHAT_MAX]; /* "vm.start" */
	char on[AUDIT_TEXT_MAX];
	char before[AUDIT_TEXT_MAX], after[AUDIT_TEXT_MAX];
	char failed[AUDIT_TEXT_MAX]; /* why it was refused; "": done */
};

struct audit {
	struct audit_entry ring[AUDIT_RING]; /* by seq modulo AUDIT_RING */
	uint64_t first;     /* of this start */
	uint64_t head;      /* seq of the next */
	uint64_t kept;      /* all below are in the store, */
	uint64_t stale;     /* but for counts from here on; UINT64_MAX: none */
	uint64_t written;   /* ticks, of the last write */
	bool urgent;        /* the next one is due now */
	struct audit_entry *running; /* of the command that runs: what it says of itself */
	uint8_t blob[AUDIT_SEGMENT * AUDIT_ENTRY_BYTES + 16];
	uint64_t lost;      /* segments that could not be written */
};

/* Goes on behind what the store has; without a store, from 0. */
void audit_init(struct control *c);
/* The store was made anew: what is still in memory is to be written to it. */
void audit_store_made(struct control *c);

/* One entry about something that is no command. @on and @failed may be "". */
void audit_note(struct control *c, const char *who, const char *what, const char *on, const char *failed);

/* ---- around a command ---- */

/* @entry is to be the running command's; returns the one outside, to be put back when it has ended. */
struct audit_entry *audit_command_begin(struct control *c, struct audit_entry *entry);
/* What the running command acts on, when that is not its VM; cleaned here. */
void audit_on(struct control *c, const char *text, size_t len);
/* What the running command changes, in words; cleaned here. */
void audit_change(struct control *c, const char *before, const char *after);
/* A change of setting @path; @script: its file and line, "" for the command that runs. */
void audit_setting(struct control *c, const char *script, const char *path, const char *before, const char *after);
/* Records it if it is a change that was made, or was refused because of a role or right. */
void audit_command_end(struct control *c, const struct command_request *req, const struct command_args *a,
		       enum status st, const struct error *err);

/*
 * Writes what is not in the store yet, a segment at a time, when it is due: the first entry after a quiet second at
 * once and so what is about logins and keys, a burst once a second or when it fills a segment. True when it did
 * something.
 */
bool audit_step(struct control *c);
/* Has the task woken in time for the next write. */
void audit_wake(struct control *c);
/* As audit_step(), due or not: before a reset. */
bool audit_flush(struct control *c);

/* ---- reading ---- */

/* Seq of the oldest entry that can still be read. */
uint64_t audit_oldest(const struct control *c);
/*
 * Puts entries with seq >= @from, at most @max and what fits, as maps into the open list of @w; *next is the @from
 * of the next page. False: none are left behind it.
 */
bool audit_read(struct control *c, uint64_t from, uint64_t max, struct cbor_writer *w, uint64_t *next);

#endif
