/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of CPUs by their indices. Adding and removing are atomic, so that each
 * CPU may do so for itself; what a member means is its owner's. All is in one
 * order (SEQ_CST): of a CPU that adds itself and then reads a number, and one that
 * writes the number and then reads the set, one at least sees the other.
 */
#ifndef CORBEL_LIB_CPUSET_H
#define CORBEL_LIB_CPUSET_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/bits.h"

#define CPUSET_MAX 256u
#define CPUSET_WORDS (CPUSET_MAX / 64)

struct cpuset {
	uint64_t word[CPUSET_WORDS];
};

static inline bool cpuset_has(const struct cpuset *s, unsigned cpu)
{
	return __atomic_load_n(&s->word[cpu / 64], __ATOMIC_SEQ_CST) & BIT(cpu % 64);
}

/* Costs no write when @cpu is a member already. */
static inline void cpuset_add(struct cpuset *s, unsigned cpu)
{
	if (!cpuset_has(s, cpu))
		__atomic_fetch_or(&s->word[cpu / 64], BIT(cpu % 64), __ATOMIC_SEQ_CST);
}

static inline void cpuset_remove(struct cpuset *s, unsigned cpu)
{
	__atomic_fetch_and(&s->word[cpu / 64], ~BIT(cpu % 64), __ATOMIC_SEQ_CST);
}

static inline void cpuset_fill(struct cpuset *s)
{
	for (unsigned i = 0; i < CPUSET_WORDS; i++)
		__atomic_store_n(&s->word[i], ~0ull, __ATOMIC_RELEASE);
}

static inline bool cpuset_empty(const struct cpuset *s)
{
	for (unsigned i = 0; i < CPUSET_WORDS; i++)
		if (__atomic_load_n(&s->word[i], __ATOMIC_SEQ_CST))
			return false;
	return true;
}

/* The lowest member from @from on, CPUSET_MAX when there is none. */
static inline unsigned cpuset_next(const struct cpuset *s, unsigned from)
{
	while (from < CPUSET_MAX) {
		uint64_t rest = __atomic_load_n(&s->word[from / 64], __ATOMIC_SEQ_CST) >> (from % 64);

		if (rest)
			return from + bit_lowest(rest);
		from = (from / 64 + 1) * 64;
	}
	return CPUSET_MAX;
}

#endif
