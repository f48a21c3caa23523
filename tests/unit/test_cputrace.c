/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring of records: what is read are the newest, in order and whole; how many
 * are gone follows from the number; a reader beside the writer never sees half a
 * record.
 */
#include "tests/cmocka_all.h"

#include <pthread.h>
#include <string.h>

#include "lib/cputrace.h"
#include "tests/expect_panic.h"

#define SIZE 8u
#define MANY 200000u

static struct cputrace_record slots[SIZE];

/* Record @n, every field of which tells its number. */
static struct cputrace_record record(uint64_t n)
{
	return (struct cputrace_record){
		.begin = n, .end = n * 3, .vm = (uint16_t)n, .vcpu = (uint8_t)n, .kind = (uint8_t)(n % CPUTRACE_KINDS),
		.code = (uint32_t)n, .detail = ~n,
	};
}

static void add(struct cputrace *t, uint64_t from, uint64_t to)
{
	for (; from < to; from++) {
		struct cputrace_record r = record(from);

		cputrace_add(t, &r);
	}
}

static void assert_records(const struct cputrace_record *r, uint64_t first, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct cputrace_record want = record(first + i);

		assert_memory_equal(&r[i], &want, sizeof want);
	}
}

static void in_order_and_by_pages(void **state)
{
	struct cputrace_record out[SIZE];
	struct cputrace t;
	uint64_t from = 0;

	(void)state;
	cputrace_init(&t, slots, SIZE);
	assert_int_equal(cputrace_read(&t, &from, out, SIZE), 0);
	add(&t, 0, 5);
	assert_int_equal(cputrace_head(&t), 5);
	assert_int_equal(cputrace_read(&t, &from, out, 3), 3);
	assert_int_equal(from, 0);
	assert_records(out, 0, 3);
	from = 3;
	assert_int_equal(cputrace_read(&t, &from, out, SIZE), 2);
	assert_records(out, 3, 2);
	from = 5;
	assert_int_equal(cputrace_read(&t, &from, out, SIZE), 0);
	assert_int_equal(from, 5);
	from = 99;
	assert_int_equal(cputrace_read(&t, &from, out, SIZE), 0);
	assert_int_equal(from, 5);
}

/* The slot that comes next may be in the making, so one record less than the size is to be had. */
static void the_newest_stay(void **state)
{
	struct cputrace_record out[SIZE];
	struct cputrace t;
	uint64_t from = 0;

	(void)state;
	cputrace_init(&t, slots, SIZE);
	add(&t, 0, 1000);
	assert_int_equal(cputrace_read(&t, &from, out, SIZE), SIZE - 1);
	assert_int_equal(from, 1000 - SIZE + 1);
	assert_records(out, from, SIZE - 1);
	from = 998;
	assert_int_equal(cputrace_read(&t, &from, out, SIZE), 2);
	assert_records(out, 998, 2);
}

static void *write_many(void *ring)
{
	add(ring, 0, MANY);
	return NULL;
}

static void beside_the_writer(void **state)
{
	struct cputrace_record out[SIZE];
	struct cputrace t;
	uint64_t from = 0, seen = 0;
	pthread_t writer;

	(void)state;
	cputrace_init(&t, slots, SIZE);
	assert_int_equal(pthread_create(&writer, NULL, write_many, &t), 0);
	while (from < MANY) {
		uint64_t wanted = from;
		size_t count = cputrace_read(&t, &from, out, SIZE);

		assert_true(from >= wanted);
		assert_records(out, from, count);
		from += count;
		seen += count;
	}
	pthread_join(writer, NULL);
	assert_true(seen >= SIZE - 1 && seen <= MANY);
}

static void size_must_be_a_power_of_two(void **state)
{
	struct cputrace t;

	(void)state;
	EXPECT_PANIC(cputrace_init(&t, slots, 6));
	EXPECT_PANIC(cputrace_init(&t, slots, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order_and_by_pages),
		cmocka_unit_test(the_newest_stay),
		cmocka_unit_test(beside_the_writer),
		cmocka_unit_test(size_must_be_a_power_of_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
