/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules that silicon demands and an emulator forgives: each is kept once and
 * broken once. Also which XCR0 values XSETBV takes.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "lib/x86_regs.h"
#include "tests/fakes/vmx_caps.h"
#include "vmx/check.h"
#include "vmx/fpu.h"

static struct check_cpu cpus[2];
static struct check_vmcs vmcs, other;
static struct check_stage2 stage2;

/* CPU 0 has the VMCS current and clear, everything is flushed there. */
static int setup(void **state)
{
	(void)state;
	memset(cpus, 0, sizeof cpus);
	cpus[0].on = cpus[1].on = true;
	check_vmcs_init(&vmcs);
	check_vmcs_init(&other);
	stage2.stale = (struct cpuset){0};
	assert_null(check_vmclear(&cpus[0], &vmcs, 0));
	assert_null(check_vmptrld(&cpus[0], &vmcs, 0));
	check_invvpid(&vmcs, 0);
	return 0;
}

static void expect_broken(const char *sentence, const char *word)
{
	if (!sentence || !strstr(sentence, word))
		fail_msg("expected \"%s\" in \"%s\"", word, sentence ? sentence : "(nothing)");
}

static const char *enter(unsigned cpu, bool launch)
{
	return check_entry(&cpus[cpu], &vmcs, &stage2, (int)cpu, launch);
}

static void launch_then_resume(void **state)
{
	(void)state;
	assert_null(enter(0, true));
	assert_null(enter(0, false));
	assert_null(enter(0, false));
}

static void resume_of_a_clear_vmcs(void **state)
{
	(void)state;
	expect_broken(enter(0, false), "VMRESUME");
}

static void launch_of_a_launched_vmcs(void **state)
{
	(void)state;
	assert_null(enter(0, true));
	expect_broken(enter(0, true), "VMLAUNCH");
	/* VMCLEAR makes it clear again. */
	assert_null(check_vmclear(&cpus[0], &vmcs, 0));
	assert_null(check_vmptrld(&cpus[0], &vmcs, 0));
	assert_null(enter(0, true));
}

static void a_vmcs_moves_only_after_vmclear(void **state)
{
	(void)state;
	expect_broken(check_vmptrld(&cpus[1], &vmcs, 1), "active on another CPU");
	expect_broken(check_vmclear(&cpus[1], &vmcs, 1), "active on another");
	assert_null(check_vmclear(&cpus[0], &vmcs, 0));
	assert_null(check_vmptrld(&cpus[1], &vmcs, 1));
	/* The new CPU has flushed nothing under this VPID. */
	expect_broken(enter(1, true), "INVVPID");
	check_invvpid(&vmcs, 1);
	assert_null(enter(1, true));
}

static void a_region_starts_with_vmclear(void **state)
{
	(void)state;
	expect_broken(check_vmptrld(&cpus[0], &other, 0), "never initialised");
}

static void vmx_instructions_need_vmx(void **state)
{
	(void)state;
	cpus[1].on = false;
	expect_broken(check_vmclear(&cpus[1], &other, 1), "outside VMX");
	expect_broken(check_vmptrld(&cpus[1], &other, 1), "outside VMX");
}

static void an_active_region_is_not_freed(void **state)
{
	(void)state;
	expect_broken(check_vmcs_free(&vmcs), "freed");
	assert_null(check_vmclear(&cpus[0], &vmcs, 0));
	assert_null(check_vmcs_free(&vmcs));
}

static void only_the_current_vmcs_is_accessed(void **state)
{
	(void)state;
	assert_null(check_access(&cpus[0], &vmcs));
	assert_null(check_vmclear(&cpus[0], &other, 0));
	assert_null(check_vmptrld(&cpus[0], &other, 0));
	expect_broken(check_access(&cpus[0], &vmcs), "not current");
	expect_broken(enter(0, true), "another VMCS");
	assert_null(check_vmclear(&cpus[0], &other, 0));
	expect_broken(check_access(&cpus[0], &other), "not current");
}

static void a_lowering_wants_invept_on_each_cpu(void **state)
{
	(void)state;
	assert_null(enter(0, true));
	check_lowered(&stage2);
	expect_broken(enter(0, false), "INVEPT");
	check_invept(&stage2, 1);
	expect_broken(enter(0, false), "INVEPT");
	check_invept(&stage2, 0);
	assert_null(enter(0, false));
}

static void a_vpid_reused_wants_invvpid(void **state)
{
	(void)state;
	check_vpid_stale(&vmcs);
	expect_broken(enter(0, true), "INVVPID");
	check_invvpid(&vmcs, 0);
	assert_null(enter(0, true));
	check_vmcs_init(&other);
	for (unsigned cpu = 0; cpu < CPUSET_MAX; cpu++)
		assert_true(cpuset_has(&other.vpid_stale, cpu));
}

static const struct check_host good_host = {
	.cr0 = 0x80010031, .cr3 = 0x1000, .cr4 = 0x2020, .efer = 0xd00, .pat = PAT_RESET, .fs_base = 1, .gs_base = 2,
	.gdt_base = 3, .idt_base = 4, .dr7 = DR7_INIT, .rflags = RFLAGS_FIXED1, .tr = 0x20,
};

#define BROKEN_HOST(field, value, word)                                         \
	do {                                                                    \
		struct check_host now = good_host;                              \
		now.field = (value);                                            \
		expect_broken(check_host_restored(&good_host, &now), word);     \
	} while (0)

static void the_host_is_restored(void **state)
{
	(void)state;
	assert_null(check_host_restored(&good_host, &good_host));
	BROKEN_HOST(cr0, 1, "control register");
	BROKEN_HOST(cr3, 1, "control register");
	BROKEN_HOST(cr4, 1, "control register");
	BROKEN_HOST(efer, 1, "IA32_EFER");
	BROKEN_HOST(pat, 1, "IA32_PAT");
	BROKEN_HOST(fs_base, 9, "FS or GS");
	BROKEN_HOST(gs_base, 9, "FS or GS");
	BROKEN_HOST(gdt_base, 9, "GDTR");
	BROKEN_HOST(idt_base, 9, "IDTR");
	BROKEN_HOST(tr, 9, "TR");
	BROKEN_HOST(sysenter_cs, 9, "SYSENTER");
	BROKEN_HOST(sysenter_esp, 9, "SYSENTER");
	BROKEN_HOST(sysenter_eip, 9, "SYSENTER");
	BROKEN_HOST(dr7, 0x401, "DR7");
	BROKEN_HOST(debugctl, 1, "DEBUGCTL");
	BROKEN_HOST(spec_ctrl, 4, "SPEC_CTRL");
	BROKEN_HOST(rflags, RFLAGS_FIXED1 | RFLAGS_IF, "RFLAGS");
	BROKEN_HOST(rflags, RFLAGS_FIXED1 | RFLAGS_TF, "RFLAGS");
}

static void feature_control_before_vmxon(void **state)
{
	(void)state;
	assert_null(check_feature_control(FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_OUTSIDE_SMX));
	expect_broken(check_feature_control(FEATURE_CONTROL_VMX_OUTSIDE_SMX), "not locked");
	expect_broken(check_feature_control(FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_IN_SMX), "outside SMX");
}

static void regions(void **state)
{
	const uint64_t basic = icelake_caps.basic;

	(void)state;
	assert_null(check_region(0x5000, 4, basic, 40));
	expect_broken(check_region(0x5008, 4, basic, 40), "aligned");
	expect_broken(check_region(BIT(40), 4, basic, 40), "width");
	expect_broken(check_region(0x5000, 0x2b, basic, 40), "revision");
	expect_broken(check_region(0x5000, 4 | 0x80000000u, basic, 40), "revision");
	expect_broken(check_region(BIT(33), 4, basic | BIT(48), 40), "below 4 GiB");
	expect_broken(check_region(0x5000, 4, basic & ~MASK(53, 50), 40), "memory type");
	expect_broken(check_region(0x5000, 4, basic | 0x1ffeull << 32, 40), "larger than a page");
}

static void xcr0_values(void **state)
{
	const uint64_t all = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU | XCR0_BNDREG | XCR0_BNDCSR |
			     XCR0_TILECFG | XCR0_TILEDATA;

	(void)state;
	assert_true(fpu_xcr0_valid(XCR0_X87, all));
	assert_true(fpu_xcr0_valid(XCR0_X87 | XCR0_SSE | XCR0_AVX, all));
	assert_true(fpu_xcr0_valid(all, all));
	assert_false(fpu_xcr0_valid(0, all));
	assert_false(fpu_xcr0_valid(XCR0_SSE, all));
	assert_false(fpu_xcr0_valid(XCR0_X87 | XCR0_AVX, all));
	assert_false(fpu_xcr0_valid(XCR0_X87 | XCR0_SSE | XCR0_AVX512, all));
	assert_false(fpu_xcr0_valid(XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK, all));
	assert_false(fpu_xcr0_valid(XCR0_X87 | XCR0_BNDREG, all));
	assert_false(fpu_xcr0_valid(XCR0_X87 | XCR0_TILEDATA, all));
	assert_false(fpu_xcr0_valid(XCR0_X87 | XCR0_PKRU, XCR0_X87 | XCR0_SSE));
	assert_false(fpu_xcr0_valid(XCR0_X87 | BIT(63), all));
	assert_true(fpu_xss_valid(0));
	assert_false(fpu_xss_valid(XSS_CET_U));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(launch_then_resume, setup),
		cmocka_unit_test_setup(resume_of_a_clear_vmcs, setup),
		cmocka_unit_test_setup(launch_of_a_launched_vmcs, setup),
		cmocka_unit_test_setup(a_vmcs_moves_only_after_vmclear, setup),
		cmocka_unit_test_setup(a_region_starts_with_vmclear, setup),
		cmocka_unit_test_setup(vmx_instructions_need_vmx, setup),
		cmocka_unit_test_setup(an_active_region_is_not_freed, setup),
		cmocka_unit_test_setup(only_the_current_vmcs_is_accessed, setup),
		cmocka_unit_test_setup(a_lowering_wants_invept_on_each_cpu, setup),
		cmocka_unit_test_setup(a_vpid_reused_wants_invvpid, setup),
		cmocka_unit_test(the_host_is_restored),
		cmocka_unit_test(feature_control_before_vmxon),
		cmocka_unit_test(regions),
		cmocka_unit_test(xcr0_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
