/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vcpu that spins (a pause-loop exit) waits for a sibling. If none of them waits for
 * a CPU, whoever it waits for runs or sleeps, and giving the CPU away would help
 * nobody: it goes on. Else it yields: to a sibling that has been sent an
 * interrupt and has not had a CPU to take it on, since a kernel that spins
 * beside one waits for its answer, or to whom the scheduler finds furthest behind
 * (US 9,632,808), which was preempted the longest and holds the lock or the next
 * ticket most likely. What is read of siblings is a hint and may be old.
 */
#include "guest/machine.h"
#include "guest/vcpu_internal.h"
#include "guest/vm.h"

static bool waits_for_cpu(const struct vcpu *v)
{
	return __atomic_load_n(&v->entity.state, __ATOMIC_RELAXED) == SCHED_READY;
}

static bool has_mail(const struct vcpu *v) { return __atomic_load_n(&v->requests, __ATOMIC_RELAXED) & REQ_MAIL; }

/* True when a sibling of @v waits for a CPU; then *to is the one with mail, the next after @v in a ring, or NULL. */
static bool find_waiting(const struct vcpu *v, struct sched_entity **to)
{
	struct vm *vm = v->vm;
	bool any = false;

	*to = NULL;
	for (unsigned i = 1; i < vm->vcpu_count; i++) {
		struct vcpu *sibling = vm->vcpus[(v->id + i) % vm->vcpu_count];

		if (!waits_for_cpu(sibling))
			continue;
		any = true;
		if (has_mail(sibling)) {
			*to = &sibling->entity;
			break;
		}
	}
	return any;
}

bool vcpu_spins(struct vcpu *v)
{
	struct sched_entity *to;

	if (!find_waiting(v, &to))
		return false;
	sched_yield_to(v->vm->machine->sched, v->cpu->id, to);
	return true;
}
