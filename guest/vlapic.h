/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC of one vcpu, in xAPIC and x2APIC modes (SDM vol 3 ch. 11). Its
 * registers live in one 4 KiB page laid out as the hardware's virtual-APIC page,
 * so that an engine with virtual-interrupt delivery works on the same state.
 * Everything here runs with interrupts masked, on the CPU that runs the vcpu or
 * while the vcpu runs nowhere, but for the few calls that say otherwise: whether
 * a message reaches this APIC is what its senders, on other CPUs, have to ask.
 */
#ifndef CORBEL_GUEST_VLAPIC_H
#define CORBEL_GUEST_VLAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/device.h"
#include "guest/vtime.h"
#include "lib/bits.h"
#include "lib/status.h"
#include "lib/timerq.h"
#include "lib/x86_regs.h"

enum vlapic_mode { VLAPIC_DISABLED, VLAPIC_XAPIC, VLAPIC_X2APIC };

/* struct vlapic.route: the mode, the software's enable bit, the destination format, and the LDR. */
#define VLAPIC_ROUTE_MODE MASK(1, 0)
#define VLAPIC_ROUTE_ENABLED BIT(2)
#define VLAPIC_ROUTE_FLAT BIT(3)
#define VLAPIC_ROUTE_LDR MASK(63, 32)

#define VECTORS_ILLEGAL 16 /* vectors 0..15 cannot be requested */

#define VLAPIC_BASE 0xfee00000ull
#define VLAPIC_SIZE 0x1000u

/* What the APIC tells its vcpu and the other APICs; @ctx is the vcpu. None may be NULL. */
struct vlapic_ops {
	/* Pending, in-service or priority state changed: events must be evaluated before the next entry. */
	void (*changed)(void *ctx);
	/* The same where nothing changed but that edge-triggered @vector was requested. */
	void (*posted)(void *ctx, uint8_t vector);
	void (*nmi)(void *ctx);
	void (*init)(void *ctx);
	void (*startup)(void *ctx, uint8_t vector);
	/*
	 * An ICR write that may reach others; @icr is in x2APIC form, destination in bits 63:32. It goes to each of
	 * the VM's other APICs of which vlapic_ipi_reaches() is true (this one has taken its own share), or, with
	 * lowest priority, to one of all, this one included.
	 */
	void (*ipi)(void *ctx, uint64_t icr);
	/* A level-triggered vector was EOIed and not suppressed: tell the IO-APIC. */
	void (*eoi)(void *ctx, uint8_t vector);
	void (*mode_changed)(void *ctx, enum vlapic_mode mode);
};

struct vlapic {
	struct device dev;      /* the MMIO face at VLAPIC_BASE, xAPIC mode only */
	uint8_t *page;          /* 4 KiB, page aligned; given at init, kept by the creator */
	uint32_t id;
	enum vlapic_mode mode;
	/*
	 * The engine delivers from the page by itself, so IRR and ISR change behind our back. Set once by the
	 * owner after init; without it the summaries below are exact and searches cheaper.
	 */
	bool hw_delivery;
	/* Bit n: word n (vectors 32n..32n+31) of the page's IRR, ISR, TMR is not 0. TMR only we write. */
	uint8_t irr_words, isr_words, tmr_words;
	/* What senders must know (VLAPIC_ROUTE_*), in one word that they read at once; we alone write it. */
	uint64_t route;
	uint32_t errors;        /* ESR bits detected since the last write to ESR */
	uint64_t base_msr;      /* IA32_APIC_BASE */
	uint32_t timer_ratio;   /* TSC ticks for each tick of the timer's crystal */
	uint64_t timer_due;     /* guest TSC at which the count reaches 0 or the TSC deadline; 0: stopped */
	struct timer timer;     /* queued at timer_due while the timer runs and its LVT entry is not masked */
	struct timerq *timers;  /* the vcpu's queue, guest TSC */
	const struct vm_time *time;
	const struct vlapic_ops *ops;
	void *ctx;
};

/* The timer counts at guest TSC hz / vlapic_timer_ratio(hz), the crystal of CPUID leaf 15h: 1 up to 4 GHz, then more.
 */
uint32_t vlapic_timer_ratio(uint64_t tsc_hz);

/* Power-on state in xAPIC mode; calls no op. @page, @timers (one slot), @time, @ops and @ctx outlive it. */
void vlapic_init(struct vlapic *l, uint32_t id, void *page, struct timerq *timers, const struct vm_time *time,
		 const struct vlapic_ops *ops, void *ctx);
/* Power-on or INIT state. @init keeps mode and base MSR as INIT does. */
void vlapic_reset(struct vlapic *l, bool init);
/*
 * What firmware leaves to an operating system on the boot processor (MP specification 1.4, 3.6.2.2):
 * enabled by software, LINT0 passes the 8259's interrupts, LINT1 is NMI.
 */
void vlapic_virtual_wire(struct vlapic *l);

/* MSRs 0x800-0x8ff in x2APIC mode, IA32_APIC_BASE and IA32_TSC_DEADLINE. ST_INVALID: #GP. */
MUST_CHECK enum status vlapic_read_msr(struct vlapic *l, uint32_t index, uint64_t *out);
MUST_CHECK enum status vlapic_write_msr(struct vlapic *l, uint32_t index, uint64_t value);

/* IA32_TSC_DEADLINE is written; ignored in the timer's other modes. */
void vlapic_timer_write_deadline(struct vlapic *l, uint64_t deadline);

/* Requests @vector (16..255; lower is an APIC error). Lost while the APIC is disabled, by hardware or software. */
void vlapic_post(struct vlapic *l, uint8_t vector, bool level);
/* Is an x2APIC ICR value a fixed, edge-triggered vector with the shorthand for itself, and nothing reserved or wrong? */
static inline bool vlapic_is_to_itself(uint64_t icr)
{
	return (icr & ~(MASK(63, 32) | APIC_ICR_ASSERT | UINT8_MAX)) == APIC_ICR_SELF && (uint8_t)icr >= VECTORS_ILLEGAL;
}
/* Takes such a write to the ICR. */
static inline void vlapic_post_itself(struct vlapic *l, uint64_t icr)
{
	put_le64(l->page + APIC_REG_ICR_LOW, icr);
	vlapic_post(l, (uint8_t)icr, false);
}
/*
 * Takes a message that was addressed to this APIC: @delivery is an APIC_DELIVERY_* value (fixed, lowest, NMI,
 * INIT, start-up; SMI and ExtINT are dropped), @vector its vector.
 */
void vlapic_receive(struct vlapic *l, uint64_t delivery, uint8_t vector, bool level);
/* Does the shorthand or destination of an IPI name this APIC, which sent it (@itself) or not? Any CPU. */
bool vlapic_ipi_reaches(const struct vlapic *l, uint64_t icr, bool itself);
/* Delivers local interrupt pin 0 or 1 by its LVT entry: the pin was just asserted. */
void vlapic_local_pin(struct vlapic *l, unsigned pin);
/* True when LINT0 passes the 8259's INTR (ExtINT, unmasked, or APIC disabled). */
static inline bool vlapic_accepts_pic(const struct vlapic *l)
{
	uint32_t lvt = get_le32(l->page + APIC_REG_LVT_LINT0);

	return l->mode == VLAPIC_DISABLED || (lvt & (APIC_LVT_MASKED | APIC_LVT_DELIVERY_MASK)) == APIC_DELIVERY_EXTINT;
}
/* Does an interrupt message (IO-APIC, MSI, IPI) with this destination reach this APIC? Broadcast is all ones. Any CPU. */
bool vlapic_matches(const struct vlapic *l, uint32_t dest, bool logical);
/* Is it enabled, by hardware and software, so that it takes interrupts? Any CPU. */
bool vlapic_listens(const struct vlapic *l);

/* Highest requested / in-service vector, -1 for none. */
int vlapic_highest_irr(const struct vlapic *l);
int vlapic_highest_isr(const struct vlapic *l);
/* Is anything requested besides @vector? */
bool vlapic_others_wait(const struct vlapic *l, uint8_t vector);
/* Processor priority: task priority or the class in service, whichever is higher (SDM 11.8.3.1). */
uint8_t vlapic_ppr(const struct vlapic *l);
/* Highest requested vector if its class is above the processor priority, else -1 (also when software-disabled). */
int vlapic_deliverable(const struct vlapic *l);
/* Moves @vector from requested to in service: it is being delivered by injection. */
void vlapic_accept(struct vlapic *l, uint8_t vector);
/* The reverse: it was not delivered after all. False: it is not in service. */
bool vlapic_unaccept(struct vlapic *l, uint8_t vector);
/* Both at once for the highest deliverable vector: that, or -1. */
int vlapic_take(struct vlapic *l);
/* EOI by register write; @hw_vector >= 0: the engine has done the EOI of that vector, only the IO-APIC is to be told.
 */
void vlapic_eoi(struct vlapic *l, int hw_vector);
/* EOI by register write in the usual case, with which nothing else comes: true, or false, then nothing has been done. */
static inline bool vlapic_end(struct vlapic *l)
{
	unsigned word;
	uint8_t *at;
	uint32_t left;

	/* Who asks for one may have it now, a level-triggered one is told to the IO-APIC, the summary must be exact. */
	if (unlikely(l->hw_delivery || l->irr_words != 0 || l->tmr_words != 0 || l->isr_words == 0))
		return false;
	word = bit_highest(l->isr_words);
	at = l->page + APIC_REG_ISR + word * APIC_REG_STEP;
	left = get_le32(at);
	left ^= 1u << bit_highest(left);
	put_le32(at, left);
	if (left == 0)
		l->isr_words ^= (uint8_t)(1u << word);
	return true;
}
/* Vectors whose EOI must reach us (level-triggered). */
void vlapic_eoi_exits(const struct vlapic *l, uint64_t bitmap[4]);
/* Task priority, CR8 view (0..15). */
uint8_t vlapic_get_cr8(const struct vlapic *l);
void vlapic_set_cr8(struct vlapic *l, uint8_t cr8);

#endif
