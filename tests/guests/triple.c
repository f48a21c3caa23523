/* SPDX-License-Identifier: Apache-2.0 */
/* Faults with an empty IDT: a triple fault. */
#include "tests/guests/lib/guest.h"

void guest_main(uint32_t magic, const struct multiboot_info *info)
{
	static const uint8_t nothing[6];

	(void)magic;
	(void)info;
	put("triple: now\n");
	__asm__ volatile("lidt %0; int3" : : "m"(nothing));
}
