/* SPDX-License-Identifier: Apache-2.0 */
/* mmap without reserve; errors end the test program with a sentence. */
#include "tests/fakes/ram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void stop(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	abort();
}

struct ram ram_map(uint64_t bytes)
{
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		stop("ram_map", "mmap refused");
	return (struct ram){base, bytes};
}

void ram_unmap(struct ram *ram)
{
	munmap(ram->base, ram->bytes);
}

void ram_dirty(struct ram *ram)
{
	memset(ram->base, 0xa5, ram->bytes);
}

struct memmgr *ram_memmgr(struct ram *ram, uint64_t clear_4k, uint64_t clear_2m, uint64_t clear_1g)
{
	struct mem_range range = {hfn(0), ram->bytes >> PAGE_SHIFT};
	struct memmgr_config cfg = {
		.ram = &range,
		.ram_count = 1,
		.direct_map = ram->base,
		.clear_ahead_4k = clear_4k,
		.clear_ahead_2m = clear_2m,
		.clear_ahead_1g = clear_1g,
	};
	struct memmgr *mm;
	struct error err;

	if (memmgr_init(&cfg, &mm, &err) != ST_OK)
		stop("memmgr_init", err.text);
	return mm;
}

void ram_check(struct memmgr *mm)
{
	struct error err;

	if (!memmgr_check(mm, &err))
		stop("memmgr_check", err.text);
}
