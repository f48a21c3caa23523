/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes random values of each width to every port, then reads every port. Left
 * out: its own debug-exit port and the UART it reports through, so that a guest
 * that lives can say so. Some write may well reset or power off this VM.
 */
#include "tests/guests/lib/guest.h"

static bool mine(uint32_t port)
{
	return (port + 3 >= PORT_DEBUG_EXIT && port <= PORT_DEBUG_EXIT) ||
	       (port + 3 >= PORT_COM1 && port <= PORT_COM1 + 7);
}

void guest_main(uint32_t magic, const struct multiboot_info *info)
{
	uint32_t seen = 0;

	(void)magic;
	(void)info;
	put("ports: start\n");
	for (uint32_t port = 0; port <= 0xffff; port++) {
		if (mine(port))
			continue;
		out8((uint16_t)port, (uint8_t)random32());
		out16((uint16_t)port, (uint16_t)random32());
		out32((uint16_t)port, random32());
	}
	for (uint32_t port = 0; port <= 0xffff; port++)
		seen ^= in8((uint16_t)port) ^ in32((uint16_t)port);
	put("ports: survived, ");
	put_hex(seen);
	put("\n");
}
