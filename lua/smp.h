/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Simple Management Protocol's header and error rules (mcumgr, versions 1
 * and 2), as docs/protocol.md section 3 states them. No command is known here.
 */
#ifndef CORBEL_LUA_SMP_H
#define CORBEL_LUA_SMP_H

#include "lib/error.h"
#include "lua/cbor.h"
#include "lua/wire.h"

#define SMP_HEADER_BYTES 8
#define SMP_BUFFER_BYTES 8192u /* what OS command 6 states: a body with the framing around it */
#define SMP_BODY_MAX (SMP_BUFFER_BYTES - WIRE_OVERHEAD)
#define SMP_VERSIONS 2u        /* version field 0 ("v1") and 1 ("v2") */
#define SMP_USER_GROUPS 64u    /* groups from here on are ours to define */

enum smp_op { SMP_READ, SMP_READ_REPLY, SMP_WRITE, SMP_WRITE_REPLY };

enum smp_rc {
	SMP_OK = 0,
	SMP_UNKNOWN = 1,
	SMP_NO_MEMORY = 2,
	SMP_INVALID = 3,
	SMP_TIMEOUT = 4,
	SMP_NO_ENTRY = 5,
	SMP_BAD_STATE = 6,
	SMP_TOO_BIG = 7,
	SMP_NOT_SUPPORTED = 8,
	SMP_CORRUPT = 9,
	SMP_BUSY = 10,
	SMP_DENIED = 11,
	SMP_TOO_OLD = 12,
	SMP_TOO_NEW = 13,
};

struct smp_header {
	unsigned version; /* the field: 0..3 */
	unsigned op;      /* enum smp_op; 4..7 are undefined */
	uint16_t length;  /* of the payload */
	uint16_t group;
	uint8_t sequence, command;
};

/* False when @len is shorter than a header. */
bool smp_header_read(const uint8_t *body, size_t len, struct smp_header *out);
void smp_header_write(const struct smp_header *h, uint8_t out[SMP_HEADER_BYTES]);

/* The one place where our status codes become the wire's. */
enum smp_rc smp_rc_of(enum status st);

/* An error as a reply carries it. */
struct smp_error {
	enum smp_rc rc;  /* the common code: what version 1 gets, and version 2 for trouble with the protocol itself */
	int group_rc;    /* the group's own code for version 2; -1: this is trouble with the protocol itself */
	const char *why; /* a sentence, may be NULL */
};

/*
 * Writes the reply map of an error to a request with @h. The sentence goes out
 * as "rsn" wherever a stock client takes it: always beside a plain "rc", beside
 * "err" in our own groups only.
 */
void smp_put_error(struct cbor_writer *w, const struct smp_header *h, const struct smp_error *e);

#endif
