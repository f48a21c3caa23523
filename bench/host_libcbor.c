/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcbor on the map of cbor_map.h, in both ways that it has: its streaming
 * functions, which allocate nothing and leave the structure to their caller, and
 * its tree of items. bench/host.py holds ours against the faster one.
 */
#include <cbor.h>

#include "bench/cbor_map.h"

/* ---- encoding ---- */

static uint8_t *put_text(uint8_t *at, uint8_t *end, const char *text, size_t len)
{
	at += cbor_encode_string_start(len, at, (size_t)(end - at));
	memcpy(at, text, len);
	return at + len;
}

CASE case_libcbor_stream_encode(void)
{
	uint8_t *at = encoded, *end = encoded + sizeof encoded;

	at += cbor_encode_map_start(PAIRS, at, (size_t)(end - at));
	for (unsigned i = 0; i < PAIRS; i++) {
		at = put_text(at, end, keys[i], key_len[i]);
		switch ((enum content)(i % CONTENTS)) {
		case NUMBER:
			at += cbor_encode_uint(number_of(i), at, (size_t)(end - at));
			break;
		case NEGATIVE:
			at += cbor_encode_negint(number_of(i), at, (size_t)(end - at));
			break;
		case WORDS:
			at = put_text(at, end, TEXT, sizeof TEXT - 1);
			break;
		default:
			at += cbor_encode_bool(true, at, (size_t)(end - at));
		}
	}
	encoded_len = (size_t)(at - encoded);
}
static unsigned run_libcbor_stream_encode(void)
{
	make_keys();
	for (unsigned i = 0; i < ROUNDS; i++)
		case_libcbor_stream_encode();
	print_encoded();
	return ROUNDS;
}

static cbor_item_t *tree_value(unsigned i)
{
	cbor_item_t *item;

	switch ((enum content)(i % CONTENTS)) {
	case NUMBER:
		return cbor_build_uint64(number_of(i));
	case NEGATIVE:
		item = cbor_build_uint64(number_of(i));
		cbor_mark_negint(item);
		return item;
	case WORDS:
		return cbor_build_stringn(TEXT, sizeof TEXT - 1);
	default:
		return cbor_build_bool(true);
	}
}

CASE case_libcbor_tree_encode(void)
{
	cbor_item_t *map = cbor_new_definite_map(PAIRS);

	for (unsigned i = 0; i < PAIRS; i++) {
		struct cbor_pair pair = {
			.key = cbor_move(cbor_build_stringn(keys[i], key_len[i])), .value = cbor_move(tree_value(i)),
		};

		must(cbor_map_add(map, pair), "libcbor has no memory");
	}
	encoded_len = cbor_serialize(map, encoded, sizeof encoded);
	cbor_decref(&map);
}
static unsigned run_libcbor_tree_encode(void)
{
	make_keys();
	for (unsigned i = 0; i < ROUNDS; i++)
		case_libcbor_tree_encode();
	return ROUNDS;
}

/* ---- decoding: every key and value is taken ---- */

static bool is_key; /* of the item that comes next */

static void begin_value(void)
{
	is_key = true;
	taken_count++;
}

static void on_string(void *ctx, cbor_data data, size_t len)
{
	struct taken *t = &taken[taken_count];

	(void)ctx;
	if (is_key) {
		t->key = data;
		t->key_len = len;
		is_key = false;
		return;
	}
	t->text = data;
	t->text_len = len;
	begin_value();
}

static void on_number(uint64_t n)
{
	taken[taken_count].number = n;
	begin_value();
}

static void on_8(void *ctx, uint8_t n)
{
	(void)ctx;
	on_number(n);
}

static void on_16(void *ctx, uint16_t n)
{
	(void)ctx;
	on_number(n);
}

static void on_32(void *ctx, uint32_t n)
{
	(void)ctx;
	on_number(n);
}

static void on_64(void *ctx, uint64_t n)
{
	(void)ctx;
	on_number(n);
}

static void on_bool(void *ctx, bool truth)
{
	(void)ctx;
	taken[taken_count].truth = truth;
	begin_value();
}

CASE case_libcbor_stream_decode(void)
{
	struct cbor_callbacks callbacks = cbor_empty_callbacks;
	size_t at = 0;

	callbacks.string = on_string;
	callbacks.uint8 = callbacks.negint8 = on_8;
	callbacks.uint16 = callbacks.negint16 = on_16;
	callbacks.uint32 = callbacks.negint32 = on_32;
	callbacks.uint64 = callbacks.negint64 = on_64;
	callbacks.boolean = on_bool;
	taken_count = 0;
	is_key = true;
	while (at < encoded_len) {
		struct cbor_decoder_result r = cbor_stream_decode(encoded + at, encoded_len - at, &callbacks, NULL);

		must(r.status == CBOR_DECODER_FINISHED, "libcbor does not read it");
		at += r.read;
	}
}
static unsigned run_libcbor_stream_decode(void)
{
	make_keys();
	case_libcbor_stream_encode();
	for (unsigned i = 0; i < ROUNDS; i++)
		case_libcbor_stream_decode();
	check_taken(true);
	return ROUNDS;
}

CASE case_libcbor_tree_decode(void)
{
	struct cbor_load_result result;
	cbor_item_t *map = cbor_load(encoded, encoded_len, &result);
	struct cbor_pair *pairs = map ? cbor_map_handle(map) : NULL;

	must(pairs && cbor_map_size(map) == PAIRS, "libcbor does not read it");
	taken_count = 0;
	for (size_t i = 0; i < PAIRS; i++) {
		struct taken *t = &taken[taken_count++];

		t->key_len = cbor_string_length(pairs[i].key);
		if (cbor_isa_uint(pairs[i].value) || cbor_isa_negint(pairs[i].value))
			t->number = cbor_get_int(pairs[i].value);
		else if (cbor_isa_string(pairs[i].value))
			t->text_len = cbor_string_length(pairs[i].value);
		else
			t->truth = cbor_ctrl_value(pairs[i].value) == CBOR_CTRL_TRUE;
	}
	cbor_decref(&map);
}
static unsigned run_libcbor_tree_decode(void)
{
	make_keys();
	case_libcbor_stream_encode();
	for (unsigned i = 0; i < ROUNDS; i++)
		case_libcbor_tree_decode();
	check_taken(false);
	return ROUNDS;
}

static const struct bench_case cases[] = {
	{"libcbor_stream_encode", run_libcbor_stream_encode},
	{"libcbor_tree_encode", run_libcbor_tree_encode},
	{"libcbor_stream_decode", run_libcbor_stream_decode},
	{"libcbor_tree_decode", run_libcbor_tree_decode},
};

int main(int argc, char **argv)
{
	return bench_main(cases, sizeof cases / sizeof cases[0], argc, argv);
}
