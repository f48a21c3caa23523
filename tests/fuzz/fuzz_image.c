/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images of Corbel of any bytes, in pieces of any size: the reader stays inside
 * what came, its answer does not depend on the pieces, and what it calls good
 * has a printable version and the hash that it is stamped with.
 */
#include <stdlib.h>
#include <string.h>

#include "lua/image.h"

struct outcome {
	enum status st;
	enum image_fault fault;
	struct image_info info;
	uint8_t sha[SHA256_BYTES];
};

static void read_image(const uint8_t *data, size_t size, size_t piece, struct outcome *out)
{
	static struct image_reader reader;

	memset(out, 0, sizeof *out);
	memset(&reader, 0, sizeof reader);
	out->st = image_begin(&reader, size, &out->fault, NULL);
	for (size_t at = 0; out->st == ST_OK && at < size; at += piece) {
		size_t len = size - at < piece ? size - at : piece;
		uint8_t *copy = malloc(len); /* of just that size: what is read behind it is seen */

		memcpy(copy, data + at, len);
		out->st = image_add(&reader, copy, len, &out->fault, NULL);
		free(copy);
	}
	if (out->st == ST_OK)
		out->st = image_end(&reader, out->sha, &out->fault, NULL);
	if (out->st == ST_OK)
		out->info = reader.info;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, cut;

	if (size < 1)
		return 0;
	read_image(data + 1, size - 1, size, &whole);
	read_image(data + 1, size - 1, 1 + data[0] * 16u, &cut);
	if (memcmp(&whole, &cut, sizeof whole) != 0)
		abort();
	if (whole.st != ST_OK && whole.fault == IMAGE_GOOD)
		abort();
	for (const char *p = whole.info.version; whole.st == ST_OK && *p; p++)
		if (*p <= ' ' || *p > '~')
			abort();
	return 0;
}
