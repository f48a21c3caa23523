/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the three files of the local APIC share: registers in the page, and the
 * calls between priorities (vlapic.c), registers (vlapic_regs.c) and the timer
 * (vlapic_timer.c).
 */
#ifndef CORBEL_GUEST_VLAPIC_INTERNAL_H
#define CORBEL_GUEST_VLAPIC_INTERNAL_H

#include "guest/vlapic.h"
#include "lib/bits.h"
#include "lib/x86_regs.h"

static inline uint32_t vlapic_reg(const struct vlapic *l, uint32_t reg) { return get_le32(l->page + reg); }
static inline void vlapic_set_reg(struct vlapic *l, uint32_t reg, uint32_t v) { put_le32(l->page + reg, v); }

/* By hardware and software: as published, which follows every change of the mode and the SVR at once. */
static inline bool vlapic_enabled(const struct vlapic *l) { return l->route & VLAPIC_ROUTE_ENABLED; }

/* Records an APIC error (APIC_ESR_*) and raises the LVT error interrupt when it is a new one. */
void vlapic_error(struct vlapic *l, uint32_t bit);
/* Delivers by LVT entry @reg unless it is masked. */
void vlapic_fire_lvt(struct vlapic *l, uint32_t reg);
/* Takes and routes the IPI @icr (x2APIC form) that this APIC sends. */
void vlapic_send_ipi(struct vlapic *l, uint64_t icr);

/* Face of the registers, wired by vlapic_init(). */
extern const struct device_ops vlapic_mmio_ops;
/* Tells senders of a change to the mode, SVR, LDR or DFR. */
void vlapic_publish(struct vlapic *l);
/* Register values after power-on or INIT, by l->mode. */
void vlapic_reset_regs(struct vlapic *l);

void vlapic_timer_init(struct vlapic *l);
void vlapic_timer_stop(struct vlapic *l);
uint32_t vlapic_timer_current(struct vlapic *l);
void vlapic_timer_write_initial(struct vlapic *l, uint32_t count);
void vlapic_timer_write_divide(struct vlapic *l, uint32_t value);
/* A write to the timer's LVT entry, or its mask set by a software disable. */
void vlapic_timer_write_lvt(struct vlapic *l, uint32_t value);
uint64_t vlapic_timer_read_deadline(struct vlapic *l);

#endif
