/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Alarms: timers of the CPU that set them. Each CPU's queue has a lock of its
 * own, held while what is due expires, so that after a cancel from anywhere the
 * handler does not run, and is not running.
 */
#include "guest/host.h"

#include <stddef.h>

void host_cpu_init(struct host_cpu *c, unsigned id, struct timer **slots, uint32_t count)
{
	*c = (struct host_cpu){.id = id};
	lock_init(&c->timers_lock, LOCK_TIMERS);
	timerq_init(&c->timers, slots, count);
}

void host_run_timers_due(struct host_cpu *c, uint64_t now)
{
	lock_acquire(&c->timers_lock);
	timerq_run(&c->timers, now);
	lock_release(&c->timers_lock);
}

void host_alarm_init(struct host_alarm *a, void (*expired)(struct timer *t, uint64_t now))
{
	timer_init(&a->timer, expired);
	a->cpu = NULL;
}

void host_alarm_set(const struct host_ops *host, struct host_alarm *a, uint64_t deadline)
{
	struct host_cpu *c = host->this_cpu();

	if (__atomic_load_n(&a->cpu, __ATOMIC_ACQUIRE) != c)
		host_alarm_cancel(host, a);
	lock_acquire(&c->timers_lock);
	timerq_set(&c->timers, &a->timer, deadline);
	/* Before it can expire. */
	__atomic_store_n(&a->cpu, c, __ATOMIC_RELAXED);
	lock_release(&c->timers_lock);
	host->timers_changed();
}

void host_alarm_cancel_slow(const struct host_ops *host, struct host_alarm *a)
{
	struct host_cpu *c = __atomic_load_n(&a->cpu, __ATOMIC_ACQUIRE);
	bool was_set;

	/* The handler may have had its last word meanwhile. */
	if (!c)
		return;
	lock_acquire(&c->timers_lock);
	was_set = timer_is_set(&a->timer);
	if (was_set)
		timerq_cancel(&c->timers, &a->timer);
	lock_release(&c->timers_lock);
	__atomic_store_n(&a->cpu, NULL, __ATOMIC_RELAXED);
	/* Another CPU finds out when its timer comes: that is cheaper than telling it. */
	if (was_set && c == host->this_cpu())
		host->timers_changed();
}
