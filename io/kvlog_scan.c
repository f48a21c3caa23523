/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in the log, found by walking it from the tail: record after record, each with
 * the number after the last one's. The walk is made twice, for a piece that
 * compaction moved may lie behind the commit that it belongs to: first names, then
 * pieces.
 *
 * Where a record is not the expected one, either the log ends there or it is
 * damaged. Before the mark of the superblock everything was durable, so it is
 * damage. Behind it a power cut may have left anything, any later write included;
 * but each record says which ones before it were durable when it was written, and a
 * later record that counts the missing one among them is proof of damage. What
 * comes behind the end without such a proof was never acknowledged.
 */
#include <string.h>

#include "io/kvlog_internal.h"
#include "lib/checked.h"

#define PROOF_BYTES (8u * KVLOG_RECORD_BYTES) /* how far behind a bad record is looked for a proof */
#define HEADER_AHEAD 8192u         /* bytes read at a time where only headers are wanted */

typedef void (*visit_fn)(struct kvlog *kv, const struct record *r, uint32_t at);

static bool header_at(struct kvlog *kv, uint64_t position, struct record *out)
{
	return disk_header(kv, unit_of(kv, position), HEADER_AHEAD / kv->unit, out);
}

uint64_t scan_resync(struct kvlog *kv, uint64_t from, uint64_t seq, uint64_t end, uint64_t end_seq, uint64_t *found_seq)
{
	struct record r;

	for (uint64_t p = from + 1; p < end; p++) {
		if (!header_at(kv, p, &r) || r.seq <= seq || r.seq >= end_seq)
			continue;
		if (end_seq - r.seq <= end - p && record_units_of(kv, &r) <= end - p) {
			*found_seq = r.seq;
			return p;
		}
	}
	*found_seq = end_seq;
	return end;
}

/* Behind the mark: where the log goes on behind a bad record at @from that was durable; @from when nothing proves that. */
static uint64_t find_proof(struct kvlog *kv, uint64_t from, uint64_t seq, uint64_t limit, uint64_t *found_seq)
{
	uint64_t first = from, first_seq = 0, unproved = 0, last = MIN(limit, from + PROOF_BYTES / kv->unit);
	struct record r;

	for (uint64_t p = from + 1; p < last; p++) {
		if (!header_at(kv, p, &r) || r.opens != kv->super.opens || r.seq <= seq)
			continue;
		if (first == from) {
			first = p;
			first_seq = r.seq;
		}
		if (r.durable > seq) {
			*found_seq = first_seq;
			return first;
		}
		unproved++;
	}
	kv->stats.unfinished = unproved; /* unless the log goes on after all, this is the last word */
	return from;
}

static bool data_good(struct kvlog *kv, uint64_t position, const struct record *r)
{
	uint8_t *data;

	return r->type == RECORD_PAD || r->type == RECORD_DELETE || r->lost ||
	       disk_data(kv, unit_of(kv, position), r, &data, NULL) == ST_OK;
}

/* True when the record at @at is the one with number @seq, and whole where only that makes it one. */
static bool expected(struct kvlog *kv, uint64_t at, uint64_t seq, uint64_t limit, struct record *r)
{
	uint64_t ignored;

	if (!header_at(kv, at, r) || r->seq != seq || record_units_of(kv, r) > limit - at)
		return false;
	if (at < kv->mark)
		return r->opens <= kv->super.opens;
	if (r->opens != kv->super.opens)
		return false;
	/* Durable and yet bad: it keeps its place, and whoever reads it is told. */
	return data_good(kv, at, r) || find_proof(kv, at, seq, limit, &ignored) != at;
}

/* Calls @visit for each record; returns the head and leaves its number in *seq. */
static uint64_t walk(struct kvlog *kv, visit_fn visit, uint64_t *seq, uint64_t *damaged)
{
	uint64_t at = kv->tail, limit = kv->tail + kv->log_units - 1, next;
	struct record r;

	*seq = kv->tail_seq;
	*damaged = 0;
	while (at < limit) {
		if (expected(kv, at, *seq, limit, &r)) {
			visit(kv, &r, unit_of(kv, at));
			at += record_units_of(kv, &r);
			++*seq;
			continue;
		}
		if (at < kv->mark)
			next = scan_resync(kv, at, *seq, kv->mark, kv->super.head_seq, seq);
		else
			next = find_proof(kv, at, *seq, limit, seq);
		if (next == at)
			break;
		*damaged += next - at;
		at = next;
	}
	return at;
}

/* ---- what is found ---- */

static void take_commit(struct kvlog *kv, const struct record *r, uint32_t at)
{
	struct entry *e = index_find(kv, r->key);

	if (!e)
		e = index_add(kv, r->key);
	if (!e) {
		make_read_only(kv, "it has more names than this version can hold");
		return;
	}
	e->version = r->version;
	e->size = r->size;
	e->pieces = r->piece;
	e->at = at;
	e->damaged = r->lost;
}

static void visit_names(struct kvlog *kv, const struct record *r, uint32_t at)
{
	struct entry *e;

	if (r->type == RECORD_COMMIT)
		take_commit(kv, r, at);
	if (r->type != RECORD_DELETE)
		return;
	e = index_find(kv, r->key);
	if (e)
		index_remove(kv, e);
}

static void visit_pieces(struct kvlog *kv, const struct record *r, uint32_t at)
{
	struct entry *e = r->type == RECORD_PIECE ? index_find(kv, r->key) : NULL;
	struct piece *p;

	if (!e || e->version != r->version || r->piece >= e->pieces)
		return;
	p = chain_at(kv, e->first, r->piece);
	if (p)
		p->at = at;
}

/* A chain of unknown places for each blob; shorter than it should be when an image lies about sizes. */
static void make_chains(struct kvlog *kv)
{
	for (uint32_t i = 0; i < kv->keys; i++) {
		struct entry *e = &kv->entries[kv->order[i]];
		uint32_t last = NONE;

		for (uint32_t n = 0; n < e->pieces && chain_add(kv, &e->first, &last, NONE); n++)
			;
	}
}

static bool chain_whole(const struct kvlog *kv, const struct entry *e)
{
	uint32_t n = 0;

	for (uint32_t i = e->first; i != NONE; i = kv->pool[i].next, n++)
		if (kv->pool[i].at == NONE)
			return false;
	return n == e->pieces;
}

void scan_log(struct kvlog *kv)
{
	uint64_t damaged, ignored;

	index_init(kv);
	kv->head = walk(kv, visit_names, &kv->head_seq, &damaged);
	kv->stats.damaged_bytes += damaged * kv->unit;
	make_chains(kv);
	(void)walk(kv, visit_pieces, &ignored, &damaged);
	for (uint32_t i = 0; i < kv->keys; i++) {
		struct entry *e = &kv->entries[kv->order[i]];

		e->damaged |= !chain_whole(kv, e);
		kv->live += entry_units(kv, e);
	}
}
