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

/* A word anywhere, of any type, that may change at any moment. */
struct any64 {
	uint64_t v;
} __attribute__((packed, may_alias));

static ALWAYS_INLINE uint64_t load64(const uint8_t *p) { return ((const volatile struct any64 *)p)->v; }

static ALWAYS_INLINE uint64_t add(uint64_t sum, uint64_t word)
{
	sum += word;
	return sum + (sum < word);
}

/* The last bytes, fewer than eight, as a word with zeroes behind them. */
static uint64_t load_rest(const uint8_t *p, uint32_t bytes)
{
	const volatile uint8_t *at = p;
	uint64_t word = 0;

	for (uint32_t i = 0; i < bytes; i++)
		word |= (uint64_t)at[i] << 8 * i;
	return word;
}

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

uint64_t net_sum(uint64_t sum, const void *data, uint32_t bytes, bool odd)
{
	const uint8_t *p = data;
	uint64_t mine = 0;

	for (; bytes >= 32; p += 32, bytes -= 32) {
		mine = add(mine, load64(p));
		mine = add(mine, load64(p + 8));
		mine = add(mine, load64(p + 16));
		mine = add(mine, load64(p + 24));
	}
	for (; bytes >= 8; p += 8, bytes -= 8)
		mine = add(mine, load64(p));
	return join(sum, add(mine, load_rest(p, bytes)), odd);
}

/* Copies eight bytes; what was copied. */
static ALWAYS_INLINE uint64_t move64(uint8_t *to, const uint8_t *from)
{
	uint64_t v = load64(from);

	put_le64(to, v);
	return v;
}

uint64_t net_sum_copy(uint64_t sum, void *to, const void *data, uint32_t bytes, bool odd)
{
	const uint8_t *p = data;
	uint8_t *q = to;
	uint64_t mine = 0, rest;

	for (; bytes >= 32; p += 32, q += 32, bytes -= 32) {
		mine = add(mine, move64(q, p));
		mine = add(mine, move64(q + 8, p + 8));
		mine = add(mine, move64(q + 16, p + 16));
		mine = add(mine, move64(q + 24, p + 24));
	}
	for (; bytes >= 8; p += 8, q += 8, bytes -= 8)
		mine = add(mine, move64(q, p));
	rest = load_rest(p, bytes);
	for (uint32_t i = 0; i < bytes; i++)
		q[i] = (uint8_t)(rest >> 8 * i);
	return join(sum, add(mine, rest), odd);
}

uint16_t net_sum_end(uint64_t sum) { return (uint16_t)~fold(sum); }
