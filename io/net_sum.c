/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Internet checksum (RFC 1071), eight bytes at a time: a sum modulo 2^64 - 1 is one modulo 2^16 - 1 as well, since
 * the latter divides the former. The order of bytes does not matter to it either, but for a swap at the end (section
 * 2 B), so words are added as the machine loads them.
 *
 * What is summed while it is copied may be changed by its owner meanwhile: each byte is loaded once, and what was
 * loaded is both added and stored.
 */
#include "io/net_frame.h"
#include "lib/bits.h"

/* Words anywhere, of any type, that may change at any moment. */
typedef uint64_t __attribute__((aligned(1), may_alias)) any64;
typedef uint32_t __attribute__((aligned(1), may_alias)) any32;
typedef uint16_t __attribute__((aligned(1), may_alias)) any16;

static uint16_t fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* @mine, of words as the machine loads them, added to @sum, which is of big-endian ones from an even offset. */
static uint64_t join(uint64_t sum, uint64_t mine, bool odd)
{
	uint16_t folded = fold(mine);

	return sum + (odd ? folded : __builtin_bswap16(folded));
}

/* Each of these returns what lies at @from + @at, and writes it to @to + @at if that is to be @copied. */
static ALWAYS_INLINE uint64_t take64(uint8_t *to, const uint8_t *from, uint32_t at, bool copied)
{
	uint64_t v = *(const volatile any64 *)(from + at);

	if (copied)
		put_le64(to + at, v);
	return v;
}

static ALWAYS_INLINE uint64_t take32(uint8_t *to, const uint8_t *from, uint32_t at, bool copied)
{
	uint32_t v = *(const volatile any32 *)(from + at);

	if (copied)
		put_le32(to + at, v);
	return v;
}

static ALWAYS_INLINE uint64_t take16(uint8_t *to, const uint8_t *from, uint32_t at, bool copied)
{
	uint16_t v = *(const volatile any16 *)(from + at);

	if (copied)
		put_le16(to + at, v);
	return v;
}

static ALWAYS_INLINE uint64_t take8(uint8_t *to, const uint8_t *from, uint32_t at, bool copied)
{
	uint8_t v = *(const volatile uint8_t *)(from + at);

	if (copied)
		to[at] = v;
	return v;
}

/* Carries are counted apart: that is one instruction a word, and the words do not wait for each other's. */
static ALWAYS_INLINE void add(uint64_t *sum, uint64_t *carries, uint64_t word)
{
	*sum += word;
	*carries += *sum < word;
}

static ALWAYS_INLINE uint64_t take(uint64_t sum, uint8_t *to, const uint8_t *from, uint32_t bytes, bool odd, bool copied)
{
	uint64_t mine = 0, carries = 0;
	const uint8_t *whole = from + (bytes & ~31u), *end = from + (bytes & ~7u);

	while (from != whole) {
		add(&mine, &carries, take64(to, from, 0, copied));
		add(&mine, &carries, take64(to, from, 8, copied));
		add(&mine, &carries, take64(to, from, 16, copied));
		add(&mine, &carries, take64(to, from, 24, copied));
		from += 32;
		if (copied)
			to += 32;
	}
	while (from != end) {
		add(&mine, &carries, take64(to, from, 0, copied));
		from += 8;
		if (copied)
			to += 8;
	}
	/* What is left is fewer than eight bytes, in pieces that begin at even ones; their sum has room beside carries. */
	if (bytes & 4)
		carries += take32(to, from, 0, copied);
	if (bytes & 2)
		carries += take16(to, from, bytes & 4, copied);
	if (bytes & 1)
		carries += take8(to, from, bytes & 6, copied);
	mine += carries;
	return join(sum, mine + (mine < carries), odd);
}

uint64_t net_sum(uint64_t sum, const void *data, uint32_t bytes, bool odd)
{
	return take(sum, NULL, data, bytes, odd, false);
}

uint64_t net_sum_copy(uint64_t sum, void *to, const void *data, uint32_t bytes, bool odd)
{
	return take(sum, to, data, bytes, odd, true);
}

uint16_t net_sum_end(uint64_t sum) { return (uint16_t)~fold(sum); }
