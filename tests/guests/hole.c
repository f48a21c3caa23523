/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Touches memory that this VM does not have: behind its RAM, in the device hole,
 * above everything. Reads of each width give all ones, writes are dropped. With
 * the word "fetch" it goes on to execute there, which nothing can make sense of:
 * this VM ends with a report.
 */
#include "tests/guests/lib/guest.h"

const char guest_name[] = "hole";

#define ABOVE_EVERYTHING 0x4000000000ull /* 256 GiB */

#define FIRMWARE_SPACE 0xf0000000ull

/* First address behind the RAM below 4 GiB, whoever holds its end. */
static uint64_t ram_end(void)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < boot.ranges; i++) {
		uint64_t e = boot.map[i].start + boot.map[i].size;

		if (e < FIRMWARE_SPACE && e > end)
			end = e;
	}
	return end;
}

static void touch(uint64_t at)
{
	volatile void *p = (volatile void *)at;
	uint64_t wide = *(volatile uint64_t *)p;

	print("hole: at 0x%llx reads 0x%llx\n", (unsigned long long)at, (unsigned long long)wide);
	CHECK(wide == UINT64_MAX, "8 bytes at 0x%llx", (unsigned long long)at);
	CHECK(*(volatile uint32_t *)p == UINT32_MAX, "4 bytes at 0x%llx", (unsigned long long)at);
	CHECK(*(volatile uint16_t *)p == UINT16_MAX, "2 bytes at 0x%llx", (unsigned long long)at);
	CHECK(*(volatile uint8_t *)p == UINT8_MAX, "1 byte at 0x%llx", (unsigned long long)at);
	*(volatile uint64_t *)p = 0x0123456789abcdefull;
	*(volatile uint8_t *)p = 0;
	CHECK(*(volatile uint64_t *)p == UINT64_MAX, "a write at 0x%llx stayed", (unsigned long long)at);
}

void guest_main(void)
{
	uint64_t end = ram_end();

	map_identity(ABOVE_EVERYTHING, BIT(21));
	touch(end);
	touch(end + 0x12340);
	touch(0xd0000000);
	touch(0xfea00ff8);
	touch(ABOVE_EVERYTHING);
	print("hole: done\n");
	if (!option_word("fetch"))
		return;
	print("hole: fetching\n");
	((void (*)(void))0xd0000000ull)();
	fail_with("came back from a fetch");
}
