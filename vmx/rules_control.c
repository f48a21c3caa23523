/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SDM volume 3, section 26.2.1: what VM entry demands of the VMX controls.
 */
#include "lib/x86_regs.h"
#include "vmx/ept.h"
#include "vmx/rules.h"

/* Reserved bits as the capability MSRs say: low half must be 1, high half may be 1. */
static void check_word(struct checker *c, enum vmcs_position at, uint64_t cap, const char *section)
{
	uint64_t v = value_at(c, at);

	expect(c, (v & (uint32_t)cap) == (uint32_t)cap, section, at, "a bit that must be 1 is 0");
	expect(c, (v & ~(cap >> 32)) == 0, section, at, "a bit that must be 0 is 1");
}

static void check_words(struct checker *c)
{
	check_word(c, VMCS_AT_PINBASED_CTLS, c->caps->pin, "26.2.1.1");
	check_word(c, VMCS_AT_PROCBASED_CTLS, c->caps->proc, "26.2.1.1");
	if (VALUE(c, PROCBASED_CTLS) & PROC_SECONDARY)
		check_word(c, VMCS_AT_PROCBASED_CTLS2, c->caps->proc2, "26.2.1.1");
	check_word(c, VMCS_AT_EXIT_CTLS, c->caps->exit, "26.2.1.2");
	check_word(c, VMCS_AT_ENTRY_CTLS, c->caps->entry, "26.2.1.3");
}

static void check_addresses(struct checker *c)
{
	uint64_t proc = VALUE(c, PROCBASED_CTLS), proc2 = proc2_of(c);
	const char *rule = "not a page-aligned address inside the physical-address width";

	if (proc & PROC_IO_BITMAPS) {
		EXPECT(c, is_page(c, VALUE(c, IO_BITMAP_A)), "26.2.1.1", IO_BITMAP_A, rule);
		EXPECT(c, is_page(c, VALUE(c, IO_BITMAP_B)), "26.2.1.1", IO_BITMAP_B, rule);
	}
	if (proc & PROC_MSR_BITMAPS)
		EXPECT(c, is_page(c, VALUE(c, MSR_BITMAP)), "26.2.1.1", MSR_BITMAP, rule);
	if (proc & PROC_TPR_SHADOW)
		EXPECT(c, is_page(c, VALUE(c, VIRTUAL_APIC_ADDR)), "26.2.1.1", VIRTUAL_APIC_ADDR, rule);
	if (proc2 & PROC2_APIC_ACCESSES)
		EXPECT(c, is_page(c, VALUE(c, APIC_ACCESS_ADDR)), "26.2.1.1", APIC_ACCESS_ADDR, rule);
	if (proc2 & PROC2_PML)
		EXPECT(c, is_page(c, VALUE(c, PML_ADDRESS)), "26.2.1.1", PML_ADDRESS, rule);
	if (proc2 & PROC2_EPT_VE)
		EXPECT(c, is_page(c, VALUE(c, VE_INFO_ADDR)), "26.2.1.1", VE_INFO_ADDR, rule);
	if (proc2 & PROC2_VMCS_SHADOWING) {
		EXPECT(c, is_page(c, VALUE(c, VMREAD_BITMAP_ADDR)), "26.2.1.1", VMREAD_BITMAP_ADDR, rule);
		EXPECT(c, is_page(c, VALUE(c, VMWRITE_BITMAP_ADDR)), "26.2.1.1", VMWRITE_BITMAP_ADDR, rule);
	}
}

static void check_apic(struct checker *c)
{
	uint64_t proc2 = proc2_of(c), pin = VALUE(c, PINBASED_CTLS);
	bool virtual_interrupts = proc2 & PROC2_VIRTUAL_INTERRUPTS;

	if (!(VALUE(c, PROCBASED_CTLS) & PROC_TPR_SHADOW))
		EXPECT(c, !(proc2 & (PROC2_X2APIC | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS)), "26.2.1.1",
		       PROCBASED_CTLS2, "APIC virtualisation needs the TPR shadow");
	else if (!virtual_interrupts)
		EXPECT(c, VALUE(c, TPR_THRESHOLD) < 16, "26.2.1.1", TPR_THRESHOLD, "bits 31:4 must be 0");
	EXPECT(c, !(proc2 & PROC2_X2APIC) || !(proc2 & PROC2_APIC_ACCESSES), "26.2.1.1", PROCBASED_CTLS2,
	       "x2APIC mode and APIC accesses cannot both be virtualised");
	EXPECT(c, !virtual_interrupts || (pin & PIN_EXTERNAL_INTERRUPT), "26.2.1.1", PINBASED_CTLS,
	       "virtual-interrupt delivery needs external-interrupt exiting");
	if (!(pin & PIN_POSTED_INTERRUPTS))
		return;
	EXPECT(c, virtual_interrupts, "26.2.1.1", PINBASED_CTLS, "posted interrupts need virtual-interrupt delivery");
	EXPECT(c, VALUE(c, EXIT_CTLS) & EXIT_CTL_ACK_INTERRUPT, "26.2.1.1", EXIT_CTLS,
	       "posted interrupts need acknowledge on exit");
	EXPECT(c, VALUE(c, POSTED_INTERRUPT_VECTOR) < VEC_COUNT, "26.2.1.1", POSTED_INTERRUPT_VECTOR,
	       "the vector must be below 256");
	EXPECT(c,
	       is_aligned(VALUE(c, POSTED_INTERRUPT_DESC_ADDR), 64) &&
		       in_width(c, VALUE(c, POSTED_INTERRUPT_DESC_ADDR)),
	       "26.2.1.1", POSTED_INTERRUPT_DESC_ADDR, "not 64-byte aligned inside the physical-address width");
}

static void check_nmi(struct checker *c)
{
	uint64_t pin = VALUE(c, PINBASED_CTLS);

	EXPECT(c, (pin & PIN_NMI) || !(pin & PIN_VIRTUAL_NMIS), "26.2.1.1", PINBASED_CTLS,
	       "virtual NMIs need NMI exiting");
	EXPECT(c, (pin & PIN_VIRTUAL_NMIS) || !(VALUE(c, PROCBASED_CTLS) & PROC_NMI_WINDOW), "26.2.1.1", PROCBASED_CTLS,
	       "NMI-window exiting needs virtual NMIs");
}

static void check_eptp(struct checker *c)
{
	uint64_t eptp = VALUE(c, EPT_POINTER), type = FIELD(eptp, 2, 0), cap = c->caps->ept_vpid;

	EXPECT(c, (type == 6 && (cap & EPT_CAP_WB)) || (type == 0 && (cap & EPT_CAP_UC)), "26.2.1.1", EPT_POINTER,
	       "memory type not supported");
	EXPECT(c, FIELD(eptp, 5, 3) == 3 || (FIELD(eptp, 5, 3) == 4 && (cap & EPT_CAP_WALK_5)), "26.2.1.1", EPT_POINTER,
	       "walk length not supported");
	EXPECT(c, !(eptp & EPTP_ACCESSED_DIRTY) || (cap & EPT_CAP_ACCESSED_DIRTY), "26.2.1.1", EPT_POINTER,
	       "accessed and dirty flags not supported");
	EXPECT(c, !(eptp & MASK(11, 8)) && in_width(c, eptp), "26.2.1.1", EPT_POINTER, "a reserved bit is 1");
}

static void check_translation(struct checker *c)
{
	uint64_t proc2 = proc2_of(c);
	const uint64_t need_ept =
		PROC2_UNRESTRICTED_GUEST | PROC2_PML | PROC2_MODE_BASED_EXEC | PROC2_SPP | PROC2_PT_GPA;

	EXPECT(c, !(proc2 & PROC2_VPID) || VALUE(c, VPID) != 0, "26.2.1.1", VPID, "VPID 0 is the host's");
	EXPECT(c, (proc2 & PROC2_EPT) || !(proc2 & need_ept), "26.2.1.1", PROCBASED_CTLS2,
	       "unrestricted guest, PML, mode-based execution, SPP and PT need EPT");
	if (proc2 & PROC2_EPT)
		check_eptp(c);
	EXPECT(c, VALUE(c, CR3_TARGET_COUNT) <= VMX_MISC_CR3_TARGETS(c->caps->misc), "26.2.1.1", CR3_TARGET_COUNT,
	       "more CR3 targets than the processor has");
	EXPECT(c, !(proc2 & PROC2_TSC_SCALING) || VALUE(c, TSC_MULTIPLIER) != 0, "26.2.1.1", TSC_MULTIPLIER,
	       "the TSC multiplier must not be 0");
}

static void check_msr_area(struct checker *c, enum vmcs_position count, enum vmcs_position address, const char *section)
{
	if (value_at(c, count))
		expect(c, is_aligned(value_at(c, address), 16) &&
			       in_width(c, value_at(c, address) + value_at(c, count) * 16 - 1),
		       section, address, "the MSR area is not 16-byte aligned inside the physical-address width");
}

static void check_exit(struct checker *c)
{
	EXPECT(c, (VALUE(c, PINBASED_CTLS) & PIN_PREEMPTION_TIMER) || !(VALUE(c, EXIT_CTLS) & EXIT_CTL_SAVE_PREEMPTION),
	       "26.2.1.2", EXIT_CTLS, "saving the preemption timer needs the timer");
	check_msr_area(c, VMCS_AT_EXIT_MSR_STORE_COUNT, VMCS_AT_EXIT_MSR_STORE_ADDR, "26.2.1.2");
	check_msr_area(c, VMCS_AT_EXIT_MSR_LOAD_COUNT, VMCS_AT_EXIT_MSR_LOAD_ADDR, "26.2.1.2");
}

/* Does the event push an error code? Only hardware exceptions of these vectors, in protected mode. */
static bool wants_error(const struct checker *c)
{
	uint64_t vector = VALUE(c, ENTRY_INTR_INFO) & INTR_VECTOR_MASK;
	bool real = unrestricted(c) && !(VALUE(c, GUEST_CR0) & CR0_PE);

	return injects(c, INTR_HARD_EXCEPTION) && !real && vector < 32 && (VEC_ERROR_CODE_MASK >> vector & 1);
}

static void check_event_type(struct checker *c)
{
	uint64_t info = VALUE(c, ENTRY_INTR_INFO), vector = info & INTR_VECTOR_MASK;
	uint32_t type = info & INTR_TYPE_MASK;
	const uint32_t mtf = PROC_MONITOR_TRAP;

	EXPECT(c, type != INTR_TYPE(1), "26.2.1.3", ENTRY_INTR_INFO, "interruption type 1 is reserved");
	EXPECT(c, type != INTR_OTHER || (c->caps->proc >> 32 & mtf), "26.2.1.3", ENTRY_INTR_INFO,
	       "interruption type 7 needs the monitor trap flag");
	EXPECT(c, type != INTR_NMI || vector == VEC_NMI, "26.2.1.3", ENTRY_INTR_INFO, "an NMI has vector 2");
	EXPECT(c, type != INTR_HARD_EXCEPTION || vector < 32, "26.2.1.3", ENTRY_INTR_INFO,
	       "a hardware exception has a vector below 32");
	EXPECT(c, type != INTR_OTHER || vector == 0, "26.2.1.3", ENTRY_INTR_INFO, "interruption type 7 has vector 0");
}

static void check_event(struct checker *c)
{
	uint64_t info = VALUE(c, ENTRY_INTR_INFO), length = VALUE(c, ENTRY_INSTRUCTION_LENGTH);
	bool zero_length = c->caps->misc & VMX_MISC_INJECT_LENGTH_0;

	if (!(info & INTR_VALID))
		return;
	check_event_type(c);
	EXPECT(c, !(info & INTR_ERROR_CODE) || wants_error(c), "26.2.1.3", ENTRY_INTR_INFO,
	       "this event pushes no error code");
	EXPECT(c, (info & INTR_ERROR_CODE) || !wants_error(c), "26.2.1.3", ENTRY_INTR_INFO,
	       "this exception pushes an error code");
	EXPECT(c, !(info & INTR_RESERVED), "26.2.1.3", ENTRY_INTR_INFO, "a reserved bit is 1");
	if (info & INTR_ERROR_CODE)
		EXPECT(c, VALUE(c, ENTRY_EXCEPTION_ERROR) <= 0xffff, "26.2.1.3", ENTRY_EXCEPTION_ERROR,
		       "bits 31:16 of the error code must be 0");
	if (injects(c, INTR_SOFT_INTERRUPT) || injects(c, INTR_PRIVILEGED_SOFT) || injects(c, INTR_SOFT_EXCEPTION))
		EXPECT(c, length <= 15 && (length || zero_length), "26.2.1.3", ENTRY_INSTRUCTION_LENGTH,
		       "the length of the instruction must be 1 to 15");
}

static void check_entry(struct checker *c)
{
	check_event(c);
	check_msr_area(c, VMCS_AT_ENTRY_MSR_LOAD_COUNT, VMCS_AT_ENTRY_MSR_LOAD_ADDR, "26.2.1.3");
	EXPECT(c, !(VALUE(c, ENTRY_CTLS) & (ENTRY_CTL_TO_SMM | ENTRY_CTL_DEACTIVATE_DUAL)), "26.2.1.3", ENTRY_CTLS,
	       "entry to SMM and deactivation of dual-monitor treatment are for SMM");
}

unsigned dump_check_controls(const struct vmcs_image *image, const struct vmx_caps *caps, unsigned phys_bits,
			     struct text *t)
{
	struct checker c = {.image = image, .caps = caps, .phys_bits = phys_bits, .text = t};

	check_words(&c);
	check_addresses(&c);
	check_apic(&c);
	check_nmi(&c);
	check_translation(&c);
	check_exit(&c);
	check_entry(&c);
	return c.broken;
}
