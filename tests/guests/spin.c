/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loops with interrupts off, for ever: nothing but the bound of each entry gets the CPU back. With "steal" it has asked
 * to be told its stolen time, so that each of its turns begins with a write to its memory.
 */
#include "tests/guests/lib/guest.h"

#include "guest/pvtime.h"

const char guest_name[] = "spin";

void guest_main(void)
{
	static struct pvtime_steal stolen __attribute__((aligned(64)));

	if (option_word("steal"))
		wrmsr(MSR_KVM_STEAL_TIME, (uint64_t)&stolen | MSR_KVM_ENABLED);
	print("spin: interrupts off\n");
	cli();
	for (;;)
		cpu_pause();
}
