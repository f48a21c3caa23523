/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CBOR codec against the vectors of RFC 8949 appendix A (examples) and
 * appendix F (what is not well-formed), and the writer's containers.
 */
#include "tests/cmocka_all.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/bits.h"
#include "lua/cbor.h"

static size_t unhex(const char *hex, uint8_t *out)
{
	size_t n = 0;
	unsigned byte;

	for (; *hex; hex += 2, n++) {
		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		out[n] = (uint8_t)byte;
	}
	return n;
}

/* A value handle on @hex, which must be one whole well-formed item. */
static struct cbor_value item(const char *hex, uint8_t *buf)
{
	size_t len = unhex(hex, buf), used = 0;

	if (cbor_check(buf, len, &used) != ST_OK || used != len)
		fail_msg("%s is refused", hex);
	return cbor_root(buf, len);
}

static void assert_writes(const struct cbor_writer *w, const char *hex)
{
	uint8_t want[64];
	size_t len = unhex(hex, want);

	assert_false(w->overflow);
	assert_int_equal(w->len, len);
	assert_memory_equal(w->buf, want, len);
}

static void integers(void **state)
{
	static const struct { const char *hex; uint64_t v; } good[] = {
		{"00", 0}, {"01", 1}, {"0a", 10}, {"17", 23}, {"1818", 24}, {"1819", 25}, {"1864", 100},
		{"1903e8", 1000}, {"1a000f4240", 1000000}, {"1b000000e8d4a51000", 1000000000000},
		{"1bffffffffffffffff", UINT64_MAX}, {"18ff", 255}, {"190100", 256}, {"19ffff", 65535},
		{"1a00010000", 65536}, {"1affffffff", UINT32_MAX}, {"1b0000000100000000", 1ull << 32},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		uint8_t buf[16], out[16];
		struct cbor_value v = item(good[i].hex, buf);
		struct cbor_writer w;
		uint64_t u = 0;

		assert_true(cbor_get_uint(v, &u) && u == good[i].v);
		cbor_writer_init(&w, out, sizeof out);
		cbor_put_uint(&w, u);
		assert_writes(&w, good[i].hex);
	}
}

static void signed_integers(void **state)
{
	static const struct { const char *hex; int64_t v; } good[] = {
		{"20", -1}, {"29", -10}, {"3863", -100}, {"3903e7", -1000}, {"0a", 10},
		{"3b7fffffffffffffff", INT64_MIN}, {"1b7fffffffffffffff", INT64_MAX},
	};
	uint8_t buf[16], out[16];
	int64_t n = 7;
	uint64_t u;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct cbor_value v = item(good[i].hex, buf);
		struct cbor_writer w;

		assert_true(cbor_get_int(v, &n) && n == good[i].v);
		cbor_writer_init(&w, out, sizeof out);
		cbor_put_int(&w, n);
		assert_writes(&w, good[i].hex);
	}
	n = 7;
	assert_false(cbor_get_int(item("3bffffffffffffffff", buf), &n)); /* -2^64 */
	assert_false(cbor_get_int(item("1b8000000000000000", buf), &n));
	assert_false(cbor_get_uint(item("20", buf), &u));
	assert_int_equal(n, 7);
	assert_int_equal(cbor_type_of(item("3bffffffffffffffff", buf)), CBOR_NEGATIVE);
}

static void floats(void **state)
{
	static const struct { const char *hex; double v; bool preferred; } good[] = {
		{"f90000", 0.0, true}, {"f98000", -0.0, true}, {"f93c00", 1.0, true},
		{"fb3ff199999999999a", 1.1, true}, {"f93e00", 1.5, true}, {"f97bff", 65504.0, true},
		{"fa47c35000", 100000.0, true}, {"fa7f7fffff", 3.4028234663852886e+38, true},
		{"fb7e37e43c8800759c", 1.0e+300, true}, {"f90001", 5.960464477539063e-8, true},
		{"f90400", 0.00006103515625, true}, {"f9c400", -4.0, true},
		{"fbc010666666666666", -4.1, true}, {"f97c00", INFINITY, true}, {"f9fc00", -INFINITY, true},
		{"fa7f800000", INFINITY, false}, {"fbfff0000000000000", -INFINITY, false},
		{"f903ff", 6.097555160522461e-05, true}, {"fa33000001", 0x1.000002p-25, true},
		{"fa33000000", 0x1p-25, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		uint8_t buf[16], out[16];
		struct cbor_value v = item(good[i].hex, buf);
		struct cbor_writer w;
		double d = 0;

		assert_int_equal(cbor_type_of(v), CBOR_FLOAT);
		assert_true(cbor_get_float(v, &d));
		assert_memory_equal(&d, &good[i].v, sizeof d);
		cbor_writer_init(&w, out, sizeof out);
		cbor_put_float(&w, d);
		if (good[i].preferred)
			assert_writes(&w, good[i].hex);
	}
}

static void not_a_number(void **state)
{
	static const char *const nans[] = {"f97e00", "fa7fc00000", "fb7ff8000000000000"};
	uint8_t buf[16], out[16];
	struct cbor_writer w;
	double d;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(nans); i++) {
		assert_true(cbor_get_float(item(nans[i], buf), &d) && isnan(d));
		cbor_writer_init(&w, out, sizeof out);
		cbor_put_float(&w, d);
		assert_writes(&w, "f97e00");
	}
	assert_false(cbor_get_float(item("01", buf), &d));
}

static void simple_values(void **state)
{
	uint8_t buf[16], out[16];
	struct cbor_writer w;
	bool b = true;

	(void)state;
	assert_true(cbor_get_bool(item("f4", buf), &b) && !b);
	assert_true(cbor_get_bool(item("f5", buf), &b) && b);
	assert_false(cbor_get_bool(item("01", buf), &b));
	assert_int_equal(cbor_type_of(item("f6", buf)), CBOR_NULL);
	assert_int_equal(cbor_type_of(item("f7", buf)), CBOR_UNDEFINED);
	assert_int_equal(cbor_type_of(item("f0", buf)), CBOR_SIMPLE);
	assert_int_equal(cbor_type_of(item("f8ff", buf)), CBOR_SIMPLE);
	cbor_writer_init(&w, out, sizeof out);
	cbor_put_bool(&w, false);
	cbor_put_bool(&w, true);
	cbor_put_null(&w);
	assert_writes(&w, "f4f5f6");
}

static void strings(void **state)
{
	static const struct { const char *hex, *text; } good[] = {
		{"60", ""}, {"6161", "a"}, {"6449455446", "IETF"}, {"62225c", "\"\\"},
		{"62c3bc", "\u00fc"}, {"63e6b0b4", "\u6c34"}, {"64f0908591", "\U00010151"},
	};
	uint8_t buf[64], out[64];
	struct cbor_writer w;
	const uint8_t *bytes;
	const char *text;
	size_t len;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct cbor_value v = item(good[i].hex, buf);

		assert_true(cbor_get_text(v, &text, &len));
		assert_int_equal(len, strlen(good[i].text));
		assert_memory_equal(text, good[i].text, len);
		assert_true(cbor_is_text(v, good[i].text));
		assert_false(cbor_is_text(v, "IET"));
		cbor_writer_init(&w, out, sizeof out);
		cbor_put_text(&w, good[i].text);
		assert_writes(&w, good[i].hex);
	}
	assert_true(cbor_get_bytes(item("4401020304", buf), &bytes, &len) && len == 4 && bytes[3] == 4);
	assert_false(cbor_get_text(item("4401020304", buf), &text, &len));
	assert_false(cbor_get_bytes(item("6161", buf), &bytes, &len));
	cbor_writer_init(&w, out, sizeof out);
	cbor_put_bytes(&w, "\1\2\3\4", 4);
	cbor_put_bytes(&w, NULL, 0);
	assert_writes(&w, "440102030440");
}

static void tags(void **state)
{
	uint8_t buf[64], out[64];
	struct cbor_value content;
	struct cbor_writer w;
	uint64_t tag, u;

	(void)state;
	assert_true(cbor_get_tag(item("c11a514b67b0", buf), &tag, &content));
	assert_true(tag == 1 && cbor_get_uint(content, &u) && u == 1363896240);
	assert_true(cbor_get_tag(item("d818456449455446", buf), &tag, &content) && tag == 24);
	assert_false(cbor_get_tag(item("01", buf), &tag, &content));
	cbor_writer_init(&w, out, sizeof out);
	cbor_put_tag(&w, 1);
	cbor_put_uint(&w, 1363896240);
	assert_writes(&w, "c11a514b67b0");
	assert_int_equal(w.items, 1);
}

/* [1, [2, 3], [4, 5]] in each mix of definite and indefinite lengths. */
static void arrays(void **state)
{
	static const char *const same[] = {
		"8301820203820405", "9f018202039f0405ffff", "9f01820203820405ff", "83018202039f0405ff",
		"83019f0203ff820405",
	};
	uint8_t buf[64];
	uint64_t sum;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
		struct cbor_value v = item(same[i], buf), e, inner;
		struct cbor_iter it, in;
		uint64_t u;

		assert_int_equal(cbor_count(v), 3);
		assert_true(cbor_iterate(v, &it) && cbor_next(&it, &e) && cbor_get_uint(e, &sum));
		while (cbor_next(&it, &e)) {
			assert_true(cbor_iterate(e, &in));
			while (cbor_next(&in, &inner)) {
				assert_true(cbor_get_uint(inner, &u));
				sum = sum * 10 + u;
			}
		}
		assert_int_equal(sum, 12345);
	}
	assert_int_equal(cbor_count(item("80", buf)), 0);
	assert_int_equal(cbor_count(item("9fff", buf)), 0);
	assert_int_equal(cbor_count(item("01", buf)), 0);
	assert_int_equal(cbor_count(item("98190102030405060708090a0b0c0d0e0f101112131415161718181819", buf)), 25);
}

static void maps(void **state)
{
	static const char *const same[] = {"a26161016162820203", "bf61610161629f0203ffff"};
	uint8_t buf[64];
	struct cbor_value found;
	uint64_t u;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
		struct cbor_value v = item(same[i], buf);

		assert_int_equal(cbor_type_of(v), CBOR_MAP);
		assert_int_equal(cbor_count(v), 2);
		assert_true(cbor_find(v, "a", &found) && cbor_get_uint(found, &u) && u == 1);
		assert_true(cbor_find(v, "b", &found) && cbor_count(found) == 2);
		assert_false(cbor_find(v, "c", &found));
		assert_false(cbor_find(v, "", &found));
	}
	assert_int_equal(cbor_count(item("a0", buf)), 0);
	assert_int_equal(cbor_count(item("bfff", buf)), 0);
	assert_int_equal(cbor_count(item("a201020304", buf)), 2);
}

/* RFC 8949 appendix F, and what we refuse besides. */
static void malformed(void **state)
{
	static const struct { const char *hex; enum status want; } bad[] = {
		/* the head ends early */
		{"18", ST_TRUNCATED}, {"19", ST_TRUNCATED}, {"1a", ST_TRUNCATED}, {"1b", ST_TRUNCATED},
		{"1901", ST_TRUNCATED}, {"1a0102", ST_TRUNCATED}, {"1b01020304050607", ST_TRUNCATED},
		{"38", ST_TRUNCATED}, {"58", ST_TRUNCATED}, {"78", ST_TRUNCATED}, {"98", ST_TRUNCATED},
		{"9a01ff00", ST_TRUNCATED}, {"b8", ST_TRUNCATED}, {"d8", ST_TRUNCATED}, {"f8", ST_TRUNCATED},
		{"f900", ST_TRUNCATED}, {"fa0000", ST_TRUNCATED}, {"fb000000", ST_TRUNCATED}, {"", ST_TRUNCATED},
		/* the content ends early */
		{"41", ST_TRUNCATED}, {"61", ST_TRUNCATED}, {"5affffffff00", ST_TRUNCATED},
		{"5bffffffffffffffff010203", ST_TRUNCATED}, {"7affffffff00", ST_TRUNCATED},
		{"7b7fffffffffffffff010203", ST_TRUNCATED}, {"81", ST_TRUNCATED}, {"818181818181818181", ST_TRUNCATED},
		{"8200", ST_TRUNCATED}, {"a1", ST_TRUNCATED}, {"a20102", ST_TRUNCATED}, {"a100", ST_TRUNCATED},
		{"a2000000", ST_TRUNCATED}, {"c0", ST_TRUNCATED}, {"9bffffffffffffffff01", ST_TRUNCATED},
		{"bb800000000000000001", ST_TRUNCATED},
		{"9f", ST_TRUNCATED}, {"9f0102", ST_TRUNCATED}, {"bf", ST_TRUNCATED}, {"bf01020102", ST_TRUNCATED},
		{"819f", ST_TRUNCATED}, {"9f8000", ST_TRUNCATED}, {"9f9f9f9f9fffffffff", ST_TRUNCATED},
		{"9f819f819f9fffffff", ST_TRUNCATED},
		/* reserved additional information */
		{"1c", ST_CORRUPT}, {"1d", ST_CORRUPT}, {"1e", ST_CORRUPT}, {"3c", ST_CORRUPT}, {"5d", ST_CORRUPT},
		{"7e", ST_CORRUPT}, {"9c", ST_CORRUPT}, {"bd", ST_CORRUPT}, {"de", ST_CORRUPT}, {"fc", ST_CORRUPT},
		{"fd", ST_CORRUPT}, {"fe", ST_CORRUPT},
		/* reserved two-byte simple values */
		{"f800", ST_CORRUPT}, {"f801", ST_CORRUPT}, {"f818", ST_CORRUPT}, {"f81f", ST_CORRUPT},
		/* breaks where none may be */
		{"ff", ST_CORRUPT}, {"81ff", ST_CORRUPT}, {"8200ff", ST_CORRUPT}, {"a1ff", ST_TRUNCATED},
		{"a1ff00", ST_CORRUPT}, {"a100ff", ST_CORRUPT}, {"a20000ff", ST_TRUNCATED}, {"9f81ff", ST_CORRUPT},
		{"9f829f819f9fffffffff", ST_CORRUPT}, {"bf00ff", ST_CORRUPT}, {"bf000000ff", ST_CORRUPT},
		/* no indefinite form exists */
		{"1f", ST_CORRUPT}, {"3f", ST_CORRUPT}, {"df", ST_CORRUPT}, {"df00ff", ST_CORRUPT},
		/* strings in chunks: well-formed or not, we do not take them */
		{"5f42010243030405ff", ST_UNSUPPORTED}, {"7f657374726561646d696e67ff", ST_UNSUPPORTED},
		{"5f00ff", ST_UNSUPPORTED}, {"7f4100ff", ST_UNSUPPORTED},
		/* text that is not UTF-8: lone continuation, overlong, surrogate, beyond U+10FFFF, cut */
		{"6180", ST_CORRUPT}, {"62c080", ST_CORRUPT}, {"63e08080", ST_CORRUPT}, {"63eda080", ST_CORRUPT},
		{"64f4908080", ST_CORRUPT}, {"64f0808080", ST_CORRUPT}, {"61c3", ST_CORRUPT}, {"62e6b0", ST_CORRUPT},
		{"61ff", ST_CORRUPT}, {"61f5", ST_CORRUPT}, {"62c341", ST_CORRUPT},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint8_t buf[32];
		size_t len = unhex(bad[i].hex, buf), used = 99;
		enum status st = cbor_check(buf, len, &used);

		if (st != bad[i].want)
			fail_msg("%s: %s, not %s", bad[i].hex, status_name(st), status_name(bad[i].want));
		assert_int_equal(used, 99);
	}
}

static void depth_is_bounded(void **state)
{
	uint8_t buf[CBOR_DEPTH_MAX + 2];
	size_t used;

	(void)state;
	memset(buf, 0x81, sizeof buf);
	buf[CBOR_DEPTH_MAX] = 0;
	assert_int_equal(cbor_check(buf, CBOR_DEPTH_MAX + 1, &used), ST_OK);
	buf[CBOR_DEPTH_MAX] = 0x81;
	buf[CBOR_DEPTH_MAX + 1] = 0;
	assert_int_equal(cbor_check(buf, sizeof buf, &used), ST_OVER_LIMIT);
	memset(buf, 0xc1, sizeof buf);
	assert_int_equal(cbor_check(buf, sizeof buf, &used), ST_OVER_LIMIT);
}

/* Bytes behind the item are the caller's business: used says where it ends. */
static void one_item_of_several(void **state)
{
	uint8_t buf[8];
	size_t used;

	(void)state;
	unhex("82010203", buf);
	assert_int_equal(cbor_check(buf, 4, &used), ST_OK);
	assert_int_equal(used, 3);
}

static void writer_nests(void **state)
{
	uint8_t out[400];
	struct cbor_writer w;
	struct cbor_mark map, list;

	(void)state;
	cbor_writer_init(&w, out, sizeof out);
	map = cbor_open(&w);
	cbor_put_text(&w, "a");
	cbor_put_uint(&w, 1);
	cbor_put_text(&w, "b");
	list = cbor_open(&w);
	cbor_put_uint(&w, 2);
	cbor_put_uint(&w, 3);
	cbor_close_array(&w, list);
	cbor_close_map(&w, map);
	assert_writes(&w, "a26161016162820203");
	assert_int_equal(w.items, 1);

	cbor_writer_init(&w, out, sizeof out);
	list = cbor_open(&w);
	for (unsigned i = 0; i < 300; i++)
		cbor_put_uint(&w, 1);
	cbor_close_array(&w, list);
	assert_false(w.overflow);
	assert_true(w.len == 303 && out[0] == 0x99 && out[1] == 1 && out[2] == 44 && out[3] == 1 && out[302] == 1);
}

static void writer_takes_back(void **state)
{
	struct cbor_checkpoint cp;
	struct cbor_writer w;
	struct cbor_mark list;
	uint8_t out[4];

	(void)state;
	cbor_writer_init(&w, out, sizeof out);
	list = cbor_open(&w);
	cbor_put_uint(&w, 1);
	cp = cbor_save(&w);
	cbor_put_text(&w, "too long");
	assert_true(w.overflow);
	cbor_restore(&w, cp);
	cbor_put_uint(&w, 2);
	cbor_close_array(&w, list);
	assert_writes(&w, "820102");
}

static void writer_never_passes_its_end(void **state)
{
	uint8_t out[64];

	(void)state;
	for (size_t size = 0; size < 24; size++) {
		struct cbor_writer w;
		struct cbor_mark map;

		memset(out, 0xee, sizeof out);
		cbor_writer_init(&w, out, size);
		map = cbor_open(&w);
		cbor_put_text(&w, "key");
		cbor_put_bytes(&w, "0123456789", 10);
		cbor_put_text(&w, "n");
		cbor_put_float(&w, 1.1);
		cbor_close_map(&w, map);
		assert_true(w.overflow);
		assert_true(w.len <= size);
		for (size_t i = size; i < sizeof out; i++)
			assert_int_equal(out[i], 0xee);
	}
}

static void odd_map_is_our_bug_made_visible(void **state)
{
	uint8_t out[16];
	struct cbor_writer w;
	struct cbor_mark map;

	(void)state;
	cbor_writer_init(&w, out, sizeof out);
	map = cbor_open(&w);
	cbor_put_text(&w, "key");
	cbor_close_map(&w, map);
	assert_true(w.overflow);
}

/* Texts are looked at a word at a time: whatever is wrong must be seen at each place of each length. */
static void utf8_at_every_place(void **state)
{
	static const char *const bad[] = {"\xff", "\x80", "\xc3", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf5"};
	char text[40];

	(void)state;
	for (size_t len = 1; len < sizeof text; len++) {
		memset(text, 'a', len);
		assert_true(cbor_utf8_valid(text, len));
		for (size_t at = 0; at < len; at++) {
			for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
				memset(text, 'a', len);
				memcpy(text + at, bad[i], strlen(bad[i]) < len - at ? strlen(bad[i]) : len - at);
				assert_false(cbor_utf8_valid(text, len));
			}
			memset(text, 'a', len);
			if (at + 2 > len)
				continue;
			memcpy(text + at, "\xc3\xbc", 2);
			assert_true(cbor_utf8_valid(text, len));
		}
	}
	assert_true(cbor_utf8_valid("", 0));
}

/* The accessors stay inside bytes that nobody checked, and make no item of what is none. */
static void unchecked_bytes(void **state)
{
	static const struct {
		uint8_t bytes[6];
		size_t len;
	} rows[] = {
		{{0x81, 0x1f}, 2}, {{0x81, 0x3f}, 2}, {{0x81, 0xff}, 2}, {{0x81, 0x1c}, 2}, {{0x81, 0x5f}, 2},
		{{0x81, 0x7f}, 2}, {{0x81, 0x62, 'a'}, 3}, {{0x81, 0x19, 0x01}, 3}, {{0x81, 0x82, 0x01}, 3}, {{0x81}, 1},
		{{0x81, 0xdf}, 2}, {{0x81, 0x7b, 0xff, 0xff, 0xff}, 5},
	};
	struct cbor_value v;
	struct cbor_iter it;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		assert_true(cbor_iterate(cbor_root(rows[i].bytes, rows[i].len), &it));
		assert_false(cbor_next(&it, &v));
	}
}

/* What does not fit leaves no room for what would: nothing comes behind a gap. */
static void nothing_follows_an_overflow(void **state)
{
	uint8_t out[8];
	struct cbor_writer w;
	struct cbor_checkpoint start;

	(void)state;
	cbor_writer_init(&w, out, sizeof out);
	cbor_put_uint(&w, 1);
	start = cbor_save(&w);
	cbor_put_text(&w, "much too long");
	assert_true(w.overflow);
	memset(out + 1, 0xee, sizeof out - 1);
	cbor_put_uint(&w, 2);
	cbor_put_key(&w, "k");
	cbor_put_text(&w, "k");
	assert_true(w.overflow);
	for (size_t i = 1; i < sizeof out; i++)
		assert_int_equal(out[i], 0xee);
	cbor_restore(&w, start);
	cbor_put_key(&w, "k");
	assert_writes(&w, "01616b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers),
		cmocka_unit_test(signed_integers),
		cmocka_unit_test(floats),
		cmocka_unit_test(not_a_number),
		cmocka_unit_test(simple_values),
		cmocka_unit_test(strings),
		cmocka_unit_test(tags),
		cmocka_unit_test(arrays),
		cmocka_unit_test(maps),
		cmocka_unit_test(malformed),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(one_item_of_several),
		cmocka_unit_test(writer_nests),
		cmocka_unit_test(writer_takes_back),
		cmocka_unit_test(writer_never_passes_its_end),
		cmocka_unit_test(odd_map_is_our_bug_made_visible),
		cmocka_unit_test(utf8_at_every_place),
		cmocka_unit_test(unchecked_bytes),
		cmocka_unit_test(nothing_follows_an_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
