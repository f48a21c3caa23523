/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane's own blobs in the writable store: keys and the audit log.
 * They lie below FILES_OWN, which the view of files (io/files.h) does not show:
 * no script, no guest and no client reads or writes them as files. What an appliance's
 * maker put there in the seed is read where the writable store has nothing.
 * Everything here is small and is read whole.
 */
#ifndef CORBEL_LUA_KEEP_H
#define CORBEL_LUA_KEEP_H

#include <stdbool.h>
#include <stddef.h>

#include "io/files.h"
#include "lib/error.h"

#define KEEP_NAME_MAX 64u

struct control;

/* True when blobs outlive the machine's reset. */
bool keep_lasts(const struct control *c);

/*
 * Reads all of @name into @out; *len is its length. ST_NOT_FOUND; ST_OVER_LIMIT when it is longer than @size;
 * the store's own errors.
 */
MUST_CHECK enum status keep_read(const struct control *c, const char *name, void *out, size_t size, size_t *len,
				 struct error *err);
/* On ST_OK it is there after a power cut. ST_IO: the store cannot be written, the sentence says why. */
MUST_CHECK enum status keep_write(struct control *c, const char *name, const void *data, size_t len,
				  struct error *err);
MUST_CHECK enum status keep_delete(struct control *c, const char *name, struct error *err);
/* The first name of the writable store in byte order behind @after ("" for the first) that begins with @prefix. */
MUST_CHECK enum status keep_next(const struct control *c, const char *prefix, const char *after,
				 char out[KEEP_NAME_MAX]);

#endif
