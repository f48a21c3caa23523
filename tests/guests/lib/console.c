/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COM1, polled, and how a guest ends.
 */
#include <stdarg.h>

#include "lib/format.h"
#include "tests/guests/lib/guest.h"

#define UART_DATA (COM1 + 0)
#define UART_IER (COM1 + 1)
#define UART_FCR (COM1 + 2)
#define UART_LCR (COM1 + 3)
#define UART_MCR (COM1 + 4)
#define UART_LSR (COM1 + 5)
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define FCR_ENABLE_CLEAR 0x07
#define MCR_DTR_RTS 0x03
#define LSR_DATA_READY 0x01
#define LSR_THR_EMPTY 0x20
#define LSR_ALL_SENT 0x40
#define LSR_NOTHING_THERE 0xff
#define POLLS_MAX 10000000u

void console_init(void)
{
	out8(UART_LCR, LCR_DLAB);
	out8(UART_DATA, 1); /* 115200 */
	out8(UART_IER, 0);
	out8(UART_LCR, LCR_8N1);
	out8(UART_IER, 0);
	out8(UART_FCR, FCR_ENABLE_CLEAR);
	out8(UART_MCR, MCR_DTR_RTS);
}

static void wait_for(uint8_t bit)
{
	for (uint32_t i = 0; i < POLLS_MAX && !(in8(UART_LSR) & bit); i++)
		cpu_pause();
}

void put_char(char c)
{
	wait_for(LSR_THR_EMPTY);
	out8(UART_DATA, (uint8_t)c);
}

int get_char(void)
{
	uint8_t lsr = in8(UART_LSR);

	if (lsr == LSR_NOTHING_THERE || !(lsr & LSR_DATA_READY))
		return -1;
	return in8(UART_DATA);
}

static void put_text(const char *s)
{
	for (; *s; s++) {
		if (*s == '\n')
			put_char('\r');
		put_char(*s);
	}
}

static void print_v(const char *fmt, va_list ap)
{
	char line[512];

	format_v(line, sizeof line, fmt, ap);
	put_text(line);
}

void print(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_v(fmt, ap);
	va_end(ap);
}

void finish(uint32_t code)
{
	if (code == EXIT_PASS)
		print("%s: pass\n", guest_name);
	wait_for(LSR_ALL_SENT);
	out32(DEBUG_EXIT_PORT, code);
	for (;;) {
		cli();
		hlt();
	}
}

void fail_with(const char *fmt, ...)
{
	va_list ap;

	print("%s: FAIL ", guest_name);
	va_start(ap, fmt);
	print_v(fmt, ap);
	va_end(ap);
	print("\n");
	finish(EXIT_FAIL);
}
