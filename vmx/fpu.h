/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vector and floating-point state of vcpus (SDM volume 1, chapter 13). It is
 * switched eagerly, when another vcpu is loaded or a host task that uses SSE
 * runs, never by CR0.TS. This header is the pure part: which XCR0 values a
 * processor accepts, and how large the area is.
 */
#ifndef CORBEL_VMX_FPU_H
#define CORBEL_VMX_FPU_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/x86_regs.h"

/* Components that we save: what CPUID may add later (AMX and its XFD) needs thought first. */
#define FPU_COMPONENTS                                                                                   \
	(XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_BNDREG | XCR0_BNDCSR | XCR0_AVX512 | XCR0_PKRU)

struct fpu_features {
	bool xsave;          /* else FXSAVE: x87 and SSE only */
	uint64_t components; /* XCR0 while saving and restoring, and while a host task runs */
	uint32_t bytes;      /* of the area with all components, standard format */
	bool compacted;      /* XSAVEC stores the compacted format where the SDM says */
};

/* Would XSETBV of XCR0 accept @value on a processor that supports @supported? SDM 1:13.3. */
static inline bool fpu_xcr0_valid(uint64_t value, uint64_t supported)
{
	uint64_t avx512 = value & XCR0_AVX512, mpx = value & (XCR0_BNDREG | XCR0_BNDCSR);
	uint64_t tile = value & (XCR0_TILECFG | XCR0_TILEDATA);

	if ((value & ~supported) || !(value & XCR0_X87))
		return false;
	if ((value & XCR0_AVX) && !(value & XCR0_SSE))
		return false;
	if (avx512 && (avx512 != XCR0_AVX512 || !(value & XCR0_AVX)))
		return false;
	if (mpx && mpx != (XCR0_BNDREG | XCR0_BNDCSR))
		return false;
	return !tile || tile == (XCR0_TILECFG | XCR0_TILEDATA);
}

/* IA32_XSS: no supervisor component is given to guests in this version. */
static inline bool fpu_xss_valid(uint64_t value) { return value == 0; }

#endif
