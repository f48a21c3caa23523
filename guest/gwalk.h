/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's own page walk, in two parts: what mode the vcpu is in, read once
 * per emulated instruction, and the walk for one address in that mode. Masked,
 * on the CPU that has the vcpu loaded.
 */
#ifndef CORBEL_GUEST_GWALK_H
#define CORBEL_GUEST_GWALK_H

#include <stdbool.h>

#include "guest/vcpu.h"
#include "lib/addr.h"

enum paging { PAGING_NONE, PAGING_32, PAGING_PAE, PAGING_4LEVEL };

struct walk_mode {
	enum paging paging;
	uint64_t cr3;
	uint64_t reserved; /* physical address bits that must be 0 in an entry */
	unsigned cpl;
	bool wp, nxe, smep, smap_checked; /* smap_checked: CR4.SMAP and not RFLAGS.AC */
	bool pse, page1gb;
};

/* Bits 63..47 of a 4-level linear address are equal. */
static inline bool gwalk_canonical(uint64_t linear)
{
	int64_t high = (int64_t)linear >> 47;

	return high == 0 || high == -1;
}

void gwalk_mode(const struct vcpu *v, const struct cpu_mode *cpu, struct walk_mode *out);
/*
 * Translates @linear for @access (one of S2_READ, S2_WRITE, S2_EXEC, or S2_READ | S2_WRITE). ST_BAD_ADDRESS: the
 * guest's page fault, error code in *pf_error. Sets no accessed or dirty bit. Protection keys are not looked at.
 */
enum status gwalk_translate(struct vcpu *v, const struct walk_mode *m, gva_t linear, unsigned access, gpa_t *out,
			    uint32_t *pf_error);

#endif
