/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other texts of a generation: what its own takes in by use() while it is
 * applied. They are kept beside it, byte for byte, as generations/N.use/NAME, and
 * from then on use() finds those, at every start and in hooks; what becomes of
 * the file that they were taken from is of no concern to it.
 */
#ifndef CORBEL_LUA_GENUSE_H
#define CORBEL_LUA_GENUSE_H

#include "io/files.h"
#include "lib/error.h"

#define GENUSE_FILES_MAX 16u
#define GENUSE_FILE_BYTES_MAX 65536u
#define GENUSE_BYTES_MAX 131072u /* all of one generation */

struct control;

/* What the text under way has taken in. */
struct genuse {
	uint64_t from; /* the generation whose texts it gets; 0: the store's files, which are noted here */
	char names[GENUSE_FILES_MAX][KVLOG_KEY_MAX + 1];
	unsigned count;
	uint64_t bytes;
};

/* A text is about to be planned, @from a generation that is kept, or new (0). */
void genuse_begin(struct control *c, uint64_t from);
/*
 * The file that use(@path) means to what runs now. ST_NOT_FOUND: there is none, or the generation that runs does not
 * hold it. ST_OVER_LIMIT: too long, or one too many; ST_INVALID: its name cannot be kept.
 */
MUST_CHECK enum status genuse_find(struct control *c, const char *path, struct file *out, struct error *err);
/* Copies what was noted to generation @number. */
MUST_CHECK enum status genuse_keep(struct control *c, uint64_t number, struct error *err);

#endif
