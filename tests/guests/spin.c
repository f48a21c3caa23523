/* SPDX-License-Identifier: Apache-2.0 */
/* Loops with interrupts off, for ever: nothing but the bound of each entry gets the CPU back. */
#include "tests/guests/lib/guest.h"

const char guest_name[] = "spin";

void guest_main(void)
{
	print("spin: interrupts off\n");
	cli();
	for (;;)
		cpu_pause();
}
