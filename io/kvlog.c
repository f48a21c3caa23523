/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's face: making and opening one, reading, and saying how it is. The
 * parts are in kvlog_format.c (bytes), kvlog_disk.c (requests), kvlog_index.c
 * (names), kvlog_scan.c (recovery), kvlog_write.c (appending) and kvlog_clean.c
 * (compaction).
 */
#include "io/kvlog.h"

#include <string.h>

#include "io/kvlog_internal.h"
#include "lib/arena.h"
#include "lib/format.h"

#define MEMORY_ALIGN 64u

/* ---- memory ---- */

static uint32_t units_in(const struct block_range *range)
{
	uint64_t bytes = MIN(range->count * range->device->sector_bytes, KVLOG_BYTES_MAX);

	return bytes < KVLOG_BYTES_MIN ? 0 : (uint32_t)((bytes - LOG_START) / range->device->sector_bytes);
}

/* Every piece in use takes a whole record of the log. */
static uint32_t pool_for(const struct block_range *range)
{
	return units_in(range) / (KVLOG_RECORD_BYTES / range->device->sector_bytes) + 1;
}

size_t kvlog_memory_bytes(const struct block_range *range)
{
	size_t parts = sizeof(struct kvlog) + KVLOG_KEYS_MAX * (sizeof(struct entry) + sizeof(uint16_t)) +
		       (KVLOG_PUTS_MAX + 2) * KVLOG_RECORD_BYTES + BLOCK_SECTOR_MAX;

	if (units_in(range) == 0)
		return 0;
	return align_up(parts + pool_for(range) * sizeof(struct piece) + 10 * MEMORY_ALIGN, MEMORY_ALIGN);
}

static enum status lay_out(const struct block_range *range, void *memory, size_t memory_bytes, struct kvlog **out,
			   struct error *err)
{
	uint32_t unit = range->device->sector_bytes;
	size_t needed = kvlog_memory_bytes(range);
	struct arena arena;
	struct kvlog *kv;

	if (needed == 0)
		return fail(err, ST_INVALID, "%s: %llu KiB are too little for a store, at least %u KiB are needed",
			    range->device->name, (unsigned long long)(range->count * unit) / 1024, KVLOG_BYTES_MIN / 1024);
	if (memory_bytes < needed)
		return fail(err, ST_NO_MEMORY, "%s: the store needs %zu bytes of memory, %zu are given",
			    range->device->name, needed, memory_bytes);
	arena_init(&arena, memory, memory_bytes);
	kv = arena_alloc(&arena, sizeof *kv, MEMORY_ALIGN);
	kv->entries = arena_alloc(&arena, KVLOG_KEYS_MAX * sizeof *kv->entries, MEMORY_ALIGN);
	kv->order = arena_alloc(&arena, KVLOG_KEYS_MAX * sizeof *kv->order, MEMORY_ALIGN);
	kv->pool_size = pool_for(range);
	kv->pool = arena_alloc(&arena, kv->pool_size * sizeof *kv->pool, MEMORY_ALIGN);
	kv->sector = arena_alloc(&arena, BLOCK_SECTOR_MAX, MEMORY_ALIGN);
	kv->window = (struct window){.bytes = arena_alloc(&arena, KVLOG_RECORD_BYTES, MEMORY_ALIGN), .good = NONE};
	for (unsigned i = 0; i < ARRAY_SIZE(kv->puts); i++)
		kv->puts[i] = (struct kvlog_put){.kv = kv, .stage = arena_alloc(&arena, KVLOG_RECORD_BYTES, MEMORY_ALIGN)};
	kv->range = *range;
	kv->unit = unit;
	kv->log_first = LOG_START / unit;
	kv->log_units = units_in(range);
	kv->record_units = KVLOG_RECORD_BYTES / unit;
	kv->piece_bytes = KVLOG_RECORD_BYTES - unit;
	index_init(kv);
	*out = kv;
	return ST_OK;
}

/* ---- making and opening ---- */

enum status kvlog_format(const struct block_range *range, uint64_t id, void *memory, size_t memory_bytes,
			 struct error *err)
{
	struct kvlog *kv;
	enum status st = lay_out(range, memory, memory_bytes, &kv, err);

	if (st != ST_OK)
		return st;
	/* Counts on from a store that is there: until both superblocks are new, the newer one holds. */
	if (disk_read_supers(kv, NULL) != ST_OK)
		kv->super = (struct super){0};
	kv->log_units = units_in(range);
	kv->super = (struct super){.id = id, .generation = kv->super.generation, .unit = kv->unit,
				   .log_units = kv->log_units};
	kv->writable = true;
	kv->tail_seq = kv->head_seq = 1;
	return disk_publish(kv, true, err);
}

/* From here on what an earlier life left behind the head is of an older opening, and no record of this one. */
static void begin_writing(struct kvlog *kv)
{
	struct error err;

	kv->writable = true;
	kv->super.opens++;
	/* A failure has made it read-only, with the reason. */
	(void)(disk_publish(kv, true, &err) == ST_OK);
}

enum status kvlog_open(const struct block_range *range, bool read_only, void *memory, size_t memory_bytes,
		       struct kvlog **out, struct error *err)
{
	struct kvlog *kv;
	enum status st = lay_out(range, memory, memory_bytes, &kv, err);

	if (st == ST_OK)
		st = disk_read_supers(kv, err);
	if (st != ST_OK)
		return st;
	kv->tail_seq = kv->super.tail_seq;
	kv->mark = distance(kv, kv->super.tail_at, kv->super.head_at);
	/* Counted from where the tail lies, so that a number modulo the log is a place. */
	kv->tail = kv->slot_tail[0] = kv->slot_tail[1] = kv->super.tail_at;
	kv->mark += kv->tail;
	kv->writable = true; /* so that the scan can say why not */
	scan_log(kv);
	kv->durable_seq = kv->head_seq;
	if (range->device->read_only)
		make_read_only(kv, "the device is read-only");
	if (read_only)
		make_read_only(kv, "it was opened for reading");
	if (kv->writable)
		begin_writing(kv);
	*out = kv;
	return ST_OK;
}

/* ---- reading ---- */

static enum status find(const struct kvlog *kv, const char *key, const struct entry **out, struct error *err)
{
	enum status st = kvlog_check_key(key, err);

	if (st != ST_OK)
		return st;
	*out = index_find(kv, key);
	return *out ? ST_OK : fail(err, ST_NOT_FOUND, "there is no '%s' in the store", key);
}

static void fill_info(const struct entry *e, struct kvlog_info *out)
{
	memcpy(out->key, e->key, sizeof out->key);
	out->size = e->size;
	out->version = e->version;
}

enum status kvlog_stat(const struct kvlog *kv, const char *key, struct kvlog_info *out, struct error *err)
{
	const struct entry *e;
	enum status st = find(kv, key, &e, err);

	if (st == ST_OK)
		fill_info(e, out);
	return st;
}

/* The record at @at is piece @n of @e, or its commit. */
static bool belongs(const struct entry *e, const struct record *r, uint32_t n)
{
	return r->version == e->version && r->piece == n && strcmp(r->key, e->key) == 0 &&
	       r->type == (n == e->pieces ? RECORD_COMMIT : RECORD_PIECE);
}

/* The checked data of piece @n of @e; the commit's comes last. */
static enum status load_piece(struct kvlog *kv, struct entry *e, uint32_t n, uint8_t **data, uint32_t *len,
			      struct error *err)
{
	uint32_t tail = (uint32_t)(e->size - (uint64_t)e->pieces * kv->piece_bytes);
	const struct piece *p = n < e->pieces ? chain_at(kv, e->first, n) : NULL;
	uint32_t at = n == e->pieces ? e->at : p ? p->at : NONE;
	uint32_t bytes = n == e->pieces ? tail : kv->piece_bytes;
	struct record r;

	if (at == NONE)
		return fail(err, ST_CORRUPT, "it is lost");
	/* With the length that it must have: one request brings header and data. */
	if (!disk_header(kv, at, (2 * kv->unit + bytes - 1) / kv->unit, &r) || !belongs(e, &r, n))
		return fail(err, ST_CORRUPT, "the record at sector %llu of %s is damaged or cannot be read",
			    disk_sector(kv, at), kv->range.device->name);
	*len = r.len;
	return disk_data(kv, at, &r, data, err);
}

static enum status read_some(struct kvlog *kv, struct entry *e, uint64_t offset, uint8_t *buf, size_t len, size_t *got,
			     struct error *err)
{
	uint32_t n = (uint32_t)MIN(offset / kv->piece_bytes, (uint64_t)e->pieces), bytes = 0;
	uint32_t skip = (uint32_t)(offset - (uint64_t)n * kv->piece_bytes);
	struct error why;
	uint8_t *data;
	enum status st = load_piece(kv, e, n, &data, &bytes, &why);

	if (st != ST_OK) {
		e->damaged = true;
		return fail(err, st, "'%s': the part from byte %llu on cannot be read: %.120s", e->key,
			    (unsigned long long)n * kv->piece_bytes, why.text);
	}
	*got = MIN(len, (size_t)(bytes - skip));
	memcpy(buf, data + skip, *got);
	return ST_OK;
}

enum status kvlog_read(struct kvlog *kv, const char *key, uint64_t version, uint64_t offset, void *buf, size_t len,
		       size_t *got, struct error *err)
{
	const struct entry *found;
	enum status st = find(kv, key, &found, err);
	struct entry *e = st == ST_OK ? &kv->entries[found - kv->entries] : NULL;
	size_t done = 0, some;

	if (st != ST_OK)
		return st;
	if (version != 0 && e->version != version)
		return fail(err, ST_NOT_FOUND, "'%s' has been replaced by another content", key);
	if (offset > e->size)
		return fail(err, ST_INVALID, "'%s' has %llu bytes, none at %llu", key, (unsigned long long)e->size,
			    (unsigned long long)offset);
	len = (size_t)MIN((uint64_t)len, e->size - offset);
	for (; done < len; done += some) {
		st = read_some(kv, e, offset + done, (uint8_t *)buf + done, len - done, &some, err);
		if (st != ST_OK)
			return st;
	}
	*got = done;
	return ST_OK;
}

enum status kvlog_next(const struct kvlog *kv, const char *prefix, const char *after, struct kvlog_info *out)
{
	bool exact, from_after = strcmp(after, prefix) >= 0 && *after;
	uint32_t place = index_lower(kv, from_after ? after : prefix, &exact);
	const struct entry *e;

	if (exact && from_after)
		place++;
	if (place >= kv->keys)
		return ST_NOT_FOUND;
	e = &kv->entries[kv->order[place]];
	if (strncmp(e->key, prefix, strlen(prefix)) != 0)
		return ST_NOT_FOUND;
	fill_info(e, out);
	return ST_OK;
}

/* ---- state ---- */

void kvlog_stats(const struct kvlog *kv, struct kvlog_stats *out)
{
	uint64_t used = kv->head - kv->tail;

	*out = kv->stats;
	out->writable = kv->writable;
	format(out->why_not, sizeof out->why_not, "%s", kv->writable ? "" : kv->why_not);
	out->id = kv->super.id;
	out->generation = kv->super.generation;
	out->opens = kv->super.opens;
	out->size_bytes = capacity_units(kv) * kv->unit;
	out->used_bytes = kv->live * kv->unit;
	out->free_bytes = out->size_bytes - MIN(out->used_bytes, out->size_bytes);
	out->garbage_bytes = (used - MIN(kv->live, used)) * kv->unit;
	out->keys = kv->keys;
	out->keys_max = KVLOG_KEYS_MAX;
	out->streams = out->damaged_keys = 0;
	for (unsigned i = 0; i < KVLOG_PUTS_MAX; i++)
		out->streams += kv->puts[i].open;
	for (uint32_t i = 0; i < kv->keys; i++)
		out->damaged_keys += kv->entries[kv->order[i]].damaged;
}

bool kvlog_is_writable(const struct kvlog *kv) { return kv->writable; }

static bool in_log(const struct kvlog *kv, uint32_t at)
{
	return at == NONE || (at < kv->log_units && distance(kv, unit_of(kv, kv->tail), at) < kv->head - kv->tail);
}

static bool check_entry(const struct kvlog *kv, const struct entry *e, uint32_t *pieces, struct error *err)
{
	uint32_t n = 0;

	for (uint32_t i = e->first; i != NONE; i = kv->pool[i].next, n++) {
		if (n > kv->pool_size || !in_log(kv, kv->pool[i].at)) {
			fail(err, ST_CORRUPT, "store: '%s': piece %u lies outside the log", e->key, n);
			return false;
		}
	}
	*pieces += n;
	if (in_log(kv, e->at) && (n == e->pieces || e->damaged))
		return true;
	fail(err, ST_CORRUPT, "store: '%s': its commit lies outside the log, or it has %u pieces and not %u", e->key, n,
	     e->pieces);
	return false;
}

static bool check_order(const struct kvlog *kv, uint32_t i, struct error *err)
{
	if (i == 0 || strcmp(kv->entries[kv->order[i - 1]].key, kv->entries[kv->order[i]].key) < 0)
		return true;
	fail(err, ST_CORRUPT, "store: '%s' is not in its place", kv->entries[kv->order[i]].key);
	return false;
}

static bool check_sums(const struct kvlog *kv, uint64_t live, uint32_t pieces, struct error *err)
{
	uint64_t space = kv->head - safe_tail(kv);

	for (unsigned i = 0; i < ARRAY_SIZE(kv->puts); i++) {
		if (!kv->puts[i].open)
			continue;
		live += (uint64_t)kv->puts[i].pieces * kv->record_units;
		for (uint32_t p = kv->puts[i].first; p != NONE; p = kv->pool[p].next)
			pieces++;
	}
	for (uint32_t p = kv->pool_free; p != NONE; p = kv->pool[p].next)
		pieces++;
	if (live == kv->live && pieces == kv->pool_size && safe_tail(kv) <= kv->tail && kv->tail <= kv->head &&
	    kv->durable_seq <= kv->head_seq && space < kv->log_units)
		return true;
	fail(err, ST_CORRUPT, "store: %llu units in use and not %llu, %u pieces of %u, %llu of %u units written",
	     (unsigned long long)kv->live, (unsigned long long)live, pieces, kv->pool_size, (unsigned long long)space,
	     kv->log_units);
	return false;
}

bool kvlog_check(const struct kvlog *kv, struct error *err)
{
	uint64_t live = 0;
	uint32_t pieces = 0;

	for (uint32_t i = 0; i < kv->keys; i++) {
		const struct entry *e = &kv->entries[kv->order[i]];

		if (!check_order(kv, i, err) || !check_entry(kv, e, &pieces, err))
			return false;
		live += entry_units(kv, e);
	}
	return check_sums(kv, live, pieces, err);
}
