/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Record n lies in slot n modulo the size, and is announced by the head, n + 1,
 * after its words. Words are stored with release: a reader who got one of record
 * n + size sees a head of at least that afterwards, and so knows that his copy of
 * n is mixed (H.-J. Boehm, Can Seqlocks Get Along With Programming Language
 * Memory Models?, MSPC 2012).
 */
#include "lib/cputrace.h"

#include <string.h>

#include "lib/assert.h"
#include "lib/bits.h"

void cputrace_init(struct cputrace *t, void *storage, uint64_t size)
{
	ASSERT(size >= 2 && (size & (size - 1)) == 0);
	*t = (struct cputrace){.slots = storage, .size = size};
}

void cputrace_add(struct cputrace *t, const struct cputrace_record *r)
{
	uint64_t head = __atomic_load_n(&t->head, __ATOMIC_RELAXED), *slot = t->slots[head & (t->size - 1)];
	uint64_t words[CPUTRACE_WORDS];

	memcpy(words, r, sizeof words);
	for (unsigned i = 0; i < CPUTRACE_WORDS; i++)
		__atomic_store_n(&slot[i], words[i], __ATOMIC_RELEASE);
	__atomic_store_n(&t->head, head + 1, __ATOMIC_RELEASE);
}

static void copy(const struct cputrace *t, uint64_t number, struct cputrace_record *out)
{
	const uint64_t *slot = t->slots[number & (t->size - 1)];
	uint64_t words[CPUTRACE_WORDS] = {0};

	for (unsigned i = 0; i < CPUTRACE_WORDS; i++)
		words[i] = __atomic_load_n(&slot[i], __ATOMIC_ACQUIRE);
	memcpy(out, words, sizeof words);
}

/* The oldest record that nobody overwrites when the head is @head: the slot of the one before may be half written. */
static uint64_t oldest(const struct cputrace *t, uint64_t head)
{
	return head >= t->size ? head - t->size + 1 : 0;
}

size_t cputrace_read(const struct cputrace *t, uint64_t *from, struct cputrace_record *out, size_t max)
{
	uint64_t head = cputrace_head(t), first = MIN(MAX(*from, oldest(t, head)), head), safe;
	size_t count = MIN(head - first, max), gone;

	for (size_t i = 0; i < count; i++)
		copy(t, first + i, &out[i]);
	safe = oldest(t, cputrace_head(t));
	gone = safe > first ? MIN(safe - first, count) : 0;
	memmove(out, out + gone, (count - gone) * sizeof *out);
	*from = first + gone;
	return count - gone;
}
