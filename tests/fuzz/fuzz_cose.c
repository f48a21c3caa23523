/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COSE from outside. The first byte chooses: a message, whose parts must lie
 * inside the input, or a key, which written again must read as the same. No
 * input that the fuzzer makes can verify: it has no private key.
 */
#include <stdlib.h>
#include <string.h>

#include "lua/cose.h"

static void check_inside(const uint8_t *part, size_t len, const uint8_t *data, size_t size)
{
	if (len > size || part < data || part + len > data + size)
		abort();
}

static void try_message(const uint8_t *data, size_t size)
{
	struct p256_key key = {.point = {4}};
	struct cose_sign1 m;
	struct error err;

	if (cose_sign1_parse(data, size, &m, &err) != ST_OK) {
		if (err.text[0] == '\0')
			abort();
		return;
	}
	check_inside(m.protected, m.protected_len, data, size);
	check_inside(m.payload, m.payload_len, data, size);
	check_inside(m.signature, ES256_SIGNATURE_BYTES, data, size);
	if (m.kid)
		check_inside(m.kid, m.kid_len, data, size);
	/* Not on the curve, so this is cheap, and still walks all that is hashed. */
	if (cose_sign1_verify(&m, data, size, &key))
		abort();
}

static void try_key(const uint8_t *data, size_t size)
{
	struct p256_key key, again;
	uint8_t encoded[COSE_KEY_BYTES];
	struct error err;

	if (cose_key_decode(data, size, &key, &err) != ST_OK)
		return;
	cose_key_encode(&key, encoded);
	if (cose_key_decode(encoded, sizeof encoded, &again, &err) != ST_OK || memcmp(&key, &again, sizeof key) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		try_key(data + 1, size - 1);
	else
		try_message(data + 1, size - 1);
	return 0;
}
