/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot order, as a list. The one file that sees every room.
 */
#include <stdint.h>

#include "lib/x86_asm.h"

#define COM1 0x3f8
#define LSR_THRE BIT(5)

void boot_main(uint32_t protocol, uint32_t info);

static void put(const char *s)
{
	for (; *s; s++) {
		for (int i = 0; i < 100000 && !(in8(COM1 + 5) & LSR_THRE); i++)
			cpu_pause();
		out8(COM1, (uint8_t)*s);
	}
}

/* Called by start.S on the first stack, interrupts off, loader memory mapped one to one. */
void boot_main(uint32_t protocol, uint32_t info)
{
	(void)protocol;
	(void)info;
	out8(COM1 + 3, 3); /* 8N1: the line is as the loader left it */
	put("corbel: boot\r\n");
	for (;;)
		hlt();
}
