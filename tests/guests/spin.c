/* SPDX-License-Identifier: Apache-2.0 */
/* Loops with interrupts off, for ever: nothing but the bound of each entry gets the CPU back. */
#include "tests/guests/lib/guest.h"

void guest_main(uint32_t magic, const struct multiboot_info *info)
{
	(void)magic;
	(void)info;
	put("spin: interrupts off\n");
	for (;;)
		__asm__ volatile("cli; pause");
}
