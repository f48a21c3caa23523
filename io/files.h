/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One view of all named blobs: scripts, kernels, uploads, keys, generations. The
 * writable store (io/kvlog.h) lies over the read-only seed that the loader
 * brought (io/store.h): a name in both is the writable one's, and deleting it
 * there shows the seed's again. Machines without a writable store have the seed
 * alone, and every write says why there is none. The control task's alone.
 */
#ifndef CORBEL_IO_FILES_H
#define CORBEL_IO_FILES_H

#include "io/kvlog.h"
#include "io/store.h"
#include "lib/counter.h"

/* Names below this are the control plane's own (keys, the audit log): they are in the stores but not in the view. */
#define FILES_OWN "system/"

struct files {
	const struct store *seed; /* may be NULL: none */
	struct kvlog *kv;         /* NULL: there is no writable store */
	char why_not[ERROR_TEXT_MAX]; /* while kv is NULL: a sentence */
	bool unreadable;          /* there is a store, but it could not be opened */
	struct block_range range; /* where the writable store is, or would be; of no blocks: nowhere */
	void *memory;             /* for it */
	size_t memory_bytes;
};

/* Of a struct files; host.store. */
extern const struct counter_table files_counters;

struct file {
	char name[sizeof ((struct blob *)0)->name];
	uint64_t size;
	uint64_t version; /* of the writable store's content; 0: the seed's, which never changes */
	const void *data; /* the seed's bytes; NULL: in the writable store, files_read() copies them */
};

/* Without a writable store until files_attach(). @why_not: why there is none. */
void files_init(struct files *f, const struct store *seed, const char *why_not);
void files_attach(struct files *f, struct kvlog *kv);
/*
 * Opens the writable store on @range and attaches it; a blank range is formatted first, with @id (random,
 * kvlog_format()). *formatted says so. On failure there is no writable store, and why_not is the sentence in @err.
 */
enum status files_mount(struct files *f, const struct block_range *range, uint64_t id, void *memory,
			size_t memory_bytes, bool *formatted, struct error *err) MUST_CHECK;

/* ST_NOT_FOUND: files_mount() was given no place for a store. ST_DENIED: it is read-only. */
enum status files_check_format(const struct files *f, struct error *err) MUST_CHECK;
/*
 * Makes an empty store with @id in the place of the one that files_mount() found, whatever that was, and attaches
 * it. All that was written is gone: nobody may hold a stream of it any more. files_check_format() has said ST_OK. After
 * a failure there is no writable store, and why_not is the sentence in @err.
 */
enum status files_format(struct files *f, uint64_t id, struct error *err) MUST_CHECK;

/* Finds by exact name; ST_NOT_FOUND with a sentence that names it. */
enum status files_find(const struct files *f, const char *name, struct file *out, struct error *err) MUST_CHECK;

/*
 * Up to @len bytes of @file from @offset; *got is less only at its end. Errors as kvlog_read(); ST_NOT_FOUND
 * when it has been replaced or deleted since it was found.
 */
enum status files_read(const struct files *f, const struct file *file, uint64_t offset, void *buf, size_t len,
		       size_t *got, struct error *err) MUST_CHECK;

/*
 * The first name in byte order behind @after ("" for the first) that begins with @prefix; ST_NOT_FOUND when
 * there is none. @out->name is the next cursor, and may be @after. Names may come and go between calls.
 */
enum status files_next(const struct files *f, const char *prefix, const char *after, struct file *out) MUST_CHECK;

/*
 * Writes: as their namesakes in io/kvlog.h; ST_DENIED with the reason where there is no writable store, and for
 * names below FILES_OWN.
 */
enum status files_put(struct files *f, const char *name, const void *data, size_t len, struct error *err) MUST_CHECK;
enum status files_put_begin(struct files *f, const char *name, uint64_t size_hint, struct kvlog_put **out,
			    struct error *err) MUST_CHECK;
/* Then kvlog_put_append(), kvlog_put_commit() or kvlog_put_abort(). */

/* ST_DENIED for a name that only the seed has. */
enum status files_delete(struct files *f, const char *name, struct error *err) MUST_CHECK;

#endif
