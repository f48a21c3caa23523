/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An interrupt line that PCI functions share: each driver is asked whether its device has done it. Level-triggered, a
 * line that nobody takes back would come again for ever and nothing else would be done any more: such a one is noticed.
 * A single one that is nobody's is none of that: a device may have been served already. Pure C.
 */
#ifndef CORBEL_FIRMWARE_IRQ_SHARED_H
#define CORBEL_FIRMWARE_IRQ_SHARED_H

#include <stdbool.h>
#include <stdint.h>

#define IRQ_SHARERS_MAX 4u
#define IRQ_NOBODYS_MAX 1000u /* in a row, */
#define IRQ_APART_MS 10u      /* with less than this between them */

/* True: the interrupt was its device's, which has taken it back. */
typedef bool (*irq_shared_handler)(void *arg);

struct irq_shared {
	struct {
		irq_shared_handler fn;
		void *arg;
	} user[IRQ_SHARERS_MAX];
	unsigned users, nobodys;
	uint64_t nobodys_at; /* ticks */
};

/* False: there are too many. */
bool irq_shared_add(struct irq_shared *s, irq_shared_handler fn, void *arg);

/* The line is high, at tick @now of @hz a second. True, once: it comes on and on, and nobody has done it. */
bool irq_shared_run(struct irq_shared *s, uint64_t now, uint64_t hz);

#endif
