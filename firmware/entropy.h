/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random bits that a secret may be made of: RDSEED, else RDRAND, each believed
 * only as long as it behaves. A generator that repeats itself, or says all zeroes
 * or all ones (as some processors did after a resume), is never asked again. The
 * clock is no source here: without a generator there is no entropy, and whoever
 * asked has to do without.
 *
 * The checks are pure; the instructions are firmware/cpu.c's.
 */
#ifndef CORBEL_FIRMWARE_ENTROPY_H
#define CORBEL_FIRMWARE_ENTROPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

#define ENTROPY_SOURCES 2u

struct entropy_source {
	const char *name;             /* of the instruction */
	bool (*next)(uint64_t *out);  /* false: nothing ready now. NULL: the processor has no such instruction */
	unsigned tries;               /* before it counts as not working now */
	uint64_t last;
	bool drawn;                   /* last is a value */
	const char *broken;           /* why it is not believed any more, or NULL */
};

/* In the order of preference. */
struct entropy {
	struct entropy_source source[ENTROPY_SOURCES];
};

/*
 * Fills @out with @len random bytes. ST_IO, with what is wrong with each source, when none works; @out
 * is then all zeroes.
 */
enum status entropy_fill(struct entropy *e, void *out, size_t len, struct error *err) MUST_CHECK;

#endif
