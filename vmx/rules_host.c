/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SDM volume 3, sections 26.2.2 to 26.2.4: what VM entry demands of the state
 * that exits restore.
 */
#include "lib/x86_regs.h"
#include "vmx/rules.h"

static void check_registers(struct checker *c)
{
	const struct vmx_caps *caps = c->caps;
	uint64_t cr0 = VALUE(c, HOST_CR0), cr4 = VALUE(c, HOST_CR4);

	EXPECT(c, ctrl_fixed(cr0, caps->cr0_fixed0, caps->cr0_fixed1) == cr0, "26.2.2", HOST_CR0,
	       "a bit has a value that VMX operation does not support");
	EXPECT(c, ctrl_fixed(cr4, caps->cr4_fixed0, caps->cr4_fixed1) == cr4, "26.2.2", HOST_CR4,
	       "a bit has a value that VMX operation does not support");
	EXPECT(c, in_width(c, VALUE(c, HOST_CR3) & ~CR3_NO_FLUSH), "26.2.2", HOST_CR3,
	       "a bit beyond the physical-address width is 1");
	EXPECT(c, is_canonical(VALUE(c, HOST_SYSENTER_ESP)), "26.2.2", HOST_SYSENTER_ESP, "not canonical");
	EXPECT(c, is_canonical(VALUE(c, HOST_SYSENTER_EIP)), "26.2.2", HOST_SYSENTER_EIP, "not canonical");
}

static void check_msrs(struct checker *c)
{
	uint64_t exit = VALUE(c, EXIT_CTLS), efer = VALUE(c, HOST_EFER);
	bool host_64 = exit & EXIT_CTL_HOST_64;

	if (exit & EXIT_CTL_LOAD_PAT)
		EXPECT(c, is_pat(VALUE(c, HOST_PAT)), "26.2.2", HOST_PAT, "a byte is not a memory type");
	if (!(exit & EXIT_CTL_LOAD_EFER))
		return;
	EXPECT(c, !(efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)), "26.2.2", HOST_EFER, "a reserved bit is 1");
	EXPECT(c, !(efer & EFER_LMA) == !host_64 && !(efer & EFER_LME) == !host_64, "26.2.2", HOST_EFER,
	       "LMA and LME must equal the host address-space size control");
}

static void check_selector(struct checker *c, enum vmcs_position at)
{
	expect(c, !(value_at(c, at) & (SEL_RPL_MASK | SEL_TI)), "26.2.3", at, "RPL and TI must be 0");
}

static void check_segments_host(struct checker *c)
{
	static const enum vmcs_position selectors[] = {
		VMCS_AT_HOST_CS_SELECTOR, VMCS_AT_HOST_SS_SELECTOR, VMCS_AT_HOST_DS_SELECTOR, VMCS_AT_HOST_ES_SELECTOR,
		VMCS_AT_HOST_FS_SELECTOR, VMCS_AT_HOST_GS_SELECTOR, VMCS_AT_HOST_TR_SELECTOR,
	};
	static const enum vmcs_position bases[] = {
		VMCS_AT_HOST_FS_BASE,   VMCS_AT_HOST_GS_BASE,   VMCS_AT_HOST_TR_BASE,
		VMCS_AT_HOST_GDTR_BASE, VMCS_AT_HOST_IDTR_BASE,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(selectors); i++)
		check_selector(c, selectors[i]);
	EXPECT(c, VALUE(c, HOST_CS_SELECTOR) != 0, "26.2.3", HOST_CS_SELECTOR, "must not be 0");
	EXPECT(c, VALUE(c, HOST_TR_SELECTOR) != 0, "26.2.3", HOST_TR_SELECTOR, "must not be 0");
	EXPECT(c, (VALUE(c, EXIT_CTLS) & EXIT_CTL_HOST_64) || VALUE(c, HOST_SS_SELECTOR) != 0, "26.2.3",
	       HOST_SS_SELECTOR, "must not be 0 for a 32-bit host");
	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++)
		expect(c, is_canonical(value_at(c, bases[i])), "26.2.3", bases[i], "not canonical");
}

/* This engine runs in 64-bit mode: the rules of a 64-bit host. */
static void check_address_space(struct checker *c)
{
	EXPECT(c, VALUE(c, EXIT_CTLS) & EXIT_CTL_HOST_64, "26.2.4", EXIT_CTLS,
	       "the host address-space size must be 64 bits");
	EXPECT(c, VALUE(c, HOST_CR4) & CR4_PAE, "26.2.4", HOST_CR4, "a 64-bit host needs PAE");
	EXPECT(c, is_canonical(VALUE(c, HOST_RIP)), "26.2.4", HOST_RIP, "not canonical");
}

unsigned dump_check_host(const struct vmcs_image *image, const struct vmx_caps *caps, unsigned phys_bits,
			 struct text *t)
{
	struct checker c = {.image = image, .caps = caps, .phys_bits = phys_bits, .text = t};

	check_registers(&c);
	check_msrs(&c);
	check_segments_host(&c);
	check_address_space(&c);
	return c.broken;
}
