/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Roles are compared, never listed: what an operator may do an owner may too.
 */
#include "lua/session.h"

#include "lib/bits.h"
#include "lua/control_internal.h"

const char *role_name(enum role role)
{
	static const char *const names[ROLES] = {
		[ROLE_NONE] = "none", [ROLE_OBSERVER] = "observer", [ROLE_OPERATOR] = "operator", [ROLE_OWNER] = "owner",
	};

	return (unsigned)role < ARRAY_SIZE(names) && names[role] ? names[role] : "unset";
}

bool session_is(const struct control *c, enum role least)
{
	return c->session.role >= (least == ROLE_UNSET ? ROLE_OWNER : least);
}
