/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mitigations that follow from what a processor says of itself: one old, one
 * recent, one immune, and each channel alone.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "lib/x86_regs.h"
#include "vmx/mitigations.h"

#define IMMUNE                                                                                                        \
	(ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_SKIP_L1DFL_VMENTRY | ARCH_CAP_MDS_NO | ARCH_CAP_TAA_NO |      \
	 ARCH_CAP_PBRSB_NO | ARCH_CAP_IF_PSCHANGE_MC_NO | ARCH_CAP_SBDR_SSDP_NO | ARCH_CAP_FBSDP_NO | ARCH_CAP_PSDP_NO)

static const struct cpu_facts immune = {.arch_capabilities = IMMUNE, .spec_ctrl = true, .pred_cmd = true};

static struct mitigations without(uint64_t caps)
{
	struct cpu_facts f = immune;

	f.arch_capabilities &= ~caps;
	f.leaf7_edx = CPUID_7D_MD_CLEAR | CPUID_7D_L1D_FLUSH;
	f.leaf7_ebx = CPUID_7B_RTM;
	return mitigations_decide(&f, true);
}

static void off_does_nothing(void **state)
{
	const struct cpu_facts worst = {0};
	struct mitigations m = mitigations_decide(&worst, false);
	const struct mitigations nothing = {.off = true};

	(void)state;
	assert_memory_equal(&m, &nothing, sizeof m);
}

/* No IA32_ARCH_CAPABILITIES and no microcode help: everything is open, and said so. */
static void old_processor(void **state)
{
	const struct cpu_facts f = {0};
	struct mitigations m = mitigations_decide(&f, true);

	(void)state;
	assert_true(m.open_l1tf && m.open_buffers && m.open_v2 && m.open_itlb);
	assert_false(m.l1d_flush || m.verw || m.spec_ctrl || m.ibpb);
	assert_int_equal(m.rsb, RSB_FULL);
	assert_true(m.clear_registers);
}

static void old_processor_with_microcode(void **state)
{
	const struct cpu_facts f = {
		.leaf7_edx = CPUID_7D_MD_CLEAR | CPUID_7D_L1D_FLUSH, .spec_ctrl = true, .pred_cmd = true};
	struct mitigations m = mitigations_decide(&f, true);

	(void)state;
	assert_true(m.l1d_flush && m.ibpb && m.switch_spec_ctrl);
	assert_false(m.verw); /* the L1D flush clears the buffers too */
	assert_int_equal(m.host_spec_ctrl, SPEC_CTRL_IBRS);
	assert_int_equal(m.rsb, RSB_FULL);
	assert_false(m.open_l1tf || m.open_buffers || m.open_v2);
}

static void immune_processor(void **state)
{
	struct mitigations m = mitigations_decide(&immune, true);

	(void)state;
	assert_false(m.l1d_flush || m.verw || m.switch_spec_ctrl);
	assert_false(m.open_l1tf || m.open_buffers || m.open_v2 || m.open_itlb);
	assert_int_equal(m.rsb, RSB_NONE);
	assert_int_equal(m.host_spec_ctrl, SPEC_CTRL_IBRS);
}

static void each_channel_alone(void **state)
{
	(void)state;
	assert_true(without(ARCH_CAP_MDS_NO).verw);
	assert_true(without(ARCH_CAP_TAA_NO).verw);
	assert_false(without(0).verw);
	assert_int_equal(without(ARCH_CAP_PBRSB_NO).rsb, RSB_LITE);
	assert_int_equal(without(ARCH_CAP_IBRS_ALL).rsb, RSB_FULL);
	assert_true(without(ARCH_CAP_IBRS_ALL).switch_spec_ctrl);
	assert_true(without(ARCH_CAP_IF_PSCHANGE_MC_NO).open_itlb);
	/* Either bit alone says that no flush is needed. */
	assert_false(without(ARCH_CAP_RDCL_NO).l1d_flush);
	assert_false(without(ARCH_CAP_SKIP_L1DFL_VMENTRY).l1d_flush);
	assert_true(without(ARCH_CAP_RDCL_NO | ARCH_CAP_SKIP_L1DFL_VMENTRY).l1d_flush);
}

static void buffers_by_later_bits(void **state)
{
	struct cpu_facts f = immune;

	(void)state;
	f.arch_capabilities = (IMMUNE & ~ARCH_CAP_FBSDP_NO) | ARCH_CAP_FB_CLEAR;
	assert_true(mitigations_decide(&f, true).verw);
	f.arch_capabilities = IMMUNE | ARCH_CAP_FB_CLEAR;
	assert_false(mitigations_decide(&f, true).verw);
	f.arch_capabilities = IMMUNE | ARCH_CAP_RFDS_CLEAR;
	assert_true(mitigations_decide(&f, true).verw);
	f.arch_capabilities = IMMUNE | ARCH_CAP_RFDS_CLEAR | ARCH_CAP_RFDS_NO;
	assert_false(mitigations_decide(&f, true).verw);
}

static void bhi_control_is_used(void **state)
{
	struct cpu_facts f = immune;

	(void)state;
	f.leaf72_edx = CPUID_7_2D_BHI_CTRL;
	assert_int_equal(mitigations_decide(&f, true).host_spec_ctrl, SPEC_CTRL_IBRS | SPEC_CTRL_BHI_DIS_S);
	f.spec_ctrl = false;
	assert_int_equal(mitigations_decide(&f, true).host_spec_ctrl, 0);
}

static void described_in_one_line(void **state)
{
	const struct cpu_facts f = {.leaf7_edx = CPUID_7D_MD_CLEAR};
	struct mitigations m = mitigations_decide(&f, true);
	char buf[256];
	size_t len;

	(void)state;
	len = mitigations_describe(&m, buf, sizeof buf);
	assert_int_equal(len, strlen(buf));
	assert_string_equal(buf, "mitigations: auto: VERW before entry, RSB fill at exit, registers cleared at exit; "
				 "not covered: L1TF, Spectre v2, iTLB multihit");
	m = mitigations_decide(&f, false);
	mitigations_describe(&m, buf, sizeof buf);
	assert_string_equal(buf, "mitigations: off");
	m = mitigations_decide(&immune, true);
	mitigations_describe(&m, buf, sizeof buf);
	assert_null(strstr(buf, "not covered"));
	assert_true(mitigations_describe(&m, buf, 20) >= 20);
	assert_int_equal(strlen(buf), 19);
}

/* ---- a guest's own ---- */

static struct spec_ctrl written(uint32_t value, unsigned times)
{
	struct spec_ctrl s = {0};

	for (unsigned i = 0; i < times; i++)
		spec_ctrl_written(&s, value);
	return s;
}

static void a_value_that_is_the_hosts_costs_nothing(void **state)
{
	const struct mitigations m = without(0);
	struct spec_ctrl s = written(SPEC_CTRL_IBRS, 1);

	(void)state;
	assert_false(spec_ctrl_is_switched(&m, &(struct spec_ctrl){0}));
	assert_int_equal(spec_ctrl_in_guest(&m, &(struct spec_ctrl){0}), SPEC_CTRL_IBRS);
	assert_false(spec_ctrl_is_switched(&m, &s));
	s = written(SPEC_CTRL_SSBD, 2);
	assert_true(spec_ctrl_is_switched(&m, &s));
	assert_int_equal(spec_ctrl_in_guest(&m, &s), SPEC_CTRL_SSBD | SPEC_CTRL_IBRS);
}

static void plain_ibrs_is_always_switched(void **state)
{
	const struct mitigations m = without(ARCH_CAP_IBRS_ALL);
	const struct spec_ctrl s = written(SPEC_CTRL_IBRS, 1);

	(void)state;
	assert_true(spec_ctrl_is_switched(&m, &s));
	assert_int_equal(spec_ctrl_in_guest(&m, &s), SPEC_CTRL_IBRS);
	assert_int_equal(spec_ctrl_in_guest(&m, &(struct spec_ctrl){0}), 0);
}

static void who_writes_often_has_the_msr_itself(void **state)
{
	const struct mitigations m = without(0), off = {.off = true};
	struct spec_ctrl s = written(0, SPEC_CTRL_WRITES_EXIT - 1);

	(void)state;
	assert_false(spec_ctrl_is_passed(&s) || spec_ctrl_is_switched(&m, &s) || spec_ctrl_is_switched(&off, &s));
	spec_ctrl_written(&s, 0);
	/* It must find the value it wrote, and the host must read what it writes, whatever that was. */
	assert_true(spec_ctrl_is_passed(&s) && spec_ctrl_is_switched(&m, &s) && spec_ctrl_is_switched(&off, &s));
	assert_int_equal(spec_ctrl_in_guest(&m, &s), 0);
	assert_int_equal(spec_ctrl_in_guest(&off, &s), 0);
	spec_ctrl_written(&s, SPEC_CTRL_STIBP);
	assert_int_equal(s.writes, SPEC_CTRL_WRITES_EXIT);
	assert_int_equal(spec_ctrl_in_guest(&m, &s), SPEC_CTRL_STIBP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(off_does_nothing),
		cmocka_unit_test(old_processor),
		cmocka_unit_test(old_processor_with_microcode),
		cmocka_unit_test(immune_processor),
		cmocka_unit_test(each_channel_alone),
		cmocka_unit_test(buffers_by_later_bits),
		cmocka_unit_test(bhi_control_is_used),
		cmocka_unit_test(described_in_one_line),
		cmocka_unit_test(a_value_that_is_the_hosts_costs_nothing),
		cmocka_unit_test(plain_ibrs_is_always_switched),
		cmocka_unit_test(who_writes_often_has_the_msr_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
