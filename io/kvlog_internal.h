/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the writable store share: the format of superblocks and
 * records (docs/store.md), the state in memory, and each file's part. For
 * io/kvlog*.c alone.
 *
 * Positions: a *unit* is one sector of the device. Units of the log are counted
 * without end (tail, head: the ring's laps included); where a unit lies is that
 * number modulo the log's length.
 */
#ifndef CORBEL_IO_KVLOG_INTERNAL_H
#define CORBEL_IO_KVLOG_INTERNAL_H

#include "io/kvlog.h"
#include "lib/bits.h"

/* ---- on the device, little-endian; docs/store.md ---- */

#define SUPER_MAGIC 0x4c41564b4c425243ull /* "CRBLKVAL" */
#define SUPER_VERSION 1u
#define SUPER_BYTES 512u
#define SUPER_COUNT 2u
#define SUPER_APART 4096u  /* bytes between the two: no bad sector of 4 KiB takes both */
#define LOG_START 8192u    /* bytes: where the log begins */

#define RECORD_MAGIC 0x3152564bu /* "KVR1" */
#define RECORD_HEADER 64u

enum record_type { RECORD_PIECE = 1, RECORD_COMMIT, RECORD_DELETE, RECORD_PAD };

#define RECORD_LOST BIT(0) /* flag of a COMMIT: its data could not be read when it was to be moved; none is here */

struct super {
	uint64_t id, generation, opens;
	uint32_t unit, log_units;
	uint32_t tail_at, head_at; /* units from the log's start */
	uint64_t tail_seq;         /* of the record at the tail */
	uint64_t head_seq;         /* all records before this one were durable when this was written */
};

struct record {
	enum record_type type;
	bool lost;
	uint64_t seq;     /* counts records, copies too; gap-free along the log */
	uint64_t durable; /* all records before this one were durable when this was written */
	uint64_t opens;   /* of the store, when written */
	uint64_t version; /* of the content: pieces and commit that belong together carry the same */
	uint64_t size;    /* COMMIT: bytes of the blob; PAD: units */
	uint32_t piece;   /* PIECE: its number; COMMIT: how many pieces come before its data */
	uint32_t len;     /* bytes of data */
	uint32_t crc;     /* of the data */
	char key[KVLOG_KEY_MAX + 1];
};

/* ---- in memory ---- */

#define NONE UINT32_MAX
#define SINGLE KVLOG_PUTS_MAX /* the put that kvlog_put() uses */

struct piece {
	uint32_t at;   /* unit, NONE: lost */
	uint32_t next; /* index, NONE: the last */
};

struct entry {
	char key[KVLOG_KEY_MAX + 1];
	uint64_t version, size;
	uint32_t at;     /* of the COMMIT */
	uint32_t pieces; /* that come before its data */
	uint32_t first;  /* the chain of pieces */
	bool damaged;
};

struct kvlog_put {
	struct kvlog *kv;
	bool open;
	bool lost;              /* a piece of it could not be read when it was to be moved */
	char key[KVLOG_KEY_MAX + 1];
	uint64_t version, size; /* size: bytes appended */
	uint32_t pieces, first, last;
	uint32_t staged;        /* bytes of data in the stage */
	uint8_t *stage;         /* a record's worth: room for the header, then data */
};

struct window {
	uint8_t *bytes;
	uint32_t at, units; /* what it holds; units 0: nothing */
	uint32_t good;      /* unit of the record whose data was checked, NONE: none */
};

struct kvlog {
	struct block_range range;
	uint32_t unit;         /* bytes */
	uint32_t log_units, log_first; /* log_first: unit of the range */
	uint32_t record_units; /* of the largest record */
	uint32_t piece_bytes;  /* data of a full record */
	uint32_t seed;         /* of every checksum: made from the id */
	bool writable;
	char why_not[ERROR_TEXT_MAX];

	struct super super;    /* as last written or read */
	uint64_t slot_tail[SUPER_COUNT]; /* tail that each superblock says */
	uint64_t mark;         /* head as the newest superblock says */
	uint64_t tail, tail_seq;
	uint64_t head, head_seq;
	uint64_t durable_seq;

	struct entry *entries;     /* KVLOG_KEYS_MAX */
	uint16_t *order;           /* entries in use by name, then the free ones */
	uint32_t keys;
	struct piece *pool;
	uint32_t pool_size, pool_free; /* pool_free: chain of free ones */
	struct {
		uint32_t first, n, index;
	} cursor;              /* of the chain walked last; first NONE: none */
	uint64_t live;             /* units that what is in the index takes */

	struct kvlog_put puts[KVLOG_PUTS_MAX + 1];
	struct window window;
	uint8_t *sector;           /* BLOCK_SECTOR_MAX bytes: superblocks, records without data */
	bool cleaning;             /* kvlog_step() is at work */
	uint32_t version_count;    /* versions given since opened */
	struct kvlog_stats stats;  /* its counters */
};

static inline uint32_t unit_of(const struct kvlog *kv, uint64_t position)
{
	return (uint32_t)(position % kv->log_units);
}

/* Units between @from and @to going forward. */
static inline uint32_t distance(const struct kvlog *kv, uint32_t from, uint32_t to)
{
	return to >= from ? to - from : kv->log_units - from + to;
}

/* The tail that both superblocks have passed: what lies before it may be overwritten. */
static inline uint64_t safe_tail(const struct kvlog *kv)
{
	return MIN(kv->slot_tail[0], kv->slot_tail[1]);
}

static inline uint64_t free_units(const struct kvlog *kv)
{
	return kv->log_units - (kv->head - safe_tail(kv));
}

/* Units that blobs may take: the rest is for compaction to breathe. */
static inline uint64_t capacity_units(const struct kvlog *kv)
{
	return kv->log_units / 4ull * 3;
}

/* ---- kvlog_format.c ---- */

void super_encode(const struct super *s, uint8_t out[SUPER_BYTES]);
/* ST_CORRUPT, ST_UNSUPPORTED: a later version. */
enum status super_decode(const uint8_t in[SUPER_BYTES], struct super *out) MUST_CHECK;
bool is_blank(const uint8_t *p, size_t len);

uint32_t seed_of(uint64_t id);
/* Writes header and key of @r to the start of a record's first unit and clears the rest of it up to the data. */
void record_encode(const struct kvlog *kv, const struct record *r, uint8_t *out);
/* False: what is at @at is no record of this store. */
bool record_decode(const struct kvlog *kv, const uint8_t *in, uint32_t at, struct record *out);
/* Where the data of a record begins: behind the key, or in its second unit. */
uint32_t record_data_offset(const struct kvlog *kv, size_t key_len, uint32_t data_len);
uint32_t record_units_of(const struct kvlog *kv, const struct record *r);

/* ---- kvlog_index.c ---- */

void index_init(struct kvlog *kv);
/* NULL when there is none. */
struct entry *index_find(const struct kvlog *kv, const char *key);
/* The place of the first name not below @key; *exact says that it is that one. */
uint32_t index_lower(const struct kvlog *kv, const char *key, bool *exact);
/* A new entry called @key, which is not there yet; NULL when there are KVLOG_KEYS_MAX. */
struct entry *index_add(struct kvlog *kv, const char *key);
/* Drops @e and its pieces. */
void index_remove(struct kvlog *kv, struct entry *e);
/* Units that the records of @e take when they are whole. */
uint64_t entry_units(const struct kvlog *kv, const struct entry *e);
/* A piece at @at, behind @*last in the chain at @*first; false when the pool is empty. */
bool chain_add(struct kvlog *kv, uint32_t *first, uint32_t *last, uint32_t at);
void chain_free(struct kvlog *kv, uint32_t first);
/* The @n-th piece of the chain, NULL when it is shorter. */
struct piece *chain_at(struct kvlog *kv, uint32_t first, uint32_t n);

/* ---- kvlog_disk.c ---- */

/*
 * The unit at @at with @need - 1 more behind it in memory, reading up to @ahead with one request; the
 * pointer is good until the next call.
 */
enum status disk_window(struct kvlog *kv, uint32_t at, uint32_t need, uint32_t ahead, uint8_t **out,
			struct error *err) MUST_CHECK;
/* Both make the store read-only when they fail. */
enum status disk_write(struct kvlog *kv, uint32_t at, uint32_t units, uint8_t *data, struct error *err) MUST_CHECK;
enum status disk_flush(struct kvlog *kv, struct error *err) MUST_CHECK;
/* Makes all durable, then writes tail and head into the older superblock, or with @both into one after the other. */
enum status disk_publish(struct kvlog *kv, bool both, struct error *err) MUST_CHECK;
/* Reads both superblocks and takes the newer. Statuses of kvlog_open(). */
enum status disk_read_supers(struct kvlog *kv, struct error *err) MUST_CHECK;
void make_read_only(struct kvlog *kv, const char *why);
enum status check_writable(const struct kvlog *kv, struct error *err) MUST_CHECK;

/* The header of the record at @at, reading up to @ahead units; false when none can be read there. */
bool disk_header(struct kvlog *kv, uint32_t at, uint32_t ahead, struct record *out);
/*
 * The data of record @r at @at, checked; *data points into the window. ST_CORRUPT, ST_IO: a sentence that
 * names the sector, for the caller to say whose it is.
 */
enum status disk_data(struct kvlog *kv, uint32_t at, const struct record *r, uint8_t **data,
		      struct error *err) MUST_CHECK;
/* Sector of the device where the log's unit @at lies, for sentences. */
unsigned long long disk_sector(const struct kvlog *kv, uint32_t at);

/* ---- kvlog_scan.c ---- */

/* Fills the index from the log and finds the head. */
void scan_log(struct kvlog *kv);
/*
 * The next record behind a damaged place at @from, where @seq was expected, and before @end, where
 * @end_seq comes; @end itself when there is none. *found_seq is its number.
 */
uint64_t scan_resync(struct kvlog *kv, uint64_t from, uint64_t seq, uint64_t end, uint64_t end_seq, uint64_t *found_seq);

/* ---- kvlog_write.c ---- */

/*
 * Appends @r, whose data, if any, stands in @buf where it belongs and whose crc is set; sets seq, durable
 * and opens. *at: where it went. The room is there.
 */
enum status log_append(struct kvlog *kv, struct record *r, uint8_t *buf, uint32_t *at, struct error *err) MUST_CHECK;

/* ---- kvlog_clean.c ---- */

/* Wins room until a record of @units can be appended, and what compaction needs stays free. */
enum status log_room(struct kvlog *kv, uint32_t units, struct error *err) MUST_CHECK;

#endif
