/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console: sequence numbers of output, bounded input, and who is told what.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/console.h"

static struct console con;
static uint8_t log_buf[CONSOLE_LOG_BYTES], in_buf[CONSOLE_INPUT_BYTES];
static unsigned told_output, told_input;

static void on_output(void *ctx) { assert_ptr_equal(ctx, &con), told_output++; }
static void on_input(void *ctx) { assert_ptr_equal(ctx, in_buf), told_input++; }

static int setup(void **state)
{
	(void)state;
	told_output = told_input = 0;
	memset(&con, 0xff, sizeof con);
	console_init(&con, log_buf, in_buf);
	con.output_ctx = &con;
	con.input_ctx = in_buf;
	return 0;
}

static void output_is_kept_by_sequence_number(void **state)
{
	uint64_t seq = 0;
	char text[8];

	(void)state;
	console_putc(&con, 'a'); /* nobody attached */
	con.output = on_output;
	console_putc(&con, 'b');
	assert_int_equal(told_output, 1);
	assert_int_equal(bytelog_read(&con.out, &seq, text, sizeof text), 2);
	assert_memory_equal(text, "ab", 2);
	for (unsigned i = 0; i < CONSOLE_LOG_BYTES; i++)
		console_putc(&con, (uint8_t)i);
	seq = 0;
	assert_int_equal(bytelog_read(&con.out, &seq, text, 1), 1);
	assert_int_equal(seq, 3); /* 0 and 1 are overwritten */
}

static void input_is_refused_when_full(void **state)
{
	static const uint8_t data[CONSOLE_INPUT_BYTES + 5] = {'x', 'y'};
	uint8_t byte;

	(void)state;
	assert_int_equal(console_input(&con, data, 1), 1); /* no receiver yet */
	con.input = on_input;
	assert_int_equal(console_input(&con, data, 0), 0);
	assert_int_equal(told_input, 0);
	assert_int_equal(console_input(&con, data, 1), 1);
	assert_int_equal(told_input, 1);
	assert_true(console_getc(&con, &byte));
	told_input = 0;
	assert_int_equal(console_input(&con, data + 1, CONSOLE_INPUT_BYTES), CONSOLE_INPUT_BYTES - 1);
	assert_int_equal(told_input, 1);
	assert_int_equal(console_input(&con, data, 1), 0);
	assert_int_equal(told_input, 1);
	assert_true(console_getc(&con, &byte));
	assert_int_equal(byte, 'x');
	assert_true(console_getc(&con, &byte));
	assert_int_equal(byte, 'y');
	for (unsigned i = 2; i < CONSOLE_INPUT_BYTES; i++)
		assert_true(console_getc(&con, &byte));
	assert_false(console_getc(&con, &byte));
}

/* The UART gets nothing then, and what is left when the driver is gone. */
static void a_port_has_what_is_typed(void **state)
{
	char text[8];
	uint8_t byte;

	(void)state;
	assert_int_equal(console_input(&con, "abc", 3), 3);
	console_port_listens(&con, true);
	assert_false(console_getc(&con, &byte));
	assert_int_equal(console_take(&con, text, 2), 2);
	assert_memory_equal(text, "ab", 2);
	console_port_listens(&con, false);
	assert_true(console_getc(&con, &byte));
	assert_int_equal(byte, 'c');
	assert_int_equal(console_take(&con, text, sizeof text), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(output_is_kept_by_sequence_number, setup),
		cmocka_unit_test_setup(input_is_refused_when_full, setup),
		cmocka_unit_test_setup(a_port_has_what_is_typed, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
