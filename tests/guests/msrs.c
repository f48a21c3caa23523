/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads MSRs and writes random values to them: the architectural ranges whole,
 * then random indexes; seed=N on the command line. Counts what was allowed. Left
 * out are EFER (a random LME would make the next paging change mean something
 * else) and the x2APIC's ICR (an INIT to itself ends this guest), unless the
 * word "all" is given.
 */
#include "tests/guests/lib/guest.h"

const char guest_name[] = "msrs";

#define RANDOM_INDEXES 2000

static uint64_t seed, reads, writes, refused;

static void try_both(uint32_t index)
{
	uint64_t value = 0;

	if (!option_word("all") && (index == MSR_IA32_EFER || index == MSR_X2APIC_ICR))
		return;
	if (rdmsr_safe(index, &value))
		reads++;
	else
		refused++;
	if (wrmsr_safe(index, random_next(&seed)))
		writes++;
	else
		refused++;
}

static void try_range(uint32_t first, uint32_t last)
{
	for (uint32_t index = first; index <= last; index++)
		try_both(index);
}

void guest_main(void)
{
	seed = option("seed", 1);
	print("msrs: start\n");
	try_range(0, 0x1fff);
	try_range(0x40000000, 0x400001ff);
	try_range(0x4b564d00, 0x4b564dff);
	try_range(0xc0000000, 0xc0001fff);
	for (unsigned i = 0; i < RANDOM_INDEXES; i++)
		try_both((uint32_t)random_next(&seed));
	print("msrs: survived, reads %llu writes %llu refused %llu\n", (unsigned long long)reads,
	      (unsigned long long)writes, (unsigned long long)refused);
}
