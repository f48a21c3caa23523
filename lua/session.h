/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is at the line, and what they may do. There is one session at a time, the
 * line's: it begins as what the line is trusted with, a login makes it a key's,
 * and a logout, a dropped line, silence or the next login ends it. A role
 * contains those below it; a key that is limited to some VMs acts on those alone
 * (docs/operations.md).
 */
#ifndef CORBEL_LUA_SESSION_H
#define CORBEL_LUA_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/config.h"
#include "lib/error.h"

#define KEY_NAME_MAX 32u      /* with the NUL */
#define RIGHTS_VMS_MAX 8u
#define SESSION_IDLE_NS (900ull * 1000000000) /* a login lasts so long without a request */

struct control;
struct key;
struct vm;

/* In rising order. A table's entry that says nothing is the owner's: forgetting it opens no door. */
enum role { ROLE_UNSET, ROLE_NONE, ROLE_OBSERVER, ROLE_OPERATOR, ROLE_OWNER };
#define ROLES (ROLE_OWNER + 1)

/* "none", "observer", "operator", "owner". */
const char *role_name(enum role role);
/* ROLE_UNSET when @text names none; "none" is no role that can be given. */
enum role role_from_name(const char *text, size_t len);

/* The VMs that a key is limited to, by name; none: it is not limited. */
struct rights {
	unsigned count;
	char vm[RIGHTS_VMS_MAX][VM_NAME_MAX];
};

bool rights_limited(const struct rights *r);
/* True when they allow work on the VM of that name. */
bool rights_on(const struct rights *r, const char *vm_name);

struct session {
	enum role role;
	bool logged_in;
	char who[KEY_NAME_MAX];  /* the key's name; "line" without a login */
	struct rights rights;
	uint64_t last;           /* ticks, of its last request */
};

enum session_end { ENDED_LOGOUT, ENDED_LINE_DROPPED, ENDED_IDLE, ENDED_REPLACED, ENDED_REVOKED };

/* What the line is without a login: the owner's when it is trusted, else nobody's. */
void session_reset(struct control *c);
/* A login: the session before it ends. */
void session_begin(struct control *c, const struct key *key);
/* Ends a login, if there is one: its consoles are detached, and the line is what it is trusted with. */
void session_end(struct control *c, enum session_end why);
/* A request came, or time passed without one: ends a login that has been idle for too long. */
void session_touch(struct control *c);
void session_tick(struct control *c);

/* True when the session's role is @least or above it. */
bool session_is(const struct control *c, enum role least);
/* True when it may act on @vm; NULL: on the machine as a whole. */
bool session_may(const struct control *c, const struct vm *vm);
/* True when it may write the file of that name: scripts run with the machine's own rights, so they are the owner's. */
bool session_may_write(const struct control *c, const char *name);

#endif
