/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of the host's address space: a sound layout passes, and each rule
 * fails on a layout that breaks it alone.
 */
#include "tests/cmocka_all.h"

#include "firmware/paging_check.h"
#include "lib/bits.h"
#include "tests/fakes/ptab_pool.h"

#define PAGE 0x1000ull
#define MIB 0x100000ull
#define DIRECT 0xffff800000000000ull
#define WINDOW 0xffffc00000000000ull
#define STACKS 0xffffd00000000000ull
#define OFFSET 0xffffffff80000000ull
#define TEXT (OFFSET + 2 * MIB + 8 * PAGE)
#define RODATA (TEXT + 4 * PAGE)
#define DATA (RODATA + 4 * PAGE)
#define DATA_END (DATA + 4 * PAGE)
#define RX 0
#define R PTE_NX
#define RW (PTE_NX | PTE_W)
#define UC (PTE_PWT | PTE_PCD)

static struct ptab_pool pool;
static struct ptab t;
static struct memmap map;
static struct error err;

static const struct paging_rules rules = {
	.direct = {DIRECT, DIRECT + (4ull << 40)},
	.window = {WINDOW, WINDOW + (1ull << 30)},
	.stacks = {STACKS, STACKS + (1ull << 30)},
	.text = {TEXT, RODATA},
	.rodata = {RODATA, DATA},
	.data = {DATA, DATA_END},
	.image_offset = OFFSET,
	.boot_text = {2 * MIB, 2 * MIB + PAGE},
	.map = &map,
};

static void add(uint64_t va, uint64_t pa, uint64_t len, uint64_t attrs)
{
	assert_int_equal(ptab_map(&t, va, hpa(pa), len, attrs), ST_OK);
}

static int sound_layout(void **state)
{
	const struct memmap_range ram[] = {
		{0, 640 * 1024, MEMMAP_RAM},
		{MIB, 63 * MIB, MEMMAP_RAM},
		{64 * MIB, MIB, MEMMAP_RESERVED},
	};

	(void)state;
	ptab_pool_init(&pool, &t, PTAB_POOL_TABLES, ORDER_1G);
	assert_int_equal(memmap_build(&map, ram, ARRAY_SIZE(ram), &err), ST_OK);
	add(TEXT, TEXT - OFFSET, 4 * PAGE, RX);
	add(RODATA, RODATA - OFFSET, 4 * PAGE, R);
	add(DATA, DATA - OFFSET, 4 * PAGE, RW);
	add(DIRECT, 0, 640 * 1024, RW);
	add(DIRECT + MIB, MIB, 63 * MIB, RW);
	assert_int_equal(ptab_protect(&t, DIRECT + 2 * MIB, PAGE, R), ST_OK);
	assert_int_equal(ptab_protect(&t, DIRECT + TEXT - OFFSET, 8 * PAGE, R), ST_OK);
	add(WINDOW, 0xfec00000, PAGE, RW | UC);
	add(WINDOW + PAGE, 0xe0000, PAGE, R);
	add(STACKS + PAGE, 32 * MIB, 2 * PAGE, RW);
	return 0;
}

static void expect_violation(const char *text)
{
	assert_false(paging_check(&t, &rules, &err, NULL));
	if (!strstr(err.text, text))
		fail_msg("'%s' does not say '%s'", err.text, text);
}

static void passes(void **state)
{
	unsigned leaves = 0;

	(void)state;
	assert_true(paging_check(&t, &rules, &err, &leaves));
	assert_true(leaves > 12);
}

/* Changes the leaf over @va to @attrs and expects the complaint. */
static void breaks(uint64_t va, uint64_t attrs, const char *text)
{
	assert_int_equal(ptab_protect(&t, va, PAGE, attrs), ST_OK);
	expect_violation(text);
}

static void writable_text(void **state)
{
	(void)state;
	breaks(TEXT, PTE_W, "writable and executable");
}

static void user_page(void **state)
{
	(void)state;
	breaks(STACKS + PAGE, RW | PTE_U, "user mode");
}

static void executable_elsewhere(void **state)
{
	(void)state;
	breaks(DIRECT + 5 * MIB, R & ~PTE_NX, "executable outside");
}

static void executable_rodata(void **state)
{
	(void)state;
	breaks(RODATA, RX, "executable outside");
}

static void writable_rodata(void **state)
{
	(void)state;
	breaks(RODATA, RW, "writable alias");
}

static void readonly_data(void **state)
{
	(void)state;
	breaks(DATA, R, "data but not");
}

static void unexecutable_text(void **state)
{
	(void)state;
	breaks(TEXT, R, "text but not");
}

static void writable_alias(void **state)
{
	(void)state;
	breaks(DIRECT + TEXT - OFFSET, RW, "writable alias");
}

static void writable_boot_text(void **state)
{
	(void)state;
	breaks(DIRECT + 2 * MIB, RW, "writable alias");
}

static void uncached_ram(void **state)
{
	(void)state;
	breaks(DIRECT + 6 * MIB, RW | UC, "not write-back");
}

static void cached_device(void **state)
{
	(void)state;
	breaks(WINDOW, RW, "cached view");
}

static void half_cached_device(void **state)
{
	(void)state;
	breaks(WINDOW, RW | PTE_PCD, "not uncached");
}

static void uncached_alias_of_ram(void **state)
{
	(void)state;
	add(WINDOW + 8 * PAGE, 5 * MIB, PAGE, RW | UC);
	expect_violation("RAM uncached");
}

static void reserved_in_direct_map(void **state)
{
	(void)state;
	add(DIRECT + 64 * MIB, 64 * MIB, PAGE, RW);
	expect_violation("not RAM");
}

static void misplaced_in_direct_map(void **state)
{
	(void)state;
	add(DIRECT + 700 * 1024, 5 * MIB, PAGE, RW);
	expect_violation("not at its place");
}

static void misplaced_image(void **state)
{
	(void)state;
	assert_int_equal(ptab_unmap_4k(&t, DATA).v, DATA - OFFSET);
	add(DATA, 7 * MIB, PAGE, RW);
	expect_violation("where it was loaded");
}

static void stack_on_a_device(void **state)
{
	(void)state;
	add(STACKS + 8 * PAGE, 0xfee00000, PAGE, RW);
	expect_violation("stack outside RAM");
}

static void page_zero(void **state)
{
	(void)state;
	add(0, 5 * MIB, PAGE, RW);
	expect_violation("outside every region");
}

static void identity_map(void **state)
{
	(void)state;
	add(5 * MIB, 5 * MIB, PAGE, R);
	expect_violation("outside every region");
}

#define TEST(name) cmocka_unit_test_setup(name, sound_layout)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(passes),          TEST(writable_text),          TEST(user_page),
		TEST(executable_elsewhere), TEST(executable_rodata), TEST(writable_rodata),
		TEST(readonly_data),   TEST(unexecutable_text),      TEST(writable_alias),
		TEST(writable_boot_text), TEST(uncached_ram),        TEST(cached_device),
		TEST(half_cached_device), TEST(uncached_alias_of_ram), TEST(reserved_in_direct_map),
		TEST(misplaced_in_direct_map), TEST(misplaced_image), TEST(stack_on_a_device),
		TEST(page_zero),       TEST(identity_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
