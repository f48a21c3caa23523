/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XSAVE in the standard format, because guests and host tasks share nothing but
 * the registers, and the standard format needs no agreement on layout.
 * SDM 1:13.7, 13.8.
 */
#include "firmware/fpu.h"

#include <string.h>

#include "firmware/cpu.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/x86_asm.h"

#define AREA_ALIGN 64u

static void (*evict_guest)(void);

uint32_t fpu_area_bytes(void)
{
	return the_cpu.xsave_bytes;
}

void fpu_area_init(struct xsave_area *area)
{
	uint8_t *bytes = (uint8_t *)area;

	ASSERT(is_aligned((uint64_t)area, AREA_ALIGN));
	/* XSTATE_BV = 0 makes XRSTOR initialise each component; only MXCSR is always loaded. */
	memset(bytes, 0, the_cpu.xsave_bytes);
	put_le16(bytes + XSAVE_FCW_OFFSET, FCW_DEFAULT);
	put_le32(bytes + XSAVE_MXCSR_OFFSET, MXCSR_DEFAULT);
}

void fpu_set_guest_eviction(void (*evict)(void))
{
	evict_guest = evict;
}

void fpu_switch(struct xsave_area *to)
{
	struct percpu *p = this_cpu();

	if (p->fpu_owner == to)
		return;
	if (p->fpu_owner) {
		if (the_cpu.xsaveopt)
			xsaveopt(p->fpu_owner, the_cpu.xcr0);
		else
			xsave(p->fpu_owner, the_cpu.xcr0);
	} else if (evict_guest) {
		evict_guest();
	}
	p->fpu_owner = to;
	if (to)
		xrstor(to, the_cpu.xcr0);
}
