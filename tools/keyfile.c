/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcrypto does the arithmetic and reads the files, so that whatever openssl
 * can protect a key with works here too; the machine checks with another library,
 * and each login is also a test of both.
 */
#include "tools/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/client.h"

#define CURVE "prime256v1"
#define CURVE_NAME_MAX 32
#define COORDINATE 32
#define DER_MAX 80 /* of a signature */

struct keyfile {
	EVP_PKEY *pkey;
	uint8_t point[KEYFILE_POINT];
};

/* Takes @pkey over, which may be NULL; NULL after a sentence when it is no key for us. */
static struct keyfile *take(EVP_PKEY *pkey, const char *path)
{
	struct keyfile *k = calloc(1, sizeof *k);
	char curve[CURVE_NAME_MAX] = "";
	size_t len = 0;

	if (k && pkey && EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, curve, sizeof curve, NULL) &&
	    strcmp(curve, CURVE) == 0 &&
	    EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, k->point, sizeof k->point, &len) &&
	    len == sizeof k->point && k->point[0] == 4) {
		k->pkey = pkey;
		return k;
	}
	if (pkey)
		complain("%s is not a key on the curve P-256", path);
	else
		complain("%s holds no key that can be read: %s", path, ERR_reason_error_string(ERR_peek_last_error()));
	EVP_PKEY_free(pkey);
	free(k);
	return NULL;
}

static FILE *open_key(const char *path)
{
	FILE *f = fopen(path, "r");

	if (!f)
		complain("%s: %s", path, strerror(errno));
	ERR_clear_error();
	return f;
}

struct keyfile *keyfile_read_private(const char *path)
{
	FILE *f = open_key(path);
	EVP_PKEY *pkey;

	if (!f)
		return NULL;
	pkey = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	return take(pkey, path);
}

bool keyfile_read_public(const char *path, uint8_t point[KEYFILE_POINT])
{
	FILE *f = open_key(path);
	struct keyfile *k;
	EVP_PKEY *pkey;

	if (!f)
		return false;
	pkey = PEM_read_PUBKEY(f, NULL, NULL, NULL);
	if (!pkey) {
		rewind(f);
		pkey = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	}
	fclose(f);
	k = take(pkey, path);
	if (!k)
		return false;
	keyfile_point(k, point);
	keyfile_free(k);
	return true;
}

static bool write_key(const char *path, EVP_PKEY *pkey)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
	bool good;

	if (!f) {
		complain("%s: %s", path, strerror(errno));
		return false;
	}
	good = PEM_write_PrivateKey(f, pkey, NULL, NULL, 0, NULL, NULL) == 1;
	good = fclose(f) == 0 && good;
	if (!good) {
		complain("%s cannot be written", path);
		unlink(path);
	}
	return good;
}

bool keyfile_make(const char *path, uint8_t point[KEYFILE_POINT])
{
	struct keyfile *k = take(EVP_EC_gen(CURVE), path);
	bool good = k && write_key(path, k->pkey);

	if (good)
		keyfile_point(k, point);
	keyfile_free(k);
	return good;
}

void keyfile_free(struct keyfile *k)
{
	if (!k)
		return;
	EVP_PKEY_free(k->pkey);
	free(k);
}

void keyfile_point(const struct keyfile *k, uint8_t out[KEYFILE_POINT])
{
	memcpy(out, k->point, KEYFILE_POINT);
}

void keyfile_thumbprint(const uint8_t point[KEYFILE_POINT], uint8_t out[KEYFILE_THUMBPRINT])
{
	/* {1: 2, -1: 1, -2: x, -3: y}, docs/protocol.md section 7 */
	static const uint8_t head[] = {0xa4, 0x01, 0x02, 0x20, 0x01, 0x21, 0x58, 0x20}, middle[] = {0x22, 0x58, 0x20};
	uint8_t key[sizeof head + COORDINATE + sizeof middle + COORDINATE], *p = key;

	memcpy(p, head, sizeof head);
	p += sizeof head;
	memcpy(p, point + 1, COORDINATE);
	p += COORDINATE;
	memcpy(p, middle, sizeof middle);
	memcpy(p + sizeof middle, point + 1 + COORDINATE, COORDINATE);
	EVP_Digest(key, sizeof key, out, NULL, EVP_sha256(), NULL);
}

/* r and s of a signature in DER, 32 bytes each. */
static bool unpack(const uint8_t *der, size_t len, uint8_t out[KEYFILE_SIGNATURE])
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
	bool good = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, COORDINATE) == COORDINATE &&
		    BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + COORDINATE, COORDINATE) == COORDINATE;

	ECDSA_SIG_free(sig);
	return good;
}

bool keyfile_sign(const struct keyfile *k, const void *data, size_t len, uint8_t out[KEYFILE_SIGNATURE])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t der[DER_MAX];
	size_t der_len = sizeof der;
	bool good = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->pkey) == 1 &&
		    EVP_DigestSign(ctx, der, &der_len, data, len) == 1 && unpack(der, der_len, out);

	EVP_MD_CTX_free(ctx);
	if (!good)
		complain("the key does not sign: %s", ERR_reason_error_string(ERR_peek_last_error()));
	return good;
}
