/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CBOR (RFC 8949): a bounded codec that allocates nothing. The writer emits
 * only the preferred, definite-length serialisation (section 4.2.1 but for key
 * order, which the caller chooses). The reader takes any well-formed item of
 * bounded depth, indefinite-length arrays and maps included, because some SMP
 * clients send them; strings in chunks are refused.
 *
 * Reading has two steps: cbor_check() once over the outside bytes, then struct
 * cbor_value handles into them. The accessors stay inside the buffer whatever
 * it holds, and answer false for a value of another type.
 *
 * Shared with tools/: depends on nothing but lib/bits.h and lib/status.h.
 */
#ifndef CORBEL_LUA_CBOR_H
#define CORBEL_LUA_CBOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/status.h"

#define CBOR_DEPTH_MAX 16 /* nested arrays, maps and tags */

enum cbor_type {
	CBOR_UINT,
	CBOR_NEGATIVE,
	CBOR_BYTES,
	CBOR_TEXT,
	CBOR_ARRAY,
	CBOR_MAP,
	CBOR_TAG,
	CBOR_BOOL,
	CBOR_NULL,
	CBOR_UNDEFINED,
	CBOR_FLOAT,
	CBOR_SIMPLE,  /* an unassigned simple value */
	CBOR_INVALID, /* not a readable item */
};

/* "integer", "text", ...: for error sentences; static storage. */
const char *cbor_type_name(enum cbor_type type);

/* ---- writing ---- */

struct cbor_writer {
	uint8_t *buf;       /* the caller's */
	size_t size, len;   /* len <= size */
	bool overflow;      /* something did not fit; the content is then useless */
	uint32_t items;     /* finished in the container that is open */
};

/* Where a container was opened; hand it back to close. */
struct cbor_mark {
	size_t at;
	uint32_t items;
};

void cbor_writer_init(struct cbor_writer *w, void *buf, size_t size);

void cbor_put_uint(struct cbor_writer *w, uint64_t v);
void cbor_put_int(struct cbor_writer *w, int64_t v);
void cbor_put_bool(struct cbor_writer *w, bool v);
void cbor_put_null(struct cbor_writer *w);
/* The shortest of the three float sizes that keeps the value. */
void cbor_put_float(struct cbor_writer *w, double v);
/* @text is UTF-8 by the caller's promise. */
void cbor_put_text(struct cbor_writer *w, const char *text);
void cbor_put_text_n(struct cbor_writer *w, const char *text, size_t len);
void cbor_put_bytes(struct cbor_writer *w, const void *data, size_t len);

/* A literal as a text, a map's key mostly: its length is known to the compiler, and its bytes are plain stores. */
static inline void cbor_put_key(struct cbor_writer *w, const char *key)
{
	size_t len = __builtin_strlen(key);

	if (!__builtin_constant_p(len) || len >= 24 || w->size - w->len <= len) {
		cbor_put_text(w, key);
		return;
	}
	w->buf[w->len] = (uint8_t)(3u << 5 | len); /* major type 3 with a short length */
	__builtin_memcpy(w->buf + w->len + 1, key, len);
	w->len += len + 1;
	w->items++;
}

/* Tags the item that is put next. */
void cbor_put_tag(struct cbor_writer *w, uint64_t tag);
/* Puts one finished item. */
void cbor_put_raw(struct cbor_writer *w, const void *item, size_t len);

/*
 * A container is opened, filled, and closed as what it is: the header is then
 * put before its content, so that nobody has to count ahead.
 */
struct cbor_mark cbor_open(struct cbor_writer *w);
void cbor_close_array(struct cbor_writer *w, struct cbor_mark mark);
/* An even number of items (key, value, ...) was put; else the writer is marked overflowed. */
void cbor_close_map(struct cbor_writer *w, struct cbor_mark mark);

/* Takes everything back that was put since @mark_len and @mark_items were the writer's. */
struct cbor_checkpoint {
	size_t len;
	uint32_t items;
	bool overflow;
};
struct cbor_checkpoint cbor_save(const struct cbor_writer *w);
void cbor_restore(struct cbor_writer *w, struct cbor_checkpoint cp);

/* ---- reading ---- */

struct cbor_value {
	const uint8_t *at, *end; /* the item starts at @at; @end is the buffer's */
};

struct cbor_iter {
	const uint8_t *at, *end;
	uint64_t left;   /* items still to come when not indefinite */
	bool indefinite;
};

/*
 * Checks that @data starts with one well-formed item: complete, UTF-8 text,
 * nested at most CBOR_DEPTH_MAX deep, maps of whole pairs. *used is its length.
 * ST_TRUNCATED, ST_CORRUPT, ST_OVER_LIMIT (depth), ST_UNSUPPORTED (chunked string).
 */
MUST_CHECK enum status cbor_check(const void *data, size_t len, size_t *used);

/* True when the bytes are UTF-8 (RFC 3629), as a text string must be. */
bool cbor_utf8_valid(const void *text, size_t len);

/* A handle on checked bytes. */
static inline struct cbor_value cbor_root(const void *data, size_t len)
{
	return (struct cbor_value){.at = data, .end = (const uint8_t *)data + len};
}

enum cbor_type cbor_type_of(struct cbor_value v);
bool cbor_get_uint(struct cbor_value v, uint64_t *out);
/* False also for an integer outside int64_t. */
bool cbor_get_int(struct cbor_value v, int64_t *out);
bool cbor_get_bool(struct cbor_value v, bool *out);
/* Floats of all sizes; an integer is not a float. */
bool cbor_get_float(struct cbor_value v, double *out);
/* *out points into the buffer and is not NUL-terminated. */
bool cbor_get_text(struct cbor_value v, const char **out, size_t *len);
bool cbor_get_bytes(struct cbor_value v, const uint8_t **out, size_t *len);
bool cbor_get_tag(struct cbor_value v, uint64_t *tag, struct cbor_value *content);
/* True when @v is the text @text. */
bool cbor_is_text(struct cbor_value v, const char *text);

/* Start on an array or on a map; false for another type. */
bool cbor_iterate(struct cbor_value v, struct cbor_iter *it);
/* The next element of an array; false at the end. */
bool cbor_next(struct cbor_iter *it, struct cbor_value *out);
/* The next pair of a map; false at the end. */
bool cbor_next_pair(struct cbor_iter *it, struct cbor_value *key, struct cbor_value *value);
/* The value of text key @key in map @map; false when there is none. */
bool cbor_find(struct cbor_value map, const char *key, struct cbor_value *out);
/* Elements of an array or pairs of a map, 0 for another type. */
size_t cbor_count(struct cbor_value v);

#endif
