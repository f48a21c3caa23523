/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which event a vcpu takes next: exceptions, then NMI, then the 8259's
 * interrupt, then the local APIC's (SDM 3A 6.9). One event is staged at an
 * entry; what remains asks for a window and is looked at again when that opens.
 *
 * An engine that delivers virtual interrupts is told of the APIC's state
 * instead; it still takes exceptions, NMIs and the 8259's vector from here.
 */
#include "guest/vcpu_internal.h"

#include "guest/platform.h"
#include "guest/vm.h"
#include "lib/x86_regs.h"

/* ---- what may be delivered ---- */

static bool pic_pending(const struct vcpu *v)
{
	return v->id == 0 && vlapic_accepts_pic(&v->lapic) && platform_pic_pending(v->vm);
}

/* ---- staging ---- */

static void inject(struct vcpu *v, enum event_type type, uint8_t vector)
{
	struct event e = {.type = type, .vector = vector};

	v->injected++;
	v->engine->inject(v, &e);
}

static void set_window(struct vcpu *v, enum event_type type, bool *asked, bool on)
{
	if (*asked == on)
		return;
	*asked = on;
	v->engine->want_window(v, type, on);
}

static void deliver_nmi(struct vcpu *v)
{
	if (v->nmi_pending && v->engine->can_inject(v, EVENT_NMI)) {
		v->nmi_pending = false;
		inject(v, EVENT_NMI, VEC_NMI);
	}
	set_window(v, EVENT_NMI, &v->nmi_window, v->nmi_pending);
}

/* True while the 8259 pair still has something for us. */
static bool deliver_pic(struct vcpu *v)
{
	if (!pic_pending(v))
		return false;
	if (!v->engine->can_inject(v, EVENT_INTERRUPT))
		return true;
	inject(v, EVENT_INTERRUPT, platform_pic_ack(v->vm));
	return pic_pending(v);
}

/* A request that only the task priority holds back must be seen when the guest lowers it. */
static void watch_tpr(struct vcpu *v)
{
	int irr = vlapic_highest_irr(&v->lapic);
	int watch = irr >= 0 && irr >> 4 <= vlapic_get_cr8(&v->lapic) ? irr : -1;
	static const uint64_t none[4];

	if (watch == v->tpr_watch)
		return;
	v->tpr_watch = watch;
	v->engine->sync_apic(v, watch, -1, none);
}

/* True when a vector is left that only needs a window. */
static bool deliver_apic(struct vcpu *v)
{
	int vector = vlapic_deliverable(&v->lapic);

	if (vector >= 0) {
		if (!v->engine->can_inject(v, EVENT_INTERRUPT))
			return true;
		vlapic_accept(&v->lapic, (uint8_t)vector);
		inject(v, EVENT_INTERRUPT, (uint8_t)vector);
	}
	watch_tpr(v);
	return false;
}

static void sync_apic(struct vcpu *v)
{
	uint64_t eoi_exits[4];

	vlapic_eoi_exits(&v->lapic, eoi_exits);
	v->engine->sync_apic(v, vlapic_highest_irr(&v->lapic), vlapic_highest_isr(&v->lapic), eoi_exits);
}

static void deliver_interrupts(struct vcpu *v)
{
	bool want = deliver_pic(v);

	if (v->engine->caps.virtual_interrupts)
		sync_apic(v);
	else
		want |= deliver_apic(v);
	set_window(v, EVENT_INTERRUPT, &v->irq_window, want);
}

void vcpu_deliver(struct vcpu *v)
{
	if (v->exception_pending) {
		v->exception_pending = false;
		v->injected++;
		v->engine->inject(v, &v->exception);
	}
	deliver_nmi(v);
	deliver_interrupts(v);
}

/* The highest of the APIC's, if there is one: it can be injected, with nothing else to be looked at. */
static inline bool deliver_vector(struct vcpu *v)
{
	int vector = vlapic_take(&v->lapic);

	if (likely(vector >= 0)) {
		v->injected++;
		v->engine->inject_interrupt(v, (uint8_t)vector);
	}
	if (unlikely(v->lapic.irr_words != 0 || v->tpr_watch >= 0))
		watch_tpr(v);
	return vector >= 0;
}

/* Mostly the window was the APIC's; then there is nothing else to look at, and what it has can be injected. */
void vcpu_window_opened(struct vcpu *v)
{
	if (unlikely(v->exception_pending || v->nmi_pending || v->engine->caps.virtual_interrupts || pic_pending(v)))
		vcpu_deliver(v);
	else
		(void)deliver_vector(v);
}

bool vcpu_wakes(struct vcpu *v)
{
	if (v->exception_pending || (v->nmi_pending && v->engine->can_inject(v, EVENT_NMI)))
		return true;
	return v->halted_open && (vlapic_deliverable(&v->lapic) >= 0 || pic_pending(v));
}

/* An engine that delivers by itself knows best, once it has been told all. */
static bool apic_wakes(struct vcpu *v)
{
	if (!v->halted_open)
		return false;
	if (!v->engine->caps.virtual_interrupts)
		return deliver_vector(v);
	if (v->requests & REQ_EVENT)
		return vlapic_deliverable(&v->lapic) >= 0;
	return vlapic_listens(&v->lapic) && v->engine->interrupt_due(v);
}

/*
 * Mostly it is the APIC's vector alone, as in a window that has opened: IF is set, no instruction shadows, and who
 * executed HLT had nothing staged.
 */
bool vcpu_wake_up(struct vcpu *v)
{
	if (unlikely(v->exception_pending || v->nmi_pending || v->irq_window || pic_pending(v))) {
		if (!vcpu_wakes(v))
			return false;
		vcpu_note(v, REQ_EVENT);
	} else if (!apic_wakes(v)) {
		return false;
	}
	v->halted = false;
	return true;
}

/* ---- exceptions ---- */

enum exception_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

/* SDM 3A 6.15, table 6-4. */
static enum exception_class class_of(uint8_t vector)
{
	switch (vector) {
	case VEC_DE:
	case VEC_TS:
	case VEC_NP:
	case VEC_SS:
	case VEC_GP:
		return CONTRIBUTORY;
	case VEC_PF:
	case VEC_VE:
		return PAGE_FAULT;
	case VEC_DF:
		return DOUBLE_FAULT;
	default:
		return BENIGN;
	}
}

/* SDM 3A 6.15, table 6-5: does @second while delivering @first make it worse? */
static bool escalates(enum exception_class first, enum exception_class second)
{
	if (first == BENIGN || second == BENIGN)
		return false;
	return first != CONTRIBUTORY || second == CONTRIBUTORY;
}

void vcpu_raise(struct vcpu *v, uint8_t vector, bool has_error, uint32_t error)
{
	struct event e = {.type = EVENT_EXCEPTION, .vector = vector, .has_error = has_error, .error = error};

	if (v->exception_pending && escalates(class_of(v->exception.vector), class_of(vector))) {
		if (v->exception.vector == VEC_DF) {
			vcpu_crash(v, "triple fault: exception %u while delivering a double fault", vector);
			return;
		}
		e = (struct event){.type = EVENT_EXCEPTION, .vector = VEC_DF, .has_error = true};
	}
	v->exception = e;
	v->exception_pending = true;
	vcpu_request(v, REQ_EVENT);
}

/* ---- the local APIC's side ---- */

/* Where a vcpu has a turn, nobody but its own CPU touches its APIC (vlapic.h). */
static bool in_turn(const struct vcpu *v) { return v->cpu->vcpu == v; }

static void lapic_changed(void *ctx)
{
	struct vcpu *v = ctx;

	if (likely(in_turn(v)))
		vcpu_note(v, REQ_EVENT);
	else
		vcpu_request(v, REQ_EVENT);
}

/*
 * An engine that delivers by itself needs the vector alone; what else is pending stays as it has been judged. With
 * others, what cannot be injected now (the guest has interrupts off) waits for a window: all is judged when that opens.
 */
static void lapic_posted(void *ctx, uint8_t vector)
{
	struct vcpu *v = ctx;

	if (unlikely(!in_turn(v)))
		lapic_changed(v);
	else if (v->engine->caps.virtual_interrupts)
		v->engine->post_interrupt(v, vector);
	else if (v->irq_window || v->halted)
		return; /* all is judged when that opens, or before it goes on */
	else if (v->engine->offer_interrupt(v))
		vcpu_note(v, REQ_EVENT);
	else
		v->irq_window = true;
}

static void lapic_nmi(void *ctx)
{
	struct vcpu *v = ctx;

	v->nmi_pending = true;
	lapic_changed(v);
}

/* From itself. The instruction under way ends first: that its registers are gone is for the next entry to see. */
static void lapic_init(void *ctx) { vcpu_leave_init(ctx); }

/* A start-up message is ignored by a processor that is not waiting for one (SDM 3A 9.4.3), and who waits sends none. */
static void lapic_startup(void *ctx, uint8_t vector)
{
	(void)ctx;
	(void)vector;
}

/* Of those that a lowest-priority message names: by the vector, since how busy the others are cannot be seen from here. */
static struct vcpu *choose(struct vcpu *from, uint64_t icr)
{
	struct vm *vm = from->vm;
	struct vcpu *named[VM_VCPUS_MAX];
	unsigned count = 0;

	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *v = vm->vcpus[i];

		if (vlapic_listens(&v->lapic) && vlapic_ipi_reaches(&v->lapic, icr, v == from))
			named[count++] = v;
	}
	return count ? named[(uint8_t)icr % count] : NULL;
}

static void lapic_ipi(void *ctx, uint64_t icr)
{
	struct vcpu *from = ctx;
	struct vm *vm = from->vm;
	uint64_t delivery = icr & APIC_LVT_DELIVERY_MASK;
	struct vcpu *chosen = delivery == APIC_DELIVERY_LOWEST ? choose(from, icr) : NULL;

	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *v = vm->vcpus[i];

		if (delivery == APIC_DELIVERY_LOWEST ? v == chosen
						     : v != from && vlapic_ipi_reaches(&v->lapic, icr, false))
			vcpu_message(v, delivery, (uint8_t)icr, false);
	}
}

static void lapic_eoi(void *ctx, uint8_t vector)
{
	struct vcpu *v = ctx;

	platform_eoi(v->vm, vector);
}

static void lapic_mode_changed(void *ctx, enum vlapic_mode mode)
{
	(void)mode;
	vcpu_request(ctx, REQ_APIC_MODE);
}

const struct vlapic_ops vcpu_lapic_ops = {
	.changed = lapic_changed,
	.posted = lapic_posted,
	.nmi = lapic_nmi,
	.init = lapic_init,
	.startup = lapic_startup,
	.ipi = lapic_ipi,
	.eoi = lapic_eoi,
	.mode_changed = lapic_mode_changed,
};
