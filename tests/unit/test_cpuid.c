/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest is told of its processor. The host here claims every feature
 * there is, so that a bit that shows is a bit that the allow-list lets through:
 * each leaf is compared whole, bit by bit, with what the machine provides.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/cpuid.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)

static struct vm *vm;
static struct vcpu *v;
static const uint32_t speculation[] = {MSR_IA32_SPEC_CTRL, MSR_IA32_PRED_CMD, MSR_IA32_FLUSH_CMD,
				       MSR_IA32_ARCH_CAPABILITIES};

static void start(void)
{
	vm = vm_rig_start("a", GUEST_BYTES);
	v = vm->vcpus[0];
	v->engine->load(v);
}

static void start_with(unsigned vcpus)
{
	struct vm_config cfg = vm_rig_config("a", GUEST_BYTES);
	struct error err;

	cfg.cpu.count = vcpus;
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &vm, &err), ST_OK);
	assert_int_equal(vm_start(vm, &err), ST_OK);
}

static const struct engine_caps all_caps = {
	.rdtscp = true, .invpcid = true, .xsaves = true, .xsave_compacted = true, .fast_strings = true,
};

static int setup(void **state)
{
	(void)state;
	memset(&fake_pc, 0, sizeof fake_pc);
	fake_engine.caps = all_caps;
	fake_default_msrs(speculation, ARRAY_SIZE(speculation));
	vm_rig_init(RAM);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_rig_fini();
	fake_default_msrs(NULL, 0);
	fake_engine.caps = all_caps;
	return 0;
}

static struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf)
{
	v->gpr[GPR_RAX] = 0xdead000000000000 | leaf;
	v->gpr[GPR_RCX] = 0xdead000000000000 | subleaf;
	v->exit = (struct exit){.kind = EXIT_CPUID, .length = 2};
	assert_int_equal(cpuid_exit(v), RESUME);
	assert_int_equal(v->gpr[GPR_RAX] >> 32, 0);
	assert_int_equal(v->gpr[GPR_RBX] >> 32, 0);
	return (struct cpuid_regs){(uint32_t)v->gpr[GPR_RAX], (uint32_t)v->gpr[GPR_RBX], (uint32_t)v->gpr[GPR_RCX],
				   (uint32_t)v->gpr[GPR_RDX]};
}

static void is_zero(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r = cpuid(leaf, subleaf);

	if (r.eax | r.ebx | r.ecx | r.edx)
		fail_msg("leaf %x.%x: %x %x %x %x", leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
}

static void says_who_it_is(void **state)
{
	struct cpuid_regs r;
	char name[13] = "";

	(void)state;
	start();
	r = cpuid(0, 0);
	assert_int_equal(r.eax, 0x16);
	memcpy(name, &r.ebx, 4);
	memcpy(name + 4, &r.edx, 4);
	memcpy(name + 8, &r.ecx, 4);
	assert_string_equal(name, "GenuineIntel");
	r = cpuid(0x40000000, 0);
	memcpy(name, &r.ebx, 4);
	memcpy(name + 4, &r.ecx, 4);
	memcpy(name + 8, &r.edx, 4);
	assert_string_equal(name, "CorbelCorbel");
	assert_int_equal(r.eax, 0x40000001);
	r = cpuid(0x40000100, 0);
	assert_int_equal(r.eax, 0x40000101);
	memcpy(name, &r.ebx, 4);
	memcpy(name + 4, &r.ecx, 4);
	memcpy(name + 8, &r.edx, 4);
	assert_memory_equal(name, "KVMKVMKVM\0\0\0", 12);
	r = cpuid(0x40000101, 0);
	/* No I/O delay, clock, steal time, one clock for all: and no PV EOI, no asynchronous faults, no PV spinlocks. */
	assert_int_equal(r.eax, BIT(1) | BIT(3) | BIT(5) | BIT(24));
	assert_int_equal(r.ebx | r.ecx | r.edx, 0);
	is_zero(0x40000001, 0);
	is_zero(0x40000002, 0);
	is_zero(0x40000200, 0);
}

static void leaf_1_bit_by_bit(void **state)
{
	struct cpuid_regs r;

	(void)state;
	start();
	r = cpuid(1, 0);
	assert_int_equal(r.eax, 0x706e5);
	assert_int_equal(r.ebx, 0x00010800); /* one processor, APIC id 0, the host's CLFLUSH line */
	/*
	 * Absent: DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, CNXT-ID, SDBG, bit 14 xTPR, PDCM, bit 16, DCA,
	 * OSXSAVE (CR4 does not have it).
	 */
	assert_int_equal(r.ecx, (uint32_t)(BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(17) | BIT(19) | BIT(20) |
					   BIT(21) | BIT(22) | BIT(23) | BIT(24) | BIT(25) | BIT(26) | BIT(28) | BIT(29) |
					   BIT(30) | BIT(31)));
	/* Absent: bit 10, PSN, bit 20, DS, ACPI, HTT, TM, bit 30, PBE. */
	assert_int_equal(r.edx, 0xffffffff & ~(BIT(10) | BIT(18) | BIT(20) | BIT(21) | BIT(22) | BIT(28) | BIT(29) |
					       BIT(30) | BIT(31)));
}

static void osxsave_and_ospke_follow_cr4(void **state)
{
	(void)state;
	start();
	assert_false(cpuid(1, 0).ecx & CPUID_1C_OSXSAVE);
	assert_false(cpuid(7, 0).ecx & CPUID_7C_OSPKE);
	v->engine->set_reg(v, REG_CR4, CR4_OSXSAVE | CR4_PKE);
	assert_true(cpuid(1, 0).ecx & CPUID_1C_OSXSAVE);
	assert_true(cpuid(7, 0).ecx & CPUID_7C_OSPKE);
}

static void leaf_7_bit_by_bit(void **state)
{
	struct cpuid_regs r;

	(void)state;
	start();
	r = cpuid(7, 0);
	assert_int_equal(r.eax, 1);
	/* Absent: SGX, HLE, RTM, RDT-M, MPX, RDT-A, bit 22, PT, bits 26 and 27 (ER, PF). */
	assert_int_equal(r.ebx, 0xffffffff & ~(BIT(2) | BIT(4) | BIT(11) | BIT(12) | BIT(14) | BIT(15) | BIT(22) | BIT(25) |
					       BIT(26) | BIT(27)));
	/* Absent: OSPKE, WAITPKG, CET, TME, 15, LA57, MAWAU, KL, bus lock detect, 26, ENQCMD, SGX-LC, PKS. */
	assert_int_equal(r.ecx, (uint32_t)(BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(6) | BIT(8) | BIT(9) | BIT(10) | BIT(11) |
					   BIT(12) | BIT(14) | BIT(22) | BIT(25) | BIT(27) | BIT(28)));
	/* Speculation control is there because the engine has its MSRs. */
	assert_int_equal(r.edx, (uint32_t)(BIT(2) | BIT(3) | BIT(4) | BIT(8) | BIT(10) | BIT(14) | BIT(26) | BIT(27) |
					   BIT(28) | BIT(29) | BIT(31)));
	r = cpuid(7, 1);
	assert_int_equal(r.eax, BIT(4) | BIT(5));
	assert_int_equal(r.ebx | r.ecx | r.edx, 0);
	is_zero(7, 2);
	is_zero(7, 77);
}

static void extended_leaves(void **state)
{
	struct cpuid_regs r;

	(void)state;
	start();
	assert_int_equal(cpuid(0x80000000, 0).eax, 0x80000008);
	r = cpuid(0x80000001, 0);
	assert_int_equal(r.eax | r.ebx, 0);
	assert_int_equal(r.ecx, BIT(0) | BIT(5) | BIT(8));
	assert_int_equal(r.edx, BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29));
	is_zero(0x80000005, 0);
	assert_int_equal(cpuid(0x80000007, 0).edx, CPUID_E7D_INVARIANT_TSC);
	r = cpuid(0x80000008, 0);
	assert_int_equal(r.eax, 48 << 8 | 40);
	assert_int_equal(r.ebx | r.ecx | r.edx, 0);
}

static void what_a_guest_does_not_have_is_zero(void **state)
{
	static const uint32_t leaves[] = {3, 5, 8, 9, 0xa, 0xc, 0xe, 0xf, 0x10, 0x11, 0x12, 0x13, 0x14};

	(void)state;
	start();
	for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
		is_zero(leaves[i], 0);
		is_zero(leaves[i], 1);
	}
	assert_int_equal(cpuid(6, 0).eax, CPUID_6A_ARAT);
	assert_int_equal(cpuid(6, 0).ecx, 0);
}

static void beyond_the_range_answers_the_highest_basic_leaf(void **state)
{
	static const uint32_t leaves[] = {0x17, 0x1f, 0x3fffffff, 0x50000000, 0x80000009, 0xc0000000, 0xffffffff};
	struct cpuid_regs top;

	(void)state;
	start();
	top = cpuid(0x16, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
		struct cpuid_regs r = cpuid(leaves[i], 0);

		assert_memory_equal(&r, &top, sizeof r);
	}
}

static void one_processor_with_its_caches(void **state)
{
	struct cpuid_regs r;

	(void)state;
	start();
	for (unsigned i = 0; i < 4; i++) {
		r = cpuid(4, i);
		assert_int_equal(r.eax & 0xffffc000, 0); /* shared by nobody, alone in its package */
		assert_int_not_equal(r.eax & 0x1f, 0);
	}
	is_zero(4, 4);
	is_zero(4, 0xffffffff);
	r = cpuid(0xb, 0);
	assert_int_equal(r.eax, 0);
	assert_int_equal(r.ebx, 1);
	assert_int_equal(r.ecx, 1 << 8);
	r = cpuid(0xb, 1);
	assert_int_equal(r.ebx, 1);
	assert_int_equal(r.ecx, 2 << 8 | 1);
	r = cpuid(0xb, 2);
	assert_int_equal(r.ebx, 0);
	assert_int_equal(r.ecx, 2);
	assert_int_equal(r.edx, 0);
}

static void several_processors_in_one_package(void **state)
{
	static const struct { unsigned count, bits; } cases[] = {{2, 1}, {3, 2}, {4, 2}, {5, 3}, {16, 4}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned ids = 1u << cases[i].bits;
		struct cpuid_regs r;

		start_with(cases[i].count);
		v = vm->vcpus[cases[i].count - 1];
		v->engine->load(v);
		r = cpuid(1, 0);
		assert_int_equal(r.ebx >> 24, cases[i].count - 1);
		assert_int_equal(r.ebx >> 16 & 0xff, cases[i].count);
		assert_true(r.edx & CPUID_1D_HTT);
		for (unsigned n = 0; n < 4; n++) {
			r = cpuid(4, n);
			assert_int_equal(r.eax >> 26, ids - 1);
			assert_int_equal(r.eax >> 14 & 0xfff, (r.eax >> 5 & 7) > 2 ? ids - 1 : 0);
		}
		r = cpuid(0xb, 0);
		assert_int_equal(r.eax, 0);
		assert_int_equal(r.ebx, 1);
		r = cpuid(0xb, 1);
		assert_int_equal(r.eax, cases[i].bits);
		assert_int_equal(r.ebx, cases[i].count);
		assert_int_equal(r.edx, cases[i].count - 1);
		vm_rig_fini();
		vm_rig_init(RAM);
	}
}

/* ---- time ---- */

static void the_clock_is_the_calibrated_one(void **state)
{
	static const uint64_t rates[] = {50000000, 1000000000, 3999999999, 5500000000};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
		struct cpuid_regs r;
		uint64_t hz = rates[i], tsc;

		vm_rig_fini();
		vm_rig_init(RAM);
		((struct clock *)fake_host.ops.clock)->hz = hz;
		start();
		r = cpuid(0x15, 0);
		assert_int_equal(r.eax, 1);
		assert_int_equal(r.ebx, vlapic_timer_ratio(hz));
		tsc = (uint64_t)r.ecx * r.ebx / r.eax;
		assert_true(hz - tsc < r.ebx); /* exact but for the crystal's whole hertz */
		r = cpuid(0x16, 0);
		assert_int_equal(r.eax, (hz + 500000) / 1000000);
		assert_int_equal(r.ebx, r.eax);
	}
}

/* ---- XSAVE ---- */

static void xsave_sizes_follow_xcr0(void **state)
{
	static const struct { uint64_t xcr0; uint32_t standard, compacted; } sizes[] = {
		{XCR0_X87, 576, 576},
		{XCR0_X87 | XCR0_SSE, 576, 576},
		{XCR0_X87 | XCR0_SSE | XCR0_AVX, 832, 832},
		{XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512, 2688, 576 + 256 + 64 + 512 + 1024},
		{XCR0_X87 | XCR0_SSE | XCR0_PKRU, 2696, 584},
		{XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU, 2696, 576 + 256 + 64 + 512 + 1024 + 8},
	};

	(void)state;
	start();
	assert_int_equal(cpuid(0xd, 0).eax, 0x2e7); /* no MPX, no AMX */
	assert_int_equal(cpuid(0xd, 0).edx, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		v->engine->set_reg(v, REG_XCR0, sizes[i].xcr0);
		assert_int_equal(cpuid(0xd, 0).ebx, sizes[i].standard);
		assert_int_equal(cpuid(0xd, 0).ecx, 2696);
		assert_int_equal(cpuid(0xd, 1).ebx, sizes[i].compacted);
	}
	assert_int_equal(cpuid(0xd, 1).eax, 0xf); /* no XFD */
	assert_int_equal(cpuid(0xd, 1).ecx | cpuid(0xd, 1).edx, 0);
	assert_int_equal(cpuid(0xd, 2).eax, 256);
	assert_int_equal(cpuid(0xd, 2).ebx, 576);
	is_zero(0xd, 3);
	is_zero(0xd, 8);
	is_zero(0xd, 17);
	is_zero(0xd, 63);
	is_zero(0xd, 0xffffffff);
}

static void no_xsave(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	fake_host_cpuid(leaf, subleaf, out);
	if (leaf == 1)
		out[2] &= (uint32_t)~CPUID_1C_XSAVE;
	if (leaf == 0xd)
		memset(out, 0, 16);
}

static void without_xsave_nothing_that_needs_it(void **state)
{
	(void)state;
	fake_host.ops.cpuid = no_xsave;
	start();
	assert_false(cpuid(1, 0).ecx & (CPUID_1C_XSAVE | CPUID_1C_AVX | CPUID_1C_FMA | CPUID_1C_F16C));
	assert_false(cpuid(7, 0).ebx & (CPUID_7B_AVX2 | CPUID_7B_AVX512F | CPUID_7B_AVX512BW));
	assert_false(cpuid(7, 0).ecx & (CPUID_7C_PKU | CPUID_7C_AVX512_VNNI));
	is_zero(0xd, 0);
	assert_false(vm->cpuid->cr4_allowed & (CR4_OSXSAVE | CR4_PKE));
}

static void no_avx512_state(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	fake_host_cpuid(leaf, subleaf, out);
	if (leaf == 0xd && subleaf == 0)
		out[0] = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK;
}

static void features_without_their_state_are_hidden(void **state)
{
	(void)state;
	fake_host.ops.cpuid = no_avx512_state;
	start();
	assert_true(cpuid(7, 0).ebx & CPUID_7B_AVX2);
	assert_false(cpuid(7, 0).ebx & (CPUID_7B_AVX512F | CPUID_7B_AVX512VL));
	assert_false(cpuid(7, 0).ecx & (CPUID_7C_AVX512_VBMI | CPUID_7C_PKU));
	assert_false(cpuid(7, 0).edx & CPUID_7D_AVX512_4FMAPS);
	assert_false(cpuid(7, 1).eax & CPUID_7_1A_AVX512_BF16);
	assert_int_equal(cpuid(0xd, 0).eax, 7);
	assert_int_equal(vm->cpuid->xcr0_allowed, 7);
}

/* ---- the engine ---- */

static void each_control_shows_its_own_instructions(void **state)
{
	(void)state;
	fake_engine.caps = (struct engine_caps){.rdtscp = true};
	start();
	assert_true(cpuid(0x80000001, 0).edx & CPUID_E1D_RDTSCP);
	assert_true(cpuid(7, 0).ecx & CPUID_7C_RDPID);
	assert_false(cpuid(7, 0).ebx & CPUID_7B_INVPCID);
	vm_rig_fini();
	vm_rig_init(RAM);
	fake_engine.caps = (struct engine_caps){.invpcid = true};
	start();
	assert_false(cpuid(0x80000001, 0).edx & CPUID_E1D_RDTSCP);
	assert_false(cpuid(7, 0).ecx & CPUID_7C_RDPID);
	assert_true(cpuid(7, 0).ebx & CPUID_7B_INVPCID);
}

static void an_engine_without_a_control_hides_its_instruction(void **state)
{
	(void)state;
	fake_engine.caps = (struct engine_caps){0};
	start();
	assert_false(cpuid(0x80000001, 0).edx & CPUID_E1D_RDTSCP);
	assert_false(cpuid(7, 0).ecx & CPUID_7C_RDPID);
	assert_false(cpuid(7, 0).ebx & CPUID_7B_INVPCID);
	assert_int_equal(cpuid(0xd, 1).eax, CPUID_D1A_XSAVEOPT | CPUID_D1A_XGETBV1);
}

/* A kernel that drops the one and keeps the other copies memory wrongly. */
static void without_fast_strings_none_of_their_kinds_is_shown(void **state)
{
	(void)state;
	start();
	assert_true(cpuid(7, 0).ebx & CPUID_7B_ERMS);
	assert_true(cpuid(7, 0).edx & CPUID_7D_FSRM);
	vm_rig_fini();
	fake_engine.caps.fast_strings = false;
	vm_rig_init(RAM);
	start();
	assert_false(cpuid(7, 0).ebx & CPUID_7B_ERMS);
	assert_false(cpuid(7, 0).edx & CPUID_7D_FSRM);
}

static void the_compacted_format_is_shown_only_where_it_works(void **state)
{
	(void)state;
	fake_engine.caps = (struct engine_caps){.xsaves = true};
	start();
	assert_int_equal(cpuid(0xd, 1).eax, CPUID_D1A_XSAVEOPT | CPUID_D1A_XGETBV1);
	assert_int_equal(cpuid(0xd, 1).ebx, 0);
}

static void xsavec_needs_no_xsaves(void **state)
{
	(void)state;
	fake_engine.caps = (struct engine_caps){.xsave_compacted = true};
	start();
	assert_int_equal(cpuid(0xd, 1).eax, CPUID_D1A_XSAVEOPT | CPUID_D1A_XSAVEC | CPUID_D1A_XGETBV1);
}

static void speculation_bits_need_their_msrs(void **state)
{
	static const uint32_t only_spec_ctrl[] = {MSR_IA32_SPEC_CTRL};
	uint32_t all = (uint32_t)(CPUID_7D_SPEC_CTRL | CPUID_7D_STIBP | CPUID_7D_SSBD | CPUID_7D_L1D_FLUSH |
				  CPUID_7D_ARCH_CAPABILITIES);

	(void)state;
	fake_default_msrs(NULL, 0);
	start();
	assert_int_equal(cpuid(7, 0).edx & all, 0);
	vm_rig_fini();
	fake_default_msrs(only_spec_ctrl, 1);
	vm_rig_init(RAM);
	start();
	/* IBRS and IBPB are one bit: without PRED_CMD it stays away. */
	assert_int_equal(cpuid(7, 0).edx & all, (uint32_t)(CPUID_7D_STIBP | CPUID_7D_SSBD));
	assert_int_equal(vm->cpuid->spec_ctrl_allowed, SPEC_CTRL_STIBP | SPEC_CTRL_SSBD);
}

static void old_host(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	memset(out, 0, 16);
	if (leaf == 0)
		out[0] = 5;
	else if (leaf < 7 || leaf == 0x80000001)
		fake_host_cpuid(leaf, subleaf, out);
	else if (leaf == 0x80000000)
		out[0] = 0x80000001;
	else /* leaves beyond the maximum repeat another's data on real processors */
		memset(out, 0xff, 16);
	if (leaf == 1)
		out[2] &= (uint32_t)~CPUID_1C_XSAVE;
}

static void leaves_that_the_host_lacks_are_not_asked_for(void **state)
{
	(void)state;
	fake_host.ops.cpuid = old_host;
	start();
	assert_int_equal(cpuid(7, 0).ecx, 0);
	assert_int_equal(cpuid(0x80000002, 0).eax, 0);
	assert_int_equal(cpuid(0x80000008, 0).eax, 48 << 8 | 36);
	assert_int_equal(cpuid(0x15, 0).ecx, VM_RIG_HZ);
}

/* ---- what follows ---- */

static void masks_follow_the_features(void **state)
{
	const struct cpuid_table *t;

	(void)state;
	start();
	t = vm->cpuid;
	assert_int_equal(t->cr4_allowed, CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE |
						 CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE |
						 CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP | CR4_PKE);
	assert_int_equal(t->efer_allowed, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	assert_true(t->physical_mask == BIT(40) - 1);
	assert_int_equal(t->xcr0_allowed, 0x2e7);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(says_who_it_is),
		T(leaf_1_bit_by_bit),
		T(osxsave_and_ospke_follow_cr4),
		T(leaf_7_bit_by_bit),
		T(extended_leaves),
		T(what_a_guest_does_not_have_is_zero),
		T(beyond_the_range_answers_the_highest_basic_leaf),
		T(one_processor_with_its_caches),
		T(several_processors_in_one_package),
		T(the_clock_is_the_calibrated_one),
		T(xsave_sizes_follow_xcr0),
		T(without_xsave_nothing_that_needs_it),
		T(features_without_their_state_are_hidden),
		T(each_control_shows_its_own_instructions),
		T(an_engine_without_a_control_hides_its_instruction),
		T(without_fast_strings_none_of_their_kinds_is_shown),
		T(the_compacted_format_is_shown_only_where_it_works),
		T(xsavec_needs_no_xsaves),
		T(speculation_bits_need_their_msrs),
		T(leaves_that_the_host_lacks_are_not_asked_for),
		T(masks_follow_the_features),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
