/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host clock of the rig is a variable; guest time follows it by vm_time's
 * own rules, so that a device under test reads time as on the machine.
 */
#include "tests/fakes/device_rig.h"

static uint64_t host_tsc;
static struct clock host_clock;

static uint64_t read_host_tsc(void) { return host_tsc; }

void rig_init(struct rig *rig, uint64_t hz)
{
	host_tsc = 1000000007; /* not 0: guest TSC and host TSC must not be mistaken for each other */
	host_clock = (struct clock){.ticks = read_host_tsc, .hz = hz};
	*rig = (struct rig){0};
	timerq_init(&rig->timers, rig->slots, RIG_TIMERS);
	vm_time_init(&rig->time, &host_clock);
	vm_time_resume(&rig->time);
}

uint64_t rig_now(const struct rig *rig) { return vm_time_tsc(&rig->time); }

void rig_advance_to(struct rig *rig, uint64_t tsc)
{
	while (rig->timers.next <= tsc) {
		if (rig->timers.next > rig_now(rig))
			host_tsc += rig->timers.next - rig_now(rig);
		timerq_run(&rig->timers, rig_now(rig));
	}
	host_tsc += tsc - rig_now(rig);
}

void rig_advance(struct rig *rig, uint64_t ticks) { rig_advance_to(rig, rig_now(rig) + ticks); }

void rig_jump(struct rig *rig, uint64_t ticks)
{
	host_tsc += ticks;
	timerq_run(&rig->timers, rig_now(rig));
}

void rig_stall(struct rig *rig, uint64_t ticks)
{
	(void)rig;
	host_tsc += ticks;
}

static void set_line(void *ctx, unsigned gsi, bool level)
{
	struct rig *rig = ctx;

	rig->rises[gsi] += level && !rig->level[gsi];
	rig->level[gsi] = level;
}

struct irq_line rig_line(struct rig *rig, unsigned gsi) { return (struct irq_line){set_line, rig, gsi}; }
