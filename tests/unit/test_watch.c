/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is told of VMs' volumes: one that fails, at once and then now and then however often it does; one that is
 * full, and that there is space again. Over a real VM with a real disk, whose troubles are reported by hand. And of a
 * VM whose guest resets itself when the operator stops it.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "guest/storage.h"
#include "guest/vm.h"
#include "lua/generation.h"
#include "tests/fakes/control_rig.h"
#include "tests/fakes/hand_clock.h"

static const char text[] =
	"volume 'v' { ram = MiB(1) } volume 'w' { ram = MiB(1) }\n"
	"vm 'web' { boot = multiboot { image = 'kernel' }, mem = { size = MiB(2) }, autostart = true,\n"
	" disk = { root = virtio { volume = 'v' }, data = virtio { volume = 'w' } } }\n";

static struct vm *vm;
static unsigned root, data; /* numbers of the disks */
static uint64_t cursor;

static int setup(void **state)
{
	static uint8_t reply[SMP_BODY_MAX];
	struct cbor_writer w;
	struct error err;

	(void)state;
	control_rig_init(64ull << 20);
	assert_int_equal(storage_create(&vm_rig.machine, &err), ST_OK);
	cbor_writer_init(&w, reply, sizeof reply);
	if (generation_apply(control_rig.control, "text", text, strlen(text), &w, &err) != ST_OK)
		fail_msg("%s", err.text);
	vm = vm_find(&vm_rig.machine, "web");
	assert_non_null(vm);
	assert_int_equal(vm->state, VM_RUNNING);
	fake_host_advance(VM_RIG_HZ);
	(void)control_rig_settle(1000);
	data = strcmp(vm->config.disks[1].name, "data") == 0;
	root = 1 - data;
	cursor = control_rig.control->events.head;
	return 0;
}

static int teardown(void **state)
{
	struct error err;

	(void)state;
	if (vm->state == VM_RUNNING || vm->state == VM_PAUSED)
		assert_int_equal(vm_stop(vm, &err), ST_OK);
	assert_int_equal(vm_destroy(vm, &err), ST_OK);
	assert_int_equal(storage_remove(vm_rig.machine.storage, "v", &err), ST_OK);
	assert_int_equal(storage_remove(vm_rig.machine.storage, "w", &err), ST_OK);
	storage_destroy(&vm_rig.machine);
	control_rig_fini();
	return 0;
}

/* The next event on volumes, as "kind text"; "" when there is none. */
static const char *told(void)
{
	static char out[256];
	const struct event_record *e;
	uint64_t missed = 0;

	(void)control_rig_settle(1000);
	while ((e = events_next(&control_rig.control->events, &cursor, &missed))) {
		if (strncmp(event_kind_name(e->kind), "volume.", 7) != 0)
			continue;
		assert_string_equal(e->vm_name, "web");
		snprintf(out, sizeof out, "%s %s", event_kind_name(e->kind), e->text);
		return out;
	}
	return "";
}

static void one_that_fails(void **state)
{
	(void)state;
	vm_disk_failed(vm, data);
	vm_disk_failed(vm, data);
	assert_string_equal(told(), "volume.error disk.data: volume w fails, 0 requests in this start");
	assert_string_equal(told(), "");
	/* Within ten seconds nothing more of this one; of the other at once. */
	vm_disk_failed(vm, data);
	assert_string_equal(told(), "");
	vm_disk_failed(vm, root);
	assert_string_equal(told(), "volume.error disk.root: volume v fails, 0 requests in this start");
	fake_host_advance(9 * VM_RIG_HZ);
	assert_string_equal(told(), "");
	fake_host_advance(2 * VM_RIG_HZ);
	assert_string_equal(told(), "volume.error disk.data: volume w fails, 0 requests in this start");
	/* It fails no more, and there is nothing to be told. */
	fake_host_advance(20 * VM_RIG_HZ);
	assert_string_equal(told(), "");
}

static void one_that_is_full(void **state)
{
	struct error err;

	(void)state;
	vm_want_pause(vm);
	assert_string_equal(told(), "volume.full a volume of its disks is full");
	assert_int_equal(vm->state, VM_PAUSED);
	assert_string_equal(told(), "");
	assert_int_equal(vm_resume(vm, &err), ST_OK);
	assert_string_equal(told(), "volume.space it goes on");
	/* A pause of the operator's is none of it. */
	assert_int_equal(vm_pause(vm, &err), ST_OK);
	assert_string_equal(told(), "");
	assert_int_equal(vm_resume(vm, &err), ST_OK);
	assert_string_equal(told(), "");
}

/* ---- ends ---- */

/* The next event on the VM's state, as "kind text", without anything else being done; "" when there is none. */
static const char *state_told(void)
{
	static char out[256];
	const struct event_record *e;
	uint64_t missed = 0;

	watch_vms(control_rig.control);
	while ((e = events_next(&control_rig.control->events, &cursor, &missed))) {
		if (strncmp(event_kind_name(e->kind), "vm.", 3) != 0)
			continue;
		snprintf(out, sizeof out, "%s %s", event_kind_name(e->kind), e->text);
		return out;
	}
	return "";
}

static void a_restart_that_is_taken_back(void **state)
{
	struct error err;

	(void)state;
	vm_event(vm, REASON_RESET, 0);
	assert_string_equal(state_told(), "vm.stopped reset");
	assert_string_equal(state_told(), "");
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	assert_string_equal(state_told(), "vm.stopped operator");
	assert_string_equal(state_told(), "");
	(void)control_rig_settle(1000);
	assert_string_equal(state_told(), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_that_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_is_full, setup, teardown),
		cmocka_unit_test_setup_teardown(a_restart_that_is_taken_back, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
