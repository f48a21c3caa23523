/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C library functions that compilers call, more page tables, pseudo-random
 * numbers.
 */
#include <stddef.h>
#include <string.h>

#include "tests/guests/lib/guest.h"

#define TABLE_POOL 64u
#define ENTRIES 512u
#define MAP_LIMIT (512ull << 30)

extern uint64_t page_pdpt[ENTRIES];
static _Alignas(4096) uint64_t pool[TABLE_POOL][ENTRIES];
static unsigned pool_used;

void map_identity(uint64_t addr, uint64_t size)
{
	for (uint64_t at = addr & ~MASK(20, 0); at < addr + size; at += BIT(21)) {
		uint64_t *slot = &page_pdpt[at >> 30];
		uint64_t *dir;

		CHECK(at < MAP_LIMIT, "0x%llx is too high to map", (unsigned long long)at);
		if (!(*slot & PTE_P)) {
			CHECK(pool_used < TABLE_POOL, "no page directory left");
			*slot = (uint64_t)pool[pool_used++] | PTE_P | PTE_W;
		}
		dir = (uint64_t *)(*slot & PTE_ADDR_MASK);
		dir[(at >> 21) % ENTRIES] = at | PTE_P | PTE_W | PTE_PS;
	}
}

uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state ? *state : 1;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dull;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}

void *memset(void *to, int byte, size_t n)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
	return start;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *p = a, *q = b;

	for (size_t i = 0; i < n; i++) {
		if (p[i] != q[i])
			return p[i] < q[i] ? -1 : 1;
	}
	return 0;
}

size_t strnlen(const char *s, size_t max)
{
	size_t n = 0;

	while (n < max && s[n])
		n++;
	return n;
}

size_t strlen(const char *s)
{
	return strnlen(s, (size_t)-1);
}
