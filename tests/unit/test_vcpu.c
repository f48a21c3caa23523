/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run loop and event delivery against the engine that plays scripts: who
 * gets the CPU back and when, in which order events are delivered, what wakes a
 * halted vcpu, how exceptions combine, what a crash leaves behind.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fakes/fake_pc.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/sched_rig.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)
#define FAR (1ull << 40)

static struct vm *vm;
static struct vcpu *v;

static int setup(void **state)
{
	(void)state;
	memset(&fake_pc, 0, sizeof fake_pc);
	fake_engine.caps.virtual_interrupts = false;
	vm_rig_init(RAM);
	vm = vm_rig_start("a", GUEST_BYTES);
	v = vm->vcpus[0];
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_rig_fini();
	return 0;
}

static int setup_virtual(void **state)
{
	setup(state);
	vm_rig_fini();
	fake_engine.caps.virtual_interrupts = true;
	vm_rig_init(RAM);
	vm = vm_rig_start("a", GUEST_BYTES);
	v = vm->vcpus[0];
	return 0;
}

static void set_if(bool on)
{
	fake(v)->regs[REG_RFLAGS] = RFLAGS_FIXED1 | (on ? RFLAGS_IF : 0);
}

static bool asked_to_give_way;

/* Runs the script in a turn of its own, until the loop gives the CPU back. */
static enum disposition play_until(const struct fake_step *script, unsigned steps, uint64_t slice_end)
{
	struct sched *s = vm_rig.machine.sched;
	unsigned long masked = fake_host.ops.mask();
	uint64_t cap;
	enum disposition d;

	fake_play(v, script, steps);
	if (v->entity.state == SCHED_BLOCKED)
		sched_wake(s, &v->entity, fake_host.ops.clock->ticks());
	assert_ptr_equal(sched_pick(s, 0, fake_host.ops.clock->ticks(), &cap), &v->entity);
	fake_host.cpu.need_resched = asked_to_give_way;
	d = vcpu_run(v, slice_end);
	sched_rig_end(s, 0, &v->entity, fake_host.ops.clock->ticks(), d == YIELD ? SCHED_END_READY : SCHED_END_BLOCKED);
	fake_host.ops.unmask(masked);
	return d;
}

#define PLAY(script, slice_end) play_until(script, ARRAY_SIZE(script), slice_end)

static uint64_t host_now(void) { return fake_host.ops.clock->ticks(); }
static struct fake_record last(enum fake_call call)
{
	int i = fake_last(v, call);

	assert_true(i >= 0);
	return fake(v)->log[i];
}

/* The engine puts guest code in a state where the APIC is on and everything may be delivered. */
static void open_apic(void)
{
	assert_int_equal(vlapic_write_msr(&v->lapic, MSR_IA32_APIC_BASE, v->lapic.base_msr | APIC_BASE_EXTD), ST_OK);
	assert_int_equal(vlapic_write_msr(&v->lapic, MSR_X2APIC_SVR, APIC_SVR_ENABLE | 0xff), ST_OK);
}

/* ---- the loop ---- */

static void runs_until_the_slice_ends(void **state)
{
	static const struct fake_step script[] = {
		{{.kind = EXIT_CPUID, .length = 2}, 100, NULL},
		{{.kind = EXIT_CPUID, .length = 2}, 100, NULL},
		{{.kind = EXIT_WBINVD, .length = 2}, 100, NULL},
	};
	uint64_t start = host_now();

	(void)state;
	assert_int_equal(PLAY(script, start + 10000), YIELD);
	assert_int_equal(host_now(), start + 10000);
	assert_int_equal(v->exits[EXIT_CPUID], 2);
	assert_int_equal(v->exits[EXIT_WBINVD], 1);
	assert_int_equal(v->exits[EXIT_TIMER], 1);
	assert_int_equal(fake(v)->advances, 3);
	assert_int_equal(v->trace.next, 4 * sizeof v->trace.entries[0]);
	assert_int_equal(v->trace.entries[1].entered, start + 100);
	assert_int_equal(v->trace.entries[2].kind, EXIT_WBINVD);
	assert_int_equal(fake_host.polls, 1);
}

/* What the host did from the pick on is no part of it, though it is charged. */
static void a_turn_is_counted_from_where_it_begins(void **state)
{
	static const struct fake_step script[] = {{{.kind = EXIT_CPUID, .length = 2}, 100, NULL}};
	struct sched *s = vm_rig.machine.sched;
	unsigned long masked = fake_host.ops.mask();
	uint64_t start = host_now(), cap;
	enum sched_end end;

	(void)state;
	fake_play(v, script, ARRAY_SIZE(script));
	assert_ptr_equal(sched_pick(s, 0, start, &cap), &v->entity);
	fake_host.cpu.need_resched = false;
	hand_clock_advance(3000);
	end = v->entity.run(&v->entity, start + 2500);
	sched_rig_end(s, 0, &v->entity, host_now(), end);
	fake_host.ops.unmask(masked);
	assert_int_equal(end, SCHED_END_READY);
	assert_int_equal(v->exits[EXIT_CPUID], 1);
	assert_int_equal(host_now(), start + 3000 + 2500);
}

static void gives_way_when_asked(void **state)
{
	static const struct fake_step script[] = {{{.kind = EXIT_IRQ, .u.irq.vector = 0x51}, 100, NULL}};
	uint64_t start = host_now();

	(void)state;
	asked_to_give_way = true;
	assert_int_equal(PLAY(script, start + 10000), YIELD);
	asked_to_give_way = false;
	assert_int_equal(fake(v)->counts[CALL_ENTER], 0);
	assert_int_equal(host_now(), start);
}

static void resched(uint8_t vector)
{
	(void)vector;
	fake_host.cpu.need_resched = true;
}

static void host_interrupt_is_handled_and_may_end_the_turn(void **state)
{
	static const struct fake_step script[] = {
		{{.kind = EXIT_IRQ, .u.irq.vector = 0x51}, 100, NULL},
		{{.kind = EXIT_NMI}, 100, NULL},
		{{.kind = EXIT_IRQ, .u.irq.vector = 0x52}, 100, NULL},
	};
	uint64_t start = host_now();

	(void)state;
	assert_int_equal(play_until(script, 2, start + 10000), YIELD);
	assert_int_equal(fake_host.last_vector, 0x51);
	assert_int_equal(fake_host.nmis, 1);
	fake_host.on_irq = resched;
	start = host_now();
	assert_int_equal(play_until(script + 2, 1, start + 10000), YIELD);
	assert_int_equal(fake_host.last_vector, 0x52);
	assert_int_equal(host_now(), start + 100);
}

static uint64_t expired_at;

static void note_expiry(struct timer *t, uint64_t now)
{
	(void)t;
	expired_at = now;
}

static void ask_for_the_cpu(struct timer *t, uint64_t now)
{
	note_expiry(t, now);
	fake_host.cpu.need_resched = true;
}

/* Whoever it wakes may have to wait: a turn is not lost to a timer that falls due in it. */
static void a_host_timer_runs_within_a_turn(void **state)
{
	struct timer t;
	uint64_t start = host_now();

	(void)state;
	timer_init(&t, note_expiry);
	timerq_set(&fake_host.cpu.timers, &t, start + 700);
	assert_int_equal(play_until(NULL, 0, start + 10000), YIELD);
	assert_int_equal(expired_at, start + 700);
	assert_int_equal(host_now(), start + 10000);
}

static void a_host_timer_that_asks_for_the_cpu_ends_a_turn(void **state)
{
	struct timer t;
	uint64_t start = host_now();

	(void)state;
	timer_init(&t, ask_for_the_cpu);
	timerq_set(&fake_host.cpu.timers, &t, start + 700);
	assert_int_equal(play_until(NULL, 0, start + 10000), YIELD);
	assert_int_equal(expired_at, start + 700);
	assert_int_equal(host_now(), start + 700);
}

static bool busy(void) { return true; }
static bool quiet(void) { return false; }

static void an_entry_is_bounded_while_a_line_is_busy(void **state)
{
	uint64_t start = host_now();

	(void)state;
	fake_host.ops.line_busy = quiet;
	assert_int_equal(play_until(NULL, 0, start + VM_RIG_HZ), YIELD);
	assert_int_equal(fake_host.polls, 1);
	fake_host.ops.line_busy = busy;
	start = host_now();
	assert_int_equal(play_until(NULL, 0, start + VM_RIG_HZ), YIELD);
	assert_int_equal(host_now(), start + VM_RIG_HZ);
	assert_int_equal(fake_host.polls, 1001);
}

static void an_entry_is_bounded_while_others_wait(void **state)
{
	uint64_t start;
	struct vm *other = vm_rig_start("b", GUEST_BYTES);

	(void)state;
	assert_int_equal(other->vcpus[0]->entity.state, SCHED_READY);
	start = host_now();
	assert_int_equal(play_until(NULL, 0, start + VM_RIG_HZ), YIELD);
	/* 1 ms entries: each one polls, and the slice still ends where it should. */
	assert_int_equal(host_now(), start + VM_RIG_HZ);
	assert_int_equal(fake_host.polls, 1000);
	assert_int_equal(last(CALL_ENTER).a, start + VM_RIG_HZ);
}

static unsigned guest_timer_runs;
static uint64_t guest_timer_at;

static void guest_timer(struct timer *t, uint64_t now)
{
	(void)t;
	guest_timer_runs++;
	guest_timer_at = now;
}

static void a_guest_timer_ends_an_entry_and_runs(void **state)
{
	struct timer t;
	uint64_t start = host_now(), guest_start = vm_time_tsc(&vm->time);

	(void)state;
	guest_timer_runs = 0;
	timer_init(&t, guest_timer);
	timerq_set(&v->timers, &t, guest_start + 300);
	assert_int_equal(play_until(NULL, 0, start + 1000), YIELD);
	assert_int_equal(guest_timer_runs, 1);
	assert_int_equal(guest_timer_at, guest_start + 300);
	assert_int_equal(host_now(), start + 1000);
}

static void a_guest_timer_beyond_the_counter_never_fires(void **state)
{
	struct timer t;
	uint64_t start;

	(void)state;
	hand_clock_set(UINT64_MAX / 4); /* the times of the scheduler are signed, and end at half of that range */
	start = host_now();
	timer_init(&t, guest_timer);
	timerq_set(&v->timers, &t, TIMERQ_NEVER - 1);
	assert_int_equal(play_until(NULL, 0, start + 1000), YIELD);
	assert_int_equal(host_now(), start + 1000);
	timerq_cancel(&v->timers, &t);
}

static struct timer early;

static void arm_early(struct vcpu *at)
{
	timerq_set(&at->timers, &early, vm_time_tsc(&at->vm->time) + 50);
}

static void a_timer_that_an_exit_sets_shortens_the_next_entry(void **state)
{
	/* A device access is how it does that. */
	static const struct fake_step script[] = {
		{{.kind = EXIT_IO, .length = 1, .u.io = {.port = FAKE_PC_PORT, .size = 1}}, 100, arm_early}};
	uint64_t start = host_now();

	(void)state;
	guest_timer_runs = 0;
	timer_init(&early, guest_timer);
	assert_int_equal(PLAY(script, start + 10000), YIELD);
	assert_int_equal(guest_timer_runs, 1);
	assert_int_equal(guest_timer_at + start - vm_time_tsc(&vm->time) + 10000, start + 150);
}

/* ---- halting ---- */

static const struct fake_step hlt[] = {{{.kind = EXIT_HLT, .length = 1}, 10, NULL}};

static void hlt_blocks_until_an_interrupt(void **state)
{
	uint64_t start = host_now();

	(void)state;
	open_apic();
	set_if(true);
	assert_int_equal(PLAY(hlt, start + 10000), BLOCK);
	assert_true(v->halted);
	assert_int_equal(fake(v)->advances, 1);
	vlapic_post(&v->lapic, 0x41, false);
	assert_int_equal(v->entity.state, SCHED_READY);
	assert_int_equal(play_until(NULL, 0, start + 10000), YIELD);
	assert_false(v->halted);
	assert_int_equal(last(CALL_INJECT).a, 0x41);
}

/* sti; hlt with the interrupt requested in the shadow of STI. */
static void post_in_shadow(struct vcpu *at)
{
	fake(at)->shadow = true;
	vlapic_post(&at->lapic, 0x41, false);
}

static void hlt_with_something_pending_goes_on(void **state)
{
	static const struct fake_step script[] = {{{.kind = EXIT_HLT, .length = 1}, 10, post_in_shadow}};
	uint64_t start = host_now();

	(void)state;
	open_apic();
	set_if(true);
	assert_int_equal(PLAY(script, start + 10000), YIELD);
	assert_int_equal(last(CALL_INJECT).a, 0x41);
	assert_int_equal(v->exits[EXIT_HLT], 1);
}

static void hlt_with_interrupts_off_waits_for_nmi(void **state)
{
	uint64_t start = host_now();

	(void)state;
	open_apic();
	set_if(false);
	assert_int_equal(PLAY(hlt, start + 10000), BLOCK);
	vlapic_post(&v->lapic, 0x41, false);
	assert_int_equal(play_until(NULL, 0, start + 10000), BLOCK);
	assert_int_equal(fake(v)->counts[CALL_ENTER], 1);
	v->lapic.ops->nmi(v);
	assert_int_equal(play_until(NULL, 0, start + 10000), YIELD);
	assert_int_equal(fake(v)->log[fake_last(v, CALL_INJECT)].b, EVENT_NMI);
	/* The interrupt that was pending all along now waits for its window. */
	assert_true(v->irq_window);
}

static void a_blocked_vcpu_is_woken_for_its_timer(void **state)
{
	enum sched_end end;
	struct timer t;

	(void)state;
	set_if(true);
	open_apic();
	guest_timer_runs = 0;
	timer_init(&t, guest_timer);
	timerq_set(&v->timers, &t, vm_time_tsc(&vm->time) + 5000);
	fake_play(v, hlt, 1);
	assert_ptr_equal(vm_rig_turn(&end), &v->entity);
	assert_int_equal(end, SCHED_END_BLOCKED);
	assert_true(timer_is_set(&v->wake_alarm.timer));
	assert_int_equal(fake_host.cpu.timers.next, 5000);
	assert_null(vm_rig_turn(&end));
	fake_host_advance(6000);
	assert_int_equal(v->entity.state, SCHED_READY);
	assert_ptr_equal(vm_rig_turn(&end), &v->entity);
	/* The timer raised nothing: asleep again, with nothing to wake for. */
	assert_int_equal(guest_timer_runs, 1);
	assert_int_equal(end, SCHED_END_BLOCKED);
	assert_false(timer_is_set(&v->wake_alarm.timer));
}

static void running_cancels_the_wake_alarm(void **state)
{
	struct timer t;
	enum sched_end end;

	(void)state;
	set_if(true);
	open_apic();
	timer_init(&t, guest_timer);
	timerq_set(&v->timers, &t, FAR);
	fake_play(v, hlt, 1);
	vm_rig_turn(&end);
	assert_true(timer_is_set(&v->wake_alarm.timer));
	vlapic_post(&v->lapic, 0x41, false);
	vm_rig_turn(&end);
	assert_false(timer_is_set(&v->wake_alarm.timer));
	timerq_cancel(&v->timers, &t);
}

/* ---- delivery ---- */

static void an_interrupt_waits_for_its_window(void **state)
{
	uint64_t start = host_now();
	static const struct fake_step sti_later[] = {{{.kind = EXIT_CPUID, .length = 2}, 10, NULL}};

	(void)state;
	open_apic();
	set_if(false);
	vlapic_post(&v->lapic, 0x51, false);
	PLAY(sti_later, start + 1000);
	assert_true(v->irq_window);
	assert_int_equal(fake(v)->counts[CALL_INJECT], 0);
	set_if(true);
	PLAY(sti_later, start + 2000);
	assert_int_equal(v->exits[EXIT_IRQ_WINDOW], 1);
	assert_int_equal(last(CALL_INJECT).a, 0x51);
	assert_false(v->irq_window);
	assert_int_equal(vlapic_highest_isr(&v->lapic), 0x51);
	assert_int_equal(v->injected, 1);
}

static void order_is_exception_nmi_pic_apic(void **state)
{
	uint64_t end = host_now();
	static const int64_t want[][2] = {
		{VEC_GP, EVENT_EXCEPTION}, {VEC_NMI, EVENT_NMI}, {0x30, EVENT_INTERRUPT}, {0x61, EVENT_INTERRUPT}};

	(void)state;
	open_apic();
	assert_int_equal(vlapic_write_msr(&v->lapic, MSR_X2APIC_LVT_LINT0, APIC_DELIVERY_EXTINT), ST_OK);
	fake_pc.pic_pending = true;
	fake_pc.pic_vector = 0x30;
	vlapic_post(&v->lapic, 0x61, false);
	v->lapic.ops->nmi(v);
	vcpu_raise(v, VEC_GP, true, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		set_if(true); /* the handler of what was delivered opens interrupts again */
		play_until(NULL, 0, end += 1000);
	}
	assert_int_equal(fake(v)->counts[CALL_INJECT], ARRAY_SIZE(want));
	for (unsigned i = 0, n = 0; i < fake(v)->logged; i++) {
		const struct fake_record *r = &fake(v)->log[i];

		if (r->call != CALL_INJECT)
			continue;
		assert_int_equal(r->a, want[n][0]);
		assert_int_equal(r->b, want[n++][1]);
	}
	assert_int_equal(fake_pc.pic_acks, 1);
}

static void nmi_is_held_while_one_is_handled(void **state)
{
	uint64_t start = host_now();

	(void)state;
	v->lapic.ops->nmi(v);
	play_until(NULL, 0, start + 1000);
	assert_int_equal(fake(v)->counts[CALL_INJECT], 1);
	v->lapic.ops->nmi(v);
	play_until(NULL, 0, start + 2000);
	assert_int_equal(fake(v)->counts[CALL_INJECT], 1);
	assert_true(v->nmi_window);
	fake(v)->nmi_blocked = false; /* IRET */
	play_until(NULL, 0, start + 3000);
	assert_int_equal(v->exits[EXIT_NMI_WINDOW], 1);
	assert_int_equal(fake(v)->counts[CALL_INJECT], 2);
	assert_false(v->nmi_window);
}

static void a_vector_below_the_task_priority_is_watched(void **state)
{
	uint64_t start = host_now();
	static const struct fake_step lowered[] = {{{.kind = EXIT_TPR_BELOW}, 10, NULL}};

	(void)state;
	open_apic();
	set_if(true);
	vlapic_set_cr8(&v->lapic, 6);
	vlapic_post(&v->lapic, 0x61, false);
	play_until(NULL, 0, start + 1000);
	assert_int_equal(fake(v)->counts[CALL_INJECT], 0);
	assert_int_equal(last(CALL_SYNC_APIC).a, 0x61);
	/* The guest lowers it by MOV CR8, which the engine tells by an exit. */
	v->lapic.page[APIC_REG_TPR] = 0x20;
	play_until(lowered, 1, start + 2000);
	assert_int_equal(last(CALL_INJECT).a, 0x61);
	assert_int_equal(last(CALL_SYNC_APIC).a, -1);
	assert_int_equal(fake(v)->counts[CALL_SYNC_APIC], 2);
}

static void an_engine_with_virtual_interrupts_is_told_instead(void **state)
{
	uint64_t start = host_now();

	(void)state;
	open_apic();
	set_if(false);
	vlapic_post(&v->lapic, 0x61, false);
	vlapic_post(&v->lapic, 0x51, false);
	play_until(NULL, 0, start + 1000);
	assert_int_equal(fake(v)->counts[CALL_INJECT], 0);
	assert_int_equal(last(CALL_SYNC_APIC).a, 0x61);
	assert_int_equal(last(CALL_SYNC_APIC).b, -1);
	assert_false(v->irq_window);
	assert_int_equal(vlapic_highest_isr(&v->lapic), -1);
}

static void post_two(struct vcpu *at)
{
	vlapic_post(&at->lapic, 0x61, false);
	vlapic_post(&at->lapic, 0x51, false);
}

/* In a handler nothing else is evaluated; from outside the whole is, and the vcpu wakes. */
static void a_posted_vector_goes_straight_to_such_an_engine(void **state)
{
	static const struct fake_step script[] = {{{.kind = EXIT_CPUID, .length = 2}, 300, post_two}};
	uint64_t start = host_now();
	unsigned syncs;

	(void)state;
	open_apic();
	play_until(NULL, 0, start + 1000);
	syncs = fake(v)->counts[CALL_SYNC_APIC];
	PLAY(script, start + 2000);
	assert_int_equal(fake(v)->counts[CALL_POST_INTERRUPT], 2);
	assert_int_equal(last(CALL_POST_INTERRUPT).a, 0x51);
	assert_int_equal(fake(v)->counts[CALL_SYNC_APIC], syncs);
	vlapic_post(&v->lapic, 0x71, false);
	assert_int_equal(fake(v)->counts[CALL_POST_INTERRUPT], 2);
	play_until(NULL, 0, start + 3000);
	assert_int_equal(last(CALL_SYNC_APIC).a, 0x71);
}

/* It held back what it delivers by itself; nothing here has changed. */
static void a_window_of_the_engine_s_own_delivers_nothing(void **state)
{
	static const struct fake_step script[] = {{{.kind = EXIT_IRQ_WINDOW}, 10, NULL}};
	uint64_t start = host_now();
	unsigned syncs;

	(void)state;
	open_apic();
	vlapic_post(&v->lapic, 0x61, false);
	play_until(NULL, 0, start + 1000);
	syncs = fake(v)->counts[CALL_SYNC_APIC];
	PLAY(script, start + 2000);
	assert_int_equal(v->exits[EXIT_IRQ_WINDOW], 1);
	assert_int_equal(last(CALL_WINDOW).b, false);
	assert_int_equal(fake(v)->counts[CALL_SYNC_APIC], syncs);
}

static uint64_t posted_at;

static void post_now(struct vcpu *at)
{
	posted_at = host_now();
	vlapic_post(&at->lapic, 0x61, false);
}

/* The bound of a turn stands: an event between two entries neither renews nor forgets it. */
static void an_event_leaves_the_deadline_alone(void **state)
{
	static const struct fake_step script[] = {
		{{.kind = EXIT_CPUID, .length = 2}, 300, post_now},
		{{.kind = EXIT_CPUID, .length = 2}, 300, NULL},
	};
	uint64_t start = host_now();

	(void)state;
	open_apic();
	set_if(true);
	assert_int_equal(PLAY(script, start + 1000), YIELD);
	assert_int_equal(posted_at, start + 300);
	assert_int_equal(last(CALL_INJECT).a, 0x61);
	assert_int_equal(host_now(), start + 1000);
}

static void post_with_interrupts_off(struct vcpu *at)
{
	set_if(false);
	vlapic_post(&at->lapic, 0x61, false);
}

static void allow_them(struct vcpu *at)
{
	(void)at;
	set_if(true);
}

/* To itself with interrupts off: the window is asked for at once, the loop is not left for that. */
static void a_vector_for_later_only_asks_for_its_window(void **state)
{
	static const struct fake_step script[] = {
		{{.kind = EXIT_CPUID, .length = 2}, 100, post_with_interrupts_off},
		{{.kind = EXIT_CPUID, .length = 2}, 100, post_two},
		{{.kind = EXIT_CPUID, .length = 2}, 100, allow_them},
	};
	uint64_t start = host_now();

	(void)state;
	open_apic();
	PLAY(script, start + 2000);
	assert_int_equal(fake(v)->counts[CALL_WINDOW], 2);
	assert_int_equal(v->exits[EXIT_IRQ_WINDOW], 1);
	assert_int_equal(last(CALL_INJECT).a, 0x61);
	assert_int_equal(vlapic_highest_irr(&v->lapic), 0x51);
	assert_false(v->irq_window);
}

static void post_below_the_priority(struct vcpu *at)
{
	set_if(false);
	vlapic_set_cr8(&at->lapic, 7);
	at->requests &= ~REQ_EVENT; /* as if the guest had lowered the priority's shadow by itself */
	vlapic_post(&at->lapic, 0x61, false);
}

/* Its window opens for nothing, once; then the priority is watched. */
static void a_vector_below_the_priority_waits_for_that(void **state)
{
	static const struct fake_step script[] = {
		{{.kind = EXIT_CPUID, .length = 2}, 100, post_below_the_priority},
		{{.kind = EXIT_CPUID, .length = 2}, 100, allow_them},
	};
	uint64_t start = host_now();

	(void)state;
	open_apic();
	PLAY(script, start + 2000);
	assert_int_equal(v->exits[EXIT_IRQ_WINDOW], 1);
	assert_int_equal(fake(v)->counts[CALL_INJECT], 0);
	assert_int_equal(last(CALL_SYNC_APIC).a, 0x61);
	assert_false(v->irq_window);
}

static void extint_is_injected_even_then(void **state)
{
	uint64_t start = host_now();

	(void)state;
	open_apic();
	assert_int_equal(vlapic_write_msr(&v->lapic, MSR_X2APIC_LVT_LINT0, APIC_DELIVERY_EXTINT), ST_OK);
	set_if(false);
	fake_pc.pic_pending = true;
	fake_pc.pic_vector = 0x30;
	vcpu_request(v, REQ_EVENT);
	play_until(NULL, 0, start + 1000);
	assert_true(v->irq_window);
	set_if(true);
	play_until(NULL, 0, start + 2000);
	assert_int_equal(last(CALL_INJECT).a, 0x30);
}

static void a_level_vector_tells_the_io_apic(void **state)
{
	static const struct fake_step eoi[] = {{{.kind = EXIT_EOI, .u.eoi.vector = 0x61}, 10, NULL}};
	uint64_t start = host_now();

	(void)state;
	open_apic();
	vlapic_post(&v->lapic, 0x61, true);
	PLAY(eoi, start + 1000);
	assert_int_equal(fake_pc.eois, 1);
	assert_int_equal(fake_pc.last_eoi, 0x61);
}

static void a_mode_change_reaches_the_engine_before_the_entry(void **state)
{
	uint64_t start = host_now();

	(void)state;
	play_until(NULL, 0, start + 1000);
	assert_int_equal(last(CALL_APIC_MODE).a, VLAPIC_XAPIC);
	open_apic();
	play_until(NULL, 0, start + 2000);
	assert_int_equal(last(CALL_APIC_MODE).a, VLAPIC_X2APIC);
}

/* ---- exceptions ---- */

static void exceptions_combine_as_the_manual_says(void **state)
{
	static const struct { uint8_t first, second, result; } pairs[] = {
		{VEC_UD, VEC_GP, VEC_GP}, {VEC_GP, VEC_UD, VEC_UD}, {VEC_GP, VEC_NP, VEC_DF},
		{VEC_GP, VEC_PF, VEC_PF}, {VEC_PF, VEC_GP, VEC_DF}, {VEC_PF, VEC_PF, VEC_DF},
		{VEC_PF, VEC_DB, VEC_DB}, {VEC_DE, VEC_SS, VEC_DF}, {VEC_DF, VEC_DB, VEC_DB},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++) {
		v->exception_pending = false;
		vcpu_raise(v, pairs[i].first, true, 8);
		vcpu_raise(v, pairs[i].second, true, 16);
		assert_int_equal(v->exception.vector, pairs[i].result);
		if (pairs[i].result == VEC_DF)
			assert_int_equal(v->exception.error, 0);
	}
}

static void fault_on_double_fault(struct vcpu *at)
{
	vcpu_raise(at, VEC_DF, true, 0);
	vcpu_raise(at, VEC_GP, true, 0);
}

static void a_fault_in_a_double_fault_ends_the_vm(void **state)
{
	static const struct fake_step script[] = {{{.kind = EXIT_CPUID, .length = 2}, 10, fault_on_double_fault}};

	(void)state;
	assert_int_equal(PLAY(script, host_now() + 1000), STOP);
	assert_int_equal(vm->state, VM_CRASHED);
	assert_non_null(strstr(vm->report, "triple fault"));
}

/* ---- requests ---- */

static void a_request_kicks_or_wakes(void **state)
{
	uint64_t cap;

	(void)state;
	vcpu_request(v, REQ_EVENT); /* queued already */
	assert_int_equal(fake(v)->counts[CALL_KICK], 0);
	sched_pick(vm_rig.machine.sched, 0, host_now(), &cap);
	vcpu_request(v, REQ_EVENT);
	assert_int_equal(fake(v)->counts[CALL_KICK], 1);
	sched_rig_end(vm_rig.machine.sched, 0, &v->entity, host_now(), SCHED_END_BLOCKED);
	vcpu_request(v, REQ_EVENT);
	assert_int_equal(fake(v)->counts[CALL_KICK], 1);
	assert_int_equal(v->entity.state, SCHED_READY);
	assert_true(v->requests & REQ_EVENT);
}

static void power_off(struct vcpu *at)
{
	at->gpr[GPR_RAX] = 1;
}

static void a_vm_that_ended_does_not_enter_again(void **state)
{
	static const struct fake_step script[] = {
		{{.kind = EXIT_IO, .length = 1, .u.io = {.port = FAKE_PC_PORT + FAKE_PC_OFF, .size = 1}}, 10, power_off},
		{{.kind = EXIT_CPUID, .length = 2}, 10, NULL},
	};

	(void)state;
	assert_int_equal(PLAY(script, host_now() + 1000), STOP);
	assert_int_equal(fake(v)->counts[CALL_ENTER], 1);
	assert_int_equal(vm->state, VM_STOPPED);
	assert_int_equal(vm->reason, REASON_POWER_OFF);
	assert_int_equal(vm->exit_code, 7);
	assert_int_equal(fake_host.notifies, 1);
	assert_int_equal(play_until(NULL, 0, host_now() + 1000), STOP);
}

/* ---- the report ---- */

static void a_report_says_what_a_person_needs(void **state)
{
	static const struct fake_step script[] = {
		{{.kind = EXIT_RDMSR, .length = 2, .u.msr.index = 0x1b}, 10, NULL},
		{{.kind = EXIT_TRIPLE_FAULT}, 10, NULL},
	};

	(void)state;
	v->gpr[GPR_R13] = 0x1234567812345678ull;
	assert_int_equal(PLAY(script, host_now() + 1000), STOP);
	assert_int_equal(vm->state, VM_CRASHED);
	assert_int_equal(vm->reason, REASON_CRASH);
	assert_int_equal(strncmp(vm->report, "triple fault\n", 13), 0);
	assert_non_null(strstr(vm->report, "r13 1234567812345678"));
	assert_non_null(strstr(vm->report, "cs   f000 base 00000000ffff0000"));
	assert_non_null(strstr(vm->report, "rdmsr 1b"));
	assert_non_null(strstr(vm->report, "fake engine: 2 of 2 steps played"));
	assert_true(strlen(vm->report) < VM_REPORT_MAX);
}

static void a_full_trace_fits_the_report(void **state)
{
	struct fake_step *script = calloc(3 * VCPU_TRACE_SIZE, sizeof *script);

	(void)state;
	for (unsigned i = 0; i < 3 * VCPU_TRACE_SIZE; i++)
		script[i] = (struct fake_step){{.kind = EXIT_RDMSR, .length = 2, .u.msr.index = 0x1b}, 10, NULL};
	script[3 * VCPU_TRACE_SIZE - 1].exit.kind = EXIT_UNKNOWN;
	assert_int_equal(play_until(script, 3 * VCPU_TRACE_SIZE, host_now() + 1000000), STOP);
	assert_non_null(strstr(vm->report, "exit of unknown kind"));
	assert_non_null(strstr(vm->report, "last exits of 192"));
	assert_int_equal(v->exits[EXIT_UNKNOWN], 1);
	free(script);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TV(name) cmocka_unit_test_setup_teardown(name, setup_virtual, teardown)
		T(runs_until_the_slice_ends),
		T(a_turn_is_counted_from_where_it_begins),
		T(gives_way_when_asked),
		T(host_interrupt_is_handled_and_may_end_the_turn),
		T(a_host_timer_runs_within_a_turn),
		T(a_host_timer_that_asks_for_the_cpu_ends_a_turn),
		T(an_entry_is_bounded_while_a_line_is_busy),
		T(an_entry_is_bounded_while_others_wait),
		T(a_guest_timer_ends_an_entry_and_runs),
		T(a_guest_timer_beyond_the_counter_never_fires),
		T(a_timer_that_an_exit_sets_shortens_the_next_entry),
		T(hlt_blocks_until_an_interrupt),
		T(hlt_with_something_pending_goes_on),
		T(hlt_with_interrupts_off_waits_for_nmi),
		T(a_blocked_vcpu_is_woken_for_its_timer),
		T(running_cancels_the_wake_alarm),
		T(an_interrupt_waits_for_its_window),
		T(order_is_exception_nmi_pic_apic),
		T(nmi_is_held_while_one_is_handled),
		T(a_vector_below_the_task_priority_is_watched),
		TV(an_engine_with_virtual_interrupts_is_told_instead),
		TV(a_posted_vector_goes_straight_to_such_an_engine),
		TV(a_window_of_the_engine_s_own_delivers_nothing),
		T(an_event_leaves_the_deadline_alone),
		T(a_vector_for_later_only_asks_for_its_window),
		T(a_vector_below_the_priority_waits_for_that),
		TV(extint_is_injected_even_then),
		T(a_level_vector_tells_the_io_apic),
		T(a_mode_change_reaches_the_engine_before_the_entry),
		T(exceptions_combine_as_the_manual_says),
		T(a_fault_in_a_double_fault_ends_the_vm),
		T(a_request_kicks_or_wakes),
		T(a_vm_that_ended_does_not_enter_again),
		T(a_report_says_what_a_person_needs),
		T(a_full_trace_fits_the_report),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
