/* SPDX-License-Identifier: Apache-2.0 */
/* Three levels of words of 64 bits, each bit of a level standing for a word of the one below. */
#include "io/space.h"

#include "lib/assert.h"
#include "lib/bits.h"

#define WORD_BITS 64u

static uint32_t words_for(uint32_t bits) { return (bits + WORD_BITS - 1) / WORD_BITS; }

size_t space_bytes(uint32_t count)
{
	size_t words = 0;

	for (unsigned i = 0; i < SPACE_LEVELS; i++)
		words += count = words_for(count);
	return words * sizeof(uint64_t);
}

void space_init(struct space *s, void *memory, uint32_t count, uint32_t most)
{
	uint64_t *at = memory;
	uint32_t words = most;

	ASSERT(count <= most && most <= SPACE_MAX);
	*s = (struct space){.count = count, .most = most};
	for (unsigned i = 0; i < SPACE_LEVELS; i++) {
		s->level[i] = at;
		words = words_for(words);
		at += words;
	}
}

static bool test(const uint64_t *words, uint32_t bit)
{
	return words[bit / WORD_BITS] >> bit % WORD_BITS & 1;
}

bool space_is_free(const struct space *s, uint32_t piece)
{
	return test(s->level[0], piece);
}

void space_give(struct space *s, uint32_t piece)
{
	ASSERT(piece < s->count && !space_is_free(s, piece));
	s->free++;
	for (unsigned i = 0; i < SPACE_LEVELS; i++, piece /= WORD_BITS)
		s->level[i][piece / WORD_BITS] |= BIT(piece % WORD_BITS);
}

uint32_t space_extend(struct space *s, uint32_t count)
{
	uint32_t before = s->count;

	while (s->count < MIN(count, s->most))
		space_give(s, ++s->count - 1);
	return s->count - before;
}

void space_give_all(struct space *s)
{
	uint32_t bits = s->free = s->count;

	for (unsigned i = 0; i < SPACE_LEVELS; i++, bits = words_for(bits)) {
		for (uint32_t w = 0; w < bits / WORD_BITS; w++)
			s->level[i][w] = ~0ull;
		if (bits % WORD_BITS)
			s->level[i][bits / WORD_BITS] = BIT(bits % WORD_BITS) - 1;
	}
}

void space_claim(struct space *s, uint32_t piece)
{
	ASSERT(piece < s->count && space_is_free(s, piece));
	s->free--;
	for (unsigned i = 0; i < SPACE_LEVELS; i++, piece /= WORD_BITS) {
		s->level[i][piece / WORD_BITS] &= ~BIT(piece % WORD_BITS);
		if (s->level[i][piece / WORD_BITS] != 0)
			return;
	}
}

/* The lowest free piece. */
static uint32_t lowest(const struct space *s)
{
	uint32_t word = 0;

	while (s->level[SPACE_LEVELS - 1][word] == 0)
		word++;
	for (unsigned i = SPACE_LEVELS; i-- > 0;)
		word = word * WORD_BITS + bit_lowest(s->level[i][word]);
	return word;
}

bool space_take(struct space *s, uint32_t *out)
{
	if (s->free == 0)
		return false;
	*out = s->next < s->count && space_is_free(s, s->next) ? s->next : lowest(s);
	space_claim(s, *out);
	s->next = *out + 1;
	return true;
}
