/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routing: neighbours, borders, holes, splitting and refusal of overlap, and a
 * random comparison with a map that has one entry for each byte.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "guest/bus.h"
#include "lib/bits.h"

/* Remembers what it was asked and answers with bytes that name their offset. */
struct probe {
	struct device dev;
	unsigned reads, writes;
	uint64_t offset, value;
	unsigned size;
	uint8_t bytes[256];
};

static uint64_t probe_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct probe *p = container_of(dev, struct probe, dev);
	uint64_t value = 0;

	p->reads++;
	p->offset = offset;
	p->size = size;
	assert_true(offset + size <= sizeof p->bytes);
	memcpy(&value, p->bytes + offset, size);
	return value;
}

static void probe_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct probe *p = container_of(dev, struct probe, dev);

	p->writes++;
	p->offset = offset;
	p->size = size;
	p->value = value;
	assert_true(offset + size <= sizeof p->bytes);
	memcpy(p->bytes + offset, &value, size);
}

static const struct device_ops probe_ops = {.name = "probe", .read = probe_read, .write = probe_write};

static void probe_init(struct probe *p, uint8_t seed)
{
	memset(p, 0, sizeof *p);
	p->dev.ops = &probe_ops;
	for (unsigned i = 0; i < sizeof p->bytes; i++)
		p->bytes[i] = (uint8_t)(seed + i);
}

static void finds_the_range_that_holds_an_address(void **state)
{
	struct bus bus;
	struct probe a, b;

	(void)state;
	probe_init(&a, 0);
	probe_init(&b, 0x80);
	bus_init(&bus, "pio", 0x10000);
	assert_int_equal(bus_add(&bus, 0x60, 1, &a.dev, 0), ST_OK);
	assert_int_equal(bus_add(&bus, 0x64, 1, &a.dev, 4), ST_OK);
	assert_int_equal(bus_add(&bus, 0x20, 2, &b.dev, 0), ST_OK);
	assert_null(bus_find(&bus, 0x1f));
	assert_ptr_equal(bus_find(&bus, 0x20)->dev, &b.dev);
	assert_ptr_equal(bus_find(&bus, 0x21)->dev, &b.dev);
	assert_null(bus_find(&bus, 0x22));
	assert_int_equal(bus_find(&bus, 0x64)->dev_offset, 4);
	assert_null(bus_find(&bus, UINT64_MAX));
	assert_int_equal(bus.misses, 0);
}

static void refuses_overlap_and_bad_ranges(void **state)
{
	struct bus bus;
	struct probe a;

	(void)state;
	probe_init(&a, 0);
	bus_init(&bus, "pio", 0x10000);
	assert_int_equal(bus_add(&bus, 0x100, 0x10, &a.dev, 0), ST_OK);
	assert_int_equal(bus_add(&bus, 0x100, 0x10, &a.dev, 0), ST_EXISTS);
	assert_int_equal(bus_add(&bus, 0x10f, 1, &a.dev, 0), ST_EXISTS);
	assert_int_equal(bus_add(&bus, 0xff, 2, &a.dev, 0), ST_EXISTS);
	assert_int_equal(bus_add(&bus, 0x80, 0x1000, &a.dev, 0), ST_EXISTS);
	assert_int_equal(bus_add(&bus, 0x110, 1, &a.dev, 0), ST_OK);
	assert_int_equal(bus_add(&bus, 0xff, 1, &a.dev, 0), ST_OK);
	assert_int_equal(bus_add(&bus, 0x200, 0, &a.dev, 0), ST_INVALID);
	assert_int_equal(bus_add(&bus, 0xffff, 2, &a.dev, 0), ST_INVALID);
	assert_int_equal(bus_add(&bus, 0x10, UINT64_MAX, &a.dev, 0), ST_INVALID);
	assert_int_equal(bus_add(&bus, 0xffff, 1, &a.dev, 0), ST_OK);
	assert_int_equal(bus.count, 4);
}

static void refuses_more_than_it_can_hold(void **state)
{
	struct bus bus;
	struct probe a;

	(void)state;
	probe_init(&a, 0);
	bus_init(&bus, "pio", 0x10000);
	for (unsigned i = 0; i < BUS_RANGES_MAX; i++)
		assert_int_equal(bus_add(&bus, i * 2, 1, &a.dev, i), ST_OK);
	assert_int_equal(bus_add(&bus, 0x1000, 1, &a.dev, 0), ST_OVER_LIMIT);
	for (unsigned i = 0; i < BUS_RANGES_MAX; i++)
		assert_int_equal(bus_read(&bus, i * 2, 1), i);
}

static void nothing_reads_all_ones_and_is_counted(void **state)
{
	struct bus bus;

	(void)state;
	bus_init(&bus, "mmio", UINT64_MAX);
	assert_int_equal(bus_read(&bus, 0x80, 1), 0xff);
	assert_int_equal(bus_read(&bus, 0x80, 2), 0xffff);
	assert_int_equal(bus_read(&bus, 0x80, 4), 0xffffffff);
	assert_true(bus_read(&bus, 0x80, 8) == UINT64_MAX);
	bus_write(&bus, 0x80, 4, 1);
	assert_int_equal(bus.misses, 5);
}

static void tells_the_device_its_own_offset_and_masks(void **state)
{
	struct bus bus;
	struct probe a;

	(void)state;
	probe_init(&a, 0);
	bus_init(&bus, "pio", 0x10000);
	assert_int_equal(bus_add(&bus, 0x3f8, 8, &a.dev, 0x10), ST_OK);
	assert_int_equal(bus_read(&bus, 0x3fa, 2), 0x1312);
	assert_int_equal(a.offset, 0x12);
	assert_int_equal(a.size, 2);
	bus_write(&bus, 0x3f9, 1, 0xabcdef12);
	assert_int_equal(a.value, 0x12);
	assert_int_equal(a.offset, 0x11);
}

static void splits_what_straddles_a_border(void **state)
{
	struct bus bus;
	struct probe a, b;

	(void)state;
	probe_init(&a, 0x10);
	probe_init(&b, 0x80);
	bus_init(&bus, "pio", 0x10000);
	assert_int_equal(bus_add(&bus, 0x100, 2, &a.dev, 0), ST_OK);
	assert_int_equal(bus_add(&bus, 0x102, 1, &b.dev, 0), ST_OK);
	assert_int_equal(bus_read(&bus, 0x101, 4), 0xffff8011u | 0xff000000u);
	assert_int_equal(a.size, 1);
	assert_int_equal(bus.misses, 2);
	/* Begins in a hole, ends in a range. */
	assert_int_equal(bus_read(&bus, 0xfe, 4), 0x1110ffff);
	bus_write(&bus, 0xff, 4, 0x44332211);
	assert_int_equal(a.bytes[0], 0x22);
	assert_int_equal(a.bytes[1], 0x33);
	assert_int_equal(b.bytes[0], 0x44);
}

static void ends_at_its_limit(void **state)
{
	struct bus bus;
	struct probe a;

	(void)state;
	probe_init(&a, 0);
	bus_init(&bus, "pio", 0x10000);
	assert_int_equal(bus_add(&bus, 0xfffe, 2, &a.dev, 0), ST_OK);
	assert_int_equal(bus_read(&bus, 0xffff, 4), 0xffffff01);
	bus_init(&bus, "mmio", UINT64_MAX);
	assert_int_equal(bus_add(&bus, UINT64_MAX - 8, 8, &a.dev, 0), ST_OK);
	assert_true(bus_read(&bus, UINT64_MAX - 1, 8) == 0xffffffffffffff07ull);
}

static unsigned entered, left;

static void enter(void *ctx)
{
	assert_ptr_equal(ctx, &entered);
	entered++;
}

static void leave(void *ctx)
{
	(void)ctx;
	left++;
}

static void who_locks_for_itself_is_called_without_the_owners(void **state)
{
	static const struct device_ops own_ops = {.name = "own", .read = probe_read, .write = probe_write, .own_lock = true};
	struct probe own, other;
	struct bus bus;

	(void)state;
	entered = left = 0;
	probe_init(&own, 0x10);
	probe_init(&other, 0x80);
	own.dev.ops = &own_ops;
	bus_init(&bus, "mmio", UINT64_MAX);
	bus.enter = enter;
	bus.leave = leave;
	bus.ctx = &entered;
	assert_int_equal(bus_add(&bus, 0x2000, 0x20, &own.dev, 1), ST_INVALID);
	assert_int_equal(bus_add(&bus, 0x2000, 0x20, &own.dev, 0), ST_OK);
	assert_int_equal(bus_add(&bus, 0x2020, 0x10, &other.dev, 4), ST_OK);
	assert_int_equal(bus_add(&bus, 0x201f, 1, &other.dev, 0), ST_EXISTS);
	assert_int_equal(bus_add(&bus, 0x1fff, 2, &other.dev, 0), ST_EXISTS);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(bus_read(&bus, 0x2004, 4), 0x17161514);
		bus_write(&bus, 0x201f, 1, 0x2f);
	}
	assert_true(own.reads == 3 && own.writes == 3 && entered == 0);
	assert_int_equal(bus_read(&bus, 0x2020, 2), 0x8584);
	bus_write(&bus, 0x2020, 1, 1);
	assert_true(entered == 2 && left == 2);
	/* Across the border, byte by byte, each in its own way; and past both ends. */
	assert_int_equal(bus_read(&bus, 0x201e, 4), 0x85012f2eu);
	assert_true(entered == 4 && left == 4);
	assert_int_equal(bus_read(&bus, 0x1ffe, 4), 0x1110ffffu);
	assert_int_equal(bus_find(&bus, 0x201f)->dev->ops == &own_ops, true);
	assert_null(bus_find(&bus, 0x2030));
	assert_int_equal(bus.misses, 2);
}

/* Random ranges and accesses against one owner per byte. */
static void agrees_with_a_byte_map(void **state)
{
	enum { SPACE = 512, DEVS = 8, ROUNDS = 200 };
	static struct probe devs[DEVS];
	uint8_t owner[SPACE + 8], offset[SPACE + 8];

	(void)state;
	srand(1);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct bus bus;

		bus_init(&bus, "pio", SPACE);
		memset(owner, DEVS, sizeof owner);
		for (unsigned i = 0; i < DEVS; i++)
			probe_init(&devs[i], (uint8_t)rand());
		for (unsigned i = 0; i < 40; i++) {
			unsigned start = (unsigned)rand() % SPACE, len = 1 + (unsigned)rand() % 12, dev = (unsigned)rand() % DEVS;
			bool free = start + len <= SPACE;

			for (unsigned j = start; free && j < start + len; j++)
				free = owner[j] == DEVS;
			assert_int_equal(bus_add(&bus, start, len, &devs[dev].dev, i) == ST_OK, free);
			for (unsigned j = 0; free && j < len; j++) {
				owner[start + j] = (uint8_t)dev;
				offset[start + j] = (uint8_t)(i + j);
			}
		}
		for (unsigned i = 0; i < 200; i++) {
			unsigned at = (unsigned)rand() % SPACE, size = 1u << (rand() % 4);
			uint64_t want = 0;

			for (unsigned j = 0; j < size; j++) {
				uint8_t byte = owner[at + j] == DEVS ? 0xff : devs[owner[at + j]].bytes[offset[at + j]];

				want |= (uint64_t)byte << (j * 8);
			}
			assert_true(bus_read(&bus, at, size) == want);
			if (i % 4 == 0)
				bus_write(&bus, at, size, (uint64_t)rand() << 32 | (unsigned)rand());
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_range_that_holds_an_address),
		cmocka_unit_test(refuses_overlap_and_bad_ranges),
		cmocka_unit_test(refuses_more_than_it_can_hold),
		cmocka_unit_test(nothing_reads_all_ones_and_is_counted),
		cmocka_unit_test(tells_the_device_its_own_offset_and_masks),
		cmocka_unit_test(splits_what_straddles_a_border),
		cmocka_unit_test(ends_at_its_limit),
		cmocka_unit_test(who_locks_for_itself_is_called_without_the_owners),
		cmocka_unit_test(agrees_with_a_byte_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
