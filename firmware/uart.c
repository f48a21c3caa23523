/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Register numbers and bits are the PC16550D data sheet's. The ISA interrupt is
 * edge triggered: the handler works until the chip says that nothing is pending,
 * or, after a bound, drops the line by hand so that the next edge cannot be lost.
 */
#include "firmware/uart.h"

#include "firmware/irq.h"
#include "firmware/tsc.h"
#include "lib/bits.h"
#include "lib/x86_asm.h"

#define UART_DATA 0 /* RBR, THR; divisor low with DLAB */
#define UART_IER 1  /* divisor high with DLAB */
#define UART_IIR 2
#define UART_FCR 2
#define UART_LCR 3
#define UART_MCR 4
#define UART_LSR 5
#define UART_MSR 6
#define UART_SCR 7

#define IER_RX 0x01
#define IER_TX 0x02
#define IER_LINE 0x04
#define IER_MODEM 0x08
#define IIR_NONE 0x01
#define IIR_ID 0x0e
#define IIR_MODEM 0x00
#define IIR_FIFO 0xc0
#define FCR_ENABLE 0x01
#define FCR_RESET 0x06
#define FCR_TRIGGER_8 0x80
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define MCR_DTR 0x01
#define MCR_RTS 0x02
#define MCR_OUT2 0x08 /* gates the interrupt line of a PC */
#define MCR_LOOP 0x10
#define LSR_DR 0x01
#define LSR_OE 0x02
#define LSR_ERROR 0x1c /* parity, framing, break */
#define LSR_BREAK 0x10
#define LSR_THRE 0x20
#define LSR_NONE 0xff /* nobody at this port */
#define MSR_DSR_CHANGED 0x02
#define MSR_DCD_CHANGED 0x08
#define MSR_DSR 0x20
#define MSR_DCD 0x80
#define MSR_LOOP_MASK 0xf0
#define MSR_LOOP_RTS_OUT2 0x90 /* CTS and DCD follow RTS and OUT2 in loop-back */

#define FIFO_BYTES 16
#define IRQ_ROUNDS 64
#define QUIET_NS 20000000u /* after this long without a byte the sender has made its point */
#define POLL_TRIES 100000u /* about 0.1 s of port reads on a PC; a byte at 9600 baud takes 1 ms */

static uint8_t reg_read(const struct uart *u, unsigned reg)
{
	return in8((uint16_t)(u->cfg.port + reg));
}

static void reg_write(const struct uart *u, unsigned reg, uint8_t value)
{
	out8((uint16_t)(u->cfg.port + reg), value);
}

bool uart_probe(uint16_t port)
{
	uint8_t mcr, loop;

	for (unsigned pattern = 0x5a; pattern <= 0xa5; pattern += 0xa5 - 0x5a) {
		out8(port + UART_SCR, (uint8_t)pattern);
		if (in8(port + UART_SCR) != pattern)
			return false;
	}
	mcr = in8(port + UART_MCR);
	out8(port + UART_MCR, MCR_LOOP | MCR_RTS | MCR_OUT2);
	loop = in8(port + UART_MSR) & MSR_LOOP_MASK;
	out8(port + UART_MCR, mcr);
	return loop == MSR_LOOP_RTS_OUT2;
}

static size_t pull_tx_ring(struct uart *u, uint8_t *out, size_t max)
{
	uint32_t before = ring_used(&u->tx);
	size_t n = ring_read(&u->tx, out, max);

	if (u->drained && n > 0 && ((before > u->drain_mark && before - n <= u->drain_mark) || before == n))
		u->drained(u);
	return n;
}

enum status uart_init(struct uart *u, const struct uart_config *cfg)
{
	uint32_t divisor = cfg->baud ? cfg->clock_hz / (16 * cfg->baud) : 0;

	u->cfg = *cfg;
	u->present = false;
	ring_init(&u->rx, u->rx_buf, sizeof(u->rx_buf));
	ring_init(&u->tx, u->tx_buf, sizeof(u->tx_buf));
	if (!u->pull)
		u->pull = pull_tx_ring;
	if (divisor == 0 || divisor > UINT16_MAX)
		return ST_INVALID;
	if (!uart_probe(cfg->port))
		return ST_NOT_FOUND;
	reg_write(u, UART_IER, 0);
	reg_write(u, UART_LCR, LCR_8N1 | LCR_DLAB);
	reg_write(u, UART_DATA, (uint8_t)divisor);
	reg_write(u, UART_IER, (uint8_t)(divisor >> 8));
	reg_write(u, UART_LCR, LCR_8N1);
	reg_write(u, UART_FCR, FCR_ENABLE | FCR_RESET | FCR_TRIGGER_8);
	u->fifo_bytes = (reg_read(u, UART_IIR) & IIR_FIFO) == IIR_FIFO ? FIFO_BYTES : 1;
	reg_write(u, UART_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
	u->present = true;
	return ST_OK;
}

static void set_ier(struct uart *u, uint8_t ier)
{
	if (u->ier == ier)
		return;
	u->ier = ier;
	reg_write(u, UART_IER, ier);
}

/* A full ring leaves the bytes in the chip, whose RTS then stops the sender. */
static void throttle(struct uart *u)
{
	u->throttled = true;
	u->stats.throttles++;
	reg_write(u, UART_MCR, MCR_DTR | MCR_OUT2);
	set_ier(u, u->ier & ~(IER_RX | IER_LINE));
}

static void unthrottle(struct uart *u)
{
	u->throttled = false;
	reg_write(u, UART_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
	set_ier(u, u->ier | IER_RX | IER_LINE);
}

static void drop(struct uart *u)
{
	u->stats.drops++;
	if (u->dropped)
		u->dropped(u);
}

/* A modem line changed. One that was never up, as on a three-wire cable, cannot go. */
static void modem_changed(struct uart *u)
{
	uint8_t msr = reg_read(u, UART_MSR);
	bool carrier_lost = (msr & MSR_DCD_CHANGED) && !(msr & MSR_DCD);
	bool set_lost = (msr & MSR_DSR_CHANGED) && !(msr & MSR_DSR);

	if (carrier_lost || set_lost)
		drop(u);
}

/* Empties the receiver; @lsr is the line status just read. Returns true when bytes came. */
static bool receive(struct uart *u, uint8_t lsr)
{
	uint64_t before = u->stats.rx_bytes;

	for (; lsr & LSR_DR; lsr = reg_read(u, UART_LSR)) {
		if (ring_free(&u->rx) == 0) {
			throttle(u);
			break;
		}
		if (lsr & LSR_OE)
			u->stats.overruns++;
		if (lsr & LSR_ERROR)
			u->stats.errors++;
		if (lsr & LSR_BREAK)
			drop(u);
		(void)ring_put(&u->rx, reg_read(u, UART_DATA));
		u->stats.rx_bytes++;
	}
	return u->stats.rx_bytes != before;
}

/* Fills the empty transmitter. */
static void transmit(struct uart *u)
{
	uint8_t bytes[FIFO_BYTES];
	size_t n = u->pull(u, bytes, u->fifo_bytes);

	for (size_t i = 0; i < n; i++)
		reg_write(u, UART_DATA, bytes[i]);
	u->stats.tx_bytes += n;
	if (n == 0)
		set_ier(u, u->ier & ~IER_TX);
}

/* Serves what the chip reports; true when it has nothing more to say. */
static bool serve(struct uart *u, bool *came)
{
	uint8_t iir = reg_read(u, UART_IIR), lsr;

	if (iir & IIR_NONE)
		return true;
	if ((iir & IIR_ID) == IIR_MODEM)
		modem_changed(u);
	lsr = reg_read(u, UART_LSR);
	if (lsr == LSR_NONE)
		return true;
	if (!u->throttled)
		*came |= receive(u, lsr);
	if ((lsr & LSR_THRE) && (u->ier & IER_TX))
		transmit(u);
	return false;
}

static void uart_interrupt(void *arg)
{
	struct uart *u = arg;
	bool came = false, done = false;

	u->stats.interrupts++;
	for (int round = 0; round < IRQ_ROUNDS && !done; round++)
		done = serve(u, &came);
	if (!done) {
		/* Still pending after the bound: lower the line, so that raising it is an edge. */
		reg_write(u, UART_IER, 0);
		reg_write(u, UART_IER, u->ier);
	}
	if (came)
		u->quiet_at = host_clock.ticks() + ns_to_ticks(QUIET_NS, host_clock.hz);
	if (came && u->received)
		u->received(u);
}

enum status uart_start(struct uart *u, const char *name)
{
	enum status st;

	if (!u->present)
		return ST_NOT_FOUND;
	st = irq_request_isa(u->cfg.irq, name, uart_interrupt, u);
	if (st != ST_OK)
		return st;
	u->ier = 0;
	(void)reg_read(u, UART_MSR); /* what changed before is no news */
	set_ier(u, IER_RX | IER_LINE | IER_TX | IER_MODEM);
	return ST_OK;
}

void uart_kick(struct uart *u)
{
	uint64_t flags = irq_save();

	/* Without the receive enable the line is not started, or stopped for good. */
	if (u->present && (u->ier || u->throttled))
		set_ier(u, u->ier | IER_TX);
	irq_restore(flags);
}

size_t uart_write(struct uart *u, const void *data, size_t len)
{
	uint64_t flags = irq_save();
	size_t n = u->present ? ring_write(&u->tx, data, len) : 0;

	irq_restore(flags);
	if (n)
		uart_kick(u);
	return n;
}

size_t uart_tx_room(const struct uart *u)
{
	return u->present ? ring_free(&u->tx) : 0;
}

size_t uart_tx_queued(const struct uart *u)
{
	return u->present ? ring_used(&u->tx) : 0;
}

bool uart_busy(const struct uart *u)
{
	/* The transmit interrupt is on exactly while there is something to send. A line that is not there has neither. */
	return (u->ier & IER_TX) || (u->quiet_at && host_clock.ticks() < u->quiet_at);
}

size_t uart_read(struct uart *u, void *out, size_t max)
{
	uint64_t flags = irq_save();
	size_t n = u->present ? ring_read(&u->rx, out, max) : 0;

	if (u->throttled && ring_free(&u->rx) >= UART_RX_BYTES / 2)
		unthrottle(u);
	irq_restore(flags);
	return n;
}

/* A report before uart_init(): the line may still be as reset left it, with five-bit words. */
static void polled_set_up(struct uart_polled *p)
{
	const uint32_t divisor = UART_CLOCK_HZ / 16 / UART_BAUD_DEFAULT;

	out8(p->port + UART_LCR, LCR_8N1 | LCR_DLAB);
	out8(p->port + UART_DATA, (uint8_t)divisor);
	out8(p->port + UART_IER, (uint8_t)(divisor >> 8));
	out8(p->port + UART_LCR, LCR_8N1);
	p->set_up = true;
}

static void polled_putc(struct uart_polled *p, char c)
{
	for (uint32_t i = 0; i < POLL_TRIES; i++) {
		uint8_t lsr = in8(p->port + UART_LSR);

		if (lsr != LSR_NONE && (lsr & LSR_THRE)) {
			out8(p->port + UART_DATA, (uint8_t)c);
			return;
		}
	}
	p->dead = true;
}

void uart_polled_write(struct uart_polled *p, const char *data, size_t len)
{
	if (p->port != 0 && !p->set_up)
		polled_set_up(p);
	for (size_t i = 0; i < len && p->port != 0 && !p->dead; i++) {
		if (data[i] == '\n')
			polled_putc(p, '\r');
		polled_putc(p, data[i]);
	}
}
