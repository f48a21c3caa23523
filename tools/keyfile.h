/* SPDX-License-Identifier: Apache-2.0 */
/*
 * P-256 keys in PEM files, as openssl and corbelctl keygen write them, and what a
 * login does with them. The private key stays in here (libcrypto's memory); a
 * passphrase is asked for on the terminal.
 */
#ifndef CORBEL_TOOLS_KEYFILE_H
#define CORBEL_TOOLS_KEYFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYFILE_POINT 65      /* 04, x, y */
#define KEYFILE_SIGNATURE 64  /* r, s */
#define KEYFILE_THUMBPRINT 32 /* RFC 9679, SHA-256 */

struct keyfile;

/* NULL after a sentence. */
struct keyfile *keyfile_read_private(const char *path);
/* The public key of a file that has it or the private one. False after a sentence. */
bool keyfile_read_public(const char *path, uint8_t point[KEYFILE_POINT]);
/* Writes a new private key that nobody else can read; refuses to replace a file. False after a sentence. */
bool keyfile_make(const char *path, uint8_t point[KEYFILE_POINT]);
void keyfile_free(struct keyfile *k);

void keyfile_point(const struct keyfile *k, uint8_t out[KEYFILE_POINT]);
void keyfile_thumbprint(const uint8_t point[KEYFILE_POINT], uint8_t out[KEYFILE_THUMBPRINT]);
/* ES256 over @data. False after a sentence. */
bool keyfile_sign(const struct keyfile *k, const void *data, size_t len, uint8_t out[KEYFILE_SIGNATURE]);

#endif
