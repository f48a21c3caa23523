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

static inline uint8_t *hint_of(struct bus *bus, uint64_t addr)
{
	return &bus->hints[(addr >> bus->hint_shift) % BUS_HINTS];
}

/* The range that the hint of @addr names, if it does hold all of the access; else NULL, and nothing is known. */
static inline struct bus_range *hinted(struct bus *bus, uint64_t addr, unsigned size)
{
	struct bus_range *r = &bus->ranges[*hint_of(bus, addr)];
	uint64_t offset = addr - r->start;

	return likely(offset < r->length && size <= r->length - offset) ? r : NULL;
}

static inline bool ends_below(uint64_t addr, unsigned size, const struct bus_range *r)
{
	return addr < r->start && r->start - addr >= size;
}

/* The access lies below the first range, or between the one that the hint names and the next: there is nothing. */
static inline bool hinted_miss(struct bus *bus, uint64_t addr, unsigned size)
{
	unsigned at = *hint_of(bus, addr);
	const struct bus_range *r = &bus->ranges[at];

	if (at >= bus->count || ends_below(addr, size, &bus->ranges[0]))
		return true;
	if (addr < r->start || addr - r->start < r->length)
		return false;
	return at + 1 == bus->count || ends_below(addr, size, r + 1);
}

/*
 * The range that holds all of an access, NULL when none does: then *apart says whether a part of it belongs to one,
 * so that it goes by bytes.
 */
static struct bus_range *search(struct bus *bus, uint64_t addr, unsigned size, bool *apart)
{
	unsigned n = ranges_from(bus, addr);
	struct bus_range *r = n > 0 ? &bus->ranges[n - 1] : NULL;

	if (r)
		*hint_of(bus, addr) = (uint8_t)(n - 1);
	if (r && addr - r->start < r->length) {
		*apart = size > r->length - (addr - r->start);
		return *apart ? NULL : r;
	}
	*apart = n < bus->count && bus->ranges[n].start - addr < size;
	return NULL;
}

static inline uint64_t size_mask(unsigned size)
{
	return size == 8 ? UINT64_MAX : BIT(size * 8) - 1;
}

static inline uint64_t read_range(struct bus_range *r, uint64_t addr, unsigned size)
{
	return r->dev->ops->read(r->dev, r->dev_offset + (addr - r->start), size) & size_mask(size);
}

static inline void write_range(struct bus_range *r, uint64_t addr, unsigned size, uint64_t value)
{
	r->dev->ops->write(r->dev, r->dev_offset + (addr - r->start), size, value & size_mask(size));
}

static inline uint64_t read_nothing(struct bus *bus, unsigned size)
{
	bus->misses++;
	return size_mask(size);
}

static __attribute__((noinline)) uint64_t read_searched(struct bus *bus, uint64_t addr, unsigned size)
{
	bool apart;
	struct bus_range *r = search(bus, addr, size, &apart);
	uint64_t value = 0;

	if (r)
		return read_range(r, addr, size);
	if (!apart)
		return read_nothing(bus, size);
	for (unsigned i = 0; i < size; i++)
		value |= bus_read(bus, addr + i, 1) << (i * 8);
	return value;
}

uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size)
{
	struct bus_range *r = hinted(bus, addr, size);

	if (likely(r))
		return read_range(r, addr, size);
	return hinted_miss(bus, addr, size) ? read_nothing(bus, size) : read_searched(bus, addr, size);
}

static __attribute__((noinline)) void write_searched(struct bus *bus, uint64_t addr, unsigned size, uint64_t value)
{
	bool apart;
	struct bus_range *r = search(bus, addr, size, &apart);

	if (r) {
		write_range(r, addr, size, value);
		return;
	}
	if (!apart) {
		bus->misses++;
		return;
	}
	for (unsigned i = 0; i < size; i++)
		bus_write(bus, addr + i, 1, value >> (i * 8));
}

void bus_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t value)
{
	struct bus_range *r = hinted(bus, addr, size);

	if (likely(r))
		write_range(r, addr, size, value);
	else if (hinted_miss(bus, addr, size))
		bus->misses++;
	else
		write_searched(bus, addr, size, value);
}
