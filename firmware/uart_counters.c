/* SPDX-License-Identifier: Apache-2.0 */
/* What a serial line counts, apart from its driver: nothing here touches the chip. */
#include "firmware/uart.h"

#include "lib/bits.h"

#define STAT(field, name, measure, text) \
	COUNTER(struct uart_stats, field, name, COUNTER_TOTAL, measure, text)

static void copy_stats(const void *object, void *out)
{
	*(struct uart_stats *)out = ((const struct uart *)object)->stats;
}

static const struct counter counters[] = {
	STAT(rx_bytes, "received", MEASURE_BYTES, "Bytes that came in on the management line"),
	STAT(tx_bytes, "sent", MEASURE_BYTES, "Bytes that went out on the management line"),
	STAT(overruns, "overruns", MEASURE_COUNT, "Times the chip lost received bytes"),
	STAT(errors, "errors", MEASURE_COUNT, "Parity and framing errors, and breaks"),
	STAT(throttles, "throttles", MEASURE_COUNT, "Times the receive ring was full"),
	STAT(drops, "drops", MEASURE_COUNT, "Times the other end hung up, or sent a break"),
	STAT(interrupts, "interrupts", MEASURE_COUNT, "Interrupts of the line's chip"),
};

const struct counter_table uart_counters = {
	.group = "line", .rows = counters, .count = ARRAY_SIZE(counters), .figures_bytes = sizeof(struct uart_stats),
	.figures = copy_stats,
};
