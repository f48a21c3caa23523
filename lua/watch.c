/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of VMs as events. A guest leaves the running state on its vcpu's CPU,
 * where nothing may be posted; so the control task compares what it sees with
 * what it saw, whenever it is woken. A restart between two looks is seen by the
 * count of starts.
 */
#include <string.h>

#include "guest/vm.h"
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

/* Once: it may go on changing while this looks. */
static void look_at(struct control *c, const struct vm *vm, struct seen_vm *seen)
{
	bool fresh = !seen->there;
	struct vm_outcome is;

	vm_outcome(vm, &is);
	if (!fresh && seen->state == is.state && seen->starts == vm->starts)
		return;
	/* Its report is being written, on another CPU; that it is whole is a change again. */
	if (is.state == VM_CRASHED && !vm_report(vm)[0])
		return;
	if (fresh)
		events_post(&c->events, EVENT_VM_DEFINED, vm, "%s", vm->config.origin);
	else if (seen->starts != vm->starts && seen->state == is.state && is.state != VM_RUNNING)
		events_post(&c->events, EVENT_VM_RUNNING, vm, "%s", ""); /* it ran and ended between two looks */
	*seen = (struct seen_vm){.there = true, .state = is.state, .starts = vm->starts};
	memcpy(seen->name, vm->config.name, sizeof seen->name);
	if (!fresh || is.state != VM_DEFINED)
		post_state(c, vm, &is);
}

void watch_vms(struct control *c)
{
	uint64_t changes = __atomic_load_n(&c->cfg.machine->changes, __ATOMIC_ACQUIRE);

	if (changes == c->seen_changes)
		return;
	c->seen_changes = changes;
	for (unsigned id = 1; id <= VMS_MAX; id++) {
		const struct vm *vm = vm_by_id(c->cfg.machine, id);
		struct seen_vm *seen = &c->seen[id];

		if (seen->there && (!vm || strcmp(vm->config.name, seen->name) != 0)) {
			events_post_about(&c->events, EVENT_VM_DESTROYED, id, seen->name, "");
			seen->there = false;
		}
		if (vm)
			look_at(c, vm, seen);
	}
}
