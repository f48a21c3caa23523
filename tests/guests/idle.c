/* SPDX-License-Identifier: Apache-2.0 */
/* Halts with interrupts on and no timer armed: nothing is ever due. */
#include "tests/guests/lib/guest.h"

void guest_main(uint32_t magic, const struct multiboot_info *info)
{
	(void)magic;
	(void)info;
	put("idle: halted\n");
	/* the two PICs masked: not even a stray interrupt */
	out8(0x21, 0xff);
	out8(0xa1, 0xff);
	for (;;)
		__asm__ volatile("sti; hlt");
}
