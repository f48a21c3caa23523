/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16550 serial lines. Interrupt driven both ways: received bytes go into a ring,
 * bytes to send are pulled from whoever owns them (a ring, or the log's history).
 * Nothing here ever waits; when a receiver's ring is full the line is throttled
 * (RTS down, receive interrupt off) instead of losing bytes. The polled functions
 * are for reports of a machine that has stopped, and give up on a dead line.
 */
#ifndef CORBEL_FIRMWARE_UART_H
#define CORBEL_FIRMWARE_UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/counter.h"
#include "lib/ring.h"
#include "lib/status.h"

#define UART_CLOCK_HZ 1843200u /* of a PC: 115200 * 16 */
#define UART_BAUD_DEFAULT 115200u
#define UART_RX_BYTES 4096u
#define UART_TX_BYTES 16384u

struct uart_config {
	uint16_t port;     /* first of eight ports */
	uint8_t irq;       /* ISA interrupt line */
	uint32_t baud;     /* bits per second */
	uint32_t clock_hz; /* input clock of the divisor */
};

struct uart_stats {
	uint64_t rx_bytes, tx_bytes;
	uint64_t overruns;  /* the chip lost bytes */
	uint64_t errors;    /* parity, framing, break */
	uint64_t throttles; /* times the receive ring was full */
	uint64_t drops;     /* times the other end went: carrier or data-set-ready lost, or a break */
	uint64_t interrupts;
};

struct uart {
	struct uart_config cfg;
	bool present;
	bool throttled;
	uint8_t ier;
	uint64_t quiet_at; /* host TSC until which a sender may not have made its point; 0: nothing has come */
	unsigned fifo_bytes; /* 16, or 1 without FIFO */
	/* Bytes to send: up to @max into @out, 0 when none. Interrupts masked. */
	size_t (*pull)(struct uart *u, uint8_t *out, size_t max);
	/* Bytes have arrived. From the interrupt handler; may be NULL. */
	void (*received)(struct uart *u);
	/* The other end is gone, or says so by a break. From the interrupt handler; may be NULL. */
	void (*dropped)(struct uart *u);
	/* The transmit ring has fallen to drain_mark bytes or less, or is empty. From its interrupt; may be NULL. */
	void (*drained)(struct uart *u);
	uint32_t drain_mark;
	struct ring rx, tx;
	uint8_t rx_buf[UART_RX_BYTES], tx_buf[UART_TX_BYTES];
	struct uart_stats stats;
};

/* True when a 16550-compatible chip answers at @port (scratch register and loop-back). Disturbs a line in use. */
bool uart_probe(uint16_t port);

/*
 * Sets the chip up: 8N1, FIFOs, no interrupts yet. ST_NOT_FOUND when nothing
 * answers (then u->present is false and every call is harmless), ST_INVALID when
 * the baud rate cannot be divided from the clock.
 */
enum status uart_init(struct uart *u, const struct uart_config *cfg) MUST_CHECK;

/*
 * Starts interrupt-driven work on the line: its ISA interrupt is routed and
 * unmasked. Call once, when interrupts can be taken.
 */
enum status uart_start(struct uart *u, const char *name) MUST_CHECK;

/* Queues up to @len bytes; returns how many fitted. Any context. */
size_t uart_write(struct uart *u, const void *data, size_t len);

/* Bytes that uart_write() would take now, and bytes that it took and the chip did not yet. */
size_t uart_tx_room(const struct uart *u);
size_t uart_tx_queued(const struct uart *u);

/* True while bytes are under way: some wait to be sent, or some came within the last 20 ms. */
bool uart_busy(const struct uart *u);

/* Takes up to @max received bytes. Any context. */
size_t uart_read(struct uart *u, void *out, size_t max);

/* Says that pull() has bytes again. Any context; harmless before uart_start(). */
void uart_kick(struct uart *u);

/* The figures of a struct uart. */
extern const struct counter_table uart_counters;

/* Where polled output goes. */
struct uart_polled {
	uint16_t port; /* 0 = nowhere */
	bool set_up;   /* by uart_init(); else the first write sets 115200 8N1 */
	bool dead;     /* gave up: the line did not take a byte in time */
};

/* Writes @len bytes by polling, each with a bounded wait; turns newline into CR LF. No lock. */
void uart_polled_write(struct uart_polled *p, const char *data, size_t len);

#endif
