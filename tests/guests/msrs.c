/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads MSRs and writes random values to them: the architectural ranges whole,
 * then random indexes. Counts what was allowed. EFER is left out (a random LME
 * would make the next paging change mean something else). Ends with code 0.
 */
#include "tests/guests/lib/guest.h"

#define MSR_EFER 0xc0000080u
#define RANDOM_INDEXES 2000

static uint32_t reads, writes, refused;

static void read_one(void *index)
{
	rdmsr(*(uint32_t *)index);
}

static void write_one(void *index)
{
	wrmsr(*(uint32_t *)index, (uint64_t)random32() << 32 | random32());
}

static void try_both(uint32_t index)
{
	if (index == MSR_EFER)
		return;
	if (attempt(read_one, &index) < 0)
		reads++;
	else
		refused++;
	if (attempt(write_one, &index) < 0)
		writes++;
	else
		refused++;
}

static void try_range(uint32_t first, uint32_t last)
{
	for (uint32_t index = first; index <= last; index++)
		try_both(index);
}

void guest_main(uint32_t magic, const struct multiboot_info *info)
{
	(void)magic;
	(void)info;
	put("msrs: start\n");
	try_range(0, 0x1fff);
	try_range(0x40000000, 0x400001ff);
	try_range(0x4b564d00, 0x4b564dff);
	try_range(0xc0000000, 0xc0001fff);
	for (unsigned i = 0; i < RANDOM_INDEXES; i++)
		try_both(random32());
	put("msrs: survived, reads ");
	put_dec(reads);
	put(" writes ");
	put_dec(writes);
	put(" refused ");
	put_dec(refused);
	put("\n");
}
