/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: named read-only blobs (scripts, kernels, initrds, device trees)
 * from a cpio newc archive that the boot loader left in memory. Names are paths
 * without leading slash, as archived. A truncated or malformed archive is an
 * error that names the entry and the offset; nothing past it is served.
 */
#ifndef CORBEL_IO_STORE_H
#define CORBEL_IO_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

struct store {
	const uint8_t *image; /* the archive; owned by whoever opened it, outlives the store */
	size_t size;
	unsigned files;       /* regular files found */
};

struct blob {
	const void *data;
	size_t size;
	char name[256];
};

#define STORE_FILES_MAX 1024u

/* Checks the whole archive. A name that is there twice is an error, for one of the two would never be found. */
enum status store_open(struct store *s, const void *image, size_t size, struct error *err);
/* Finds a regular file by exact name; ST_NOT_FOUND with a sentence that names it. */
enum status store_find(const struct store *s, const char *name, struct blob *out, struct error *err);
/* Iterates: start with *cursor = 0; ST_NOT_FOUND at the end. */
enum status store_next(const struct store *s, size_t *cursor, struct blob *out);

#endif
