/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exchange itself. The turn is odd when it is the other CPU's. Waits are bounded by
 * each CPU's own TSC, whatever it is.
 */
#include "firmware/tscsync.h"

#include "lib/x86_asm.h"

static struct {
	uint32_t turn;
	uint64_t there;
} __attribute__((aligned(64))) line;

static bool wait_for(uint32_t turn, uint64_t limit)
{
	uint64_t start = rdtsc();

	while (__atomic_load_n(&line.turn, __ATOMIC_ACQUIRE) != turn) {
		if (rdtsc() - start > limit)
			return false;
		cpu_pause();
	}
	return true;
}

bool tscsync_ask(struct tscsync_round *rounds, uint64_t limit)
{
	__atomic_store_n(&line.turn, 0, __ATOMIC_RELEASE);
	for (uint32_t i = 0; i < TSCSYNC_ROUNDS; i++) {
		rounds[i].before = rdtsc_ordered();
		__atomic_store_n(&line.turn, 2 * i + 1, __ATOMIC_RELEASE);
		if (!wait_for(2 * i + 2, limit))
			return false;
		rounds[i].after = rdtsc_ordered();
		rounds[i].there = line.there;
	}
	return true;
}

bool tscsync_answer(uint64_t limit)
{
	for (uint32_t i = 0; i < TSCSYNC_ROUNDS; i++) {
		if (!wait_for(2 * i + 1, limit))
			return false;
		line.there = rdtsc_ordered();
		__atomic_store_n(&line.turn, 2 * i + 2, __ATOMIC_RELEASE);
	}
	return true;
}
