/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that arrives in chunks, for the file and the image group: each chunk
 * says its offset, the first the length of all. The old content stays whole until
 * the last byte is there and the store has it; what is missing, doubled or too
 * much is refused and leaves the upload where it was. It survives a dropped line:
 * whoever comes back asks how far it got. One that nobody goes on with is given up.
 */
#ifndef CORBEL_LUA_UPLOAD_H
#define CORBEL_LUA_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/files.h"
#include "lib/error.h"

#define UPLOAD_IDLE_NS 600000000000ull /* ten minutes without a chunk */

struct control;

/* What is wrong with a chunk: each group has a code of its own for it. */
enum upload_fault {
	UPLOAD_GOOD,
	UPLOAD_NO_LENGTH,  /* the first chunk does not say it */
	UPLOAD_NONE,       /* no upload of that name is under way */
	UPLOAD_OFFSET,     /* not where it goes on: a gap, or an overlap with other content */
	UPLOAD_LENGTH,     /* says another length than the first chunk */
	UPLOAD_OVERRUN,    /* more bytes than the length said */
	UPLOAD_TOO_LARGE,  /* the store has no room */
	UPLOAD_READ_ONLY,  /* there is no store to write to */
	UPLOAD_STORE,      /* the store failed */
};

struct upload_chunk {
	const char *name;
	uint64_t off, size; /* @size: of all, when @size_given */
	bool size_given;
	const void *data;
	size_t len;
};

struct upload {
	struct kvlog_put *put;           /* NULL: none is under way */
	char name[KVLOG_KEY_MAX + 1];    /* also of the one that was completed last */
	uint64_t size, at;               /* bytes: of all, arrived */
	uint64_t touched;                /* ticks */
	uint64_t last_off;               /* the chunk that came last: its repetition is no error */
	size_t last_len;
	uint32_t last_crc;
};

/*
 * Takes one chunk. On ST_OK u->at says where it goes on. The last chunk leaves the content whole, not yet committed:
 * *complete, then upload_commit() or upload_end(); it is false for a repetition of what is committed.
 */
MUST_CHECK enum status upload_take(struct control *c, struct upload *u, const struct upload_chunk *chunk,
				   bool *complete, enum upload_fault *fault, struct error *err);
MUST_CHECK enum status upload_commit(struct control *c, struct upload *u, enum upload_fault *fault, struct error *err);
/* Gives up what is under way; the old content stays. */
void upload_end(struct upload *u);
/* Gives up one that is idle for too long. */
void upload_tick(struct control *c, struct upload *u);

#endif
