/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests over bytes that come in pieces: SHA-256 (FIPS 180-4, BearSSL's) and
 * CRC-32, by the names that SMP's file group has for them. A digest of a file
 * in the store is computed a piece a step, so that neither a guest nor the
 * management line waits for it.
 */
#ifndef CORBEL_LUA_DIGEST_H
#define CORBEL_LUA_DIGEST_H

#include <bearssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/files.h"
#include "lib/error.h"

#define SHA256_BYTES 32u

enum digest_kind { DIGEST_SHA256, DIGEST_CRC32, DIGEST_KINDS };

struct digest {
	enum digest_kind kind;
	uint32_t crc;
	br_sha256_context sha256;
};

/* "sha256", "crc32". */
const char *digest_name(enum digest_kind kind);
void digest_begin(struct digest *d, enum digest_kind kind);
void digest_add(struct digest *d, const void *data, size_t len);
/* Of a DIGEST_SHA256 what was added so far; more may be added. */
void digest_sha256(const struct digest *d, uint8_t out[SHA256_BYTES]);

/* A file being read through: from at to end. */
struct digest_job {
	struct digest digest;
	struct file file;
	uint64_t from, at, end;
};

void digest_job_begin(struct digest_job *j, enum digest_kind kind, const struct file *file, uint64_t from, uint64_t end);
/* One piece. ST_AGAIN: there is more; ST_OK: all is in; the store's errors. */
MUST_CHECK enum status digest_job_step(struct digest_job *j, const struct files *files, struct error *err);

#endif
