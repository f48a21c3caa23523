/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page that the host takes away again and again, seen by all processors at once
 * (boot argument selftest=flush of the host). The first one fills it with the next
 * number whenever it finds it cleared; all others read it as fast as they can. What
 * they see may only grow: one that saw a newer number, or the page cleared after it,
 * and then an older one, has a translation to a page that is no longer the guest's.
 * And each must see each number, or it looks at an old page for ever. With "rest" the
 * others leave the page alone, so that its loss costs them the flush and nothing else.
 */
#include "tests/guests/lib/smp.h"

#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "flush";

#define PAGE_AT 0x300000ull
#define ROUNDS 48u
#define PATIENCE 40000000u /* ticks in which every processor must have seen a number */

static volatile uint64_t *const number = (volatile uint64_t *)PAGE_AT;
static struct {
	volatile uint64_t seen;
	uint64_t pad[7];
} __attribute__((aligned(64))) by[SMP_CPUS_MAX];

static void look(uint64_t me)
{
	sti();
	for (;;) {
		uint64_t now = *number;

		if (now == 0)
			continue;
		CHECK(now >= by[me].seen, "processor %u reads %llu after %llu", (unsigned)me, (unsigned long long)now,
		      (unsigned long long)by[me].seen);
		by[me].seen = now;
	}
}

static void rest(uint64_t me)
{
	(void)me;
	sti();
	/* No PAUSE: it would be taken for spinning, and end turns. */
	for (;;)
		__asm__ volatile("");
}

static void wait_for_all(unsigned cpus, uint64_t value)
{
	uint64_t began = rdtsc();

	for (unsigned i = 1; i < cpus; i++)
		while (by[i].seen != value) {
			/* Taken before all had seen it. */
			if (*number == 0)
				*number = value;
			CHECK(rdtsc() - began < PATIENCE, "processor %u still reads %llu, not %llu", i,
			      (unsigned long long)by[i].seen, (unsigned long long)value);
		}
}

void guest_main(void)
{
	bool resting = option_word("rest");
	uint32_t ids[SMP_CPUS_MAX];
	unsigned cpus;

	/* The emulator hides the host's interrupts from whoever has them off. */
	sti();
	apic_set_mode(APIC_X2APIC);
	cpus = smp_count(ids);
	*number = 1;
	for (unsigned i = 1; i < cpus; i++)
		smp_start(ids[i], resting ? rest : look, i);
	print("flush: %u processors\n", cpus);
	for (uint64_t value = 1; value < ROUNDS; value++) {
		if (!resting)
			wait_for_all(cpus, value);
		while (*number != 0)
			;
		*number = value + 1;
	}
	print("flush: %u times\n", ROUNDS);
	for (;;)
		cpu_pause();
}
