/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupt messages between CPUs. The local APIC of a vcpu belongs to the CPU in
 * whose turn it is, and an engine may deliver from its page at any moment: so
 * whoever has a message for it, from another CPU or for a vcpu that runs nowhere,
 * leaves it in the vcpu's mail, sets the request and kicks; the vcpu takes its
 * mail before it enters, and the APIC then sees the message as if it had just
 * come. A sender that finds the request set already leaves the kick to who set it.
 *
 * INIT and start-up (SDM 3A 9.4, 11.4.7.3): a processor that got INIT waits for a start-up
 * message, blocked and out of every queue. The boot processor does not wait: it
 * goes on at the reset vector, in firmware that starts the machine anew, and that
 * is what an INIT to it means here. INIT wins over what came before it.
 */
#include "guest/vcpu_internal.h"

#include <string.h>

#include "guest/cpuid.h"
#include "guest/vm_internal.h"
#include "lib/x86_regs.h"

#define STARTUP_CS_ACCESS 0x009bu /* present, code, readable, accessed */
#define STARTUP_CS_LIMIT 0xffffu

/* ---- any CPU ---- */

void vcpu_leave_mail(struct vcpu *v, uint64_t req)
{
	if (!(__atomic_load_n(&v->requests, __ATOMIC_SEQ_CST) & req))
		vcpu_request(v, req);
}

static void leave_vector(struct vcpu *v, uint8_t vector, bool level)
{
	uint64_t *words = level ? v->mail.level : v->mail.edge;

	__atomic_fetch_or(&words[vector / 64], BIT(vector % 64), __ATOMIC_SEQ_CST);
	vcpu_leave_mail(v, REQ_POSTED);
}

/*
 * Not REQ_POSTED, which says that somebody has kicked: who has an ordinary message does not rely on it then. What is
 * told by REQ_LATER alone is looked for by the next of this kind.
 */
static bool kick_after(struct vcpu *v, uint64_t gap)
{
	uint64_t now = v->host->clock->ticks();

	if (now - __atomic_load_n(&v->kicked_at, __ATOMIC_RELAXED) < gap)
		return !vcpu_request_quietly(v, REQ_LATER);
	__atomic_store_n(&v->kicked_at, now, __ATOMIC_RELAXED);
	vcpu_leave_mail(v, REQ_POSTED);
	return true;
}

bool vcpu_post_after(struct vcpu *v, uint8_t vector, uint64_t gap)
{
	if (vcpu_is_here(v)) {
		vlapic_receive(&v->lapic, APIC_DELIVERY_FIXED, vector, false);
		return true;
	}
	__atomic_fetch_or(&v->mail.edge[vector / 64], BIT(vector % 64), __ATOMIC_SEQ_CST);
	return kick_after(v, gap);
}

bool vcpu_nudge(struct vcpu *v, uint64_t gap)
{
	return !(__atomic_load_n(&v->requests, __ATOMIC_SEQ_CST) & REQ_LATER) || kick_after(v, gap);
}

void vcpu_leave_init(struct vcpu *v)
{
	__atomic_store_n(&v->mail.startup, 0, __ATOMIC_SEQ_CST);
	vcpu_leave_mail(v, REQ_INIT);
}

/* The first of several counts: it starts the processor, which no longer waits for the second. */
static void leave_startup(struct vcpu *v, uint8_t vector)
{
	uint32_t none = 0, startup = (uint32_t)MAIL_STARTUP | vector;

	__atomic_compare_exchange_n(&v->mail.startup, &none, startup, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	vcpu_leave_mail(v, REQ_STARTUP);
}

void vcpu_message(struct vcpu *v, uint64_t delivery, uint8_t vector, bool level)
{
	if (vcpu_is_here(v)) {
		if (likely(delivery == APIC_DELIVERY_FIXED))
			vlapic_post(&v->lapic, vector, level);
		else
			vlapic_receive(&v->lapic, delivery, vector, level);
		return;
	}
	switch (delivery) {
	case APIC_DELIVERY_FIXED:
	case APIC_DELIVERY_LOWEST:
		leave_vector(v, vector, level);
		break;
	case APIC_DELIVERY_NMI:
		vcpu_leave_mail(v, REQ_NMI);
		break;
	case APIC_DELIVERY_INIT:
		vcpu_leave_init(v);
		break;
	case APIC_DELIVERY_STARTUP:
		leave_startup(v, vector);
		break;
	default: /* as vlapic_receive() */
		break;
	}
}

void vcpu_assert_lint0(struct vcpu *v)
{
	if (vcpu_is_here(v))
		vlapic_local_pin(&v->lapic, 0);
	else
		vcpu_leave_mail(v, REQ_LINT0);
}

/* ---- the vcpu's own CPU ---- */

static uint64_t take_word(uint64_t *word)
{
	/* Most are empty, and a locked access costs more than a look. */
	return __atomic_load_n(word, __ATOMIC_RELAXED) ? __atomic_exchange_n(word, 0, __ATOMIC_ACQ_REL) : 0;
}

static void take_vectors(struct vcpu *v)
{
	for (unsigned i = 0; i < VCPU_VECTORS / 64; i++) {
		uint64_t level = take_word(&v->mail.level[i]);

		for (uint64_t left = take_word(&v->mail.edge[i]) | level; left; left &= left - 1) {
			unsigned bit = bit_lowest(left);

			vlapic_post(&v->lapic, (uint8_t)(i * 64 + bit), level & BIT(bit));
		}
	}
}

static void drop_vectors(struct vcpu *v)
{
	for (unsigned i = 0; i < VCPU_VECTORS / 64; i++)
		(void)take_word(&v->mail.level[i]), (void)take_word(&v->mail.edge[i]);
}

/* What INIT keeps (IA32_APIC_BASE, TSC_ADJUST, MTRRs, FPU state and most MSRs) is not touched. */
static void take_init(struct vcpu *v)
{
	if (v->id == 0) {
		vm_event(v->vm, REASON_RESET, 0);
		return;
	}
	drop_vectors(v);
	v->engine->init(v);
	pvtime_reset(v);
	memset(v->gpr, 0, sizeof v->gpr);
	v->gpr[GPR_RDX] = v->vm->cpuid->basic[CPUID_FEATURES].eax; /* table 10-1: family, model, stepping */
	v->halted = v->nmi_pending = v->exception_pending = false;
	v->irq_window = v->nmi_window = false;
	vlapic_reset(&v->lapic, true);
	v->waiting = true;
}

/*
 * A processor that does not wait for it ignores the message. It is not touched then: it may be one that follows an INIT
 * which came after our look at the requests; one that was sent before is cleared by the next INIT.
 */
static void take_startup(struct vcpu *v)
{
	uint32_t startup = v->waiting ? __atomic_exchange_n(&v->mail.startup, 0, __ATOMIC_ACQ_REL) : 0;
	uint8_t vector = (uint8_t)startup;
	const struct segment code = {
		.base = (uint64_t)vector << 12,
		.limit = STARTUP_CS_LIMIT,
		.selector = (uint16_t)(vector << 8),
		.access = STARTUP_CS_ACCESS,
	};

	if (!startup)
		return;
	v->engine->set_segment(v, SEG_CS, &code);
	v->engine->set_reg(v, REG_RIP, 0);
	v->waiting = false;
}

void vcpu_take_mail(struct vcpu *v)
{
	uint64_t req = __atomic_fetch_and(&v->requests, ~REQ_MAIL, __ATOMIC_SEQ_CST) & REQ_MAIL;

	if (req & REQ_DEVICES)
		vm_follow_timers(v->vm);
	if (req & REQ_INIT)
		take_init(v);
	/* A processor that waits takes nothing else: its APIC is off, and an NMI has no handler to go to. */
	if (v->waiting) {
		drop_vectors(v);
		if (req & REQ_STARTUP)
			take_startup(v);
		return;
	}
	if (req & REQ_STARTUP)
		take_startup(v);
	if (req & REQ_NMI)
		vcpu_lapic_ops.nmi(v);
	if (req & REQ_LINT0)
		vlapic_local_pin(&v->lapic, 0);
	if (req & (REQ_POSTED | REQ_LATER))
		take_vectors(v);
}
