/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Somebody with a private key: three of them, made from fixed numbers, who answer
 * challenges as a client would.
 */
#ifndef CORBEL_TESTS_SIGNER_H
#define CORBEL_TESTS_SIGNER_H

#include "lua/cose.h"

#define SIGNERS 3
#define SIGNED_MAX 512

/* The public key of signer @who. */
struct p256_key signer_key(unsigned who);

/* A COSE_Sign1 by @who over @payload, with the thumbprint as key identifier; its length. */
size_t signer_sign(unsigned who, const void *payload, size_t len, uint8_t out[SIGNED_MAX]);

#endif
