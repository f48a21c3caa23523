/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address ranges to devices: one bus for ports, one for memory. The bus owns
 * routing and refuses overlap. An access to nothing reads all ones and drops
 * writes; it is counted.
 */
#ifndef CORBEL_GUEST_BUS_H
#define CORBEL_GUEST_BUS_H

#include <stdint.h>

#include "guest/device.h"
#include "lib/status.h"

#define BUS_RANGES_MAX 64
#define BUS_HINTS 32 /* a power of two */

struct bus_range {
	uint64_t start, length;
	struct device *dev;
	uint64_t dev_offset; /* the device's offset of @start: a device may claim several ranges */
};

struct bus {
	const char *name;    /* "pio" or "mmio" */
	uint64_t limit;      /* addresses are below this */
	unsigned count;
	unsigned hint_shift; /* an address and its neighbours share a hint */
	uint8_t hints[BUS_HINTS]; /* index of the range that was found last, by hash of the address */
	struct bus_range ranges[BUS_RANGES_MAX]; /* sorted by start, disjoint */
	uint64_t misses;     /* accesses to nothing */
};

void bus_init(struct bus *bus, const char *name, uint64_t limit);
/* ST_EXISTS on overlap, ST_INVALID for an empty or wrapping range, ST_OVER_LIMIT when full. */
enum status bus_add(struct bus *bus, uint64_t start, uint64_t length, struct device *dev, uint64_t dev_offset);
/* Range holding @addr, NULL for none. O(log n), no side effect. */
struct bus_range *bus_find(struct bus *bus, uint64_t addr);
/*
 * An access that straddles a range's end is split into bytes. @size 1, 2, 4, 8.
 */
uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size);
void bus_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t value);

#endif
