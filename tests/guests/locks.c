/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest loses when one of its processors waits for another that has no CPU:
 * all take one ticket lock (Reed and Kanodia's, first come, first served) over and
 * over. Who waits for it executes PAUSE and knows nothing of a hypervisor, as an
 * unmodified kernel does. The ticket lock is the worst of all locks for this: it is lost not
 * only while its holder is off the CPU, but while whoever is next in line is.
 *
 * "cpus=N" processors do this for "ticks=N" ticks of the TSC; a round is "hold=N"
 * steps with the lock and up to twice "think=N" without. The last lines tell how many
 * rounds there were and how many PAUSEs; how much CPU time they took the host knows.
 */
#include "tests/guests/lib/smp.h"

#include "tests/guests/lib/acpi.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "locks";

#define TICKS 20000000u
#define HOLD 400u
#define THINK 2000u
#define NOBODY UINT32_MAX

/* Each on a line of its own: a waiting processor reads `serving` alone. */
static volatile uint32_t next_ticket __attribute__((aligned(64)));
static volatile uint32_t serving __attribute__((aligned(64)));

/* What the lock protects. */
static volatile uint32_t holder __attribute__((aligned(64))) = NOBODY;
static volatile uint64_t entered;

static struct {
	uint64_t rounds, pauses;
	volatile bool done;
} __attribute__((aligned(64))) on[SMP_CPUS_MAX];

static uint64_t began, ticks, hold, think;
static volatile bool go;

static void work(uint64_t steps)
{
	while (steps-- > 0)
		__asm__ volatile("");
}

static uint64_t lock(void)
{
	uint32_t mine = __atomic_fetch_add(&next_ticket, 1, __ATOMIC_RELAXED);
	uint64_t pauses = 0;

	while (__atomic_load_n(&serving, __ATOMIC_ACQUIRE) != mine) {
		pauses++;
		cpu_pause();
	}
	return pauses;
}

static void unlock(void)
{
	__atomic_store_n(&serving, serving + 1, __ATOMIC_RELEASE);
}

static void with_the_lock(uint32_t me)
{
	CHECK(holder == NOBODY, "processor %u has the lock that %u has", me, holder);
	holder = me;
	work(hold);
	CHECK(holder == me, "processor %u has the lock that %u took", holder, me);
	holder = NOBODY;
	entered++;
}

static void rounds(uint32_t me)
{
	uint64_t seed = me + 1;

	while (rdtsc() - began < ticks) {
		work(random_next(&seed) % (2 * think));
		on[me].pauses += lock();
		with_the_lock(me);
		unlock();
		on[me].rounds++;
	}
	on[me].done = true;
}

static void serve(uint64_t me)
{
	while (!go)
		cpu_pause();
	rounds((uint32_t)me);
	for (;;)
		halt();
}

void guest_main(void)
{
	unsigned cpus = (unsigned)option("cpus", 2);
	uint32_t ids[SMP_CPUS_MAX];
	uint64_t sum = 0, pauses = 0;

	ticks = option("ticks", TICKS);
	hold = option("hold", HOLD);
	think = option("think", THINK);
	apic_set_mode(APIC_X2APIC);
	CHECK(smp_count(ids) == cpus, "the MADT has %u processors, not %u", smp_count(ids), cpus);
	for (unsigned i = 1; i < cpus; i++)
		smp_start(ids[i], serve, i);
	began = rdtsc();
	go = true;
	rounds(0);
	for (unsigned i = 0; i < cpus; i++) {
		while (!on[i].done)
			cpu_pause();
		sum += on[i].rounds;
		pauses += on[i].pauses;
	}
	CHECK(entered == sum, "the lock was taken %llu times, and %llu times counted", (unsigned long long)sum,
	      (unsigned long long)entered);
	print("locks: %llu rounds\nlocks: %llu pauses\n", (unsigned long long)sum, (unsigned long long)pauses);
}
