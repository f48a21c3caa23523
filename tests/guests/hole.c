/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Touches memory that this VM does not have: reads and writes behind its RAM and
 * in the device hole. What the machine makes of it (all ones, or the end of this
 * VM with a report) is for the test to say; a guest that lives prints what it read.
 */
#include "tests/guests/lib/guest.h"

static const uint32_t addresses[] = {0x50000000, 0xa0000000, 0xd0000000, 0xfea00000, 0xfffff000};

void guest_main(uint32_t magic, const struct multiboot_info *info)
{
	(void)magic;
	(void)info;
	for (unsigned i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		volatile uint32_t *p = (volatile uint32_t *)addresses[i];

		put("hole: at ");
		put_hex(addresses[i]);
		put(" reads ");
		put_hex(*p);
		*p = random32();
		put("\n");
	}
	put("hole: done\n");
}
