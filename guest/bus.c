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
	bus->enter = bus->leave = NULL;
	bus->ctx = NULL;
	bus->ranges[0] = (struct bus_range){.start = UINT64_MAX}; /* the end, which holds nothing */
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

static uint64_t length_of(const struct bus_range *r) { return r->length ? r->length : r->alone; }

enum status bus_add(struct bus *bus, uint64_t start, uint64_t length, struct device *dev, uint64_t dev_offset)
{
	unsigned at;

	if (length == 0 || !range_fits(start, length, bus->limit) || (dev->ops->own_lock && dev_offset))
		return ST_INVALID;
	at = ranges_from(bus, start);
	if (at > 0 && start - bus->ranges[at - 1].start < length_of(&bus->ranges[at - 1]))
		return ST_EXISTS;
	if (at < bus->count && bus->ranges[at].start - start < length)
		return ST_EXISTS;
	if (bus->count == BUS_RANGES_MAX)
		return ST_OVER_LIMIT;
	for (unsigned i = bus->count + 1; i > at; i--)
		bus->ranges[i] = bus->ranges[i - 1];
	if (dev->ops->own_lock)
		bus->ranges[at] = (struct bus_range){.start = start, .dev = dev, .alone = length};
	else
		bus->ranges[at] = (struct bus_range){.start = start, .length = length, .dev = dev, .dev_offset = dev_offset};
	bus->count++;
	return ST_OK;
}

struct bus_range *bus_find(struct bus *bus, uint64_t addr)
{
	unsigned n = ranges_from(bus, addr);

	if (n == 0 || addr - bus->ranges[n - 1].start >= length_of(&bus->ranges[n - 1]))
		return NULL;
	return &bus->ranges[n - 1];
}

static inline uint8_t *hint_of(struct bus *bus, uint64_t addr)
{
	return &bus->hints[(addr >> bus->hint_shift) % BUS_HINTS];
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
		__atomic_store_n(hint_of(bus, addr), (uint8_t)(n - 1), __ATOMIC_RELAXED);
	if (r && addr - r->start < length_of(r)) {
		*apart = size > length_of(r) - (addr - r->start);
		return *apart ? NULL : r;
	}
	*apart = n < bus->count && bus->ranges[n].start - addr < size;
	return NULL;
}

static void count_miss(struct bus *bus) { __atomic_fetch_add(&bus->misses, 1, __ATOMIC_RELAXED); }

static uint64_t guarded_read(struct bus *bus, struct bus_range *r, uint64_t addr, unsigned size)
{
	uint64_t value;

	if (r->length == 0)
		return bus_alone_read(r, addr, size);
	if (!bus->enter)
		return bus_range_read(r, addr, size);
	bus->enter(bus->ctx);
	value = bus_range_read(r, addr, size);
	bus->leave(bus->ctx);
	return value;
}

static void guarded_write(struct bus *bus, struct bus_range *r, uint64_t addr, unsigned size, uint64_t value)
{
	if (r->length == 0) {
		bus_alone_write(r, addr, size, value);
		return;
	}
	if (bus->enter)
		bus->enter(bus->ctx);
	bus_range_write(r, addr, size, value);
	if (bus->leave)
		bus->leave(bus->ctx);
}

static __attribute__((noinline)) uint64_t read_searched(struct bus *bus, uint64_t addr, unsigned size)
{
	bool apart;
	struct bus_range *r = search(bus, addr, size, &apart);
	uint64_t value = 0;

	if (r)
		return guarded_read(bus, r, addr, size);
	if (!apart) {
		count_miss(bus);
		return bus_size_mask(size);
	}
	for (unsigned i = 0; i < size; i++)
		value |= bus_read(bus, addr + i, 1) << (i * 8);
	return value;
}

uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size)
{
	struct bus_range *near = bus_near(bus, addr);

	if (bus_holds(near, addr, size))
		return guarded_read(bus, near, addr, size);
	return bus_misses(bus, near, addr, size) ? bus_size_mask(size) : read_searched(bus, addr, size);
}

static __attribute__((noinline)) void write_searched(struct bus *bus, uint64_t addr, unsigned size, uint64_t value)
{
	bool apart;
	struct bus_range *r = search(bus, addr, size, &apart);

	if (r) {
		guarded_write(bus, r, addr, size, value);
		return;
	}
	if (!apart) {
		count_miss(bus);
		return;
	}
	for (unsigned i = 0; i < size; i++)
		bus_write(bus, addr + i, 1, value >> (i * 8));
}

void bus_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t value)
{
	struct bus_range *near = bus_near(bus, addr);

	if (bus_holds(near, addr, size))
		guarded_write(bus, near, addr, size, value);
	else if (!bus_misses(bus, near, addr, size))
		write_searched(bus, addr, size, value);
}
