/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address ranges to devices: one bus for ports, one for memory. The bus owns
 * routing and refuses overlap. An access to nothing reads all ones and drops
 * writes; it is counted. Looking a range up needs no lock, once all are added:
 * hints that several CPUs write are all good ones. What a device needs is its
 * owner's business.
 */
#ifndef CORBEL_GUEST_BUS_H
#define CORBEL_GUEST_BUS_H

#include <stdint.h>

#include "guest/device.h"
#include "lib/bits.h"
#include "lib/status.h"

#define BUS_RANGES_MAX 64
#define BUS_HINTS 32 /* a power of two */

/* 32 bytes, since each look-up multiplies by that. */
struct bus_range {
	uint64_t start;
	uint64_t length;         /* 0: of a device that locks for itself, and of the end */
	struct device *dev;
	union {
		uint64_t dev_offset; /* the device's offset of @start: a device may claim several ranges */
		uint64_t alone;      /* the length, for a device that locks for itself: its offset is 0 */
	};
};
_Static_assert(sizeof(struct bus_range) == 32, "a shift, no multiplication");

struct bus {
	const char *name;    /* "pio" or "mmio" */
	uint64_t limit;      /* addresses are below this */
	unsigned count;
	unsigned hint_shift; /* an address and its neighbours share a hint */
	uint8_t hints[BUS_HINTS]; /* index of the range that was found last, by hash of the address */
	struct bus_range ranges[BUS_RANGES_MAX + 1]; /* sorted by start, disjoint; then one that ends the list */
	uint64_t misses;     /* accesses to nothing */
	/* Around each call of bus_read() and bus_write() to a device without a lock of its own; NULL: nothing. */
	void (*enter)(void *ctx);
	void (*leave)(void *ctx);
	void *ctx;
};

void bus_init(struct bus *bus, const char *name, uint64_t limit);
/*
 * ST_EXISTS on overlap, ST_OVER_LIMIT when full; ST_INVALID for an empty or wrapping range, and for one with an offset
 * of a device that locks for itself.
 */
enum status bus_add(struct bus *bus, uint64_t start, uint64_t length, struct device *dev, uint64_t dev_offset);
/* Of the low @size bytes, 1 to 8; the count of a shift is taken modulo 64 by the processor itself. */
static inline uint64_t bus_size_mask(unsigned size) { return UINT64_MAX >> (-(size * 8) & 63); }

/* The range that the hint of @addr names: where the last look-up of an address like this ended. */
static inline struct bus_range *bus_near(struct bus *bus, uint64_t addr)
{
	return &bus->ranges[__atomic_load_n(&bus->hints[(addr >> bus->hint_shift) % BUS_HINTS], __ATOMIC_RELAXED)];
}

/* Does @r hold all of the access, and want the lock of the bus's owner around it? */
static inline bool bus_holds(const struct bus_range *r, uint64_t addr, unsigned size)
{
	uint64_t offset = addr - r->start;

	return likely(offset < r->length && size <= r->length - offset);
}

/* Is @addr in a range whose device locks for itself? */
static inline bool bus_is_alone(const struct bus_range *r, uint64_t addr)
{
	return r->length == 0 && addr - r->start < r->alone;
}

static inline bool bus_ends_below(uint64_t addr, unsigned size, const struct bus_range *r)
{
	return addr < r->start && r->start - addr >= size;
}

/* Does the access lie between @near and the next range, or below the first: is there nothing? If so it is counted. */
static inline bool bus_misses(struct bus *bus, const struct bus_range *near, uint64_t addr, unsigned size)
{
	/* Behind the last there is an entry that holds nothing, as far up as there are addresses. */
	if (likely(addr >= near->start)) {
		if (addr - near->start < near->length || !bus_ends_below(addr, size, near + 1) ||
		    unlikely(bus_is_alone(near, addr)))
			return false;
	} else if (!bus_ends_below(addr, size, &bus->ranges[0])) {
		return false;
	}
	__atomic_fetch_add(&bus->misses, 1, __ATOMIC_RELAXED);
	return true;
}

static inline uint64_t bus_range_read(struct bus_range *r, uint64_t addr, unsigned size)
{
	return r->dev->ops->read(r->dev, r->dev_offset + (addr - r->start), size) & bus_size_mask(size);
}

static inline uint64_t bus_alone_read(struct bus_range *r, uint64_t addr, unsigned size)
{
	return r->dev->ops->read(r->dev, addr - r->start, size) & bus_size_mask(size);
}

static inline void bus_range_write(struct bus_range *r, uint64_t addr, unsigned size, uint64_t value)
{
	r->dev->ops->write(r->dev, r->dev_offset + (addr - r->start), size, value & bus_size_mask(size));
}

static inline void bus_alone_write(struct bus_range *r, uint64_t addr, unsigned size, uint64_t value)
{
	r->dev->ops->write(r->dev, addr - r->start, size, value & bus_size_mask(size));
}

/* Range holding @addr, NULL for none. O(log n), no side effect. */
struct bus_range *bus_find(struct bus *bus, uint64_t addr);
/* An access that straddles a range's end is split into bytes. @size 1, 2, 4, 8. */
uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size);
void bus_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t value);

#endif
