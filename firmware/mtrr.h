/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory type range registers: read, never written. RAM that they do not
 * call write-back would be slow or, shared with a device, incoherent; CPUs that
 * disagree corrupt memory. Pure C: the registers' values are arguments.
 */
#ifndef CORBEL_FIRMWARE_MTRR_H
#define CORBEL_FIRMWARE_MTRR_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware/memmap.h"
#include "lib/error.h"
#include "lib/x86_regs.h"

struct mtrr_variable {
	uint64_t base, mask; /* the two MSRs as read */
};

/* One CPU's registers. */
struct mtrr_state {
	uint64_t cap, def_type;
	uint64_t fixed[MTRR_FIXED_COUNT];
	unsigned variable_count;
	struct mtrr_variable variable[MTRR_VARIABLE_MAX];
	unsigned phys_bits;
};

/* Number of the fixed-range MSR at each index, in address order. */
extern const uint32_t mtrr_fixed_msr[MTRR_FIXED_COUNT];

/* Memory type (MEMTYPE_*) at @at; *end (may be NULL) receives an address up to which it stays the same. */
unsigned mtrr_type(const struct mtrr_state *m, uint64_t at, uint64_t *end);

/* ST_OK when all RAM of @map, claimed or not, is write-back; else @err names the first range that is not. */
enum status mtrr_check_ram(const struct mtrr_state *m, const struct memmap *map, struct error *err) MUST_CHECK;

/* True when two CPUs agree; else @err names the register that differs and the CPU. */
bool mtrr_same(const struct mtrr_state *first, const struct mtrr_state *other, uint32_t cpu, struct error *err);

/* Reads this CPU's registers (mtrr_read.c). */
void mtrr_read(struct mtrr_state *out, unsigned phys_bits);

#endif
