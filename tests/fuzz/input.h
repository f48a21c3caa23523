/* SPDX-License-Identifier: Apache-2.0 */
/* What fuzz targets that take their input in pieces have in common: numbers from it, zeroes behind its end. */
#ifndef CORBEL_TESTS_FUZZ_INPUT_H
#define CORBEL_TESTS_FUZZ_INPUT_H

#include <stdint.h>
#include <stdlib.h>

/* A finding: the fuzzer keeps what led to it. */
#define REQUIRE(cond)            \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

struct input {
	const uint8_t *at, *end;
};

/* The next @bytes, at most 8, as a little-endian number. */
static inline uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes && in->at < in->end; i++)
		v |= (uint64_t)*in->at++ << 8 * i;
	return v;
}

#endif
