/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new VMCS: controls, the guest after power-on (SDM volume 3, table 9-1), and
 * what of the host is the same for every vcpu. Constant rows are tables; the rest
 * is written field by field below them.
 */
#include "guest/machine.h"
#include "lib/x86_asm.h"
#include "vmx/internal.h"
#include "vmx/state.h"
#include "vmx/vmx_asm.h"

/*
 * #DB and #AC can be raised without end while their own delivery raises them
 * again (CVE-2015-8104, CVE-2015-5307); as exits each turn of that loop meets the
 * scheduler. A machine check is the host's.
 */
#define EXCEPTIONS (BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC))

static const struct vmcs_setting control_rows[] = {
	{VMCS_EXCEPTION_BITMAP, EXCEPTIONS},
	/* With these and bit 14 of the bitmap clear, no page fault exits (24.6.3). */
	{VMCS_PF_ERROR_CODE_MASK, 0},
	{VMCS_PF_ERROR_CODE_MATCH, 0},
	{VMCS_CR3_TARGET_COUNT, 0},
	{VMCS_EXIT_MSR_STORE_COUNT, 0},
	{VMCS_EXIT_MSR_LOAD_COUNT, 0},
	{VMCS_ENTRY_MSR_LOAD_COUNT, 0},
	{VMCS_ENTRY_INTR_INFO, 0},
	{VMCS_ENTRY_EXCEPTION_ERROR, 0},
	{VMCS_ENTRY_INSTRUCTION_LENGTH, 0},
	{VMCS_TPR_THRESHOLD, 0},
	{VMCS_TSC_OFFSET, 0},
	{VMCS_CR0_MASK, CR0_HOST_OWNED},
};

/* Data segments after reset: base 0, 64 KiB, read and write, accessed. */
#define RESET_DATA(name) \
	{VMCS_GUEST_##name##_SELECTOR, 0}, {VMCS_GUEST_##name##_BASE, 0}, {VMCS_GUEST_##name##_LIMIT, 0xffff}, \
	{ \
		VMCS_GUEST_##name##_ACCESS, ACCESS_P | SEG_S | SEG_TYPE_RW | SEG_TYPE_ACCESSED \
	}

/* After power-on and after INIT. */
static const struct vmcs_setting reset_rows[] = {
	RESET_DATA(ES), RESET_DATA(SS), RESET_DATA(DS), RESET_DATA(FS), RESET_DATA(GS),
	{VMCS_GUEST_CS_SELECTOR, 0xf000},
	{VMCS_GUEST_CS_BASE, 0xffff0000},
	{VMCS_GUEST_CS_LIMIT, 0xffff},
	{VMCS_GUEST_CS_ACCESS, ACCESS_P | SEG_S | SEG_TYPE_CODE | SEG_TYPE_RW | SEG_TYPE_ACCESSED},
	{VMCS_GUEST_LDTR_SELECTOR, 0},
	{VMCS_GUEST_LDTR_BASE, 0},
	{VMCS_GUEST_LDTR_LIMIT, 0xffff},
	{VMCS_GUEST_LDTR_ACCESS, ACCESS_P | SEG_TYPE_LDT},
	{VMCS_GUEST_TR_SELECTOR, 0},
	{VMCS_GUEST_TR_BASE, 0},
	{VMCS_GUEST_TR_LIMIT, 0xffff},
	{VMCS_GUEST_TR_ACCESS, ACCESS_P | SEG_TYPE_TSS_BUSY},
	{VMCS_GUEST_GDTR_BASE, 0},
	{VMCS_GUEST_GDTR_LIMIT, 0xffff},
	{VMCS_GUEST_IDTR_BASE, 0},
	{VMCS_GUEST_IDTR_LIMIT, 0xffff},
	{VMCS_GUEST_CR3, 0},
	{VMCS_GUEST_RIP, 0xfff0},
	{VMCS_GUEST_RSP, 0},
	{VMCS_GUEST_RFLAGS, RFLAGS_FIXED1},
	{VMCS_GUEST_DR7, DR7_INIT},
	{VMCS_GUEST_DEBUGCTL, 0},
	{VMCS_GUEST_EFER, 0},
	{VMCS_GUEST_INTERRUPTIBILITY, 0},
	{VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_ACTIVE},
	{VMCS_GUEST_PENDING_DEBUG, 0},
};

/* Not after INIT, which leaves them as they are. */
static const struct vmcs_setting power_on_rows[] = {
	{VMCS_GUEST_PAT, PAT_RESET},
	{VMCS_GUEST_SYSENTER_CS, 0},
	{VMCS_GUEST_SYSENTER_ESP, 0},
	{VMCS_GUEST_SYSENTER_EIP, 0},
	{VMCS_VMCS_LINK_POINTER, ~0ull},
};

/*
 * A vcpu that executes PAUSE at least every PLE_GAP ticks for PLE_WINDOW ticks, in ring 0, waits for a sibling
 * (24.6.13): whoever runs holds no lock for that long.
 */
#define PLE_GAP 128
#define PLE_WINDOW 4096

static uint32_t secondary_controls(const struct vmx_vcpu *hw)
{
	const struct vmx_controls *c = &vmx.controls;
	const struct vm *vm = hw->vcpu->vm;
	bool spins = c->pause_loop && vm->config.cpu.count > 1 && !vm->machine->pause_loops_off;

	return c->proc2 | (spins ? PROC2_PAUSE_LOOP : 0);
}

static void write_controls(struct vmx_vcpu *hw)
{
	const struct vmx_controls *c = &vmx.controls;

	hw->proc = c->proc;
	hw->proc2 = secondary_controls(hw);
	vmcs_write32(VMCS_PINBASED_CTLS, c->pin);
	vmcs_write32(VMCS_PROCBASED_CTLS, hw->proc);
	vmcs_write32(VMCS_PROCBASED_CTLS2, hw->proc2);
	vmcs_write32(VMCS_EXIT_CTLS, c->exit);
	vmcs_write32(VMCS_ENTRY_CTLS, c->entry);
	vmcs_write64(VMCS_IO_BITMAP_A, vmx.io_bitmap_a);
	vmcs_write64(VMCS_IO_BITMAP_B, vmx.io_bitmap_b);
	msr_bitmap_choose(hw);
	vmcs_write64(VMCS_EPT_POINTER, ept_pointer(&hw->vmx_vm->stage2));
	vmcs_write16(VMCS_VPID, hw->vpid);
	if (hw->proc2 & PROC2_PAUSE_LOOP) {
		vmcs_write32(VMCS_PLE_GAP, PLE_GAP);
		vmcs_write32(VMCS_PLE_WINDOW, PLE_WINDOW);
	}
	if (c->xsaves)
		vmcs_write64(VMCS_XSS_EXITING_BITMAP, ~0ull);
	if (c->encls)
		vmcs_write64(VMCS_ENCLS_EXITING_BITMAP, ~0ull);
	if (c->virtual_interrupts) {
		vmcs_write16(VMCS_GUEST_INTERRUPT_STATUS, 0);
		for (unsigned i = 0; i < ARRAY_SIZE(hw->eoi_exits); i++)
			vmwrite(VMCS_EOI_EXIT_BITMAP_0 + 2 * i, 0);
	}
}

void vmcs_set_up(struct vmx_vcpu *hw)
{
	vmcs_make_current(hw);
	write_controls(hw);
	vmcs_write_table(control_rows, ARRAY_SIZE(control_rows));
	vmcs_write_table(reset_rows, ARRAY_SIZE(reset_rows));
	vmcs_write_table(power_on_rows, ARRAY_SIZE(power_on_rows));
	state_write_cr0(CR0_CD | CR0_NW | CR0_ET);
	state_write_cr4(0);
}

/* CR0.CD and NW stay (SDM volume 3, table 9-1, note 2). */
void vmx_init_state(struct vcpu *vcpu)
{
	struct vmx_vcpu *hw = hw_of(vcpu);
	uint64_t kept;

	vmcs_make_current(hw);
	kept = vmcs_readn(VMCS_CR0_SHADOW) & (CR0_CD | CR0_NW);
	vmcs_write32(VMCS_ENTRY_INTR_INFO, 0);
	vmx_want_window(vcpu, EVENT_INTERRUPT, false);
	vmx_want_window(vcpu, EVENT_NMI, false);
	vmcs_write_table(reset_rows, ARRAY_SIZE(reset_rows));
	vmx_set_reg(vcpu, REG_CR4, 0);
	vmx_set_reg(vcpu, REG_CR0, kept | CR0_ET);
	vmx_set_reg(vcpu, REG_CR2, 0);
	debugreg_reset(hw);
	if (this_cpu()->loaded == hw)
		debugreg_load(hw);
	hw->nmi_free = true;
}
