/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says what it was given: protocol, command line, memory map, modules with the
 * sum of their bytes, the RSDP.
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
	print("hello: by %s\nhello: command line [%s]\n", boot.protocol, boot.cmdline);
	for (unsigned i = 0; i < boot.ranges; i++)
		print("hello: map 0x%llx bytes 0x%llx type %u\n", (unsigned long long)boot.map[i].start,
		      (unsigned long long)boot.map[i].size, boot.map[i].type);
	for (unsigned i = 0; i < boot.modules_count; i++)
		print("hello: module [%s] bytes %llu sum %u\n", boot.modules[i].cmdline,
		      (unsigned long long)boot.modules[i].size,
		      sum_of(boot.modules[i].start, boot.modules[i].size));
	if (boot.rsdp)
		print("hello: rsdp 0x%llx\n", (unsigned long long)boot.rsdp);
}
