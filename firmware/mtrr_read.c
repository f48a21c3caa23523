/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one part of MTRR handling that touches the processor.
 */
#include <string.h>

#include "firmware/mtrr.h"
#include "lib/bits.h"
#include "lib/x86_asm.h"

void mtrr_read(struct mtrr_state *out, unsigned phys_bits)
{
	memset(out, 0, sizeof(*out));
	out->phys_bits = phys_bits;
	out->cap = rdmsr(MSR_IA32_MTRRCAP);
	out->def_type = rdmsr(MSR_IA32_MTRR_DEF_TYPE);
	for (unsigned i = 0; i < MTRR_FIXED_COUNT && (out->cap & MTRRCAP_FIX); i++)
		out->fixed[i] = rdmsr(mtrr_fixed_msr[i]);
	out->variable_count = MIN((unsigned)(out->cap & MTRRCAP_VCNT_MASK), MTRR_VARIABLE_MAX);
	for (unsigned i = 0; i < out->variable_count; i++)
		out->variable[i] = (struct mtrr_variable){
			.base = rdmsr(MSR_IA32_MTRR_PHYSBASE(i)),
			.mask = rdmsr(MSR_IA32_MTRR_PHYSMASK(i)),
		};
}
