/* SPDX-License-Identifier: Apache-2.0 */
/* See signer.h. The private keys are 1111...11h, 2222...22h, 3333...33h. */
#include "tests/fakes/signer.h"

#include <bearssl.h>
#include <stdlib.h>
#include <string.h>

#include "lua/cbor.h"

static br_ec_private_key private_key(unsigned who, unsigned char bytes[32])
{
	memset(bytes, (int)(0x11 * (who + 1)), 32);
	return (br_ec_private_key){.curve = BR_EC_secp256r1, .x = bytes, .xlen = 32};
}

struct p256_key signer_key(unsigned who)
{
	unsigned char bytes[32];
	br_ec_private_key private = private_key(who, bytes);
	struct p256_key key;

	if (br_ec_compute_pub(&br_ec_p256_m31, NULL, key.point, &private) != sizeof key.point)
		abort();
	return key;
}

static const uint8_t protected[] = {0xa1, 0x01, 0x26};

/* ES256 over the Sig_structure (RFC 9052 section 4.4), made with the codec and not with the code under test. */
static void sign(unsigned who, const void *payload, size_t len, uint8_t signature[64])
{
	uint8_t structure[SIGNED_MAX], hash[32];
	unsigned char bytes[32];
	br_ec_private_key private = private_key(who, bytes);
	struct cbor_mark list;
	br_sha256_context c;
	struct cbor_writer w;

	cbor_writer_init(&w, structure, sizeof structure);
	list = cbor_open(&w);
	cbor_put_text(&w, "Signature1");
	cbor_put_bytes(&w, protected, sizeof protected);
	cbor_put_bytes(&w, "", 0);
	cbor_put_bytes(&w, payload, len);
	cbor_close_array(&w, list);
	br_sha256_init(&c);
	br_sha256_update(&c, structure, w.len);
	br_sha256_out(&c, hash);
	if (br_ecdsa_i31_sign_raw(&br_ec_p256_m31, &br_sha256_vtable, hash, &private, signature) != 64)
		abort();
}

size_t signer_sign(unsigned who, const void *payload, size_t len, uint8_t out[SIGNED_MAX])
{
	uint8_t signature[64], thumbprint[COSE_THUMBPRINT_BYTES];
	struct p256_key key = signer_key(who);
	struct cbor_mark list, map;
	struct cbor_writer w;

	sign(who, payload, len, signature);
	cose_key_thumbprint(&key, thumbprint);
	cbor_writer_init(&w, out, SIGNED_MAX);
	cbor_put_tag(&w, 18);
	list = cbor_open(&w);
	cbor_put_bytes(&w, protected, sizeof protected);
	map = cbor_open(&w);
	cbor_put_int(&w, 4);
	cbor_put_bytes(&w, thumbprint, sizeof thumbprint);
	cbor_close_map(&w, map);
	cbor_put_bytes(&w, payload, len);
	cbor_put_bytes(&w, signature, sizeof signature);
	cbor_close_array(&w, list);
	if (w.overflow)
		abort();
	return w.len;
}
