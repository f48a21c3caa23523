/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer of the CBOR codec: shortest heads, definite lengths.
 *
 * A container's header depends on its count, which is known last: it is put by
 * moving the content up by the header's few bytes. Replies are some KiB, so the
 * move costs less than counting everything twice would cost in code.
 */
#include <string.h>

#include "lib/bits.h"
#include "lua/cbor_head.h"

void cbor_writer_init(struct cbor_writer *w, void *buf, size_t size)
{
	*w = (struct cbor_writer){.buf = buf, .size = size};
}

/* From now on there is no room for anything, so that only room has to be looked at. */
static void overflow(struct cbor_writer *w)
{
	w->overflow = true;
	w->len = w->size;
}

static inline void append(struct cbor_writer *w, const void *data, size_t len)
{
	if (unlikely(len > w->size - w->len)) {
		overflow(w);
		return;
	}
	memcpy(w->buf + w->len, data, len);
	w->len += len;
}

/* Builds the shortest head for @value in @out; returns its length. */
static inline size_t head_build(uint8_t out[HEAD_MAX], unsigned major, uint64_t value)
{
	uint8_t top = (uint8_t)(major << 5);

	if (value < INFO_1_BYTE) {
		out[0] = top | (uint8_t)value;
		return 1;
	}
	if (value <= UINT8_MAX) {
		out[0] = top | INFO_1_BYTE;
		out[1] = (uint8_t)value;
		return 2;
	}
	if (value <= UINT16_MAX) {
		out[0] = top | INFO_2_BYTES;
		put_be16(out + 1, (uint16_t)value);
		return 3;
	}
	if (value <= UINT32_MAX) {
		out[0] = top | INFO_4_BYTES;
		put_be32(out + 1, (uint32_t)value);
		return 5;
	}
	out[0] = top | INFO_8_BYTES;
	put_be64(out + 1, value);
	return HEAD_MAX;
}

/* The head where it belongs when there is room for any, else by way of a copy that may turn out not to fit. */
static inline void put_head(struct cbor_writer *w, unsigned major, uint64_t value)
{
	uint8_t head[HEAD_MAX];
	size_t len;

	if (likely(w->size - w->len >= HEAD_MAX)) {
		w->len += head_build(w->buf + w->len, major, value);
		return;
	}
	len = head_build(head, major, value);
	append(w, head, len);
}

static inline void put_item(struct cbor_writer *w, unsigned major, uint64_t value)
{
	put_head(w, major, value);
	w->items++;
}

void cbor_put_uint(struct cbor_writer *w, uint64_t v)
{
	put_item(w, MAJOR_UINT, v);
}

void cbor_put_int(struct cbor_writer *w, int64_t v)
{
	if (v < 0)
		put_item(w, MAJOR_NEGATIVE, ~(uint64_t)v);
	else
		put_item(w, MAJOR_UINT, (uint64_t)v);
}

void cbor_put_bool(struct cbor_writer *w, bool v)
{
	put_item(w, MAJOR_SIMPLE, v ? SIMPLE_TRUE : SIMPLE_FALSE);
}

void cbor_put_null(struct cbor_writer *w)
{
	put_item(w, MAJOR_SIMPLE, SIMPLE_NULL);
}

/* The half-precision bits of @v when they keep its value exactly (IEEE 754 binary16), else false. */
static bool half_exact(float v, uint16_t *out)
{
	uint32_t bits, fraction;
	int exponent;
	uint16_t sign;

	memcpy(&bits, &v, sizeof bits);
	sign = (uint16_t)(bits >> 16 & 0x8000);
	exponent = (int)(bits >> 23 & 0xff) - 127;
	fraction = bits & 0x7fffff;
	if (exponent == -127 && fraction == 0) {
		*out = sign;
		return true;
	}
	if (exponent == 128) { /* infinity; a NaN is sent as the one quiet NaN */
		*out = sign | 0x7c00;
		return fraction == 0;
	}
	if (exponent >= -14 && exponent <= 15 && (fraction & 0x1fff) == 0) {
		*out = (uint16_t)(sign | (exponent + 15) << 10 | fraction >> 13);
		return true;
	}
	if (exponent >= -24 && exponent < -14) { /* subnormal in half precision */
		unsigned shift = (unsigned)(-exponent - 1);

		fraction |= 0x800000;
		*out = (uint16_t)(sign | fraction >> shift);
		return (fraction & (BIT(shift) - 1)) == 0;
	}
	return false;
}

void cbor_put_float(struct cbor_writer *w, double v)
{
	uint8_t item[HEAD_MAX] = {MAJOR_SIMPLE << 5 | INFO_2_BYTES};
	size_t len = 3;
	uint16_t half;
	float single = (float)v;

	w->items++;
	if (v != v) {
		put_be16(item + 1, 0x7e00);
	} else if ((double)single != v) {
		uint64_t bits;

		memcpy(&bits, &v, sizeof bits);
		item[0] = MAJOR_SIMPLE << 5 | INFO_8_BYTES;
		put_be64(item + 1, bits);
		len = HEAD_MAX;
	} else if (half_exact(single, &half)) {
		put_be16(item + 1, half);
	} else {
		uint32_t bits;

		memcpy(&bits, &single, sizeof bits);
		item[0] = MAJOR_SIMPLE << 5 | INFO_4_BYTES;
		put_be32(item + 1, bits);
		len = 5;
	}
	append(w, item, len);
}

/* A string and its head at once when it is short and fits, as nearly all are. */
static inline void put_string(struct cbor_writer *w, unsigned major, const void *data, size_t len)
{
	uint8_t *at = w->buf + w->len;

	if (likely(len < INFO_1_BYTE && w->size - w->len > len)) {
		*at = (uint8_t)(major << 5 | len);
		w->len += len + 1;
		w->items++;
		if (len)
			memcpy(at + 1, data, len);
		return;
	}
	put_item(w, major, len);
	if (len)
		append(w, data, len);
}

void cbor_put_text_n(struct cbor_writer *w, const char *text, size_t len)
{
	put_string(w, MAJOR_TEXT, text, len);
}

void cbor_put_text(struct cbor_writer *w, const char *text)
{
	put_string(w, MAJOR_TEXT, text, strlen(text));
}

void cbor_put_bytes(struct cbor_writer *w, const void *data, size_t len)
{
	put_string(w, MAJOR_BYTES, data, len);
}

void cbor_put_tag(struct cbor_writer *w, uint64_t tag)
{
	put_head(w, MAJOR_TAG, tag);
}

void cbor_put_raw(struct cbor_writer *w, const void *item, size_t len)
{
	if (len)
		append(w, item, len);
	w->items++;
}

struct cbor_mark cbor_open(struct cbor_writer *w)
{
	struct cbor_mark mark = {.at = w->len, .items = w->items};

	w->items = 0;
	return mark;
}

static void close_container(struct cbor_writer *w, struct cbor_mark mark, unsigned major, uint64_t count)
{
	uint8_t head[HEAD_MAX];
	size_t len = head_build(head, major, count), content = w->len - mark.at;

	w->items = mark.items + 1;
	if (w->overflow || len > w->size - w->len) {
		overflow(w);
		return;
	}
	memmove(w->buf + mark.at + len, w->buf + mark.at, content);
	memcpy(w->buf + mark.at, head, len);
	w->len += len;
}

void cbor_close_array(struct cbor_writer *w, struct cbor_mark mark)
{
	close_container(w, mark, MAJOR_ARRAY, w->items);
}

void cbor_close_map(struct cbor_writer *w, struct cbor_mark mark)
{
	if (w->items & 1)
		overflow(w);
	close_container(w, mark, MAJOR_MAP, w->items / 2);
}

struct cbor_checkpoint cbor_save(const struct cbor_writer *w)
{
	return (struct cbor_checkpoint){.len = w->len, .items = w->items, .overflow = w->overflow};
}

void cbor_restore(struct cbor_writer *w, struct cbor_checkpoint cp)
{
	w->len = cp.len;
	w->items = cp.items;
	w->overflow = cp.overflow;
}
