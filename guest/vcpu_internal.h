/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the run loop (vcpu.c), event delivery (vcpu_event.c) and the crash
 * report (report.c). Everything here runs masked, on the CPU that has the vcpu.
 */
#ifndef CORBEL_GUEST_VCPU_INTERNAL_H
#define CORBEL_GUEST_VCPU_INTERNAL_H

#include <stdarg.h>

#include "guest/vcpu.h"
#include "lib/bits.h"

/* What the local APIC calls; ctx is the vcpu. */
extern const struct vlapic_ops vcpu_lapic_ops;

/* Stages what can be delivered at the next entry and asks for windows for what cannot. */
void vcpu_deliver(struct vcpu *v);
/* The same at the exit of an interrupt window that was asked for: nothing is staged, IF is set and nothing shadows. */
void vcpu_window_opened(struct vcpu *v);
/* Would any pending event wake the halted vcpu now? */
bool vcpu_wakes(struct vcpu *v);
/* The same; if so it is halted no more, and has been given the event or is about to be. */
bool vcpu_wake_up(struct vcpu *v);

/* @v spins: tells the scheduler to whom it yields, and true; or false, then nobody waits for whom it could. */
bool vcpu_spins(struct vcpu *v);

/* A general register by its encoding; rsp is the engine's. */
static inline uint64_t vcpu_get_gpr(struct vcpu *v, unsigned n)
{
	return unlikely(n == GPR_RSP) ? v->engine->get_reg(v, REG_RSP) : v->gpr[n];
}

static inline void vcpu_set_gpr(struct vcpu *v, unsigned n, uint64_t value)
{
	if (unlikely(n == GPR_RSP))
		v->engine->set_reg(v, REG_RSP, value);
	else
		v->gpr[n] = value;
}

/* Posts a request from the vcpu's own exit: its loop tests them before it enters again. */
static inline void vcpu_note(struct vcpu *v, uint64_t req) { __atomic_fetch_or(&v->requests, req, __ATOMIC_RELAXED); }

/* After a handler that may have set a guest timer or woken another entity: adapts the deadline, or posts. */
void vcpu_replan_slow(struct vcpu *v);
static inline void vcpu_replan(struct vcpu *v)
{
	if (unlikely(v->timers.next != v->next_timer || v->cpu->need_resched))
		vcpu_replan_slow(v);
}

/* Writes the report of @v into its VM: the sentence, exit, registers, trace, the engine's own view. */
__attribute__((format(printf, 2, 0))) void vcpu_report(struct vcpu *v, const char *fmt, va_list ap);

#endif
