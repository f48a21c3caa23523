/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MC146818 real-time clock and its CMOS memory. It starts at a wall-clock
 * time that its creator states and goes on by guest time.
 */
#ifndef CORBEL_GUEST_VRTC_H
#define CORBEL_GUEST_VRTC_H

#include <stdint.h>

#include "guest/device.h"
#include "guest/rate.h"
#include "guest/vtime.h"
#include "lib/timerq.h"

#define VRTC_BYTES 128u
#define VRTC_HZ 32768u

struct vrtc {
	struct device dev;     /* offset 0: index, 1: data */
	uint8_t index;
	/* Registers and memory as the guest reads them; the time is that of second @second. */
	uint8_t cmos[VRTC_BYTES];
	uint8_t flags;         /* register C without IRQF */
	uint64_t chain;        /* tick (1/32768 s since guest TSC 0) that started the divider chain */
	uint64_t second;       /* whole seconds of the chain that the time registers have followed */
	uint64_t periods;      /* periods of the periodic interrupt that @flags has seen */
	struct irq_line irq;
	struct timer timer;    /* the next flag that interrupts */
	struct rate rate;
	const struct vm_time *time;
	struct timerq *timers;
};

/*
 * @wall: seconds since 1970 UTC at this moment of guest time. @time and @timers (guest TSC, one slot) outlive it.
 */
void vrtc_init(struct vrtc *rtc, uint64_t wall, const struct vm_time *time, struct timerq *timers, struct irq_line irq);

#endif
