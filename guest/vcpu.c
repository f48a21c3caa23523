/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run loop. Its inner part is the engine's, which enters again as long as
 * handlers say RESUME and nobody posted a request; vcpu_exited() is what every
 * exit pays here: a counter, a trace entry and the dispatch. All that is rarer
 * (timers, events, deadlines, giving way) is prepare(), which runs once a turn
 * and again after each request. Nothing else needs to be asked at an exit: a
 * guest timer is only set, and the host only asks for the CPU, by way of handlers
 * that end in vcpu_replan() or post REQ_RECOMPUTE.
 *
 * Requests are tested with interrupts masked as the last step before entry. A
 * poster on another CPU sets the request first and then sends an interrupt, so
 * a request that comes after the test ends the entry at once.
 */
#include "guest/vcpu_internal.h"

#include "guest/insn.h"
#include "guest/machine.h"
#include "guest/vm_internal.h"
#include "lib/assert.h"
#include "lib/x86_regs.h"

#define BOUND_PER_SECOND 1000 /* an entry is bounded to 1 ms while others wait, or the lines */

/* ---- creation ---- */

/* On @c, the caller's, masked. */
static void wake_at(struct vcpu *v, const struct host_cpu *c, uint64_t now)
{
	struct cputrace *trace = trace_of(c);

	if (unlikely(trace != NULL))
		trace_wake(trace, v->vm->id, v->id, now);
	sched_wake(v->vm->machine->sched, &v->entity, now);
}

static void wake(struct vcpu *v)
{
	const struct host_ops *host = v->host;
	unsigned long state = host->mask();

	wake_at(v, host->this_cpu(), host->clock->ticks());
	host->unmask(state);
}

static void wake_alarm_expired(struct timer *t, uint64_t now)
{
	struct vcpu *v = container_of(t, struct vcpu, wake_alarm.timer);

	wake_at(v, v->wake_alarm.cpu, now);
	host_alarm_done(&v->wake_alarm);
}

static enum disposition run_here(struct vcpu *v, uint64_t slice_end);

/* BLOCK and STOP alike leave the queue; a stopped vcpu is never woken again. */
static enum sched_end end_of(enum disposition d) { return d == YIELD ? SCHED_END_READY : SCHED_END_BLOCKED; }

/* @trace is read once: another CPU may end the recording at any time. */
static __attribute__((noinline)) enum sched_end recorded_turn(struct vcpu *v, struct cputrace *trace, uint64_t slice_end)
{
	uint64_t begin = v->host->clock->ticks();
	enum sched_end end = end_of(run_here(v, slice_end));

	trace_turn(trace, v->vm->id, v->id, begin, v->host->clock->ticks(), end);
	return end;
}

static enum sched_end turn(struct sched_entity *e, uint64_t slice_end)
{
	struct vcpu *v = container_of(e, struct vcpu, entity);
	struct cputrace *trace = trace_of(v->cpu = v->host->this_cpu());

	if (unlikely(trace != NULL))
		return recorded_turn(v, trace, slice_end);
	return end_of(run_here(v, slice_end));
}

static void put(struct sched_entity *e)
{
	struct vcpu *v = container_of(e, struct vcpu, entity);

	v->engine->put(v);
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
	v->cpu = v->host->this_cpu();
	v->insn_cache = v + 1;
	v->tpr_watch = -1;
	timerq_init(&v->timers, v->timer_slots, VCPU_TIMERS_MAX);
	host_alarm_init(&v->wake_alarm, wake_alarm_expired);
	vlapic_init(&v->lapic, id, storage, &v->timers, &vm->time, &vcpu_lapic_ops, v);
	v->lapic.hw_delivery = v->engine->caps.virtual_interrupts;
	timer_init(&v->devices, vm_devices_due);
	v->waiting = id != 0;
	v->entity.run = turn;
	v->entity.put = put;
	msr_reset(v);
	v->requests = REQ_APIC_MODE | REQ_EVENT;
	return v;
}

/* ---- requests ---- */

bool vcpu_request_quietly(struct vcpu *v, uint64_t req)
{
	__atomic_fetch_or(&v->requests, req, __ATOMIC_SEQ_CST);
	/* In its own turn it looks before it enters again. */
	if (v->host->this_cpu()->vcpu == v)
		return false;
	/* A turn that is just ending in a block becomes another one. */
	wake(v);
	return __atomic_load_n(&v->entity.state, __ATOMIC_RELAXED) == SCHED_RUNNING;
}

void vcpu_request(struct vcpu *v, uint64_t req)
{
	if (vcpu_request_quietly(v, req))
		v->engine->kick(v);
}

bool vcpu_take_off(struct vcpu *v, uint64_t until)
{
	const struct host_ops *host = v->host;
	unsigned long masked = host->mask();
	bool off = __atomic_load_n(&v->entity.state, __ATOMIC_RELAXED) == SCHED_DETACHED;

	if (!off)
		vcpu_request(v, REQ_PAUSE);
	while (!off && !(off = sched_remove(v->vm->machine->sched, &v->entity)) && host->clock->ticks() < until) {
		host->unmask(masked);
		__builtin_ia32_pause();
		masked = host->mask();
	}
	if (off)
		host_alarm_cancel(host, &v->wake_alarm);
	host->unmask(masked);
	return off;
}

/* ---- deadlines ---- */

/* Guest tick @guest (not before that of host tick @now) as a host tick; TIMERQ_NEVER when beyond the counter. */
static uint64_t host_deadline(const struct vcpu *v, uint64_t now, uint64_t guest)
{
	uint64_t left = guest - (now + v->vm->time.offset);

	return left < TIMERQ_NEVER - now ? now + left : TIMERQ_NEVER;
}

/* Without a guest timer the deadline is the bound. */
static void set_deadline(struct vcpu *v, uint64_t now)
{
	v->next_timer = v->timers.next;
	v->deadline = v->bound;
	if (v->next_timer != TIMERQ_NEVER)
		v->deadline = MIN(v->bound, host_deadline(v, now, v->next_timer));
}

void vcpu_replan_slow(struct vcpu *v)
{
	/* Due already: that is for prepare(). */
	if (v->timers.next <= v->entered + v->vm->time.offset || v->cpu->need_resched)
		vcpu_note(v, REQ_RECOMPUTE);
	else
		set_deadline(v, v->entered);
}

static void set_bound(struct vcpu *v, uint64_t now, uint64_t slice_end)
{
	const struct host_ops *host = v->host;

	v->bound = MIN(slice_end, host_next_timer(v->cpu));
	if (host->entry_max)
		v->bound = MIN(v->bound, now + host->entry_max);
	if (sched_others_ready(v->vm->machine->sched, v->cpu->id) || (host->line_busy && host->line_busy()))
		v->bound = MIN(v->bound, now + host->clock->hz / BOUND_PER_SECOND);
}

/* ---- the loop ---- */

/* All but mail; a request that comes meanwhile stays. */
static void take_requests(struct vcpu *v)
{
	uint64_t req = __atomic_load_n(&v->requests, __ATOMIC_RELAXED) & ~REQ_MAIL;

	__atomic_fetch_and(&v->requests, ~req, __ATOMIC_ACQ_REL);
	if (req & REQ_APIC_MODE)
		v->engine->set_apic_mode(v, v->lapic.mode);
	if (req & (REQ_EVENT | REQ_APIC_MODE))
		vcpu_deliver(v);
	if (unlikely(req & REQ_CLOCK))
		pvtime_show_clock(v);
}

static bool vm_runs(const struct vm *vm) { return __atomic_load_n(&vm->state, __ATOMIC_ACQUIRE) == VM_RUNNING; }

/*
 * When a turn @begins it is as long as was picked from here on: what it took to get here is charged, but who shares his
 * CPU in slices that are hardly longer than that must not have spent them before he does anything.
 */
static enum disposition prepare(struct vcpu *v, uint64_t *end, bool begins)
{
	const struct host_ops *host = v->host;
	uint64_t now = host->clock->ticks();
	uint64_t guest_now = now + v->vm->time.offset, slice_end = *end;

	if (unlikely(!vm_runs(v->vm)))
		return STOP;
	/* What wakes by this and does not ask for the CPU waits for the end of the turn. */
	host_run_timers(v->cpu, now);
	if (begins)
		*end = slice_end += now - v->entity.since;
	if (v->cpu->need_resched || now >= slice_end)
		return YIELD;
	if (v->requests & REQ_MAIL)
		vcpu_take_mail(v);
	if (unlikely(v->waiting))
		return BLOCK;
	if (v->timers.next <= guest_now)
		timerq_run(&v->timers, guest_now);
	if (v->halted && !vcpu_wake_up(v))
		return BLOCK;
	if (v->requests)
		take_requests(v);
	set_bound(v, now, slice_end);
	set_deadline(v, now);
	/* Whoever stopped the VM said so first and posted then: the request may be among those taken. */
	return likely(vm_runs(v->vm)) ? RESUME : STOP;
}

static void record_exit(const struct vcpu *v, struct cputrace *trace, uint64_t now)
{
	const struct cputrace_record r = {
		.begin = v->entered, .end = now, .vm = v->vm->id, .vcpu = (uint8_t)v->id,
		.kind = CPUTRACE_EXIT, .code = v->exit.kind, .detail = get_le64(&v->exit.u),
	};

	cputrace_add(trace, &r);
}

enum disposition vcpu_exited(struct vcpu *v)
{
	struct trace_entry *t = (struct trace_entry *)((uint8_t *)v->trace.entries + v->trace.next);

	v->trace.next = (v->trace.next + (uint32_t)sizeof *t) % sizeof v->trace.entries;
	v->exits[v->exit.kind]++;
	t->entered = v->entered;
	t->rip = v->exit.rip;
	t->kind = v->exit.kind;
	t->length = v->exit.length;
	t->detail = get_le64(&v->exit.u);
	return exit_dispatch(v);
}

/*
 * With siblings: the time of the guest's own code, which is what vcpus are compared by (sched.h), ends here. Who has
 * none need not look at the clock.
 */
static enum disposition exited_with_siblings(struct vcpu *v)
{
	v->entity.progress += v->host->clock->ticks() - v->entered;
	return vcpu_exited(v);
}

/* While what the CPU does is recorded. */
static enum disposition exited_and_recorded(struct vcpu *v)
{
	struct cputrace *trace = trace_of(v->cpu);
	uint64_t now = v->host->clock->ticks();

	v->entity.progress += now - v->entered;
	if (trace)
		record_exit(v, trace, now);
	return vcpu_exited(v);
}

/* What this turn's exits pay. */
static exit_handler exits_of(const struct vcpu *v)
{
	if (unlikely(trace_of(v->cpu) != NULL))
		return exited_and_recorded;
	return v->vm->vcpu_count > 1 ? exited_with_siblings : vcpu_exited;
}

/* Events move no deadline, and the one that stands ends the next entry if it has passed. */
static bool only_events(const struct vcpu *v) { return v->requests == REQ_EVENT && !v->halted; }

static enum disposition run_turn(struct vcpu *v, uint64_t slice_end)
{
	enum disposition d = prepare(v, &slice_end, true);

	while (d == RESUME) {
		/* Delivery and timers may have posted again. */
		if (!v->requests)
			d = v->engine->run(v, exits_of(v));
		if (d != RESUME)
			break;
		if (!only_events(v)) {
			d = prepare(v, &slice_end, false);
			continue;
		}
		__atomic_fetch_and(&v->requests, ~REQ_EVENT, __ATOMIC_ACQ_REL);
		vcpu_deliver(v);
		vcpu_replan(v);
	}
	return d;
}

static void arm_wake_alarm(struct vcpu *v)
{
	const struct host_ops *host = v->host;
	uint64_t now = host->clock->ticks(), deadline;

	if (v->timers.next == TIMERQ_NEVER)
		return;
	deadline = host_deadline(v, now, MAX(v->timers.next, now + v->vm->time.offset));
	if (deadline == TIMERQ_NEVER)
		return;
	host_alarm_set(host, &v->wake_alarm, deadline);
}

/* On v->cpu, the caller's. */
static enum disposition run_here(struct vcpu *v, uint64_t slice_end)
{
	enum disposition d;

	v->cpu->vcpu = v;
	host_alarm_cancel(v->host, &v->wake_alarm);
	v->engine->load(v);
	/*
	 * That it is here must be seen before requests are looked at: a locked access, since a poster does the reverse,
	 * and who sees it nowhere does not kick.
	 */
	__atomic_fetch_or(&v->requests, 0, __ATOMIC_SEQ_CST);
	if (v->pvtime.steal_msr)
		pvtime_show_steal(v);
	d = run_turn(v, slice_end);
	if (v->pvtime.steal_msr)
		pvtime_show_preempted(v, d);
	if (d == BLOCK) {
		/* The next turn begins with all of that. */
		__atomic_fetch_and(&v->requests, ~REQ_RECOMPUTE, __ATOMIC_RELAXED);
		arm_wake_alarm(v);
	}
	v->cpu->vcpu = NULL;
	return d;
}

enum disposition vcpu_run(struct vcpu *v, uint64_t slice_end)
{
	v->cpu = v->host->this_cpu();
	return run_here(v, slice_end);
}
