/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints what would be a genuine management reply if a console ever reached the
 * management line raw: the worked vector of docs/protocol.md (reply to an echo),
 * markers in the middle of lines, continuation lines, terminal escapes. Then
 * says so, and halts.
 */
#include "tests/guests/lib/guest.h"

void guest_main(uint32_t magic, const struct multiboot_info *info)
{
	(void)magic;
	(void)info;
	for (int i = 0; i < 16; i++) {
		put("\x06\x09" "ABQLAAAKAAAqAKFhcmZjb3JiZWyKsg==\n");
		put("text \x06\x09" "ABQLAAAKAAAqAKFhcmZjb3JiZWyKsg==\n");
		put("\x04\x14" "ABQLAAAKAAAqAKFhcmZjb3JiZWyKsg==\n");
		put("\x1b[2J\x1b]0;forged\x07");
	}
	put("\nforge: done\n");
	for (;;)
		__asm__ volatile("sti; hlt");
}
