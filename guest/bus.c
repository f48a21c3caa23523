/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routing of port and memory accesses to devices. The ranges are kept sorted
 * and disjoint, so that a look-up is a binary search and overlap shows at its
 * two neighbours; guests come back to the same few registers, so that a small
 * table of hints answers most look-ups before the search. Devices never see an access that leaves their range: what
 * straddles a border is taken apart into bytes, as an ISA bus does.
 */
#include "guest/bus.h"

#include "lib/addr.h"
#include "lib/bits.h"
#include "lib/checked.h"

#define PORTS_LIMIT 0x10000u

void bus_init(struct bus *bus, const char *name, uint64_t limit)
{
	bus->name = name;
	bus->limit = limit;
	bus->count = 0;
	bus->misses = 0;
	bus->ranges[0].start = bus->ranges[0].length = 0; /* what the hints name holds nothing */
	bus->hint_shift = limit <= PORTS_LIMIT ? 2 : PAGE_SHIFT;
	for (unsigned i = 0; i < BUS_HINTS; i++)
		bus->hints[i] = 0;
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

/*
 * The range that holds all of an access, NULL when there is none: nothing is there, or it straddles a border.
 * A hint is only believed when its range does hold the access.
 */
static inline struct bus_range *route(struct bus *bus, uint64_t addr, unsigned size)
{
	uint8_t *hint = &bus->hints[(addr >> bus->hint_shift) % BUS_HINTS];
	struct bus_range *r = &bus->ranges[*hint];

	if (likely(addr - r->start < r->length && size <= r->length - (addr - r->start)))
		return r;
	r = bus_find(bus, addr);
	if (!r || size > r->length - (addr - r->start))
		return NULL;
	*hint = (uint8_t)(r - bus->ranges);
	return r;
}

/* Does any byte of an access that no single range holds belong to a range? Then it goes by bytes. */
static bool touches_a_range(struct bus *bus, uint64_t addr, unsigned size)
{
	unsigned n = ranges_from(bus, addr);

	if (n > 0 && addr - bus->ranges[n - 1].start < bus->ranges[n - 1].length)
		return true;
	return n < bus->count && bus->ranges[n].start - addr < size;
}

static inline uint64_t size_mask(unsigned size)
{
	return size == 8 ? UINT64_MAX : BIT(size * 8) - 1;
}

/* An access that no single range holds. */
static __attribute__((noinline)) uint64_t read_apart(struct bus *bus, uint64_t addr, unsigned size)
{
	uint64_t value = 0;

	if (size == 1 || !touches_a_range(bus, addr, size)) {
		bus->misses++;
		return size_mask(size);
	}
	for (unsigned i = 0; i < size; i++)
		value |= bus_read(bus, addr + i, 1) << (i * 8);
	return value;
}

uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size)
{
	struct bus_range *r = route(bus, addr, size);

	if (unlikely(!r))
		return read_apart(bus, addr, size);
	return r->dev->ops->read(r->dev, r->dev_offset + (addr - r->start), size) & size_mask(size);
}

static __attribute__((noinline)) void write_apart(struct bus *bus, uint64_t addr, unsigned size, uint64_t value)
{
	if (size == 1 || !touches_a_range(bus, addr, size)) {
		bus->misses++;
		return;
	}
	for (unsigned i = 0; i < size; i++)
		bus_write(bus, addr + i, 1, value >> (i * 8));
}

void bus_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t value)
{
	struct bus_range *r = route(bus, addr, size);

	if (unlikely(!r)) {
		write_apart(bus, addr, size, value);
		return;
	}
	r->dev->ops->write(r->dev, r->dev_offset + (addr - r->start), size, value & size_mask(size));
}
