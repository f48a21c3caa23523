/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says what it was given: protocol, command line, memory map, modules with a
 * byte sum. With module=N and sum=M on the command line it checks the sum.
 */
#include "tests/guests/lib/guest.h"

const char guest_name[] = "hello";

static uint32_t sum_of(uint64_t start, uint64_t size)
{
	uint32_t sum = 0;

	for (uint64_t i = 0; i < size; i++)
		sum += ((const uint8_t *)start)[i];
	return sum;
}

void guest_main(void)
{
	print("hello by %s, cmdline \"%s\"\n", boot.protocol, boot.cmdline);
	for (unsigned i = 0; i < boot.ranges; i++)
		print("map %016llx + %llx type %u\n", (unsigned long long)boot.map[i].start,
		      (unsigned long long)boot.map[i].size, boot.map[i].type);
	for (unsigned i = 0; i < boot.modules_count; i++)
		print("module %llx + %llx sum %u \"%s\"\n", (unsigned long long)boot.modules[i].start,
		      (unsigned long long)boot.modules[i].size,
		      sum_of(boot.modules[i].start, boot.modules[i].size), boot.modules[i].cmdline);
	print("rsdp %llx\n", (unsigned long long)boot.rsdp);
}
