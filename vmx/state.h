/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which bits of the guest's CR0 and CR4 are its own. A bit that the host owns
 * reads from the shadow and makes the writing instruction exit (SDM volume 3,
 * section 24.6.6).
 */
#ifndef CORBEL_VMX_STATE_H
#define CORBEL_VMX_STATE_H

#include <stdint.h>

#include "lib/x86_regs.h"

/*
 * NE must be 1 in VMX operation. CD and NW are not switched by exits, so a guest that set them
 * would turn the host's cache off too.
 */
#define CR0_HOST_OWNED (CR0_NE | CR0_NW | CR0_CD)

/*
 * The rest exits: VMXE and MCE are 1 underneath (a machine check while MCE is 0 shuts the CPU down), and
 * features that the guest's CPUID does not show must fault. PCE is harmless, RDPMC exits.
 */
#define CR4_GUEST_OWNED                                                                                        \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCE | CR4_OSFXSR |           \
	 CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP | CR4_PKE)

/* Fields of the current VMCS for the guest's view @value; EFER.LMA and 64-bit mode follow CR0.PG. */
void state_write_cr0(uint64_t value);
void state_write_cr4(uint64_t value);

#endif
