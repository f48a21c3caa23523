/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's debug registers. DR7 is switched by the VMCS, so on the host's side
 * it is 400h and no breakpoint can fire; DR0 to DR3 and DR6 therefore stay the
 * guest's while it is loaded, and MOV DR never exits. SDM volume 3, chapter 17,
 * sections 26.3.2.1, 27.1 and 27.3.1.
 */
#include "lib/x86_asm.h"
#include "vmx/internal.h"
#include "vmx/vmx_asm.h"

void debugreg_reset(struct vmx_vcpu *hw)
{
	memset(hw->dr, 0, sizeof hw->dr);
	hw->dr6 = DR6_INIT;
}

void debugreg_load(const struct vmx_vcpu *hw)
{
	write_dr0(hw->dr[0]);
	write_dr1(hw->dr[1]);
	write_dr2(hw->dr[2]);
	write_dr3(hw->dr[3]);
	write_dr6(hw->dr6);
}

void debugreg_save(struct vmx_vcpu *hw)
{
	hw->dr[0] = read_dr0();
	hw->dr[1] = read_dr1();
	hw->dr[2] = read_dr2();
	hw->dr[3] = read_dr3();
	hw->dr6 = read_dr6();
}

/*
 * #DB exits leave DR6 and DR7 as they were; the qualification tells what delivery
 * would have set. B0 to B3 are replaced, BD and BS stick, and DR7.GD is cleared so
 * that the handler may use the registers.
 */
void debugreg_note_exception(uint64_t qualification)
{
	const uint64_t hits = DR6_B0 | DR6_B1 | DR6_B2 | DR6_B3, sticky = DR6_BD | DR6_BS;
	uint64_t dr7 = vmcs_readn(VMCS_GUEST_DR7);

	write_dr6((read_dr6() & ~hits) | (qualification & (hits | sticky)));
	if (dr7 & DR7_GD)
		vmcs_writen(VMCS_GUEST_DR7, dr7 & ~DR7_GD);
}
