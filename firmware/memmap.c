/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One primitive does all the work: overlay() lays a range over the sorted map,
 * splitting what it covers in part, and lets a rule say which of two types holds
 * where both apply. Building, claiming and allocating are three rules. Insertion
 * into a sorted array is quadratic, which is nothing for some tens of entries.
 */
#include "firmware/memmap.h"

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/checked.h"

#define START_PAGE_LIMIT 0x100000u /* a start-up IPI carries a page number of 8 bits */

/* May @incoming replace @present in an overlap? */
typedef bool (*overlay_rule)(enum memmap_type present, enum memmap_type incoming);

const char *memmap_type_name(enum memmap_type type)
{
	static const char *const names[MEMMAP_TYPES] = {
		[MEMMAP_RAM] = "free RAM",     [MEMMAP_ACPI] = "ACPI tables",   [MEMMAP_NVS] = "ACPI NVS",
		[MEMMAP_RESERVED] = "reserved", [MEMMAP_UNUSABLE] = "unusable",  [MEMMAP_IMAGE] = "image",
		[MEMMAP_MODULE] = "module",    [MEMMAP_BOARD] = "board reserved", [MEMMAP_LOW] = "low memory",
		[MEMMAP_BOOT] = "boot tables and stacks",
	};

	return type < MEMMAP_TYPES ? names[type] : "unknown";
}

static bool stronger_holds(enum memmap_type present, enum memmap_type incoming)
{
	return incoming > present;
}

static bool only_over_ram(enum memmap_type present, enum memmap_type incoming)
{
	(void)incoming;
	return present == MEMMAP_RAM;
}

static void insert_at(struct memmap *map, unsigned index, uint64_t start, uint64_t end, enum memmap_type type)
{
	for (unsigned i = map->count; i > index; i--)
		map->entry[i] = map->entry[i - 1];
	map->entry[index] = (struct memmap_entry){start, end, type};
	map->count++;
}

static void remove_at(struct memmap *map, unsigned index)
{
	map->count--;
	for (unsigned i = index; i < map->count; i++)
		map->entry[i] = map->entry[i + 1];
}

/* Cuts the entry at @index so that the part from @at on is an entry of its own. */
static void split_at(struct memmap *map, unsigned index, uint64_t at)
{
	struct memmap_entry *e = &map->entry[index];

	insert_at(map, index + 1, at, e->end, e->type);
	map->entry[index].end = at;
}

static void merge_neighbours(struct memmap *map)
{
	for (unsigned i = 0; i + 1 < map->count;) {
		struct memmap_entry *e = &map->entry[i];

		if (e[0].end == e[1].start && e[0].type == e[1].type) {
			e[0].end = e[1].end;
			remove_at(map, i + 1);
		} else {
			i++;
		}
	}
}

/*
 * Lays [start, end) of @type over the map. Holes are filled when @fill. Leaves
 * room for the two splits and the fills that one range can cause: the caller
 * has checked that at least half of the array is free.
 */
static void overlay(struct memmap *map, uint64_t start, uint64_t end, enum memmap_type type, overlay_rule wins,
		    bool fill)
{
	unsigned i = 0;

	while (start < end) {
		while (i < map->count && map->entry[i].end <= start)
			i++;
		uint64_t next = i < map->count ? map->entry[i].start : UINT64_MAX;

		if (start < next) {
			uint64_t stop = MIN(end, next);

			if (fill)
				insert_at(map, i, start, stop, type);
			start = stop;
			continue;
		}
		if (next < start)
			split_at(map, i++, start);
		if (map->entry[i].end > end)
			split_at(map, i, end);
		if (wins(map->entry[i].type, type))
			map->entry[i].type = type;
		start = map->entry[i].end;
	}
	merge_neighbours(map);
}

/* One overlay at most adds a fill beside each entry and two splits. */
static bool has_room(const struct memmap *map)
{
	return map->count * 2 + 3 <= MEMMAP_MAX;
}

enum status memmap_build(struct memmap *map, const struct memmap_range *ranges, unsigned count, struct error *err)
{
	map->count = 0;
	for (unsigned i = 0; i < count; i++) {
		const struct memmap_range *r = &ranges[i];
		bool ram = r->type == MEMMAP_RAM;
		uint64_t end, start = ram ? align_up(r->start, PAGE_SIZE) : align_down(r->start, PAGE_SIZE);

		if (r->len == 0)
			continue;
		if (add_overflows(r->start, r->len, &end) || end > UINT64_MAX - PAGE_SIZE)
			return fail(err, ST_INVALID, "memory map: range %u, 0x%llx of 0x%llx bytes, wraps around", i,
				    (unsigned long long)r->start, (unsigned long long)r->len);
		end = ram ? align_down(end, PAGE_SIZE) : align_up(end, PAGE_SIZE);
		if (!has_room(map))
			return fail(err, ST_OVER_LIMIT, "memory map: more than %u entries at range %u", MEMMAP_MAX / 2,
				    i);
		overlay(map, start, end, r->type, stronger_holds, true);
	}
	return ST_OK;
}

enum status memmap_claim(struct memmap *map, hpa_t start, uint64_t len, enum memmap_type type, struct error *err)
{
	uint64_t end;

	ASSERT(type >= MEMMAP_IMAGE && type < MEMMAP_TYPES);
	if (len == 0)
		return ST_OK;
	if (add_overflows(start.v, len, &end) || end > UINT64_MAX - PAGE_SIZE)
		return fail(err, ST_INVALID, "memory map: %s at 0x%llx of 0x%llx bytes wraps around",
			    memmap_type_name(type), (unsigned long long)start.v, (unsigned long long)len);
	if (!has_room(map))
		return fail(err, ST_OVER_LIMIT, "memory map: too fragmented for %s at 0x%llx (at most %u entries)",
			    memmap_type_name(type), (unsigned long long)start.v, MEMMAP_MAX / 2);
	overlay(map, align_down(start.v, PAGE_SIZE), align_up(end, PAGE_SIZE), type, only_over_ram, false);
	return ST_OK;
}

enum status memmap_alloc(struct memmap *map, uint64_t len, uint64_t align, uint64_t limit, hpa_t *out)
{
	ASSERT(len != 0 && is_aligned(len, PAGE_SIZE) && align >= PAGE_SIZE);
	if (!has_room(map))
		return ST_NO_MEMORY;
	for (unsigned i = map->count; i-- > 0;) {
		const struct memmap_entry *e = &map->entry[i];
		uint64_t end = MIN(e->end, limit);
		uint64_t start;

		if (e->type != MEMMAP_RAM || end < e->start || end - e->start < len)
			continue;
		start = align_down(end - len, align);
		if (start < e->start)
			continue;
		overlay(map, start, start + len, MEMMAP_BOOT, only_over_ram, false);
		*out = hpa(start);
		return ST_OK;
	}
	return ST_NO_MEMORY;
}

enum status memmap_start_page(struct memmap *map, hpa_t *out)
{
	for (unsigned i = map->count; i-- > 0;) {
		const struct memmap_entry *e = &map->entry[i];

		if (e->type != MEMMAP_LOW || e->end > START_PAGE_LIMIT || e->end <= PAGE_SIZE)
			continue;
		*out = hpa(e->end - PAGE_SIZE);
		return ST_OK;
	}
	return memmap_alloc(map, PAGE_SIZE, PAGE_SIZE, START_PAGE_LIMIT, out);
}

uint64_t memmap_bytes(const struct memmap *map, enum memmap_type type)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < map->count; i++)
		if (map->entry[i].type == type)
			sum += map->entry[i].end - map->entry[i].start;
	return sum;
}

const struct memmap_entry *memmap_find(const struct memmap *map, uint64_t at)
{
	for (unsigned i = 0; i < map->count; i++)
		if (map->entry[i].start <= at && at < map->entry[i].end)
			return &map->entry[i];
	return NULL;
}
