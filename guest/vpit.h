/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 8254 interval timer: three counters at 1.193182 MHz, and port 61h, which
 * gates the third and shows its output. Counter 0 drives interrupt 0.
 */
#ifndef CORBEL_GUEST_VPIT_H
#define CORBEL_GUEST_VPIT_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/device.h"
#include "guest/rate.h"
#include "guest/vtime.h"
#include "lib/timerq.h"

#define VPIT_HZ 1193182u
#define VPIT_COUNTERS 3

/* Register offsets of the device; the platform maps them to 0x40..0x43 and 0x61. */
#define VPIT_CONTROL 3u
#define VPIT_PORT_61 4u

/* Times are ticks of the 1.193182 MHz clock since guest TSC 0. */
struct vpit_counter {
	uint8_t mode;          /* 0..5 */
	uint8_t access;        /* 1: low byte, 2: high byte, 3: both, low first */
	bool bcd;
	bool gate;
	bool loaded;           /* a count was written since the control word */
	bool running;          /* counting since @start; else it stands at @elapsed */
	uint32_t count;        /* 1..65536: what is counted down from */
	uint64_t start;        /* the tick that loaded @count */
	uint64_t elapsed;
	uint32_t next_count;   /* modes 2 and 3: takes over at @switch_at; 0: none */
	uint64_t switch_at;
	bool write_high, read_high; /* the next byte is the high one */
	uint8_t write_low;
	uint16_t latch;
	uint8_t latched_bytes; /* of @latch still to be read */
	bool status_latched;
	uint8_t status;
};

struct vpit {
	struct device dev;
	struct vpit_counter counters[VPIT_COUNTERS];
	uint8_t port_61;       /* the writable bits */
	struct irq_line irq;
	bool irq_high;         /* what @irq was last set to */
	struct timer timer;    /* counter 0's next rising edge */
	uint64_t next_edge;    /* its tick */
	struct rate rate;
	const struct vm_time *time;
	struct timerq *timers;
};

/* @timers (guest TSC, one slot) and @time outlive it. */
void vpit_init(struct vpit *pit, const struct vm_time *time, struct timerq *timers, struct irq_line irq);

#endif
