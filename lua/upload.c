/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's stream (io/kvlog.h) does the hard part: what was appended is
 * nothing until the commit. A chunk that is repeated because its answer was lost
 * is told by its place and checksum, and answered again.
 */
#include "lua/upload.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/crc32.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"

void upload_end(struct upload *u)
{
	if (u->put)
		kvlog_put_abort(u->put);
	*u = (struct upload){.put = NULL};
}

void upload_tick(struct control *c, struct upload *u)
{
	if (!u->put || ticks_to_ns(control_ticks(c) - u->touched, c->cfg.clock->hz) < UPLOAD_IDLE_NS)
		return;
	log_warn("upload of %s: given up after %llu of %llu bytes, nobody went on with it", u->name,
		 (unsigned long long)u->at, (unsigned long long)u->size);
	upload_end(u);
}

/* Which fault the store's refusal is. Its trouble is everybody's: an event. */
static enum status store_failed(struct control *c, enum status st, const char *name, enum upload_fault *fault,
				struct error *err)
{
	*fault = st == ST_OVER_LIMIT || st == ST_BUSY ? UPLOAD_TOO_LARGE : st == ST_DENIED ? UPLOAD_READ_ONLY : UPLOAD_STORE;
	if (*fault == UPLOAD_STORE)
		events_post(&c->events, EVENT_STORE, NULL, "writing %s: %s", name, err->text);
	/* Denied is what a session is; a store that cannot be written is in another state. */
	return st == ST_DENIED ? ST_BAD_STATE : st;
}

static enum status begin(struct control *c, struct upload *u, const struct upload_chunk *chunk,
			 enum upload_fault *fault, struct error *err)
{
	struct kvlog_put *put;
	enum status st;

	if (!chunk->size_given) {
		*fault = UPLOAD_NO_LENGTH;
		return fail(err, ST_INVALID, "the first chunk of %s needs len, the length of the file", chunk->name);
	}
	if (chunk->len > chunk->size) {
		*fault = UPLOAD_OVERRUN;
		return fail(err, ST_INVALID, "%s: the chunk has %zu bytes, but len is %llu", chunk->name, chunk->len,
			    (unsigned long long)chunk->size);
	}
	upload_end(u); /* the room of an unfinished one is free again */
	st = files_put_begin(c->cfg.machine->files, chunk->name, chunk->size, &put, err);
	if (st != ST_OK)
		return store_failed(c, st, chunk->name, fault, err);
	u->put = put;
	u->size = chunk->size;
	format(u->name, sizeof u->name, "%s", chunk->name);
	return ST_OK;
}

static bool is_repetition(const struct upload *u, const struct upload_chunk *chunk)
{
	return chunk->off > 0 && chunk->off == u->last_off && chunk->len == u->last_len &&
	       strcmp(u->name, chunk->name) == 0 && crc32(0, chunk->data, chunk->len) == u->last_crc;
}

/* Checks a chunk that is not the first against what is under way. */
static enum status check(const struct upload *u, const struct upload_chunk *chunk, enum upload_fault *fault,
			 struct error *err)
{
	if (!u->put || strcmp(u->name, chunk->name) != 0) {
		*fault = UPLOAD_NONE;
		return fail(err, ST_BAD_STATE, "no upload of %s is under way: begin with off 0", chunk->name);
	}
	if (chunk->size_given && chunk->size != u->size) {
		*fault = UPLOAD_LENGTH;
		return fail(err, ST_INVALID, "%s: len is %llu, but began as %llu", chunk->name,
			    (unsigned long long)chunk->size, (unsigned long long)u->size);
	}
	if (chunk->off != u->at) {
		*fault = UPLOAD_OFFSET;
		return fail(err, ST_INVALID, "%s: off is %llu, but it goes on at %llu", chunk->name,
			    (unsigned long long)chunk->off, (unsigned long long)u->at);
	}
	if (chunk->len > u->size - u->at) {
		*fault = UPLOAD_OVERRUN;
		return fail(err, ST_INVALID, "%s: the chunk ends at %llu, but len is %llu", chunk->name,
			    (unsigned long long)(u->at + chunk->len), (unsigned long long)u->size);
	}
	return ST_OK;
}

enum status upload_take(struct control *c, struct upload *u, const struct upload_chunk *chunk, bool *complete,
			enum upload_fault *fault, struct error *err)
{
	enum status st;

	*complete = false;
	if (is_repetition(u, chunk))
		return ST_OK;
	st = chunk->off == 0 ? begin(c, u, chunk, fault, err) : check(u, chunk, fault, err);
	if (st != ST_OK)
		return st;
	if (chunk->len > 0)
		st = kvlog_put_append(u->put, chunk->data, chunk->len, err);
	if (st != ST_OK) {
		st = store_failed(c, st, u->name, fault, err);
		if (*fault != UPLOAD_TOO_LARGE)
			upload_end(u);
		return st;
	}
	u->at += chunk->len;
	u->touched = control_ticks(c);
	u->last_off = chunk->off;
	u->last_len = chunk->len;
	u->last_crc = crc32(0, chunk->data, chunk->len);
	*complete = u->at == u->size;
	return ST_OK;
}

enum status upload_commit(struct control *c, struct upload *u, enum upload_fault *fault, struct error *err)
{
	enum status st = kvlog_put_commit(u->put, err);

	u->put = NULL;
	if (st == ST_OK)
		return ST_OK;
	st = store_failed(c, st, u->name, fault, err);
	upload_end(u);
	return st;
}
