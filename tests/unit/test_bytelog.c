/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The byte log against a reference that keeps every byte ever written: what is
 * read is exactly the surviving tail, gaps are reported by the sequence number.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bytelog.h"
#include "tests/expect_panic.h"

#define HISTORY (1u << 20)

static void gap_and_future(void **state)
{
	uint8_t buf[8], out[16];
	struct bytelog log;
	uint64_t seq = 0;

	(void)state;
	bytelog_init(&log, buf, sizeof buf);
	assert_int_equal(bytelog_read(&log, &seq, out, sizeof out), 0);
	bytelog_write(&log, "abcdefghijkl", 12); /* longer than the buffer */
	assert_true(log.head == 12 && bytelog_oldest(&log) == 4);
	assert_int_equal(bytelog_read(&log, &seq, out, 3), 3);
	assert_memory_equal(out, "efg", 3);
	assert_true(seq == 7);
	seq = 99;
	assert_int_equal(bytelog_read(&log, &seq, out, sizeof out), 0);
	assert_true(seq == 12);
	bytelog_putc(&log, 'm');
	assert_int_equal(bytelog_read(&log, &seq, out, sizeof out), 1);
	assert_int_equal(out[0], 'm');
	bytelog_write(&log, NULL, 0);
	assert_int_equal(bytelog_read(&log, &seq, NULL, 0), 0);
}

static void size_must_be_a_power_of_two(void **state)
{
	uint8_t buf[8];
	struct bytelog log;

	(void)state;
	EXPECT_PANIC(bytelog_init(&log, buf, 6));
	EXPECT_PANIC(bytelog_init(&log, buf, 0));
}

static void against_full_history(void **state)
{
	uint8_t *history = malloc(HISTORY), out[100], buf[64];
	struct bytelog log;
	uint64_t total = 0, seq = 0;

	(void)state;
	srand(3);
	bytelog_init(&log, buf, sizeof buf);
	while (total + 200 < HISTORY) {
		size_t len = (size_t)rand() % (rand() % 10 ? 20 : 200), got, want;
		uint64_t oldest;

		for (size_t i = 0; i < len; i++)
			history[total + i] = (uint8_t)rand();
		if (len == 1)
			bytelog_putc(&log, history[total]);
		else
			bytelog_write(&log, history + total, len);
		total += len;
		if (rand() % 3)
			continue;
		oldest = total > sizeof buf ? total - sizeof buf : 0;
		seq = seq < oldest ? oldest : seq;
		want = (size_t)rand() % sizeof out;
		want = want > total - seq ? total - seq : want;
		got = bytelog_read(&log, &seq, out, want);
		assert_int_equal(got, want);
		assert_memory_equal(out, history + seq - got, got);
	}
	assert_true(log.head == total);
	free(history);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gap_and_future),
		cmocka_unit_test(size_must_be_a_power_of_two),
		cmocka_unit_test(against_full_history),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
