/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one set of result codes. Functions that can fail return enum status and
 * hand results out by pointer, written only on success. The codes describe our
 * world; the wire maps them to SMP codes in one place (lua/smp.c).
 */
#ifndef CORBEL_LIB_STATUS_H
#define CORBEL_LIB_STATUS_H

enum status {
	ST_OK = 0,
	ST_NO_MEMORY,    /* a bounded store is exhausted */
	ST_INVALID,      /* malformed or out of range input */
	ST_NOT_FOUND,    /* no object of that name or number */
	ST_EXISTS,       /* name or range is already taken */
	ST_BAD_STATE,    /* legal request, wrong lifecycle state */
	ST_BAD_ADDRESS,  /* guest address without memory behind it */
	ST_OVER_LIMIT,   /* a stated maximum would be passed */
	ST_NOT_ADMITTED, /* reservations do not fit */
	ST_BUSY,         /* try later; nothing was changed */
	ST_AGAIN,        /* progress was made, call again */
	ST_TRUNCATED,    /* input ended early */
	ST_CORRUPT,      /* checksum or structure is wrong */
	ST_IO,           /* a device failed */
	ST_UNSUPPORTED,  /* understood, not provided */
	ST_DENIED,       /* not allowed for this session */
	ST_COUNT
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* Short lower-case name of @st, "unknown status" when out of range; static storage. */
const char *status_name(enum status st);

#endif
