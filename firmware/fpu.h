/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vector state of host tasks. It is switched eagerly, whole, at each change
 * between a task and anything else, never by CR0.TS faults. The CPU loop and the
 * managers own none: they are built without vector instructions.
 */
#ifndef CORBEL_FIRMWARE_FPU_H
#define CORBEL_FIRMWARE_FPU_H

#include <stdint.h>

/* fpu_area_bytes() bytes, 64-byte aligned: an XSAVE area in standard format. */
struct xsave_area;

uint32_t fpu_area_bytes(void);

/* Fills @area with the state that a new task starts with (all components initial). */
void fpu_area_init(struct xsave_area *area);

/*
 * Makes the registers hold @to: what they held is saved into the area that owned
 * them. NULL: save only; afterwards the registers belong to nobody and an engine
 * may load a guest's state. Interrupts masked.
 */
void fpu_switch(struct xsave_area *to);

/*
 * What moves a guest's state out of the registers and sets XCR0 back to the
 * host's, called before a task's state is loaded (the engine's vmx_fpu_take).
 */
void fpu_set_guest_eviction(void (*evict)(void));

#endif
