/* SPDX-License-Identifier: Apache-2.0 */
/* Computes for ever, with interrupts on and nothing that could exit: what it gets is what it is given. */
#include "tests/guests/lib/guest.h"

const char guest_name[] = "burn";

void guest_main(void)
{
	print("burn: ready\n");
	sti();
	for (;;)
		__asm__ volatile("");
}
