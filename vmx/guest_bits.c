/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest's CPUID lets its CR4 have. A file of its own: guest/cpuid.h and
 * lib/x86_asm.h both name a struct for CPUID's registers.
 */
#include "guest/cpuid.h"
#include "vmx/internal.h"
#include "vmx/state.h"

/* Before its CPUID is built (and in the self-test, which has none) a guest owns all that it may. */
uint64_t guest_owned_cr4(const struct vm *vm)
{
	return vm->cpuid ? CR4_GUEST_OWNED & vm->cpuid->cr4_allowed : CR4_GUEST_OWNED;
}
