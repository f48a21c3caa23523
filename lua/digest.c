/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A piece is small enough that a step of the control task stays short, and large
 * enough that the store is not asked for every block.
 */
#include "lua/digest.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/crc32.h"

#define PIECE_BYTES 4096u

const char *digest_name(enum digest_kind kind)
{
	static const char *const names[DIGEST_KINDS] = {[DIGEST_SHA256] = "sha256", [DIGEST_CRC32] = "crc32"};

	return names[kind];
}

void digest_begin(struct digest *d, enum digest_kind kind)
{
	d->kind = kind;
	d->crc = 0;
	br_sha256_init(&d->sha256);
}

void digest_add(struct digest *d, const void *data, size_t len)
{
	if (d->kind == DIGEST_SHA256)
		br_sha256_update(&d->sha256, data, len);
	else
		d->crc = crc32(d->crc, data, len);
}

void digest_sha256(const struct digest *d, uint8_t out[SHA256_BYTES])
{
	br_sha256_out(&d->sha256, out);
}

void digest_job_begin(struct digest_job *j, enum digest_kind kind, const struct file *file, uint64_t from, uint64_t end)
{
	digest_begin(&j->digest, kind);
	j->file = *file;
	j->from = j->at = from;
	j->end = end;
}

enum status digest_job_step(struct digest_job *j, const struct files *files, struct error *err)
{
	uint8_t piece[PIECE_BYTES];
	size_t got = 0;
	enum status st;

	if (j->at >= j->end)
		return ST_OK;
	st = files_read(files, &j->file, j->at, piece, (size_t)MIN(sizeof piece, j->end - j->at), &got, err);
	if (st != ST_OK)
		return st;
	if (got == 0)
		return fail(err, ST_CORRUPT, "%s ends at %llu, before its end", j->file.name,
			    (unsigned long long)j->at);
	digest_add(&j->digest, piece, got);
	j->at += got;
	return j->at < j->end ? ST_AGAIN : ST_OK;
}
