/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accessors of the CBOR codec. A value is a place in checked bytes; each
 * call reads its head again, which is cheaper than building a tree.
 */
#include "lua/cbor.h"

#include <string.h>

#include "lib/bits.h"
#include "lua/cbor_head.h"

const char *cbor_type_name(enum cbor_type type)
{
	static const char *const names[] = {
		[CBOR_UINT] = "integer", [CBOR_NEGATIVE] = "negative integer", [CBOR_BYTES] = "byte string",
		[CBOR_TEXT] = "text", [CBOR_ARRAY] = "array", [CBOR_MAP] = "map", [CBOR_TAG] = "tag",
		[CBOR_BOOL] = "boolean", [CBOR_NULL] = "null", [CBOR_UNDEFINED] = "undefined",
		[CBOR_FLOAT] = "float", [CBOR_SIMPLE] = "simple value", [CBOR_INVALID] = "nothing",
	};

	return type < ARRAY_SIZE(names) ? names[type] : "nothing";
}

static enum cbor_type simple_type(const struct cbor_head *h)
{
	if (h->info >= INFO_2_BYTES && h->info <= INFO_8_BYTES)
		return CBOR_FLOAT;
	if (cbor_head_indefinite(h))
		return CBOR_INVALID;
	switch (h->value) {
	case SIMPLE_FALSE:
	case SIMPLE_TRUE:
		return CBOR_BOOL;
	case SIMPLE_NULL:
		return CBOR_NULL;
	case SIMPLE_UNDEFINED:
		return CBOR_UNDEFINED;
	default:
		return CBOR_SIMPLE;
	}
}

static enum cbor_type head_type(const struct cbor_head *h)
{
	static const enum cbor_type types[] = {
		[MAJOR_UINT] = CBOR_UINT, [MAJOR_NEGATIVE] = CBOR_NEGATIVE, [MAJOR_BYTES] = CBOR_BYTES,
		[MAJOR_TEXT] = CBOR_TEXT, [MAJOR_ARRAY] = CBOR_ARRAY, [MAJOR_MAP] = CBOR_MAP, [MAJOR_TAG] = CBOR_TAG,
	};

	return h->major == MAJOR_SIMPLE ? simple_type(h) : types[h->major];
}

/* Reads the head of @v; false when it is not of @type. */
static inline __attribute__((always_inline)) bool expect(struct cbor_value v, enum cbor_type type, struct cbor_head *h)
{
	return cbor_head_read(v.at, v.end, h) == ST_OK && head_type(h) == type;
}

enum cbor_type cbor_type_of(struct cbor_value v)
{
	struct cbor_head h;

	return cbor_head_read(v.at, v.end, &h) == ST_OK ? head_type(&h) : CBOR_INVALID;
}

bool cbor_get_uint(struct cbor_value v, uint64_t *out)
{
	struct cbor_head h;

	if (!expect(v, CBOR_UINT, &h))
		return false;
	*out = h.value;
	return true;
}

bool cbor_get_int(struct cbor_value v, int64_t *out)
{
	struct cbor_head h;

	if (cbor_head_read(v.at, v.end, &h) != ST_OK || h.major > MAJOR_NEGATIVE || h.value > INT64_MAX)
		return false;
	*out = h.major == MAJOR_NEGATIVE ? -1 - (int64_t)h.value : (int64_t)h.value;
	return true;
}

bool cbor_get_bool(struct cbor_value v, bool *out)
{
	struct cbor_head h;

	if (!expect(v, CBOR_BOOL, &h))
		return false;
	*out = h.value == SIMPLE_TRUE;
	return true;
}

/* binary16 to double: every half value is exact in a double. */
static double half_value(uint16_t bits)
{
	unsigned exponent = bits >> 10 & 0x1f, fraction = bits & 0x3ff;
	uint64_t out = (uint64_t)(bits >> 15) << 63;
	double v;

	if (exponent == 0) {
		v = (double)fraction / 16777216.0; /* 2^-24 */
		return bits >> 15 ? -v : v;
	}
	if (exponent == 0x1f)
		out |= MASK(62, 52) | (uint64_t)fraction << 42;
	else
		out |= (uint64_t)(exponent + 1023 - 15) << 52 | (uint64_t)fraction << 42;
	memcpy(&v, &out, sizeof v);
	return v;
}

bool cbor_get_float(struct cbor_value v, double *out)
{
	struct cbor_head h;

	if (!expect(v, CBOR_FLOAT, &h))
		return false;
	if (h.info == INFO_2_BYTES) {
		*out = half_value((uint16_t)h.value);
	} else if (h.info == INFO_4_BYTES) {
		uint32_t bits = (uint32_t)h.value;
		float single;

		memcpy(&single, &bits, sizeof single);
		*out = (double)single;
	} else {
		memcpy(out, &h.value, sizeof *out);
	}
	return true;
}

static inline bool get_string(struct cbor_value v, enum cbor_type type, const uint8_t **out, size_t *len)
{
	struct cbor_head h;

	if (!expect(v, type, &h) || cbor_head_indefinite(&h) || h.value > (uint64_t)(v.end - h.after))
		return false;
	*out = h.after;
	*len = (size_t)h.value;
	return true;
}

bool cbor_get_text(struct cbor_value v, const char **out, size_t *len)
{
	return get_string(v, CBOR_TEXT, (const uint8_t **)out, len);
}

bool cbor_get_bytes(struct cbor_value v, const uint8_t **out, size_t *len)
{
	return get_string(v, CBOR_BYTES, out, len);
}

bool cbor_get_tag(struct cbor_value v, uint64_t *tag, struct cbor_value *content)
{
	struct cbor_head h;

	if (!expect(v, CBOR_TAG, &h))
		return false;
	*tag = h.value;
	*content = (struct cbor_value){.at = h.after, .end = v.end};
	return true;
}

bool cbor_is_text(struct cbor_value v, const char *text)
{
	const char *s;
	size_t len;

	return cbor_get_text(v, &s, &len) && len == strlen(text) && memcmp(s, text, len) == 0;
}

bool cbor_iterate(struct cbor_value v, struct cbor_iter *it)
{
	struct cbor_head h;

	if (cbor_head_read(v.at, v.end, &h) != ST_OK || (h.major != MAJOR_ARRAY && h.major != MAJOR_MAP))
		return false;
	*it = (struct cbor_iter){.at = h.after, .end = v.end, .left = h.value, .indefinite = cbor_head_indefinite(&h)};
	return true;
}

/* Length of the item at @at when it holds no other; 0 for a container, or when there is no whole one. */
static inline size_t flat_length(const uint8_t *at, const uint8_t *end)
{
	struct cbor_head h;

	if (cbor_head_read(at, end, &h) != ST_OK)
		return 0;
	if (h.major == MAJOR_BYTES || h.major == MAJOR_TEXT)
		return cbor_head_indefinite(&h) || h.value > (uint64_t)(end - h.after)
			       ? 0
			       : (size_t)(h.after - at) + (size_t)h.value;
	if (h.major > MAJOR_NEGATIVE && h.major != MAJOR_SIMPLE)
		return 0;
	return cbor_head_indefinite(&h) ? 0 : (size_t)(h.after - at);
}

/* Steps over the item at it->at; false when there is no whole one. */
static inline bool step(struct cbor_iter *it, struct cbor_value *out)
{
	size_t used = flat_length(it->at, it->end);

	if (used == 0 && cbor_check(it->at, (size_t)(it->end - it->at), &used) != ST_OK)
		return false;
	*out = (struct cbor_value){.at = it->at, .end = it->at + used};
	it->at += used;
	return true;
}

static bool at_end(const struct cbor_iter *it)
{
	return it->indefinite ? cbor_is_break(it->at, it->end) : it->left == 0;
}

bool cbor_next(struct cbor_iter *it, struct cbor_value *out)
{
	if (at_end(it) || !step(it, out))
		return false;
	it->left--;
	return true;
}

bool cbor_next_pair(struct cbor_iter *it, struct cbor_value *key, struct cbor_value *value)
{
	if (unlikely(at_end(it) || !step(it, key) || !step(it, value)))
		return false;
	it->left--;
	return true;
}

bool cbor_find(struct cbor_value map, const char *key, struct cbor_value *out)
{
	struct cbor_value k, v;
	struct cbor_iter it;

	if (cbor_type_of(map) != CBOR_MAP || !cbor_iterate(map, &it))
		return false;
	while (cbor_next_pair(&it, &k, &v)) {
		if (cbor_is_text(k, key)) {
			*out = v;
			return true;
		}
	}
	return false;
}

size_t cbor_count(struct cbor_value v)
{
	bool map = cbor_type_of(v) == CBOR_MAP;
	struct cbor_value key, value;
	struct cbor_iter it;
	size_t n = 0;

	if (!cbor_iterate(v, &it))
		return 0;
	while (map ? cbor_next_pair(&it, &key, &value) : cbor_next(&it, &value))
		n++;
	return n;
}
