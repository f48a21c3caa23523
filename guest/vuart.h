/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A UART whose line is the VM's console. Transmission takes no time; what
 * the operator types waits in the console until the receiver has room.
 */
#ifndef CORBEL_GUEST_VUART_H
#define CORBEL_GUEST_VUART_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/console.h"
#include "guest/device.h"
#include "guest/vtime.h"
#include "lib/timerq.h"

#define VUART_LEN 8u
#define VUART_FIFO 16u

struct vuart {
	struct device dev;
	uint8_t ier, fcr, lcr, mcr, scr;
	uint8_t lsr_errors;      /* overrun, parity, framing, break: until LSR is read */
	uint8_t msr_deltas;      /* until MSR is read */
	uint16_t divisor;
	bool thre_pending;       /* the transmitter became empty and nobody has noticed */
	bool timeout_pending;    /* four character times passed with bytes waiting */
	bool line;               /* the interrupt output */
	uint8_t fifo[VUART_FIFO];
	uint8_t fifo_errors[VUART_FIFO]; /* LSR error bits of each byte */
	uint8_t fifo_head, fifo_count;   /* depth is 1 while the FIFOs are off */
	uint8_t fifo_flagged;            /* bytes with errors that LSR has not shown */
	uint64_t timeout_ticks;  /* four characters at this format and rate, TSC ticks */
	struct irq_line irq;
	struct timer timer;      /* receive timeout */
	const struct vm_time *time;
	struct timerq *timers;
	struct console *con;
};

/* @con, @time and @timers (guest TSC, one slot) outlive it. Does not touch con's callbacks. */
void vuart_init(struct vuart *u, struct console *con, const struct vm_time *time, struct timerq *timers,
		struct irq_line irq);
/* Input was queued at the console. */
void vuart_input(struct vuart *u);

#endif
