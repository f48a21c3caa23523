/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COSE_Sign1 and COSE_Key against published vectors: RFC 9052 appendix C.2.1, the
 * COSE working group's sign1-tests, RFC 6979 appendix A.2.5 for the arithmetic
 * below; then every way a message can be wrong, and every byte of one.
 */
#include "tests/cmocka_all.h"

#include <bearssl.h>
#include <stdio.h>
#include <string.h>

#include "lib/bits.h"
#include "lua/cose.h"

/* The key "11" of RFC 9052 appendix C.7.1. */
#define KEY_X "bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff"
#define KEY_Y "20138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e"
/* RFC 6979 appendix A.2.5. */
#define RFC6979_X "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
#define RFC6979_Y "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"

static const struct {
	const char *name, *message, *aad;
} good[] = {
	{"RFC 9052 C.2.1",
	 "d28443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23"
	 "d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36",
	 ""},
	{"sign-pass-02: external data",
	 "d28443a10126a10442313154546869732069732074686520636f6e74656e742e584010729cd711cb3813d8d8e944a8da7111"
	 "e7b258c9bdca6135f7ae1adbee9509891267837e1e33bd36c150326ae62755c6bd8e540c3e8f92d7d225e8db72b8820b",
	 "11aa22bb33cc44dd55006699"},
	{"sign-pass-03: no tag",
	 "8443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23d5"
	 "8fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36",
	 ""},
};

static const struct {
	const char *name, *message;
} forged[] = {
	{"sign-fail-02: payload changed",
	 "d28443a10126a10442313154546869732069732074686520636f6e74656e742f58408eb33e4ca31d1c465ab05aac34cc6b23"
	 "d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36"},
	{"sign-fail-06: protected attribute added",
	 "d28445a201260300a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc"
	 "6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36"},
	{"sign-fail-07: protected attribute removed after signing",
	 "d28443a10126a10442313154546869732069732074686520636f6e74656e742e58406520bbaf2081d7e0ed0f95f76eb0733d"
	 "667005f7467cec4b87b9381a6ba1ede8e00df29f32a37230f39a842a54821fdd223092819d7728efb9d3a0080b75380b"},
};

static const struct {
	const char *name, *message;
	enum status st;
	const char *why;
} refused[] = {
	{"sign-fail-01: another tag",
	 "d903e68443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc"
	 "6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36",
	 ST_INVALID, "the message is no COSE_Sign1"},
	{"sign-fail-03: unknown algorithm",
	 "d28445a1013903e6a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc"
	 "6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36",
	 ST_UNSUPPORTED, "the algorithm is not ES256 (-7)"},
	{"sign-fail-04: algorithm as text",
	 "d2844aa10167756e6b6e6f776ea10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465a"
	 "b05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4"
	 "c345cacb36",
	 ST_UNSUPPORTED, "the algorithm is not ES256 (-7)"},
	{"sign-pass-01: the algorithm unprotected, which we refuse",
	 "d28441a0a201260442313154546869732069732074686520636f6e74656e742e584087db0d2e5571843b78ac33ecb2830df7"
	 "b6e0a4d5b7376de336b23c591c90c425317e56127fbe04370097ce347087b233bf722b64072beb4486bda4031d27244f",
	 ST_INVALID, "the algorithm is not in the protected header"},
	{"no CBOR", "", ST_CORRUPT, "the message is not one CBOR item"},
	{"cut", "8443a10126", ST_CORRUPT, "the message is not one CBOR item"},
	{"something behind it",
	 "d28443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23"
	 "d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb3600",
	 ST_CORRUPT, "the message is not one CBOR item"},
	{"no array", "a0", ST_INVALID, "the message is no COSE_Sign1"},
	{"three elements", "8343a10126a04100", ST_INVALID, "the message is no COSE_Sign1"},
	{"five elements",
	 "8543a10126a04100584000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "00000000000000000000000000000000000000000000000000",
	 ST_INVALID, "the message is no COSE_Sign1"},
	{"tag in a tag",
	 "d2d28443a10126a0410058400000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "0000000000000000000000000000000000000000000000000000",
	 ST_INVALID, "the message is no COSE_Sign1"},
	{"protected is a map",
	 "84a10126a0410058400000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "0000000000000000000000000000000000000000000000",
	 ST_INVALID, "the protected header is no byte string"},
	{"protected is empty",
	 "8440a04100584000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "000000000000000000000000000000000000000000",
	 ST_INVALID, "the protected header names no algorithm"},
	{"protected is no CBOR",
	 "8441ffa041005840000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "00000000000000000000000000000000000000000000",
	 ST_CORRUPT, "the protected header is not CBOR"},
	{"protected has more",
	 "8444a1012600a041005840000000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "00000000000000000000000000000000000000000000000000",
	 ST_CORRUPT, "the protected header is not CBOR"},
	{"protected is a number",
	 "844101a041005840000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "00000000000000000000000000000000000000000000",
	 ST_INVALID, "a header of the message is no map"},
	{"unprotected is a number",
	 "8443a10126014100584000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "000000000000000000000000000000000000000000000000",
	 ST_INVALID, "a header of the message is no map"},
	{"critical",
	 "8446a20126028104a04100584000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "000000000000000000000000000000000000000000000000000000",
	 ST_UNSUPPORTED, "the message has critical header parameters, of which none is known"},
	{"a label twice",
	 "8445a201260126a0410058400000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "0000000000000000000000000000000000000000000000000000",
	 ST_INVALID, "a header label comes twice"},
	{"a label in both",
	 "8443a10126a10126410058400000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "0000000000000000000000000000000000000000000000000000",
	 ST_INVALID, "a header label comes twice"},
	{"a label that is a list",
	 "8443a10126a18000410058400000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "0000000000000000000000000000000000000000000000000000",
	 ST_INVALID, "a header label is neither a number nor text"},
	{"too many headers",
	 "8443a10126b0184000184100184200184300184400184500184600184700184800184900184a00184b00184c00184d00184e"
	 "00184f0041005840000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "00000000000000000000000000000000000000000000",
	 ST_OVER_LIMIT, "the message has more than 16 headers"},
	{"kid is text",
	 "8443a10126a10461314100584000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "000000000000000000000000000000000000000000000000000000",
	 ST_INVALID, "the key identifier is no byte string"},
	{"detached",
	 "8443a10126a0f658400000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "0000000000000000000000000000000000000000000000",
	 ST_UNSUPPORTED, "the message's payload is detached"},
	{"payload is text",
	 "8443a10126a06100584000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "000000000000000000000000000000000000000000000000",
	 ST_INVALID, "the message's payload is no byte string"},
	{"signature too short",
	 "8443a10126a04100583f00000000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "0000000000000000000000000000000000000000000000",
	 ST_INVALID, "the signature is not 64 bytes"},
	{"signature too long",
	 "8443a10126a04100584100000000000000000000000000000000000000000000000000000000000000000000000000000000"
	 "00000000000000000000000000000000000000000000000000",
	 ST_INVALID, "the signature is not 64 bytes"},
	{"signature is text", "8443a10126a041006100", ST_INVALID, "the signature is not 64 bytes"},
};

/* ---- small parts ---- */

/* The bytes that @text writes in hexadecimal. */
static size_t hex(const char *text, uint8_t *out)
{
	size_t len = strlen(text) / 2;

	for (size_t i = 0; i < len; i++)
		assert_int_equal(sscanf(text + 2 * i, "%2hhx", &out[i]), 1);
	return len;
}

static struct p256_key key_of(const char *x, const char *y)
{
	struct p256_key key = {.point = {4}};

	hex(x, key.point + 1);
	hex(y, key.point + 33);
	return key;
}

static uint8_t message[4096], aad[64];

/* ---- messages ---- */

static void published_messages_verify(void **state)
{
	struct p256_key key = key_of(KEY_X, KEY_Y), other = key_of(RFC6979_X, RFC6979_Y);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct cose_sign1 m;
		struct error err = {""};
		size_t aad_len = hex(good[i].aad, aad);

		if (cose_sign1_parse(message, hex(good[i].message, message), &m, &err) != ST_OK)
			fail_msg("%s: %s", good[i].name, err.text);
		assert_int_equal(m.kid_len, 2);
		assert_memory_equal(m.kid, "11", 2);
		assert_int_equal(m.payload_len, 20);
		assert_memory_equal(m.payload, "This is the content.", 20);
		assert_true(cose_sign1_verify(&m, aad, aad_len, &key));
		assert_false(cose_sign1_verify(&m, "x", 1, &key));
		assert_false(cose_sign1_verify(&m, aad, aad_len, &other));
	}
}

static void forged_messages_do_not(void **state)
{
	struct p256_key key = key_of(KEY_X, KEY_Y);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(forged); i++) {
		struct cose_sign1 m;
		struct error err = {""};

		if (cose_sign1_parse(message, hex(forged[i].message, message), &m, &err) != ST_OK)
			fail_msg("%s: %s", forged[i].name, err.text);
		if (cose_sign1_verify(&m, "", 0, &key))
			fail_msg("%s verifies", forged[i].name);
	}
}

static void malformed_messages_are_refused_with_a_reason(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct cose_sign1 m = {.payload_len = 77};
		struct error err = {""};
		enum status st = cose_sign1_parse(message, hex(refused[i].message, message), &m, &err);

		if (st != refused[i].st || strcmp(err.text, refused[i].why) != 0)
			fail_msg("%s: %s: %s", refused[i].name, status_name(st), err.text);
		assert_int_equal(m.payload_len, 77);
	}
}

/* Whatever bit of a signed message is turned, it is refused or does not verify; but the kid's, which is not signed. */
static void every_bit_counts(void **state)
{
	struct p256_key key = key_of(KEY_X, KEY_Y);
	size_t len = hex(good[0].message, message), kid_at = 9;

	(void)state;
	for (size_t bit = 0; bit < len * 8; bit++) {
		struct cose_sign1 m;

		if (bit / 8 == kid_at || bit / 8 == kid_at + 1 || bit / 8 == kid_at - 2)
			continue; /* the kid and its label */
		message[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (cose_sign1_parse(message, len, &m, NULL) == ST_OK && cose_sign1_verify(&m, "", 0, &key))
			fail_msg("bit %zu of byte %zu may be turned", bit % 8, bit / 8);
		message[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void every_cut_is_refused(void **state)
{
	size_t len = hex(good[0].message, message);

	(void)state;
	for (size_t cut = 0; cut < len; cut++) {
		struct cose_sign1 m;

		assert_int_equal(cose_sign1_parse(message, cut, &m, NULL), ST_CORRUPT);
	}
}

/* ---- the arithmetic below ---- */

static bool ecdsa_good(const struct p256_key *key, const char *text, const char *signature)
{
	br_ec_public_key public = {BR_EC_secp256r1, (unsigned char *)(uintptr_t)key->point, sizeof key->point};
	uint8_t hash[SHA256_BYTES], sig[ES256_SIGNATURE_BYTES];
	br_sha256_context c;

	br_sha256_init(&c);
	br_sha256_update(&c, text, strlen(text));
	br_sha256_out(&c, hash);
	hex(signature, sig);
	return br_ecdsa_i31_vrfy_raw(&br_ec_p256_m31, hash, sizeof hash, &public, sig, sizeof sig) == 1;
}

static void rfc6979_signatures_verify(void **state)
{
	static const char sample[] = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
				     "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";
	static const char test[] = "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
				   "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083";
	struct p256_key key = key_of(RFC6979_X, RFC6979_Y);

	(void)state;
	assert_true(ecdsa_good(&key, "sample", sample));
	assert_true(ecdsa_good(&key, "test", test));
	assert_false(ecdsa_good(&key, "sample", test));
	assert_false(ecdsa_good(&key, "sample",
				"00000000000000000000000000000000000000000000000000000000000000000"
				"000000000000000000000000000000000000000000000000000000000000000"));
}

/* ---- keys ---- */

static void a_key_is_a_cose_key_or_a_point(void **state)
{
	struct p256_key key = key_of(KEY_X, KEY_Y), out;
	uint8_t encoded[COSE_KEY_BYTES];
	struct error err;

	(void)state;
	cose_key_encode(&key, encoded);
	hex("a401022001215820" KEY_X "225820" KEY_Y, message);
	assert_memory_equal(encoded, message, sizeof encoded);
	assert_int_equal(cose_key_decode(encoded, sizeof encoded, &out, &err), ST_OK);
	assert_memory_equal(&out, &key, sizeof key);
	memset(&out, 0, sizeof out);
	assert_int_equal(cose_key_decode(key.point, sizeof key.point, &out, &err), ST_OK);
	assert_memory_equal(&out, &key, sizeof key);
	/* other order, kid and algorithm besides */
	size_t len = hex("a6225820" KEY_Y "215820" KEY_X "2001010202423131"
			 "0326",
			 message);
	assert_int_equal(cose_key_decode(message, len, &out, &err), ST_OK);
	assert_memory_equal(&out, &key, sizeof key);
}

static void other_keys_are_refused(void **state)
{
	static const struct {
		const char *key;
		enum status st;
		const char *why;
	} cases[] = {
		{"", ST_INVALID, "the key is neither a COSE_Key nor a point of 65 bytes"},
		{"04", ST_INVALID, "the key is neither a COSE_Key nor a point of 65 bytes"},
		{"80", ST_INVALID, "the key is neither a COSE_Key nor a point of 65 bytes"},
		{"a0", ST_UNSUPPORTED, "the key is not EC2 (2) on the curve P-256 (1)"},
		{"a401012001215820" KEY_X "225820" KEY_Y, ST_UNSUPPORTED,
		 "the key is not EC2 (2) on the curve P-256 (1)"},
		{"a401022002215820" KEY_X "225820" KEY_Y, ST_UNSUPPORTED,
		 "the key is not EC2 (2) on the curve P-256 (1)"},
		{"a501020102"
		 "2001215820" KEY_X "225820" KEY_Y,
		 ST_UNSUPPORTED, "the key is not EC2 (2) on the curve P-256 (1)"},
		{"a50102033822"
		 "2001215820" KEY_X "225820" KEY_Y,
		 ST_UNSUPPORTED, "the key is for another algorithm than ES256 (-7)"},
		{"a301022001215820" KEY_X, ST_INVALID, "the key's x and y are not byte strings of 32"},
		{"a401022001215820" KEY_X "22f5", ST_INVALID, "the key's x and y are not byte strings of 32"},
		{"a501022001215820" KEY_X "225820" KEY_Y "234100", ST_INVALID,
		 "the key has its private part: only the public one belongs here"},
		{"a401022001215820" KEY_X "225820" KEY_X, ST_INVALID, "the key is no point on the curve P-256"},
		{"a401022001215820ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff225820" KEY_Y,
		 ST_INVALID, "the key is no point on the curve P-256"},
		{"04" KEY_X KEY_X, ST_INVALID, "the key is no point on the curve P-256"},
		{"02" KEY_X KEY_Y, ST_INVALID, "the key is neither a COSE_Key nor a point of 65 bytes"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct p256_key out;
		struct error err = {""};
		enum status st = cose_key_decode(message, hex(cases[i].key, message), &out, &err);

		if (st != cases[i].st || strcmp(err.text, cases[i].why) != 0)
			fail_msg("%s: %s: %s", cases[i].key, status_name(st), err.text);
	}
}

/* RFC 9679 section 4: SHA-256 of the key above in its deterministic encoding, made with Python's hashlib. */
static void thumbprint_is_the_hash_of_the_required_members(void **state)
{
	struct p256_key key = key_of(KEY_X, KEY_Y);
	uint8_t got[COSE_THUMBPRINT_BYTES], want[COSE_THUMBPRINT_BYTES];

	(void)state;
	hex("b71d9fc27ee9ce61a60560b2eeeef7f6934a6b9d57ce122b2b12e932cacbf1d9", want);
	cose_key_thumbprint(&key, got);
	assert_memory_equal(got, want, sizeof got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_messages_verify),
		cmocka_unit_test(forged_messages_do_not),
		cmocka_unit_test(malformed_messages_are_refused_with_a_reason),
		cmocka_unit_test(every_bit_counts),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(rfc6979_signatures_verify),
		cmocka_unit_test(a_key_is_a_cose_key_or_a_point),
		cmocka_unit_test(other_keys_are_refused),
		cmocka_unit_test(thumbprint_is_the_hash_of_the_required_members),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
