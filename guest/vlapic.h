/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC of one vcpu, in xAPIC and x2APIC modes (SDM vol 3 ch. 11). Its
 * registers live in one 4 KiB page laid out as the hardware's virtual-APIC page,
 * so that an engine with virtual-interrupt delivery works on the same state.
 */
#ifndef CORBEL_GUEST_VLAPIC_H
#define CORBEL_GUEST_VLAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/device.h"
#include "guest/vtime.h"
#include "lib/status.h"
#include "lib/timerq.h"

enum vlapic_mode { VLAPIC_DISABLED, VLAPIC_XAPIC, VLAPIC_X2APIC };

#define VLAPIC_BASE 0xfee00000ull
#define VLAPIC_SIZE 0x1000u

/* What the APIC tells its vcpu and the other APICs; @ctx is the vcpu. */
struct vlapic_ops {
	/* Pending, in-service or priority state changed: events must be evaluated before the next entry. */
	void (*changed)(void *ctx);
	void (*nmi)(void *ctx);
	void (*init)(void *ctx);
	void (*startup)(void *ctx, uint8_t vector);
	/* An ICR write with a destination other than self alone: route to the VM's other APICs. */
	void (*ipi)(void *ctx, uint64_t icr);
	/* A level-triggered vector was EOIed and not suppressed: tell the IO-APIC. */
	void (*eoi)(void *ctx, uint8_t vector);
	void (*mode_changed)(void *ctx, enum vlapic_mode mode);
};

struct vlapic {
	struct device dev;      /* the MMIO face at VLAPIC_BASE, xAPIC mode only */
	uint8_t *page;          /* 4 KiB, page aligned; given at init */
	uint32_t id;
	enum vlapic_mode mode;
	uint64_t base_msr;      /* IA32_APIC_BASE */
	uint64_t tsc_deadline;  /* IA32_TSC_DEADLINE as the guest reads it */
	uint64_t timer_start;   /* guest TSC when the count was (re)loaded */
	struct timer timer;
	struct timerq *timers;  /* the vcpu's queue, guest TSC */
	const struct vm_time *time;
	const struct vlapic_ops *ops;
	void *ctx;
};

/* The timer counts at guest TSC hz / vlapic_timer_ratio(hz): the crystal of CPUID leaf 15h. 1 up to 4 GHz, then more. */
uint32_t vlapic_timer_ratio(uint64_t tsc_hz);

void vlapic_init(struct vlapic *l, uint32_t id, void *page, struct timerq *timers, const struct vm_time *time,
		 const struct vlapic_ops *ops, void *ctx);
/* Power-on or INIT state. @init keeps id and base MSR as INIT does. */
void vlapic_reset(struct vlapic *l, bool init);

/* MSRs 0x800-0x8ff in x2APIC mode, IA32_APIC_BASE and IA32_TSC_DEADLINE. ST_INVALID: #GP. */
enum status vlapic_read_msr(struct vlapic *l, uint32_t index, uint64_t *out);
enum status vlapic_write_msr(struct vlapic *l, uint32_t index, uint64_t value);

/* Requests @vector (16..255; lower is an APIC error). */
void vlapic_post(struct vlapic *l, uint8_t vector, bool level);
/* Delivers local interrupt pin 0 or 1 by its LVT entry (@level changed to asserted). */
void vlapic_local_pin(struct vlapic *l, unsigned pin);
/* True when LINT0 passes the 8259's INTR (ExtINT, unmasked, or APIC disabled). */
bool vlapic_accepts_pic(const struct vlapic *l);
/* Does an interrupt message (IO-APIC, MSI, IPI) with this destination reach this APIC? */
bool vlapic_matches(const struct vlapic *l, uint32_t dest, bool logical);

/* Highest requested / in-service vector, -1 for none. */
int vlapic_highest_irr(const struct vlapic *l);
int vlapic_highest_isr(const struct vlapic *l);
/* Highest requested vector if its class is above the processor priority, else -1 (also when software-disabled). */
int vlapic_deliverable(const struct vlapic *l);
/* Moves @vector from requested to in service: it is being delivered (engines without virtual interrupts). */
void vlapic_accept(struct vlapic *l, uint8_t vector);
/* EOI by register write; @hw_vector >= 0: the engine already did the EOI of that vector, only the IO-APIC is to be told. */
void vlapic_eoi(struct vlapic *l, int hw_vector);
/* Vectors whose EOI must reach us (level-triggered). */
void vlapic_eoi_exits(const struct vlapic *l, uint64_t bitmap[4]);
/* Task priority, CR8 view (0..15). */
uint8_t vlapic_get_cr8(const struct vlapic *l);
void vlapic_set_cr8(struct vlapic *l, uint8_t cr8);

#endif
