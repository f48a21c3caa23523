/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Water-filling: one amount, many vessels with a floor and a lid, and one level
 * at which the sum comes out right. The sum rises with the level, in straight
 * pieces; Newton's step finds the level in a few rounds, bisection guards it.
 */
#include "sched/internal.h"

#define ROUNDS_MAX 64u

struct sum {
	uint64_t rate;   /* of all at the level */
	uint64_t shares; /* of those that are at neither bound */
	unsigned count;
};

static uint64_t rate_at(const struct sched_part *p, uint64_t level)
{
	uint64_t rate = level_rate(level, p->shares);

	return rate < p->low ? p->low : rate > p->cap ? p->cap : rate;
}

static struct sum sum_at(const struct sched_part *first, uint64_t level)
{
	struct sum sum = {0};

	for (const struct sched_part *p = first; p; p = p->next) {
		uint64_t rate = level_rate(level, p->shares);

		sum.count++;
		if (rate <= p->low) {
			sum.rate += p->low;
		} else if (rate >= p->cap) {
			sum.rate += p->cap;
		} else {
			sum.rate += rate;
			sum.shares += p->shares;
		}
	}
	return sum;
}

static uint64_t first_guess(const struct sched_part *first, uint64_t amount)
{
	uint64_t shares = 0;

	for (const struct sched_part *p = first; p; p = p->next)
		shares += p->shares;
	return shares ? MIN((amount << LEVEL_SHIFT) / shares, LEVEL_MAX - 1) : 0;
}

/* Between @low and @high, where Newton's step goes if it stays inside. */
static uint64_t next_level(uint64_t level, const struct sum *sum, uint64_t amount, uint64_t low, uint64_t high)
{
	int64_t miss = (int64_t)amount - (int64_t)sum->rate;
	int64_t step = sum->shares ? miss * (int64_t)BIT(LEVEL_SHIFT) / (int64_t)sum->shares : 0;
	int64_t next = (int64_t)level + step;

	if (!step || next <= (int64_t)low || next >= (int64_t)high)
		return low + (high - low) / 2;
	return (uint64_t)next;
}

uint64_t fill_divide(struct sched_part *first, uint64_t amount)
{
	uint64_t low = 0, high = LEVEL_MAX, level = first_guess(first, amount);

	if (sum_at(first, LEVEL_MAX).rate <= amount)
		low = LEVEL_MAX;
	for (unsigned round = 0; round < ROUNDS_MAX && low + 1 < high; round++) {
		struct sum sum = sum_at(first, level);

		if (sum.rate <= amount)
			low = level;
		else
			high = level;
		/* Rounding down loses less than one unit each. */
		if (sum.rate <= amount && amount - sum.rate <= sum.count)
			break;
		level = next_level(level, &sum, amount, low, high);
	}
	for (struct sched_part *p = first; p; p = p->next)
		p->rate = rate_at(p, low);
	return low;
}
