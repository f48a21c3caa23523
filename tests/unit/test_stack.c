/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guarded stacks and call chains: slots, guards and names; running out of frames
 * leaves nothing mapped; backtraces end on damage and never leave their stack.
 */
#include "tests/cmocka_all.h"
#include "tests/expect_panic.h"

#include "firmware/backtrace.h"
#include "firmware/paging.h"
#include "firmware/stack.h"
#include "firmware/symtab.h"
#include "lib/bits.h"

const uint32_t symtab_count = 1;
const uint32_t symtab_addrs[] = {0x1000};
const uint32_t symtab_names[] = {0};
const char symtab_strings[] = "start";

/* ---- the page tables, as a set of mapped pages ---- */

#define PAGES_MAX 4096

static uint64_t mapped[PAGES_MAX];
static unsigned mapped_count, frames_left;

static int find(uint64_t va)
{
	for (unsigned i = 0; i < mapped_count; i++)
		if (mapped[i] == va)
			return (int)i;
	return -1;
}

enum status paging_map_stack_page(uint64_t va)
{
	assert_int_equal(find(va), -1);
	if (frames_left == 0)
		return ST_NO_MEMORY;
	frames_left--;
	mapped[mapped_count++] = va;
	return ST_OK;
}

void paging_unmap_stack_page(uint64_t va)
{
	int i = find(va);

	assert_int_not_equal(i, -1);
	mapped[i] = mapped[--mapped_count];
	frames_left++;
}

static int plenty(void **state)
{
	(void)state;
	frames_left = PAGES_MAX;
	return 0;
}

/* ---- stacks ---- */

static void create_and_destroy(void **state)
{
	uint64_t a, b;

	(void)state;
	assert_int_equal(stack_create("a stack with a name that is too long", 4, &a), ST_OK);
	assert_int_equal(stack_create("b", 1, &b), ST_OK);
	assert_int_equal(mapped_count, 5);
	assert_true(is_aligned(a | b, PAGE_SIZE));
	assert_string_equal(stack_of(a - 1)->name, "a stack with a name tha");
	assert_string_equal(stack_of(b - PAGE_SIZE)->name, "b");
	assert_null(stack_of(a));
	assert_null(stack_of(a - 4 * PAGE_SIZE - 1));
	assert_string_equal(stack_of_guard(b - PAGE_SIZE - 1)->name, "b");
	assert_null(stack_of_guard(b - 2 * PAGE_SIZE - 1));
	assert_int_equal(find(b - 2 * PAGE_SIZE), -1);
	assert_int_equal(find(b), -1);
	stack_destroy(a);
	assert_int_equal(mapped_count, 1);
	assert_null(stack_of(a - 1));
	stack_destroy(b);
	assert_int_equal(mapped_count, 0);
	EXPECT_PANIC(stack_destroy(b));
}

static void out_of_frames(void **state)
{
	uint64_t top = 7;

	(void)state;
	frames_left = 3;
	assert_int_equal(stack_create("x", 4, &top), ST_NO_MEMORY);
	assert_int_equal(mapped_count, 0);
	assert_int_equal(frames_left, 3);
	assert_int_equal(top, 7);
}

static void out_of_slots(void **state)
{
	static struct stack table[STACKS_MAX];
	static uint64_t tops[STACKS_MAX];
	unsigned n = 0;

	(void)state;
	while (n < STACKS_FIRST && stack_create("s", 1, &tops[n]) == ST_OK)
		n++;
	assert_int_equal(n, STACKS_FIRST);
	assert_int_equal(stack_create("s", 1, &tops[n]), ST_OVER_LIMIT);
	/* A larger table has the same stacks, and room. */
	stack_use_table(table, STACKS_MAX);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(stack_of(tops[i] - 1)->hi, tops[i]);
	while (n < STACKS_MAX && stack_create("t", 1, &tops[n]) == ST_OK)
		n++;
	assert_int_equal(n, STACKS_MAX);
	assert_true(tops[n - 1] <= STACKS_BASE + STACKS_BYTES);
	assert_int_equal(stack_create("t", 1, &tops[0]), ST_OVER_LIMIT);
	assert_string_equal(stack_of(tops[n - 1] - 1)->name, "t");
	while (n > 0)
		stack_destroy(tops[--n]);
}

static void names(void **state)
{
	char name[STACK_NAME_MAX];

	(void)state;
	assert_string_equal(stack_name(name, 0, "nmi"), "nmi");
	assert_string_equal(stack_name(name, 255, "machine check"), "cpu 255 machine check");
}

static void count(void *ctx, const struct stack *s)
{
	(void)s;
	++*(unsigned *)ctx;
}

/* ---- backtraces, on a stack in this program's memory ---- */

static uint64_t words[64] __attribute__((aligned(16)));

static uint64_t at(unsigned word)
{
	return (uint64_t)&words[word];
}

static void frame(unsigned word, uint64_t caller_rbp, uint64_t return_address)
{
	words[word] = caller_rbp;
	words[word + 1] = return_address;
}

static void backtraces(void **state)
{
	uint64_t out[8];
	unsigned stacks = 0;
	char name[32];

	(void)state;
	stack_register("test", at(0), at(64));
	stack_for_each(count, &stacks);
	assert_int_equal(stacks, 1);

	frame(4, at(10), 111);
	frame(10, at(20), 222);
	frame(20, 0, 333);
	assert_int_equal(backtrace_capture(at(4), out, 8), 3);
	assert_int_equal(out[0], 111);
	assert_int_equal(out[2], 333);
	assert_int_equal(backtrace_capture(at(4), out, 2), 2);

	frame(20, at(20), 333); /* itself */
	assert_int_equal(backtrace_capture(at(4), out, 8), 3);
	frame(20, at(4), 333); /* back down */
	assert_int_equal(backtrace_capture(at(4), out, 8), 3);
	frame(20, at(30) + 4, 333); /* not aligned */
	assert_int_equal(backtrace_capture(at(4), out, 8), 3);
	frame(20, at(63), 333); /* its return address would lie outside */
	assert_int_equal(backtrace_capture(at(4), out, 8), 3);
	frame(20, 0x1000000000, 333); /* another world */
	assert_int_equal(backtrace_capture(at(4), out, 8), 3);
	frame(10, at(20), 0); /* nobody called */
	assert_int_equal(backtrace_capture(at(4), out, 8), 1);
	assert_int_equal(backtrace_capture(0, out, 8), 0);
	assert_int_equal(backtrace_capture(at(64), out, 8), 0);

	assert_string_equal(backtrace_symbol(IMAGE_OFFSET + 0x1234, name, sizeof(name)), "start+0x234");
	assert_string_equal(backtrace_symbol(0x1234, name, sizeof(name)), "?");
}

#define TEST(name) cmocka_unit_test_setup(name, plenty)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(create_and_destroy), TEST(out_of_frames), TEST(out_of_slots), TEST(names),
		TEST(backtraces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
