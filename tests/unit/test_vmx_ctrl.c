/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control words from capability MSRs: what a known processor gives, what each
 * missing capability is called, and what options leave out.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "tests/fakes/vmx_caps.h"
#include "vmx/ctrl.h"
#include "vmx/vmcs.h"

static struct vmx_caps caps;
static struct vmx_controls controls;
static struct error err;

static int setup(void **state)
{
	(void)state;
	caps = icelake_caps;
	memset(&controls, 0, sizeof controls);
	memset(&err, 0, sizeof err);
	return 0;
}

static void compute(const struct vmx_options *opt)
{
	assert_int_equal(ctrl_compute(&caps, opt, &controls, &err), ST_OK);
}

static void expect_lacks(const char *what)
{
	struct vmx_controls untouched = {.pin = 0xdead};

	assert_int_equal(ctrl_compute(&caps, NULL, &untouched, &err), ST_UNSUPPORTED);
	assert_int_equal(untouched.pin, 0xdead);
	if (!strstr(err.text, what))
		fail_msg("\"%s\" is not in \"%s\"", what, err.text);
}

static void icelake_gets_everything(void **state)
{
	(void)state;
	compute(NULL);
	assert_true(controls.virtual_interrupts && controls.preemption_timer && controls.x2apic);
	assert_true(controls.rdtscp && controls.invpcid && controls.xsaves);
	assert_true(controls.ept_1g && controls.ept_accessed_dirty && controls.pause_loop);
	assert_int_equal(controls.timer_shift, 0);
	assert_int_equal(controls.pin,
			 0x16 | PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS | PIN_PREEMPTION_TIMER);
	assert_false(controls.proc &
		     (PROC_CR3_LOAD | PROC_CR3_STORE | PROC_INVLPG | PROC_RDTSC | PROC_MOV_DR | PROC_PAUSE));
	assert_false(controls.proc & (PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW));
	assert_false(controls.proc2 & (PROC2_APIC_ACCESSES | PROC2_X2APIC | PROC2_DESCRIPTOR_TABLE | PROC2_EPT_VE |
				      PROC2_PAUSE_LOOP));
	assert_false(controls.entry & ENTRY_CTL_GUEST_64);
}

static void words_keep_the_fixed_bits(void **state)
{
	(void)state;
	compute(NULL);
	assert_int_equal(controls.proc & (uint32_t)caps.proc, (uint32_t)caps.proc);
	assert_int_equal(controls.exit & (uint32_t)caps.exit, (uint32_t)caps.exit);
	assert_int_equal(controls.entry & (uint32_t)caps.entry, (uint32_t)caps.entry);
	assert_int_equal(controls.proc & ~(caps.proc >> 32), 0);
	assert_int_equal(controls.proc2 & ~(caps.proc2 >> 32), 0);
	assert_int_equal(ctrl_word(0x0000000f00000001, 0x36), 0x7);
	assert_int_equal(ctrl_fixed(0x10, 0x21, 0x3f), 0x31);
}

static void no_vmx_is_one_sentence(void **state)
{
	(void)state;
	caps.vmx = false;
	expect_lacks("no VT-x");
	expect_lacks("EPT");
	expect_lacks("unrestricted guest");
}

static void switched_off_by_firmware(void **state)
{
	(void)state;
	caps.feature_control = FEATURE_CONTROL_LOCK;
	expect_lacks("locked");
	caps.feature_control = 0; /* unlocked: we switch it on ourselves */
	compute(NULL);
}

/* A required bit of one word that is not allowed to be 1. */
static const struct {
	size_t offset;
	uint64_t bit;
	const char *name;
} needed[] = {
	{offsetof(struct vmx_caps, pin), PIN_EXTERNAL_INTERRUPT, "external-interrupt exiting"},
	{offsetof(struct vmx_caps, pin), PIN_NMI, "NMI exiting"},
	{offsetof(struct vmx_caps, pin), PIN_VIRTUAL_NMIS, "virtual NMIs"},
	{offsetof(struct vmx_caps, proc), PROC_INTERRUPT_WINDOW, "interrupt-window exiting"},
	{offsetof(struct vmx_caps, proc), PROC_NMI_WINDOW, "NMI-window exiting"},
	{offsetof(struct vmx_caps, proc), PROC_TSC_OFFSETTING, "TSC offsetting"},
	{offsetof(struct vmx_caps, proc), PROC_TPR_SHADOW, "TPR shadow"},
	{offsetof(struct vmx_caps, proc), PROC_MSR_BITMAPS, "MSR bitmaps"},
	{offsetof(struct vmx_caps, proc), PROC_IO_BITMAPS, "I/O bitmaps"},
	{offsetof(struct vmx_caps, proc2), PROC2_EPT, "EPT"},
	{offsetof(struct vmx_caps, proc2), PROC2_UNRESTRICTED_GUEST, "unrestricted guest"},
	{offsetof(struct vmx_caps, proc2), PROC2_VPID, "VPID"},
	{offsetof(struct vmx_caps, proc2), PROC2_WBINVD, "WBINVD exiting"},
	{offsetof(struct vmx_caps, exit), EXIT_CTL_ACK_INTERRUPT, "interrupt acknowledge on exit"},
	{offsetof(struct vmx_caps, exit), EXIT_CTL_HOST_64, "64-bit host"},
	{offsetof(struct vmx_caps, exit), EXIT_CTL_LOAD_PAT, "PAT loading on exit"},
	{offsetof(struct vmx_caps, exit), EXIT_CTL_LOAD_EFER, "EFER switching on exit"},
	{offsetof(struct vmx_caps, entry), ENTRY_CTL_GUEST_64, "64-bit guests"},
	{offsetof(struct vmx_caps, entry), ENTRY_CTL_LOAD_PAT, "PAT loading on entry"},
	{offsetof(struct vmx_caps, entry), ENTRY_CTL_LOAD_EFER, "EFER loading on entry"},
};

static void each_missing_bit_is_named(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
		caps = icelake_caps;
		*(uint64_t *)((char *)&caps + needed[i].offset) &= ~(needed[i].bit << 32);
		expect_lacks(needed[i].name);
		assert_null(strchr(err.text, ','));
	}
}

static void each_missing_ept_feature_is_named(void **state)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} rows[] = {
		{EPT_CAP_WALK_4, "4-level EPT"}, {EPT_CAP_WB, "memory types"}, {EPT_CAP_2M, "2 MiB EPT pages"},
		{EPT_CAP_INVEPT_SINGLE, "INVEPT"}, {VPID_CAP_SINGLE, "INVVPID"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		caps = icelake_caps;
		caps.ept_vpid &= ~rows[i].bit;
		expect_lacks(rows[i].name);
	}
}

static void true_controls_and_lma_are_needed(void **state)
{
	(void)state;
	caps.basic &= ~VMX_BASIC_TRUE_CONTROLS;
	expect_lacks("true VMX controls");
	caps = icelake_caps;
	caps.misc &= ~VMX_MISC_STORES_LMA;
	expect_lacks("EFER.LMA");
}

static void several_missing_are_all_named(void **state)
{
	(void)state;
	caps.proc2 &= ~((PROC2_EPT | PROC2_UNRESTRICTED_GUEST) << 32);
	expect_lacks("EPT, unrestricted guest");
}

static void a_long_list_is_cut_and_counted(void **state)
{
	(void)state;
	caps.pin = caps.proc = caps.proc2 = caps.exit = caps.entry = caps.ept_vpid = 0;
	expect_lacks(" more");
	assert_true(strlen(err.text) < sizeof err.text - 1);
}

static void optional_features_may_be_absent(void **state)
{
	(void)state;
	caps.proc2 &= ~((PROC2_RDTSCP | PROC2_INVPCID | PROC2_XSAVES | PROC2_VIRTUAL_INTERRUPTS |
			 PROC2_PAUSE_LOOP)
			<< 32);
	caps.pin &= ~(PIN_PREEMPTION_TIMER << 32);
	caps.ept_vpid &= ~(EPT_CAP_1G | EPT_CAP_ACCESSED_DIRTY);
	compute(NULL);
	assert_false(controls.virtual_interrupts || controls.preemption_timer || controls.rdtscp || controls.invpcid);
	assert_false(controls.pause_loop || controls.xsaves || controls.ept_1g || controls.ept_accessed_dirty);
	assert_false(controls.proc2 & (PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS));
}

/* Virtual interrupts are only used with x2APIC mode virtualised too. */
static void virtual_interrupts_need_x2apic(void **state)
{
	(void)state;
	caps.proc2 &= ~(PROC2_X2APIC << 32);
	compute(NULL);
	assert_false(controls.virtual_interrupts);
	assert_false(controls.proc2 & (PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS));
}

static void options_leave_features_out(void **state)
{
	const struct vmx_options no_vid = {.no_virtual_interrupts = true}, no_timer = {.no_preemption_timer = true};
	const struct vmx_options no_loop = {.no_pause_loop = true};

	(void)state;
	compute(&no_vid);
	assert_false(controls.virtual_interrupts);
	assert_true(controls.preemption_timer);
	compute(&no_timer);
	assert_true(controls.virtual_interrupts);
	assert_false(controls.pin & PIN_PREEMPTION_TIMER);
	compute(&no_loop);
	assert_false(controls.pause_loop);
}

static void timer_rate_comes_from_misc(void **state)
{
	(void)state;
	caps.misc |= 7;
	compute(NULL);
	assert_int_equal(controls.timer_shift, 7);
}

static void description_lists_what_is_there(void **state)
{
	char buf[256];
	size_t len;

	(void)state;
	compute(NULL);
	len = ctrl_describe(&controls, buf, sizeof buf);
	assert_int_equal(len, strlen(buf));
	assert_non_null(strstr(buf, "virtual interrupts, preemption timer"));
	assert_true(ctrl_describe(&controls, buf, 8) >= 8);
	assert_int_equal(strlen(buf), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(icelake_gets_everything, setup),
		cmocka_unit_test_setup(words_keep_the_fixed_bits, setup),
		cmocka_unit_test_setup(no_vmx_is_one_sentence, setup),
		cmocka_unit_test_setup(switched_off_by_firmware, setup),
		cmocka_unit_test_setup(each_missing_bit_is_named, setup),
		cmocka_unit_test_setup(each_missing_ept_feature_is_named, setup),
		cmocka_unit_test_setup(true_controls_and_lma_are_needed, setup),
		cmocka_unit_test_setup(several_missing_are_all_named, setup),
		cmocka_unit_test_setup(a_long_list_is_cut_and_counted, setup),
		cmocka_unit_test_setup(optional_features_may_be_absent, setup),
		cmocka_unit_test_setup(virtual_interrupts_need_x2apic, setup),
		cmocka_unit_test_setup(options_leave_features_out, setup),
		cmocka_unit_test_setup(timer_rate_comes_from_misc, setup),
		cmocka_unit_test_setup(description_lists_what_is_there, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
