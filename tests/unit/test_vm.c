/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of VMs: every legal and illegal action in every state, admission to
 * the byte, failures at every step of making one, ends that the guest chooses,
 * pausing, and that nothing is ever lost.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/vm_internal.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)

static struct machine *m;
static struct error err;

static int setup(void **state)
{
	(void)state;
	memset(&fake_pc, 0, sizeof fake_pc);
	memset(&err, 0, sizeof err);
	fake_fail_create(0);
	vm_rig_init(RAM);
	m = &vm_rig.machine;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_rig_fini();
	return 0;
}

static struct vm *define(const char *name)
{
	struct vm_config cfg = vm_rig_config(name, GUEST_BYTES);
	struct vm *vm = NULL;

	assert_int_equal(vm_define(m, &cfg, &vm, &err), ST_OK);
	return vm;
}

static void says(const char *part)
{
	if (!strstr(err.text, part))
		fail_msg("\"%s\" does not say \"%s\"", err.text, part);
}

/* ---- the table ---- */

static void definitions_are_found_by_name_and_number(void **state)
{
	struct vm *a = define("a"), *b = define("b");

	(void)state;
	assert_int_equal(a->state, VM_DEFINED);
	assert_ptr_equal(vm_find(m, "a"), a);
	assert_ptr_equal(vm_find(m, "b"), b);
	assert_null(vm_find(m, "c"));
	assert_ptr_equal(vm_by_id(m, a->id), a);
	assert_null(vm_by_id(m, 0));
	assert_null(vm_by_id(m, VMS_MAX + 1));
	assert_ptr_equal(vm_next(m, NULL), a);
	assert_ptr_equal(vm_next(m, a), b);
	assert_null(vm_next(m, b));
	assert_int_equal(vm_destroy(a, &err), ST_OK);
	assert_null(vm_find(m, "a"));
	assert_ptr_equal(vm_next(m, NULL), b);
	assert_int_equal(define("c")->id, 1);
}

static void names_are_unique_and_rules_are_checked(void **state)
{
	struct vm_config cfg = vm_rig_config("a", GUEST_BYTES);
	struct vm *vm;

	(void)state;
	define("a");
	assert_int_equal(vm_define(m, &cfg, &vm, &err), ST_EXISTS);
	says("VM a exists already (defined at test:1)");
	cfg = vm_rig_config("b", GUEST_BYTES + 1);
	assert_int_equal(vm_define(m, &cfg, &vm, &err), ST_INVALID);
	says("mem.size");
}

static void the_table_has_an_end(void **state)
{
	struct vm_config cfg = vm_rig_config("one-too-many", GUEST_BYTES);
	char name[16];
	struct vm *vm;

	(void)state;
	for (unsigned i = 0; i < VMS_MAX; i++) {
		snprintf(name, sizeof name, "vm%u", i);
		define(name);
	}
	assert_int_equal(vm_define(m, &cfg, &vm, &err), ST_OVER_LIMIT);
	says("64 VMs");
}

static void a_definition_needs_memory_too(void **state)
{
	struct vm_config cfg = vm_rig_config("a", GUEST_BYTES);
	struct vm *vm;

	(void)state;
	m->capacity = vm_definition_bytes() - 1;
	assert_int_equal(vm_define(m, &cfg, &vm, &err), ST_NOT_ADMITTED);
	m->capacity++;
	define("a");
	assert_int_equal(m->committed, vm_definition_bytes());
}

/* ---- states ---- */

typedef enum status (*action)(struct vm *vm, struct error *err);

static const struct {
	action act;
	const char *name;
	unsigned legal; /* BIT(state) */
} actions[] = {
	{vm_start, "started", BIT(VM_DEFINED) | BIT(VM_STOPPED) | BIT(VM_CRASHED)},
	{vm_stop, "stopped", BIT(VM_RUNNING) | BIT(VM_PAUSED)},
	{vm_pause, "paused", BIT(VM_RUNNING)},
	{vm_resume, "resumed", BIT(VM_PAUSED)},
	{vm_power_button, "power button", BIT(VM_RUNNING)},
	{vm_destroy, "destroyed", BIT(VM_DEFINED) | BIT(VM_STOPPED) | BIT(VM_CRASHED)},
};

static struct vm *in_state(enum vm_state s)
{
	struct vm *vm = define("a");

	if (s == VM_DEFINED)
		return vm;
	assert_int_equal(vm_start(vm, &err), ST_OK);
	if (s == VM_PAUSED)
		assert_int_equal(vm_pause(vm, &err), ST_OK);
	if (s == VM_STOPPED)
		assert_int_equal(vm_stop(vm, &err), ST_OK);
	if (s == VM_CRASHED)
		vm_event(vm, REASON_CRASH, 0);
	assert_int_equal(vm->state, s);
	return vm;
}

static void every_action_in_every_state(void **state)
{
	static const enum vm_state states[] = {VM_DEFINED, VM_RUNNING, VM_PAUSED, VM_STOPPED, VM_CRASHED};

	for (unsigned s = 0; s < ARRAY_SIZE(states); s++) {
		for (unsigned a = 0; a < ARRAY_SIZE(actions); a++) {
			struct vm *vm = in_state(states[s]);
			enum status st = actions[a].act(vm, &err);

			if (actions[a].legal & BIT(states[s])) {
				assert_int_equal(st, ST_OK);
			} else {
				assert_int_equal(st, ST_BAD_STATE);
				assert_int_equal(vm->state, states[s]);
				says(actions[a].name);
				says(vm_state_name(states[s]));
			}
			teardown(state);
			setup(state);
		}
	}
}

static void a_refusal_names_the_states_that_would_do(void **state)
{
	(void)state;
	assert_int_equal(vm_stop(define("a"), &err), ST_BAD_STATE);
	assert_string_equal(err.text, "VM a is defined and cannot be stopped: it must be running or paused");
}

static void names_of_states_and_reasons(void **state)
{
	(void)state;
	assert_string_equal(vm_state_name(VM_PAUSED), "paused");
	assert_string_equal(vm_state_name((enum vm_state)99), "unknown");
	assert_string_equal(vm_reason_name(REASON_DEBUG_EXIT), "debug-exit");
	assert_string_equal(vm_reason_name((enum vm_reason)99), "unknown");
}

/* ---- making ---- */

static void a_start_makes_a_machine(void **state)
{
	struct vm *vm = define("a");
	enum sched_end end;
	struct vm_info info;

	(void)state;
	assert_int_equal(vm_start(vm, &err), ST_OK);
	assert_int_equal(vm->state, VM_RUNNING);
	assert_int_equal(vm->starts, 1);
	assert_int_equal(fake_pc.loads, 1);
	assert_int_equal(fake_pc.resets, 1);
	assert_string_equal(vm->vcpus[0]->entity.name, "a");
	assert_true(fake_host.cpu.need_resched);
	assert_ptr_equal(vm_rig_turn(&end), &vm->vcpus[0]->entity);
	assert_int_equal(end, SCHED_END_READY);
	vm_info(vm, &info);
	assert_int_equal(info.exits, 1);
	assert_int_equal(info.exits_by_kind[EXIT_TIMER], 1);
	assert_true(info.cpu_ns > 0);
	assert_int_equal(info.uptime_ns, info.cpu_ns);
}

/* Whoever asks after the end learns what the run came to; the next start counts anew. */
static void figures_outlive_the_run(void **state)
{
	struct vm *vm = define("a");
	enum sched_end end;
	struct vm_info running, after;

	(void)state;
	vm_info(vm, &after);
	assert_int_equal(after.exits, 0);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	vm_rig_turn(&end);
	vm->denied_msrs = 3;
	vm_info(vm, &running);
	assert_int_equal(running.exits, 1);
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	vm_info(vm, &after);
	assert_int_equal(after.memory_present, 0);
	assert_int_equal(after.overhead, running.overhead);
	assert_int_equal(after.exits, running.exits);
	assert_int_equal(after.exits_by_kind[EXIT_TIMER], 1);
	assert_int_equal(after.cpu_ns, running.cpu_ns);
	assert_int_equal(after.uptime_ns, running.uptime_ns);
	assert_int_equal(after.denied_msrs, 3);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	vm_info(vm, &running);
	assert_int_equal(running.exits, 0);
	assert_int_equal(running.cpu_ns, 0);
	assert_int_equal(running.denied_msrs, 0);
}

static void admission_is_exact(void **state)
{
	struct vm *vm = define("a");
	uint64_t need = m->committed + GUEST_BYTES + vm_overhead_bytes(m, &vm->config);

	(void)state;
	m->capacity = need - 1;
	assert_int_equal(vm_start(vm, &err), ST_NOT_ADMITTED);
	says("VM a needs 4194304 bytes of memory and");
	says("are promised");
	assert_int_equal(vm->state, VM_DEFINED);
	m->capacity = need;
	assert_int_equal(vm_start(vm, &err), ST_OK);
	assert_int_equal(m->committed, need);
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	assert_int_equal(m->committed, vm_definition_bytes());
}

static void overhead_stays_within_its_promise(void **state)
{
	struct vm_config cfg = vm_rig_config("a", 4ull << 30);
	uint64_t pages = cfg.memory.size / PAGE_SIZE;

	(void)state;
	/* 1 MiB and 8 bytes a page, besides the engine's tables. */
	assert_true(vm_definition_bytes() + vm_overhead_bytes(m, &cfg) - fake_engine.overhead_bytes(pages, 1) <=
		    (1ull << 20) + 8 * pages);
	cfg.memory.size = 1ull << 20;
	assert_true(vm_definition_bytes() + vm_overhead_bytes(m, &cfg) < 1ull << 20);
}

static void every_failure_of_the_engine_is_undone(void **state)
{
	struct vm *vm = define("a");

	(void)state;
	for (unsigned n = 1; n <= 2; n++) {
		fake_fail_create(n);
		assert_int_equal(vm_start(vm, &err), ST_NO_MEMORY);
		says("VM a");
		assert_int_equal(vm->state, VM_DEFINED);
		assert_int_equal(fake_live(), 0);
		assert_int_equal(m->committed, vm_definition_bytes());
	}
	fake_fail_create(0);
	assert_int_equal(vm_start(vm, &err), ST_OK);
}

static void failures_of_platform_and_loader_are_undone(void **state)
{
	struct vm *vm = define("a");
	enum status *const steps[] = {&fake_pc.create, &fake_pc.acpi, &fake_pc.boot};

	(void)state;
	assert_int_equal(vm_start(vm, &err), ST_OK);
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		*steps[i] = ST_CORRUPT;
		assert_int_equal(vm_start(vm, &err), ST_CORRUPT);
		assert_int_equal(vm->state, VM_STOPPED);
		assert_int_equal(fake_live(), 0);
		*steps[i] = ST_OK;
	}
	says("not a kernel");
	vm->config.acpi = false;
	fake_pc.acpi = ST_CORRUPT;
	assert_int_equal(vm_start(vm, &err), ST_OK);
}

/* Leaves @free frames in the machine by taking the others one by one. */
static unsigned squeeze(hfn_t *taken, unsigned max, uint64_t free)
{
	struct memmgr_stats stats;
	unsigned n = 0;

	for (;;) {
		memmgr_stats(m->mm, &stats);
		if (stats.frames[FRAME_FREE] <= free || n == max)
			return n;
		assert_int_equal(memmgr_alloc(m->mm, 0, &taken[n++]), ST_OK);
	}
}

static void every_shortage_of_frames_is_undone(void **state)
{
	enum { MAX = RAM / PAGE_SIZE };
	hfn_t *taken = calloc(MAX, sizeof *taken);
	struct vm *vm = define("a");
	unsigned failures = 0;

	(void)state;
	m->capacity = UINT64_MAX;
	for (uint64_t free = 0; vm->state == VM_DEFINED; free++) {
		unsigned n = squeeze(taken, MAX, free);
		struct memmgr_stats before, after;

		memmgr_stats(m->mm, &before);
		if (vm_start(vm, &err) != ST_OK) {
			failures++;
			assert_int_equal(vm->state, VM_DEFINED);
			assert_int_equal(fake_live(), 0);
			memmgr_stats(m->mm, &after);
			assert_int_equal(after.frames[FRAME_FREE], before.frames[FRAME_FREE]);
		}
		while (n)
			memmgr_free(m->mm, taken[--n], 0);
	}
	assert_true(failures > 1000); /* its RAM is promised whole before it starts */
	free(taken);
}

/* ---- ends ---- */

static void stop_pulls_the_plug(void **state)
{
	struct vm *vm = in_state(VM_RUNNING);
	void *page;

	(void)state;
	assert_int_equal(gpmap_populate(vm->memory, gfn(3), &page), ST_OK);
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	assert_int_equal(vm->reason, REASON_OPERATOR);
	assert_int_equal(fake_live(), 0);
	assert_null(vm->memory);
	assert_int_equal(vm->vcpu_count, 0);
}

static void a_guest_that_powers_off_is_reaped(void **state)
{
	struct vm *vm = in_state(VM_RUNNING);

	(void)state;
	vm_event(vm, REASON_POWER_OFF, 0);
	assert_int_equal(vm->state, VM_STOPPED);
	assert_true(vm->teardown_due);
	assert_int_equal(fake_host.notifies, 1);
	assert_int_equal(fake_live(), 2); /* nothing was freed on the vcpu's CPU */
	while (vm_reap(m))
		;
	assert_int_equal(fake_live(), 0);
	assert_int_equal(vm->state, VM_STOPPED);
	assert_int_equal(vm->reason, REASON_POWER_OFF);
	assert_false(vm_reap(m));
}

static void reset_restarts_if_the_definition_says_so(void **state)
{
	struct vm *vm = in_state(VM_RUNNING);

	(void)state;
	vm_event(vm, REASON_RESET, 0);
	while (vm_reap(m))
		;
	assert_int_equal(vm->state, VM_RUNNING);
	assert_int_equal(vm->starts, 2);
	assert_int_equal(vm->reason, REASON_NONE);
	vm->config.on_reset = ON_RESET_STOP;
	vm_event(vm, REASON_RESET, 0);
	while (vm_reap(m))
		;
	assert_int_equal(vm->state, VM_STOPPED);
	assert_int_equal(vm->reason, REASON_RESET);
}

static void a_restart_that_fails_leaves_it_stopped(void **state)
{
	struct vm *vm = in_state(VM_RUNNING);

	(void)state;
	vm_event(vm, REASON_RESET, 0);
	fake_pc.boot = ST_NOT_FOUND;
	while (vm_reap(m))
		;
	assert_int_equal(vm->state, VM_STOPPED);
	assert_int_equal(fake_live(), 0);
}

/* Between a guest's reset and its next start the VM is stopped; an operator may not want it to go on. */
static void a_stop_takes_a_restart_back(void **state)
{
	struct vm *vm = in_state(VM_RUNNING);
	uint64_t changes;

	(void)state;
	vm_event(vm, REASON_RESET, 0);
	assert_true(vm_starts_again(vm));
	assert_int_equal(vm_pause(vm, &err), ST_BAD_STATE);
	says("VM a is stopped and about to start again and cannot be paused");
	assert_int_equal(vm_power_button(vm, &err), ST_BAD_STATE);
	assert_true(vm_starts_again(vm));
	changes = m->changes;
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	assert_true(m->changes > changes);
	assert_false(vm_starts_again(vm));
	assert_int_equal(vm->reason, REASON_OPERATOR);
	assert_int_equal(fake_live(), 0);
	while (vm_reap(m))
		;
	assert_int_equal(vm->state, VM_STOPPED);
	assert_int_equal(vm->starts, 1);
	assert_int_equal(vm_stop(vm, &err), ST_BAD_STATE);
	says("VM a is stopped and cannot be stopped");
	assert_int_equal(vm_start(vm, &err), ST_OK);
	assert_int_equal(vm->starts, 2);
}

static void what_is_not_to_restart_is_not_stopped_again(void **state)
{
	struct vm *vm = in_state(VM_RUNNING);

	(void)state;
	vm->config.on_reset = ON_RESET_STOP;
	vm_event(vm, REASON_RESET, 0);
	assert_false(vm_starts_again(vm));
	assert_int_equal(vm_stop(vm, &err), ST_BAD_STATE);
	assert_int_equal(vm->reason, REASON_RESET);
}

static void destroying_takes_a_restart_back(void **state)
{
	struct vm *vm = in_state(VM_RUNNING);

	(void)state;
	vm_event(vm, REASON_RESET, 0);
	assert_int_equal(vm_destroy(vm, &err), ST_OK);
	while (vm_reap(m))
		;
	assert_null(vm_find(m, "a"));
	assert_int_equal(fake_live(), 0);
}

static void a_crash_keeps_its_report_until_the_next_start(void **state)
{
	struct vm *vm = in_state(VM_RUNNING);
	unsigned long masked = fake_host.ops.mask();

	(void)state;
	vm->vcpus[0]->engine->load(vm->vcpus[0]);
	assert_int_equal(vcpu_crash(vm->vcpus[0], "reason %d", 7), STOP);
	assert_int_equal(vcpu_crash(vm->vcpus[0], "a later one"), STOP);
	fake_host.ops.unmask(masked);
	assert_int_equal(vm->state, VM_CRASHED);
	while (vm_reap(m))
		;
	assert_int_equal(strncmp(vm->report, "reason 7\n", 9), 0);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	assert_int_equal(vm->report[0], 0);
}

static void what_happens_after_the_end_changes_nothing(void **state)
{
	struct vm *vm = in_state(VM_RUNNING);

	(void)state;
	vm_event(vm, REASON_DEBUG_EXIT, 33);
	vm_event(vm, REASON_RESET, 0);
	vm_event(vm, REASON_CRASH, 0);
	assert_int_equal(vm->state, VM_STOPPED);
	assert_int_equal(vm->reason, REASON_DEBUG_EXIT);
	assert_int_equal(vm->exit_code, 33);
	assert_false(vm->restart_due);
}

static void starting_or_destroying_does_not_wait_for_the_reaper(void **state)
{
	struct vm *vm = in_state(VM_RUNNING);

	(void)state;
	vm_event(vm, REASON_POWER_OFF, 0);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	assert_int_equal(fake_live(), 2);
	while (vm_reap(m))
		;
	assert_int_equal(vm->state, VM_RUNNING);
	vm_event(vm, REASON_POWER_OFF, 0);
	assert_int_equal(vm_destroy(vm, &err), ST_OK);
	while (vm_reap(m))
		;
	assert_int_equal(fake_live(), 0);
}

static void one_ends_and_the_other_runs_on(void **state)
{
	struct vm *a = in_state(VM_RUNNING), *b = vm_rig_start("b", GUEST_BYTES);
	enum sched_end end;

	(void)state;
	vm_event(a, REASON_CRASH, 0);
	assert_ptr_equal(vm_rig_turn(&end), &a->vcpus[0]->entity); /* was queued already */
	assert_int_equal(end, SCHED_END_BLOCKED);
	assert_int_equal(fake(a->vcpus[0])->counts[CALL_ENTER], 0);
	assert_ptr_equal(vm_rig_turn(&end), &b->vcpus[0]->entity);
	assert_ptr_equal(vm_rig_turn(&end), &b->vcpus[0]->entity);
	while (vm_reap(m))
		;
	assert_int_equal(b->state, VM_RUNNING);
}

/* ---- pause ---- */

static void pause_freezes_the_guests_time(void **state)
{
	struct vm *vm = in_state(VM_RUNNING);
	enum sched_end end;
	uint64_t tsc;
	struct vm_info info;

	(void)state;
	vm_rig_turn(&end);
	tsc = vm_time_tsc(&vm->time);
	assert_int_equal(vm_pause(vm, &err), ST_OK);
	assert_null(vm_rig_turn(&end));
	fake_host_advance(1000000);
	assert_int_equal(vm_time_tsc(&vm->time), tsc);
	assert_int_equal(vm_resume(vm, &err), ST_OK);
	assert_int_equal(vm_time_tsc(&vm->time), tsc);
	assert_ptr_equal(vm_rig_turn(&end), &vm->vcpus[0]->entity);
	vm_info(vm, &info);
	/* Two turns of CPU, and guest time is just that. */
	assert_int_equal(info.cpu_ns, ticks_to_ns(vm_time_tsc(&vm->time), VM_RIG_HZ));
	assert_int_equal(fake(vm->vcpus[0])->log[fake_last(vm->vcpus[0], CALL_TSC_OFFSET)].a, vm->time.offset);
}

static void a_paused_vcpu_is_not_woken(void **state)
{
	struct vm *vm = in_state(VM_RUNNING);
	enum sched_end end;

	(void)state;
	assert_int_equal(vm_pause(vm, &err), ST_OK);
	vcpu_request(vm->vcpus[0], REQ_EVENT);
	assert_null(vm_rig_turn(&end));
	assert_int_equal(vm_stop(vm, &err), ST_OK);
}

static void pause_cancels_the_wake_up_of_a_halted_guest(void **state)
{
	static const struct fake_step hlt[] = {{{.kind = EXIT_HLT, .length = 1}, 10, NULL}};
	struct vm *vm = in_state(VM_RUNNING);
	struct vcpu *v = vm->vcpus[0];
	enum sched_end end;

	(void)state;
	assert_int_equal(vlapic_write_msr(&v->lapic, MSR_IA32_APIC_BASE, v->lapic.base_msr | APIC_BASE_EXTD), ST_OK);
	assert_int_equal(vlapic_write_msr(&v->lapic, MSR_X2APIC_SVR, APIC_SVR_ENABLE | 0xff), ST_OK);
	assert_int_equal(vlapic_write_msr(&v->lapic, MSR_X2APIC_LVT_TIMER, APIC_TIMER_TSC_DEADLINE | 0x40), ST_OK);
	assert_int_equal(vlapic_write_msr(&v->lapic, MSR_IA32_TSC_DEADLINE, 1000), ST_OK);
	fake(v)->regs[REG_RFLAGS] |= RFLAGS_IF;
	fake_play(v, hlt, 1);
	vm_rig_turn(&end);
	assert_true(timer_is_set(&v->wake_alarm.timer));
	assert_int_equal(vm_pause(vm, &err), ST_OK);
	assert_false(timer_is_set(&v->wake_alarm.timer));
	fake_host_advance(5000);
	assert_int_equal(vm_resume(vm, &err), ST_OK);
	/* Its clock stood still: it halts again and is woken when its own time comes. */
	vm_rig_turn(&end);
	assert_int_equal(end, SCHED_END_BLOCKED);
	assert_int_equal(fake_host.cpu.timers.next, 5000 + 1000);
	fake_host_advance(2000);
	vm_rig_turn(&end);
	assert_int_equal(fake(v)->log[fake_last(v, CALL_INJECT)].a, 0x40);
}

/* ---- a CPU that is stuck ---- */

#define STUCK_STEP 1000000u /* ticks that pass while the control task lets others run once */

static unsigned faults;
static char fault_text[ERROR_TEXT_MAX];

static void note_fault(void *ctx, const char *text)
{
	assert_ptr_equal(ctx, &faults);
	faults++;
	snprintf(fault_text, sizeof fault_text, "%s", text);
}

static void (*unmask_before)(unsigned long state);

static void unmask_and_wait(unsigned long state)
{
	unmask_before(state);
	if (state == 0)
		hand_clock_advance(STUCK_STEP);
}

/* The vcpu's turn begins, and does not go on until turn_goes_on(). */
static uint64_t stuck_slice;
static struct vm *stuck(void)
{
	struct vm *vm = in_state(VM_RUNNING);
	unsigned long masked = fake_host.ops.mask();

	faults = 0;
	m->fault = note_fault;
	m->fault_ctx = &faults;
	assert_ptr_equal(sched_pick(m->sched, 0, fake_host.ops.clock->ticks(), &stuck_slice), &vm->vcpus[0]->entity);
	fake_host.ops.unmask(masked);
	unmask_before = fake_host.ops.unmask;
	fake_host.ops.unmask = unmask_and_wait;
	return vm;
}

static void turn_goes_on(struct vcpu *v)
{
	unsigned long masked;
	enum sched_end end;

	fake_host.ops.unmask = unmask_before;
	masked = fake_host.ops.mask();
	end = v->entity.run(&v->entity, stuck_slice);
	sched_charge(m->sched, 0, fake_host.ops.clock->ticks(), end);
	v->engine->put(v);
	sched_release(m->sched, 0, &v->entity);
	fake_host.ops.unmask(masked);
}

static void a_stuck_cpu_does_not_hold_up_a_stop(void **state)
{
	struct vm *vm = stuck();
	uint64_t began = fake_host.ops.clock->ticks(), took;

	(void)state;
	assert_int_equal(vm_stop(vm, &err), ST_BUSY);
	assert_string_equal(err.text, "VM a is stopped, but CPU 0 is stuck and does not let go of its vcpu 0");
	took = fake_host.ops.clock->ticks() - began;
	assert_in_range(took, VM_RIG_HZ, VM_RIG_HZ + 8 * STUCK_STEP);
	assert_int_equal(vm->state, VM_STOPPED);
	assert_non_null(vm->memory);
	/* The operator is told once, and nobody waits again. */
	assert_int_equal(faults, 1);
	assert_string_equal(fault_text, err.text);
	began = fake_host.ops.clock->ticks();
	assert_int_equal(vm_start(vm, &err), ST_BUSY);
	assert_int_equal(vm_destroy(vm, &err), ST_BUSY);
	assert_false(vm_reap(m));
	assert_in_range(fake_host.ops.clock->ticks() - began, 1, 20 * STUCK_STEP);
	assert_int_equal(faults, 1);
	turn_goes_on(vm->vcpus[0]);
	assert_false(vm_reap(m));
	assert_null(vm->memory);
	assert_int_equal(vm_start(vm, &err), ST_OK);
}

static void a_restart_waits_for_a_stuck_cpu(void **state)
{
	struct vm *vm = stuck();

	(void)state;
	vm->config.on_reset = ON_RESET_RESTART;
	vm_event(vm, REASON_RESET, 0);
	assert_true(vm_reap(m));
	assert_int_equal(faults, 1);
	assert_string_equal(fault_text, "VM a is stopped, but CPU 0 is stuck and does not let go of its vcpu 0");
	for (int i = 0; i < 3; i++)
		assert_false(vm_reap(m));
	turn_goes_on(vm->vcpus[0]);
	assert_int_equal(vm->state, VM_STOPPED);
	vm_reap(m);
	assert_int_equal(vm->state, VM_RUNNING);
	assert_int_equal(vm->starts, 2);
}

static void a_stop_takes_back_a_restart_that_waits_for_a_stuck_cpu(void **state)
{
	struct vm *vm = stuck();

	(void)state;
	vm_event(vm, REASON_RESET, 0);
	assert_true(vm_reap(m));
	assert_true(vm_starts_again(vm));
	/* A refusal changes nothing. */
	assert_int_equal(vm_destroy(vm, &err), ST_BUSY);
	assert_true(vm_starts_again(vm));
	assert_int_equal(vm_stop(vm, &err), ST_BUSY);
	assert_string_equal(err.text, "VM a is stopped, but CPU 0 is stuck and does not let go of its vcpu 0");
	assert_false(vm_starts_again(vm));
	assert_int_equal(faults, 1);
	turn_goes_on(vm->vcpus[0]);
	while (vm_reap(m))
		;
	assert_null(vm->memory);
	assert_int_equal(vm->state, VM_STOPPED);
	assert_int_equal(vm->reason, REASON_OPERATOR);
	assert_int_equal(vm->starts, 1);
}

static void a_pause_that_a_stuck_cpu_holds_up_is_ended_by_resume_or_stop(void **state)
{
	struct vm *vm = stuck();

	(void)state;
	assert_int_equal(vm_pause(vm, &err), ST_BUSY);
	assert_string_equal(err.text, "VM a is paused, but CPU 0 is stuck and does not let go of its vcpu 0");
	assert_int_equal(vm_resume(vm, &err), ST_BUSY);
	assert_int_equal(vm->state, VM_PAUSED);
	assert_false(vm_reap(m));
	turn_goes_on(vm->vcpus[0]);
	assert_int_equal(vm_resume(vm, &err), ST_OK);
	assert_int_equal(vm->state, VM_RUNNING);
	assert_int_equal(vm_pause(vm, &err), ST_OK);
	assert_int_equal(faults, 1);
}

/* ---- console ---- */

static unsigned told;
static void tell(void *ctx) { *(unsigned *)ctx += 1; }

static void console_input_is_bounded(void **state)
{
	struct vm *vm = define("a");
	char text[2 * CONSOLE_INPUT_BYTES];

	(void)state;
	told = 0;
	vm->console.input = tell;
	vm->console.input_ctx = &told;
	memset(text, 'x', sizeof text);
	assert_int_equal(vm_console_input(vm, text, 10), 10);
	assert_int_equal(told, 1);
	assert_int_equal(vm_console_input(vm, text, sizeof text), CONSOLE_INPUT_BYTES - 10);
	assert_int_equal(vm_console_input(vm, text, 1), 0);
	assert_int_equal(told, 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(definitions_are_found_by_name_and_number),
		T(names_are_unique_and_rules_are_checked),
		T(the_table_has_an_end),
		T(a_definition_needs_memory_too),
		T(every_action_in_every_state),
		T(a_refusal_names_the_states_that_would_do),
		T(names_of_states_and_reasons),
		T(a_start_makes_a_machine),
		T(figures_outlive_the_run),
		T(admission_is_exact),
		T(overhead_stays_within_its_promise),
		T(every_failure_of_the_engine_is_undone),
		T(failures_of_platform_and_loader_are_undone),
		T(every_shortage_of_frames_is_undone),
		T(stop_pulls_the_plug),
		T(a_guest_that_powers_off_is_reaped),
		T(reset_restarts_if_the_definition_says_so),
		T(a_restart_that_fails_leaves_it_stopped),
		T(a_stop_takes_a_restart_back),
		T(what_is_not_to_restart_is_not_stopped_again),
		T(destroying_takes_a_restart_back),
		T(a_crash_keeps_its_report_until_the_next_start),
		T(what_happens_after_the_end_changes_nothing),
		T(starting_or_destroying_does_not_wait_for_the_reaper),
		T(one_ends_and_the_other_runs_on),
		T(pause_freezes_the_guests_time),
		T(a_paused_vcpu_is_not_woken),
		T(pause_cancels_the_wake_up_of_a_halted_guest),
		T(a_stuck_cpu_does_not_hold_up_a_stop),
		T(a_restart_waits_for_a_stuck_cpu),
		T(a_stop_takes_back_a_restart_that_waits_for_a_stuck_cpu),
		T(a_pause_that_a_stuck_cpu_holds_up_is_ended_by_resume_or_stop),
		T(console_input_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
