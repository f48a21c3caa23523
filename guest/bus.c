/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routing of port and memory accesses to devices. The ranges are kept sorted
 * and disjoint, so that a look-up is a binary search and overlap shows at its
 * two neighbours. Devices never see an access that leaves their range: what
 * straddles a border is taken apart into bytes, as an ISA bus does.
 */
#include "guest/bus.h"

#include "lib/bits.h"
#include "lib/checked.h"

void bus_init(struct bus *bus, const char *name, uint64_t limit)
{
	bus->name = name;
	bus->limit = limit;
	bus->count = 0;
	bus->misses = 0;
}

/* Number of ranges that start at or below @addr: the one that may hold it is the last of them. */
static inline unsigned ranges_from(const struct bus *bus, uint64_t addr)
{
	unsigned low = 0, high = bus->count;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (bus->ranges[mid].start <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

enum status bus_add(struct bus *bus, uint64_t start, uint64_t length, struct device *dev, uint64_t dev_offset)
{
	unsigned at;

	if (length == 0 || !range_fits(start, length, bus->limit))
		return ST_INVALID;
	at = ranges_from(bus, start);
	if (at > 0 && start - bus->ranges[at - 1].start < bus->ranges[at - 1].length)
		return ST_EXISTS;
	if (at < bus->count && bus->ranges[at].start - start < length)
		return ST_EXISTS;
	if (bus->count == BUS_RANGES_MAX)
		return ST_OVER_LIMIT;
	for (unsigned i = bus->count; i > at; i--)
		bus->ranges[i] = bus->ranges[i - 1];
	bus->ranges[at] = (struct bus_range){start, length, dev, dev_offset};
	bus->count++;
	return ST_OK;
}

struct bus_range *bus_find(struct bus *bus, uint64_t addr)
{
	unsigned n = ranges_from(bus, addr);

	if (n == 0 || addr - bus->ranges[n - 1].start >= bus->ranges[n - 1].length)
		return NULL;
	return &bus->ranges[n - 1];
}

/* Where an access goes: to @range at @offset, to nothing (@range NULL), or in pieces. */
struct route {
	struct bus_range *range;
	uint64_t offset;
	bool split;
};

static inline struct route bus_route(struct bus *bus, uint64_t addr, unsigned size)
{
	unsigned n = ranges_from(bus, addr);
	struct bus_range *r = n > 0 ? &bus->ranges[n - 1] : NULL;
	uint64_t offset = r ? addr - r->start : 0;
	bool next_is_hit;

	if (likely(r && offset < r->length))
		return (struct route){r, offset, r->length - offset < size};
	next_is_hit = n < bus->count && bus->ranges[n].start - addr < size;
	return (struct route){NULL, 0, next_is_hit};
}

static inline uint64_t size_mask(unsigned size)
{
	return size == 8 ? UINT64_MAX : BIT(size * 8) - 1;
}

static uint64_t read_bytes(struct bus *bus, uint64_t addr, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= bus_read(bus, addr + i, 1) << (i * 8);
	return value;
}

uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size)
{
	struct route to = bus_route(bus, addr, size);
	struct device *dev;

	if (unlikely(to.split))
		return read_bytes(bus, addr, size);
	if (!to.range) {
		bus->misses++;
		return size_mask(size);
	}
	dev = to.range->dev;
	return dev->ops->read(dev, to.range->dev_offset + to.offset, size) & size_mask(size);
}

void bus_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t value)
{
	struct route to = bus_route(bus, addr, size);
	struct device *dev;

	if (unlikely(to.split)) {
		for (unsigned i = 0; i < size; i++)
			bus_write(bus, addr + i, 1, value >> (i * 8));
		return;
	}
	if (!to.range) {
		bus->misses++;
		return;
	}
	dev = to.range->dev;
	dev->ops->write(dev, to.range->dev_offset + to.offset, size, value & size_mask(size));
}
