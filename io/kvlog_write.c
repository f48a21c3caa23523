/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending: records to the log, blobs to records. A blob of one record is one
 * write and one flush; a longer one is written piece by piece as it comes, and
 * its last piece travels in the commit. Nothing in the index changes before the
 * flush behind the commit has succeeded.
 */
#include <string.h>

#include "io/kvlog_internal.h"
#include "lib/assert.h"
#include "lib/crc32c.h"

/* ---- records ---- */

/* Fills the rest of a lap, where no record of @units fits any more. */
static enum status pad_lap(struct kvlog *kv, uint32_t units, struct error *err)
{
	uint32_t left = kv->log_units - unit_of(kv, kv->head);
	struct record pad = {.type = RECORD_PAD, .size = left};
	uint32_t ignored;

	if (units <= left)
		return ST_OK;
	return log_append(kv, &pad, kv->sector, &ignored, err);
}

enum status log_append(struct kvlog *kv, struct record *r, uint8_t *buf, uint32_t *at, struct error *err)
{
	uint32_t units = record_units_of(kv, r), written = r->type == RECORD_PAD ? 1 : units;
	uint32_t end = record_data_offset(kv, strlen(r->key), r->len) + (r->lost ? 0 : r->len);
	enum status st = r->type == RECORD_PAD ? ST_OK : pad_lap(kv, units, err);

	if (st != ST_OK)
		return st;
	ASSERT(units < free_units(kv));
	r->seq = kv->head_seq;
	r->durable = kv->durable_seq;
	r->opens = kv->super.opens;
	record_encode(kv, r, buf);
	if (end < written * kv->unit)
		memset(buf + end, 0, written * kv->unit - end);
	st = disk_write(kv, unit_of(kv, kv->head), written, buf, err);
	if (st != ST_OK)
		return st;
	*at = unit_of(kv, kv->head);
	kv->head += units;
	kv->head_seq++;
	return ST_OK;
}

/* ---- streams ---- */

/* Units that other open streams will need for what they hold back. */
static uint64_t staged_units(const struct kvlog *kv, const struct kvlog_put *except)
{
	uint64_t units = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(kv->puts); i++)
		if (&kv->puts[i] != except && kv->puts[i].open)
			units += kv->record_units;
	return units;
}

/* Room in the sense of the store's size, but for what is staged elsewhere than in @p. */
static uint64_t room_units(const struct kvlog *kv, const struct kvlog_put *p)
{
	uint64_t taken = kv->live + staged_units(kv, p);

	return capacity_units(kv) - MIN(taken, capacity_units(kv));
}

static enum status check_size(const struct kvlog *kv, const struct kvlog_put *p, uint64_t units, struct error *err)
{
	uint64_t free = room_units(kv, p);

	if (units <= free)
		return ST_OK;
	return fail(err, ST_OVER_LIMIT, "the store is full: '%s' needs %llu KiB more, %llu KiB are free", p->key,
		    (unsigned long long)(units * kv->unit + 1023) / 1024, (unsigned long long)(free * kv->unit) / 1024);
}

/* Units of a blob of @len bytes. */
static uint64_t units_of_blob(const struct kvlog *kv, const char *key, uint64_t len)
{
	uint64_t pieces = len ? (len - 1) / kv->piece_bytes : 0;
	struct entry e = {.size = len, .pieces = (uint32_t)MIN(pieces, NONE)};

	memcpy(e.key, key, strlen(key) + 1);
	return entry_units(kv, &e);
}

/* Units of @bytes in a stream, whose last record's size is not known yet. */
static uint64_t units_for(const struct kvlog *kv, uint64_t bytes)
{
	return (bytes / kv->piece_bytes + 1) * kv->record_units;
}

uint64_t kvlog_put_max(const struct kvlog *kv)
{
	uint64_t records = room_units(kv, NULL) / kv->record_units;

	return kv->writable && records > 0 ? records * kv->piece_bytes - 1 : 0;
}

static enum status check_new_name(const struct kvlog *kv, const char *key, struct error *err)
{
	if (kv->keys < KVLOG_KEYS_MAX || index_find(kv, key))
		return ST_OK;
	return fail(err, ST_OVER_LIMIT, "'%s': the store has %u names, and no more are possible", key, KVLOG_KEYS_MAX);
}

static void start(struct kvlog *kv, struct kvlog_put *p, const char *key)
{
	uint8_t *stage = p->stage;

	*p = (struct kvlog_put){.kv = kv, .open = true, .first = NONE, .last = NONE, .stage = stage};
	memcpy(p->key, key, strlen(key) + 1);
	/* Unique for the life of the store: opens only grows, and 2^32 puts take longer than any boot. */
	p->version = (kv->super.opens << 32) + ++kv->version_count;
}

void kvlog_put_abort(struct kvlog_put *p)
{
	chain_free(p->kv, p->first);
	p->kv->live -= (uint64_t)p->pieces * p->kv->record_units;
	p->open = false;
}

uint64_t kvlog_put_size(const struct kvlog_put *p) { return p->size; }

const char *kvlog_put_key(const struct kvlog_put *p) { return p->key; }

/* Writes what is staged, a full piece. */
static enum status write_piece(struct kvlog_put *p, struct error *err)
{
	struct kvlog *kv = p->kv;
	struct record r = {.type = RECORD_PIECE, .version = p->version, .piece = p->pieces, .len = kv->piece_bytes};
	enum status st = log_room(kv, kv->record_units, err);
	bool in_pool;
	uint32_t at;

	if (st != ST_OK)
		return st;
	memcpy(r.key, p->key, sizeof r.key);
	r.crc = crc32c(kv->seed, p->stage + kv->unit, r.len);
	st = log_append(kv, &r, p->stage, &at, err);
	if (st != ST_OK)
		return st;
	in_pool = chain_add(kv, &p->first, &p->last, at);
	ASSERT(in_pool); /* it has a place for every piece that the log can hold */
	kv->live += kv->record_units;
	p->pieces++;
	p->staged = 0;
	return ST_OK;
}

/* Takes @len bytes; the room for them was checked. */
static enum status take(struct kvlog_put *p, const uint8_t *data, size_t len, struct error *err)
{
	struct kvlog *kv = p->kv;

	while (len > 0) {
		size_t n;

		/* A full piece waits until more comes: the last one goes into the commit. */
		if (p->staged == kv->piece_bytes) {
			enum status st = write_piece(p, err);

			if (st != ST_OK)
				return st;
		}
		n = MIN(len, (size_t)(kv->piece_bytes - p->staged));
		memcpy(p->stage + kv->unit + p->staged, data, n);
		p->staged += (uint32_t)n;
		p->size += n;
		data += n;
		len -= n;
	}
	return ST_OK;
}

enum status kvlog_put_append(struct kvlog_put *p, const void *data, size_t len, struct error *err)
{
	enum status st = check_writable(p->kv, err);

	if (st == ST_OK && len > p->kv->log_units * (uint64_t)p->kv->unit)
		st = fail(err, ST_OVER_LIMIT, "'%s': %zu bytes are more than the store has", p->key, len);
	if (st == ST_OK)
		st = check_size(p->kv, p, units_for(p->kv, p->staged + (uint64_t)len), err);
	return st == ST_OK ? take(p, data, len, err) : st;
}

enum status kvlog_put_begin(struct kvlog *kv, const char *key, uint64_t size_hint, struct kvlog_put **out,
			    struct error *err)
{
	struct kvlog_put *p = NULL;
	enum status st = check_writable(kv, err);

	if (st == ST_OK)
		st = kvlog_check_key(key, err);
	if (st == ST_OK)
		st = check_new_name(kv, key, err);
	if (st != ST_OK)
		return st;
	for (unsigned i = 0; i < KVLOG_PUTS_MAX && !p; i++)
		p = kv->puts[i].open ? NULL : &kv->puts[i];
	if (!p)
		return fail(err, ST_BUSY, "'%s': %u streams are being written already: '%s'", key, KVLOG_PUTS_MAX,
			    kv->puts[0].key);
	start(kv, p, key);
	/* A hint beyond the store is beyond it whatever the sum says. */
	st = check_size(kv, p, units_for(kv, MIN(size_hint, KVLOG_BYTES_MAX)), err);
	if (st != ST_OK) {
		p->open = false;
		return st;
	}
	*out = p;
	return ST_OK;
}

/* ---- commit ---- */

/* The record of the last bytes; they move to where they belong in it. */
static struct record commit_record(struct kvlog_put *p)
{
	struct kvlog *kv = p->kv;
	struct record r = {.type = RECORD_COMMIT, .version = p->version, .size = p->size, .piece = p->pieces,
			   .len = p->staged};
	uint32_t offset = record_data_offset(kv, strlen(p->key), p->staged);

	memcpy(r.key, p->key, sizeof r.key);
	memmove(p->stage + offset, p->stage + kv->unit, p->staged);
	r.crc = crc32c(kv->seed, p->stage + offset, p->staged);
	return r;
}

static void enter(struct kvlog_put *p, uint32_t at)
{
	struct kvlog *kv = p->kv;
	struct entry *e = index_find(kv, p->key);

	kv->live -= (uint64_t)p->pieces * kv->record_units;
	if (e) {
		kv->live -= entry_units(kv, e);
		chain_free(kv, e->first);
	} else {
		e = index_add(kv, p->key);
		ASSERT(e);
	}
	e->version = p->version;
	e->size = p->size;
	e->at = at;
	e->pieces = p->pieces;
	e->first = p->first;
	e->damaged = false;
	kv->live += entry_units(kv, e);
	kv->stats.put_bytes += p->size;
	p->open = false;
}

static enum status commit(struct kvlog_put *p, struct error *err)
{
	struct kvlog *kv = p->kv;
	struct record r = commit_record(p);
	uint32_t units = record_units_of(kv, &r), at;
	enum status st = check_writable(kv, err);

	if (st == ST_OK && p->lost)
		st = fail(err, ST_IO, "'%s': a part of it was written and cannot be read back", p->key);
	if (st == ST_OK)
		st = check_new_name(kv, p->key, err);
	if (st == ST_OK)
		st = check_size(kv, p, units, err);
	if (st == ST_OK)
		st = log_room(kv, units, err);
	if (st == ST_OK)
		st = log_append(kv, &r, p->stage, &at, err);
	if (st == ST_OK)
		st = disk_flush(kv, err);
	if (st == ST_OK)
		enter(p, at);
	return st;
}

enum status kvlog_put_commit(struct kvlog_put *p, struct error *err)
{
	enum status st = commit(p, err);

	if (st != ST_OK)
		kvlog_put_abort(p);
	return st;
}

enum status kvlog_put(struct kvlog *kv, const char *key, const void *data, size_t len, struct error *err)
{
	struct kvlog_put *p = &kv->puts[SINGLE];
	enum status st = check_writable(kv, err);

	if (st == ST_OK)
		st = kvlog_check_key(key, err);
	if (st == ST_OK)
		st = check_new_name(kv, key, err);
	if (st != ST_OK)
		return st;
	start(kv, p, key);
	/* All of it fits, or none of it is written. */
	st = check_size(kv, p, units_of_blob(kv, p->key, len), err);
	if (st == ST_OK)
		st = take(p, data, len, err);
	if (st == ST_OK)
		return kvlog_put_commit(p, err);
	kvlog_put_abort(p);
	return st;
}

enum status kvlog_delete(struct kvlog *kv, const char *key, struct error *err)
{
	struct record r = {.type = RECORD_DELETE};
	enum status st = check_writable(kv, err);
	struct entry *e;
	uint32_t at;

	if (st == ST_OK)
		st = kvlog_check_key(key, err);
	if (st != ST_OK)
		return st;
	e = index_find(kv, key);
	if (!e)
		return fail(err, ST_NOT_FOUND, "there is no '%s' in the store", key);
	memcpy(r.key, key, strlen(key) + 1);
	st = log_room(kv, 1, err);
	if (st == ST_OK)
		st = log_append(kv, &r, kv->sector, &at, err);
	if (st == ST_OK)
		st = disk_flush(kv, err);
	if (st != ST_OK)
		return st;
	kv->live -= entry_units(kv, e);
	index_remove(kv, e);
	return ST_OK;
}
