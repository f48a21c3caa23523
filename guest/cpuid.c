/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPUID allow-list. Masks say which of the host's bits pass; a short list
 * says which bits are ours because we provide the thing (x2APIC, TSC deadline,
 * TSC_ADJUST, invariant TSC). Leaves that describe what a guest does not have
 * (MONITOR, thermal and power, performance counters, RDT, SGX, PT) are zero.
 * Numbers and formulas: SDM 2A CPUID; XSAVE sizes: SDM 1:13.4.
 *
 * Leaf 15h states the calibrated TSC and exactly the crystal by which the local
 * APIC timer counts, since hosts (emulators above all) state others. KVM's
 * signature stands at 0x40000100: Linux keeps x2APIC and believes leaf 15h only
 * under a hypervisor that it knows. The features behind it are its clock and steal
 * time (guest/pvtime.h), and that ports need no I/O delay.
 */
#include "guest/cpuid.h"

#include <string.h>

#include "guest/machine.h"
#include "guest/vcpu_internal.h"

/* ---- what passes from the host ---- */

#define PASS_1C                                                                                       \
	(CPUID_1C_SSE3 | CPUID_1C_PCLMULQDQ | CPUID_1C_SSSE3 | CPUID_1C_FMA | CPUID_1C_CX16 |         \
	 CPUID_1C_PCID | CPUID_1C_SSE4_1 | CPUID_1C_SSE4_2 | CPUID_1C_MOVBE | CPUID_1C_POPCNT |       \
	 CPUID_1C_AES | CPUID_1C_XSAVE | CPUID_1C_AVX | CPUID_1C_F16C | CPUID_1C_RDRAND)
#define OURS_1C (CPUID_1C_X2APIC | CPUID_1C_TSC_DEADLINE | CPUID_1C_HYPERVISOR)
#define PASS_1D                                                                                       \
	(CPUID_1D_FPU | CPUID_1D_VME | CPUID_1D_DE | CPUID_1D_PSE | CPUID_1D_TSC | CPUID_1D_MSR |     \
	 CPUID_1D_PAE | CPUID_1D_CX8 | CPUID_1D_SEP | CPUID_1D_PGE | CPUID_1D_CMOV | CPUID_1D_PAT |   \
	 CPUID_1D_PSE36 | CPUID_1D_CLFSH | CPUID_1D_MMX | CPUID_1D_FXSR | CPUID_1D_SSE |              \
	 CPUID_1D_SSE2 | CPUID_1D_SS)
/* Machine check comes with no banks (MCG_CAP 0): its MSRs exist and nothing is ever reported. */
#define OURS_1D (CPUID_1D_MCE | CPUID_1D_MCA | CPUID_1D_APIC | CPUID_1D_MTRR)
#define PASS_7B                                                                                       \
	(CPUID_7B_FSGSBASE | CPUID_7B_BMI1 | CPUID_7B_AVX2 | CPUID_7B_FDP_EXCPTN_ONLY |               \
	 CPUID_7B_SMEP | CPUID_7B_BMI2 | CPUID_7B_ERMS | CPUID_7B_INVPCID | CPUID_7B_FPU_CSDS |       \
	 CPUID_7B_AVX512F | CPUID_7B_AVX512DQ | CPUID_7B_RDSEED | CPUID_7B_ADX | CPUID_7B_SMAP |      \
	 CPUID_7B_AVX512_IFMA | CPUID_7B_CLFLUSHOPT | CPUID_7B_CLWB | CPUID_7B_AVX512CD |             \
	 CPUID_7B_SHA | CPUID_7B_AVX512BW | CPUID_7B_AVX512VL)
#define OURS_7B CPUID_7B_TSC_ADJUST
#define PASS_7C                                                                                       \
	(CPUID_7C_PREFETCHWT1 | CPUID_7C_AVX512_VBMI | CPUID_7C_UMIP | CPUID_7C_PKU |                 \
	 CPUID_7C_AVX512_VBMI2 | CPUID_7C_GFNI | CPUID_7C_VAES | CPUID_7C_VPCLMULQDQ |                \
	 CPUID_7C_AVX512_VNNI | CPUID_7C_AVX512_BITALG | CPUID_7C_AVX512_VPOPCNTDQ | CPUID_7C_RDPID | \
	 CPUID_7C_CLDEMOTE | CPUID_7C_MOVDIRI | CPUID_7C_MOVDIR64B)
#define PASS_7D                                                                                       \
	(CPUID_7D_AVX512_4VNNIW | CPUID_7D_AVX512_4FMAPS | CPUID_7D_FSRM |                            \
	 CPUID_7D_AVX512_VP2INTERSECT | CPUID_7D_MD_CLEAR | CPUID_7D_SERIALIZE)
#define PASS_7_1A (CPUID_7_1A_AVX_VNNI | CPUID_7_1A_AVX512_BF16)
#define PASS_D1A (CPUID_D1A_XSAVEOPT | CPUID_D1A_XSAVEC | CPUID_D1A_XGETBV1 | CPUID_D1A_XSAVES)
#define PASS_E1C (CPUID_E1C_LAHF | CPUID_E1C_LZCNT | CPUID_E1C_PREFETCHW)
#define PASS_E1D (CPUID_E1D_SYSCALL | CPUID_E1D_NX | CPUID_E1D_PAGE1GB | CPUID_E1D_RDTSCP | CPUID_E1D_LM)
/* What speculation tells of the host's silicon; the bits that offer a control MSR are not among them. */
#define PASS_ARCH_CAP                                                                                 \
	(ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_RSBA | ARCH_CAP_SKIP_L1DFL_VMENTRY |         \
	 ARCH_CAP_SSB_NO | ARCH_CAP_MDS_NO | ARCH_CAP_IF_PSCHANGE_MC_NO | ARCH_CAP_TAA_NO |           \
	 ARCH_CAP_SBDR_SSDP_NO | ARCH_CAP_FBSDP_NO | ARCH_CAP_PSDP_NO | ARCH_CAP_FB_CLEAR |           \
	 ARCH_CAP_RRSBA | ARCH_CAP_BHI_NO | ARCH_CAP_PBRSB_NO | ARCH_CAP_GDS_NO | ARCH_CAP_RFDS_NO |  \
	 ARCH_CAP_RFDS_CLEAR)
#define PASS_XCR0 (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU)

/* ---- leaf fields ---- */

#define LEAF1_CLFLUSH_MASK MASK(15, 8)
#define LEAF1_PROCESSORS_SHIFT 16
#define LEAF1_APIC_ID_SHIFT 24
#define LEAF4_TYPE_MASK MASK(4, 0)
#define LEAF4_LEVEL(eax) ((eax) >> 5 & 7)
#define LEAF4_SHARING_MASK MASK(31, 14)
#define LEAF4_SHARING_SHIFT 14 /* processors that share the cache, less 1 */
#define LEAF4_CORES_SHIFT 26   /* cores in the package, less 1 */
#define LAST_PRIVATE_CACHE 2   /* level */
#define TOPOLOGY_SMT (1u << 8)
#define TOPOLOGY_CORE (2u << 8)
#define XSAVE_COMPONENT_ALIGNED BIT(1) /* 0xd.n ECX: aligned to 64 bytes in the compacted format */
#define XSAVE_COMPONENT_SUPERVISOR BIT(0)
#define XSAVE_ALIGN 64
#define HYPERVISOR_LEAVES_END 0x4fffffffu
#define KVM_FEATURES                                                                                 \
	(KVM_FEATURE_NOP_IO_DELAY | KVM_FEATURE_CLOCKSOURCE2 | KVM_FEATURE_STEAL_TIME | KVM_FEATURE_CLOCKSOURCE_STABLE)
#define ADDRESS_WIDTHS_DEFAULT (48u << 8 | 36) /* of a processor that does not say (SDM 3A 4.1.4) */
#define HZ_PER_MHZ 1000000u

static struct cpuid_regs host_leaf(const struct vm *vm, uint32_t leaf, uint32_t subleaf)
{
	uint32_t r[4];

	vm->machine->host->cpuid(leaf, subleaf, r);
	return (struct cpuid_regs){r[0], r[1], r[2], r[3]};
}

static struct cpuid_regs host_leaf_below(const struct vm *vm, uint32_t max, uint32_t leaf, uint32_t subleaf)
{
	return leaf <= max ? host_leaf(vm, leaf, subleaf) : (struct cpuid_regs){0};
}

/* ---- identity, features, caches, topology ---- */

/*
 * Each vcpu is a core of one thread, all in one package: a scheduler of the guest's then spreads its work without
 * looking for siblings that share a pipeline, which ours may put anywhere. Bits of the APIC ids within the package.
 */
static unsigned core_bits(const struct vm *vm)
{
	unsigned count = vm->config.cpu.count;

	return count > 1 ? bit_highest(count - 1) + 1 : 0;
}

static void build_features(const struct vm *vm, struct cpuid_table *t)
{
	struct cpuid_regs h = host_leaf(vm, CPUID_FEATURES, 0);
	unsigned count = vm->config.cpu.count;

	t->basic[CPUID_FEATURES] = (struct cpuid_regs){
		.eax = h.eax,
		.ebx = (uint32_t)(h.ebx & LEAF1_CLFLUSH_MASK) | count << LEAF1_PROCESSORS_SHIFT,
		.ecx = (uint32_t)((h.ecx & PASS_1C) | OURS_1C),
		.edx = (uint32_t)((h.edx & PASS_1D) | OURS_1D | (count > 1 ? CPUID_1D_HTT : 0)),
	};
}

/* The numbers of ids set aside, powers of two (SDM 2A CPUID, leaf 4). */
static void build_caches(const struct vm *vm, struct cpuid_table *t)
{
	uint32_t ids = (1u << core_bits(vm)) - 1;

	for (unsigned i = 0; i < CPUID_CACHE_SUBLEAVES - 1; i++) {
		struct cpuid_regs h = host_leaf(vm, CPUID_CACHE, i);

		if ((h.eax & LEAF4_TYPE_MASK) == 0)
			break;
		h.eax &= (uint32_t)~LEAF4_SHARING_MASK;
		h.eax |= ids << LEAF4_CORES_SHIFT;
		if (LEAF4_LEVEL(h.eax) > LAST_PRIVATE_CACHE)
			h.eax |= ids << LEAF4_SHARING_SHIFT;
		t->cache[i] = h;
	}
}

static void build_extended_features(const struct vm *vm, struct cpuid_table *t)
{
	struct cpuid_regs h = host_leaf(vm, CPUID_EXTENDED_FEATURES, 0), h1 = {0};

	if (h.eax >= 1)
		h1 = host_leaf(vm, CPUID_EXTENDED_FEATURES, 1);
	t->feature[0] = (struct cpuid_regs){
		.eax = h1.eax & PASS_7_1A ? 1 : 0,
		.ebx = (uint32_t)((h.ebx & PASS_7B) | OURS_7B),
		.ecx = (uint32_t)(h.ecx & PASS_7C),
		.edx = (uint32_t)(h.edx & PASS_7D),
	};
	t->feature[1].eax = (uint32_t)(h1.eax & PASS_7_1A);
}

static void build_extended(const struct vm *vm, struct cpuid_table *t)
{
	uint32_t max = host_leaf(vm, CPUID_EXT_MAX, 0).eax;
	struct cpuid_regs h = host_leaf_below(vm, max, CPUID_EXT_FEATURES, 0);

	t->extended[0].eax = CPUID_EXT_MAX + CPUID_EXTENDED_COUNT - 1;
	t->extended[1] = (struct cpuid_regs){.ecx = (uint32_t)(h.ecx & PASS_E1C), .edx = (uint32_t)(h.edx & PASS_E1D)};
	for (uint32_t leaf = CPUID_BRAND0; leaf <= CPUID_BRAND2; leaf++)
		t->extended[leaf - CPUID_EXT_MAX] = host_leaf_below(vm, max, leaf, 0);
	t->extended[CPUID_EXT_L2 - CPUID_EXT_MAX].ecx = host_leaf_below(vm, max, CPUID_EXT_L2, 0).ecx;
	t->extended[CPUID_EXT_POWER - CPUID_EXT_MAX].edx = (uint32_t)CPUID_E7D_INVARIANT_TSC;
	h = host_leaf_below(vm, max, CPUID_EXT_ADDRESS, 0);
	if (max < CPUID_EXT_ADDRESS)
		h.eax = ADDRESS_WIDTHS_DEFAULT;
	t->extended[CPUID_EXT_ADDRESS - CPUID_EXT_MAX].eax =
		(uint32_t)(h.eax & (CPUID_E8A_PHYS_BITS_MASK | CPUID_E8A_LINEAR_BITS_MASK));
}

/* EDX, the x2APIC id, is filled in per vcpu. */
static void build_topology(const struct vm *vm, struct cpuid_table *t)
{
	t->topology[0] = (struct cpuid_regs){.ebx = 1, .ecx = TOPOLOGY_SMT};
	t->topology[1] = (struct cpuid_regs){
		.eax = core_bits(vm), .ebx = vm->config.cpu.count, .ecx = TOPOLOGY_CORE | 1};
}

/* ---- time ---- */

static void build_time(const struct vm *vm, struct cpuid_table *t)
{
	uint64_t hz = vm->machine->host->clock->hz;
	uint32_t ratio = vlapic_timer_ratio(hz);
	uint32_t mhz = (uint32_t)((hz + HZ_PER_MHZ / 2) / HZ_PER_MHZ);

	t->basic[CPUID_TSC] = (struct cpuid_regs){.eax = 1, .ebx = ratio, .ecx = (uint32_t)(hz / ratio)};
	t->basic[CPUID_FREQUENCY] = (struct cpuid_regs){.eax = mhz, .ebx = mhz};
}

/* ---- XSAVE ---- */

/*
 * Components that the host's CPUID really describes. Bochs 2.7 offers PKRU in XCR0 but gives it no place in the area,
 * and a Linux that sees that gives XSAVE up half way.
 */
static uint64_t described(const struct vm *vm, uint64_t components)
{
	for (unsigned i = 2; i < CPUID_XSAVE_COMPONENTS; i++) {
		if ((components & BIT(i)) && host_leaf(vm, CPUID_XSAVE, i).eax == 0)
			components &= ~BIT(i);
	}
	return components;
}

static void build_xsave(const struct vm *vm, struct cpuid_table *t)
{
	struct cpuid_regs h0 = host_leaf(vm, CPUID_XSAVE, 0), h1 = host_leaf(vm, CPUID_XSAVE, 1);
	uint64_t allowed = described(vm, ((uint64_t)h0.edx << 32 | h0.eax) & PASS_XCR0);

	if (!(t->feature[0].ecx & CPUID_7C_PKU))
		allowed &= ~XCR0_PKRU;
	if (!(t->feature[0].ebx & CPUID_7B_AVX512F) || (allowed & XCR0_AVX512) != XCR0_AVX512)
		allowed &= ~XCR0_AVX512;
	t->xcr0_allowed = allowed;
	t->xsave[0].eax = (uint32_t)allowed;
	t->xsave[0].edx = (uint32_t)(allowed >> 32);
	t->xsave[1].eax = (uint32_t)(h1.eax & PASS_D1A);
	for (unsigned i = 2; i < CPUID_XSAVE_COMPONENTS; i++) {
		if (allowed & BIT(i))
			t->xsave[i] = host_leaf(vm, CPUID_XSAVE, i);
	}
}

/* Without XSAVE nothing that depends on it may be shown. */
static void hide_xsave(struct cpuid_table *t)
{
	t->xcr0_allowed = 0;
	t->basic[CPUID_FEATURES].ecx &= (uint32_t) ~(CPUID_1C_XSAVE | CPUID_1C_AVX | CPUID_1C_F16C | CPUID_1C_FMA);
	t->feature[0].ebx &= (uint32_t) ~(CPUID_7B_AVX2 | CPUID_7B_AVX512F);
	t->feature[0].ecx &= (uint32_t) ~(CPUID_7C_PKU | CPUID_7C_VAES | CPUID_7C_VPCLMULQDQ);
}

#define AVX512_7B                                                                                    \
	(CPUID_7B_AVX512F | CPUID_7B_AVX512DQ | CPUID_7B_AVX512_IFMA | CPUID_7B_AVX512CD | CPUID_7B_AVX512BW | \
	 CPUID_7B_AVX512VL)
#define AVX512_7C                                                                                  \
	(CPUID_7C_AVX512_VBMI | CPUID_7C_AVX512_VBMI2 | CPUID_7C_AVX512_VNNI | CPUID_7C_AVX512_BITALG | \
	 CPUID_7C_AVX512_VPOPCNTDQ)
#define AVX512_7D (CPUID_7D_AVX512_4VNNIW | CPUID_7D_AVX512_4FMAPS | CPUID_7D_AVX512_VP2INTERSECT)

static void hide_avx512(struct cpuid_table *t)
{
	t->feature[0].ebx &= (uint32_t)~AVX512_7B;
	t->feature[0].ecx &= (uint32_t)~AVX512_7C;
	t->feature[0].edx &= (uint32_t)~AVX512_7D;
	t->feature[1].eax &= (uint32_t)~CPUID_7_1A_AVX512_BF16;
}

/* Features whose registers XCR0 cannot enable are not shown. */
static void settle_vectors(const struct vm *vm, struct cpuid_table *t)
{
	if (t->basic[CPUID_FEATURES].ecx & CPUID_1C_XSAVE)
		build_xsave(vm, t);
	if (!(t->xcr0_allowed & XCR0_X87) || !(t->xcr0_allowed & XCR0_SSE))
		hide_xsave(t);
	if (!(t->xcr0_allowed & XCR0_AVX512))
		hide_avx512(t);
	if (!(t->xcr0_allowed & XCR0_PKRU))
		t->feature[0].ecx &= (uint32_t)~CPUID_7C_PKU;
}

/* Bytes of the standard-format area for @mask (SDM 1:13.4.2): the end of its last component. */
static uint32_t standard_size(const struct cpuid_table *t, uint64_t mask)
{
	uint32_t end = XSAVE_LEGACY_SIZE + XSAVE_HEADER_SIZE;

	for (unsigned i = 2; i < CPUID_XSAVE_COMPONENTS; i++) {
		if (mask & BIT(i))
			end = MAX(end, t->xsave[i].ebx + t->xsave[i].eax);
	}
	return end;
}

/* Bytes of the compacted-format area for @mask (SDM 1:13.4.3): components in order, some aligned. */
static uint32_t compacted_size(const struct cpuid_table *t, uint64_t mask)
{
	uint32_t end = XSAVE_LEGACY_SIZE + XSAVE_HEADER_SIZE;

	for (unsigned i = 2; i < CPUID_XSAVE_COMPONENTS; i++) {
		if (!(mask & BIT(i)))
			continue;
		if (t->xsave[i].ecx & XSAVE_COMPONENT_ALIGNED)
			end = (uint32_t)align_up(end, XSAVE_ALIGN);
		end += t->xsave[i].eax;
	}
	return end;
}

/* ---- what the engine decides ---- */

static void build_speculation(struct vcpu *v, struct cpuid_table *t)
{
	const struct engine *engine = v->engine;
	struct cpuid_regs h = host_leaf(v->vm, CPUID_EXTENDED_FEATURES, 0);
	uint32_t show = 0;
	uint64_t value;

	t->pred_cmd_shown = (h.edx & CPUID_7D_SPEC_CTRL) && engine->set_msr(v, MSR_IA32_PRED_CMD, 0) == ST_OK;
	t->flush_cmd_shown = (h.edx & CPUID_7D_L1D_FLUSH) && engine->set_msr(v, MSR_IA32_FLUSH_CMD, 0) == ST_OK;
	if (engine->get_msr(v, MSR_IA32_SPEC_CTRL, &value) == ST_OK) {
		show |= h.edx & (CPUID_7D_STIBP | CPUID_7D_SSBD);
		if (t->pred_cmd_shown)
			show |= CPUID_7D_SPEC_CTRL;
	}
	if (t->flush_cmd_shown)
		show |= CPUID_7D_L1D_FLUSH;
	if ((h.edx & CPUID_7D_ARCH_CAPABILITIES) && engine->get_msr(v, MSR_IA32_ARCH_CAPABILITIES, &value) == ST_OK) {
		show |= CPUID_7D_ARCH_CAPABILITIES;
		t->arch_capabilities_shown = true;
		t->arch_capabilities = value & PASS_ARCH_CAP;
	}
	t->feature[0].edx |= show;
	t->spec_ctrl_allowed = (show & CPUID_7D_SPEC_CTRL ? SPEC_CTRL_IBRS : 0) |
			       (show & CPUID_7D_STIBP ? SPEC_CTRL_STIBP : 0) |
			       (show & CPUID_7D_SSBD ? SPEC_CTRL_SSBD : 0);
}

/* Instructions that an engine must enable before a guest can use them. */
static void settle_engine(const struct vm *vm, struct cpuid_table *t)
{
	const struct engine_caps *caps = &vm->machine->engine->caps;

	if (!caps->invpcid)
		t->feature[0].ebx &= (uint32_t)~CPUID_7B_INVPCID;
	if (!caps->rdtscp) {
		t->extended[1].edx &= (uint32_t)~CPUID_E1D_RDTSCP;
		t->feature[0].ecx &= (uint32_t)~CPUID_7C_RDPID;
	}
	/* Fast short REP MOVS is said to imply enhanced REP MOVS, which kernels drop together with fast strings. */
	if (!caps->fast_strings) {
		t->feature[0].ebx &= (uint32_t)~CPUID_7B_ERMS;
		t->feature[0].edx &= (uint32_t)~CPUID_7D_FSRM;
	}
	if (!caps->xsaves)
		t->xsave[1].eax &= (uint32_t)~CPUID_D1A_XSAVES;
	if (!caps->xsave_compacted)
		t->xsave[1].eax &= (uint32_t)~(CPUID_D1A_XSAVEC | CPUID_D1A_XSAVES);
}

/* ---- what follows ---- */

static void build_masks(struct cpuid_table *t)
{
	const struct { uint32_t present; uint64_t bits; } cr4[] = {
		{t->basic[1].edx & CPUID_1D_VME, CR4_VME | CR4_PVI},
		{t->basic[1].edx & CPUID_1D_TSC, CR4_TSD},
		{t->basic[1].edx & CPUID_1D_DE, CR4_DE},
		{t->basic[1].edx & CPUID_1D_PSE, CR4_PSE},
		{t->basic[1].edx & CPUID_1D_PAE, CR4_PAE},
		{t->basic[1].edx & CPUID_1D_MCE, CR4_MCE},
		{t->basic[1].edx & CPUID_1D_PGE, CR4_PGE},
		{t->basic[1].edx & CPUID_1D_FXSR, CR4_OSFXSR},
		{t->basic[1].edx & CPUID_1D_SSE, CR4_OSXMMEXCPT},
		{t->basic[1].ecx & CPUID_1C_PCID, CR4_PCIDE},
		{t->basic[1].ecx & CPUID_1C_XSAVE, CR4_OSXSAVE},
		{t->feature[0].ebx & CPUID_7B_FSGSBASE, CR4_FSGSBASE},
		{t->feature[0].ebx & CPUID_7B_SMEP, CR4_SMEP},
		{t->feature[0].ebx & CPUID_7B_SMAP, CR4_SMAP},
		{t->feature[0].ecx & CPUID_7C_UMIP, CR4_UMIP},
		{t->feature[0].ecx & CPUID_7C_PKU, CR4_PKE},
	};

	/* RDPMC is #UD or #GP whatever PCE says; Linux sets the bit without asking. */
	t->cr4_allowed = CR4_PCE;
	for (unsigned i = 0; i < ARRAY_SIZE(cr4); i++)
		t->cr4_allowed |= cr4[i].present ? cr4[i].bits : 0;
	t->efer_allowed = EFER_SCE | (t->extended[1].edx & CPUID_E1D_LM ? EFER_LME | EFER_LMA : 0) |
			  (t->extended[1].edx & CPUID_E1D_NX ? EFER_NXE : 0);
	t->physical_mask = BIT(t->extended[CPUID_EXT_ADDRESS - CPUID_EXT_MAX].eax & CPUID_E8A_PHYS_BITS_MASK) - 1;
	t->pte_reserved = MASK(51, 0) & ~t->physical_mask;
}

/* @name: 12 characters. */
static struct cpuid_hypervisor hypervisor(uint32_t base, const char *name, uint32_t features)
{
	return (struct cpuid_hypervisor){
		.signature = {base + 1, get_le32(name), get_le32(name + 4), get_le32(name + 8)},
		.features = {.eax = features},
	};
}

void cpuid_build(struct vm *vm)
{
	struct cpuid_table *t = vm->cpuid;
	struct cpuid_regs h = host_leaf(vm, CPUID_VENDOR, 0);

	memset(t, 0, sizeof *t);
	t->basic[0] = (struct cpuid_regs){CPUID_BASIC_MAX, h.ebx, h.ecx, h.edx};
	t->basic[2] = host_leaf(vm, 2, 0);
	build_features(vm, t);
	if (h.eax >= CPUID_CACHE)
		build_caches(vm, t);
	t->basic[CPUID_POWER].eax = (uint32_t)CPUID_6A_ARAT;
	if (h.eax >= CPUID_EXTENDED_FEATURES)
		build_extended_features(vm, t);
	build_extended(vm, t);
	build_topology(vm, t);
	build_time(vm, t);
	settle_vectors(vm, t);
	settle_engine(vm, t);
	build_speculation(vm->vcpus[0], t);
	build_masks(t);
	t->corbel = hypervisor(CPUID_HYPERVISOR, "CorbelCorbel", 0);
	t->kvm = hypervisor(CPUID_HYPERVISOR_KVM, "KVMKVMKVM\0\0\0", (uint32_t)KVM_FEATURES);
}

/* ---- answers ---- */

static struct cpuid_regs features_now(struct vcpu *v)
{
	struct cpuid_regs r = v->vm->cpuid->basic[CPUID_FEATURES];

	r.ebx |= v->id << LEAF1_APIC_ID_SHIFT;
	if (v->engine->get_reg(v, REG_CR4) & CR4_OSXSAVE)
		r.ecx |= (uint32_t)CPUID_1C_OSXSAVE;
	/* A processor whose APIC is globally disabled is one without (SDM 3A:10.4.3). */
	if (v->lapic.mode == VLAPIC_DISABLED)
		r.edx &= (uint32_t)~CPUID_1D_APIC;
	return r;
}

static struct cpuid_regs extended_features_now(struct vcpu *v, uint32_t subleaf)
{
	struct cpuid_regs r = {0};

	if (subleaf < CPUID_FEATURE_SUBLEAVES)
		r = v->vm->cpuid->feature[subleaf];
	if (subleaf == 0 && (v->engine->get_reg(v, REG_CR4) & CR4_PKE))
		r.ecx |= (uint32_t)CPUID_7C_OSPKE;
	return r;
}

/* Beyond the last level ECX returns the level asked for, EDX the x2APIC id (SDM 2A CPUID, leaf 0bh). */
static struct cpuid_regs topology_now(const struct vcpu *v, uint32_t subleaf)
{
	struct cpuid_regs r = {.ecx = subleaf & 0xff};

	if (subleaf < CPUID_TOPOLOGY_SUBLEAVES)
		r = v->vm->cpuid->topology[subleaf];
	r.edx = v->id;
	return r;
}

static struct cpuid_regs xsave_now(struct vcpu *v, uint32_t subleaf)
{
	const struct cpuid_table *t = v->vm->cpuid;
	struct cpuid_regs r = {0};

	if (subleaf >= CPUID_XSAVE_COMPONENTS || t->xcr0_allowed == 0)
		return r;
	r = t->xsave[subleaf];
	if (subleaf == 0) {
		r.ebx = standard_size(t, v->engine->get_reg(v, REG_XCR0));
		r.ecx = standard_size(t, t->xcr0_allowed);
	} else if (subleaf == 1 && (r.eax & (CPUID_D1A_XSAVEC | CPUID_D1A_XSAVES))) {
		/* No supervisor component is offered: IA32_XSS is 0. */
		r.ebx = compacted_size(t, v->engine->get_reg(v, REG_XCR0));
	}
	return r;
}

static struct cpuid_regs other_leaf(const struct vcpu *v, uint32_t leaf)
{
	const struct cpuid_table *t = v->vm->cpuid;

	switch (leaf) {
	case CPUID_HYPERVISOR:
		return t->corbel.signature;
	case CPUID_HYPERVISOR + 1:
		return t->corbel.features;
	case CPUID_HYPERVISOR_KVM:
		return t->kvm.signature;
	case CPUID_HYPERVISOR_KVM + 1:
		return t->kvm.features;
	default:
		break;
	}
	if (leaf - CPUID_EXT_MAX < CPUID_EXTENDED_COUNT)
		return t->extended[leaf - CPUID_EXT_MAX];
	if (leaf >= CPUID_HYPERVISOR && leaf <= HYPERVISOR_LEAVES_END)
		return (struct cpuid_regs){0};
	/* Intel answers a leaf above its range like the highest basic one (SDM 2A CPUID). */
	return t->basic[CPUID_BASIC_MAX];
}

/* Leaves whose answer depends on the subleaf, on CR4 or XCR0, or on the vcpu. */
#define DYNAMIC (BIT(CPUID_FEATURES) | BIT(CPUID_CACHE) | BIT(CPUID_EXTENDED_FEATURES) | BIT(CPUID_TOPOLOGY) | BIT(CPUID_XSAVE))

static struct cpuid_regs dynamic_leaf(struct vcpu *v, uint32_t leaf, uint32_t subleaf)
{
	switch (leaf) {
	case CPUID_FEATURES:
		return features_now(v);
	case CPUID_CACHE:
		return v->vm->cpuid->cache[MIN(subleaf, CPUID_CACHE_SUBLEAVES - 1)];
	case CPUID_EXTENDED_FEATURES:
		return extended_features_now(v, subleaf);
	case CPUID_TOPOLOGY:
		return topology_now(v, subleaf);
	case CPUID_XSAVE:
		return xsave_now(v, subleaf);
	default:
		return other_leaf(v, leaf);
	}
}

static inline void give(struct vcpu *v, const struct cpuid_regs *r)
{
	v->gpr[GPR_RAX] = r->eax;
	v->gpr[GPR_RBX] = r->ebx;
	v->gpr[GPR_RCX] = r->ecx;
	v->gpr[GPR_RDX] = r->edx;
}

/* Out of line: the common way then needs no stack frame. */
static __attribute__((noinline)) enum disposition dynamic_exit(struct vcpu *v)
{
	struct cpuid_regs r = dynamic_leaf(v, (uint32_t)v->gpr[GPR_RAX], (uint32_t)v->gpr[GPR_RCX]);

	give(v, &r);
	return v->engine->advance(v);
}

enum disposition cpuid_exit(struct vcpu *v)
{
	uint32_t leaf = (uint32_t)v->gpr[GPR_RAX];

	if (unlikely(leaf > CPUID_BASIC_MAX || (DYNAMIC >> leaf & 1)))
		return dynamic_exit(v);
	give(v, &v->vm->cpuid->basic[leaf]);
	return v->engine->advance(v);
}
