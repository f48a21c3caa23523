/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM's I/O worker under the real scheduler: who asks is served, once, in turn,
 * in the VM's own pool; a turn ends when the CPU is wanted; what is asked while the
 * VM is paused is kept; a VM that is stopped has none left.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/vm_io.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define WORKS 3u
#define STEP_TICKS 20000u

struct work {
	struct vm_io_work work;
	unsigned left, steps;
};

static struct vm *vm;
static struct work works[WORKS];
static unsigned order[64], served;
static const struct fake_step halt[] = {{.exit = {.kind = EXIT_HLT}}};

static bool step(struct vm_io_work *w)
{
	struct work *mine = container_of(w, struct work, work);

	mine->steps++;
	order[served++ % 64] = w->index;
	hand_clock_advance(STEP_TICKS);
	if (mine->left > 0)
		mine->left--;
	return mine->left > 0;
}

static enum status plug(struct vm *of)
{
	memset(works, 0, sizeof works);
	for (unsigned i = 0; i < WORKS; i++) {
		works[i].work.step = step;
		if (vm_io_add(&of->io, &works[i].work) != ST_OK)
			return ST_OVER_LIMIT;
	}
	return ST_OK;
}

static void ask(unsigned n, unsigned steps)
{
	works[n].left = steps;
	vm_io_ask(&works[n].work);
}

/* Turns until the worker has nothing to do; how many of them it had. The vcpu halts at once. */
static unsigned turns(void)
{
	unsigned mine = 0;

	for (unsigned i = 0; i < 1000; i++) {
		enum sched_end end;
		struct sched_entity *e = vm_rig_turn(&end);

		if (!e)
			break;
		mine += e == &vm->io.entity;
	}
	return mine;
}

static int setup(void **state)
{
	(void)state;
	served = 0;
	fake_pc.plug = plug;
	vm_rig_init(RAM);
	vm = vm_rig_start("a", 4ull << 20);
	fake_play(vm->vcpus[0], halt, 1);
	(void)turns();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_rig_fini();
	return 0;
}

static void who_asks_is_served(void **state)
{
	(void)state;
	assert_int_equal(turns(), 0);
	ask(1, 1);
	assert_int_equal(turns(), 1);
	assert_true(works[1].steps == 1 && works[0].steps + works[2].steps == 0);
	assert_int_equal(turns(), 0);
	/* Asked twice before it came to it: once. */
	ask(2, 1);
	ask(2, 1);
	assert_int_equal(turns(), 1);
	assert_true(works[2].steps == 1 && vm->io.asks == 2);
}

static void all_get_their_turn(void **state)
{
	(void)state;
	ask(0, 4);
	ask(2, 2);
	ask(1, 3);
	(void)turns();
	assert_int_equal(served, 9);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(order[i], i % WORKS);
	assert_true(works[0].steps == 4 && works[1].steps == 3 && works[2].steps == 2);
}

static void the_time_is_the_vms(void **state)
{
	struct sched_figures before, after;

	(void)state;
	sched_pool_stats(vm_rig.machine.sched, &vm->pool, &before);
	ask(0, 10);
	(void)turns();
	sched_pool_stats(vm_rig.machine.sched, &vm->pool, &after);
	assert_true(after.used - before.used >= 10 * STEP_TICKS);
	assert_true(vm->io.entity.pool == &vm->pool);
}

static void a_turn_ends_with_its_slice(void **state)
{
	(void)state;
	/* Who is alone has many slices in a turn. */
	ask(0, 2 * SCHED_ALONE_SLICES * VM_RIG_SLICE / STEP_TICKS);
	assert_true(turns() >= 2);
	assert_int_equal(works[0].left, 0);
}

static void want_cpu(void) { fake_host.cpu.need_resched = true; }

static void a_turn_ends_when_the_cpu_is_wanted(void **state)
{
	(void)state;
	fake_host.on_poll = want_cpu;
	ask(0, 5);
	assert_int_equal(turns(), 5);
	fake_host.on_poll = NULL;
	assert_int_equal(works[0].left, 0);
}

static void what_is_asked_in_a_pause_waits(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(vm_pause(vm, &err), ST_OK);
	assert_int_equal(vm->io.entity.state, SCHED_DETACHED);
	ask(1, 2);
	assert_int_equal(turns(), 0);
	assert_int_equal(works[1].steps, 0);
	fake_play(vm->vcpus[0], halt, 1);
	assert_int_equal(vm_resume(vm, &err), ST_OK);
	assert_true(turns() > 0);
	assert_int_equal(works[1].steps, 2);
}

static void a_stopped_vm_does_no_more_work(void **state)
{
	struct error err;

	(void)state;
	ask(0, 100);
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	assert_int_equal(turns(), 0);
	assert_int_equal(works[0].steps, 0);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	assert_int_equal(vm->io.asked, 0);
}

static void (*real_unmask)(unsigned long state);
static void unmask_and_wait(unsigned long state)
{
	real_unmask(state);
	hand_clock_advance(VM_RIG_HZ / 1000);
}

/* Its turn begins on a CPU that does not go on. */
static void a_stuck_cpu_with_the_worker_does_not_hold_up_a_stop(void **state)
{
	uint64_t slice, began;
	unsigned long masked;
	struct error err;

	(void)state;
	ask(0, 100);
	masked = fake_host.ops.mask();
	assert_ptr_equal(sched_pick(vm_rig.machine.sched, 0, fake_host.ops.clock->ticks(), &slice), &vm->io.entity);
	fake_host.ops.unmask(masked);
	real_unmask = fake_host.ops.unmask;
	fake_host.ops.unmask = unmask_and_wait;
	began = fake_host.ops.clock->ticks();
	assert_int_equal(vm_stop(vm, &err), ST_BUSY);
	assert_string_equal(err.text, "VM a is stopped, but CPU 0 is stuck and does not let go of its I/O worker");
	assert_in_range(fake_host.ops.clock->ticks() - began, VM_RIG_HZ, VM_RIG_HZ + VM_RIG_HZ / 10);
	assert_non_null(vm->memory);
	fake_host.ops.unmask = real_unmask;
	/* It goes on, and has nothing to do any more. */
	masked = fake_host.ops.mask();
	assert_int_equal(vm->io.entity.run(&vm->io.entity, slice), SCHED_END_BLOCKED);
	sched_charge(vm_rig.machine.sched, 0, fake_host.ops.clock->ticks(), SCHED_END_BLOCKED);
	sched_release(vm_rig.machine.sched, 0, &vm->io.entity);
	fake_host.ops.unmask(masked);
	assert_int_equal(works[0].steps, 0);
	(void)vm_reap(&vm_rig.machine);
	assert_null(vm->memory);
	assert_int_equal(vm_start(vm, &err), ST_OK);
}

static void a_full_volume_pauses_the_vm(void **state)
{
	struct error err;
	unsigned notifies = fake_host.notifies;

	(void)state;
	vm_want_pause(vm);
	assert_int_equal(fake_host.notifies, notifies + 1);
	assert_int_equal(vm->state, VM_RUNNING);
	(void)vm_reap(&vm_rig.machine);
	assert_int_equal(vm->state, VM_PAUSED);
	(void)vm_reap(&vm_rig.machine);
	assert_int_equal(vm_resume(vm, &err), ST_OK);
	(void)vm_reap(&vm_rig.machine);
	assert_int_equal(vm->state, VM_RUNNING);
}

static void there_is_room_for_so_many(void **state)
{
	static struct vm_io_work more[VM_IO_WORKS_MAX];
	static struct vm_io io;

	(void)state;
	vm_io_init(&io, vm);
	for (unsigned i = 0; i < VM_IO_WORKS_MAX; i++)
		assert_int_equal(vm_io_add(&io, &more[i]), ST_OK);
	assert_int_equal(vm_io_add(&io, &works[0].work), ST_OVER_LIMIT);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(who_asks_is_served),
		CASE(all_get_their_turn),
		CASE(the_time_is_the_vms),
		CASE(a_turn_ends_with_its_slice),
		CASE(a_turn_ends_when_the_cpu_is_wanted),
		CASE(what_is_asked_in_a_pause_waits),
		CASE(a_stopped_vm_does_no_more_work),
		CASE(a_stuck_cpu_with_the_worker_does_not_hold_up_a_stop),
		CASE(a_full_volume_pauses_the_vm),
		CASE(there_is_room_for_so_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
