/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Superblocks and record headers, to bytes and back. What is read is checked
 * whole: a header whose checksum holds but whose fields contradict each other or
 * leave the log is no record either, so nothing behind this file needs to doubt
 * a struct record.
 */
#include <string.h>

#include "io/kvlog_internal.h"
#include "lib/crc32c.h"

/* Offsets in a superblock. */
enum {
	S_MAGIC = 0, S_VERSION = 8, S_UNIT = 12, S_ID = 16, S_GENERATION = 24, S_OPENS = 32, S_LOG_UNITS = 40,
	S_TAIL_AT = 44, S_TAIL_SEQ = 48, S_HEAD_AT = 56, S_HEAD_SEQ = 64, S_CRC = 508
};

/* Offsets in a record's header. */
enum {
	R_MAGIC = 0, R_CRC = 4, R_SEQ = 8, R_DURABLE = 16, R_OPENS = 24, R_VERSION = 32, R_SIZE = 40, R_PIECE = 48,
	R_LEN = 52, R_DATA_CRC = 56, R_TYPE = 60, R_FLAGS = 61, R_KEY_LEN = 62, R_ZERO = 63
};
_Static_assert(R_ZERO + 1 == RECORD_HEADER, "record header");
_Static_assert(RECORD_HEADER + KVLOG_KEY_MAX <= BLOCK_SECTOR_MIN, "header and key in what a cut does not tear");
_Static_assert(S_CRC + 4 == SUPER_BYTES, "superblock");

enum status kvlog_check_key(const char *key, struct error *err)
{
	size_t len = strlen(key), start = 0;

	if (len == 0)
		return fail(err, ST_INVALID, "a name in the store is not empty");
	if (len > KVLOG_KEY_MAX)
		return fail(err, ST_INVALID, "a name in the store has at most %u bytes", KVLOG_KEY_MAX);
	for (size_t i = 0; i <= len; i++) {
		if (i < len && key[i] != '/') {
			if (key[i] <= ' ' || key[i] > '~')
				return fail(err, ST_INVALID, "byte 0x%02x at %zu of a name: printable ASCII without blanks only",
					    (uint8_t)key[i], i);
			continue;
		}
		if (i == start || (i == start + 1 && key[start] == '.') ||
		    (i == start + 2 && key[start] == '.' && key[start + 1] == '.'))
			return fail(err, ST_INVALID, "'%s': an empty part, '.' or '..' has no place in a name", key);
		start = i + 1;
	}
	return ST_OK;
}

/* ---- superblocks ---- */

void super_encode(const struct super *s, uint8_t out[SUPER_BYTES])
{
	memset(out, 0, SUPER_BYTES);
	put_le64(out + S_MAGIC, SUPER_MAGIC);
	put_le32(out + S_VERSION, SUPER_VERSION);
	put_le32(out + S_UNIT, s->unit);
	put_le64(out + S_ID, s->id);
	put_le64(out + S_GENERATION, s->generation);
	put_le64(out + S_OPENS, s->opens);
	put_le32(out + S_LOG_UNITS, s->log_units);
	put_le32(out + S_TAIL_AT, s->tail_at);
	put_le64(out + S_TAIL_SEQ, s->tail_seq);
	put_le32(out + S_HEAD_AT, s->head_at);
	put_le64(out + S_HEAD_SEQ, s->head_seq);
	put_le32(out + S_CRC, crc32c(0, out, S_CRC));
}

bool is_blank(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

enum status super_decode(const uint8_t in[SUPER_BYTES], struct super *out)
{
	struct super s = {
		.id = get_le64(in + S_ID),
		.generation = get_le64(in + S_GENERATION),
		.opens = get_le64(in + S_OPENS),
		.unit = get_le32(in + S_UNIT),
		.log_units = get_le32(in + S_LOG_UNITS),
		.tail_at = get_le32(in + S_TAIL_AT),
		.head_at = get_le32(in + S_HEAD_AT),
		.tail_seq = get_le64(in + S_TAIL_SEQ),
		.head_seq = get_le64(in + S_HEAD_SEQ),
	};

	if (get_le64(in + S_MAGIC) != SUPER_MAGIC || get_le32(in + S_CRC) != crc32c(0, in, S_CRC))
		return ST_CORRUPT;
	if (get_le32(in + S_VERSION) != SUPER_VERSION)
		return ST_UNSUPPORTED;
	if (s.tail_at >= s.log_units || s.head_at >= s.log_units || s.tail_seq == 0 || s.head_seq < s.tail_seq ||
	    (s.tail_at == s.head_at) != (s.tail_seq == s.head_seq) ||
	    s.head_seq > UINT64_MAX / 2 || s.generation > UINT64_MAX / 2 || s.opens > UINT64_MAX / 2)
		return ST_CORRUPT;
	*out = s;
	return ST_OK;
}

/* ---- records ---- */

uint32_t seed_of(uint64_t id)
{
	uint8_t bytes[8];

	put_le64(bytes, id);
	return crc32c(0, bytes, sizeof bytes);
}

static uint32_t header_crc(const struct kvlog *kv, const uint8_t *in, size_t key_len)
{
	return crc32c(kv->seed, in + R_SEQ, RECORD_HEADER - R_SEQ + key_len);
}

uint32_t record_data_offset(const struct kvlog *kv, size_t key_len, uint32_t data_len)
{
	uint32_t behind = RECORD_HEADER + (uint32_t)key_len;

	return behind + data_len <= kv->unit ? behind : kv->unit;
}

uint32_t record_units_of(const struct kvlog *kv, const struct record *r)
{
	uint32_t offset;

	if (r->type == RECORD_PAD)
		return (uint32_t)r->size;
	if (r->lost)
		return 1;
	offset = record_data_offset(kv, strlen(r->key), r->len);
	return (uint32_t)((offset + r->len + kv->unit - 1) / kv->unit);
}

void record_encode(const struct kvlog *kv, const struct record *r, uint8_t *out)
{
	size_t key_len = strlen(r->key);
	uint32_t used = RECORD_HEADER + (uint32_t)key_len, offset = record_data_offset(kv, key_len, r->len);

	put_le32(out + R_MAGIC, RECORD_MAGIC);
	put_le64(out + R_SEQ, r->seq);
	put_le64(out + R_DURABLE, r->durable);
	put_le64(out + R_OPENS, r->opens);
	put_le64(out + R_VERSION, r->version);
	put_le64(out + R_SIZE, r->size);
	put_le32(out + R_PIECE, r->piece);
	put_le32(out + R_LEN, r->len);
	put_le32(out + R_DATA_CRC, r->crc);
	out[R_TYPE] = (uint8_t)r->type;
	out[R_FLAGS] = r->lost ? RECORD_LOST : 0;
	out[R_KEY_LEN] = (uint8_t)key_len;
	out[R_ZERO] = 0;
	memcpy(out + RECORD_HEADER, r->key, key_len);
	memset(out + used, 0, offset - used);
	put_le32(out + R_CRC, header_crc(kv, out, key_len));
}

/* What the fields of a record of its type must be. */
static bool fields_hold(const struct kvlog *kv, const struct record *r, uint32_t at)
{
	if (r->type == RECORD_PAD)
		return r->len == 0 && !r->lost && r->size >= 1 && r->size == kv->log_units - at;
	if (kvlog_check_key(r->key, NULL) != ST_OK || r->len > kv->piece_bytes)
		return false;
	if (record_units_of(kv, r) > kv->log_units - at)
		return false;
	switch (r->type) {
	case RECORD_PIECE:
		return r->version != 0 && r->len == kv->piece_bytes && r->size == 0 && !r->lost;
	case RECORD_COMMIT:
		return r->version != 0 && r->size == (uint64_t)r->piece * kv->piece_bytes + r->len;
	case RECORD_DELETE:
		return r->len == 0 && !r->lost;
	default:
		return false;
	}
}

bool record_decode(const struct kvlog *kv, const uint8_t *in, uint32_t at, struct record *out)
{
	size_t key_len = in[R_KEY_LEN];
	struct record r = {
		.type = (enum record_type)in[R_TYPE],
		.lost = in[R_FLAGS] & RECORD_LOST,
		.seq = get_le64(in + R_SEQ),
		.durable = get_le64(in + R_DURABLE),
		.opens = get_le64(in + R_OPENS),
		.version = get_le64(in + R_VERSION),
		.size = get_le64(in + R_SIZE),
		.piece = get_le32(in + R_PIECE),
		.len = get_le32(in + R_LEN),
		.crc = get_le32(in + R_DATA_CRC),
	};

	if (get_le32(in + R_MAGIC) != RECORD_MAGIC || key_len > KVLOG_KEY_MAX)
		return false;
	if (get_le32(in + R_CRC) != header_crc(kv, in, key_len) || r.durable > r.seq)
		return false;
	memcpy(r.key, in + RECORD_HEADER, key_len);
	if (strlen(r.key) != key_len || !fields_hold(kv, &r, at))
		return false;
	*out = r;
	return true;
}
