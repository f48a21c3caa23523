/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes all the CPU time there is, on each processor, and says how much that was
 * when a byte is typed: the ticks that passed since it last said so, and the loops
 * of all processors in them. One loop costs the same everywhere, and the first line
 * says how many thousandths of a tick that is, so that loops are ticks that the
 * guest had. Between questions it does nothing but loop, and looks for a byte once
 * in "window=TICKS". "cpus=N" says how many processors there are; with the word
 * "off" they burn with interrupts off, with "halt" they all halt for ever instead.
 */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/smp.h"

const char guest_name[] = "greedy";

#define TRIES 16u
#define TRY_TICKS 8000u
#define WINDOW 100000u

static struct {
	volatile uint64_t loops;
} __attribute__((aligned(64))) on[SMP_CPUS_MAX];

static uint32_t ids[SMP_CPUS_MAX];
static unsigned cpus;

/* The one loop: until the first reading at or behind @end, which it returns. */
static __attribute__((noinline)) uint64_t burn(volatile uint64_t *loops, uint64_t end)
{
	uint64_t now;

	do {
		++*loops;
		now = rdtsc();
	} while (now < end);
	return now;
}

/* Thousandths of a tick: of several tries the one in which nobody else ran. */
static uint64_t cost_of_a_loop(void)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < TRIES; i++) {
		volatile uint64_t loops = 0;
		uint64_t start = rdtsc(), ticks = burn(&loops, start + TRY_TICKS) - start;

		least = MIN(least, ticks * 1000 / loops);
	}
	return least;
}

static uint64_t all_loops(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < cpus; i++)
		sum += on[i].loops;
	return sum;
}

static void serve(uint64_t me)
{
	apic_set_mode(APIC_X2APIC);
	if (option_word("halt")) {
		for (;;)
			halt();
	}
	if (!option_word("off"))
		sti();
	burn(&on[me].loops, UINT64_MAX);
}

void guest_main(void)
{
	uint64_t window = option("window", WINDOW);

	cpus = smp_count(ids);
	CHECK(cpus == option("cpus", 1), "the MADT has %u processors", cpus);
	apic_set_mode(APIC_X2APIC);
	for (unsigned i = 1; i < cpus; i++)
		smp_start(ids[i], serve, i);
	if (option_word("halt")) {
		print("greedy: halted\n");
		serve(0);
	}
	print("greedy: a loop is %llu\n", (unsigned long long)cost_of_a_loop());
	if (!option_word("off"))
		sti();
	for (;;) {
		uint64_t from = rdtsc(), had = all_loops(), now;

		do
			now = burn(&on[0].loops, rdtsc() + window);
		while (get_char() < 0);
		print("greedy: ticks %llu loops %llu\n", (unsigned long long)(now - from), (unsigned long long)(all_loops() - had));
	}
}
