/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MSR allow-list: what reads what, which values are #GP, that nothing else
 * exists, and the arithmetic of TSC, TSC_ADJUST and the TSC deadline.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "guest/cpuid.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)
#define NOT_CANONICAL 0x0000800000000000ull

static struct vm *vm;
static struct vcpu *v;
static const uint32_t engine_msrs[] = {
	MSR_IA32_SPEC_CTRL, MSR_IA32_PRED_CMD, MSR_IA32_ARCH_CAPABILITIES, MSR_IA32_PAT, MSR_IA32_SYSENTER_CS,
	MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP, MSR_IA32_STAR, MSR_IA32_LSTAR, MSR_IA32_CSTAR, MSR_IA32_FMASK,
	MSR_IA32_FS_BASE, MSR_IA32_GS_BASE, MSR_IA32_KERNEL_GS_BASE, MSR_IA32_TSC_AUX,
};

static int setup(void **state)
{
	(void)state;
	memset(&fake_pc, 0, sizeof fake_pc);
	fake_default_msrs(engine_msrs, ARRAY_SIZE(engine_msrs));
	vm_rig_init(RAM);
	vm = vm_rig_start("a", GUEST_BYTES);
	v = vm->vcpus[0];
	v->engine->load(v);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_rig_fini();
	fake_default_msrs(NULL, 0);
	return 0;
}

static uint64_t rd(uint32_t index)
{
	uint64_t value = 0xdeadbeef;

	if (msr_read(v, index, &value) != ST_OK)
		fail_msg("RDMSR %x is #GP", index);
	return value;
}

static void rd_gp(uint32_t index)
{
	uint64_t value = 0xdeadbeef;

	if (msr_read(v, index, &value) != ST_INVALID)
		fail_msg("RDMSR %x works", index);
	assert_int_equal(value, 0xdeadbeef);
}

static void wr(uint32_t index, uint64_t value)
{
	if (msr_write(v, index, value) != ST_OK)
		fail_msg("WRMSR %x, %llx is #GP", index, (unsigned long long)value);
}

static void wr_gp(uint32_t index, uint64_t value)
{
	if (msr_write(v, index, value) != ST_INVALID)
		fail_msg("WRMSR %x, %llx works", index, (unsigned long long)value);
}

/* ---- the list ---- */

static bool is_listed(uint32_t index)
{
	static const uint32_t listed[] = {
		0x0, 0x1, 0x10, 0x17, 0x1b, 0x3a, 0x3b, 0x48, 0x8b, 0xce, 0xfe, 0x10a, 0x174, 0x175, 0x176, 0x179, 0x17a,
		0x1a0, 0x1d9, 0x250, 0x258, 0x259, 0x277, 0x2ff, 0x6e0, 0xda0, 0x4b564d00, 0x4b564d01, 0x4b564d03,
		0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103};

	for (unsigned i = 0; i < ARRAY_SIZE(listed); i++) {
		if (listed[i] == index)
			return true;
	}
	return (index >= 0x200 && index < 0x210) || (index >= 0x268 && index < 0x270);
}

static void nothing_else_exists(void **state)
{
	static const uint32_t starts[] = {0, 0xc0000000, 0x40000000, 0x4b564d00, 0xc0010000};
	uint64_t value, reads = 0;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(starts); i++) {
		for (uint32_t index = starts[i]; index < starts[i] + 0x2000; index++) {
			bool works = msr_read(v, index, &value) == ST_OK;

			if (works != is_listed(index))
				fail_msg("RDMSR %x %s", index, works ? "works" : "is #GP");
			reads += !works && !(index >= 0x800 && index < 0x900);
			if (!is_listed(index) && index != MSR_IA32_PRED_CMD)
				assert_int_equal(msr_write(v, index, 0), ST_INVALID);
		}
	}
	/* Every one counted, but the writes to the two command registers: one works, one is known and refused. */
	assert_int_equal(vm->denied_msrs, 2 * reads - 2);
}

static void constants_describe_the_machine(void **state)
{
	(void)state;
	assert_int_equal(rd(MSR_IA32_FEATURE_CONTROL), FEATURE_CONTROL_LOCK);
	wr_gp(MSR_IA32_FEATURE_CONTROL, 5);
	assert_int_equal(rd(MSR_IA32_MCG_CAP), 0);
	assert_int_equal(rd(MSR_IA32_MCG_STATUS), 0);
	wr(MSR_IA32_MCG_STATUS, 0);
	wr_gp(MSR_IA32_MCG_STATUS, 1);
	rd_gp(MSR_IA32_MCG_CTL);
	assert_true(rd(MSR_IA32_BIOS_SIGN_ID) == BIT(32));
	wr(MSR_IA32_BIOS_SIGN_ID, 0);
	wr_gp(MSR_IA32_BIOS_UPDT_TRIG, 0x1000);
	assert_int_equal(rd(MSR_IA32_PLATFORM_ID), 0);
	assert_int_equal(rd(MSR_PLATFORM_INFO), 0);
	assert_int_equal(rd(MSR_IA32_MTRRCAP), 8 | MTRRCAP_FIX | MTRRCAP_WC);
	wr_gp(MSR_IA32_MTRRCAP, 8);
	assert_int_equal(rd(MSR_IA32_DEBUGCTL), 0);
	wr(MSR_IA32_DEBUGCTL, 0);
	wr_gp(MSR_IA32_DEBUGCTL, DEBUGCTL_LBR);
	wr_gp(MSR_IA32_DEBUGCTL, DEBUGCTL_BTF); /* this engine has none */
}

static void misc_enable(void **state)
{
	uint64_t value;

	(void)state;
	value = rd(MSR_IA32_MISC_ENABLE);
	assert_true(value & MISC_ENABLE_FAST_STRING);
	assert_true(value & MISC_ENABLE_BTS_UNAVAIL);
	assert_true(value & MISC_ENABLE_PEBS_UNAVAIL);
	assert_false(value & (MISC_ENABLE_MWAIT | MISC_ENABLE_LIMIT_CPUID | MISC_ENABLE_XD_DISABLE));
	wr(MSR_IA32_MISC_ENABLE, value & ~MISC_ENABLE_FAST_STRING);
	assert_int_equal(rd(MSR_IA32_MISC_ENABLE), value & ~MISC_ENABLE_FAST_STRING);
	wr_gp(MSR_IA32_MISC_ENABLE, value | MISC_ENABLE_MWAIT);
	wr_gp(MSR_IA32_MISC_ENABLE, value | MISC_ENABLE_XD_DISABLE);
	wr_gp(MSR_IA32_MISC_ENABLE, 0);
	fake_engine.caps.fast_strings = false;
	msr_reset(v);
	fake_engine.caps.fast_strings = true;
	assert_int_equal(rd(MSR_IA32_MISC_ENABLE), value & ~MISC_ENABLE_FAST_STRING);
}

/* ---- the engine's ---- */

static void bases_must_be_canonical(void **state)
{
	static const uint32_t bases[] = {MSR_IA32_FS_BASE, MSR_IA32_GS_BASE, MSR_IA32_KERNEL_GS_BASE, MSR_IA32_LSTAR,
					 MSR_IA32_CSTAR, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++) {
		wr(bases[i], 0xffff800000000000);
		assert_true(rd(bases[i]) == 0xffff800000000000);
		wr(bases[i], 0x00007fffffffffff);
		wr_gp(bases[i], NOT_CANONICAL);
		wr_gp(bases[i], 0xffff7fffffffffff);
		assert_true(rd(bases[i]) == 0x00007fffffffffff);
	}
	wr(MSR_IA32_STAR, UINT64_MAX);
	wr(MSR_IA32_SYSENTER_CS, 0x10);
	wr(MSR_IA32_FMASK, 0x47700);
	wr_gp(MSR_IA32_FMASK, BIT(32));
	wr(MSR_IA32_TSC_AUX, 7);
	wr_gp(MSR_IA32_TSC_AUX, BIT(32));
}

static void pat_takes_memory_types(void **state)
{
	(void)state;
	wr(MSR_IA32_PAT, PAT_RESET);
	wr(MSR_IA32_PAT, 0x0407010500070106); /* as Linux sets it */
	assert_true(rd(MSR_IA32_PAT) == 0x0407010500070106);
	for (unsigned i = 0; i < 8; i++) {
		wr_gp(MSR_IA32_PAT, (uint64_t)2 << i * 8);
		wr_gp(MSR_IA32_PAT, (uint64_t)3 << i * 8);
		wr_gp(MSR_IA32_PAT, (uint64_t)8 << i * 8);
	}
}

static void efer(void **state)
{
	(void)state;
	v->engine->set_reg(v, REG_CR0, CR0_PE);
	wr(MSR_IA32_EFER, EFER_SCE | EFER_LME | EFER_NXE);
	assert_int_equal(rd(MSR_IA32_EFER), EFER_SCE | EFER_LME | EFER_NXE);
	wr_gp(MSR_IA32_EFER, BIT(12)); /* SVME */
	wr_gp(MSR_IA32_EFER, BIT(1));
	v->engine->set_reg(v, REG_CR0, CR0_PE | CR0_PG);
	assert_int_equal(rd(MSR_IA32_EFER), EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	wr_gp(MSR_IA32_EFER, EFER_SCE); /* LME under paging */
	wr(MSR_IA32_EFER, EFER_LME);    /* LMA is not written */
	assert_int_equal(rd(MSR_IA32_EFER), EFER_LME | EFER_LMA);
	vm->cpuid->efer_allowed &= ~EFER_NXE;
	wr_gp(MSR_IA32_EFER, EFER_LME | EFER_NXE);
}

static void speculation_control(void **state)
{
	(void)state;
	wr(MSR_IA32_SPEC_CTRL, SPEC_CTRL_IBRS | SPEC_CTRL_STIBP | SPEC_CTRL_SSBD);
	assert_int_equal(rd(MSR_IA32_SPEC_CTRL), 7);
	wr_gp(MSR_IA32_SPEC_CTRL, SPEC_CTRL_PSFD);
	wr(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
	wr_gp(MSR_IA32_PRED_CMD, 2);
	rd_gp(MSR_IA32_PRED_CMD);
	wr_gp(MSR_IA32_FLUSH_CMD, 1); /* this engine has none */
	assert_int_equal(rd(MSR_IA32_ARCH_CAPABILITIES), 0);
	vm->cpuid->arch_capabilities_shown = false;
	rd_gp(MSR_IA32_ARCH_CAPABILITIES);
	wr_gp(MSR_IA32_ARCH_CAPABILITIES, 0);
	vm->cpuid->spec_ctrl_allowed = 0;
	rd_gp(MSR_IA32_SPEC_CTRL);
	wr_gp(MSR_IA32_SPEC_CTRL, 0);
}

static void xss_is_zero(void **state)
{
	(void)state;
	wr(MSR_IA32_XSS, 0);
	wr_gp(MSR_IA32_XSS, XSS_PT);
	assert_int_equal(rd(MSR_IA32_XSS), 0);
	vm->cpuid->xsave[1].eax &= (uint32_t)~CPUID_D1A_XSAVES;
	rd_gp(MSR_IA32_XSS);
}

/* ---- MTRRs ---- */

static void mtrrs_come_as_firmware_leaves_them(void **state)
{
	(void)state;
	assert_int_equal(rd(MSR_IA32_MTRR_DEF_TYPE), MEMTYPE_WB | MTRR_DEF_FE | MTRR_DEF_E);
	assert_int_equal(rd(MSR_IA32_MTRR_PHYSBASE(0)), 0xc0000000);
	assert_true(rd(MSR_IA32_MTRR_PHYSMASK(0)) == (0xffc0000000 | MTRR_PHYSMASK_VALID));
	assert_int_equal(rd(MSR_IA32_MTRR_PHYSMASK(1)), 0);
	assert_true(rd(MSR_IA32_MTRR_FIX64K_00000) == 0x0606060606060606);
	assert_int_equal(rd(MSR_IA32_MTRR_FIX16K_A0000), 0);
	assert_true(rd(0x26f) == 0x0606060606060606);
}

static void mtrrs_take_legal_values(void **state)
{
	(void)state;
	wr(MSR_IA32_MTRR_DEF_TYPE, MEMTYPE_UC);
	assert_int_equal(rd(MSR_IA32_MTRR_DEF_TYPE), 0);
	wr_gp(MSR_IA32_MTRR_DEF_TYPE, 2);
	wr_gp(MSR_IA32_MTRR_DEF_TYPE, MEMTYPE_UC_MINUS);
	wr_gp(MSR_IA32_MTRR_DEF_TYPE, BIT(9));
	wr_gp(MSR_IA32_MTRR_DEF_TYPE, BIT(12));
	for (unsigned n = 0; n < 8; n++) {
		wr(MSR_IA32_MTRR_PHYSBASE(n), (uint64_t)n << 30 | MEMTYPE_WC);
		wr(MSR_IA32_MTRR_PHYSMASK(n), (BIT(40) - BIT(30)) | MTRR_PHYSMASK_VALID);
		assert_int_equal(rd(MSR_IA32_MTRR_PHYSBASE(n)), (uint64_t)n << 30 | MEMTYPE_WC);
		wr_gp(MSR_IA32_MTRR_PHYSBASE(n), BIT(40));
		wr_gp(MSR_IA32_MTRR_PHYSBASE(n), BIT(8));
		wr_gp(MSR_IA32_MTRR_PHYSBASE(n), 3);
		wr_gp(MSR_IA32_MTRR_PHYSMASK(n), BIT(40));
		wr_gp(MSR_IA32_MTRR_PHYSMASK(n), BIT(10));
	}
	wr_gp(MSR_IA32_MTRR_PHYSBASE(8), 0);
	wr(MSR_IA32_MTRR_FIX4K_C0000, 0x0001040506000000);
	assert_true(rd(MSR_IA32_MTRR_FIX4K_C0000) == 0x0001040506000000);
	wr_gp(MSR_IA32_MTRR_FIX4K_C0000, 0x0700000000000000);
}

/* ---- the local APIC ---- */

static void apic_registers_by_msr_only_in_x2apic_mode(void **state)
{
	(void)state;
	assert_true(rd(MSR_IA32_APIC_BASE) == (APIC_BASE_DEFAULT | APIC_BASE_EN | APIC_BASE_BSP));
	rd_gp(MSR_X2APIC_ID);
	wr(MSR_IA32_APIC_BASE, rd(MSR_IA32_APIC_BASE) | APIC_BASE_EXTD);
	assert_int_equal(rd(MSR_X2APIC_ID), 0);
	wr(MSR_X2APIC_TPR, 0x20);
	assert_int_equal(rd(MSR_X2APIC_TPR), 0x20);
	wr_gp(MSR_X2APIC_EOI, 1);
	rd_gp(MSR_X2APIC_EOI);
	wr_gp(MSR_X2APIC_LAST, 0);
}

/* ---- time ---- */

static void arm_deadline_mode(void)
{
	wr(MSR_IA32_APIC_BASE, rd(MSR_IA32_APIC_BASE) | APIC_BASE_EXTD);
	wr(MSR_X2APIC_SVR, APIC_SVR_ENABLE | 0xff);
	wr(MSR_X2APIC_LVT_TIMER, APIC_TIMER_TSC_DEADLINE | 0x40);
}

static void tsc_counts_guest_time(void **state)
{
	(void)state;
	hand_clock_set(12345);
	assert_int_equal(rd(MSR_IA32_TSC), 12345);
	assert_int_equal(rd(MSR_IA32_TSC_ADJUST), 0);
}

static void tsc_and_adjust_move_together(void **state)
{
	struct fake_vcpu *f = fake(v);

	(void)state;
	hand_clock_set(1000);
	wr(MSR_IA32_TSC, 5000);
	assert_int_equal(rd(MSR_IA32_TSC), 5000);
	assert_int_equal(rd(MSR_IA32_TSC_ADJUST), 4000);
	assert_int_equal(f->log[fake_last(v, CALL_TSC_OFFSET)].a, vm->time.offset + 4000);
	wr(MSR_IA32_TSC_ADJUST, (uint64_t)-600);
	assert_int_equal(rd(MSR_IA32_TSC), 400);
	hand_clock_advance(100);
	assert_int_equal(rd(MSR_IA32_TSC), 500);
	wr(MSR_IA32_TSC_ADJUST, 0);
	assert_int_equal(rd(MSR_IA32_TSC), 1100);
	/* The APIC's time never moved. */
	assert_int_equal(vm_time_tsc(&vm->time), 1100);
}

static void a_deadline_is_a_value_of_the_guests_tsc(void **state)
{
	(void)state;
	arm_deadline_mode();
	hand_clock_set(1000);
	wr(MSR_IA32_TSC_ADJUST, 1000000);
	wr(MSR_IA32_TSC_DEADLINE, 1002000); /* 1,000 ticks from now */
	assert_int_equal(rd(MSR_IA32_TSC_DEADLINE), 1002000);
	assert_int_equal(v->timers.next, 2000);
	/* Moving the TSC moves the moment, not the value. */
	wr(MSR_IA32_TSC_ADJUST, 0);
	assert_int_equal(rd(MSR_IA32_TSC_DEADLINE), 1002000);
	assert_int_equal(v->timers.next, 1002000);
	wr(MSR_IA32_TSC_DEADLINE, 0);
	assert_int_equal(rd(MSR_IA32_TSC_DEADLINE), 0);
	assert_true(v->timers.next == TIMERQ_NEVER);
}

static void deadlines_at_the_edges(void **state)
{
	(void)state;
	arm_deadline_mode();
	hand_clock_set(1000);
	wr(MSR_IA32_TSC_ADJUST, (uint64_t)-900); /* the guest's TSC is 100 */
	wr(MSR_IA32_TSC_DEADLINE, 50);           /* in the past */
	assert_true(vlapic_highest_irr(&v->lapic) == 0x40 || v->timers.next <= 1000);
	wr(MSR_IA32_TSC_DEADLINE, UINT64_MAX);
	assert_true(v->timers.next > UINT64_MAX / 2);
	assert_true(v->timers.next != TIMERQ_NEVER);
	wr(MSR_IA32_TSC_DEADLINE, 0);
	wr(MSR_IA32_TSC_ADJUST, UINT64_MAX / 2);
	wr(MSR_IA32_TSC_DEADLINE, 5);
	assert_true(vlapic_highest_irr(&v->lapic) == 0x40 || v->timers.next <= 1000);
}

/* ---- anything at all ---- */

static void random_values_never_do_harm(void **state)
{
	uint64_t seed = 1, value;

	(void)state;
	arm_deadline_mode();
	for (unsigned i = 0; i < 200000; i++) {
		uint32_t index;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		index = (uint32_t)(seed >> 32) & 0x1fff;
		if (seed & 1)
			index |= 0xc0000000;
		value = seed >> (seed >> 58);
		if (msr_write(v, index, value) == ST_OK)
			(void)msr_read(v, index, &value);
		if (v->timers.next <= vm_time_tsc(&vm->time))
			timerq_run(&v->timers, vm_time_tsc(&vm->time));
		hand_clock_advance(seed & 0xff);
	}
	assert_int_equal(vm->state, VM_RUNNING);
	assert_true(rd(MSR_IA32_MTRR_DEF_TYPE) <= (MTRR_DEF_E | MTRR_DEF_FE | MEMTYPE_WB));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(nothing_else_exists),
		T(constants_describe_the_machine),
		T(misc_enable),
		T(bases_must_be_canonical),
		T(pat_takes_memory_types),
		T(efer),
		T(speculation_control),
		T(xss_is_zero),
		T(mtrrs_come_as_firmware_leaves_them),
		T(mtrrs_take_legal_values),
		T(apic_registers_by_msr_only_in_x2apic_mode),
		T(tsc_counts_guest_time),
		T(tsc_and_adjust_move_together),
		T(a_deadline_is_a_value_of_the_guests_tsc),
		T(deadlines_at_the_edges),
		T(random_values_never_do_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
