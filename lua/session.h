/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is at the line, and what they may do. There is one session at a time, the
 * line's: it begins as what the line is trusted with, a login raises it, and a
 * logout, a dropped line or silence ends it. A role contains those below it; a
 * key that is limited to some VMs acts on those alone (docs/operations.md).
 */
#ifndef CORBEL_LUA_SESSION_H
#define CORBEL_LUA_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

struct control;
struct vm;

/* In rising order. A table's entry that says nothing is the owner's: forgetting it opens no door. */
enum role { ROLE_UNSET, ROLE_NONE, ROLE_OBSERVER, ROLE_OPERATOR, ROLE_OWNER };
#define ROLES (ROLE_OWNER + 1)

/* "none", "observer", "operator", "owner". */
const char *role_name(enum role role);

struct session {
	enum role role;
};

/* True when the session's role is @least or above it. */
bool session_is(const struct control *c, enum role least);

#endif
