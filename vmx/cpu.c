/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CPU into VMX operation (SDM volume 3, sections 23.6 to 23.8): capabilities,
 * fixed control-register bits, IA32_FEATURE_CONTROL, VMXON; and the host state
 * that every exit on this CPU restores.
 */
#include "lib/format.h"
#include "lib/log.h"
#include "lib/x86_asm.h"
#include "vmx/internal.h"
#include "vmx/vmx_asm.h"

struct vmx vmx;

/* An MSR that may not exist: 0 then. */
static uint64_t optional_msr(uint32_t index)
{
	uint64_t v = 0;

	return rdmsr_safe(index, &v) ? v : 0;
}

static void read_caps(struct vmx_caps *c)
{
	bool true_controls;

	*c = (struct vmx_caps){.vmx = cpuid(CPUID_FEATURES, 0).ecx & CPUID_1C_VMX};
	if (!c->vmx)
		return;
	c->phys_bits = (unsigned)(cpuid(CPUID_EXT_ADDRESS, 0).eax & CPUID_E8A_PHYS_BITS_MASK);
	c->feature_control = optional_msr(MSR_IA32_FEATURE_CONTROL);
	c->basic = rdmsr(MSR_IA32_VMX_BASIC);
	c->misc = rdmsr(MSR_IA32_VMX_MISC);
	true_controls = c->basic & VMX_BASIC_TRUE_CONTROLS;
	c->pin = rdmsr(true_controls ? MSR_IA32_VMX_TRUE_PINBASED_CTLS : MSR_IA32_VMX_PINBASED_CTLS);
	c->proc = rdmsr(true_controls ? MSR_IA32_VMX_TRUE_PROCBASED_CTLS : MSR_IA32_VMX_PROCBASED_CTLS);
	c->exit = rdmsr(true_controls ? MSR_IA32_VMX_TRUE_EXIT_CTLS : MSR_IA32_VMX_EXIT_CTLS);
	c->entry = rdmsr(true_controls ? MSR_IA32_VMX_TRUE_ENTRY_CTLS : MSR_IA32_VMX_ENTRY_CTLS);
	c->proc2 = optional_msr(MSR_IA32_VMX_PROCBASED_CTLS2);
	c->ept_vpid = optional_msr(MSR_IA32_VMX_EPT_VPID_CAP);
	c->cr0_fixed0 = rdmsr(MSR_IA32_VMX_CR0_FIXED0);
	c->cr0_fixed1 = rdmsr(MSR_IA32_VMX_CR0_FIXED1);
	c->cr4_fixed0 = rdmsr(MSR_IA32_VMX_CR4_FIXED0);
	c->cr4_fixed1 = rdmsr(MSR_IA32_VMX_CR4_FIXED1);
}

/* Every CPU must offer what the first one did: a vcpu may run on any. */
static enum status check_same(const struct vmx_caps *c, struct error *err)
{
	const struct vmx_caps *first = &vmx.caps;

	if (c->basic != first->basic || c->pin != first->pin || c->proc != first->proc || c->proc2 != first->proc2 ||
	    c->exit != first->exit || c->entry != first->entry || c->ept_vpid != first->ept_vpid)
		return fail(err, ST_UNSUPPORTED, "CPU %u's VT-x capabilities differ from the first CPU's",
			    vmx.host->this_cpu());
	return ST_OK;
}

static enum status alloc_page(uint64_t *hpa_out, uint8_t fill, struct error *err)
{
	hfn_t frame;
	void *va;

	if (vmx_frame_alloc(&frame, &va) != ST_OK)
		return fail(err, ST_NO_MEMORY, "no memory for VMX regions");
	memset(va, fill, PAGE_SIZE);
	*hpa_out = hfn_to_hpa(frame).v;
	return ST_OK;
}

static enum status build_bitmap(unsigned kind, struct error *err)
{
	enum status st = alloc_page(&vmx.msr_bitmaps[kind], 0, err);

	if (st == ST_OK)
		msr_bitmap_build(memmgr_va(vmx.host->mm, hpa_to_hfn(hpa(vmx.msr_bitmaps[kind]))), kind);
	return st;
}

/* What all CPUs and guests share: every port exits, every MSR but those listed. */
static enum status build_shared(struct error *err)
{
	enum status st;

	vmx.rdtscp = vmx.controls.rdtscp && (cpuid(CPUID_EXT_FEATURES, 0).edx & CPUID_E1D_RDTSCP);
	if ((st = alloc_page(&vmx.io_bitmap_a, 0xff, err)) != ST_OK)
		return st;
	if ((st = alloc_page(&vmx.io_bitmap_b, 0xff, err)) != ST_OK)
		return st;
	for (unsigned kind = 0; kind < MSR_BITMAPS; kind++)
		if ((st = build_bitmap(kind, err)) != ST_OK)
			return st;
	vmx.vpids[0] = BIT(0); /* VPID 0 is the host's */
	return ST_OK;
}

static enum status init_first(const struct vmx_host *host, const struct vmx_caps *caps, struct error *err)
{
	enum status st;

	vmx.host = host;
	vmx.caps = *caps;
	st = ctrl_compute(caps, &host->options, &vmx.controls, err);
	if (st != ST_OK)
		return st;
	if (!vmx.controls.preemption_timer && !host->arm_timer)
		return fail(err, ST_UNSUPPORTED,
			    "this processor's VT-x lacks the preemption timer, and there is no host timer");
	return build_shared(err);
}

static enum status enable_feature(uint64_t value, struct error *err)
{
	if (value & FEATURE_CONTROL_LOCK)
		return ST_OK;
	value |= FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_OUTSIDE_SMX;
	if (!wrmsr_safe(MSR_IA32_FEATURE_CONTROL, value))
		return fail(err, ST_UNSUPPORTED, "VT-x cannot be switched on: IA32_FEATURE_CONTROL does not take 0x%lx",
			    value);
	return ST_OK;
}

static enum status enter_vmx(const struct vmx_caps *c, struct error *err)
{
	uint64_t region = 0;
	enum status st = alloc_page(&region, 0, err);

	if (st != ST_OK)
		return st;
	put_le32(memmgr_va(vmx.host->mm, hpa_to_hfn(hpa(region))), (uint32_t)(c->basic & VMX_BASIC_REVISION_MASK));
	write_cr0(ctrl_fixed(read_cr0(), c->cr0_fixed0, c->cr0_fixed1));
	write_cr4(ctrl_fixed(read_cr4() | CR4_VMXE, c->cr4_fixed0, c->cr4_fixed1));
	CHECK(check_feature_control(rdmsr(MSR_IA32_FEATURE_CONTROL)));
	CHECK(check_region(region, get_le32(memmgr_va(vmx.host->mm, hpa_to_hfn(hpa(region)))), c->basic, c->phys_bits));
	if (!vmxon(region))
		return fail(err, ST_UNSUPPORTED, "VMXON failed (CR0 0x%lx, CR4 0x%lx)", read_cr0(), read_cr4());
	/* Whatever ran before us may have left translations behind. */
	if (!invept(INVEPT_ALL, 0) || !invvpid(INVVPID_ALL, 0, 0))
		return fail(err, ST_UNSUPPORTED, "INVEPT or INVVPID failed");
	return ST_OK;
}

/* Base of the TSS from its 16-byte descriptor (SDM 3:7.2.3). */
static uint64_t tss_base(uint64_t gdt, uint16_t selector)
{
	const uint8_t *d = (const uint8_t *)gdt + (selector & ~7u);
	uint64_t low = get_le64(d);

	return FIELD(low, 39, 16) | FIELD(low, 63, 56) << 24 | (uint64_t)get_le32(d + 8) << 32;
}

static void record_host_state(struct vmx_cpu *cpu)
{
	struct descriptor_ptr gdt, idt;

	sgdt(&gdt);
	sidt(&idt);
	cpu->cr0 = read_cr0();
	cpu->cr3 = read_cr3();
	cpu->cr4 = read_cr4();
	cpu->efer = rdmsr(MSR_IA32_EFER);
	cpu->pat = rdmsr(MSR_IA32_PAT);
	cpu->fs_base = rdmsr(MSR_IA32_FS_BASE);
	cpu->gs_base = rdmsr(MSR_IA32_GS_BASE);
	cpu->gdt_base = gdt.base;
	cpu->idt_base = idt.base;
	cpu->cs = read_cs();
	cpu->ss = read_ss();
	cpu->ds = read_ds();
	cpu->es = read_es();
	cpu->fs = read_fs();
	cpu->gs = read_gs();
	cpu->tr = read_tr();
	cpu->tr_base = tss_base(gdt.base, cpu->tr);
}

/* The calling CPU's part. A CPU that fails afterwards leaves it, to be used when it comes again. */
static enum status alloc_cpu(struct error *err)
{
	unsigned index = vmx.host->this_cpu();
	hfn_t frame;
	void *va;

	ASSERT(index < VMX_CPUS_MAX);
	if (vmx.cpus[index])
		return ST_OK;
	if (vmx_frame_alloc(&frame, &va) != ST_OK)
		return fail(err, ST_NO_MEMORY, "no memory for VMX regions");
	vmx.cpus[index] = va;
	vmx.cpus[index]->index = (int)index;
	return ST_OK;
}

enum status vmx_cpu_init(const struct vmx_host *host, struct error *err)
{
	struct vmx_cpu *cpu;
	struct vmx_caps caps;
	enum status st;

	read_caps(&caps);
	st = vmx.ready ? check_same(&caps, err) : init_first(host, &caps, err);
	if (st == ST_OK)
		st = alloc_cpu(err);
	if (st == ST_OK)
		st = enable_feature(caps.feature_control, err);
	if (st == ST_OK)
		st = fpu_init_cpu(err);
	if (st == ST_OK)
		st = enter_vmx(&caps, err);
	if (st != ST_OK)
		return st;
	guard_init_cpu();
	cpu = this_cpu();
	record_host_state(cpu);
	CHECK_NOTE(audit_record_host(cpu));
	ASSERT(cpu->tr != 0 && (cpu->tr & (SEL_RPL_MASK | SEL_TI)) == 0);
	cpu->on = true;
	vmx.ready = true;
	return ST_OK;
}

void vmx_write_host_state(const struct vmx_cpu *cpu, struct vmx_vcpu *hw)
{
	const struct vmcs_setting rows[] = {
		{VMCS_HOST_CR0, cpu->cr0},
		{VMCS_HOST_CR3, cpu->cr3},
		{VMCS_HOST_CR4, cpu->cr4},
		{VMCS_HOST_CS_SELECTOR, cpu->cs},
		{VMCS_HOST_SS_SELECTOR, cpu->ss},
		{VMCS_HOST_DS_SELECTOR, cpu->ds},
		{VMCS_HOST_ES_SELECTOR, cpu->es},
		{VMCS_HOST_FS_SELECTOR, cpu->fs},
		{VMCS_HOST_GS_SELECTOR, cpu->gs},
		{VMCS_HOST_TR_SELECTOR, cpu->tr},
		{VMCS_HOST_FS_BASE, cpu->fs_base},
		{VMCS_HOST_GS_BASE, cpu->gs_base},
		{VMCS_HOST_TR_BASE, cpu->tr_base},
		{VMCS_HOST_GDTR_BASE, cpu->gdt_base},
		{VMCS_HOST_IDTR_BASE, cpu->idt_base},
		{VMCS_HOST_SYSENTER_CS, 0},
		{VMCS_HOST_SYSENTER_ESP, 0},
		{VMCS_HOST_SYSENTER_EIP, 0},
		{VMCS_HOST_PAT, cpu->pat},
		{VMCS_HOST_EFER, cpu->efer},
		{VMCS_HOST_RSP, (uint64_t)&hw->vcpu},
	};

	vmcs_write_table(rows, ARRAY_SIZE(rows));
	guard_update(hw);
}

size_t vmx_describe(char *buf, size_t size)
{
	size_t used = format(buf, size, "VT-x: ");

	return used + ctrl_describe(&vmx.controls, buf + used, size > used ? size - used : 0);
}
