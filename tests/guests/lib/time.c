/* SPDX-License-Identifier: Apache-2.0 */
/* How fast the TSC is: what CPUID says, else, and with the word "measure" (Bochs bare: its CPUID lies), the PIT. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

#define LEAF_TSC 0x15u
#define MEASURE_COUNT 11932u /* about 10 ms */

uint64_t tsc_hz(void)
{
	static uint64_t hz;
	struct cpuid_regs r = {0};

	if (hz)
		return hz;
	if (cpuid(0, 0).eax >= LEAF_TSC && !option_word("measure"))
		r = cpuid(LEAF_TSC, 0);
	if (r.eax && r.ebx && r.ecx)
		hz = (uint64_t)r.ecx * r.ebx / r.eax;
	else
		hz = pit_measure(MEASURE_COUNT) * PIT_HZ / MEASURE_COUNT;
	return hz;
}

void spin_ticks(uint64_t ticks)
{
	uint64_t start = rdtsc();

	while (rdtsc() - start < ticks)
		cpu_pause();
}
