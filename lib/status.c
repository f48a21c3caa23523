/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of the result codes, for logs and replies. The table is indexed by the
 * code; the assertion below fails the build when one is added without a name.
 */
#include "lib/status.h"

#include "lib/bits.h"

static const char *const names[] = {
	[ST_OK] = "ok",
	[ST_NO_MEMORY] = "no memory",
	[ST_INVALID] = "invalid",
	[ST_NOT_FOUND] = "not found",
	[ST_EXISTS] = "exists",
	[ST_BAD_STATE] = "bad state",
	[ST_BAD_ADDRESS] = "bad address",
	[ST_OVER_LIMIT] = "over limit",
	[ST_NOT_ADMITTED] = "not admitted",
	[ST_BUSY] = "busy",
	[ST_AGAIN] = "again",
	[ST_TRUNCATED] = "truncated",
	[ST_CORRUPT] = "corrupt",
	[ST_IO] = "i/o error",
	[ST_UNSUPPORTED] = "unsupported",
	[ST_DENIED] = "denied",
};

_Static_assert(ARRAY_SIZE(names) == ST_COUNT, "every status has a name");

const char *status_name(enum status st)
{
	if ((unsigned)st >= ST_COUNT)
		return "unknown status";
	return names[st];
}
