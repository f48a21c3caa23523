/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All requests to the device. Reads go through one window of a record's size:
 * what is checked is this copy, and what is used is this copy. A failed write or
 * flush leaves unknown what the device holds, and trying again would only hide
 * that (Rebello et al., "Can Applications Recover from fsync Failures?", ATC
 * 2020): the store takes no more writes until it is opened again.
 */
#include <string.h>

#include "io/kvlog_internal.h"
#include "lib/crc32c.h"
#include "lib/format.h"

#define READ_TRIES 2 /* a read that fails once must not end the log early */

void make_read_only(struct kvlog *kv, const char *why)
{
	if (!kv->writable)
		return;
	kv->writable = false;
	format(kv->why_not, sizeof kv->why_not, "%s", why);
}

enum status check_writable(const struct kvlog *kv, struct error *err)
{
	if (kv->writable)
		return ST_OK;
	return fail(err, ST_DENIED, "the store is read-only: %.180s", kv->why_not);
}

unsigned long long disk_sector(const struct kvlog *kv, uint32_t at)
{
	return kv->range.first + kv->log_first + at;
}

/* ---- reading ---- */

static enum status read_units(struct kvlog *kv, uint64_t lba, uint32_t units, uint8_t *out, struct error *err)
{
	enum status st = ST_IO;

	for (unsigned i = 0; i < READ_TRIES && st == ST_IO; i++) {
		kv->stats.reads++;
		kv->stats.read_bytes += (uint64_t)units * kv->unit;
		st = block_run(&kv->range, BLOCK_READ, lba, units, out, err);
	}
	return st;
}

enum status disk_window(struct kvlog *kv, uint32_t at, uint32_t need, uint32_t ahead, uint8_t **out, struct error *err)
{
	struct window *w = &kv->window;
	enum status st = ST_OK;

	if (at < w->at || at + need > w->at + w->units) {
		ahead = MIN(MIN(MAX(need, ahead), kv->record_units), kv->log_units - at);
		*w = (struct window){.bytes = w->bytes, .at = at, .good = NONE};
		st = read_units(kv, kv->log_first + at, ahead, w->bytes, err);
		/* A bad sector further on must not hide what is wanted. */
		if (st != ST_OK && ahead > need) {
			ahead = need;
			st = read_units(kv, kv->log_first + at, ahead, w->bytes, err);
		}
		w->units = st == ST_OK ? ahead : 0;
	}
	if (st == ST_OK)
		*out = w->bytes + (size_t)(at - w->at) * kv->unit;
	return st;
}

bool disk_header(struct kvlog *kv, uint32_t at, uint32_t ahead, struct record *out)
{
	uint8_t *p;

	return disk_window(kv, at, 1, ahead, &p, NULL) == ST_OK && record_decode(kv, p, at, out);
}

enum status disk_data(struct kvlog *kv, uint32_t at, const struct record *r, uint8_t **data, struct error *err)
{
	uint8_t *p;
	enum status st;

	if (r->lost)
		return fail(err, ST_CORRUPT, "its data could not be read when it was to be moved, and is lost");
	st = disk_window(kv, at, record_units_of(kv, r), 1, &p, err);
	if (st != ST_OK)
		return st;
	p += record_data_offset(kv, strlen(r->key), r->len);
	if (kv->window.good != at && crc32c(kv->seed, p, r->len) != r->crc)
		return fail(err, ST_CORRUPT, "the data at sector %llu of %s does not match its checksum",
			    disk_sector(kv, at), kv->range.device->name);
	kv->window.good = at;
	*data = p;
	return ST_OK;
}

/* ---- writing ---- */

static enum status write_units(struct kvlog *kv, uint64_t lba, uint32_t units, uint8_t *data, struct error *err)
{
	struct error why;
	enum status st;

	kv->window.units = 0;
	kv->window.good = NONE;
	kv->stats.writes++;
	kv->stats.written_bytes += (uint64_t)units * kv->unit;
	st = block_run(&kv->range, BLOCK_WRITE, lba, units, data, &why);
	if (st == ST_OK)
		return ST_OK;
	make_read_only(kv, why.text);
	return fail(err, ST_IO, "%s", why.text);
}

enum status disk_write(struct kvlog *kv, uint32_t at, uint32_t units, uint8_t *data, struct error *err)
{
	return write_units(kv, kv->log_first + at, units, data, err);
}

enum status disk_flush(struct kvlog *kv, struct error *err)
{
	struct error why;

	kv->stats.flushes++;
	if (block_run(&kv->range, BLOCK_FLUSH, 0, 0, NULL, &why) != ST_OK) {
		make_read_only(kv, why.text);
		return fail(err, ST_IO, "%s", why.text);
	}
	kv->durable_seq = kv->head_seq;
	return ST_OK;
}

/* ---- superblocks ---- */

static uint64_t super_lba(const struct kvlog *kv, unsigned slot)
{
	return (uint64_t)slot * SUPER_APART / kv->unit;
}

static enum status write_super(struct kvlog *kv, struct error *err)
{
	struct super s = kv->super;
	unsigned slot = ++s.generation % SUPER_COUNT;
	enum status st;

	s.tail_at = unit_of(kv, kv->tail);
	s.tail_seq = kv->tail_seq;
	s.head_at = unit_of(kv, kv->head);
	s.head_seq = kv->head_seq;
	memset(kv->sector, 0, kv->unit);
	super_encode(&s, kv->sector);
	st = write_units(kv, super_lba(kv, slot), 1, kv->sector, err);
	if (st == ST_OK)
		st = disk_flush(kv, err);
	if (st != ST_OK)
		return st;
	kv->super = s;
	kv->slot_tail[slot] = kv->tail;
	kv->mark = kv->head;
	return ST_OK;
}

enum status disk_publish(struct kvlog *kv, bool both, struct error *err)
{
	enum status st = disk_flush(kv, err);

	if (st == ST_OK)
		st = write_super(kv, err);
	if (st == ST_OK && both)
		st = write_super(kv, err);
	return st;
}

static enum status check_geometry(struct kvlog *kv, const struct super *s, struct error *err)
{
	if (s->unit != kv->unit)
		return fail(err, ST_UNSUPPORTED, "%s: the store was made for sectors of %u bytes, the device's have %u",
			    kv->range.device->name, s->unit, kv->unit);
	if (s->log_units > kv->log_units)
		return fail(err, ST_TRUNCATED, "%s: the store was made for %u sectors, the partition has room for %u",
			    kv->range.device->name, s->log_units, kv->log_units);
	if ((uint64_t)s->log_units * kv->unit < KVLOG_BYTES_MIN - LOG_START)
		return fail(err, ST_CORRUPT, "%s: a superblock says the log has only %u sectors", kv->range.device->name,
			    s->log_units);
	kv->super = *s;
	kv->log_units = s->log_units;
	kv->seed = seed_of(s->id);
	return ST_OK;
}

/* How one superblock was found. */
static enum status read_super(struct kvlog *kv, unsigned slot, struct super *out, bool *blank, struct error *err)
{
	enum status st = read_units(kv, super_lba(kv, slot), 1, kv->sector, err);

	*blank = false;
	if (st != ST_OK)
		return st;
	*blank = is_blank(kv->sector, kv->unit);
	return super_decode(kv->sector, out);
}

enum status disk_read_supers(struct kvlog *kv, struct error *err)
{
	const char *name = kv->range.device->name;
	struct super s[SUPER_COUNT];
	enum status st[SUPER_COUNT];
	bool blank[SUPER_COUNT];
	unsigned best;

	for (unsigned i = 0; i < SUPER_COUNT; i++) {
		st[i] = read_super(kv, i, &s[i], &blank[i], err);
		kv->stats.bad_superblocks += st[i] != ST_OK;
	}
	if (st[0] == ST_UNSUPPORTED || st[1] == ST_UNSUPPORTED)
		return fail(err, ST_UNSUPPORTED, "%s: the store has a later format than version %u", name, SUPER_VERSION);
	if (blank[0] && blank[1])
		return fail(err, ST_NOT_FOUND, "%s: there is no store yet, the partition is blank", name);
	if (st[0] == ST_IO && st[1] == ST_IO)
		return ST_IO;
	if (st[0] != ST_OK && st[1] != ST_OK)
		return fail(err, ST_CORRUPT, "%s: neither superblock, sectors %llu and %llu, is good", name,
			    (unsigned long long)(kv->range.first + super_lba(kv, 0)),
			    (unsigned long long)(kv->range.first + super_lba(kv, 1)));
	best = st[1] == ST_OK && (st[0] != ST_OK || s[1].generation > s[0].generation);
	return check_geometry(kv, &s[best], err);
}
