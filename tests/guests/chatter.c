/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbered lines without end: a console that nobody reads, and the loss that its
 * reader must be told of. lines=N stops after N; "burst" sends each line by one
 * string instruction, as fast as the machine takes it.
 */
#include "lib/format.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "chatter";

#define LINE_BYTES 64

static void burst(uint64_t line)
{
	char text[LINE_BYTES];
	const char *p = text;
	size_t len = format(text, sizeof text, "chatter: line %llu\r\n", (unsigned long long)line);

	__asm__ volatile("rep outsb" : "+S"(p), "+c"(len) : "d"(COM1) : "memory");
}

void guest_main(void)
{
	uint64_t lines = option("lines", UINT64_MAX);
	bool fast = option_word("burst");

	for (uint64_t line = 0; line < lines; line++) {
		if (fast)
			burst(line);
		else
			print("chatter: line %llu\n", (unsigned long long)line);
	}
}
