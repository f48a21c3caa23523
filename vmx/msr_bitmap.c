/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which MSRs a guest touches without an exit (SDM volume 3, section 24.6.9):
 * those in the tables below, nothing else. A bit that is 1 exits. The four
 * quarters of the page are reads of low MSRs (0 to 1fffh), reads of high ones
 * (c0000000h on), writes of low, writes of high.
 */
#include "lib/x86_regs.h"
#include "vmx/internal.h"
#include "vmx/vmx_asm.h"

#define HIGH_MSRS 0xc0000000u
#define READ_LOW 0u
#define READ_HIGH 1024u
#define WRITE_LOW 2048u
#define WRITE_HIGH 3072u
#define MSRS_PER_QUARTER 0x2000u

#define READ BIT(0)
#define WRITE BIT(1)

struct pass {
	uint32_t first, last;
	unsigned how;
};

static const struct pass always[] = {
	/* Switched by the VMCS. */
	{MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_EIP, READ | WRITE},
	{MSR_IA32_FS_BASE, MSR_IA32_GS_BASE, READ | WRITE},
	/* The TSC offset applies; a write would move the host's clock. */
	{MSR_IA32_TSC, MSR_IA32_TSC, READ},
	/* Writes have rules of the machine's (long mode, memory types). */
	{MSR_IA32_PAT, MSR_IA32_PAT, READ},
	{MSR_IA32_EFER, MSR_IA32_EFER, READ},
	/* Switched when another vcpu is loaded. */
	{MSR_IA32_STAR, MSR_IA32_FMASK, READ | WRITE},
	{MSR_IA32_KERNEL_GS_BASE, MSR_IA32_KERNEL_GS_BASE, READ | WRITE},
};

/* Switched at entry and exit (guard.c). */
static const struct pass spec_ctrl = {MSR_IA32_SPEC_CTRL, MSR_IA32_SPEC_CTRL, READ | WRITE};

static const struct pass tsc_aux = {MSR_IA32_TSC_AUX, MSR_IA32_TSC_AUX, READ | WRITE};

/*
 * With virtual interrupts and APIC-register virtualisation (29.5). Reads come from
 * the virtual-APIC page; a register that does not exist must exit to fault, and
 * so must the running timer count, which the page does not have, and ICR, whose
 * halves the page keeps 16 bytes apart. Only TPR, EOI and
 * self-IPI writes are virtualised: any other would reach the physical APIC.
 */
static const struct pass x2apic_mode[] = {
	{MSR_X2APIC_ID, MSR_X2APIC_VERSION, READ},
	{MSR_X2APIC_TPR, MSR_X2APIC_TPR, READ | WRITE},
	{MSR_X2APIC_PPR, MSR_X2APIC_PPR, READ},
	{MSR_X2APIC_EOI, MSR_X2APIC_EOI, WRITE},
	{MSR_X2APIC_LDR, MSR_X2APIC_LDR, READ},
	{MSR_X2APIC_SVR, MSR_X2APIC_SVR, READ},
	{MSR_X2APIC_ISR0, MSR_X2APIC_ESR, READ},
	{MSR_X2APIC_LVT_TIMER, MSR_X2APIC_TIMER_INITIAL, READ},
	{MSR_X2APIC_TIMER_DIVIDE, MSR_X2APIC_TIMER_DIVIDE, READ},
	{MSR_X2APIC_SELF_IPI, MSR_X2APIC_SELF_IPI, WRITE},
};

static void clear_bit(uint8_t *bits, uint32_t n) { bits[n / 8] &= (uint8_t)~(1u << (n % 8)); }

static void pass_one(uint8_t *bitmap, uint32_t msr, unsigned how)
{
	bool high = msr >= HIGH_MSRS;
	uint32_t n = high ? msr - HIGH_MSRS : msr;

	ASSERT(n < MSRS_PER_QUARTER);
	if (how & READ)
		clear_bit(bitmap + (high ? READ_HIGH : READ_LOW), n);
	if (how & WRITE)
		clear_bit(bitmap + (high ? WRITE_HIGH : WRITE_LOW), n);
}

static void pass_rows(uint8_t *bitmap, const struct pass *rows, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		for (uint32_t msr = rows[i].first; msr <= rows[i].last; msr++)
			pass_one(bitmap, msr, rows[i].how);
}

void msr_bitmap_build(void *bitmap, unsigned kind)
{
	memset(bitmap, 0xff, PAGE_SIZE);
	pass_rows(bitmap, always, ARRAY_SIZE(always));
	if (vmx.rdtscp)
		pass_rows(bitmap, &tsc_aux, 1);
	if (kind & MSR_BITMAP_X2APIC)
		pass_rows(bitmap, x2apic_mode, ARRAY_SIZE(x2apic_mode));
	if (kind & MSR_BITMAP_SPEC_CTRL)
		pass_rows(bitmap, &spec_ctrl, 1);
}

void msr_bitmap_choose(struct vmx_vcpu *hw)
{
	unsigned kind = (hw->proc2 & PROC2_X2APIC ? MSR_BITMAP_X2APIC : 0) |
			(spec_ctrl_is_passed(&hw->spec_ctrl) ? MSR_BITMAP_SPEC_CTRL : 0);

	vmcs_write64(VMCS_MSR_BITMAP, vmx.msr_bitmaps[kind]);
}
