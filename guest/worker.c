/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See worker.h. The word that asks works like a VM's (guest/vm_io.c): a wake that meets the last look of a turn makes
 * another one. An alarm's handler runs under a lock that comes after the scheduler's tree, so it can do no more than
 * that.
 */
#include "guest/worker.h"

#include "guest/machine.h"
#include "lib/bits.h"

static const struct host_ops *host_of(const struct worker *w) { return w->machine->host; }

void worker_ask(struct worker *w)
{
	if (__atomic_exchange_n(&w->asked, 1, __ATOMIC_SEQ_CST))
		return; /* who set it has woken it */
	sched_wake(w->machine->sched, &w->entity, host_of(w)->clock->ticks());
}

/* Under the lock of the CPU's timers. */
static void alarm_rings(struct timer *t, uint64_t now)
{
	(void)now;
	worker_ask(container_of(container_of(t, struct host_alarm, timer), struct worker, alarm));
}

void worker_ask_at(struct worker *w, uint64_t at)
{
	if (at == TIMERQ_NEVER)
		return;
	if (at <= host_of(w)->clock->ticks())
		worker_ask(w);
	else
		host_alarm_set(host_of(w), &w->alarm, at);
}

static enum sched_end turn(struct sched_entity *e, uint64_t slice_end)
{
	struct worker *w = container_of(e, struct worker, entity);
	const struct host_ops *host = host_of(w);
	const struct host_cpu *cpu = host->this_cpu();

	w->turns++;
	for (;;) {
		bool more;

		/* Before the step: what is asked meanwhile is another one. */
		__atomic_store_n(&w->asked, 0, __ATOMIC_SEQ_CST);
		more = w->step(w);
		host->poll();
		if (!more && !__atomic_load_n(&w->asked, __ATOMIC_SEQ_CST))
			return SCHED_END_BLOCKED;
		if (cpu->need_resched || host->clock->ticks() >= slice_end)
			break;
	}
	/* It goes on by itself; who asks need not wake it. */
	__atomic_store_n(&w->asked, 1, __ATOMIC_SEQ_CST);
	return SCHED_END_READY;
}

enum status worker_start(struct worker *w, struct machine *m, const char *name, bool (*step)(struct worker *w),
			 struct error *err)
{
	struct pool *system = pool_by_id(m, POOL_OWN_SYSTEM);
	unsigned long masked = m->host->mask();
	enum status st;

	w->machine = m;
	__atomic_store_n(&w->asked, 0, __ATOMIC_SEQ_CST);
	w->step = step;
	w->entity.run = turn;
	host_alarm_init(&w->alarm, alarm_rings);
	st = sched_add(m->sched, &w->entity, system ? system->cpu : NULL, name, NULL, m->host->clock->ticks(), err);
	m->host->unmask(masked);
	return st;
}

void worker_stop(struct worker *w)
{
	const struct host_ops *host = host_of(w);
	unsigned long masked = host->mask();

	host_alarm_cancel(host, &w->alarm);
	while (!sched_remove(w->machine->sched, &w->entity)) {
		host->unmask(masked);
		__builtin_ia32_pause();
		masked = host->mask();
	}
	/* A turn that was under way may have set it again. */
	host_alarm_cancel(host, &w->alarm);
	host->unmask(masked);
}
