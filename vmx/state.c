/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers, segments and MSRs of a vcpu, wherever they are at the moment: VMCS
 * fields, the CPU while the vcpu is loaded, or the save area. The caller has made
 * the architectural checks of control registers; MSR values are checked here
 * (SDM volume 3, sections 2.2.1, 11.12.4; volume 4).
 */
#include "vmx/state.h"

#include "lib/x86_asm.h"
#include "vmx/internal.h"
#include "vmx/vmx_asm.h"

#define PDPTE_COUNT 4u
#define CR3_PAE_MASK MASK(31, 5)

static bool is_loaded(const struct vmx_vcpu *hw) { return this_cpu()->loaded == hw; }

/* ---- control registers ---- */

/* EFER.LMA = EFER.LME and CR0.PG; the entry control says the same (26.3.1.1). */
static void update_long_mode(void)
{
	uint64_t efer = vmcs_read64(VMCS_GUEST_EFER);
	uint32_t entry = vmcs_read32(VMCS_ENTRY_CTLS);
	bool on = (efer & EFER_LME) && (vmcs_readn(VMCS_GUEST_CR0) & CR0_PG);

	vmcs_write64(VMCS_GUEST_EFER, on ? efer | EFER_LMA : efer & ~EFER_LMA);
	vmcs_write32(VMCS_ENTRY_CTLS,
		     on ? entry | (uint32_t)ENTRY_CTL_GUEST_64 : entry & ~(uint32_t)ENTRY_CTL_GUEST_64);
}

void state_write_cr0(uint64_t value)
{
	/* What is fixed to 1 for VMX, but paging and protection, which unrestricted guests may clear (26.3.1.1). */
	uint64_t fixed = vmx.caps.cr0_fixed0 & ~(CR0_PE | CR0_PG);

	vmcs_writen(VMCS_GUEST_CR0, (value & ~(CR0_CD | CR0_NW)) | fixed | CR0_ET);
	vmcs_writen(VMCS_CR0_SHADOW, value | CR0_ET);
	update_long_mode();
}

void state_write_cr4(uint64_t value)
{
	vmcs_writen(VMCS_GUEST_CR4, (value & CR4_GUEST_OWNED & vmx.caps.cr4_fixed1) | vmx.caps.cr4_fixed0 |
					    (this_cpu()->cr4 & CR4_MCE));
	vmcs_writen(VMCS_CR4_SHADOW, value);
}

/* With PAE paging an entry takes the four PDPTEs from the VMCS, not from memory (26.3.2.4). */
static void load_pdptes(struct vmx_vcpu *hw)
{
	static const enum vmcs_field64 field[PDPTE_COUNT] = {VMCS_GUEST_PDPTE0, VMCS_GUEST_PDPTE1,
							     VMCS_GUEST_PDPTE2, VMCS_GUEST_PDPTE3};
	uint64_t address = vmcs_readn(VMCS_GUEST_CR3) & CR3_PAE_MASK;
	struct stage2 *s2 = &hw->vmx_vm->stage2;
	const uint8_t *page = NULL;
	struct s2_leaf leaf;
	gfn_t g = gpa_to_gfn(gpa(address));

	if (ept_ops.lookup(s2, g, &leaf))
		page = s2->frames->va(s2->frames->ctx, hfn(leaf.hfn.v + (g.v - leaf.gfn.v)));
	for (unsigned i = 0; i < PDPTE_COUNT; i++)
		vmcs_write64(field[i], page ? get_le64(page + (address & PAGE_MASK) + 8 * i) : 0);
}

static bool pae_paging(void)
{
	return (vmcs_readn(VMCS_GUEST_CR0) & CR0_PG) && (vmcs_readn(VMCS_GUEST_CR4) & CR4_PAE) &&
	       !(vmcs_read64(VMCS_GUEST_EFER) & EFER_LMA);
}

/* The guest's own instruction would have flushed; ours flushes all of its linear translations. */
static void paging_changed(struct vmx_vcpu *hw)
{
	add_work(hw, WORK_FLUSH_VPID);
	CHECK_NOTE(check_vpid_stale(&hw->check));
	if (pae_paging())
		load_pdptes(hw);
}

static void set_efer(struct vmx_vcpu *hw, uint64_t value)
{
	vmcs_write64(VMCS_GUEST_EFER, value);
	update_long_mode();
	paging_changed(hw);
}

static void set_xcr0(struct vmx_vcpu *hw, uint64_t value)
{
	/* guest/ allows a subset of what the CPU has; a bit beyond would fault here. */
	ASSERT(fpu_xcr0_valid(value, vmx.fpu.components));
	hw->xcr0 = value;
	if (this_cpu()->fpu == hw && vmx.fpu.xsave)
		xsetbv(0, value);
}

uint64_t vmx_get_reg(struct vcpu *vcpu, enum engine_reg reg)
{
	struct vmx_vcpu *hw = hw_of(vcpu);
	uint64_t mask;

	vmcs_make_current(hw);
	switch (reg) {
	case REG_RIP: return vmcs_readn(VMCS_GUEST_RIP);
	case REG_RSP: return vmcs_readn(VMCS_GUEST_RSP);
	case REG_RFLAGS: return vmcs_readn(VMCS_GUEST_RFLAGS);
	case REG_CR0:
		mask = CR0_HOST_OWNED;
		return (vmcs_readn(VMCS_GUEST_CR0) & ~mask) | (vmcs_readn(VMCS_CR0_SHADOW) & mask);
	case REG_CR2: return is_loaded(hw) ? read_cr2() : hw->cr2;
	case REG_CR3: return vmcs_readn(VMCS_GUEST_CR3);
	case REG_CR4:
		mask = ~CR4_GUEST_OWNED;
		return (vmcs_readn(VMCS_GUEST_CR4) & ~mask) | (vmcs_readn(VMCS_CR4_SHADOW) & mask);
	case REG_DR7: return vmcs_readn(VMCS_GUEST_DR7);
	case REG_EFER: return vmcs_read64(VMCS_GUEST_EFER);
	case REG_XCR0: return hw->xcr0;
	default: panic("no register %d", (int)reg);
	}
}

void vmx_set_reg(struct vcpu *vcpu, enum engine_reg reg, uint64_t value)
{
	struct vmx_vcpu *hw = hw_of(vcpu);

	vmcs_make_current(hw);
	switch (reg) {
	case REG_RIP:
		vmcs_writen(VMCS_GUEST_RIP, value);
		return;
	case REG_RSP:
		vmcs_writen(VMCS_GUEST_RSP, value);
		return;
	case REG_RFLAGS:
		/* An STI shadow with IF clear is refused at entry. */
		event_settle_shadow(vcpu);
		vmcs_writen(VMCS_GUEST_RFLAGS, value | RFLAGS_FIXED1);
		return;
	case REG_CR0:
		state_write_cr0(value);
		paging_changed(hw);
		return;
	case REG_CR2:
		hw->cr2 = value;
		if (is_loaded(hw))
			write_cr2(value);
		return;
	case REG_CR3:
		vmcs_writen(VMCS_GUEST_CR3, value);
		paging_changed(hw);
		return;
	case REG_CR4:
		state_write_cr4(value);
		paging_changed(hw);
		return;
	case REG_DR7:
		vmcs_writen(VMCS_GUEST_DR7, (uint32_t)value | DR7_FIXED1);
		return;
	case REG_EFER:
		set_efer(hw, value);
		return;
	case REG_XCR0:
		set_xcr0(hw, value);
		return;
	default: panic("no register %d", (int)reg);
	}
}

/* ---- segments ---- */

#define SEGMENT_ROW(name) {VMCS_GUEST_##name##_SELECTOR, VMCS_GUEST_##name##_ACCESS, VMCS_GUEST_##name##_LIMIT, \
			   VMCS_GUEST_##name##_BASE}

static const struct segment_fields {
	enum vmcs_field16 selector; /* 0 (VPID's encoding): the register has none */
	enum vmcs_field32 access, limit;
	enum vmcs_fieldn base;
} segments[SEG_COUNT] = {
	[SEG_ES] = SEGMENT_ROW(ES), [SEG_CS] = SEGMENT_ROW(CS),     [SEG_SS] = SEGMENT_ROW(SS),
	[SEG_DS] = SEGMENT_ROW(DS), [SEG_FS] = SEGMENT_ROW(FS),     [SEG_GS] = SEGMENT_ROW(GS),
	[SEG_TR] = SEGMENT_ROW(TR), [SEG_LDTR] = SEGMENT_ROW(LDTR),
	[SEG_GDTR] = {0, 0, VMCS_GUEST_GDTR_LIMIT, VMCS_GUEST_GDTR_BASE},
	[SEG_IDTR] = {0, 0, VMCS_GUEST_IDTR_LIMIT, VMCS_GUEST_IDTR_BASE},
};

void vmx_get_segment(struct vcpu *vcpu, enum segment_reg seg, struct segment *out)
{
	const struct segment_fields *f = &segments[seg];
	uint32_t access;

	vmcs_make_current(hw_of(vcpu));
	*out = (struct segment){.base = vmcs_readn(f->base), .limit = vmcs_read32(f->limit)};
	if (!f->selector)
		return;
	access = vmcs_read32(f->access);
	out->selector = vmcs_read16(f->selector);
	out->access = (uint16_t)((access & ~ACCESS_RESERVED & ~ACCESS_UNUSABLE) |
				 (access & ACCESS_UNUSABLE ? SEGMENT_UNUSABLE : 0));
}

void vmx_set_segment(struct vcpu *vcpu, enum segment_reg seg, const struct segment *in)
{
	const struct segment_fields *f = &segments[seg];

	vmcs_make_current(hw_of(vcpu));
	vmcs_writen(f->base, in->base);
	vmcs_write32(f->limit, in->limit);
	if (!f->selector)
		return;
	vmcs_write16(f->selector, in->selector);
	vmcs_write32(f->access, in->access & SEGMENT_UNUSABLE ? (uint32_t)ACCESS_UNUSABLE
							      : in->access & ~(uint32_t)ACCESS_RESERVED);
}

void vmx_get_mode(struct vcpu *vcpu, struct cpu_mode *out)
{
	uint64_t cr0_mask = CR0_HOST_OWNED, cr4_mask = ~CR4_GUEST_OWNED;

	vmcs_make_current(hw_of(vcpu));
	out->cr0 = (vmcs_readn(VMCS_GUEST_CR0) & ~cr0_mask) | (vmcs_readn(VMCS_CR0_SHADOW) & cr0_mask);
	out->cr3 = vmcs_readn(VMCS_GUEST_CR3);
	out->cr4 = (vmcs_readn(VMCS_GUEST_CR4) & ~cr4_mask) | (vmcs_readn(VMCS_CR4_SHADOW) & cr4_mask);
	out->efer = vmcs_read64(VMCS_GUEST_EFER);
	out->rflags = vmcs_readn(VMCS_GUEST_RFLAGS);
	out->cs_base = vmcs_readn(VMCS_GUEST_CS_BASE);
	/* Code and stack segments are never unusable where it matters; D, L and DPL lie as struct segment has them. */
	out->cs_access = (uint16_t)vmcs_read32(VMCS_GUEST_CS_ACCESS);
	out->ss_access = (uint16_t)vmcs_read32(VMCS_GUEST_SS_ACCESS);
}

/* From an exit: the VMCS is current. */
void vmx_get_code(struct vcpu *vcpu, struct code_mode *out)
{
	(void)vcpu;
	out->cr3 = vmcs_readn(VMCS_GUEST_CR3);
	out->efer = vmcs_read64(VMCS_GUEST_EFER);
	out->cs_access = (uint16_t)vmcs_read32(VMCS_GUEST_CS_ACCESS);
}

/* ---- MSRs ---- */

static const uint32_t switched[SW_COUNT] = {
	[SW_STAR] = MSR_IA32_STAR, [SW_LSTAR] = MSR_IA32_LSTAR, [SW_CSTAR] = MSR_IA32_CSTAR,
	[SW_FMASK] = MSR_IA32_FMASK, [SW_KERNEL_GS_BASE] = MSR_IA32_KERNEL_GS_BASE, [SW_TSC_AUX] = MSR_IA32_TSC_AUX,
};

static bool exists(enum switched_msr i) { return i != SW_TSC_AUX || vmx.rdtscp; }

void state_load(struct vmx_vcpu *hw)
{
	for (unsigned i = 0; i < SW_COUNT; i++)
		if (exists(i))
			wrmsr(switched[i], hw->msr[i]);
	write_cr2(hw->cr2);
}

void state_save(struct vmx_vcpu *hw)
{
	for (unsigned i = 0; i < SW_COUNT; i++)
		if (exists(i))
			hw->msr[i] = rdmsr(switched[i]);
	hw->cr2 = read_cr2();
}

static bool canonical(uint64_t v) { return (uint64_t)((int64_t)(v << 16) >> 16) == v; }

/* 11.12.4: each byte one of the types 0, 1, 4 to 7. */
static bool pat_valid(uint64_t v)
{
	for (unsigned i = 0; i < 8; i++, v >>= 8) {
		uint8_t type = (uint8_t)v;

		if (type > MEMTYPE_UC_MINUS || type == 2 || type == 3)
			return false;
	}
	return true;
}

static bool value_valid(uint32_t index, uint64_t v)
{
	switch (index) {
	case MSR_IA32_FS_BASE:
	case MSR_IA32_GS_BASE:
	case MSR_IA32_KERNEL_GS_BASE:
	case MSR_IA32_LSTAR:
	case MSR_IA32_CSTAR:
	case MSR_IA32_SYSENTER_ESP:
	case MSR_IA32_SYSENTER_EIP:
		return canonical(v);
	case MSR_IA32_TSC_AUX:
	case MSR_IA32_FMASK:
	case MSR_IA32_SYSENTER_CS:
		return v <= UINT32_MAX;
	case MSR_IA32_PAT:
		return pat_valid(v);
	case MSR_IA32_XSS:
		return fpu_xss_valid(v);
	default:
		return true;
	}
}

static enum status write_efer(struct vmx_vcpu *hw, uint64_t value)
{
	uint64_t old = vmcs_read64(VMCS_GUEST_EFER);
	bool paging = vmcs_readn(VMCS_GUEST_CR0) & CR0_PG;

	if (value & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))
		return ST_INVALID;
	if (paging && ((value ^ old) & EFER_LME))
		return ST_INVALID;
	/* LMA is read-only: writes ignore it. A change of SCE alone touches no translation. */
	value = (value & ~EFER_LMA) | (old & EFER_LMA);
	if ((value ^ old) & ~EFER_SCE)
		set_efer(hw, value);
	else
		vmcs_write64(VMCS_GUEST_EFER, value);
	return ST_OK;
}

static enum status write_spec_ctrl(struct vmx_vcpu *hw, uint64_t value)
{
	uint64_t host;

	/* Tried on the processor itself: it knows its reserved bits. The host's value is back at once. */
	if (!rdmsr_safe(MSR_IA32_SPEC_CTRL, &host))
		return ST_NOT_FOUND;
	if (value > UINT32_MAX || !wrmsr_safe(MSR_IA32_SPEC_CTRL, value))
		return ST_INVALID;
	wrmsr(MSR_IA32_SPEC_CTRL, host);
	spec_ctrl_written(&hw->spec_ctrl, (uint32_t)value);
	guard_update(hw);
	msr_bitmap_choose(hw);
	return ST_OK;
}

static int switched_index(uint32_t index)
{
	for (int i = 0; i < SW_COUNT; i++)
		if (switched[i] == index && exists(i))
			return i;
	return -1;
}

enum status vmx_get_msr(struct vcpu *vcpu, uint32_t index, uint64_t *out)
{
	struct vmx_vcpu *hw = hw_of(vcpu);
	int slot = switched_index(index);

	vmcs_make_current(hw);
	if (slot >= 0) {
		*out = is_loaded(hw) ? rdmsr(index) : hw->msr[slot];
		return ST_OK;
	}
	switch (index) {
	case MSR_IA32_FS_BASE: *out = vmcs_readn(VMCS_GUEST_FS_BASE); return ST_OK;
	case MSR_IA32_GS_BASE: *out = vmcs_readn(VMCS_GUEST_GS_BASE); return ST_OK;
	case MSR_IA32_SYSENTER_CS: *out = vmcs_read32(VMCS_GUEST_SYSENTER_CS); return ST_OK;
	case MSR_IA32_SYSENTER_ESP: *out = vmcs_readn(VMCS_GUEST_SYSENTER_ESP); return ST_OK;
	case MSR_IA32_SYSENTER_EIP: *out = vmcs_readn(VMCS_GUEST_SYSENTER_EIP); return ST_OK;
	case MSR_IA32_EFER: *out = vmcs_read64(VMCS_GUEST_EFER); return ST_OK;
	case MSR_IA32_PAT: *out = vmcs_read64(VMCS_GUEST_PAT); return ST_OK;
	case MSR_IA32_SPEC_CTRL: *out = hw->spec_ctrl.value; return ST_OK;
	case MSR_IA32_XSS: *out = 0; return ST_OK;
	/* CPUID says whether there is one. */
	case MSR_IA32_ARCH_CAPABILITIES: return rdmsr_safe(index, out) ? ST_OK : ST_NOT_FOUND;
	default: return ST_NOT_FOUND;
	}
}

enum status vmx_set_msr(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
	struct vmx_vcpu *hw = hw_of(vcpu);
	int slot = switched_index(index);

	if (!value_valid(index, value))
		return ST_INVALID;
	vmcs_make_current(hw);
	if (slot >= 0) {
		hw->msr[slot] = value;
		if (is_loaded(hw))
			wrmsr(index, value);
		return ST_OK;
	}
	switch (index) {
	case MSR_IA32_FS_BASE: vmcs_writen(VMCS_GUEST_FS_BASE, value); return ST_OK;
	case MSR_IA32_GS_BASE: vmcs_writen(VMCS_GUEST_GS_BASE, value); return ST_OK;
	case MSR_IA32_SYSENTER_CS: vmcs_write32(VMCS_GUEST_SYSENTER_CS, (uint32_t)value); return ST_OK;
	case MSR_IA32_SYSENTER_ESP: vmcs_writen(VMCS_GUEST_SYSENTER_ESP, value); return ST_OK;
	case MSR_IA32_SYSENTER_EIP: vmcs_writen(VMCS_GUEST_SYSENTER_EIP, value); return ST_OK;
	case MSR_IA32_EFER: return write_efer(hw, value);
	case MSR_IA32_PAT: vmcs_write64(VMCS_GUEST_PAT, value); return ST_OK;
	case MSR_IA32_SPEC_CTRL: return write_spec_ctrl(hw, value);
	case MSR_IA32_PRED_CMD:
	case MSR_IA32_FLUSH_CMD:
		return wrmsr_safe(index, value) ? ST_OK : ST_INVALID;
	case MSR_IA32_XSS: return ST_OK;
	default: return ST_NOT_FOUND;
	}
}
