/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads its console and answers each line with "echo: LINE"; "quit" ends it. It
 * sleeps in HLT and is woken by the UART's interrupt through the IO-APIC, or
 * polls when the word "poll" is given.
 */
#include <string.h>

#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "echo";

#define VECTOR_UART 0x61
#define GSI_COM1 4
#define UART_IER (COM1 + 1)
#define UART_MCR (COM1 + 4)
#define IER_RECEIVED 0x01
#define MCR_DTR_RTS_OUT2 0x0b /* OUT2 passes the interrupt on a PC */
#define LINE_MAX 256

static volatile unsigned interrupts;

static void on_uart(struct trap_frame *f)
{
	(void)f;
	interrupts++;
	apic_eoi();
}

static void listen(void)
{
	apic_set_mode(APIC_XAPIC);
	set_handler(VECTOR_UART, on_uart);
	ioapic_route(GSI_COM1, VECTOR_UART, false);
	out8(UART_MCR, MCR_DTR_RTS_OUT2);
	out8(UART_IER, IER_RECEIVED);
}

/* Interrupts are off but while it sleeps, so none is lost between looking and sleeping. */
static char wait_char(bool poll)
{
	int c;

	while ((c = get_char()) < 0) {
		if (poll)
			cpu_pause();
		else
			halt();
	}
	return (char)c;
}

static void read_line(char *line, bool poll)
{
	size_t len = 0;
	char c;

	while ((c = wait_char(poll)) != '\n' && c != '\r') {
		if (len < LINE_MAX - 1)
			line[len++] = c;
	}
	line[len] = '\0';
}

void guest_main(void)
{
	bool poll = option_word("poll");
	char line[LINE_MAX];

	if (!poll)
		listen();
	print("echo: ready\n");
	for (;;) {
		read_line(line, poll);
		if (memcmp(line, "quit", sizeof "quit") == 0)
			break;
		print("echo: %s\n", line);
	}
	CHECK(poll || interrupts > 0, "no interrupt came");
}
