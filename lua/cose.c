/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header parameters are looked at one by one: labels must be unique over both
 * buckets (RFC 9052 section 3), the algorithm must be protected, and "crit" is
 * refused whole, since nothing that could be critical is understood here.
 */
#include "lua/cose.h"

#include <bearssl.h>
#include <string.h>

#include "lib/bits.h"
#include "lua/cbor_head.h"

#define TAG_SIGN1 18
#define SIGN1_ITEMS 4
#define SIGNATURE_CONTEXT "Signature1"

/* Header labels, RFC 9052 section 3.1; algorithm, RFC 9053. */
#define LABEL_ALG 1
#define LABEL_CRIT 2
#define LABEL_KID 4
#define ALG_ES256 (-7)
#define HEADERS_MAX 16

/* COSE_Key: RFC 9052 section 7, RFC 9053 section 7.1.1. */
#define KEY_KTY 1
#define KEY_ALG 3
#define KEY_CRV (-1)
#define KEY_X (-2)
#define KEY_Y (-3)
#define KEY_D (-4)
#define KTY_EC2 2
#define CRV_P256 1
#define POINT_UNCOMPRESSED 0x04

/* ---- header buckets ---- */

struct headers {
	const uint8_t *label[HEADERS_MAX]; /* encoded labels seen so far */
	size_t label_len[HEADERS_MAX];
	unsigned count;
	bool has_alg;
	int64_t alg;
};

static bool seen_before(struct headers *h, const uint8_t *label, size_t len)
{
	for (unsigned i = 0; i < h->count; i++)
		if (h->label_len[i] == len && memcmp(h->label[i], label, len) == 0)
			return true;
	h->label[h->count] = label;
	h->label_len[h->count++] = len;
	return false;
}

static enum status take_header(struct headers *h, int64_t label, struct cbor_value v, bool protected,
			       struct cose_sign1 *out, struct error *err)
{
	if (label == LABEL_CRIT)
		return fail(err, ST_UNSUPPORTED, "the message has critical header parameters, of which none is known");
	if (label == LABEL_ALG) {
		if (!protected)
			return fail(err, ST_INVALID, "the algorithm is not in the protected header");
		if (!cbor_get_int(v, &h->alg) || h->alg != ALG_ES256)
			return fail(err, ST_UNSUPPORTED, "the algorithm is not ES256 (-7)");
		h->has_alg = true;
	}
	if (label == LABEL_KID && !cbor_get_bytes(v, &out->kid, &out->kid_len))
		return fail(err, ST_INVALID, "the key identifier is no byte string");
	return ST_OK;
}

/* Where the item at @v ends; its buffer was checked. */
static size_t item_bytes(struct cbor_value v)
{
	size_t used = 0;

	return cbor_check(v.at, (size_t)(v.end - v.at), &used) == ST_OK ? used : 0;
}

static enum status take_bucket(struct headers *h, struct cbor_value map, bool protected, struct cose_sign1 *out,
			       struct error *err)
{
	struct cbor_value key, value;
	struct cbor_iter it;
	enum status st = ST_OK;
	int64_t label;

	if (cbor_type_of(map) != CBOR_MAP || !cbor_iterate(map, &it))
		return fail(err, ST_INVALID, "a header of the message is no map");
	while (st == ST_OK && cbor_next_pair(&it, &key, &value)) {
		enum cbor_type type = cbor_type_of(key);

		if (type != CBOR_UINT && type != CBOR_NEGATIVE && type != CBOR_TEXT)
			return fail(err, ST_INVALID, "a header label is neither a number nor text");
		if (h->count == HEADERS_MAX)
			return fail(err, ST_OVER_LIMIT, "the message has more than %d headers", HEADERS_MAX);
		if (seen_before(h, key.at, item_bytes(key)))
			return fail(err, ST_INVALID, "a header label comes twice");
		if (cbor_get_int(key, &label))
			st = take_header(h, label, value, protected, out, err);
	}
	return st;
}

/* The protected bucket is a byte string that holds a map, or nothing at all. */
static enum status take_protected(struct headers *h, struct cbor_value v, struct cose_sign1 *out, struct error *err)
{
	size_t used;

	if (!cbor_get_bytes(v, &out->protected, &out->protected_len))
		return fail(err, ST_INVALID, "the protected header is no byte string");
	if (out->protected_len == 0)
		return ST_OK;
	if (cbor_check(out->protected, out->protected_len, &used) != ST_OK || used != out->protected_len)
		return fail(err, ST_CORRUPT, "the protected header is not CBOR");
	return take_bucket(h, cbor_root(out->protected, out->protected_len), true, out, err);
}

/* ---- the message ---- */

/* The four elements; false when it is no array of four. */
static bool four_items(struct cbor_value v, struct cbor_value item[SIGN1_ITEMS])
{
	struct cbor_value content;
	struct cbor_iter it;
	uint64_t tag;

	if (cbor_get_tag(v, &tag, &content)) {
		if (tag != TAG_SIGN1)
			return false;
		v = content;
	}
	if (cbor_type_of(v) != CBOR_ARRAY || cbor_count(v) != SIGN1_ITEMS || !cbor_iterate(v, &it))
		return false;
	for (int i = 0; i < SIGN1_ITEMS; i++)
		if (!cbor_next(&it, &item[i]))
			return false;
	return true;
}

static enum status take_content(const struct cbor_value item[SIGN1_ITEMS], struct cose_sign1 *out, struct error *err)
{
	size_t len;

	if (cbor_type_of(item[2]) == CBOR_NULL)
		return fail(err, ST_UNSUPPORTED, "the message's payload is detached");
	if (!cbor_get_bytes(item[2], &out->payload, &out->payload_len))
		return fail(err, ST_INVALID, "the message's payload is no byte string");
	if (!cbor_get_bytes(item[3], &out->signature, &len) || len != ES256_SIGNATURE_BYTES)
		return fail(err, ST_INVALID, "the signature is not %d bytes", ES256_SIGNATURE_BYTES);
	return ST_OK;
}

enum status cose_sign1_parse(const void *data, size_t len, struct cose_sign1 *out, struct error *err)
{
	struct cbor_value item[SIGN1_ITEMS];
	struct cose_sign1 m = {.kid = NULL};
	struct headers h = {.count = 0};
	enum status st;
	size_t used;

	if (cbor_check(data, len, &used) != ST_OK || used != len)
		return fail(err, ST_CORRUPT, "the message is not one CBOR item");
	if (!four_items(cbor_root(data, len), item))
		return fail(err, ST_INVALID, "the message is no COSE_Sign1");
	st = take_protected(&h, item[0], &m, err);
	if (st == ST_OK)
		st = take_bucket(&h, item[1], false, &m, err);
	if (st != ST_OK)
		return st;
	if (!h.has_alg)
		return fail(err, ST_INVALID, "the protected header names no algorithm");
	st = take_content(item, &m, err);
	if (st == ST_OK)
		*out = m;
	return st;
}

/* ---- the signature ---- */

/* Hashes a byte string with its head; writes no copy of it. */
static void hash_bytes(br_sha256_context *hash, const void *data, size_t len)
{
	uint8_t head[HEAD_MAX];
	struct cbor_writer w;

	cbor_writer_init(&w, head, sizeof head);
	cbor_put_uint(&w, len); /* the head of an integer is that of a string but for its major type */
	head[0] = (uint8_t)(head[0] | MAJOR_BYTES << 5);
	br_sha256_update(hash, head, w.len);
	br_sha256_update(hash, data, len);
}

/* SHA-256 of the Sig_structure, RFC 9052 section 4.4. */
static void hash_to_sign(const struct cose_sign1 *m, const void *aad, size_t aad_len, uint8_t out[SHA256_BYTES])
{
	static const uint8_t start[] = {
		MAJOR_ARRAY << 5 | SIGN1_ITEMS, MAJOR_TEXT << 5 | (sizeof SIGNATURE_CONTEXT - 1),
	};
	br_sha256_context hash;

	br_sha256_init(&hash);
	br_sha256_update(&hash, start, sizeof start);
	br_sha256_update(&hash, SIGNATURE_CONTEXT, sizeof SIGNATURE_CONTEXT - 1);
	hash_bytes(&hash, m->protected, m->protected_len);
	hash_bytes(&hash, aad, aad_len);
	hash_bytes(&hash, m->payload, m->payload_len);
	br_sha256_out(&hash, out);
}

bool cose_sign1_verify(const struct cose_sign1 *message, const void *aad, size_t aad_len, const struct p256_key *key)
{
	/* BearSSL takes a pointer to bytes that it does not change. */
	br_ec_public_key public = {
		.curve = BR_EC_secp256r1, .q = (unsigned char *)(uintptr_t)key->point, .qlen = sizeof key->point,
	};
	uint8_t hash[SHA256_BYTES];

	hash_to_sign(message, aad, aad_len, hash);
	return br_ecdsa_i31_vrfy_raw(&br_ec_p256_m31, hash, sizeof hash, &public, message->signature,
				     ES256_SIGNATURE_BYTES) == 1;
}

/* ---- keys ---- */

/* One times the point, which BearSSL refuses for what is not on the curve. */
static bool on_curve(const struct p256_key *key)
{
	static const uint8_t one = 1;
	struct p256_key copy = *key;

	return key->point[0] == POINT_UNCOMPRESSED &&
	       br_ec_p256_m31.mul(copy.point, sizeof copy.point, &one, sizeof one, BR_EC_secp256r1) == 1;
}

/* How often @label comes in @map; *out is its last value. */
static unsigned find_label(struct cbor_value map, int64_t label, struct cbor_value *out)
{
	struct cbor_value key, value;
	struct cbor_iter it;
	unsigned found = 0;
	int64_t n;

	if (!cbor_iterate(map, &it))
		return 0;
	while (cbor_next_pair(&it, &key, &value)) {
		if (!cbor_get_int(key, &n) || n != label)
			continue;
		*out = value;
		found++;
	}
	return found;
}

static bool label_is(struct cbor_value map, int64_t label, int64_t want)
{
	struct cbor_value v;
	int64_t n;

	return find_label(map, label, &v) == 1 && cbor_get_int(v, &n) && n == want;
}

static bool get_coordinate(struct cbor_value map, int64_t label, uint8_t *out)
{
	const uint8_t *bytes;
	struct cbor_value v;
	size_t len;

	if (find_label(map, label, &v) != 1 || !cbor_get_bytes(v, &bytes, &len) || len != P256_COORDINATE_BYTES)
		return false;
	memcpy(out, bytes, len);
	return true;
}

static enum status decode_map(struct cbor_value map, struct p256_key *out, struct error *err)
{
	struct cbor_value v;

	if (find_label(map, KEY_D, &v))
		return fail(err, ST_INVALID, "the key has its private part: only the public one belongs here");
	if (!label_is(map, KEY_KTY, KTY_EC2) || !label_is(map, KEY_CRV, CRV_P256))
		return fail(err, ST_UNSUPPORTED, "the key is not EC2 (2) on the curve P-256 (1)");
	if (find_label(map, KEY_ALG, &v) && !label_is(map, KEY_ALG, ALG_ES256))
		return fail(err, ST_UNSUPPORTED, "the key is for another algorithm than ES256 (-7)");
	if (!get_coordinate(map, KEY_X, out->point + 1) ||
	    !get_coordinate(map, KEY_Y, out->point + 1 + P256_COORDINATE_BYTES))
		return fail(err, ST_INVALID, "the key's x and y are not byte strings of %d", P256_COORDINATE_BYTES);
	out->point[0] = POINT_UNCOMPRESSED;
	return ST_OK;
}

enum status cose_key_decode(const void *data, size_t len, struct p256_key *out, struct error *err)
{
	struct p256_key key;
	enum status st;
	size_t used;

	if (len == sizeof key.point && *(const uint8_t *)data == POINT_UNCOMPRESSED) {
		memcpy(key.point, data, len);
	} else {
		if (cbor_check(data, len, &used) != ST_OK || used != len ||
		    cbor_type_of(cbor_root(data, len)) != CBOR_MAP)
			return fail(err, ST_INVALID, "the key is neither a COSE_Key nor a point of %d bytes",
				    P256_POINT_BYTES);
		st = decode_map(cbor_root(data, len), &key, err);
		if (st != ST_OK)
			return st;
	}
	if (!on_curve(&key))
		return fail(err, ST_INVALID, "the key is no point on the curve P-256");
	*out = key;
	return ST_OK;
}

void cose_key_encode(const struct p256_key *key, uint8_t out[COSE_KEY_BYTES])
{
	const uint8_t *x = key->point + 1;
	struct cbor_writer w;
	struct cbor_mark map;

	cbor_writer_init(&w, out, COSE_KEY_BYTES);
	map = cbor_open(&w);
	cbor_put_int(&w, KEY_KTY);
	cbor_put_int(&w, KTY_EC2);
	cbor_put_int(&w, KEY_CRV);
	cbor_put_int(&w, CRV_P256);
	cbor_put_int(&w, KEY_X);
	cbor_put_bytes(&w, x, P256_COORDINATE_BYTES);
	cbor_put_int(&w, KEY_Y);
	cbor_put_bytes(&w, x + P256_COORDINATE_BYTES, P256_COORDINATE_BYTES);
	cbor_close_map(&w, map);
}

void cose_key_thumbprint(const struct p256_key *key, uint8_t out[COSE_THUMBPRINT_BYTES])
{
	uint8_t encoded[COSE_KEY_BYTES];
	br_sha256_context hash;

	cose_key_encode(key, encoded);
	br_sha256_init(&hash);
	br_sha256_update(&hash, encoded, sizeof encoded);
	br_sha256_out(&hash, out);
}
