/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 16550A by its data sheet: registers, the five interrupts in their order,
 * FIFOs and trigger levels, receive timeout, loopback with modem lines and
 * break, and the console behind it.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/vuart.h"
#include "tests/fakes/device_rig.h"

#define HZ 115200000ull
#define BIT_TICKS 1000ull /* at 115200 baud */
#define CHAR_TICKS (10 * BIT_TICKS)
#define IRQ 4

enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static struct rig rig;
static struct vuart uart;
static struct console con;
static uint8_t log_buf[CONSOLE_LOG_BYTES], in_buf[CONSOLE_INPUT_BYTES];
static uint64_t seen; /* of the console's output */

static void on_input(void *ctx) { vuart_input(ctx); }

static int setup(void **state)
{
	(void)state;
	seen = 0;
	rig_init(&rig, HZ);
	console_init(&con, log_buf, in_buf);
	vuart_init(&uart, &con, &rig.time, &rig.timers, rig_line(&rig, IRQ));
	con.input = on_input;
	con.input_ctx = &uart;
	return 0;
}

static uint8_t in(unsigned reg) { return dev_in(&uart.dev, reg); }
static void out(unsigned reg, uint8_t v) { dev_out(&uart.dev, reg, v); }
static void type(const char *text) { assert_int_equal(console_input(&con, text, strlen(text)), strlen(text)); }

static void expect_output(const char *text)
{
	char got[64];
	size_t n = bytelog_read(&con.out, &seen, got, sizeof got);

	assert_int_equal(n, strlen(text));
	assert_memory_equal(got, text, n);
}

static void power_on(void **state)
{
	(void)state;
	assert_int_equal(in(IER), 0);
	assert_int_equal(in(IIR), 0x01);
	assert_int_equal(in(LCR), 0x03);
	assert_int_equal(in(MCR), 0);
	assert_int_equal(in(LSR), 0x60);
	assert_int_equal(in(MSR), 0xb0);
	assert_int_equal(in(RBR), 0);
	assert_false(rig.level[IRQ]);
}

static void plain_registers(void **state)
{
	(void)state;
	out(SCR, 0x5a);
	assert_int_equal(in(SCR), 0x5a);
	out(IER, 0xff);
	assert_int_equal(in(IER), 0x0f);
	out(MCR, 0xff);
	assert_int_equal(in(MCR), 0x1f);
	out(MCR, 0);
	out(LCR, 0xff);
	assert_int_equal(in(LCR), 0xff);
	out(RBR, 0x34); /* divisor */
	out(IER, 0x12);
	assert_int_equal(in(RBR), 0x34);
	assert_int_equal(in(IER), 0x12);
	out(LCR, 0x03);
	assert_int_equal(in(IER), 0x0f);
	expect_output("");
	out(LSR, 0xff);
	out(MSR, 0xff);
	assert_int_equal(in(LSR), 0x60);
	/* A word is two registers. */
	uart.dev.ops->write(&uart.dev, MSR, 2, 0xa5ff);
	in(MSR);
	assert_int_equal(uart.dev.ops->read(&uart.dev, MSR, 2), 0xa5b0);
}

static void output_goes_out_at_once(void **state)
{
	(void)state;
	for (const char *p = "hello"; *p; p++) {
		assert_int_equal(in(LSR)&0x60, 0x60);
		out(RBR, (uint8_t)*p);
	}
	expect_output("hello");
	out(LCR, 0x02); /* seven data bits */
	out(RBR, 0xc1);
	expect_output("A");
}

static void transmitter_interrupt(void **state)
{
	(void)state;
	out(IER, 0x02); /* it is empty already */
	assert_true(rig.level[IRQ]);
	assert_int_equal(in(IIR), 0x02);
	assert_false(rig.level[IRQ]); /* reading IIR takes it back */
	assert_int_equal(in(IIR), 0x01);
	out(RBR, 'x');
	assert_true(rig.level[IRQ]);
	assert_int_equal(rig.rises[IRQ], 2);
	out(RBR, 'y'); /* a new edge, though the first was not looked at */
	assert_int_equal(rig.rises[IRQ], 3);
	out(IER, 0x00);
	assert_false(rig.level[IRQ]);
	out(RBR, 'z');
	assert_int_equal(rig.rises[IRQ], 3);
	out(IER, 0x02);
	assert_int_equal(in(IIR), 0x02);
	out(IER, 0x02); /* was enabled before: nothing new */
	assert_int_equal(in(IIR), 0x01);
	expect_output("xyz");
}

static void receive_without_fifos(void **state)
{
	(void)state;
	out(IER, 0x01);
	type("ab");
	assert_true(rig.level[IRQ]);
	assert_int_equal(in(IIR), 0x04);
	assert_int_equal(in(LSR), 0x61);
	assert_int_equal(in(RBR), 'a');
	assert_int_equal(in(LSR), 0x61); /* the next one waited in the console */
	assert_int_equal(in(RBR), 'b');
	assert_int_equal(in(LSR), 0x60);
	assert_false(rig.level[IRQ]);
	assert_true(rig.timers.next == TIMERQ_NEVER);
}

static void fifo_trigger_levels(void **state)
{
	static const struct { uint8_t fcr, level; } levels[] = {{0x01, 1}, {0x41, 4}, {0x81, 8}, {0xc1, 14}};

	(void)state;
	out(IER, 0x01);
	for (unsigned i = 0; i < 4; i++) {
		out(IIR, levels[i].fcr | 0x02);
		assert_int_equal(in(IIR), 0xc1);
		for (unsigned n = 1; n < levels[i].level; n++) {
			type("x");
			assert_int_equal(in(IIR), 0xc1);
		}
		type("y");
		assert_int_equal(in(IIR), 0xc4);
		assert_true(rig.timers.next == TIMERQ_NEVER);
		assert_true(rig.level[IRQ]);
		in(RBR);
		assert_int_equal(in(IIR), 0xc1);
		assert_int_equal(in(LSR)&1, levels[i].level > 1);
	}
}

static void timeout_after_four_characters(void **state)
{
	(void)state;
	out(IIR, 0xc1);
	out(IER, 0x01);
	type("abc");
	rig_advance(&rig, 3 * CHAR_TICKS);
	type("d"); /* starts the clock anew */
	rig_advance(&rig, 4 * CHAR_TICKS - 1);
	assert_int_equal(in(IIR), 0xc1);
	rig_advance(&rig, 1);
	assert_true(rig.level[IRQ]);
	assert_int_equal(in(IIR), 0xcc);
	assert_int_equal(in(IIR), 0xcc); /* stays until data is read */
	assert_int_equal(in(RBR), 'a');
	assert_int_equal(in(IIR), 0xc1);
	rig_advance(&rig, 4 * CHAR_TICKS);
	assert_int_equal(in(IIR), 0xcc);
	in(RBR), in(RBR);
	assert_int_equal(in(RBR), 'd');
	rig_advance(&rig, 100 * CHAR_TICKS);
	assert_int_equal(in(IIR), 0xc1); /* nothing waits: no timeout */
	assert_int_equal(rig.rises[IRQ], 2);
}

static void timeout_follows_the_format(void **state)
{
	(void)state;
	out(IIR, 0xc1);
	out(IER, 0x01);
	out(LCR, 0x80);
	out(RBR, 12); /* 9600 baud */
	out(IER, 0);
	out(LCR, 0x1f); /* 8 data, parity, 2 stop: 12 bits */
	type("a");
	assert_true(rig.timers.next == rig_now(&rig) + 4 * 12 * 12 * BIT_TICKS);
	in(RBR);
	out(LCR, 0x80);
	out(RBR, 0); /* a divisor of 0 does not stop the world */
	out(LCR, 0x00);
	type("a");
	assert_true(rig.timers.next == rig_now(&rig) + 4 * 7 * BIT_TICKS);
}

static void timeout_only_when_it_can_interrupt(void **state)
{
	(void)state;
	out(IIR, 0xc1);
	type("a");
	assert_true(rig.timers.next == TIMERQ_NEVER);
	out(IER, 0x01);
	assert_true(rig.timers.next != TIMERQ_NEVER);
	out(IER, 0x00);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	out(IER, 0x01);
	rig_advance(&rig, 4 * CHAR_TICKS);
	assert_int_equal(in(IIR), 0xcc);
	out(IER, 0x00);
	assert_false(rig.level[IRQ]);
	out(IER, 0x01); /* it is still the truth */
	assert_int_equal(in(IIR), 0xcc);
	out(IIR, 0xc3); /* FIFO cleared */
	assert_int_equal(in(IIR), 0xc1);
}

static void typed_text_waits_in_the_console(void **state)
{
	char text[41], got[41] = {0};

	(void)state;
	memset(text, 0, sizeof text);
	for (unsigned i = 0; i < 40; i++)
		text[i] = (char)('A' + i);
	out(IIR, 0x01);
	type(text);
	assert_int_equal(uart.fifo_count, 16);
	assert_int_equal(ring_used(&con.in), 24);
	for (unsigned i = 0; i < 40; i++) {
		assert_int_equal(in(LSR)&0x03, 0x01); /* data, no overrun */
		got[i] = (char)in(RBR);
	}
	assert_string_equal(got, text);
	assert_int_equal(in(LSR), 0x60);
}

static void fifo_control(void **state)
{
	(void)state;
	type("ab");
	out(IIR, 0x06); /* without the enable bit: nothing but FIFOs off */
	assert_int_equal(in(IIR), 0x01);
	assert_int_equal(in(RBR), 'a');
	out(IIR, 0x01); /* switching clears what was received: b is gone */
	assert_int_equal(in(LSR), 0x60);
	assert_int_equal(in(IIR), 0xc1);
	type("cdef");
	out(IIR, 0x05); /* transmitter alone */
	assert_int_equal(in(RBR), 'c');
	out(IIR, 0x03);
	assert_int_equal(in(LSR), 0x60);
	type("g");
	out(IIR, 0x00);
	assert_int_equal(in(LSR), 0x60);
	assert_int_equal(in(IIR), 0x01);
}

static void loopback_data(void **state)
{
	(void)state;
	out(IIR, 0x01);
	out(MCR, 0x10);
	type("typed");
	out(RBR, 0x41);
	out(RBR, 0x42);
	expect_output("");
	assert_int_equal(in(LSR), 0x61);
	assert_int_equal(in(RBR), 0x41);
	assert_int_equal(in(RBR), 0x42);
	assert_int_equal(in(LSR), 0x60); /* what was typed does not mix in */
	out(IIR, 0xc3);
	out(IER, 0x01);
	out(RBR, 0x43); /* the receiver's clock runs for it too */
	rig_advance(&rig, 4 * CHAR_TICKS);
	assert_int_equal(in(IIR), 0xcc);
	assert_int_equal(in(RBR), 0x43);
	out(IER, 0);
	for (unsigned i = 0; i < 17; i++)
		out(RBR, (uint8_t)i);
	assert_int_equal(in(LSR), 0x63); /* overrun: the seventeenth is lost */
	assert_int_equal(in(LSR), 0x61);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(RBR), i);
	assert_int_equal(in(LSR), 0x60);
	out(MCR, 0x00);
	assert_int_equal(in(LSR), 0x61);
	assert_int_equal(in(RBR), 't');
}

static void overrun_without_fifos_replaces(void **state)
{
	(void)state;
	out(IER, 0x04);
	out(MCR, 0x10);
	out(RBR, 1);
	assert_false(rig.level[IRQ]);
	out(RBR, 2);
	assert_int_equal(in(IIR), 0x06);
	assert_true(rig.level[IRQ]);
	assert_int_equal(in(LSR), 0x63);
	assert_false(rig.level[IRQ]);
	assert_int_equal(in(RBR), 2);
	assert_int_equal(in(LSR), 0x60);
}

static void break_in_loopback(void **state)
{
	(void)state;
	out(IIR, 0x01);
	out(IER, 0x04);
	out(MCR, 0x10);
	out(RBR, 'a');
	out(LCR, 0x43); /* break on */
	assert_int_equal(in(LSR), 0xe1); /* an error waits in the FIFO, behind a good byte */
	assert_int_equal(in(IIR), 0xc1);
	assert_int_equal(in(RBR), 'a');
	assert_int_equal(in(IIR), 0xc6);
	assert_int_equal(in(LSR), 0xf9); /* break and framing error, data, FIFO error */
	assert_int_equal(in(LSR), 0x61);
	assert_int_equal(in(RBR), 0);
	out(LCR, 0x43); /* still on: one break, not two */
	assert_int_equal(in(LSR), 0x60);
	out(LCR, 0x03);
	out(LCR, 0x43);
	out(RBR, 'b');
	out(LCR, 0x03);
	out(LCR, 0x43); /* break, b, break */
	assert_int_equal(in(LSR), 0xf9);
	assert_int_equal(in(LSR), 0xe1); /* the second is still behind b */
	in(RBR);
	assert_int_equal(in(RBR), 'b');
	assert_int_equal(in(LSR), 0xf9);
	in(RBR);
	assert_int_equal(in(LSR), 0x60);
	out(RBR, 'c');
	out(LCR, 0x03);
	out(LCR, 0x43);
	out(IIR, 0x03); /* an error behind c goes with the FIFO */
	assert_int_equal(in(LSR), 0x60);
	for (unsigned i = 0; i < 20; i++) /* the places in the FIFO are clean again */
		out(RBR, 'd');
	assert_int_equal(in(LSR), 0x63);
	out(IIR, 0x03);
	/* Overrun and break at once. */
	for (unsigned i = 0; i < 15; i++)
		out(RBR, 'e');
	out(LCR, 0x03);
	out(LCR, 0x43);
	out(RBR, 'f');
	while (in(RBR) == 'e')
		if (uart.fifo_count == 1)
			break;
	assert_int_equal(in(LSR), 0xfb);
	in(RBR);
	/* What LSR shows stays when the FIFO is cleared. */
	out(LCR, 0x03);
	out(LCR, 0x43);
	out(IIR, 0x03);
	assert_int_equal(in(LSR)&0x81, 0x80);
	assert_int_equal(in(LSR), 0x60);
	out(MCR, 0x00);
	out(LCR, 0x03);
	out(LCR, 0x43); /* on the line nobody sees it */
	assert_int_equal(in(LSR), 0x60);
	expect_output("");
}

static void modem_lines_in_loopback(void **state)
{
	(void)state;
	out(IER, 0x08);
	out(MCR, 0x10); /* all four inputs fall */
	assert_int_equal(in(IIR), 0x00);
	assert_int_equal(in(MSR), 0x0b);
	assert_int_equal(in(IIR), 0x01);
	out(MCR, 0x11);
	assert_int_equal(in(MSR), 0x22);
	out(MCR, 0x12);
	assert_int_equal(in(MSR), 0x13);
	out(MCR, 0x14);
	assert_int_equal(in(MSR), 0x41); /* RI rises: no delta */
	out(MCR, 0x10);
	assert_int_equal(in(MSR), 0x04); /* its trailing edge is one */
	out(MCR, 0x18);
	assert_int_equal(in(MSR), 0x88);
	assert_int_equal(in(MSR), 0x80);
	out(MCR, 0x18);
	assert_false(rig.level[IRQ]);
	out(MCR, 0x1a);
	out(MCR, 0x19);
	assert_int_equal(in(MSR), 0xa3); /* deltas add up */
	out(MCR, 0x18);
	in(MSR);
	out(MCR, 0x0b);
	assert_true(rig.level[IRQ]);
	assert_int_equal(in(MSR), 0xb3);
	assert_false(rig.level[IRQ]);
}

static void interrupts_in_order_of_priority(void **state)
{
	(void)state;
	out(IIR, 0x01);
	out(MCR, 0x10);
	out(IER, 0x0f);
	in(MSR);
	out(MCR, 0x11);
	out(LCR, 0x43);
	assert_int_equal(in(IIR), 0xc6);
	in(LSR);
	assert_int_equal(in(IIR), 0xc4);
	in(RBR);
	assert_int_equal(in(IIR), 0xc2);
	assert_int_equal(in(IIR), 0xc0);
	assert_true(rig.level[IRQ]);
	in(MSR);
	assert_int_equal(in(IIR), 0xc1);
	assert_false(rig.level[IRQ]);
	assert_int_equal(rig.rises[IRQ], 1); /* one level all the while */
}

static void reset_keeps_what_was_typed(void **state)
{
	(void)state;
	out(IIR, 0xc1);
	out(IER, 0x03);
	out(SCR, 1);
	type("0123456789abcdefXY");
	assert_true(rig.level[IRQ]);
	while (in(LSR)&1 && uart.fifo_count > 1)
		in(RBR);
	assert_true(rig.timers.next != TIMERQ_NEVER);
	out(LCR, 0x80);
	out(RBR, 0x55);
	type("0123456789abcdefXY");
	uart.dev.ops->reset(&uart.dev);
	assert_false(rig.level[IRQ]);
	assert_int_equal(in(IER) | in(SCR) | in(MCR), 0);
	assert_int_equal(in(LSR), 0x60);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	type("Z");
	assert_int_equal(in(RBR), 'f');
	assert_int_equal(in(RBR), 'X');
	out(LCR, 0x80);
	assert_int_equal(in(RBR) | in(IER) << 8, 1);
}

static void typed_before_there_was_a_uart(void **state)
{
	(void)state;
	console_init(&con, log_buf, in_buf);
	type("ab");
	vuart_init(&uart, &con, &rig.time, &rig.timers, rig_line(&rig, IRQ));
	assert_int_equal(in(LSR), 0x61);
	assert_int_equal(in(RBR), 'a');
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		T(power_on),
		T(plain_registers),
		T(output_goes_out_at_once),
		T(transmitter_interrupt),
		T(receive_without_fifos),
		T(fifo_trigger_levels),
		T(timeout_after_four_characters),
		T(timeout_follows_the_format),
		T(timeout_only_when_it_can_interrupt),
		T(typed_text_waits_in_the_console),
		T(fifo_control),
		T(loopback_data),
		T(overrun_without_fifos_replaces),
		T(break_in_loopback),
		T(modem_lines_in_loopback),
		T(interrupts_in_order_of_priority),
		T(reset_keeps_what_was_typed),
		T(typed_before_there_was_a_uart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
