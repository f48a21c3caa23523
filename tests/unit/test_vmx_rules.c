/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The explanation of a failed VM entry: an image that keeps every rule of SDM
 * sections 26.2 and 26.3 is found clean in each mode, and each rule broken alone
 * gives one line that names its section and field.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "tests/fakes/vmx_caps.h"
#include "vmx/dump.h"

static struct vmcs_image image;
static struct vmx_controls controls;
static char buf[8192];
static struct text text;

#define SET(field, v) (image.value[VMCS_AT_##field] = (v))
#define GET(field) (image.value[VMCS_AT_##field])
#define DATA_SEGMENT(name)                                                       \
	SET(GUEST_##name##_SELECTOR, 16), SET(GUEST_##name##_LIMIT, UINT32_MAX), \
		SET(GUEST_##name##_ACCESS, 0xc093)

static void good_controls(void)
{
	SET(PINBASED_CTLS, controls.pin);
	SET(PROCBASED_CTLS, controls.proc);
	SET(PROCBASED_CTLS2, controls.proc2);
	SET(EXIT_CTLS, controls.exit);
	SET(ENTRY_CTLS, controls.entry);
	SET(IO_BITMAP_A, 0x1000);
	SET(IO_BITMAP_B, 0x2000);
	SET(MSR_BITMAP, 0x3000);
	SET(VIRTUAL_APIC_ADDR, 0x4000);
	SET(EPT_POINTER, 0x501e);
	SET(VPID, 1);
	SET(VMCS_LINK_POINTER, ~0ull);
}

static void good_host(void)
{
	SET(HOST_CR0, 0x80010031);
	SET(HOST_CR3, 0x1000);
	SET(HOST_CR4, 0x2020);
	SET(HOST_PAT, PAT_RESET);
	SET(HOST_EFER, EFER_LME | EFER_LMA | EFER_NXE);
	SET(HOST_CS_SELECTOR, 8);
	SET(HOST_SS_SELECTOR, 16);
	SET(HOST_TR_SELECTOR, 32);
	SET(HOST_GS_BASE, 0xffffffff80000000);
	SET(HOST_RIP, 0xffffffff80001000);
}

/* 64-bit mode at ring 0. */
static void good_guest(void)
{
	SET(ENTRY_CTLS, GET(ENTRY_CTLS) | ENTRY_CTL_GUEST_64);
	SET(GUEST_CR0, 0x80000031);
	SET(GUEST_CR3, 0x1000);
	SET(GUEST_CR4, 0x2020);
	SET(GUEST_EFER, EFER_LME | EFER_LMA);
	SET(GUEST_PAT, PAT_RESET);
	SET(GUEST_DR7, DR7_INIT);
	SET(GUEST_RFLAGS, RFLAGS_FIXED1);
	SET(GUEST_RIP, 0xffffffff81000000);
	SET(GUEST_CS_SELECTOR, 8);
	SET(GUEST_CS_LIMIT, UINT32_MAX);
	SET(GUEST_CS_ACCESS, 0xa09b);
	DATA_SEGMENT(SS);
	DATA_SEGMENT(DS);
	DATA_SEGMENT(ES);
	DATA_SEGMENT(FS);
	DATA_SEGMENT(GS);
	SET(GUEST_TR_LIMIT, 0xffff);
	SET(GUEST_TR_ACCESS, 0x8b);
	SET(GUEST_LDTR_ACCESS, ACCESS_UNUSABLE);
}

static int setup(void **state)
{
	(void)state;
	assert_int_equal(ctrl_compute(&icelake_caps, NULL, &controls, NULL), ST_OK);
	memset(&image, 0, sizeof image);
	memset(image.present, true, sizeof image.present);
	good_controls();
	good_host();
	good_guest();
	return 0;
}

static unsigned check_all(void)
{
	text = (struct text){.buf = buf, .size = sizeof buf};
	buf[0] = '\0';
	return dump_check_controls(&image, &icelake_caps, 40, &text) +
	       dump_check_host(&image, &icelake_caps, 40, &text) + dump_check_guest(&image, &icelake_caps, 40, &text);
}

static void expect_clean(void)
{
	if (check_all() != 0)
		fail_msg("unexpected: %s", buf);
}

static void expect_broken(const char *section, const char *field, const char *word)
{
	unsigned n = check_all();

	if (n == 0 || !strstr(buf, section) || !strstr(buf, field) || !strstr(buf, word))
		fail_msg("expected \"%s %s ... %s\", got %u: %s", section, field, word, n, buf);
}

/* What the rule's row does to the good image: one field gets a value, bits set or bits cleared. */
enum how { TO, OR, AND_NOT };

struct row {
	enum vmcs_position at;
	enum how how;
	uint64_t value;
	const char *section, *word;
	/* The field that the line names, when it is not @at: 0 is VPID's, which no such row uses. */
	enum vmcs_position named;
};

static void apply(const struct row *r)
{
	uint64_t *v = &image.value[r->at];

	if (r->how == TO)
		*v = r->value;
	else if (r->how == OR)
		*v |= r->value;
	else
		*v &= ~r->value;
}

static void expect_rows(const struct row *rows, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		setup(NULL);
		expect_clean();
		apply(&rows[i]);
		expect_broken(rows[i].section, vmcs_name(rows[i].named ? rows[i].named : rows[i].at), rows[i].word);
	}
}

#define AT(name) VMCS_AT_##name

static const struct row control_rows[] = {
	{AT(PINBASED_CTLS), AND_NOT, BIT(1), "26.2.1.1", "must be 1 is 0", 0},
	{AT(PINBASED_CTLS), OR, PIN_POSTED_INTERRUPTS, "26.2.1.1", "must be 0 is 1", 0},
	{AT(PROCBASED_CTLS), AND_NOT, BIT(1), "26.2.1.1", "must be 1 is 0", 0},
	{AT(PROCBASED_CTLS2), OR, PROC2_MODE_BASED_EXEC, "26.2.1.1", "must be 0 is 1", 0},
	{AT(EXIT_CTLS), AND_NOT, BIT(0), "26.2.1.2", "must be 1 is 0", 0},
	{AT(ENTRY_CTLS), OR, ENTRY_CTL_TO_SMM, "26.2.1.3", "SMM", 0},
	{AT(ENTRY_CTLS), OR, BIT(31), "26.2.1.3", "must be 0 is 1", 0},
	{AT(IO_BITMAP_A), TO, 0x1001, "26.2.1.1", "page-aligned", 0},
	{AT(IO_BITMAP_B), TO, BIT(40), "26.2.1.1", "width", 0},
	{AT(MSR_BITMAP), TO, 0x10, "26.2.1.1", "page-aligned", 0},
	{AT(VIRTUAL_APIC_ADDR), TO, 0x10, "26.2.1.1", "page-aligned", 0},
	{AT(PROCBASED_CTLS), AND_NOT, PROC_TPR_SHADOW, "26.2.1.1", "TPR shadow", AT(PROCBASED_CTLS2)},
	{AT(PROCBASED_CTLS2), OR, PROC2_X2APIC | PROC2_APIC_ACCESSES, "26.2.1.1", "cannot both", 0},
	{AT(PINBASED_CTLS), AND_NOT, PIN_EXTERNAL_INTERRUPT, "26.2.1.1", "external-interrupt exiting", 0},
	{AT(PINBASED_CTLS), AND_NOT, PIN_NMI, "26.2.1.1", "virtual NMIs need", 0},
	{AT(VPID), TO, 0, "26.2.1.1", "host's", 0},
	{AT(PROCBASED_CTLS2), AND_NOT, PROC2_EPT, "26.2.1.1", "need EPT", 0},
	{AT(EPT_POINTER), TO, 0x501d, "26.2.1.1", "memory type", 0},
	{AT(EPT_POINTER), TO, 0x5016, "26.2.1.1", "walk length", 0},
	{AT(EPT_POINTER), TO, 0x509e | BIT(8), "26.2.1.1", "reserved bit", 0},
	{AT(EPT_POINTER), TO, BIT(41) | 0x1e, "26.2.1.1", "reserved bit", 0},
	{AT(CR3_TARGET_COUNT), TO, 5, "26.2.1.1", "CR3 targets", 0},
	{AT(PROCBASED_CTLS2), OR, PROC2_TSC_SCALING, "26.2.1.1", "multiplier", AT(TSC_MULTIPLIER)},
	{AT(EXIT_MSR_LOAD_COUNT), TO, 1, "26.2.1.2", "MSR area", AT(EXIT_MSR_LOAD_ADDR)},
};

static void controls_by_the_book(void **state)
{
	(void)state;
	/* An address of 0 is aligned: move it off for the last row. */
	for (unsigned i = 0; i < ARRAY_SIZE(control_rows); i++) {
		setup(NULL);
		SET(EXIT_MSR_LOAD_ADDR, 8);
		expect_clean();
		apply(&control_rows[i]);
		expect_broken(control_rows[i].section,
			      vmcs_name(control_rows[i].named ? control_rows[i].named : control_rows[i].at),
			      control_rows[i].word);
	}
}

static const struct row event_rows[] = {
	{AT(ENTRY_INTR_INFO), TO, INTR_VALID | INTR_TYPE(1) | 32, "26.2.1.3", "type 1", 0},
	{AT(ENTRY_INTR_INFO), TO, INTR_VALID | INTR_NMI | 3, "26.2.1.3", "vector 2", 0},
	{AT(ENTRY_INTR_INFO), TO, INTR_VALID | INTR_HARD_EXCEPTION | 32, "26.2.1.3", "below 32", 0},
	{AT(ENTRY_INTR_INFO), TO, INTR_VALID | INTR_OTHER | 1, "26.2.1.3", "vector 0", 0},
	{AT(ENTRY_INTR_INFO), TO, INTR_VALID | INTR_HARD_EXCEPTION | VEC_GP, "26.2.1.3", "pushes an error code", 0},
	{AT(ENTRY_INTR_INFO), TO, INTR_VALID | INTR_HARD_EXCEPTION | INTR_ERROR_CODE | VEC_UD, "26.2.1.3",
	 "pushes no error code", 0},
	{AT(ENTRY_INTR_INFO), TO, INTR_VALID | INTR_EXTERNAL | INTR_ERROR_CODE | 32, "26.2.1.3", "pushes no error code",
	 0},
	{AT(ENTRY_INTR_INFO), TO, INTR_VALID | INTR_HARD_EXCEPTION | VEC_UD | BIT(12), "26.2.1.3", "reserved", 0},
	{AT(ENTRY_INTR_INFO), TO, INTR_VALID | INTR_EXTERNAL | 32, "26.3.1.4", "IF must be 1", AT(GUEST_RFLAGS)},
};

static void events_by_the_book(void **state)
{
	(void)state;
	expect_rows(event_rows, ARRAY_SIZE(event_rows));
	setup(NULL);
	SET(ENTRY_INTR_INFO, INTR_VALID | INTR_HARD_EXCEPTION | INTR_ERROR_CODE | VEC_GP);
	expect_clean();
	SET(ENTRY_EXCEPTION_ERROR, 0x10000);
	expect_broken("26.2.1.3", "ENTRY_EXCEPTION_ERROR", "31:16");
	setup(NULL);
	SET(ENTRY_INTR_INFO, INTR_VALID | INTR_SOFT_INTERRUPT | 0x80);
	SET(ENTRY_INSTRUCTION_LENGTH, 2);
	expect_clean();
	SET(ENTRY_INSTRUCTION_LENGTH, 16);
	expect_broken("26.2.1.3", "ENTRY_INSTRUCTION_LENGTH", "1 to 15");
}

static const struct row host_rows[] = {
	{AT(HOST_CR0), AND_NOT, CR0_NE, "26.2.2", "does not support", 0},
	{AT(HOST_CR4), AND_NOT, CR4_VMXE, "26.2.2", "does not support", 0},
	{AT(HOST_CR3), TO, BIT(40), "26.2.2", "width", 0},
	{AT(HOST_SYSENTER_ESP), TO, BIT(47), "26.2.2", "canonical", 0},
	{AT(HOST_SYSENTER_EIP), TO, BIT(47), "26.2.2", "canonical", 0},
	{AT(HOST_PAT), OR, 8 << 8, "26.2.2", "memory type", 0},
	{AT(HOST_EFER), OR, BIT(1), "26.2.2", "reserved", 0},
	{AT(HOST_EFER), AND_NOT, EFER_LMA, "26.2.2", "LMA", 0},
	{AT(HOST_CS_SELECTOR), TO, 0, "26.2.3", "must not be 0", 0},
	{AT(HOST_TR_SELECTOR), TO, 0, "26.2.3", "must not be 0", 0},
	{AT(HOST_DS_SELECTOR), TO, 3, "26.2.3", "RPL", 0},
	{AT(HOST_TR_SELECTOR), TO, 36, "26.2.3", "TI", 0},
	{AT(HOST_FS_BASE), TO, BIT(47), "26.2.3", "canonical", 0},
	{AT(HOST_GDTR_BASE), TO, BIT(47), "26.2.3", "canonical", 0},
	{AT(HOST_RIP), TO, BIT(47), "26.2.4", "canonical", 0},
	{AT(HOST_CR4), AND_NOT, CR4_PAE, "26.2.4", "PAE", 0},
	{AT(EXIT_CTLS), AND_NOT, EXIT_CTL_HOST_64, "26.2.4", "64 bits", 0},
};

static void host_by_the_book(void **state)
{
	(void)state;
	expect_rows(host_rows, ARRAY_SIZE(host_rows));
}

static const struct row guest_rows[] = {
	{AT(GUEST_CR0), AND_NOT, CR0_NE, "26.3.1.1", "does not support", 0},
	{AT(GUEST_CR0), AND_NOT, CR0_PE, "26.3.1.1", "PG without PE", 0},
	{AT(GUEST_CR0), AND_NOT, CR0_PG, "26.3.1.1", "needs PG", 0},
	{AT(GUEST_CR4), AND_NOT, CR4_VMXE, "26.3.1.1", "does not support", 0},
	{AT(GUEST_CR4), AND_NOT, CR4_PAE, "26.3.1.1", "needs PAE", 0},
	{AT(GUEST_CR3), TO, BIT(40), "26.3.1.1", "width", 0},
	{AT(GUEST_DEBUGCTL), TO, BIT(4), "26.3.1.1", "reserved", 0},
	{AT(GUEST_DR7), OR, BIT(32), "26.3.1.1", "63:32", 0},
	{AT(GUEST_SYSENTER_EIP), TO, BIT(47), "26.3.1.1", "canonical", 0},
	{AT(GUEST_PAT), OR, 8, "26.3.1.1", "memory type", 0},
	{AT(GUEST_EFER), OR, BIT(9), "26.3.1.1", "reserved", 0},
	{AT(GUEST_EFER), AND_NOT, EFER_LMA, "26.3.1.1", "LMA must equal the 64-bit", 0},
	{AT(GUEST_EFER), AND_NOT, EFER_LME, "26.3.1.1", "LMA must equal LME", 0},
	{AT(GUEST_GDTR_BASE), TO, BIT(47), "26.3.1.3", "canonical", 0},
	{AT(GUEST_IDTR_LIMIT), TO, 0x10000, "26.3.1.3", "31:16", 0},
	{AT(GUEST_RIP), TO, BIT(47), "26.3.1.4", "canonical", 0},
	{AT(GUEST_RFLAGS), OR, BIT(3), "26.3.1.4", "reserved", 0},
	{AT(GUEST_RFLAGS), AND_NOT, RFLAGS_FIXED1, "26.3.1.4", "bit 1", 0},
	{AT(GUEST_ACTIVITY_STATE), TO, 4, "26.3.1.5", "not supported", 0},
	{AT(GUEST_INTERRUPTIBILITY), TO, BIT(5), "26.3.1.5", "reserved", 0},
	{AT(GUEST_INTERRUPTIBILITY), TO, BLOCKING_STI, "26.3.1.5", "IF 0", 0},
	{AT(GUEST_INTERRUPTIBILITY), TO, BLOCKING_SMI, "26.3.1.5", "SMI", 0},
	{AT(GUEST_PENDING_DEBUG), TO, BIT(13), "26.3.1.5", "reserved", 0},
	{AT(VMCS_LINK_POINTER), TO, 8, "26.3.1.5", "all ones", 0},
};

static void guest_by_the_book(void **state)
{
	(void)state;
	expect_rows(guest_rows, ARRAY_SIZE(guest_rows));
}

static const struct row segment_rows[] = {
	{AT(GUEST_CS_ACCESS), TO, 0xa093 & ~0xfull, "26.3.1.2", "accessed code", 0},
	{AT(GUEST_CS_ACCESS), TO, 0xa0fb, "26.3.1.2", "must equal that of SS", 0},
	{AT(GUEST_CS_ACCESS), TO, 0xa0ff, "26.3.1.2", "not be above", 0},
	{AT(GUEST_CS_ACCESS), OR, ACCESS_DB, "26.3.1.2", "D/B", 0},
	{AT(GUEST_CS_ACCESS), AND_NOT, ACCESS_S, "26.3.1.2", "S must be 1", 0},
	{AT(GUEST_CS_ACCESS), AND_NOT, ACCESS_P, "26.3.1.2", "P must be 1", 0},
	{AT(GUEST_CS_ACCESS), OR, BIT(8), "26.3.1.2", "reserved", 0},
	{AT(GUEST_CS_ACCESS), AND_NOT, ACCESS_G, "26.3.1.2", "G must be 1", 0},
	{AT(GUEST_CS_LIMIT), TO, 0xfffffffe, "26.3.1.2", "G must be 0", AT(GUEST_CS_ACCESS)},
	{AT(GUEST_CS_BASE), TO, BIT(32), "26.3.1.2", "63:32", 0},
	{AT(GUEST_SS_ACCESS), TO, 0xc091, "26.3.1.2", "3 or 7", 0},
	{AT(GUEST_SS_BASE), TO, BIT(32), "26.3.1.2", "63:32", 0},
	{AT(GUEST_DS_ACCESS), TO, 0xc092, "26.3.1.2", "accessed", 0},
	{AT(GUEST_DS_ACCESS), TO, 0xc099, "26.3.1.2", "readable", 0},
	{AT(GUEST_ES_BASE), TO, BIT(32), "26.3.1.2", "63:32", 0},
	{AT(GUEST_GS_BASE), TO, BIT(47), "26.3.1.2", "canonical", 0},
	{AT(GUEST_TR_ACCESS), TO, 0x89, "26.3.1.2", "busy", 0},
	{AT(GUEST_TR_ACCESS), TO, 0x83, "26.3.1.2", "busy", 0},
	{AT(GUEST_TR_ACCESS), OR, ACCESS_UNUSABLE, "26.3.1.2", "usable", 0},
	{AT(GUEST_TR_ACCESS), OR, ACCESS_S, "26.3.1.2", "S must be 0", 0},
	{AT(GUEST_TR_SELECTOR), TO, 4, "26.3.1.2", "TI", 0},
	{AT(GUEST_LDTR_ACCESS), TO, 0x83, "26.3.1.2", "type must be 2", 0},
	{AT(GUEST_LDTR_ACCESS), TO, 0x92, "26.3.1.2", "S must be 0", 0},
};

static void segments_by_the_book(void **state)
{
	(void)state;
	expect_rows(segment_rows, ARRAY_SIZE(segment_rows));
}

static void states_that_exclude_each_other(void **state)
{
	(void)state;
	SET(GUEST_INTERRUPTIBILITY, BLOCKING_STI | BLOCKING_MOV_SS);
	SET(GUEST_RFLAGS, RFLAGS_FIXED1 | RFLAGS_IF);
	expect_broken("26.3.1.5", "GUEST_INTERRUPTIBILITY", "at once");
	SET(GUEST_INTERRUPTIBILITY, BLOCKING_STI);
	expect_clean();
	SET(GUEST_RFLAGS, RFLAGS_FIXED1 | RFLAGS_IF | RFLAGS_TF);
	expect_broken("26.3.1.5", "GUEST_PENDING_DEBUG", "single step");
	SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_BS);
	expect_clean();
	SET(GUEST_ACTIVITY_STATE, ACTIVITY_HLT);
	expect_broken("26.3.1.5", "GUEST_ACTIVITY_STATE", "must be active");
	SET(GUEST_INTERRUPTIBILITY, 0);
	expect_clean();
	SET(ENTRY_INTR_INFO, INTR_VALID | INTR_HARD_EXCEPTION | VEC_UD);
	expect_broken("26.3.1.5", "GUEST_ACTIVITY_STATE", "not allowed");
	SET(ENTRY_INTR_INFO, INTR_VALID | INTR_NMI | VEC_NMI);
	expect_clean();
	SET(GUEST_INTERRUPTIBILITY, BLOCKING_NMI);
	expect_broken("26.3.1.5", "GUEST_INTERRUPTIBILITY", "virtual NMI");
}

/* Real mode with unrestricted guest, as after reset. */
static void real_mode_is_clean(void **state)
{
	(void)state;
	SET(ENTRY_CTLS, GET(ENTRY_CTLS) & ~ENTRY_CTL_GUEST_64);
	SET(GUEST_CR0, 0x30);
	SET(GUEST_CR4, 0x2000);
	SET(GUEST_EFER, 0);
	SET(GUEST_RIP, 0xfff0);
	SET(GUEST_CS_ACCESS, 0x9b);
	SET(GUEST_CS_LIMIT, 0xffff);
	expect_clean();
	SET(GUEST_RIP, BIT(32));
	expect_broken("26.3.1.4", "GUEST_RIP", "63:32");
	SET(GUEST_RIP, 0);
	SET(GUEST_CR4, 0x2000 | CR4_PCIDE);
	expect_broken("26.3.1.1", "GUEST_CR4", "PCIDE");
	SET(GUEST_CR4, 0x2000);
	SET(GUEST_SS_ACCESS, 0xc0f3);
	expect_broken("26.3.1.2", "GUEST_SS_ACCESS", "DPL must be 0");
}

static void pae_entries_are_checked(void **state)
{
	(void)state;
	SET(ENTRY_CTLS, GET(ENTRY_CTLS) & ~ENTRY_CTL_GUEST_64);
	SET(GUEST_EFER, 0);
	SET(GUEST_RIP, 0x1000);
	SET(GUEST_CS_ACCESS, 0xc09b);
	SET(GUEST_PDPTE1, 0x5001);
	expect_clean();
	SET(GUEST_PDPTE1, 0x5007);
	expect_broken("26.3.1.6", "GUEST_PDPTE1", "reserved");
	SET(GUEST_PDPTE1, 0x5006); /* not present: not looked at */
	expect_clean();
}

static void virtual_8086_has_one_form(void **state)
{
	static const enum vmcs_position selectors[] = {AT(GUEST_CS_SELECTOR), AT(GUEST_SS_SELECTOR),
						       AT(GUEST_DS_SELECTOR), AT(GUEST_ES_SELECTOR),
						       AT(GUEST_FS_SELECTOR), AT(GUEST_GS_SELECTOR)};
	static const enum vmcs_position bases[] = {AT(GUEST_CS_BASE), AT(GUEST_SS_BASE), AT(GUEST_DS_BASE),
						   AT(GUEST_ES_BASE), AT(GUEST_FS_BASE), AT(GUEST_GS_BASE)};
	static const enum vmcs_position limits[] = {AT(GUEST_CS_LIMIT), AT(GUEST_SS_LIMIT), AT(GUEST_DS_LIMIT),
						    AT(GUEST_ES_LIMIT), AT(GUEST_FS_LIMIT), AT(GUEST_GS_LIMIT)};
	static const enum vmcs_position access[] = {AT(GUEST_CS_ACCESS), AT(GUEST_SS_ACCESS), AT(GUEST_DS_ACCESS),
						    AT(GUEST_ES_ACCESS), AT(GUEST_FS_ACCESS), AT(GUEST_GS_ACCESS)};

	(void)state;
	SET(ENTRY_CTLS, GET(ENTRY_CTLS) & ~ENTRY_CTL_GUEST_64);
	SET(GUEST_EFER, 0);
	SET(GUEST_RIP, 0x100);
	SET(GUEST_RFLAGS, RFLAGS_FIXED1 | RFLAGS_VM);
	for (unsigned i = 0; i < ARRAY_SIZE(selectors); i++) {
		image.value[selectors[i]] = 0x1000;
		image.value[bases[i]] = 0x10000;
		image.value[limits[i]] = 0xffff;
		image.value[access[i]] = 0xf3;
	}
	expect_clean();
	SET(GUEST_DS_BASE, 0x10001);
	expect_broken("26.3.1.2", "GUEST_DS_BASE", "shifted");
	SET(GUEST_DS_BASE, 0x10000);
	SET(GUEST_CS_LIMIT, 0xfffff);
	expect_broken("26.3.1.2", "GUEST_CS_LIMIT", "0xffff");
	SET(GUEST_CS_LIMIT, 0xffff);
	SET(GUEST_SS_ACCESS, 0x93);
	expect_broken("26.3.1.2", "GUEST_SS_ACCESS", "0xf3");
}

static void the_dump_explains_and_shows(void **state)
{
	static char out[4096];
	size_t len;

	(void)state;
	SET(INSTRUCTION_ERROR, VMX_ERROR_ENTRY_CONTROLS);
	SET(VPID, 0);
	len = dump_vmcs(&image, true, &icelake_caps, out, sizeof out);
	assert_int_equal(len, strlen(out));
	assert_non_null(strstr(out, "invalid control fields"));
	assert_non_null(strstr(out, "26.2.1.1 VPID = 0x0"));
	assert_non_null(strstr(out, "rip ffffffff81000000"));
	SET(VPID, 1);
	dump_vmcs(&image, true, &icelake_caps, out, sizeof out);
	assert_non_null(strstr(out, "no rule"));
	dump_vmcs(&image, false, &icelake_caps, out, sizeof out);
	assert_null(strstr(out, "VM entry failed"));
	assert_true(dump_vmcs(&image, true, &icelake_caps, out, 64) < 64);
	assert_int_equal(out[63], '\0');
}

static void names_of_numbers(void **state)
{
	(void)state;
	assert_string_equal(vmcs_name_of(VMCS_GUEST_RIP), "GUEST_RIP");
	assert_string_equal(vmcs_name_of(0x7fff), "unknown field");
	assert_string_equal(vmx_reason_name(VMEXIT_EPT_VIOLATION), "EPT violation");
	assert_string_equal(vmx_reason_name(35), "unknown reason");
	assert_string_equal(vmx_reason_name(0xffff), "unknown reason");
	assert_string_equal(vmx_instruction_error_name(0), "unknown error");
	assert_string_equal(vmx_instruction_error_name(99), "unknown error");
	for (unsigned at = 0; at < VMCS_FIELD_COUNT; at++)
		assert_string_equal(vmcs_name_of(vmcs_encoding(at)), vmcs_name(at));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(controls_by_the_book),
		cmocka_unit_test(events_by_the_book),
		cmocka_unit_test(host_by_the_book),
		cmocka_unit_test(guest_by_the_book),
		cmocka_unit_test(segments_by_the_book),
		cmocka_unit_test_setup(states_that_exclude_each_other, setup),
		cmocka_unit_test_setup(real_mode_is_clean, setup),
		cmocka_unit_test_setup(pae_entries_are_checked, setup),
		cmocka_unit_test_setup(virtual_8086_has_one_form, setup),
		cmocka_unit_test_setup(the_dump_explains_and_shows, setup),
		cmocka_unit_test(names_of_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
