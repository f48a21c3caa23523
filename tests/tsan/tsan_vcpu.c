/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What CPUs do to a vcpu that has its turn on another one: interrupts, INIT and
 * start-up messages, timers of the devices that all share, and ends of the VM. The
 * first thread is the CPU that runs the vcpu, with the fake engine; nothing that
 * was sent may be lost, and nobody else may touch the vcpu's APIC. Built under
 * ASan as tests/unit/test_vcpu_smp.c too.
 */
#include "tests/cmocka_all.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "guest/vm_devices.h"
#include "guest/vm_internal.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/vm_rig.h"
#include "tests/tsan/threads.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)
#define CPUS 5u /* the vcpu's own, and four that send */
#define SENDERS (CPUS - 1)
#define VECTORS 8u /* of each sender */
#define FIRST_VECTOR 0x30u
#define ROUNDS 300u
#define MESSAGES 4000u

static struct host_cpu cpus[THREADS_MAX];
static struct vm *vm;
static struct vcpu *v; /* whose turn the first thread has */
static unsigned working; /* senders that have not come to their end */
static unsigned notified;

static struct host_cpu *this_cpu(void) { return &cpus[thread_self()->cpu]; }
static unsigned long mask(void) { return 0; }
static void unmask(unsigned long state) { (void)state; }
static void notify(void) { __atomic_fetch_add(&notified, 1, __ATOMIC_RELAXED); }
static void kick(struct vcpu *to) { (void)to; }
static void timers_changed(void) {}

/* The first vcpu or the second takes part; it is ready throughout, so that the scheduler has nothing to write. */
static void make(unsigned index)
{
	struct vm_config cfg;
	struct error err;

	memset(&fake_pc, 0, sizeof fake_pc);
	vm_rig_init(RAM);
	fake_host.ops.this_cpu = this_cpu;
	fake_host.ops.mask = mask;
	fake_host.ops.unmask = unmask;
	fake_host.ops.notify = notify;
	fake_host.ops.timers_changed = timers_changed;
	fake_engine.kick = kick;
	for (unsigned i = 0; i < THREADS_MAX; i++)
		cpus[i] = (struct host_cpu){.id = i};
	cfg = vm_rig_config("a", GUEST_BYTES);
	cfg.cpu.count = 2;
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &vm, &err), ST_OK);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	v = vm->vcpus[index];
	vcpu_request(v, REQ_EVENT);
	v->waiting = false;
	vlapic_virtual_wire(&v->lapic);
	notified = 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_rig_fini();
	return 0;
}

/* ---- the vcpu's CPU ---- */

static void begin_turn(void)
{
	v->cpu = this_cpu();
	v->cpu->vcpu = v;
	v->engine->load(v);
}

static void end_turn(void)
{
	v->engine->put(v);
	v->cpu->vcpu = NULL;
}

/* True when there was some. */
static bool take_mail(void)
{
	if (!(__atomic_load_n(&v->requests, __ATOMIC_SEQ_CST) & REQ_MAIL)) {
		sched_yield();
		return false;
	}
	vcpu_take_mail(v);
	return true;
}

static bool senders_work(void) { return __atomic_load_n(&working, __ATOMIC_ACQUIRE) != 0; }
static void sender_ends(void) { __atomic_fetch_sub(&working, 1, __ATOMIC_RELEASE); }

static void run(void (*body)(struct thread *t), uint64_t seed, bool delays)
{
	working = SENDERS;
	threads_run(CPUS, seed, delays, body, NULL);
}

/* ---- interrupts ---- */

static unsigned received[VCPU_VECTORS], wrong;

static bool is_level(const struct vcpu *of, unsigned vector)
{
	return get_le32(of->lapic.page + APIC_REG_TMR + vector / 32 * APIC_REG_STEP) >> vector % 32 & 1;
}

static void receive(void)
{
	int vector;

	begin_turn();
	while (senders_work()) {
		if (!take_mail())
			continue;
		while ((vector = vlapic_highest_irr(&v->lapic)) >= 0) {
			/* Odd vectors are levels. */
			wrong += is_level(v, (unsigned)vector) != (vector % 2 != 0);
			vlapic_accept(&v->lapic, (uint8_t)vector);
			vlapic_eoi(&v->lapic, -1);
			__atomic_fetch_add(&received[vector], 1, __ATOMIC_RELEASE);
		}
	}
	end_turn();
}

/* Each vector again when it has arrived: none is merged with the one before, none may be missing. */
static void send(unsigned sender)
{
	unsigned first = FIRST_VECTOR + sender * VECTORS;

	for (unsigned round = 1; round <= ROUNDS; round++) {
		for (unsigned i = 0; i < VECTORS; i++) {
			if (vlapic_matches(&v->lapic, v->id, false) && vlapic_listens(&v->lapic))
				vcpu_message(v, APIC_DELIVERY_FIXED, (uint8_t)(first + i), (first + i) % 2);
		}
		for (unsigned i = 0; i < VECTORS; i++) {
			while (__atomic_load_n(&received[first + i], __ATOMIC_ACQUIRE) < round)
				sched_yield();
		}
	}
	sender_ends();
}

static void send_or_receive(struct thread *t)
{
	if (t->cpu == 0)
		receive();
	else
		send(t->cpu - 1);
}

static void every_interrupt_arrives(void **state)
{
	(void)state;
	for (unsigned delays = 0; delays < 2; delays++) {
		make(delays);
		memset(received, 0, sizeof received);
		run(send_or_receive, 3 + delays, delays);
		assert_int_equal(wrong, 0);
		for (unsigned n = 0; n < VCPU_VECTORS; n++) {
			bool sent = n - FIRST_VECTOR < SENDERS * VECTORS;

			assert_int_equal(received[n], sent ? ROUNDS : 0);
		}
		if (!delays)
			teardown(state);
	}
}

/* ---- INIT and start-up ---- */

static void be_started_and_stopped(void)
{
	begin_turn();
	while (senders_work()) {
		if (!take_mail())
			continue;
		wrong += v->waiting && (vlapic_highest_irr(&v->lapic) >= 0 || v->nmi_pending);
		wrong += !v->waiting && fake(v)->segments[SEG_CS].base % PAGE_SIZE != 0;
	}
	end_turn();
}

static void disturb(struct thread *t)
{
	static const uint64_t kinds[] = {APIC_DELIVERY_INIT, APIC_DELIVERY_STARTUP, APIC_DELIVERY_FIXED, APIC_DELIVERY_NMI};

	if (t->cpu == 0) {
		be_started_and_stopped();
		return;
	}
	for (unsigned i = 0; i < MESSAGES; i++)
		vcpu_message(v, kinds[random_below(&t->random, ARRAY_SIZE(kinds))],
			     (uint8_t)(FIRST_VECTOR + random_below(&t->random, 64)), false);
	sender_ends();
}

static void a_storm_of_inits_leaves_order(void **state)
{
	(void)state;
	make(1);
	run(disturb, 5, true);
	assert_int_equal(wrong, 0);
	begin_turn();
	vcpu_take_mail(v);
	/* From another CPU again. */
	v->cpu->vcpu = NULL;
	vcpu_message(v, APIC_DELIVERY_INIT, 0, false);
	vcpu_message(v, APIC_DELIVERY_STARTUP, 0x77, false);
	v->cpu->vcpu = v;
	vcpu_take_mail(v);
	assert_false(v->waiting);
	assert_int_equal(fake(v)->segments[SEG_CS].base, 0x77000);
	end_turn();
	assert_int_equal(vm->state, VM_RUNNING);
}

/* ---- devices ---- */

static struct sender_timer {
	struct timer timer;
	unsigned expired;
} timers[SENDERS];

static void timer_expired(struct timer *t, uint64_t now)
{
	(void)now;
	__atomic_fetch_add(&container_of(t, struct sender_timer, timer)->expired, 1, __ATOMIC_RELEASE);
}

static void run_timers(void)
{
	begin_turn();
	while (senders_work()) {
		take_mail();
		timerq_run(&v->timers, 1000);
	}
	end_turn();
}

/* A timer that is due, set anew when it has expired: if vcpu 0 were not told of one, this would not end. */
static void set_timers(struct thread *t)
{
	struct sender_timer *mine;

	if (t->cpu == 0) {
		run_timers();
		return;
	}
	mine = &timers[t->cpu - 1];
	for (unsigned round = 1; round <= ROUNDS; round++) {
		vm_enter_devices(vm);
		timerq_set(&vm->timers, &mine->timer, random_below(&t->random, 1000));
		vm_leave_devices(vm);
		vm_port_write(vm, FAKE_PC_PORT, 1, round);
		while (__atomic_load_n(&mine->expired, __ATOMIC_ACQUIRE) < round)
			sched_yield();
	}
	sender_ends();
}

static void the_first_hears_of_all_timers(void **state)
{
	(void)state;
	make(0);
	for (unsigned i = 0; i < SENDERS; i++) {
		timer_init(&timers[i].timer, timer_expired);
		timers[i].expired = 0;
	}
	run(set_timers, 7, true);
	assert_true(vm->timers.next == TIMERQ_NEVER);
	assert_int_equal(fake_pc.writes, SENDERS * ROUNDS);
}

/* ---- ends ---- */

static void end(struct thread *t)
{
	static const enum vm_reason reasons[] = {REASON_POWER_OFF, REASON_DEBUG_EXIT, REASON_RESET, REASON_POWER_OFF,
						 REASON_DEBUG_EXIT};

	vm_event(vm, reasons[t->cpu], t->cpu);
}

static void of_several_ends_one_counts(void **state)
{
	static const enum vm_reason reasons[] = {REASON_POWER_OFF, REASON_DEBUG_EXIT, REASON_RESET, REASON_POWER_OFF,
						 REASON_DEBUG_EXIT};

	(void)state;
	make(0);
	run(end, 11, true);
	assert_int_equal(vm->state, VM_STOPPED);
	assert_int_equal(notified, 1);
	assert_int_equal(vm->reason, reasons[vm->exit_code]);
	assert_int_equal(vm->restart_due, vm->reason == REASON_RESET);
}

#define EXIT_CODE 7u

/* The first ends the VM while the others look at it, as the control task does without any lock. */
static void end_or_look(struct thread *t)
{
	struct vm_outcome is = {.state = VM_RUNNING};

	if (t->cpu == 0) {
		vm_event(vm, REASON_DEBUG_EXIT, EXIT_CODE);
		return;
	}
	while (is.state == VM_RUNNING)
		vm_outcome(vm, &is);
	if (is.state != VM_STOPPED || is.reason != REASON_DEBUG_EXIT || is.exit_code != EXIT_CODE)
		__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
}

static void who_sees_an_end_sees_why(void **state)
{
	for (unsigned round = 0; round < 20; round++) {
		make(0);
		wrong = 0;
		run(end_or_look, round, true);
		assert_int_equal(wrong, 0);
		if (round < 19)
			teardown(state);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(every_interrupt_arrives, teardown),
		cmocka_unit_test_teardown(a_storm_of_inits_leaves_order, teardown),
		cmocka_unit_test_teardown(the_first_hears_of_all_timers, teardown),
		cmocka_unit_test_teardown(of_several_ends_one_counts, teardown),
		cmocka_unit_test_teardown(who_sees_an_end_sees_why, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
