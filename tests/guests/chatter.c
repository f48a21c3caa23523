/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbered lines without end: a console that nobody reads, and the loss that its
 * reader must be told of. lines=N stops after N.
 */
#include "tests/guests/lib/guest.h"

const char guest_name[] = "chatter";

void guest_main(void)
{
	uint64_t lines = option("lines", UINT64_MAX);

	for (uint64_t line = 0; line < lines; line++)
		print("chatter: line %llu\n", (unsigned long long)line);
}
