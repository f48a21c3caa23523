/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public keys that may log in, what each may do, and whether the serial line
 * is trusted without any. All of it is one blob, so that a power cut leaves the
 * keys of before or of after. A change is made on a copy, written, and only then
 * believed (the caller's business: lua/cmd_session.c).
 *
 * Pure data: no store, no session is known here.
 */
#ifndef CORBEL_LUA_KEYS_H
#define CORBEL_LUA_KEYS_H

#include "guest/config.h"
#include "lua/cose.h"
#include "lua/session.h"

#define KEYS_MAX 32u
#define MACHINE_ID_BYTES 16u
/* A keyring as bytes takes at most this. */
#define KEYRING_BYTES_MAX (128u + KEYS_MAX * (192u + RIGHTS_VMS_MAX * (VM_NAME_MAX + 2)))

struct key {
	char name[KEY_NAME_MAX]; /* [a-z0-9][a-z0-9._@-]* */
	enum role role;          /* observer and above */
	struct p256_key public;
	uint8_t thumbprint[COSE_THUMBPRINT_BYTES]; /* of public; not stored */
	uint64_t added;          /* seconds since 1970 UTC; 0: not known */
	struct rights rights;
};

struct keyring {
	bool trust;              /* whoever is at the serial line is its owner */
	uint8_t machine[MACHINE_ID_BYTES]; /* who we are, for those who sign: random, made once */
	struct key key[KEYS_MAX];
	unsigned count;
};

/* Nobody's: no key, trust, an identity of zeroes. */
void keyring_init(struct keyring *k);

/* NULL when there is none. */
const struct key *keyring_find(const struct keyring *k, const char *name, size_t len);
const struct key *keyring_find_thumbprint(const struct keyring *k, const uint8_t *thumbprint, size_t len);
unsigned keyring_owners(const struct keyring *k);

/*
 * Takes in @key, whose thumbprint is made here. ST_INVALID: a name, role or limit that cannot be; ST_EXISTS: the
 * name or the key is there already; ST_OVER_LIMIT: KEYS_MAX.
 */
MUST_CHECK enum status keyring_add(struct keyring *k, const struct key *key, struct error *err);
/* ST_NOT_FOUND; ST_BAD_STATE: the last owner's while the line is not trusted, which would lock everybody out. */
MUST_CHECK enum status keyring_remove(struct keyring *k, const char *name, size_t len, struct error *err);

/* Writes the blob: a CBOR map, docs/operations.md. Cannot fail with KEYRING_BYTES_MAX; returns its length. */
size_t keyring_encode(const struct keyring *k, uint8_t out[KEYRING_BYTES_MAX]);
/* ST_CORRUPT with a reason; ST_UNSUPPORTED for a later format. @out only on success. */
MUST_CHECK enum status keyring_decode(const void *data, size_t len, struct keyring *out, struct error *err);

#endif
