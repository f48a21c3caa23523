/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Halts with interrupts on, the PICs masked and no timer armed: nothing is ever due. Should it
 * wake all the same it says so, once a wake.
 */
#include "tests/guests/lib/guest.h"

const char guest_name[] = "idle";

void guest_main(void)
{
	print("idle: halted\n");
	for (unsigned wakes = 1;; wakes++) {
		halt();
		print("idle: woken %u\n", wakes);
	}
}
