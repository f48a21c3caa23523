/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of VMs as events. A guest leaves the running state on its vcpu's CPU,
 * where nothing may be posted; so the control task compares what it sees with
 * what it saw, whenever it is woken. A restart between two looks is seen by the
 * count of starts.
 */
#include <string.h>

#include "guest/storage.h"
#include "guest/vm.h"
#include "guest/vm_disk.h"
#include "lib/bits.h"
#include "lib/log.h"
#include "lua/control_internal.h"

static const enum event_kind kind_of[VM_STATES] = {
	[VM_DEFINED] = EVENT_VM_DEFINED, [VM_LOADING] = EVENT_VM_DEFINED, [VM_RUNNING] = EVENT_VM_RUNNING,
	[VM_PAUSED] = EVENT_VM_PAUSED,   [VM_STOPPED] = EVENT_VM_STOPPED, [VM_CRASHED] = EVENT_VM_CRASHED,
};

/* The first line of a crash report says what happened. */
static void post_state(struct control *c, const struct vm *vm, const struct vm_outcome *is)
{
	const char *text = is->reason == REASON_NONE ? "" : vm_reason_name(is->reason);
	int len = (int)strlen(text);

	if (is->state == VM_CRASHED && vm_report(vm)[0]) {
		text = vm_report(vm);
		len = (int)strcspn(text, "\n");
	}
	events_post(&c->events, kind_of[is->state], vm, "%.*s", len, text);
}

/* ---- volumes ---- */

#define ERROR_PAUSE_NS 10000000000ull /* between two words on one disk that fails */

static void post_full(struct control *c, const struct vm *vm, struct seen_vm *seen)
{
	bool any = false;

	if (seen->full == vm->paused_full)
		return;
	seen->full = vm->paused_full;
	if (!seen->full) {
		events_post(&c->events, EVENT_VOLUME_SPACE, vm, "it goes on");
		return;
	}
	for (unsigned i = 0; i < vm->config.disk_count; i++) {
		const struct vm_disk *disk = &vm->config.disks[i];
		unsigned long masked = control_mask(c);
		bool full = vm_disk_is_full(vm, i);

		control_unmask(c, masked);
		if (full)
			events_post(&c->events, EVENT_VOLUME_FULL, vm, "disk.%s: volume %s is full", disk->name, disk->volume);
		any |= full;
	}
	if (!any)
		events_post(&c->events, EVENT_VOLUME_FULL, vm, "a volume of its disks is full");
}

static uint64_t failed_requests(struct control *c, const struct vm *vm, unsigned disk)
{
	unsigned long masked = control_mask(c);
	uint64_t failed = vm_disk_errors(vm, disk);

	control_unmask(c, masked);
	return failed;
}

/* Of a disk that fails all the time it is said now and then. */
static void post_errors(struct control *c, struct vm *vm, struct seen_vm *seen)
{
	uint32_t failing = __atomic_load_n(&vm->disks_failing, __ATOMIC_ACQUIRE);
	uint64_t pause = ns_to_ticks(ERROR_PAUSE_NS, c->cfg.clock->hz);

	for (unsigned i = 0; failing && i < VM_DISKS_MAX; i++) {
		uint64_t now = control_ticks(c);

		if (!(failing & BIT(i)) || i >= vm->config.disk_count)
			continue;
		if (seen->error_told[i] && now - seen->error_told[i] < pause) {
			c->errors_at = MIN(c->errors_at, seen->error_told[i] + pause);
			continue;
		}
		seen->error_told[i] = MAX(now, 1);
		__atomic_fetch_and(&vm->disks_failing, ~(uint32_t)BIT(i), __ATOMIC_ACQ_REL);
		events_post(&c->events, EVENT_VOLUME_ERROR, vm, "disk.%s: volume %s fails, %llu requests in this start",
			    vm->config.disks[i].name, vm->config.disks[i].volume,
			    (unsigned long long)failed_requests(c, vm, i));
	}
}

static void post_jobs(struct control *c)
{
	struct storage *s = c->cfg.machine->storage;
	struct storage_job_info j;

	while (s && storage_next_ended(s, &j)) {
		bool bad = j.status != ST_OK;
		const char *what = j.order.volume[0] ? j.order.volume : j.order.name;

		events_post(&c->events, bad ? EVENT_VOLUME_FAILED : EVENT_VOLUME_DONE, NULL, "%s of %s%s%s%s%s",
			    storage_op_name(j.order.op), what, j.order.volume[0] && j.order.name[0] ? " as " : "",
			    j.order.volume[0] ? j.order.name : "", bad ? ": " : "",
			    bad ? j.why[0] ? j.why : status_name(j.status) : "");
		if (bad)
			log_warn("volume %s: %s failed: %s", what, storage_op_name(j.order.op), j.why);
		else
			log_info("volume %s: %s done", what, storage_op_name(j.order.op));
	}
}

/* ---- VMs ---- */

/* Once: it may go on changing while this looks. */
static void look_at(struct control *c, const struct vm *vm, struct seen_vm *seen)
{
	bool fresh = !seen->there;
	struct vm_outcome is;

	vm_outcome(vm, &is);
	if (!fresh && seen->state == is.state && seen->reason == is.reason && seen->starts == vm->starts)
		return;
	/* Its report is being written, on another CPU; that it is whole is a change again. */
	if (is.state == VM_CRASHED && !vm_report(vm)[0])
		return;
	if (fresh)
		events_post(&c->events, EVENT_VM_DEFINED, vm, "%s", vm->config.origin);
	else if (seen->starts != vm->starts && seen->state == is.state && is.state != VM_RUNNING)
		events_post(&c->events, EVENT_VM_RUNNING, vm, "%s", ""); /* it ran and ended between two looks */
	if (fresh)
		*seen = (struct seen_vm){.there = true};
	seen->state = is.state;
	seen->reason = is.reason;
	seen->starts = vm->starts;
	memcpy(seen->name, vm->config.name, sizeof seen->name);
	if (!fresh || is.state != VM_DEFINED)
		post_state(c, vm, &is);
}

void watch_vms(struct control *c)
{
	uint64_t changes = __atomic_load_n(&c->cfg.machine->changes, __ATOMIC_ACQUIRE);

	post_jobs(c);
	if (changes == c->seen_changes && (c->errors_at == TIMERQ_NEVER || control_ticks(c) < c->errors_at))
		return;
	c->seen_changes = changes;
	c->errors_at = TIMERQ_NEVER;
	for (unsigned id = 1; id <= VMS_MAX; id++) {
		struct vm *vm = vm_by_id(c->cfg.machine, id);
		struct seen_vm *seen = &c->seen[id];

		if (seen->there && (!vm || strcmp(vm->config.name, seen->name) != 0)) {
			events_post_about(&c->events, EVENT_VM_DESTROYED, id, seen->name, "");
			seen->there = c->start_later[id] = false;
		}
		if (!vm)
			continue;
		look_at(c, vm, seen);
		post_full(c, vm, seen);
		post_errors(c, vm, seen);
	}
}
