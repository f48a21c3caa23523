/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of check.h.
 */
#include "vmx/check.h"

#include "lib/x86_regs.h"
#include "vmx/ctrl.h"

void check_vmcs_init(struct check_vmcs *v)
{
	*v = (struct check_vmcs){.active_on = -1};
	cpuset_fill(&v->vpid_stale);
}

const char *check_vmclear(struct check_cpu *cpu, struct check_vmcs *v, int index)
{
	if (!cpu->on)
		return "VMCLEAR outside VMX operation";
	if (v->active_on != -1 && v->active_on != index)
		return "VMCLEAR on one CPU of a VMCS that is active on another: its cached fields are lost";
	v->active_on = -1;
	v->launched = false;
	v->cleared_once = true;
	if (cpu->current == v)
		cpu->current = 0;
	return 0;
}

const char *check_vmptrld(struct check_cpu *cpu, struct check_vmcs *v, int index)
{
	if (!cpu->on)
		return "VMPTRLD outside VMX operation";
	if (!v->cleared_once)
		return "VMPTRLD of a region that was never initialised by VMCLEAR";
	if (v->active_on != -1 && v->active_on != index)
		return "VMPTRLD of a VMCS that is active on another CPU: VMCLEAR must come first";
	v->active_on = index;
	cpu->current = v;
	return 0;
}

const char *check_vmcs_free(const struct check_vmcs *v)
{
	if (v->active_on != -1)
		return "a VMCS region is freed while a CPU may still write it back: VMCLEAR must come first";
	return 0;
}

const char *check_access(const struct check_cpu *cpu, const struct check_vmcs *v)
{
	return cpu->current == v ? 0 : "access to the fields of a VMCS that is not current";
}

void check_vpid_stale(struct check_vmcs *v) { cpuset_fill(&v->vpid_stale); }
void check_invvpid(struct check_vmcs *v, int index) { cpuset_remove(&v->vpid_stale, (unsigned)index); }
void check_lowered(struct check_stage2 *s2) { cpuset_fill(&s2->stale); }
void check_invept(struct check_stage2 *s2, int index) { cpuset_remove(&s2->stale, (unsigned)index); }

const char *check_entry(const struct check_cpu *cpu, struct check_vmcs *v, const struct check_stage2 *s2, int index,
			bool launch)
{
	if (cpu->current != v)
		return "VM entry with another VMCS current";
	if (launch && v->launched)
		return "VMLAUNCH of a launched VMCS: VMCLEAR or VMRESUME";
	if (!launch && !v->launched)
		return "VMRESUME of a VMCS that is clear: VMLAUNCH";
	if (cpuset_has(&s2->stale, (unsigned)index))
		return "VM entry without INVEPT after a lowering of the second-stage translation";
	if (cpuset_has(&v->vpid_stale, (unsigned)index))
		return "VM entry without INVVPID after a change of linear translations or a reuse of the VPID";
	v->launched = true;
	return 0;
}

const char *check_host_restored(const struct check_host *before, const struct check_host *now)
{
	if (now->cr0 != before->cr0 || now->cr3 != before->cr3 || now->cr4 != before->cr4)
		return "a control register of the host was not restored by the exit";
	if (now->efer != before->efer)
		return "IA32_EFER of the host was not restored by the exit";
	if (now->pat != before->pat)
		return "IA32_PAT of the host was not restored by the exit";
	if (now->fs_base != before->fs_base || now->gs_base != before->gs_base)
		return "FS or GS base of the host was not restored by the exit";
	if (now->gdt_base != before->gdt_base || now->idt_base != before->idt_base || now->tr != before->tr)
		return "GDTR, IDTR or TR of the host was not restored by the exit";
	if (now->sysenter_cs != before->sysenter_cs || now->sysenter_esp != before->sysenter_esp ||
	    now->sysenter_eip != before->sysenter_eip)
		return "a SYSENTER MSR of the host was not restored by the exit";
	if (now->spec_ctrl != before->spec_ctrl)
		return "IA32_SPEC_CTRL of the host was not restored by the exit";
	if (now->dr7 != DR7_INIT)
		return "DR7 is not 400h after an exit: a guest's breakpoint could fire in the host";
	if (now->debugctl != 0)
		return "IA32_DEBUGCTL is not 0 after an exit";
	if (now->rflags & (RFLAGS_IF | RFLAGS_TF | RFLAGS_DF | RFLAGS_AC))
		return "RFLAGS are not clear after an exit";
	return 0;
}

const char *check_feature_control(uint64_t value)
{
	if (!(value & FEATURE_CONTROL_LOCK))
		return "IA32_FEATURE_CONTROL is not locked before VMXON: real processors refuse";
	if (!(value & FEATURE_CONTROL_VMX_OUTSIDE_SMX))
		return "IA32_FEATURE_CONTROL does not allow VMXON outside SMX";
	return 0;
}

const char *check_region(uint64_t address, uint32_t first_word, uint64_t basic, unsigned phys_bits)
{
	if (!is_aligned(address, 4096))
		return "a VMX region is not aligned to 4 KiB";
	if (address >> phys_bits)
		return "a VMX region lies beyond the physical-address width";
	if ((basic & BIT(48)) && address >> 32)
		return "this processor wants its VMX regions below 4 GiB";
	if (VMX_BASIC_SIZE(basic) > 4096)
		return "this processor's VMX regions are larger than a page";
	if (VMX_BASIC_MEMTYPE(basic) != MEMTYPE_WB)
		return "this processor wants its VMX regions in another memory type than WB";
	if (first_word != (basic & VMX_BASIC_REVISION_MASK))
		return "a VMX region does not begin with the VMCS revision identifier";
	return 0;
}
