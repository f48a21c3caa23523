/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run loop. Its inner part is what every exit pays: enter, read the clock,
 * count and trace, dispatch, and a few tests that decide to enter again. All
 * that is rarer (timers, events, deadlines, giving way) is prepare(), which runs
 * once a turn and again when one of those tests says so.
 *
 * Requests are tested with interrupts masked as the last step before entry. A
 * poster on another CPU sets the request first and then sends an interrupt, so
 * a request that comes after the test ends the entry at once.
 */
#include "guest/vcpu_internal.h"

#include "guest/insn.h"
#include "guest/machine.h"
#include "lib/assert.h"
#include "lib/x86_regs.h"

#define BOUND_PER_SECOND 1000 /* an entry is bounded to 1 ms while others wait */

/* ---- creation ---- */

static void wake(struct vcpu *v)
{
	const struct host_ops *host = v->host;
	unsigned long state = host->mask();

	if (sched_wake(v->vm->machine->sched, &v->entity, host->clock->ticks()))
		*host->need_resched = true;
	host->unmask(state);
}

static void wake_timer_expired(struct timer *t, uint64_t now)
{
	(void)now;
	wake(container_of(t, struct vcpu, wake_timer));
}

/* BLOCK and STOP alike leave the queue; a stopped vcpu is never woken again. */
static enum sched_end turn(struct sched_entity *e, uint64_t slice_end)
{
	struct vcpu *v = container_of(e, struct vcpu, entity);

	return vcpu_run(v, slice_end) == YIELD ? SCHED_END_READY : SCHED_END_BLOCKED;
}

/* The APIC page comes first: it must be page aligned. */
uint64_t vcpu_bytes(void)
{
	return align_up(PAGE_SIZE + sizeof(struct vcpu) + insn_cache_bytes(), PAGE_SIZE);
}

_Static_assert(sizeof(struct vcpu) % sizeof(uint64_t) == 0, "the decode cache follows a vcpu and must be aligned");

struct vcpu *vcpu_init(void *storage, struct vm *vm, unsigned id)
{
	struct vcpu *v = (struct vcpu *)((uint8_t *)storage + PAGE_SIZE);

	ASSERT(is_aligned((uintptr_t)storage, PAGE_SIZE));
	v->vm = vm;
	v->id = id;
	v->engine = vm->machine->engine;
	v->host = vm->machine->host;
	v->insn_cache = v + 1;
	v->tpr_watch = -1;
	timerq_init(&v->timers, v->timer_slots, VCPU_TIMERS_MAX);
	timer_init(&v->wake_timer, wake_timer_expired);
	vlapic_init(&v->lapic, id, storage, &v->timers, &vm->time, &vcpu_lapic_ops, v);
	v->lapic.hw_delivery = v->engine->caps.virtual_interrupts;
	v->entity.run = turn;
	msr_reset(v);
	v->requests = REQ_APIC_MODE | REQ_EVENT;
	return v;
}

/* ---- requests ---- */

void vcpu_request(struct vcpu *v, uint64_t req)
{
	__atomic_fetch_or(&v->requests, req, __ATOMIC_RELEASE);
	if (v->entity.state == SCHED_RUNNING)
		v->engine->kick(v);
	else if (v->entity.state == SCHED_BLOCKED)
		wake(v);
}

/* ---- deadlines ---- */

/* Guest tick @guest (not before @now's) as a host tick; TIMERQ_NEVER when that is beyond the counter. */
static uint64_t host_deadline(const struct vcpu *v, uint64_t now, uint64_t guest)
{
	uint64_t left = guest - (now + v->vm->time.offset);

	return left < TIMERQ_NEVER - now ? now + left : TIMERQ_NEVER;
}

static uint64_t entry_deadline(struct vcpu *v, uint64_t now, uint64_t slice_end)
{
	const struct host_ops *host = v->host;
	uint64_t deadline = MIN(slice_end, host->timers->next);

	if (sched_others_ready(v->vm->machine->sched, v->entity.cpu))
		deadline = MIN(deadline, now + host->clock->hz / BOUND_PER_SECOND);
	if (v->timers.next != TIMERQ_NEVER)
		deadline = MIN(deadline, host_deadline(v, now, v->timers.next));
	return deadline;
}

/* ---- the loop ---- */

/* What this entry runs by; recomputed by prepare(). */
struct bounds {
	uint64_t slice_end;
	uint64_t deadline;   /* host TSC at which prepare() must look again */
	uint64_t next_timer; /* v->timers.next that the deadline was computed from */
};

static void take_requests(struct vcpu *v)
{
	uint64_t req = __atomic_exchange_n(&v->requests, 0, __ATOMIC_ACQUIRE);

	if (req & REQ_APIC_MODE)
		v->engine->set_apic_mode(v, v->lapic.mode);
	if (req & (REQ_EVENT | REQ_APIC_MODE))
		vcpu_deliver(v);
}

static enum disposition prepare(struct vcpu *v, struct bounds *b)
{
	const struct host_ops *host = v->host;
	uint64_t now = host->clock->ticks();
	uint64_t guest_now = now + v->vm->time.offset;

	if (unlikely(v->vm->state != VM_RUNNING))
		return STOP;
	if (*host->need_resched || now >= b->slice_end || now >= host->timers->next)
		return YIELD;
	if (v->timers.next <= guest_now)
		timerq_run(&v->timers, guest_now);
	if (v->halted) {
		if (!vcpu_wakes(v))
			return BLOCK;
		v->halted = false;
	}
	/* Delivery and timers may post again: the loop's test of requests sees to that. */
	if (v->requests)
		take_requests(v);
	b->deadline = entry_deadline(v, now, b->slice_end);
	b->next_timer = v->timers.next;
	return RESUME;
}

static inline void record(struct vcpu *v, uint64_t now)
{
	struct trace_entry *t = &v->trace.entries[v->trace.count++ % VCPU_TRACE_SIZE];

	if (unlikely((unsigned)v->exit.kind >= EXIT_KINDS))
		v->exit.kind = EXIT_UNKNOWN;
	v->exits[v->exit.kind]++;
	t->tsc = now;
	t->rip = v->exit.rip;
	t->kind = v->exit.kind;
	t->detail = get_le32(&v->exit.u);
}

static enum disposition run_turn(struct vcpu *v, struct bounds *b)
{
	const struct clock *clock = v->host->clock;
	volatile bool *need_resched = v->host->need_resched;
	enum disposition d;
	uint64_t now;

	for (;;) {
		d = prepare(v, b);
		if (d != RESUME || v->requests)
			goto again;
		do {
			v->engine->run(v, b->deadline);
			now = clock->ticks();
			record(v, now);
			d = exit_dispatch(v);
		} while (likely(d == RESUME && now < b->deadline && v->timers.next == b->next_timer &&
				!*need_resched && !v->requests));
again:
		if (d != RESUME)
			return d;
	}
}

static void arm_wake_timer(struct vcpu *v)
{
	const struct host_ops *host = v->host;
	uint64_t now = host->clock->ticks(), deadline;

	if (v->timers.next == TIMERQ_NEVER)
		return;
	deadline = host_deadline(v, now, MAX(v->timers.next, now + v->vm->time.offset));
	if (deadline == TIMERQ_NEVER)
		return;
	timerq_set(host->timers, &v->wake_timer, deadline);
	host->timers_changed();
}

static void disarm_wake_timer(struct vcpu *v)
{
	if (!timer_is_set(&v->wake_timer))
		return;
	timerq_cancel(v->host->timers, &v->wake_timer);
	v->host->timers_changed();
}

enum disposition vcpu_run(struct vcpu *v, uint64_t slice_end)
{
	struct bounds b = {.slice_end = slice_end};
	enum disposition d;

	disarm_wake_timer(v);
	v->engine->load(v);
	d = run_turn(v, &b);
	if (d == BLOCK)
		arm_wake_timer(v);
	return d;
}
