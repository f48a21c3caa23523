/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes random values of each width to every port, then reads every port, by
 * single and by string instructions; seed=N on the command line. Left out are
 * its own debug-exit port and, unless the word "all" is given, those by which a
 * machine resets or powers off: what is left a machine must survive.
 */
#include "tests/guests/lib/guest.h"

const char guest_name[] = "ports";

#define WIDEST 4u

static const struct { uint16_t first, last; } ending[] = {
	{0x64, 0x64},   /* keyboard controller: 0xfe resets */
	{0x92, 0x92},   /* fast A20 and reset */
	{0x604, 0x605}, /* PM1a control: SLP_EN */
	{0xcf9, 0xcf9}, /* reset */
};

static bool covers(uint32_t port, uint32_t first, uint32_t last)
{
	return port + WIDEST > first && port <= last;
}

static bool left_out(uint32_t port)
{
	if (covers(port, DEBUG_EXIT_PORT, DEBUG_EXIT_PORT + 3))
		return true;
	for (unsigned i = 0; i < ARRAY_SIZE(ending); i++) {
		if (covers(port, ending[i].first, ending[i].last) && !option_word("all"))
			return true;
	}
	return false;
}

static void write_string(uint16_t port, const uint64_t *data)
{
	uint64_t count = 3;

	__asm__ volatile("rep outsw" : "+S"(data), "+c"(count) : "d"(port) : "memory");
}

static void read_string(uint16_t port, uint64_t *data)
{
	uint64_t count = 2;

	__asm__ volatile("rep insl" : "+D"(data), "+c"(count) : "d"(port) : "memory");
}

void guest_main(void)
{
	uint64_t seed = option("seed", 1), seen = 0, data;

	print("ports: start\n");
	for (uint32_t port = 0; port <= UINT16_MAX; port++) {
		if (left_out(port))
			continue;
		data = random_next(&seed);
		out8((uint16_t)port, (uint8_t)(data >> 32));
		out16((uint16_t)port, (uint16_t)(data >> 40));
		out32((uint16_t)port, (uint32_t)data);
		if (port % 16 == 0)
			write_string((uint16_t)port, &data);
	}
	for (uint32_t port = 0; port <= UINT16_MAX; port++) {
		seen ^= (uint64_t)in8((uint16_t)port) ^ in16((uint16_t)port) ^ in32((uint16_t)port);
		if (port % 16 == 0) {
			read_string((uint16_t)port, &data);
			seen ^= data;
		}
	}
	console_init();
	print("\nports: survived, %llx\n", (unsigned long long)seen);
}
