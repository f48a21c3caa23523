/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UART is a reader of the ring with a sequence number of its own. When it
 * falls more than a ring behind, the gap is stated in its output.
 */
#include "firmware/hostlog.h"

#include "firmware/apic.h"
#include "firmware/irq.h"
#include "firmware/percpu.h"
#include "firmware/tsc.h"
#include "firmware/uart.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/lock.h"
#include "lib/log.h"
#include "lib/x86_asm.h"

static uint8_t log_buf[HOST_LOG_BYTES];
struct bytelog host_log;
struct lock host_log_lock;

static struct uart *log_uart;
static uint8_t drain_vector;
static bool drain_asked; /* of the boot CPU, by another one */
static uint64_t sent; /* sequence number of the next byte for the UART */

/* A newline takes two bytes on the line: its LF waits here. */
static bool owe_linefeed;

static void sink(const char *line, size_t len)
{
	hostlog_write(line, len);
}

void hostlog_init(void)
{
	bytelog_init(&host_log, log_buf, sizeof(log_buf));
	lock_init(&host_log_lock, LOCK_LOG);
	log_init(sink, host_uptime_us);
}

/* On the boot CPU, for another one. */
static void drain_interrupt(void *arg)
{
	(void)arg;
	__atomic_store_n(&drain_asked, false, __ATOMIC_SEQ_CST);
	uart_kick(log_uart);
}

static void drain(void)
{
	if (this_cpu()->id == 0)
		uart_kick(log_uart);
	else if (!__atomic_exchange_n(&drain_asked, true, __ATOMIC_SEQ_CST))
		apic_send_ipi(percpu_of(0)->apic_id, drain_vector);
}

void hostlog_write(const char *text, size_t len)
{
	uint64_t flags = irq_save();

	lock_acquire(&host_log_lock);
	bytelog_write(&host_log, text, len);
	lock_release(&host_log_lock);
	if (log_uart)
		drain();
	irq_restore(flags);
}

bool hostlog_free_within(uint64_t ticks)
{
	uint64_t start = rdtsc();

	while (!lock_try(&host_log_lock))
		if (rdtsc() - start > ticks)
			return false;
	lock_release(&host_log_lock);
	return true;
}

static size_t gap_note(uint8_t *out, size_t max)
{
	static const char note[] = "[gap]\r\n";
	size_t len = MIN(sizeof(note) - 1, max);

	memcpy(out, note, len);
	return len;
}

static size_t pull_locked(uint8_t *out, size_t max)
{
	size_t n = 0;
	uint8_t c;

	if (sent < bytelog_oldest(&host_log)) {
		sent = bytelog_oldest(&host_log);
		n = gap_note(out, max);
	}
	while (n < max) {
		if (owe_linefeed) {
			out[n++] = '\n';
			owe_linefeed = false;
			continue;
		}
		if (bytelog_read(&host_log, &sent, &c, 1) == 0)
			break;
		owe_linefeed = c == '\n';
		out[n++] = owe_linefeed ? '\r' : c;
	}
	return n;
}

/* The UART's pull(): the next bytes of the log, LF as CR LF. */
static size_t pull_log(struct uart *u, uint8_t *out, size_t max)
{
	size_t n;

	(void)u;
	lock_acquire(&host_log_lock);
	n = pull_locked(out, max);
	lock_release(&host_log_lock);
	return n;
}

void hostlog_attach(struct uart *u)
{
	if (irq_allocate("log", drain_interrupt, NULL, &drain_vector) != ST_OK)
		panic("no interrupt vector is free for the log");
	u->pull = pull_log;
	log_uart = u;
}

void hostlog_flush(struct uart_polled *to)
{
	uint8_t chunk[64];
	size_t n;

	if (owe_linefeed)
		uart_polled_write(to, "\n", 1);
	owe_linefeed = false;
	while (!to->dead && to->port && (n = bytelog_read(&host_log, &sent, chunk, sizeof(chunk))) != 0)
		uart_polled_write(to, (const char *)chunk, n);
}
