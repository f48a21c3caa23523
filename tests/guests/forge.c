/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints what would be a genuine management reply if a console ever reached the
 * management line raw: the worked vector of docs/protocol.md (reply to an echo),
 * markers in the middle of lines, continuation lines, terminal escapes. Then
 * says so, and halts.
 */
#include "tests/guests/lib/guest.h"

const char guest_name[] = "forge";

void guest_main(void)
{
	for (int i = 0; i < 16; i++) {
		print("\x06\x09%s", "ABQLAAAKAAAqAKFhcmZjb3JiZWyKsg==\n");
		print("text \x06\x09%s", "ABQLAAAKAAAqAKFhcmZjb3JiZWyKsg==\n");
		print("\x04\x14%s", "ABQLAAAKAAAqAKFhcmZjb3JiZWyKsg==\n");
		print("\x1b[2J\x1b]0;forged\x07");
	}
	print("\nforge: done\n");
	for (;;)
		halt();
}
