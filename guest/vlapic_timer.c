/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC's timer (SDM 3A 11.5.4). All three modes are one number:
 * timer_due, the guest TSC of the next zero crossing. The current count is what
 * is left until then, computed when it is read; a periodic timer that is late
 * keeps its phase and delivers once. A masked timer is not queued: time passes
 * for it, when someone looks, without an exit.
 */
#include "guest/vlapic_internal.h"

uint32_t vlapic_timer_ratio(uint64_t tsc_hz)
{
	/* CPUID.15h states the crystal in 32 bits. */
	return (uint32_t)(tsc_hz / ((uint64_t)UINT32_MAX + 1) + 1);
}

static bool is_deadline_mode(uint32_t lvt) { return lvt & APIC_TIMER_TSC_DEADLINE; }
static bool is_periodic(uint32_t lvt) { return (lvt & APIC_TIMER_MODE_MASK) == APIC_TIMER_PERIODIC; }

/* Divide configuration: bits 3, 1, 0 are 0..6 for 2..128 and 7 for 1. */
static unsigned divide_shift(const struct vlapic *l)
{
	uint32_t dcr = vlapic_reg(l, APIC_REG_TIMER_DIVIDE);

	return ((dcr & 3) + (dcr >> 1 & 4) + 1) & 7;
}

/* @count timer ticks in TSC ticks. */
static uint64_t count_to_tsc(const struct vlapic *l, uint32_t count)
{
	return ((uint64_t)count * l->timer_ratio) << divide_shift(l);
}

/* Puts the timer on the queue, or takes it off, as its state says. */
static void requeue(struct vlapic *l)
{
	if (l->timer_due != 0 && !(vlapic_reg(l, APIC_REG_LVT_TIMER) & APIC_LVT_MASKED))
		timerq_set(l->timers, &l->timer, l->timer_due);
	else if (timer_is_set(&l->timer))
		timerq_cancel(l->timers, &l->timer);
}

/*
 * Brings the state up to @now: when the count has reached 0 the interrupt is delivered (if not masked), and
 * a periodic count goes on at the first multiple of its period after @now.
 */
static void settle(struct vlapic *l, uint64_t now)
{
	uint32_t lvt = vlapic_reg(l, APIC_REG_LVT_TIMER);
	uint64_t period = 0;

	if (l->timer_due == 0 || l->timer_due > now)
		return;
	if (is_periodic(lvt))
		period = count_to_tsc(l, vlapic_reg(l, APIC_REG_TIMER_INITIAL));
	if (period == 0)
		l->timer_due = 0;
	else if (now - l->timer_due < period)
		l->timer_due += period;
	else
		l->timer_due += ((now - l->timer_due) / period + 1) * period;
	requeue(l);
	vlapic_fire_lvt(l, APIC_REG_LVT_TIMER);
}

static uint64_t settle_now(struct vlapic *l)
{
	uint64_t now = vm_time_tsc(l->time);

	settle(l, now);
	return now;
}

static void expired(struct timer *t, uint64_t now) { settle(container_of(t, struct vlapic, timer), now); }

void vlapic_timer_init(struct vlapic *l) { timer_init(&l->timer, expired); }

void vlapic_timer_stop(struct vlapic *l)
{
	l->timer_due = 0;
	timerq_cancel(l->timers, &l->timer);
}

/* Count left at @now: rounded up, because the count steps down only after a whole tick. */
static uint32_t count_left(const struct vlapic *l, uint64_t now)
{
	uint64_t left;

	if (l->timer_due == 0)
		return 0;
	left = (l->timer_due - now + count_to_tsc(l, 1) - 1) >> divide_shift(l);
	return (uint32_t)(l->timer_ratio == 1 ? left : left / l->timer_ratio);
}

uint32_t vlapic_timer_current(struct vlapic *l)
{
	uint64_t now = settle_now(l);

	return is_deadline_mode(vlapic_reg(l, APIC_REG_LVT_TIMER)) ? 0 : count_left(l, now);
}

void vlapic_timer_write_initial(struct vlapic *l, uint32_t count)
{
	uint64_t now;

	if (is_deadline_mode(vlapic_reg(l, APIC_REG_LVT_TIMER)))
		return; /* SDM 3A 11.5.4.1: ignored */
	now = settle_now(l);
	vlapic_set_reg(l, APIC_REG_TIMER_INITIAL, count);
	l->timer_due = count != 0 ? now + count_to_tsc(l, count) : 0;
	requeue(l);
}

void vlapic_timer_write_divide(struct vlapic *l, uint32_t value)
{
	uint64_t now = settle_now(l);
	uint32_t left = count_left(l, now);

	vlapic_set_reg(l, APIC_REG_TIMER_DIVIDE, value);
	if (is_deadline_mode(vlapic_reg(l, APIC_REG_LVT_TIMER)) || l->timer_due == 0)
		return;
	l->timer_due = now + count_to_tsc(l, left);
	requeue(l);
}

void vlapic_timer_write_lvt(struct vlapic *l, uint32_t value)
{
	uint32_t before = vlapic_reg(l, APIC_REG_LVT_TIMER);

	settle_now(l);
	vlapic_set_reg(l, APIC_REG_LVT_TIMER, value);
	/* SDM 3A 11.5.4.1: a change to or from TSC-deadline mode disarms; between the counting modes it does not. */
	if (is_deadline_mode(before) != is_deadline_mode(value)) {
		l->timer_due = 0;
		vlapic_set_reg(l, APIC_REG_TIMER_INITIAL, 0);
	}
	requeue(l);
}

uint64_t vlapic_timer_read_deadline(struct vlapic *l)
{
	if (!is_deadline_mode(vlapic_reg(l, APIC_REG_LVT_TIMER)))
		return 0;
	settle_now(l);
	return l->timer_due;
}

void vlapic_timer_write_deadline(struct vlapic *l, uint64_t deadline)
{
	if (!is_deadline_mode(vlapic_reg(l, APIC_REG_LVT_TIMER)))
		return;
	/* A deadline in the past fires when the queue is next run, before the guest goes on. */
	l->timer_due = deadline;
	requeue(l);
}
