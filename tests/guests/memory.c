/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All of the memory that the map offers but this program and what the loader
 * put there: every word reads zero at first touch, then takes a pattern of its
 * address, and all patterns still stand at the end. size=MIB on the command line
 * is what the total must be; from=ADDRESS leaves what is below alone; every=N
 * takes one page in N below 4 GiB, and what is above whole.
 */
#include "tests/guests/lib/guest.h"

const char guest_name[] = "memory";

#define PAGE 4096ull
#define WORDS (PAGE / sizeof(uint64_t))
#define EXTENDED 0x100000ull /* what is below holds tables and boot information */
#define GOLDEN 0x9e3779b97f4a7c15ull

static uint64_t from, every;
static uint64_t taken_until; /* end of this program and of what the loader said */

static bool in_module(uint64_t page)
{
	for (unsigned i = 0; i < boot.modules_count; i++) {
		uint64_t start = boot.modules[i].start & ~(PAGE - 1);
		uint64_t end = boot.modules[i].start + boot.modules[i].size;

		if (page >= start && page < end)
			return true;
	}
	return false;
}

static bool ours(uint64_t page)
{
	bool chosen = page >= BIT(32) || page / PAGE % every == 0;

	return chosen && page >= taken_until && page >= from && !in_module(page);
}

static uint64_t pattern(uint64_t at)
{
	return (at ^ GOLDEN) * GOLDEN;
}

static void check_zero_and_fill(uint64_t page)
{
	volatile uint64_t *p = (volatile uint64_t *)page;

	for (unsigned i = 0; i < WORDS; i++)
		CHECK(p[i] == 0, "0x%llx reads 0x%llx at first touch", (unsigned long long)&p[i],
		      (unsigned long long)p[i]);
	for (unsigned i = 0; i < WORDS; i++)
		p[i] = pattern((uint64_t)&p[i]);
}

static void check_pattern(uint64_t page)
{
	const uint64_t *p = (const uint64_t *)page;

	for (unsigned i = 0; i < WORDS; i++)
		CHECK(p[i] == pattern((uint64_t)&p[i]), "0x%llx lost its pattern", (unsigned long long)&p[i]);
}

/* Calls @fn for every page of RAM from 1 MiB on that is not taken; returns how many there are, taken ones too. */
static uint64_t for_each_page(void (*fn)(uint64_t page))
{
	uint64_t pages = 0;

	for (unsigned i = 0; i < boot.ranges; i++) {
		const struct range *r = &boot.map[i];
		uint64_t end = (r->start + r->size) & ~(PAGE - 1);

		for (uint64_t at = r->start; r->type == 1 && at >= EXTENDED && at < end; at += PAGE, pages++) {
			if (ours(at))
				fn(at);
		}
	}
	return pages;
}

static void map_high(void)
{
	for (unsigned i = 0; i < boot.ranges; i++) {
		if (boot.map[i].type == 1 && boot.map[i].start >= BIT(32))
			map_identity(boot.map[i].start, boot.map[i].size);
	}
}

void guest_main(void)
{
	uint64_t pages, expected = option("size", 0);

	taken_until = (uint64_t)image_end > boot.info_end ? (uint64_t)image_end : boot.info_end;
	taken_until = (taken_until + PAGE - 1) & ~(PAGE - 1);
	from = option("from", 0);
	every = option("every", 1);
	map_high();
	pages = for_each_page(check_zero_and_fill);
	print("memory: what is free of %llu KiB above 1 MiB was zero\n", (unsigned long long)(pages * PAGE >> 10));
	for_each_page(check_pattern);
	print("memory: every pattern stands\n");
	if (expected)
		CHECK((pages * PAGE >> 20) + 1 == expected, "%llu MiB expected", (unsigned long long)expected);
}
