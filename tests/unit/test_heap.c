/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter's heap: random traffic with the walk after each step, contents
 * that nobody else touches, exhaustion, and a whole block again at the end.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "lua/heap.h"
#include "tests/expect_panic.h"

#define HEAP_BYTES (64u * 1024)
#define SLOTS 200

static struct heap heap;
static uint8_t *memory;

static int setup(void **state)
{
	(void)state;
	memory = malloc(HEAP_BYTES + 3);
	heap_init(&heap, memory + 3, HEAP_BYTES); /* an odd start */
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(memory);
	return 0;
}

struct slot {
	uint8_t *p;
	size_t size;
	uint8_t fill;
};

static void verify(const struct slot *s)
{
	for (size_t i = 0; i < s->size; i++)
		assert_int_equal(s->p[i], s->fill);
}

static size_t some_size(void)
{
	return 1 + (size_t)rand() % (rand() % 8 ? 200 : 6000);
}

static void step(struct slot *s)
{
	size_t size = some_size(), kept = s->size < size ? s->size : size;
	uint8_t *p;

	verify(s);
	if (s->p && rand() % 3 == 0) {
		heap_free(&heap, s->p);
		*s = (struct slot){0};
		return;
	}
	p = heap_realloc(&heap, s->p, size);
	if (!p) {
		verify(s); /* a failure leaves the old block alone */
		assert_true(size > s->size);
		return;
	}
	assert_int_equal((uintptr_t)p % HEAP_ALIGN, 0);
	for (size_t i = 0; i < kept; i++)
		assert_int_equal(p[i], s->fill);
	*s = (struct slot){.p = p, .size = size, .fill = (uint8_t)rand()};
	memset(p, s->fill, size);
}

static void random_traffic(void **state)
{
	struct slot slots[SLOTS] = {0};
	size_t whole;

	(void)state;
	whole = heap.used;
	assert_int_equal(whole, 0);
	srand(5);
	for (int i = 0; i < 30000; i++) {
		step(&slots[rand() % SLOTS]);
		assert_true(heap_check(&heap));
	}
	assert_true(heap.peak <= HEAP_BYTES && heap.peak > HEAP_BYTES * 3 / 4);
	for (int i = 0; i < SLOTS; i++)
		heap_free(&heap, slots[i].p);
	assert_true(heap_check(&heap));
	assert_int_equal(heap.used, 0);
	assert_non_null(heap_alloc(&heap, HEAP_BYTES * 7 / 8)); /* merged into one again */
}

static void exhaustion(void **state)
{
	unsigned n = 0;

	(void)state;
	assert_null(heap_alloc(&heap, HEAP_BYTES));
	assert_null(heap_alloc(&heap, SIZE_MAX));
	assert_null(heap_alloc(&heap, SIZE_MAX - 8));
	while (heap_alloc(&heap, 100))
		n++;
	assert_true(n > HEAP_BYTES / 160);
	assert_true(heap_check(&heap));
	assert_true(heap.used <= HEAP_BYTES);
}

static void grows_and_shrinks_in_place(void **state)
{
	uint8_t *a = heap_alloc(&heap, 100), *b;

	(void)state;
	assert_ptr_equal(heap_realloc(&heap, a, 5000), a);
	assert_ptr_equal(heap_realloc(&heap, a, 50), a);
	b = heap_alloc(&heap, 50);
	assert_non_null(b);
	assert_ptr_not_equal(heap_realloc(&heap, a, 5000), a);
	heap_free(&heap, NULL);
	assert_true(heap_check(&heap));
}

static void double_free_is_our_bug(void **state)
{
	void *p = heap_alloc(&heap, 10);

	(void)state;
	heap_free(&heap, p);
	EXPECT_PANIC(heap_free(&heap, p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(random_traffic, setup, teardown),
		cmocka_unit_test_setup_teardown(exhaustion, setup, teardown),
		cmocka_unit_test_setup_teardown(grows_and_shrinks_in_place, setup, teardown),
		cmocka_unit_test_setup_teardown(double_free_is_our_bug, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
