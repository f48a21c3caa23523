/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's memory map: sorted, disjoint, page granular, each entry with one
 * use. Made from the loader's unordered and possibly overlapping ranges; the
 * image, modules and the board's reserved memory are then claimed in it, and the
 * few pages needed before memory management starts are taken from it. What is
 * still RAM in the end is handed over. Pure C.
 */
#ifndef CORBEL_FIRMWARE_MEMMAP_H
#define CORBEL_FIRMWARE_MEMMAP_H

#include <stdint.h>

#include "lib/addr.h"
#include "lib/error.h"
#include "lib/status.h"

/*
 * Uses of a page. From MEMMAP_RAM to MEMMAP_UNUSABLE in rising order of claim:
 * where the loader's ranges overlap, the later one holds. The rest are claims on RAM.
 */
enum memmap_type {
	MEMMAP_RAM,      /* free */
	MEMMAP_ACPI,     /* RAM that holds ACPI tables */
	MEMMAP_NVS,      /* RAM that firmware uses across sleep */
	MEMMAP_RESERVED,
	MEMMAP_UNUSABLE, /* RAM with errors */
	MEMMAP_IMAGE,    /* this program */
	MEMMAP_MODULE,   /* loaded beside it */
	MEMMAP_BOARD,    /* kept free by the board's device tree */
	MEMMAP_LOW,      /* first pages: real-mode data, later the start-up code of other CPUs */
	MEMMAP_BOOT,     /* page tables and stacks made before memory management */
	MEMMAP_TYPES
};

#define MEMMAP_MAX 320

struct memmap_range {
	uint64_t start, len; /* any alignment */
	enum memmap_type type;
};

struct memmap_entry {
	uint64_t start, end; /* [start, end), multiples of PAGE_SIZE, start < end */
	enum memmap_type type;
};

struct memmap {
	unsigned count;
	struct memmap_entry entry[MEMMAP_MAX];
};

/* Static storage. */
const char *memmap_type_name(enum memmap_type type);

/*
 * Builds @map from the loader's @count ranges. RAM shrinks to whole pages, all
 * else grows to whole pages. Empty ranges are skipped. A range that wraps around
 * is ST_INVALID, more entries than MEMMAP_MAX are ST_OVER_LIMIT; @map is then undefined.
 */
enum status memmap_build(struct memmap *map, const struct memmap_range *ranges, unsigned count, struct error *err);

/*
 * Claims every free page that [start, start + len) touches as @type (IMAGE and
 * later); pages that are not free RAM stay as they are.
 */
enum status memmap_claim(struct memmap *map, hpa_t start, uint64_t len, enum memmap_type type, struct error *err);

/*
 * Takes @len bytes (multiple of PAGE_SIZE) of RAM aligned to @align (power of two,
 * at least PAGE_SIZE) that end at or below @limit, from the top, and claims them
 * as MEMMAP_BOOT. ST_NO_MEMORY when there is no such hole.
 */
enum status memmap_alloc(struct memmap *map, uint64_t len, uint64_t align, uint64_t limit, hpa_t *out);

/*
 * A page below 1 MiB where a CPU can be started by an IPI: the last of MEMMAP_LOW but page 0, else free RAM, which is
 * claimed. ST_NO_MEMORY when there is neither.
 */
enum status memmap_start_page(struct memmap *map, hpa_t *out);

/* Bytes of one type. */
uint64_t memmap_bytes(const struct memmap *map, enum memmap_type type);

/* The entry that holds @at, NULL for a hole. */
const struct memmap_entry *memmap_find(const struct memmap *map, uint64_t at);

#endif
