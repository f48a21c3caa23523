/* SPDX-License-Identifier: Apache-2.0 */
/* Memory types by the MTRRs: fixed and variable ranges, precedence, edges; the RAM check; CPUs that differ. */
#include "tests/cmocka_all.h"

#include "firmware/mtrr.h"
#include "lib/bits.h"

#define GIB (1ull << 30)
#define PHYS_BITS 40u
#define PHYS_MASK MASK(PHYS_BITS - 1, 12)

static struct mtrr_state m;
static struct memmap map;
static struct error err;

static int usual(void **state)
{
	(void)state;
	m = (struct mtrr_state){
		.cap = MTRRCAP_FIX | 8,
		.def_type = MTRR_DEF_E | MTRR_DEF_FE | MEMTYPE_WB,
		.variable_count = 8,
		.phys_bits = PHYS_BITS,
	};
	memset(m.fixed, MEMTYPE_WB, sizeof(m.fixed));
	memset(&m.fixed[2], MEMTYPE_UC, sizeof(m.fixed[2])); /* a0000-bffff */
	m.variable[0] = (struct mtrr_variable){3 * GIB | MEMTYPE_UC, (PHYS_MASK & ~(GIB - 1)) | MTRR_PHYSMASK_VALID};
	return 0;
}

static void expect(uint64_t at, unsigned type, uint64_t end)
{
	uint64_t got_end;

	assert_int_equal(mtrr_type(&m, at, &got_end), type);
	assert_int_equal(got_end, end);
	assert_int_equal(mtrr_type(&m, at, NULL), type);
}

static void types(void **state)
{
	(void)state;
	expect(0, MEMTYPE_WB, 0x10000);
	expect(0x9ffff, MEMTYPE_WB, 0xa0000);
	expect(0xa0000, MEMTYPE_UC, 0xa4000);
	expect(0xc0000, MEMTYPE_WB, 0xc1000);
	m.fixed[10] = (uint64_t)MEMTYPE_WP << 56;
	expect(0xff800, MEMTYPE_WP, 0x100000);
	expect(0x100000, MEMTYPE_WB, 3 * GIB);
	expect(3 * GIB + 5, MEMTYPE_UC, 4 * GIB);
	expect(4 * GIB, MEMTYPE_WB, UINT64_MAX);
}

static void precedence(void **state)
{
	(void)state;
	m.def_type = MTRR_DEF_E | MEMTYPE_UC; /* no fixed ranges */
	m.variable[1] = (struct mtrr_variable){0 | MEMTYPE_WB, (PHYS_MASK & ~(4 * GIB - 1)) | MTRR_PHYSMASK_VALID};
	expect(0xa0000, MEMTYPE_WB, 3 * GIB);
	expect(3 * GIB, MEMTYPE_UC, 4 * GIB);
	expect(4 * GIB, MEMTYPE_UC, UINT64_MAX);
	m.variable[2] = (struct mtrr_variable){GIB | MEMTYPE_WT, (PHYS_MASK & ~(GIB - 1)) | MTRR_PHYSMASK_VALID};
	expect(GIB, MEMTYPE_WT, 2 * GIB);
	m.variable[2].base = GIB | MEMTYPE_WC; /* WC over WB is undefined: seen as UC */
	expect(GIB, MEMTYPE_UC, 2 * GIB);
	m.variable[2].mask &= ~MTRR_PHYSMASK_VALID;
	expect(GIB, MEMTYPE_WB, 3 * GIB);
	m.def_type = MEMTYPE_WB; /* all off: everything is UC */
	expect(GIB, MEMTYPE_UC, UINT64_MAX);
}

static void mask_with_a_hole(void **state)
{
	(void)state;
	m.variable[0] = (struct mtrr_variable){0x200000 | MEMTYPE_UC,
					       (PHYS_MASK & ~(BIT(30) | (0x200000 - 1))) | MTRR_PHYSMASK_VALID};
	expect(0x200000, MEMTYPE_UC, 0x400000);
	expect(GIB + 0x200000, MEMTYPE_UC, GIB + 0x400000);
	expect(GIB, MEMTYPE_WB, GIB + 0x200000);
}

static void build_map(uint64_t ram_bytes)
{
	const struct memmap_range in[] = {
		{0, 0xa0000, MEMMAP_RAM},
		{0xa0000, 0x60000, MEMMAP_RESERVED},
		{0x100000, ram_bytes - 0x100000, MEMMAP_RAM},
	};

	assert_int_equal(memmap_build(&map, in, ARRAY_SIZE(in), &err), ST_OK);
}

static void ram_check(void **state)
{
	(void)state;
	build_map(3 * GIB);
	assert_int_equal(mtrr_check_ram(&m, &map, &err), ST_OK);
	build_map(3 * GIB + 0x200000);
	assert_int_equal(mtrr_check_ram(&m, &map, &err), ST_INVALID);
	assert_string_equal(err.text, "MTRRs: free RAM from 0xc0000000 to 0xc0200000 is uncached");
	m.def_type = 0;
	build_map(GIB);
	assert_int_equal(mtrr_check_ram(&m, &map, &err), ST_INVALID);
}

static void cpus_that_differ(void **state)
{
	struct mtrr_state other = m;

	(void)state;
	assert_true(mtrr_same(&m, &other, 1, &err));
	other.fixed[10] ^= 1;
	assert_false(mtrr_same(&m, &other, 1, &err));
	assert_non_null(strstr(err.text, "fixed range register 10"));
	assert_non_null(strstr(err.text, "cpu 1"));
	other = m;
	other.variable[7].mask ^= MTRR_PHYSMASK_VALID;
	assert_false(mtrr_same(&m, &other, 1, &err));
	other = m;
	other.variable[0].base ^= 1;
	assert_false(mtrr_same(&m, &other, 1, &err));
	other = m;
	other.def_type ^= MTRR_DEF_FE;
	assert_false(mtrr_same(&m, &other, 1, &err));
	other = m;
	other.cap++;
	assert_false(mtrr_same(&m, &other, 1, &err));
}

#define TEST(name) cmocka_unit_test_setup(name, usual)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(types), TEST(precedence), TEST(mask_with_a_hole), TEST(ram_check), TEST(cpus_that_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
