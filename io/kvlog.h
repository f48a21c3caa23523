/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writable store of named blobs on a range of a block device: an append-only
 * log of checksummed records that goes round a ring, with two superblocks that
 * say where it begins. Space is won back at the ring's tail, one record a step:
 * what is still wanted is appended again, what is not is passed over. That costs
 * more copying than cleaning by segments would, and buys a log whose order is
 * simply its age: recovery is one walk, a deletion's mark goes when it reaches
 * the tail, and wear is even. docs/store.md has the format and the reasoning.
 *
 * What commit, put or delete has acknowledged (ST_OK) is there after a power cut
 * at any later moment; what was not is there whole or not at all. For the control
 * task alone: calls are synchronous and not reentrant. No allocation: all memory
 * is given when opened.
 */
#ifndef CORBEL_IO_KVLOG_H
#define CORBEL_IO_KVLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/block.h"
#include "lib/error.h"

#define KVLOG_KEYS_MAX 1024u /* names at a time */
#define KVLOG_KEY_MAX 127u   /* bytes of a name, without its NUL */
#define KVLOG_PUTS_MAX 2u    /* streams open for writing at a time */
#define KVLOG_RECORD_BYTES 32768u /* the largest record: blobs are cut into pieces of a little less */
#define KVLOG_BYTES_MIN (1024u * 1024)    /* of a range; more than the maximum is not used */
#define KVLOG_BYTES_MAX (4ull << 30)

struct kvlog;
struct kvlog_put;

/*
 * Names are paths: 1 to KVLOG_KEY_MAX bytes of 0x21..0x7e (no spaces), no empty part, no "." or ".." as a
 * part, no '/' at either end. ST_INVALID says what is wrong. Every call below checks its name by this.
 */
enum status kvlog_check_key(const char *key, struct error *err) MUST_CHECK;

/* Bytes of memory that a store on @range takes, 0 when the range is too small for one. */
size_t kvlog_memory_bytes(const struct block_range *range);

/*
 * Writes an empty store over whatever is there. @id is random: it goes into every checksum, so that
 * what an earlier store left behind on the range, or an upload that looks like records, is never taken for one.
 * @memory as for kvlog_open(), used meanwhile.
 */
enum status kvlog_format(const struct block_range *range, uint64_t id, void *memory, size_t memory_bytes,
			 struct error *err) MUST_CHECK;

/*
 * Opens the store on @range. @memory, aligned to 64 bytes and of kvlog_memory_bytes(), is the store's
 * until it is not used any more. ST_NOT_FOUND: the range begins with zeroes, nobody has formatted it.
 * ST_CORRUPT: neither superblock is good. ST_UNSUPPORTED: a later format. Damage further in is no
 * error here: stats say it, damaged blobs say it when they are read, and the rest is as it was. With @read_only,
 * or when the device is read-only, or when its first writes fail, the store is opened for reading; stats say why.
 */
enum status kvlog_open(const struct block_range *range, bool read_only, void *memory, size_t memory_bytes,
		       struct kvlog **out, struct error *err) MUST_CHECK;

/* ---- reading ---- */

struct kvlog_info {
	char key[KVLOG_KEY_MAX + 1];
	uint64_t size;    /* bytes */
	uint64_t version; /* of this content; another put of the same name has another one, never 0 */
};

enum status kvlog_stat(const struct kvlog *kv, const char *key, struct kvlog_info *out, struct error *err) MUST_CHECK;

/*
 * Reads up to @len bytes from @offset into @buf; *got says how many, fewer only at the blob's end.
 * @version 0 reads whatever is there; else ST_NOT_FOUND when the content is no longer that one.
 * ST_CORRUPT, ST_IO: this part of the blob is damaged, the sentence says where; other parts may be good.
 */
enum status kvlog_read(struct kvlog *kv, const char *key, uint64_t version, uint64_t offset, void *buf, size_t len,
		       size_t *got, struct error *err) MUST_CHECK;

/*
 * The first name in byte order behind @after ("" for the first) that begins with @prefix. ST_NOT_FOUND:
 * no more. The cursor is the name last seen, so names may come and go between calls.
 */
enum status kvlog_next(const struct kvlog *kv, const char *prefix, const char *after,
		       struct kvlog_info *out) MUST_CHECK;

/* ---- writing ---- */

/*
 * ST_DENIED: the store is read-only, the sentence says why. ST_OVER_LIMIT: it is full, or has KVLOG_KEYS_MAX
 * names. ST_IO: the device failed; from then on the store is read-only until it is opened again, since
 * what the device holds is not known any more. After any error the old content is what is read.
 */
enum status kvlog_put(struct kvlog *kv, const char *key, const void *data, size_t len, struct error *err) MUST_CHECK;

/* ST_NOT_FOUND when there is no such name. Possible in a full store too. */
enum status kvlog_delete(struct kvlog *kv, const char *key, struct error *err) MUST_CHECK;

/*
 * A blob in a stream. Until the commit the old content stays; what was appended lasts no longer than the
 * machine: after a restart an unfinished stream is gone, and starts over. ST_BUSY: KVLOG_PUTS_MAX streams are open.
 * @size_hint: the size that is to come, 0 when not known; refused at once when it cannot fit.
 * An append refused with ST_OVER_LIMIT leaves the stream as it was; after any other failure only abort is
 * left. Abort and commit, successful or not, end it.
 * Of two streams for one name the last to commit wins.
 */
enum status kvlog_put_begin(struct kvlog *kv, const char *key, uint64_t size_hint, struct kvlog_put **out,
			    struct error *err) MUST_CHECK;
enum status kvlog_put_append(struct kvlog_put *p, const void *data, size_t len, struct error *err) MUST_CHECK;
enum status kvlog_put_commit(struct kvlog_put *p, struct error *err) MUST_CHECK;
void kvlog_put_abort(struct kvlog_put *p);
/* Bytes appended so far: where an upload goes on. */
uint64_t kvlog_put_size(const struct kvlog_put *p);
const char *kvlog_put_key(const struct kvlog_put *p);
/* The largest size_hint that would be taken now, in bytes; 0: none. */
uint64_t kvlog_put_max(const struct kvlog *kv);

/*
 * A bounded step of housekeeping (at most one record is moved), to be called when there is nothing else
 * to do. ST_AGAIN: there is more to win; ST_OK: nothing to do. Errors as for writing.
 */
enum status kvlog_step(struct kvlog *kv, struct error *err) MUST_CHECK;

/* ---- state ---- */

struct kvlog_stats {
	bool writable;
	char why_not[ERROR_TEXT_MAX]; /* when not writable */
	uint64_t id, generation, opens;
	uint64_t size_bytes;     /* what blobs and their records may take */
	uint64_t used_bytes;     /* what they take, open streams included */
	uint64_t free_bytes;     /* size - used: what a put may still take */
	uint64_t garbage_bytes;  /* superseded, not yet won back */
	uint32_t keys, keys_max, streams;
	/* found when opened, and since */
	uint64_t damaged_bytes;  /* of the log, not readable as records */
	uint32_t damaged_keys;   /* names with a part that is known to be lost */
	uint32_t bad_superblocks;
	uint64_t unfinished;     /* records behind the end, left by a power cut */
	/* work done since opened */
	uint64_t reads, writes, flushes;  /* requests */
	uint64_t read_bytes, written_bytes;
	uint64_t put_bytes;      /* of blobs, as callers gave them */
	uint64_t moved_bytes;    /* by compaction */
	uint64_t moves, passed;  /* records moved and passed over */
};

void kvlog_stats(const struct kvlog *kv, struct kvlog_stats *out);
bool kvlog_is_writable(const struct kvlog *kv);

/*
 * Walks index and log in memory and says what breaks a rule; for tests and `check`. False with a sentence in @err.
 */
bool kvlog_check(const struct kvlog *kv, struct error *err);

#endif
