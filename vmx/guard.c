/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Acting on the mitigations that mitigations.c decided: facts from the processor,
 * the host's speculation controls, and what happens before an entry and between
 * VMs. What must come right before the entry or right after the exit is in
 * entry.S, steered by the vcpu's guard bits.
 */
#include "lib/x86_asm.h"
#include "vmx/asm.h"
#include "vmx/internal.h"
#include "vmx/vmx_asm.h"

uint32_t vmx_host_spec_ctrl;

/* MSRs are tried: emulators enumerate some that they do not have. */
static void read_facts(struct cpu_facts *f)
{
	struct cpuid_regs leaf7 = cpuid(CPUID_EXTENDED_FEATURES, 0);
	uint64_t value;

	*f = (struct cpu_facts){.leaf7_ebx = leaf7.ebx, .leaf7_edx = leaf7.edx};
	if (leaf7.eax >= 2)
		f->leaf72_edx = cpuid(CPUID_EXTENDED_FEATURES, 2).edx;
	if ((leaf7.edx & CPUID_7D_ARCH_CAPABILITIES) && rdmsr_safe(MSR_IA32_ARCH_CAPABILITIES, &value))
		f->arch_capabilities = value;
	if (!(leaf7.edx & CPUID_7D_SPEC_CTRL))
		return;
	f->spec_ctrl = rdmsr_safe(MSR_IA32_SPEC_CTRL, &value);
	f->pred_cmd = wrmsr_safe(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
}

void guard_init_cpu(void)
{
	struct cpu_facts facts;

	if (!vmx.ready) {
		read_facts(&facts);
		vmx.mitigations = mitigations_decide(&facts, vmx.host->mitigations);
		vmx_host_spec_ctrl = vmx.mitigations.host_spec_ctrl;
	}
	if (vmx.mitigations.host_spec_ctrl)
		wrmsr(MSR_IA32_SPEC_CTRL, vmx.mitigations.host_spec_ctrl);
}

void guard_update(struct vmx_vcpu *hw)
{
	const struct mitigations *m = &vmx.mitigations;
	bool guarded = !m->off;

	hw->guard = (m->verw ? GUARD_VERW : 0) | (m->rsb == RSB_LITE ? GUARD_RSB_LITE : 0) |
		    (m->rsb == RSB_FULL ? GUARD_RSB_FULL : 0);
	if (spec_ctrl_is_switched(m, &hw->spec_ctrl)) {
		hw->guard |= GUARD_SPEC_CTRL | (spec_ctrl_is_passed(&hw->spec_ctrl) ? GUARD_SPEC_PASSED : 0);
		guarded = true;
	}
	if (guarded)
		add_work(hw, WORK_GUARD);
	else
		drop_work(hw, WORK_GUARD);
	vmcs_writen(VMCS_HOST_RIP, (uint64_t)(guarded ? vmx_exit_entry_guarded : vmx_exit_entry));
}

void guard_before_entry(const struct vmx_vcpu *hw)
{
	if (hw->guard & GUARD_SPEC_CTRL)
		wrmsr(MSR_IA32_SPEC_CTRL, spec_ctrl_in_guest(&vmx.mitigations, &hw->spec_ctrl));
	if (vmx.mitigations.l1d_flush)
		wrmsr(MSR_IA32_FLUSH_CMD, FLUSH_CMD_L1D);
}

void guard_entry_refused(const struct vmx_vcpu *hw)
{
	if (hw->guard & GUARD_SPEC_CTRL)
		wrmsr(MSR_IA32_SPEC_CTRL, vmx_host_spec_ctrl);
}

void guard_switch_vm(struct vmx_cpu *cpu, struct vmx_vm *next)
{
	if (cpu->last_vm == next)
		return;
	/* What the one VM taught the branch predictors must not steer the next. */
	if (cpu->last_vm && vmx.mitigations.ibpb)
		wrmsr(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
	cpu->last_vm = next;
}

size_t vmx_describe_mitigations(char *buf, size_t size) { return mitigations_describe(&vmx.mitigations, buf, size); }
