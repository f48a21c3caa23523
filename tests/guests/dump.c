/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints what the processor says of itself: every CPUID leaf with its subleaves,
 * and every MSR that can be read, for a person or a test to compare; and whether the instructions run that a
 * hypervisor must enable.
 */
#include <string.h>

#include "tests/guests/lib/guest.h"

const char guest_name[] = "dump";

#define LEAF_TOPOLOGY 0xbu
#define LEVEL_TYPE_MASK 0xff00u
#define SUBLEAVES_MAX 32u
#define LEAVES_MAX 64u

static void print_leaf(uint32_t leaf, uint32_t subleaf, const struct cpuid_regs *r)
{
	print("cpuid %08x.%u %08x %08x %08x %08x\n", leaf, subleaf, r->eax, r->ebx, r->ecx, r->edx);
}

/* The topology leaf echoes its subleaf for ever. */
static bool is_past_end(uint32_t leaf, const struct cpuid_regs *r)
{
	static const struct cpuid_regs zero;

	return memcmp(r, &zero, sizeof zero) == 0 || (leaf == LEAF_TOPOLOGY && !(r->ecx & LEVEL_TYPE_MASK));
}

/* Subleaves until there is nothing more; a leaf without subleaves repeats itself and is printed once. */
static void dump_leaf(uint32_t leaf)
{
	struct cpuid_regs first = cpuid(leaf, 0);

	print_leaf(leaf, 0, &first);
	for (uint32_t i = 1; i < SUBLEAVES_MAX; i++) {
		struct cpuid_regs r = cpuid(leaf, i);

		if (memcmp(&r, &first, sizeof r) == 0 || is_past_end(leaf, &r))
			break;
		print_leaf(leaf, i, &r);
	}
}

static void dump_range(uint32_t first)
{
	uint32_t last = cpuid(first, 0).eax;

	if (last < first || last - first > LEAVES_MAX)
		last = first;
	for (uint32_t leaf = first; leaf <= last; leaf++)
		dump_leaf(leaf);
}

static void dump_msrs(uint32_t first, uint32_t last)
{
	uint64_t value;

	for (uint32_t i = first; i <= last; i++) {
		if (rdmsr_safe(i, &value))
			print("msr %08x %016llx\n", i, (unsigned long long)value);
	}
}

static void dump_instructions(void)
{
	static const uint64_t everything[2];

	print("instruction rdtscp %u\n", TRY("rdtscp", "m"(everything) : "rax", "rdx", "rcx"));
	print("instruction rdpid %u\n", TRY("rdpid %%rax", "m"(everything) : "rax"));
	print("instruction invpcid %u\n", TRY("invpcid (%%rax), %%rcx", "a"(everything), "c"(2ull) : "memory"));
}

void guest_main(void)
{
	dump_instructions();
	dump_range(0);
	dump_range(0x40000000);
	dump_range(0x40000100);
	dump_range(0x80000000);
	dump_msrs(0, 0x1fff);
	dump_msrs(0x40000000, 0x400000ff);
	dump_msrs(0xc0000000, 0xc00001ff);
}
