/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Challenge and response. A client asks for a nonce and answers with a COSE_Sign1
 * whose payload names the protocol, this machine, this line and that nonce; the
 * signature is checked against the enrolled keys. A nonce is good for one answer
 * and one minute. What fails costs time: after the n-th failure in a row nothing
 * is answered for 2^(n-1) seconds, at most 64.
 *
 * A login authenticates whoever holds a physical line; it protects no message
 * that follows. On a line that others can write to, it proves nothing.
 */
#ifndef CORBEL_LUA_LOGIN_H
#define CORBEL_LUA_LOGIN_H

#include <bearssl.h>

#include "lib/error.h"
#include "lua/keys.h"

#define LOGIN_PROTOCOL "corbel-login-1"
#define LOGIN_LINE "serial" /* the one line of this version */
#define LOGIN_NONCE_BYTES 32u
#define LOGIN_CHALLENGE_NS (60ull * 1000000000)
#define LOGIN_BACKOFF_MAX_NS (64ull * 1000000000)
#define LOGIN_PAYLOAD_MAX 96u

struct login {
	br_hmac_drbg_context drbg;
	bool seeded;
	bool open;           /* nonce waits for its answer */
	uint8_t nonce[LOGIN_NONCE_BYTES];
	uint64_t issued;     /* ticks */
	unsigned failures;   /* in a row */
	uint64_t failed;     /* ticks, of the last */
};

/* How long nothing is answered after @failures in a row. Pure. */
uint64_t login_backoff_ns(unsigned failures);

/* The bytes that are signed for; returns their length. Pure. */
size_t login_payload(const uint8_t machine[MACHINE_ID_BYTES], const uint8_t nonce[LOGIN_NONCE_BYTES],
		     uint8_t out[LOGIN_PAYLOAD_MAX]);

/* True when whoever is at the line is its owner without a login. */
bool login_line_trusted(const struct control *c);

/*
 * Opens a challenge in place of any other. ST_BUSY: too soon after a failure. ST_IO: no source of entropy works, and
 * the line is not trusted (where it is, a login proves nothing that standing there does not).
 */
MUST_CHECK enum status login_challenge(struct control *c, const uint8_t **nonce, struct error *err);

/*
 * Checks the answer and begins the session. ST_BUSY: too soon, nothing was looked at. ST_INVALID, ST_CORRUPT,
 * ST_UNSUPPORTED: no COSE_Sign1 that is understood. ST_DENIED: stale, replayed, meant for another machine,
 * an unknown key, a wrong signature. All but the first count as failures and use the challenge up.
 */
MUST_CHECK enum status login_answer(struct control *c, const void *message, size_t len, struct error *err);

#endif
