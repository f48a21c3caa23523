/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The debug build's look at the real processor: the rules of check.c and of VM
 * entry (dump.h) before each entry, the host's registers after each exit. Costs
 * thousands of instructions an exit, so CORBEL_DEBUG only.
 */
#include "lib/log.h"
#include "lib/x86_asm.h"
#include "vmx/dump.h"
#include "vmx/internal.h"
#include "vmx/vmx_asm.h"

static void read_host(struct check_host *h)
{
	struct descriptor_ptr gdt, idt;
	uint64_t debugctl = 0, spec_ctrl = 0;

	sgdt(&gdt);
	sidt(&idt);
	/* Not on every emulator; 0 then. */
	(void)!rdmsr_safe(MSR_IA32_DEBUGCTL, &debugctl);
	(void)!rdmsr_safe(MSR_IA32_SPEC_CTRL, &spec_ctrl);
	*h = (struct check_host){
		.cr0 = read_cr0(),
		.cr3 = read_cr3(),
		.cr4 = read_cr4(),
		.efer = rdmsr(MSR_IA32_EFER),
		.pat = rdmsr(MSR_IA32_PAT),
		.fs_base = rdmsr(MSR_IA32_FS_BASE),
		.gs_base = rdmsr(MSR_IA32_GS_BASE),
		.gdt_base = gdt.base,
		.idt_base = idt.base,
		.sysenter_cs = rdmsr(MSR_IA32_SYSENTER_CS),
		.sysenter_esp = rdmsr(MSR_IA32_SYSENTER_ESP),
		.sysenter_eip = rdmsr(MSR_IA32_SYSENTER_EIP),
		.dr7 = read_dr7(),
		.debugctl = debugctl,
		.spec_ctrl = spec_ctrl,
		.rflags = read_rflags(),
		.tr = read_tr(),
	};
}

void audit_record_host(struct vmx_cpu *cpu)
{
	cpu->check.on = true;
	read_host(&cpu->check_host);
	/* Exits load 0, because the host does not use SYSENTER (vmx.h). */
	cpu->check_host.sysenter_cs = cpu->check_host.sysenter_esp = cpu->check_host.sysenter_eip = 0;
}

/* The fields by the book, which says more than the emulator's one line. */
static void audit_fields(void)
{
	struct vmcs_image *image = &this_cpu()->image;
	char buf[1024]; /* other CPUs audit meanwhile */
	struct text t = {.buf = buf, .size = sizeof buf};
	unsigned broken;

	vmcs_capture(image);
	broken = dump_check_controls(image, &vmx.caps, vmx.caps.phys_bits, &t);
	broken += dump_check_host(image, &vmx.caps, vmx.caps.phys_bits, &t);
	broken += dump_check_guest(image, &vmx.caps, vmx.caps.phys_bits, &t);
	if (broken)
		panic("VM entry with %u broken rules:\n%s", broken, buf);
}

void audit_entry(struct vmx_vcpu *hw, bool launch)
{
	struct vmx_cpu *cpu = this_cpu();

	CHECK(check_entry(&cpu->check, &hw->check, &hw->vmx_vm->check, hw->cpu, launch));
	ASSERT(!(read_rflags() & RFLAGS_IF));
	audit_fields();
}

void audit_exit(void)
{
	struct check_host now;

	read_host(&now);
	CHECK(check_host_restored(&this_cpu()->check_host, &now));
}
