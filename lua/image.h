/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images of Corbel itself, read as they arrive: an ELF64 file for x86-64 with a
 * PVH entry note and Corbel's own note, which has the version and a stamp. The
 * stamp is the SHA-256 of the file with the stamp's own bytes taken as zero:
 * an image knows its hash, so the one that runs can say which it is without its
 * file. board/stamp.py writes it when the image is linked. docs/protocol.md, group 1.
 *
 * Headers and notes must be within the first 8 KiB: the rest only goes through the hash.
 */
#ifndef CORBEL_LUA_IMAGE_H
#define CORBEL_LUA_IMAGE_H

#include <bearssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "lua/digest.h"

#define IMAGE_FOLDER "image/"
#define IMAGE_HEAD_BYTES 8192u
#define IMAGE_BYTES_MAX (64u << 20)
#define IMAGE_VERSION_MAX 32u /* with its NUL */
#define IMAGE_NOTE_OWNER "Corbel"
#define IMAGE_NOTE_TYPE 1u    /* version[32], stamp[32] */

struct image_info {
	char version[IMAGE_VERSION_MAX]; /* "0.1.0", printable */
	uint8_t hash[SHA256_BYTES];      /* the stamp, found to be right */
};

struct image_reader {
	uint64_t size, at;               /* bytes: of all, read */
	uint8_t head[IMAGE_HEAD_BYTES];
	size_t stamp_at;                 /* in head, once that is whole */
	bool head_read;
	struct image_info info;
	br_sha256_context file, stamped; /* over all bytes; over all less the stamp */
};

/* What is wrong with an image: the group has codes of its own. */
enum image_fault { IMAGE_GOOD, IMAGE_TOO_SMALL, IMAGE_TOO_LARGE, IMAGE_NOT_OURS, IMAGE_BAD_HASH };

MUST_CHECK enum status image_begin(struct image_reader *r, uint64_t size, enum image_fault *fault, struct error *err);
/* The next @len bytes, within the size. Refuses as soon as the head says that it is no image of Corbel. */
MUST_CHECK enum status image_add(struct image_reader *r, const void *data, size_t len, enum image_fault *fault,
				 struct error *err);
/* All is there: info is good on ST_OK. @sha becomes the SHA-256 of the file as it is. */
MUST_CHECK enum status image_end(struct image_reader *r, uint8_t sha[SHA256_BYTES], enum image_fault *fault,
				 struct error *err);

/* Compares versions by their numbers: below 0, 0, above 0. What is no number counts as the end. */
int image_compare_versions(const char *a, const char *b);

#endif
