/* SPDX-License-Identifier: Apache-2.0 */
/* Numbered lines without end: a console that nobody reads, and the loss that its reader must be told of. */
#include "tests/guests/lib/guest.h"

void guest_main(uint32_t magic, const struct multiboot_info *info)
{
	(void)magic;
	(void)info;
	for (uint32_t line = 0;; line++) {
		put("chatter: line ");
		put_dec(line);
		put("\n");
	}
}
