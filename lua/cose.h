/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COSE (RFC 9052), as much of it as a login needs: a COSE_Sign1 message with an
 * ES256 signature (RFC 9053 section 2.1: ECDSA over P-256 with SHA-256), public
 * keys as COSE_Key or as a plain point, and their thumbprints (RFC 9679). The
 * bytes come from outside; nothing is believed before it is checked, and what is
 * not understood is refused. The arithmetic is BearSSL's, in constant time.
 */
#ifndef CORBEL_LUA_COSE_H
#define CORBEL_LUA_COSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "lua/digest.h"

#define P256_POINT_BYTES 65 /* 04h, x, y: SEC 1 section 2.3.3, uncompressed */
#define P256_COORDINATE_BYTES 32
#define ES256_SIGNATURE_BYTES 64 /* r, s, big-endian */
#define COSE_THUMBPRINT_BYTES SHA256_BYTES
/* The longest a COSE_Key of one is that cose_key_encode() writes. */
#define COSE_KEY_BYTES 75

struct p256_key {
	uint8_t point[P256_POINT_BYTES];
};

/* A taken-apart message; the pointers are into the caller's bytes. */
struct cose_sign1 {
	const uint8_t *protected; /* the serialized map, as it was signed */
	size_t protected_len;
	const uint8_t *kid;       /* NULL: none */
	size_t kid_len;
	const uint8_t *payload;
	size_t payload_len;
	const uint8_t *signature; /* ES256_SIGNATURE_BYTES */
};

/*
 * Takes @data apart: one COSE_Sign1, tagged (18) or not, whose protected header says ES256, with its payload inside.
 * ST_CORRUPT: no CBOR. ST_INVALID: not that structure. ST_UNSUPPORTED: another algorithm, a critical header
 * parameter, a detached payload. The signature is not checked.
 */
MUST_CHECK enum status cose_sign1_parse(const void *data, size_t len, struct cose_sign1 *out, struct error *err);

/*
 * True when @key signed @message together with @aad (externally supplied data, RFC 9052 section 4.3). About two
 * million instructions.
 */
bool cose_sign1_verify(const struct cose_sign1 *message, const void *aad, size_t aad_len, const struct p256_key *key);

/*
 * A public key from outside: a COSE_Key (EC2, P-256, with both coordinates), or the 65 bytes of an uncompressed
 * point. ST_INVALID when it is neither, or its point is not on the curve; ST_UNSUPPORTED for other curves and
 * kinds. A private part is refused: it has no business here.
 */
MUST_CHECK enum status cose_key_decode(const void *data, size_t len, struct p256_key *out, struct error *err);

/* The key as COSE_Key in the deterministic encoding that its thumbprint is made of. */
void cose_key_encode(const struct p256_key *key, uint8_t out[COSE_KEY_BYTES]);

/* SHA-256 over the required members of the COSE_Key (RFC 9679 section 4). */
void cose_key_thumbprint(const struct p256_key *key, uint8_t out[COSE_THUMBPRINT_BYTES]);

#endif
