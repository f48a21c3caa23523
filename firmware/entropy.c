/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The continuous test is the repetition count test of NIST SP 800-90B section
 * 4.4.1 with a cutoff of two: a repeated 64-bit value comes once in 2^64 draws of
 * a good source. Tries are the SDM's and Intel's implementation guide's: ten for
 * RDRAND, which is never exhausted for long, more for RDSEED, which can be.
 */
#include "firmware/entropy.h"

#include <string.h>

#include "lib/bits.h"

/* Believes @v or not. */
static bool plausible(struct entropy_source *s, uint64_t v)
{
	if (v == 0 || v == UINT64_MAX)
		s->broken = "says all zeroes or all ones";
	else if (s->drawn && v == s->last)
		s->broken = "repeats itself";
	s->last = v;
	s->drawn = true;
	return !s->broken;
}

static bool draw(struct entropy_source *s, uint64_t *out)
{
	uint64_t v;

	if (!s->next || s->broken)
		return false;
	/* The first value is only there to be compared with: a stuck generator must not get one past us. */
	for (unsigned i = 0; i < s->tries; i++) {
		bool first = !s->drawn;

		if (!s->next(&v))
			continue;
		if (!plausible(s, v))
			return false;
		if (first)
			continue;
		*out = v;
		return true;
	}
	return false;
}

static const char *trouble(const struct entropy_source *s)
{
	if (!s->next)
		return "is missing";
	return s->broken ? s->broken : "gives nothing";
}

enum status entropy_fill(struct entropy *e, void *out, size_t len, struct error *err)
{
	uint8_t *p = out;
	uint64_t v = 0;

	for (size_t at = 0, n; at < len; at += n) {
		bool got = false;

		for (unsigned i = 0; i < ENTROPY_SOURCES && !got; i++)
			got = draw(&e->source[i], &v);
		if (!got) {
			memset(out, 0, len);
			return fail(err, ST_IO, "no source of entropy: %s %s, %s %s", e->source[0].name,
				    trouble(&e->source[0]), e->source[1].name, trouble(&e->source[1]));
		}
		n = MIN(len - at, sizeof v);
		memcpy(p + at, &v, n);
	}
	return ST_OK;
}
