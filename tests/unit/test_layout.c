/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts of many sizes, each checked against what must hold of any: the map is
 * sorted and disjoint, its RAM and legacy area add up to the size, RAM keeps
 * clear of the device hole.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/boot.h"
#include "guest/pc.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static struct vm_config config(uint64_t size, bool acpi)
{
	struct vm_config cfg = {.name = "vm", .acpi = acpi};

	cfg.memory.size = size;
	return cfg;
}

static uint64_t sum(const struct guest_layout *l, uint32_t type)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < l->count; i++)
		total += l->map[i].type == type ? l->map[i].size : 0;
	return total;
}

static void check_map(const struct guest_layout *l, uint64_t size)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < l->count; i++) {
		const struct e820_entry *e = &l->map[i];

		assert_true(e->size > 0 && e->start >= end);
		end = e->start + e->size;
		if (e->type == E820_RAM)
			assert_true(end <= LAYOUT_MMIO_START || e->start >= LAYOUT_HIGH_START);
	}
	assert_int_equal(l->ram_low + l->ram_high, size);
	/* RAM that is not offered: the rest of the page at 639 KiB, and 0xa0000-0xfffff. */
	assert_int_equal(sum(l, E820_RAM), size - (MIB - LAYOUT_LOW_END));
}

static bool keeps(const struct guest_layout *l, uint64_t start, uint64_t size)
{
	for (unsigned i = 0; i < l->count; i++)
		if (l->map[i].start == start && l->map[i].size == size && l->map[i].type == E820_RESERVED)
			return true;
	return false;
}

static void any_size_adds_up(void **state)
{
	static const uint64_t sizes[] = {MIB, MIB + 4 * KIB, 2 * MIB, 64 * MIB, 3 * GIB - 4 * KIB, 3 * GIB,
					 3 * GIB + 4 * KIB, 4 * GIB, 5 * GIB, 64 * GIB, 4096 * GIB};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes) * 2; i++) {
		struct vm_config cfg = config(sizes[i / 2], i % 2);
		struct guest_layout l;

		assert_int_equal(layout_build(&cfg, &l, NULL), ST_OK);
		check_map(&l, sizes[i / 2]);
		assert_int_equal(l.acpi_tables.v, cfg.acpi ? 0xe0000 : 0);
		assert_int_equal(sum(&l, E820_ACPI), cfg.acpi ? 0x1f000 : 0);
		assert_int_equal(sum(&l, E820_NVS), cfg.acpi ? 0x1000 : 0);
		assert_true(keeps(&l, PC_ECAM_BASE, PC_ECAM_SIZE));
	}
}

static void splits_at_the_device_hole(void **state)
{
	struct vm_config cfg = config(5 * GIB, true);
	struct guest_layout l;

	(void)state;
	assert_int_equal(layout_build(&cfg, &l, NULL), ST_OK);
	assert_true(l.ram_low == 3 * GIB && l.ram_high == 2 * GIB);
	assert_int_equal(l.map[l.count - 1].start, 4 * GIB);
	assert_int_equal(l.map[l.count - 1].size, 2 * GIB);
}

static void refuses_odd_sizes(void **state)
{
	static const uint64_t sizes[] = {0, 4 * KIB, MIB - 4 * KIB, MIB + 1, 64 * MIB + 512, 4096 * GIB + 4 * KIB,
					 UINT64_MAX, UINT64_MAX - 4095};
	struct guest_layout l = {.count = 99};
	struct error err;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct vm_config cfg = config(sizes[i], true);

		assert_int_equal(layout_build(&cfg, &l, &err), ST_INVALID);
		assert_non_null(strstr(err.text, "VM 'vm': mem.size"));
		assert_int_equal(l.count, 99);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_size_adds_up),
		cmocka_unit_test(splits_at_the_device_hole),
		cmocka_unit_test(refuses_odd_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
