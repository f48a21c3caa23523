/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SDM volume 3, sections 26.3.1.1 and 26.3.1.3 to 26.3.1.6: what VM entry demands
 * of the guest's registers and non-register state. Segments are in rules_segment.c.
 */
#include "lib/x86_regs.h"
#include "vmx/rules.h"

#define RFLAGS_RESERVED (MASK(63, 22) | BIT(15) | BIT(5) | BIT(3))
#define PDPTE_RESERVED (MASK(8, 5) | MASK(2, 1))
#define DEBUGCTL_RESERVED (MASK(63, 16) | MASK(5, 3))

static bool fixed_ok(uint64_t v, uint64_t fixed0, uint64_t fixed1) { return ctrl_fixed(v, fixed0, fixed1) == v; }

static void check_control_registers(struct checker *c)
{
	const struct vmx_caps *caps = c->caps;
	uint64_t cr0 = VALUE(c, GUEST_CR0), cr4 = VALUE(c, GUEST_CR4);
	uint64_t exempt = unrestricted(c) ? CR0_PE | CR0_PG : 0;

	EXPECT(c, fixed_ok(cr0 | exempt, caps->cr0_fixed0, caps->cr0_fixed1 | exempt), "26.3.1.1", GUEST_CR0,
	       "a bit has a value that VMX operation does not support");
	EXPECT(c, !(cr0 & CR0_PG) || (cr0 & CR0_PE), "26.3.1.1", GUEST_CR0, "PG without PE");
	EXPECT(c, fixed_ok(cr4, caps->cr4_fixed0, caps->cr4_fixed1), "26.3.1.1", GUEST_CR4,
	       "a bit has a value that VMX operation does not support");
	EXPECT(c, !(cr4 & CR4_CET) || (cr0 & CR0_WP), "26.3.1.1", GUEST_CR4, "CET without CR0.WP");
	EXPECT(c, in_width(c, VALUE(c, GUEST_CR3)), "26.3.1.1", GUEST_CR3,
	       "a bit beyond the physical-address width is 1");
	if (!long_mode_guest(c)) {
		EXPECT(c, !(cr4 & CR4_PCIDE), "26.3.1.1", GUEST_CR4, "PCIDE outside long mode");
		return;
	}
	EXPECT(c, cr0 & CR0_PG, "26.3.1.1", GUEST_CR0, "long mode needs PG");
	EXPECT(c, cr4 & CR4_PAE, "26.3.1.1", GUEST_CR4, "long mode needs PAE");
}

static void check_msrs(struct checker *c)
{
	uint64_t entry = VALUE(c, ENTRY_CTLS), efer = VALUE(c, GUEST_EFER);
	bool lma = efer & EFER_LMA, lme = efer & EFER_LME;

	if (entry & ENTRY_CTL_LOAD_DEBUG) {
		EXPECT(c, !(VALUE(c, GUEST_DEBUGCTL) & DEBUGCTL_RESERVED), "26.3.1.1", GUEST_DEBUGCTL,
		       "a reserved bit is 1");
		EXPECT(c, VALUE(c, GUEST_DR7) <= UINT32_MAX, "26.3.1.1", GUEST_DR7, "bits 63:32 must be 0");
	}
	EXPECT(c, is_canonical(VALUE(c, GUEST_SYSENTER_ESP)), "26.3.1.1", GUEST_SYSENTER_ESP, "not canonical");
	EXPECT(c, is_canonical(VALUE(c, GUEST_SYSENTER_EIP)), "26.3.1.1", GUEST_SYSENTER_EIP, "not canonical");
	if (entry & ENTRY_CTL_LOAD_PAT)
		EXPECT(c, is_pat(VALUE(c, GUEST_PAT)), "26.3.1.1", GUEST_PAT, "a byte is not a memory type");
	if (!(entry & ENTRY_CTL_LOAD_EFER))
		return;
	EXPECT(c, !(efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)), "26.3.1.1", GUEST_EFER,
	       "a reserved bit is 1");
	EXPECT(c, lma == long_mode_guest(c), "26.3.1.1", GUEST_EFER, "LMA must equal the 64-bit guest control");
	EXPECT(c, !(VALUE(c, GUEST_CR0) & CR0_PG) || lma == lme, "26.3.1.1", GUEST_EFER,
	       "LMA must equal LME with paging on");
}

/* 26.3.1.3 */
static void check_tables(struct checker *c)
{
	EXPECT(c, is_canonical(VALUE(c, GUEST_GDTR_BASE)), "26.3.1.3", GUEST_GDTR_BASE, "not canonical");
	EXPECT(c, is_canonical(VALUE(c, GUEST_IDTR_BASE)), "26.3.1.3", GUEST_IDTR_BASE, "not canonical");
	EXPECT(c, VALUE(c, GUEST_GDTR_LIMIT) <= 0xffff, "26.3.1.3", GUEST_GDTR_LIMIT, "bits 31:16 must be 0");
	EXPECT(c, VALUE(c, GUEST_IDTR_LIMIT) <= 0xffff, "26.3.1.3", GUEST_IDTR_LIMIT, "bits 31:16 must be 0");
}

/* 26.3.1.4 */
static void check_flow(struct checker *c)
{
	uint64_t rip = VALUE(c, GUEST_RIP), rflags = VALUE(c, GUEST_RFLAGS);
	bool code_64 = long_mode_guest(c) && (VALUE(c, GUEST_CS_ACCESS) & ACCESS_L);
	bool real = !(VALUE(c, GUEST_CR0) & CR0_PE);

	EXPECT(c, code_64 || rip <= UINT32_MAX, "26.3.1.4", GUEST_RIP, "bits 63:32 must be 0 outside 64-bit mode");
	EXPECT(c, !code_64 || is_canonical(rip), "26.3.1.4", GUEST_RIP, "not canonical");
	EXPECT(c, !(rflags & RFLAGS_RESERVED), "26.3.1.4", GUEST_RFLAGS, "a reserved bit is 1");
	EXPECT(c, rflags & RFLAGS_FIXED1, "26.3.1.4", GUEST_RFLAGS, "bit 1 must be 1");
	EXPECT(c, !(rflags & RFLAGS_VM) || !(long_mode_guest(c) || real), "26.3.1.4", GUEST_RFLAGS,
	       "VM in long mode or in real mode");
	EXPECT(c, !injects(c, INTR_EXTERNAL) || (rflags & RFLAGS_IF), "26.3.1.4", GUEST_RFLAGS,
	       "IF must be 1 to inject an external interrupt");
}

static bool activity_supported(const struct checker *c, uint64_t activity)
{
	static const uint64_t cap[] = {
		[ACTIVITY_ACTIVE] = ~0ull,
		[ACTIVITY_HLT] = VMX_MISC_ACTIVITY_HLT,
		[ACTIVITY_SHUTDOWN] = VMX_MISC_ACTIVITY_SHUTDOWN,
		[ACTIVITY_WAIT_SIPI] = VMX_MISC_ACTIVITY_WAIT_SIPI,
	};

	return activity < ARRAY_SIZE(cap) && (activity == ACTIVITY_ACTIVE || (c->caps->misc & cap[activity]));
}

/* What may be injected into a halted or shut-down guest. */
static bool may_wake(const struct checker *c, uint64_t activity)
{
	uint64_t vector = VALUE(c, ENTRY_INTR_INFO) & INTR_VECTOR_MASK;
	bool machine_check = injects(c, INTR_HARD_EXCEPTION) && vector == VEC_MC;

	if (!(VALUE(c, ENTRY_INTR_INFO) & INTR_VALID) || activity == ACTIVITY_ACTIVE)
		return true;
	if (activity == ACTIVITY_SHUTDOWN)
		return injects(c, INTR_NMI) || machine_check;
	if (activity == ACTIVITY_HLT)
		return injects(c, INTR_EXTERNAL) || injects(c, INTR_NMI) || injects(c, INTR_OTHER) || machine_check ||
		       (injects(c, INTR_HARD_EXCEPTION) && vector == VEC_DB);
	return false;
}

static void check_activity(struct checker *c)
{
	uint64_t activity = VALUE(c, GUEST_ACTIVITY_STATE);
	bool shadow = VALUE(c, GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS);

	EXPECT(c, activity_supported(c, activity), "26.3.1.5", GUEST_ACTIVITY_STATE, "not supported by the processor");
	EXPECT(c, activity != ACTIVITY_HLT || FIELD(VALUE(c, GUEST_SS_ACCESS), 6, 5) == 0, "26.3.1.5",
	       GUEST_ACTIVITY_STATE, "HLT with a DPL of SS other than 0");
	EXPECT(c, activity == ACTIVITY_ACTIVE || !shadow, "26.3.1.5", GUEST_ACTIVITY_STATE,
	       "must be active while STI or MOV SS blocks");
	EXPECT(c, may_wake(c, activity), "26.3.1.5", GUEST_ACTIVITY_STATE, "the event to inject is not allowed in it");
}

static void check_interruptibility(struct checker *c)
{
	uint64_t b = VALUE(c, GUEST_INTERRUPTIBILITY);
	bool nmi = injects(c, INTR_NMI);

	EXPECT(c, !(b & MASK(31, 5)), "26.3.1.5", GUEST_INTERRUPTIBILITY, "a reserved bit is 1");
	EXPECT(c, (b & (BLOCKING_STI | BLOCKING_MOV_SS)) != (BLOCKING_STI | BLOCKING_MOV_SS), "26.3.1.5",
	       GUEST_INTERRUPTIBILITY, "blocking by STI and by MOV SS at once");
	EXPECT(c, !(b & BLOCKING_STI) || (VALUE(c, GUEST_RFLAGS) & RFLAGS_IF), "26.3.1.5", GUEST_INTERRUPTIBILITY,
	       "blocking by STI with IF 0");
	EXPECT(c, !injects(c, INTR_EXTERNAL) || !(b & (BLOCKING_STI | BLOCKING_MOV_SS)), "26.3.1.5",
	       GUEST_INTERRUPTIBILITY, "blocking while an external interrupt is injected");
	EXPECT(c, !nmi || !(b & BLOCKING_MOV_SS), "26.3.1.5", GUEST_INTERRUPTIBILITY,
	       "blocking by MOV SS while an NMI is injected");
	EXPECT(c, !(b & BLOCKING_SMI), "26.3.1.5", GUEST_INTERRUPTIBILITY, "blocking by SMI outside SMM");
	EXPECT(c, !nmi || !(VALUE(c, PINBASED_CTLS) & PIN_VIRTUAL_NMIS) || !(b & BLOCKING_NMI), "26.3.1.5",
	       GUEST_INTERRUPTIBILITY, "blocking by NMI while a virtual NMI is injected");
}

static void check_pending_debug(struct checker *c)
{
	uint64_t pending = VALUE(c, GUEST_PENDING_DEBUG);
	bool held = (VALUE(c, GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS)) ||
		    VALUE(c, GUEST_ACTIVITY_STATE) == ACTIVITY_HLT;
	bool step = (VALUE(c, GUEST_RFLAGS) & RFLAGS_TF) && !(VALUE(c, GUEST_DEBUGCTL) & DEBUGCTL_BTF);

	EXPECT(c, !(pending & (MASK(11, 4) | BIT(13) | BIT(15) | MASK(63, 17))), "26.3.1.5", GUEST_PENDING_DEBUG,
	       "a reserved bit is 1");
	EXPECT(c, !held || !(pending & PENDING_DEBUG_BS) == !step, "26.3.1.5", GUEST_PENDING_DEBUG,
	       "while events are held, BS must say whether a single step is due");
}

static void check_link(struct checker *c)
{
	uint64_t link = VALUE(c, VMCS_LINK_POINTER);

	EXPECT(c, link == ~0ull || is_page(c, link), "26.3.1.5", VMCS_LINK_POINTER,
	       "neither all ones nor a page-aligned address inside the physical-address width");
}

/* 26.3.1.6 */
static void check_pdptes(struct checker *c)
{
	static const enum vmcs_position at[] = {VMCS_AT_GUEST_PDPTE0, VMCS_AT_GUEST_PDPTE1, VMCS_AT_GUEST_PDPTE2,
						VMCS_AT_GUEST_PDPTE3};
	bool pae = (VALUE(c, GUEST_CR0) & CR0_PG) && (VALUE(c, GUEST_CR4) & CR4_PAE) && !long_mode_guest(c);

	for (unsigned i = 0; pae && i < ARRAY_SIZE(at); i++) {
		uint64_t v = value_at(c, at[i]);

		expect(c, !(v & PTE_P) || (!(v & PDPTE_RESERVED) && in_width(c, v)), "26.3.1.6", at[i],
		       "a reserved bit is 1");
	}
}

unsigned dump_check_guest(const struct vmcs_image *image, const struct vmx_caps *caps, unsigned phys_bits,
			  struct text *t)
{
	struct checker c = {.image = image, .caps = caps, .phys_bits = phys_bits, .text = t};

	check_control_registers(&c);
	check_msrs(&c);
	check_segments(&c);
	check_tables(&c);
	check_flow(&c);
	check_activity(&c);
	check_interruptibility(&c);
	check_pending_debug(&c);
	check_link(&c);
	check_pdptes(&c);
	return c.broken;
}
