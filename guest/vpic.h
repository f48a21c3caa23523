/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pair of 8259A interrupt controllers of the PC, the second cascaded into
 * input 2 of the first, with the edge/level registers (ELCR) of the chip sets.
 */
#ifndef CORBEL_GUEST_VPIC_H
#define CORBEL_GUEST_VPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/device.h"

/* Register offsets of the device; the platform maps them to 0x20, 0xa0 and 0x4d0. */
#define VPIC_MASTER 0u
#define VPIC_SLAVE 2u
#define VPIC_ELCR 4u

struct vpic_chip {
	uint8_t irr, imr, isr;
	uint8_t lines;       /* inputs that are high now */
	uint8_t elcr;        /* 1: level-triggered */
	uint8_t base;        /* ICW2: vector of input 0 */
	uint8_t top;         /* the input of highest priority: rotation */
	uint8_t next_icw;    /* ICW that the next write to A0 = 1 is, 0: OCW1 */
	uint8_t icw1;
	bool auto_eoi, rotate_auto_eoi;
	bool special_mask, special_fully_nested;
	bool poll, read_isr;
};

struct vpic {
	struct device dev;
	struct vpic_chip chips[2];
	bool intr;           /* the first chip's INT output: written atomically */
	/* The output rose or fell. */
	void (*output)(void *ctx, bool level);
	void *ctx;
};

void vpic_init(struct vpic *pic, void (*output)(void *ctx, bool level), void *ctx);
/* Input @irq (0..15 but 2) is high or low. */
void vpic_set(struct vpic *pic, unsigned irq, bool level);
/* Interrupt acknowledge: the vector; that of input 7 of a chip when its request has gone (spurious). */
uint8_t vpic_ack(struct vpic *pic);
/* The output, for those who look without what orders all other calls. */
static inline bool vpic_pending(const struct vpic *pic) { return __atomic_load_n(&pic->intr, __ATOMIC_RELAXED); }

#endif
