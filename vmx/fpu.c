/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eager switching of XSAVE state (SDM volume 1, sections 13.7 to 13.8). While a
 * guest's state is in the registers XCR0 is the guest's; saving and restoring
 * first sets XCR0 to all components, because a guest may have lowered it over
 * live registers. PKRU is one of the components. The host's own code runs
 * without SSE; a host task that uses it calls vmx_fpu_take() first.
 */
#include "vmx/fpu.h"

#include "lib/log.h"
#include "lib/x86_asm.h"
#include "vmx/internal.h"

/* The AVX component stands first behind the header in both formats (SDM 1:13.4.2, 13.4.3). */
#define XSAVE_ALIGN 64
#define AVX_OFFSET (XSAVE_LEGACY_SIZE + 64)
#define AVX_END (AVX_OFFSET + 256)
#define HEADER_USED 16 /* XSTATE_BV and XCOMP_BV; the rest of the header is reserved */
#define PATTERN 0xa5

/* FXSAVE and FXRSTOR, for processors without XSAVE (SDM 1:10.5). */
static void fxsave(void *area) { __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory"); }
static void fxrstor(const void *area) { __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory"); }

/*
 * Bochs 2.7 stores the compacted format of XSAVEC and XSAVES from byte 416 on, over the header, so that
 * a guest that uses it loses its registers. So it is tried, once, on the first CPU, with one AVX component. Leaves
 * every component in its initial state.
 */
static bool compacted_works(uint64_t components)
{
	static uint8_t area[AVX_END] __attribute__((aligned(XSAVE_ALIGN)));
	const uint64_t tried = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	bool right = true;

	if ((components & tried) != tried || !(cpuid(CPUID_XSAVE, 1).eax & CPUID_D1A_XSAVEC))
		return false;
	memset(area, 0, sizeof(area));
	put_le16(area + XSAVE_FCW_OFFSET, FCW_DEFAULT);
	put_le32(area + XSAVE_MXCSR_OFFSET, MXCSR_DEFAULT);
	put_le64(area + XSAVE_LEGACY_SIZE, XCR0_AVX); /* XSTATE_BV */
	memset(area + AVX_OFFSET, PATTERN, AVX_END - AVX_OFFSET);
	xrstor(area, tried);
	memset(area + XSAVE_LEGACY_SIZE, 0, AVX_END - XSAVE_LEGACY_SIZE);
	xsavec(area, tried);
	for (unsigned i = XSAVE_LEGACY_SIZE + HEADER_USED; i < AVX_END; i++)
		right &= area[i] == (i < AVX_OFFSET ? 0 : PATTERN);
	memset(area + XSAVE_LEGACY_SIZE, 0, AVX_END - XSAVE_LEGACY_SIZE);
	xrstor(area, components);
	if (!right)
		log_warn("XSAVEC stores its format in the wrong place here: guests are not shown it");
	return right;
}

static void read_features(struct fpu_features *f)
{
	struct cpuid_regs r;

	f->xsave = cpuid(CPUID_FEATURES, 0).ecx & CPUID_1C_XSAVE;
	f->components = XCR0_X87 | XCR0_SSE;
	f->bytes = XSAVE_LEGACY_SIZE;
	f->compacted = false;
	if (!f->xsave)
		return;
	r = cpuid(CPUID_XSAVE, 0);
	f->components = ((uint64_t)r.edx << 32 | r.eax) & FPU_COMPONENTS;
	xsetbv(0, f->components);
	f->bytes = cpuid(CPUID_XSAVE, 0).ebx; /* for the components now in XCR0 */
	f->compacted = vmx.ready ? vmx.fpu.compacted : compacted_works(f->components);
}

enum status fpu_init_cpu(struct error *err)
{
	struct fpu_features f;

	write_cr0((read_cr0() | CR0_MP | CR0_NE) & ~(CR0_EM | CR0_TS));
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT |
		  (cpuid(CPUID_FEATURES, 0).ecx & CPUID_1C_XSAVE ? CR4_OSXSAVE : 0));
	read_features(&f);
	if (f.bytes > PAGE_SIZE)
		return fail(err, ST_UNSUPPORTED, "this processor's XSAVE area takes %u bytes, more than a page",
			    f.bytes);
	if (vmx.ready && f.components != vmx.fpu.components)
		return fail(err, ST_UNSUPPORTED,
			    "this CPU's XSAVE components (0x%lx) differ from the first CPU's (0x%lx)", f.components,
			    vmx.fpu.components);
	vmx.fpu = f;
	return ST_OK;
}

/* The area after power-on: XSTATE_BV 0 makes XRSTOR initialise every component; MXCSR is always loaded. */
void fpu_reset(struct vmx_vcpu *hw)
{
	uint8_t *area = hw->xsave;

	memset(area, 0, PAGE_SIZE);
	put_le16(area + XSAVE_FCW_OFFSET, FCW_DEFAULT);
	put_le32(area + XSAVE_MXCSR_OFFSET, MXCSR_DEFAULT);
	hw->xcr0 = XCR0_X87;
}

void fpu_load(struct vmx_cpu *cpu, struct vmx_vcpu *hw)
{
	ASSERT(cpu->fpu == NULL);
	cpu->fpu = hw;
	if (!vmx.fpu.xsave) {
		fxrstor(hw->xsave);
		return;
	}
	xsetbv(0, vmx.fpu.components);
	xrstor(hw->xsave, vmx.fpu.components);
	if (hw->xcr0 != vmx.fpu.components)
		xsetbv(0, hw->xcr0);
}

void fpu_save(struct vmx_cpu *cpu)
{
	struct vmx_vcpu *hw = cpu->fpu;

	cpu->fpu = NULL;
	if (!vmx.fpu.xsave) {
		fxsave(hw->xsave);
		return;
	}
	xsetbv(0, vmx.fpu.components);
	xsave(hw->xsave, vmx.fpu.components);
}

void vmx_fpu_take(void)
{
	struct vmx_cpu *cpu = this_cpu();

	if (cpu->fpu)
		fpu_save(cpu);
}
