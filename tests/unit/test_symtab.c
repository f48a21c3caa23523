/* SPDX-License-Identifier: Apache-2.0 */
/* Symbol look-up at, between and outside the table's addresses. */
#include "tests/cmocka_all.h"

#include "firmware/symtab.h"

const uint32_t symtab_count = 3;
const uint32_t symtab_addrs[] = {0x1000, 0x1010, 0x2000};
const uint32_t symtab_names[] = {0, 6, 10};
const char symtab_strings[] = "first\0two\0third";

static void expect(uint64_t at, const char *want, uint64_t want_offset)
{
	const char *name;
	uint64_t offset;

	assert_true(symtab_find(IMAGE_OFFSET + at, &name, &offset));
	assert_string_equal(name, want);
	assert_int_equal(offset, want_offset);
}

static void find(void **state)
{
	const char *name = "unchanged";
	uint64_t offset;

	(void)state;
	expect(0x1000, "first", 0);
	expect(0x100f, "first", 0xf);
	expect(0x1010, "two", 0);
	expect(0x1fff, "two", 0xfef);
	expect(0x7fffffff, "third", 0x7fffffff - 0x2000);
	assert_false(symtab_find(IMAGE_OFFSET + 0xfff, &name, &offset));
	assert_false(symtab_find(0x1000, &name, &offset));
	assert_string_equal(name, "unchanged");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(find)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
