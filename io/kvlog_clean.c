/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Winning room back at the tail, a record a time: what the index still points at
 * is appended again, the rest is passed over. The room that was passed may be
 * written to only when both superblocks say so, each written and flushed by
 * itself: whichever of them a cut or a bad sector leaves, the log that it
 * describes is whole.
 *
 * Cleaning a first-in-first-out log costs live / (live + garbage) copies for each
 * unit won, so it pays to be late: housekeeping begins when little is free, and
 * no more than three quarters of the log are ever promised.
 */
#include <string.h>

#include "io/kvlog_internal.h"

#define CHECKPOINT_BYTES (1024u * 1024) /* written between two superblocks: bounds what opening must check */
#define LOW_PART 16u                    /* housekeeping begins below this part of the log free, */
#define HIGH_PART 8u                    /* ends above this one, */
#define GARBAGE_PART 16u                /* or when there is less garbage */
#define SPARE_RECORDS 4u                /* always free: for what is moved, and the end of a lap */
#define MOVE_RECORDS 2u                 /* of them for the next move */

/* Units free once all that was passed is published. */
static uint64_t passed_and_free(const struct kvlog *kv)
{
	return kv->log_units - (kv->head - kv->tail);
}

static void pass(struct kvlog *kv, uint64_t to, uint64_t seq)
{
	kv->tail = to;
	kv->tail_seq = seq;
	kv->stats.passed++;
}

/* ---- a damaged place ---- */

static bool lies_in(const struct kvlog *kv, uint32_t at, uint64_t from, uint64_t to)
{
	return at != NONE && distance(kv, unit_of(kv, from), at) < to - from;
}

/* The COMMIT of @e cannot be read any more: a new one says that there was one. */
static enum status append_lost(struct kvlog *kv, struct entry *e, struct error *err)
{
	struct record r = {
		.type = RECORD_COMMIT, .lost = true, .version = e->version, .size = e->size, .piece = e->pieces,
		.len = (uint32_t)(e->size - (uint64_t)e->pieces * kv->piece_bytes),
	};

	memcpy(r.key, e->key, sizeof r.key);
	e->damaged = true;
	return log_append(kv, &r, kv->sector, &e->at, err);
}

static void lose_pieces(struct kvlog *kv, uint32_t first, uint64_t from, uint64_t to, bool *damaged)
{
	for (uint32_t i = first; i != NONE; i = kv->pool[i].next) {
		if (!lies_in(kv, kv->pool[i].at, from, to))
			continue;
		kv->pool[i].at = NONE;
		*damaged = true;
	}
}

/* What the index has between @from and @to is lost; names stay, and say so when read. */
static enum status lose(struct kvlog *kv, uint64_t from, uint64_t to, struct error *err)
{
	enum status st = ST_OK;

	for (unsigned i = 0; i < ARRAY_SIZE(kv->puts); i++)
		if (kv->puts[i].open)
			lose_pieces(kv, kv->puts[i].first, from, to, &kv->puts[i].lost);
	for (uint32_t i = 0; i < kv->keys && st == ST_OK; i++) {
		struct entry *e = &kv->entries[kv->order[i]];

		lose_pieces(kv, e->first, from, to, &e->damaged);
		if (lies_in(kv, e->at, from, to))
			st = append_lost(kv, e, err);
	}
	return st;
}

/* At most a record's length of it, so that what has to be said of it fits. */
static enum status pass_damage(struct kvlog *kv, struct error *err)
{
	uint64_t seq, next = scan_resync(kv, kv->tail, kv->tail_seq, kv->head, kv->head_seq, &seq);
	enum status st;

	if (next - kv->tail > kv->record_units) {
		next = kv->tail + kv->record_units;
		seq = kv->tail_seq;
	}
	kv->stats.damaged_bytes += (next - kv->tail) * kv->unit;
	st = lose(kv, kv->tail, next, err);
	if (st == ST_OK)
		pass(kv, next, seq);
	return st;
}

/* ---- a record ---- */

/* Where the index says that the record @r at @at is, when it is still wanted. */
static uint32_t *wanted(struct kvlog *kv, const struct record *r, uint32_t at)
{
	struct entry *e = index_find(kv, r->key);
	struct piece *p = NULL;

	if (r->type == RECORD_COMMIT)
		return e && e->version == r->version && e->at == at ? &e->at : NULL;
	if (r->type != RECORD_PIECE)
		return NULL;
	if (e && e->version == r->version)
		p = chain_at(kv, e->first, r->piece);
	for (unsigned i = 0; i < ARRAY_SIZE(kv->puts) && !p; i++)
		if (kv->puts[i].open && kv->puts[i].version == r->version)
			p = chain_at(kv, kv->puts[i].first, r->piece);
	return p && p->at == at ? &p->at : NULL;
}

static enum status move(struct kvlog *kv, struct record *r, uint32_t *where, struct error *err)
{
	uint32_t at = unit_of(kv, kv->tail), units = record_units_of(kv, r);
	uint8_t *data;
	enum status st;

	if (disk_data(kv, at, r, &data, NULL) != ST_OK)
		return lose(kv, kv->tail, kv->tail + units, err);
	/* The header is renewed in the window, in front of the data that was just checked. */
	data -= record_data_offset(kv, strlen(r->key), r->len);
	st = log_append(kv, r, data, where, err);
	if (st == ST_OK) {
		kv->stats.moves++;
		kv->stats.moved_bytes += (uint64_t)units * kv->unit;
	}
	return st;
}

/* Passes or moves the record at the tail. */
static enum status clean_one(struct kvlog *kv, struct error *err)
{
	uint32_t at = unit_of(kv, kv->tail), units, *where;
	enum status st = ST_OK;
	uint64_t tail, seq;
	struct record r;

	if (!disk_header(kv, at, kv->record_units, &r) || r.seq != kv->tail_seq)
		return pass_damage(kv, err);
	units = record_units_of(kv, &r);
	tail = kv->tail + units;
	seq = r.seq + 1;
	where = wanted(kv, &r, at);
	if (where)
		st = move(kv, &r, where, err);
	if (st == ST_OK)
		pass(kv, tail, seq);
	return st;
}

/* One step: a record, after what was passed is made free when nothing else is. */
static enum status clean_step(struct kvlog *kv, struct error *err)
{
	if (free_units(kv) < (uint64_t)MOVE_RECORDS * kv->record_units) {
		enum status st = disk_publish(kv, true, err);

		if (st != ST_OK)
			return st;
	}
	return clean_one(kv, err);
}

enum status log_room(struct kvlog *kv, uint32_t units, struct error *err)
{
	uint64_t need = units + (uint64_t)SPARE_RECORDS * kv->record_units, first = kv->tail;
	enum status st = check_writable(kv, err);

	if (st == ST_OK && (kv->head - kv->mark) * kv->unit > CHECKPOINT_BYTES)
		st = disk_publish(kv, false, err);
	/* Free is what both superblocks have passed: written one at a time they would end this loop too, a flush later. */
	while (st == ST_OK && free_units(kv) < need) {
		if (passed_and_free(kv) >= need)
			st = disk_publish(kv, true, err);
		else if (kv->tail - first > 2ull * kv->log_units)
			return fail(err, ST_OVER_LIMIT, "the store is full, and nothing in it can be given up");
		else
			st = clean_step(kv, err);
	}
	return st;
}

/* ---- housekeeping ---- */

static bool worth_it(struct kvlog *kv)
{
	uint64_t free = passed_and_free(kv), used = kv->head - kv->tail;
	uint64_t spare = 2ull * SPARE_RECORDS * kv->record_units;

	if (used < kv->live + kv->log_units / GARBAGE_PART)
		kv->cleaning = false;
	else if (free < MAX(kv->log_units / LOW_PART, spare))
		kv->cleaning = true;
	else if (free >= MAX(kv->log_units / HIGH_PART, spare))
		kv->cleaning = false;
	return kv->cleaning;
}

enum status kvlog_step(struct kvlog *kv, struct error *err)
{
	bool was = kv->cleaning;
	enum status st;

	if (!kv->writable)
		return ST_OK;
	if (!worth_it(kv))
		return was ? disk_publish(kv, true, err) : ST_OK;
	st = clean_step(kv, err);
	return st == ST_OK ? ST_AGAIN : st;
}
