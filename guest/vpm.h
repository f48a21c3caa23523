/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI fixed hardware (ACPI 6.4, 4.8): the PM1a event and control blocks, the PM
 * timer and the power button. The machine is born in ACPI mode.
 */
#ifndef CORBEL_GUEST_VPM_H
#define CORBEL_GUEST_VPM_H

#include <stdint.h>

#include "guest/device.h"
#include "guest/rate.h"
#include "guest/vsys.h"
#include "guest/vtime.h"
#include "lib/timerq.h"

struct vpm {
	struct device dev;      /* the PC_PM_LEN bytes from PC_PM_BASE on */
	uint16_t status, enable, control;
	uint64_t carries;       /* changes of the PM timer's top bit that @status has seen */
	struct irq_line sci;
	struct timer timer;     /* the next such change, when it must interrupt */
	struct rate rate;
	const struct vm_time *time;
	struct timerq *timers;
	const struct system_ops *ops;
	void *ctx;
};

/* @timers (guest TSC, one slot), @time and @ops outlive it. */
void vpm_init(struct vpm *pm, const struct vm_time *time, struct timerq *timers, struct irq_line sci,
	      const struct system_ops *ops, void *ctx);
void vpm_power_button(struct vpm *pm);

#endif
