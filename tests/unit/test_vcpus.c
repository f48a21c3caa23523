/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several vcpus of one VM: who waits for a start-up message and what INIT leaves,
 * interrupts from CPUs that must not touch the target's APIC, which of several takes
 * a message, and the ends of a VM whose vcpus run elsewhere.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/vm_devices.h"
#include "guest/vm_internal.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/sched_rig.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)
#define VCPUS 4u
#define SLICE 10000u

static struct vm *vm;
static struct error err;

static void make(bool virtual_interrupts)
{
	memset(&fake_pc, 0, sizeof fake_pc);
	fake_engine.caps.virtual_interrupts = virtual_interrupts;
	vm_rig_init(RAM);
	vm = vm_rig_start_with("a", GUEST_BYTES, VCPUS);
}

static int setup(void **state)
{
	(void)state;
	make(false);
	return 0;
}

static int setup_virtual(void **state)
{
	(void)state;
	make(true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_engine.caps.virtual_interrupts = false;
	vm_rig_fini();
	return 0;
}

/* ---- turns ---- */

static enum disposition turn(struct vcpu *v, const struct fake_step *script, unsigned steps)
{
	return vm_rig_turn_of(v, script, steps, SLICE);
}

static enum disposition idle_turn(struct vcpu *v) { return turn(v, NULL, 0); }

static void start_up(struct vcpu *v, uint8_t page)
{
	vcpu_message(v, APIC_DELIVERY_INIT, 0, false);
	vcpu_message(v, APIC_DELIVERY_STARTUP, page, false);
	assert_int_equal(idle_turn(v), YIELD);
	assert_false(v->waiting);
}

static void open_apic(struct vcpu *v)
{
	assert_int_equal(vlapic_write_msr(&v->lapic, MSR_IA32_APIC_BASE, v->lapic.base_msr | APIC_BASE_EXTD), ST_OK);
	assert_int_equal(vlapic_write_msr(&v->lapic, MSR_X2APIC_SVR, APIC_SVR_ENABLE | 0xff), ST_OK);
}

static unsigned entries(struct vcpu *v) { return fake(v)->counts[CALL_ENTER]; }

/* ---- start-up ---- */

static void siblings_wait_and_cost_nothing(void **state)
{
	(void)state;
	assert_int_equal(vm->vcpu_count, VCPUS);
	assert_false(vm->vcpus[0]->waiting);
	assert_int_equal(vm->vcpus[0]->entity.state, SCHED_READY);
	assert_string_equal(vm->vcpus[1]->entity.name, "a/1");
	for (unsigned i = 1; i < VCPUS; i++) {
		assert_true(vm->vcpus[i]->waiting);
		assert_int_equal(vm->vcpus[i]->entity.state, SCHED_BLOCKED);
		/* A turn, if somebody gives it one, does nothing. */
		assert_int_equal(idle_turn(vm->vcpus[i]), BLOCK);
		assert_int_equal(entries(vm->vcpus[i]), 0);
		assert_int_equal(vm->vcpus[i]->entity.figures.used, 0);
	}
}

static void a_start_up_message_says_where(void **state)
{
	struct vcpu *v = vm->vcpus[1];
	struct segment cs;

	(void)state;
	vcpu_message(v, APIC_DELIVERY_STARTUP, 0x9a, false);
	vcpu_message(v, APIC_DELIVERY_STARTUP, 0x9b, false); /* the first counts */
	assert_int_equal(v->entity.state, SCHED_READY);
	assert_true(v->waiting); /* nobody but its own CPU starts it */
	assert_int_equal(idle_turn(v), YIELD);
	v->engine->load(v);
	v->engine->get_segment(v, SEG_CS, &cs);
	assert_int_equal(cs.selector, 0x9a00);
	assert_int_equal(cs.base, 0x9a000);
	assert_int_equal(v->engine->get_reg(v, REG_RIP), 0);
	v->engine->put(v);
	assert_int_equal(entries(v), 1);
	/* It runs: a further one is ignored. */
	vcpu_message(v, APIC_DELIVERY_STARTUP, 0x55, false);
	assert_int_equal(idle_turn(v), YIELD);
	assert_int_equal(fake(v)->segments[SEG_CS].base, 0x9a000);
	/* And is not remembered for later. */
	vcpu_message(v, APIC_DELIVERY_INIT, 0, false);
	assert_int_equal(idle_turn(v), BLOCK);
	assert_true(v->waiting);
}

static void init_leaves_what_the_manual_says(void **state)
{
	struct vcpu *v = vm->vcpus[2];

	(void)state;
	start_up(v, 0x10);
	open_apic(v);
	v->msr.tsc_adjust = 77;
	v->halted = true;
	v->gpr[GPR_RBX] = 1;
	v->engine->load(v);
	v->engine->set_reg(v, REG_CR0, CR0_PE | CR0_NW);
	v->engine->set_reg(v, REG_CR3, 0x1000);
	vcpu_raise(v, VEC_GP, true, 0);
	vlapic_post(&v->lapic, 0x41, false);
	vcpu_message(v, APIC_DELIVERY_FIXED, 0x42, true);
	vcpu_message(v, APIC_DELIVERY_NMI, 0, false);
	vcpu_message(v, APIC_DELIVERY_INIT, 0, false);
	assert_int_equal(idle_turn(v), BLOCK);
	assert_true(v->waiting);
	assert_false(v->halted);
	assert_false(v->nmi_pending);
	assert_false(v->exception_pending);
	assert_int_equal(v->gpr[GPR_RBX], 0);
	assert_int_equal(v->gpr[GPR_RDX], 0x706e5);
	assert_int_equal(fake(v)->regs[REG_CR0], CR0_ET | CR0_NW);
	assert_int_equal(fake(v)->regs[REG_CR3], 0);
	assert_int_equal(v->lapic.mode, VLAPIC_X2APIC); /* IA32_APIC_BASE is kept */
	assert_int_equal(vlapic_highest_irr(&v->lapic), -1);
	assert_false(vlapic_listens(&v->lapic));
	assert_int_equal(v->msr.tsc_adjust, 77);
	/* What comes while it waits is lost. */
	vcpu_message(v, APIC_DELIVERY_FIXED, 0x43, false);
	vcpu_message(v, APIC_DELIVERY_NMI, 0, false);
	vcpu_message(v, APIC_DELIVERY_STARTUP, 0x20, false);
	assert_int_equal(idle_turn(v), YIELD);
	assert_false(v->nmi_pending);
	assert_int_equal(vlapic_highest_irr(&v->lapic), -1);
	assert_int_equal(fake(v)->counts[CALL_INJECT], 0);
}

static void init_myself(struct vcpu *v)
{
	const uint32_t icr = (uint32_t)(APIC_DELIVERY_INIT | APIC_ICR_ASSERT);

	assert_int_equal(vlapic_write_msr(&v->lapic, MSR_X2APIC_ICR, (uint64_t)v->id << 32 | icr), ST_OK);
}

static void init_to_oneself_waits_after_the_instruction(void **state)
{
	static const struct fake_step script[] = {{{.kind = EXIT_WBINVD, .length = 2}, 10, init_myself},
						  {{.kind = EXIT_WBINVD, .length = 2}, 10, NULL}};
	struct vcpu *v = vm->vcpus[1];

	(void)state;
	start_up(v, 0x10);
	open_apic(v);
	assert_int_equal(turn(v, script, ARRAY_SIZE(script)), BLOCK);
	assert_true(v->waiting);
	assert_int_equal(fake(v)->next, 1);
	assert_int_equal(vm->state, VM_RUNNING);
}

static void a_start_up_message_before_inits_is_void(void **state)
{
	static const struct fake_step script[] = {{{.kind = EXIT_WBINVD, .length = 2}, 10, init_myself}};
	struct vcpu *v = vm->vcpus[1];

	(void)state;
	start_up(v, 0x10);
	open_apic(v);
	vcpu_message(v, APIC_DELIVERY_STARTUP, 0x55, false); /* it runs */
	assert_int_equal(turn(v, script, ARRAY_SIZE(script)), BLOCK);
	vcpu_message(v, APIC_DELIVERY_STARTUP, 0x33, false);
	assert_int_equal(idle_turn(v), YIELD);
	assert_int_equal(fake(v)->segments[SEG_CS].base, 0x33000);
}

/* INIT and start-up come between the look at what was requested, an earlier start-up message, and at the mail itself. */
static void a_start_up_message_is_not_lost_with_one_before(void **state)
{
	struct vcpu *v = vm->vcpus[1];

	(void)state;
	start_up(v, 0x10);
	vcpu_message(v, APIC_DELIVERY_INIT, 0, false);
	vcpu_message(v, APIC_DELIVERY_STARTUP, 0x44, false);
	v->engine->load(v);
	/* As if the turn had seen REQ_STARTUP alone. */
	__atomic_fetch_and(&v->requests, ~REQ_INIT, __ATOMIC_RELAXED);
	vcpu_take_mail(v);
	v->engine->put(v);
	vcpu_request(v, REQ_INIT | REQ_STARTUP);
	assert_int_equal(idle_turn(v), YIELD);
	assert_int_equal(fake(v)->segments[SEG_CS].base, 0x44000);
}

static void init_to_the_boot_processor_is_a_reset(void **state)
{
	(void)state;
	vcpu_message(vm->vcpus[0], APIC_DELIVERY_INIT, 0, false);
	assert_int_equal(vm->state, VM_RUNNING);
	assert_int_equal(idle_turn(vm->vcpus[0]), STOP);
	assert_int_equal(entries(vm->vcpus[0]), 0);
	assert_int_equal(vm->state, VM_STOPPED);
	assert_int_equal(vm->reason, REASON_RESET);
	assert_true(vm_reap(&vm_rig.machine));
	assert_int_equal(vm->state, VM_RUNNING);
	assert_true(vm->vcpus[1]->waiting);
}

/* ---- interrupts from elsewhere ---- */

static bool tmr(const struct vcpu *v, uint8_t vector)
{
	return get_le32(v->lapic.page + APIC_REG_TMR + vector / 32 * APIC_REG_STEP) >> vector % 32 & 1;
}

static void a_vector_is_taken_by_its_own_cpu(void **state)
{
	struct vcpu *v = vm->vcpus[1];

	(void)state;
	start_up(v, 0x10);
	open_apic(v);
	for (unsigned vector = 16; vector < 256; vector += 7)
		vcpu_message(v, APIC_DELIVERY_FIXED, (uint8_t)vector, vector % 2);
	assert_int_equal(vlapic_highest_irr(&v->lapic), -1);
	fake(v)->regs[REG_RFLAGS] = RFLAGS_FIXED1;
	assert_int_equal(idle_turn(v), YIELD);
	for (unsigned vector = 255; vector >= 16; vector--) {
		bool sent = (vector - 16) % 7 == 0;

		assert_int_equal(vlapic_highest_irr(&v->lapic) == (int)vector, sent);
		if (!sent)
			continue;
		assert_int_equal(tmr(v, (uint8_t)vector), vector % 2);
		vlapic_accept(&v->lapic, (uint8_t)vector);
	}
	assert_int_equal(vlapic_highest_irr(&v->lapic), -1);
}

static void post_twice(struct vcpu *v)
{
	struct host_cpu elsewhere = {.vcpu = vm->vcpus[0]}, here = fake_host.cpu;
	unsigned kicks = fake(v)->counts[CALL_KICK];

	/* As another CPU sees it, while this one has its turn. */
	fake_host.cpu = elsewhere;
	vcpu_message(v, APIC_DELIVERY_FIXED, 0x41, false);
	vcpu_message(v, APIC_DELIVERY_FIXED, 0x42, false);
	fake_host.cpu = here;
	assert_int_equal(fake(v)->counts[CALL_KICK], kicks + 1); /* the second rides with the first */
	assert_int_equal(vlapic_highest_irr(&v->lapic), -1);
}

static void who_runs_is_kicked_once(void **state)
{
	static const struct fake_step script[] = {{{.kind = EXIT_IRQ, .u.irq.vector = 0x51}, 10, post_twice},
						  {{.kind = EXIT_WBINVD, .length = 2}, 10, NULL}};
	struct vcpu *v = vm->vcpus[1];

	(void)state;
	start_up(v, 0x10);
	open_apic(v);
	fake(v)->regs[REG_RFLAGS] = RFLAGS_FIXED1 | RFLAGS_IF;
	assert_int_equal(turn(v, script, ARRAY_SIZE(script)), YIELD);
	assert_int_equal(fake(v)->counts[CALL_INJECT], 1); /* of the two the higher */
	assert_int_equal(vlapic_highest_isr(&v->lapic), 0x42);
	assert_int_equal(vlapic_highest_irr(&v->lapic), 0x41);
}

#define GAP 1000u

/* As if it had exited, but that it leaves its mail for later. */
static void looked(struct vcpu *v) { __atomic_fetch_and(&v->requests, ~(REQ_POSTED | REQ_LATER), __ATOMIC_SEQ_CST); }

/* With a gap of 1,000 ticks, as another CPU sees it: the first kicks, those in the gap do not, one behind it does. */
static void post_with_a_gap(struct vcpu *v)
{
	struct host_cpu elsewhere = {.vcpu = vm->vcpus[0]}, here = fake_host.cpu;
	unsigned kicks = fake(v)->counts[CALL_KICK];

	fake_host.cpu = elsewhere;
	hand_clock_advance(GAP);
	assert_true(vcpu_post_after(v, 0x41, GAP));
	assert_int_equal(fake(v)->counts[CALL_KICK], kicks + 1);
	looked(v);
	hand_clock_advance(GAP - 1);
	assert_false(vcpu_post_after(v, 0x42, GAP));
	assert_false(vcpu_nudge(v, GAP));
	assert_int_equal(fake(v)->counts[CALL_KICK], kicks + 1);
	/* An ordinary message does not take it for one that has kicked. */
	vcpu_message(v, APIC_DELIVERY_FIXED, 0x31, false);
	assert_int_equal(fake(v)->counts[CALL_KICK], kicks + 2);
	looked(v);
	assert_true(vcpu_nudge(v, 0));
	assert_int_equal(fake(v)->counts[CALL_KICK], kicks + 2);
	assert_false(vcpu_post_after(v, 0x43, GAP));
	hand_clock_advance(1);
	assert_true(vcpu_nudge(v, GAP));
	assert_int_equal(fake(v)->counts[CALL_KICK], kicks + 3);
	looked(v);
	assert_false(vcpu_post_after(v, 0x44, GAP));
	assert_true(vcpu_nudge(v, 0)); /* nothing comes behind it */
	assert_int_equal(fake(v)->counts[CALL_KICK], kicks + 4);
	looked(v);
	assert_false(vcpu_post_after(v, 0x45, GAP)); /* its next exit takes it */
	fake_host.cpu = here;
}

static void a_gap_between_kicks(void **state)
{
	static const struct fake_step script[] = {{{.kind = EXIT_IRQ, .u.irq.vector = 0x51}, 10, post_with_a_gap},
						  {{.kind = EXIT_WBINVD, .length = 2}, 10, NULL}};
	struct vcpu *v = vm->vcpus[1];

	(void)state;
	start_up(v, 0x10);
	open_apic(v);
	fake(v)->regs[REG_RFLAGS] = RFLAGS_FIXED1;
	assert_int_equal(turn(v, script, ARRAY_SIZE(script)), YIELD);
	assert_int_equal(v->requests & REQ_MAIL, 0);
	for (unsigned vector = 0x45; vector >= 0x41; vector--) {
		assert_int_equal(vlapic_highest_irr(&v->lapic), vector);
		vlapic_accept(&v->lapic, (uint8_t)vector);
	}
	assert_int_equal(vlapic_highest_irr(&v->lapic), 0x31);
}

/* A vcpu that waits in HLT with interrupts on. */
static struct vcpu *halted(void)
{
	static const struct fake_step hlt[] = {{{.kind = EXIT_HLT, .length = 1}, 10, NULL}};
	struct vcpu *v = vm->vcpus[3];

	start_up(v, 0x10);
	open_apic(v);
	fake(v)->regs[REG_RFLAGS] = RFLAGS_FIXED1 | RFLAGS_IF;
	assert_int_equal(turn(v, hlt, 1), BLOCK);
	return v;
}

static void assert_wakes(struct vcpu *v)
{
	assert_int_equal(v->entity.state, SCHED_READY);
	assert_int_equal(idle_turn(v), YIELD);
	assert_false(v->halted);
	assert_int_equal(fake(v)->counts[CALL_INJECT], 1);
}

/* Who does not run elsewhere needs no kick, whatever the gap: here it is delivered, and who is halted wakes. */
static void a_gap_does_not_delay_who_does_not_run(void **state)
{
	struct vcpu *v = halted();

	(void)state;
	v->kicked_at = fake_host.ops.clock->ticks();
	assert_true(vcpu_post_after(v, 0x41, GAP));
	assert_wakes(v);
}

static void an_engine_that_delivers_hears_of_each_on_its_cpu(void **state)
{
	struct vcpu *v = vm->vcpus[1];

	(void)state;
	start_up(v, 0x10);
	open_apic(v);
	vcpu_message(v, APIC_DELIVERY_FIXED, 0x41, false);
	assert_int_equal(fake(v)->counts[CALL_POST_INTERRUPT], 0);
	assert_int_equal(idle_turn(v), YIELD);
	assert_int_equal(fake(v)->counts[CALL_POST_INTERRUPT], 1);
}

static void a_halted_one_wakes(void **state)
{
	struct vcpu *v = halted();

	(void)state;
	vcpu_message(v, APIC_DELIVERY_FIXED, 0x41, false);
	assert_wakes(v);
}

/* ---- who is meant ---- */

static uint64_t sent_icr;
static void send(struct vcpu *v) { assert_int_equal(vlapic_write_msr(&v->lapic, MSR_X2APIC_ICR, sent_icr), ST_OK); }

/* vcpu 0 sends @icr; a bit for each vcpu that has @vector afterwards, and it is taken back there. */
static unsigned reached(uint64_t icr, uint8_t vector)
{
	static const struct fake_step script[] = {{{.kind = EXIT_WBINVD, .length = 2}, 10, send}};
	unsigned set = 0;

	sent_icr = icr | vector;
	turn(vm->vcpus[0], script, 1);
	for (unsigned i = 0; i < VCPUS; i++) {
		struct vcpu *v = vm->vcpus[i];

		if (i)
			idle_turn(v);
		if (vlapic_highest_irr(&v->lapic) != vector)
			continue;
		set |= 1u << i;
		vlapic_accept(&v->lapic, vector);
		vlapic_eoi(&v->lapic, -1);
	}
	return set;
}

static void destinations_name_their_processors(void **state)
{
	const uint64_t logical = APIC_ICR_LOGICAL, lowest = APIC_DELIVERY_LOWEST;

	(void)state;
	open_apic(vm->vcpus[0]);
	for (unsigned i = 1; i < VCPUS; i++) {
		start_up(vm->vcpus[i], 0x10);
		open_apic(vm->vcpus[i]);
	}
	for (unsigned i = 0; i < VCPUS; i++)
		assert_int_equal(reached((uint64_t)i << 32, 0x41), 1u << i);
	assert_int_equal(reached((uint64_t)VCPUS << 32, 0x41), 0);
	assert_int_equal(reached(0xffffffffull << 32, 0x42), 0xf);
	assert_int_equal(reached(APIC_ICR_SELF, 0x43), 0x1);
	assert_int_equal(reached(APIC_ICR_ALL, 0x44), 0xf);
	assert_int_equal(reached(APIC_ICR_ALL_BUT_SELF, 0x45), 0xe);
	assert_int_equal(reached(logical | 6ull << 32, 0x46), 0x6);
	assert_int_equal(reached(logical | 0x10006ull << 32, 0x46), 0); /* another cluster */
	/* One of those named, the sender as well; another vector may go to another one. */
	for (unsigned vector = 0x50; vector < 0x58; vector++)
		assert_int_equal(reached(logical | lowest | 0xfull << 32, (uint8_t)vector), 1u << vector % 4);
	assert_int_equal(reached(logical | lowest | 0x8ull << 32, 0x50), 0x8);
	/* A processor whose APIC is off is no candidate. */
	vcpu_message(vm->vcpus[0x51 % 4], APIC_DELIVERY_INIT, 0, false);
	idle_turn(vm->vcpus[0x51 % 4]);
	assert_int_equal(reached(logical | lowest | 0xfull << 32, 0x52), 1u << 2); /* of 0, 2 and 3 the one of index 0x52 % 3 */
}

static void each_has_its_own_apic_in_the_same_place(void **state)
{
	(void)state;
	for (unsigned i = 0; i < VCPUS; i++)
		assert_int_equal(vcpu_mmio_read(vm->vcpus[i], VLAPIC_BASE + APIC_REG_ID, 4), (uint64_t)i << 24);
	vcpu_mmio_write(vm->vcpus[1], VLAPIC_BASE + APIC_REG_TPR, 4, 0x20);
	assert_int_equal(vcpu_mmio_read(vm->vcpus[0], VLAPIC_BASE + APIC_REG_TPR, 4), 0);
	assert_int_equal(vcpu_mmio_read(vm->vcpus[1], VLAPIC_BASE + APIC_REG_TPR, 4), 0x20);
	/* What straddles the page's end goes by bytes, on either side of it. */
	assert_int_equal(vcpu_mmio_read(vm->vcpus[1], VLAPIC_BASE - 2, 8) & 0xffff, 0xffff);
	assert_int_equal(vcpu_mmio_read(vm->vcpus[1], VLAPIC_BASE + VLAPIC_SIZE - 4, 8) >> 32, 0xffffffff);
}

/* ---- devices' timers ---- */

static unsigned device_timer_runs;
static struct timer device_timer;

static void device_timer_expired(struct timer *t, uint64_t now)
{
	(void)t;
	(void)now;
	assert_true(lock_is_mine(&vm->lock));
	device_timer_runs++;
}

static void program(struct vcpu *v)
{
	(void)v;
	vm_enter_devices(vm);
	timerq_set(&vm->timers, &device_timer, vm_time_tsc(&vm->time) + 5000);
	vm_leave_devices(vm);
}

static void any_vcpu_programs_what_the_first_runs(void **state)
{
	static const struct fake_step script[] = {
		{{.kind = EXIT_IO, .length = 1, .u.io = {.port = FAKE_PC_PORT, .size = 1}}, 10, program}};
	static const struct fake_step hlt[] = {{{.kind = EXIT_HLT, .length = 1}, 10, NULL}};

	(void)state;
	device_timer_runs = 0;
	timer_init(&device_timer, device_timer_expired);
	start_up(vm->vcpus[1], 0x10);
	assert_int_equal(turn(vm->vcpus[0], hlt, 1), BLOCK);
	turn(vm->vcpus[1], script, 1);
	/* The first is woken to hear of it, and sleeps until then. */
	assert_int_equal(vm->vcpus[0]->entity.state, SCHED_READY);
	assert_int_equal(idle_turn(vm->vcpus[0]), BLOCK);
	assert_int_equal(device_timer_runs, 0);
	fake_host_advance(SLICE);
	assert_int_equal(vm->vcpus[0]->entity.state, SCHED_READY);
	assert_int_equal(idle_turn(vm->vcpus[0]), BLOCK);
	assert_int_equal(device_timer_runs, 1);
	assert_true(vm->vcpus[0]->timers.next == TIMERQ_NEVER);
	/* By itself it comes in time, and to the same end. */
	vm->vcpus[0]->halted = false;
	assert_int_equal(turn(vm->vcpus[0], script, 1), YIELD);
	assert_int_equal(device_timer_runs, 2);
}

/* ---- ends ---- */

static void an_end_counts_once_and_tells_all(void **state)
{
	(void)state;
	start_up(vm->vcpus[1], 0x10);
	vm_event(vm, REASON_POWER_OFF, 1);
	vm_event(vm, REASON_DEBUG_EXIT, 2);
	assert_int_equal(vm->reason, REASON_POWER_OFF);
	assert_int_equal(vm->exit_code, 1);
	for (unsigned i = 0; i < VCPUS; i++)
		assert_true(vm->vcpus[i]->requests & REQ_PAUSE);
	assert_int_equal(idle_turn(vm->vcpus[1]), STOP);
	assert_int_equal(entries(vm->vcpus[1]), 1);
}

static void one_crash_is_reported_with_a_line_for_each_other(void **state)
{
	const char *report;

	(void)state;
	start_up(vm->vcpus[1], 0x10);
	start_up(vm->vcpus[2], 0x10);
	vm->vcpus[2]->halted = true;
	vm->vcpus[1]->engine->load(vm->vcpus[1]);
	assert_int_equal(vcpu_crash(vm->vcpus[1], "the first"), STOP);
	assert_int_equal(vcpu_crash(vm->vcpus[0], "the second"), STOP);
	assert_int_equal(vm->state, VM_CRASHED);
	vm->vcpus[1]->engine->put(vm->vcpus[1]);
	report = vm_report(vm);
	assert_int_equal(strncmp(report, "the first\nvcpu 1 of VM a\n", 25), 0);
	assert_null(strstr(report, "vcpu 0:"));
	assert_true(vm_reap(&vm_rig.machine));
	assert_non_null(strstr(report, "\nvcpu 0: running, rip "));
	assert_non_null(strstr(report, "\nvcpu 2: halted, rip "));
	assert_non_null(strstr(report, "\nvcpu 3: waiting for start-up, rip 000000000000fff0"));
	assert_null(strstr(report, "\nvcpu 1:"));
	assert_null(strstr(report, "the second"));
}

static unsigned long (*mask_before)(void);

/* The guest's last instruction, in the turn that the pause waits for. */
static unsigned long end_while_pausing(void)
{
	if (__atomic_load_n(&vm->state, __ATOMIC_RELAXED) == VM_PAUSED) {
		fake_host.ops.mask = mask_before;
		vm_event(vm, REASON_POWER_OFF, 0);
	}
	return mask_before();
}

static void an_end_during_a_pause_is_not_lost(void **state)
{
	(void)state;
	mask_before = fake_host.ops.mask;
	fake_host.ops.mask = end_while_pausing;
	assert_int_equal(vm_pause(vm, &err), ST_BAD_STATE);
	assert_string_equal(err.text, "VM a ended by itself (power-off) while it was being paused");
	assert_int_equal(vm->state, VM_STOPPED);
	assert_true(vm_reap(&vm_rig.machine));
}

static void pausing_keeps_who_waits_waiting(void **state)
{
	(void)state;
	start_up(vm->vcpus[1], 0x10);
	assert_int_equal(vm_pause(vm, &err), ST_OK);
	/* Nobody runs: mail is for later. */
	vcpu_message(vm->vcpus[2], APIC_DELIVERY_STARTUP, 0x20, false);
	assert_int_equal(vm_resume(vm, &err), ST_OK);
	assert_int_equal(vm->vcpus[1]->entity.state, SCHED_READY);
	assert_int_equal(vm->vcpus[2]->entity.state, SCHED_READY);
	assert_int_equal(vm->vcpus[3]->entity.state, SCHED_BLOCKED);
	assert_int_equal(idle_turn(vm->vcpus[2]), YIELD);
	for (unsigned i = 1; i < VCPUS; i++)
		assert_int_equal(fake(vm->vcpus[i])->log[fake_last(vm->vcpus[i], CALL_TSC_OFFSET)].a, vm->time.offset);
}

/* ---- spinning and progress ---- */

/* One turn of @v while the others stay ready, whoever of them is picked before. */
static enum disposition turn_beside(struct vcpu *v, const struct fake_step *script, unsigned steps)
{
	struct sched *s = vm_rig.machine.sched;
	unsigned long masked = fake_host.ops.mask();
	uint64_t cap;
	struct sched_entity *e;
	enum disposition d;

	fake_play(v, script, steps);
	for (unsigned i = 0; i < VCPUS; i++)
		if (!vm->vcpus[i]->waiting)
			sched_wake(s, &vm->vcpus[i]->entity, fake_host.ops.clock->ticks());
	for (unsigned n = 0; (e = sched_pick(s, 0, fake_host.ops.clock->ticks(), &cap)) != &v->entity; n++) {
		assert_non_null(e);
		assert_true(n < 100);
		hand_clock_advance(SLICE);
		sched_rig_end(s, 0, e, fake_host.ops.clock->ticks(), SCHED_END_READY);
	}
	fake_host.cpu.need_resched = false;
	d = vcpu_run(v, fake_host.ops.clock->ticks() + SLICE);
	sched_rig_end(s, 0, e, fake_host.ops.clock->ticks(), d == YIELD ? SCHED_END_READY : SCHED_END_BLOCKED);
	fake_host.ops.unmask(masked);
	return d;
}

static const struct fake_step one_pause[] = {{{.kind = EXIT_PAUSE, .length = 2}, 10, NULL}};

static void who_waits_for_nobody_spins_on(void **state)
{
	struct vcpu *v = vm->vcpus[0];
	struct vm *other = vm_rig_start("b", GUEST_BYTES);
	uint64_t start = fake_host.ops.clock->ticks();

	(void)state;
	/* All siblings sleep; that another VM wants the CPU does not help this one. */
	assert_int_equal(other->vcpus[0]->entity.state, SCHED_READY);
	fake_play(v, one_pause, 1);
	assert_int_equal(turn(v, one_pause, 1), YIELD);
	assert_int_equal(v->exits[EXIT_PAUSE], 1);
	assert_int_equal(fake_host.ops.clock->ticks(), start + SLICE);
}

static void a_spinner_gives_way_to_a_sibling_that_waits(void **state)
{
	struct vcpu *v = vm->vcpus[0], *sibling = vm->vcpus[2];
	uint64_t cap, start;

	(void)state;
	start_up(sibling, 0x10);
	assert_int_equal(sibling->entity.state, SCHED_READY);
	assert_int_equal(turn_beside(v, one_pause, 1), YIELD);
	assert_int_equal(fake(v)->advances, 1);
	start = fake_host.ops.clock->ticks();
	assert_int_equal(sibling->entity.figures.yields_to, 1);
	assert_ptr_equal(sched_pick(vm_rig.machine.sched, 0, start, &cap), &sibling->entity);
	sched_rig_end(vm_rig.machine.sched, 0, &sibling->entity, start, SCHED_END_BLOCKED);
}

static void interrupt_the_last(struct vcpu *v)
{
	(void)v;
	vcpu_message(vm->vcpus[VCPUS - 1], APIC_DELIVERY_FIXED, 0x41, false);
}

static void a_spinner_gives_way_to_whom_it_has_interrupted(void **state)
{
	static const struct fake_step script[] = {{{.kind = EXIT_PAUSE, .length = 2}, 10, interrupt_the_last}};

	(void)state;
	for (unsigned i = 1; i < VCPUS; i++)
		start_up(vm->vcpus[i], 0x10);
	/* It is not the one furthest behind, to whom a spinner would give way else. */
	vm->vcpus[VCPUS - 1]->entity.progress += 10 * SLICE;
	assert_int_equal(turn_beside(vm->vcpus[VCPUS - 1], NULL, 0), YIELD);
	assert_int_equal(turn_beside(vm->vcpus[0], script, 1), YIELD);
	assert_int_equal(vm->vcpus[VCPUS - 1]->entity.figures.yields_to, 1);
	assert_int_equal(turn_beside(vm->vcpus[0], one_pause, 1), YIELD);
}

static void work_for_the_host(uint8_t vector)
{
	(void)vector;
	hand_clock_advance(700);
}

/* What the host does in a turn, at exits and between entries, is no progress of the guest's. */
static void progress_is_the_guests_own_time(void **state)
{
	static const struct fake_step script[] = {
		{{.kind = EXIT_IRQ, .u.irq.vector = 0x51}, 100, NULL},
		{{.kind = EXIT_CPUID, .length = 2}, 200, NULL},
		{{.kind = EXIT_HLT, .length = 1}, 50, NULL},
	};
	struct vcpu *v = vm->vcpus[0];
	struct vm *alone;

	(void)state;
	fake_host.on_irq = work_for_the_host;
	v->entity.figures.used = 0;
	assert_int_equal(turn(v, script, ARRAY_SIZE(script)), BLOCK);
	assert_int_equal(v->entity.progress, 350);
	assert_int_equal(v->entity.figures.used, 1050);
	/* Also while what the CPU does is recorded. */
	assert_int_equal(machine_trace_set(&vm_rig.machine, true, &err), ST_OK);
	v->halted = false;
	assert_int_equal(turn(v, script, ARRAY_SIZE(script)), BLOCK);
	assert_int_equal(v->entity.progress, 700);
	/* One without siblings is compared with nobody. */
	alone = vm_rig_start("b", GUEST_BYTES);
	assert_int_equal(machine_trace_set(&vm_rig.machine, false, &err), ST_OK);
	assert_int_equal(turn(alone->vcpus[0], script, ARRAY_SIZE(script)), BLOCK);
	assert_int_equal(alone->vcpus[0]->entity.progress, 0);
	fake_host.on_irq = NULL;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(siblings_wait_and_cost_nothing),
		T(a_start_up_message_says_where),
		T(init_leaves_what_the_manual_says),
		T(init_to_oneself_waits_after_the_instruction),
		T(a_start_up_message_before_inits_is_void),
		T(a_start_up_message_is_not_lost_with_one_before),
		T(init_to_the_boot_processor_is_a_reset),
		T(a_vector_is_taken_by_its_own_cpu),
		T(who_runs_is_kicked_once),
		cmocka_unit_test_setup_teardown(an_engine_that_delivers_hears_of_each_on_its_cpu, setup_virtual, teardown),
		T(a_halted_one_wakes),
		T(a_gap_between_kicks),
		T(a_gap_does_not_delay_who_does_not_run),
		T(destinations_name_their_processors),
		T(each_has_its_own_apic_in_the_same_place),
		T(any_vcpu_programs_what_the_first_runs),
		T(an_end_counts_once_and_tells_all),
		T(one_crash_is_reported_with_a_line_for_each_other),
		T(an_end_during_a_pause_is_not_lost),
		T(pausing_keeps_who_waits_waiting),
		T(who_waits_for_nobody_spins_on),
		T(a_spinner_gives_way_to_a_sibling_that_waits),
		T(a_spinner_gives_way_to_whom_it_has_interrupted),
		T(progress_is_the_guests_own_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
