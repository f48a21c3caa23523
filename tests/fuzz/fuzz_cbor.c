/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CBOR from outside: whatever cbor_check() accepts can be walked whole, and
 * written again by our writer it is accepted again and means the same (a second
 * round gives the same bytes).
 */
#include <stdlib.h>
#include <string.h>

#include "lua/cbor.h"

#define OUT_MAX 65536

static uint8_t first[OUT_MAX], second[OUT_MAX];

static void copy(struct cbor_writer *w, struct cbor_value v);

static void copy_container(struct cbor_writer *w, struct cbor_value v, bool map)
{
	struct cbor_mark mark = cbor_open(w);
	struct cbor_value key, value;
	struct cbor_iter it;

	if (!cbor_iterate(v, &it))
		abort();
	while (map ? cbor_next_pair(&it, &key, &value) : cbor_next(&it, &value)) {
		if (map)
			copy(w, key);
		copy(w, value);
	}
	if (map)
		cbor_close_map(w, mark);
	else
		cbor_close_array(w, mark);
}

static void copy_string(struct cbor_writer *w, struct cbor_value v)
{
	const uint8_t *bytes;
	const char *text;
	size_t len;

	if (cbor_get_text(v, &text, &len))
		cbor_put_text_n(w, text, len);
	else if (cbor_get_bytes(v, &bytes, &len))
		cbor_put_bytes(w, bytes, len);
	else
		abort();
}

static void copy_number(struct cbor_writer *w, struct cbor_value v)
{
	int64_t i;
	uint64_t u;
	double d;
	bool b;

	if (cbor_get_int(v, &i))
		cbor_put_int(w, i);
	else if (cbor_get_uint(v, &u))
		cbor_put_uint(w, u);
	else if (cbor_get_float(v, &d))
		cbor_put_float(w, d);
	else if (cbor_get_bool(v, &b))
		cbor_put_bool(w, b);
	else
		cbor_put_null(w); /* null, undefined, simple, an integer below int64_t */
}

static void copy(struct cbor_writer *w, struct cbor_value v)
{
	struct cbor_value content;
	uint64_t tag;

	switch (cbor_type_of(v)) {
	case CBOR_ARRAY:
	case CBOR_MAP:
		copy_container(w, v, cbor_type_of(v) == CBOR_MAP);
		break;
	case CBOR_TEXT:
	case CBOR_BYTES:
		copy_string(w, v);
		break;
	case CBOR_TAG:
		if (!cbor_get_tag(v, &tag, &content))
			abort();
		cbor_put_tag(w, tag);
		copy(w, content);
		break;
	case CBOR_INVALID:
		abort();
	default:
		copy_number(w, v);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cbor_writer a, b;
	size_t used;

	(void)cbor_type_name(cbor_type_of(cbor_root(data, size)));
	(void)cbor_count(cbor_root(data, size)); /* unchecked bytes must at least be safe */
	if (size > OUT_MAX / 2 || cbor_check(data, size, &used) != ST_OK)
		return 0;
	if (used == 0 || used > size)
		abort();
	cbor_writer_init(&a, first, sizeof first);
	copy(&a, cbor_root(data, used));
	if (a.overflow || cbor_check(first, a.len, &used) != ST_OK || used != a.len)
		abort();
	cbor_writer_init(&b, second, sizeof second);
	copy(&b, cbor_root(first, a.len));
	if (b.overflow || b.len != a.len || memcmp(first, second, a.len) != 0)
		abort();
	return 0;
}
