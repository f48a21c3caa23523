/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills every register that a hypervisor switches between guests and not at an
 * exit with a pattern of its own (seed=N): all XSAVE components (x87, SSE, AVX,
 * AVX-512, PKRU), debug registers, CR2, TSC_AUX and the system-call MSRs. Then it spins,
 * halts and exits in turns for rounds=N and looks whether anything changed. Two
 * of these side by side with different seeds would see each other's registers.
 */
#include <string.h>

#include "tests/guests/lib/guest.h"

const char guest_name[] = "fpu";

#define LEAF_XSAVE 0xdu
#define AREA_MAX 4096u
#define COMPONENTS 64u
#define FIRST_EXTENDED 2u
#define XSTATE_BV XSAVE_LEGACY_SIZE
#define X87_REGISTERS 32u /* offset of ST0 in the legacy area; 8 of 16 bytes, 10 used */
#define XMM_REGISTERS 160u
#define XMM_BYTES 256u
#define PKRU_KEY0 3u /* left open: Bochs applies keys to supervisor pages too */
#define DR_ADDRESSES 4u
#define DR7_LOCAL_EXECUTE MASK(7, 0) /* L0..G3 set, all on execution of one byte */

static const uint32_t msrs[] = {MSR_IA32_STAR,    MSR_IA32_LSTAR,   MSR_IA32_CSTAR,          MSR_IA32_FMASK,
				MSR_IA32_FS_BASE, MSR_IA32_GS_BASE, MSR_IA32_KERNEL_GS_BASE, MSR_IA32_SYSENTER_CS,
				MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP};

static _Alignas(64) uint8_t loaded[AREA_MAX], stored[AREA_MAX];
static uint32_t pkru, tsc_aux;
static bool has_rdtscp;
static uint64_t components, dr[DR_ADDRESSES], cr2, msr_values[ARRAY_SIZE(msrs)];

/* Where component @i lies in the area; PKRU is done by its own instructions, since Bochs does not say where it lies. */
static bool in_area(unsigned i, struct cpuid_regs *where)
{
	if (!(components & BIT(i)) || BIT(i) == XCR0_PKRU)
		return false;
	*where = cpuid(LEAF_XSAVE, i);
	return true;
}

static uint32_t read_pkru(void)
{
	uint32_t eax, edx;

	__asm__ volatile("rdpkru" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax;
}

static uint32_t read_tsc_aux(void)
{
	uint32_t eax, edx, ecx;

	__asm__ volatile("rdtscp" : "=a"(eax), "=d"(edx), "=c"(ecx));
	return ecx;
}

static void write_pkru(uint32_t v)
{
	__asm__ volatile("wrpkru" : : "a"(v), "c"(0), "d"(0));
}

/* Everything that the processor has, but AMX, which needs permission of its own. */
static void enable_components(void)
{
	struct cpuid_regs r = cpuid(LEAF_XSAVE, 0);
	uint64_t pku = cpuid(7, 0).ecx & CPUID_7C_PKU ? CR4_PKE : 0;

	write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | pku);
	components = r.eax & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU);
	xsetbv(0, components);
	CHECK(cpuid(LEAF_XSAVE, 0).ebx <= AREA_MAX, "the XSAVE area has %u bytes", cpuid(LEAF_XSAVE, 0).ebx);
}

static void fill(uint8_t *p, uint32_t size, uint64_t *seed)
{
	for (uint32_t i = 0; i < size; i++)
		p[i] = (uint8_t)(random_next(seed) >> 32);
}

static void build_area(uint64_t *seed)
{
	put_le16(loaded + XSAVE_FCW_OFFSET, FCW_DEFAULT);
	loaded[4] = 0xff; /* abridged tag word: all eight in use */
	put_le32(loaded + XSAVE_MXCSR_OFFSET, MXCSR_DEFAULT);
	for (unsigned i = 0; i < 8; i++)
		fill(loaded + X87_REGISTERS + i * 16, 10, seed);
	fill(loaded + XMM_REGISTERS, XMM_BYTES, seed);
	put_le64(loaded + XSTATE_BV, components);
	for (unsigned i = FIRST_EXTENDED; i < COMPONENTS; i++) {
		struct cpuid_regs c;

		if (in_area(i, &c))
			fill(loaded + c.ebx, c.eax, seed);
	}
}

static void load_all(uint64_t *seed)
{
	build_area(seed);
	xrstor(loaded, components);
	if (components & XCR0_PKRU) {
		pkru = (uint32_t)random_next(seed) & ~PKRU_KEY0;
		write_pkru(pkru);
	}
	if (has_rdtscp) {
		tsc_aux = (uint32_t)random_next(seed);
		wrmsr(MSR_IA32_TSC_AUX, tsc_aux);
	}
	for (unsigned i = 0; i < DR_ADDRESSES; i++)
		dr[i] = 0xffff800000000000ull | (random_next(seed) >> 20); /* nothing executes there */
	write_dr0(dr[0]);
	write_dr1(dr[1]);
	write_dr2(dr[2]);
	write_dr3(dr[3]);
	write_dr7(DR7_INIT | DR7_LOCAL_EXECUTE);
	cr2 = random_next(seed);
	write_cr2(cr2);
	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++) {
		msr_values[i] = 0xffff800000000000ull | random_next(seed) >> 20;
		if (msrs[i] == MSR_IA32_FMASK)
			msr_values[i] = (uint32_t)msr_values[i];
		if (msrs[i] == MSR_IA32_SYSENTER_CS)
			msr_values[i] = (uint16_t)msr_values[i];
		wrmsr(msrs[i], msr_values[i]);
	}
}

static void compare(const char *what, unsigned offset, unsigned size)
{
	for (unsigned i = offset; i < offset + size; i++)
		CHECK(stored[i] == loaded[i], "%s changed: byte %u is 0x%02x, was 0x%02x", what, i - offset, stored[i],
		      loaded[i]);
}

static void check_extended(void)
{
	memset(stored, 0, sizeof stored);
	xsave(stored, components);
	/* Bochs does not count PKRU as in use. */
	CHECK((get_le64(stored + XSTATE_BV) | (components & XCR0_PKRU)) == components, "XSTATE_BV changed to 0x%llx",
	      (unsigned long long)get_le64(stored + XSTATE_BV));
	compare("x87 control", 0, 5);
	compare("MXCSR", XSAVE_MXCSR_OFFSET, 4);
	for (unsigned i = 0; i < 8; i++)
		compare("x87", X87_REGISTERS + i * 16, 10);
	compare("XMM", XMM_REGISTERS, XMM_BYTES);
	for (unsigned i = FIRST_EXTENDED; i < COMPONENTS; i++) {
		struct cpuid_regs c;

		if (in_area(i, &c))
			compare("AVX", c.ebx, c.eax);
	}
	CHECK(!(components & XCR0_PKRU) || read_pkru() == pkru, "PKRU changed to 0x%x", read_pkru());
}

static void check_rest(void)
{
	CHECK(read_dr0() == dr[0] && read_dr1() == dr[1] && read_dr2() == dr[2] && read_dr3() == dr[3],
	      "a debug address changed");
	CHECK(read_dr7() == (DR7_INIT | DR7_LOCAL_EXECUTE), "DR7 changed to 0x%llx", (unsigned long long)read_dr7());
	CHECK(read_cr2() == cr2, "CR2 changed");
	CHECK(xgetbv(0) == components, "XCR0 changed");
	CHECK(!has_rdtscp || read_tsc_aux() == tsc_aux, "TSC_AUX changed to 0x%x", read_tsc_aux());
	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++)
		CHECK(rdmsr(msrs[i]) == msr_values[i], "MSR 0x%x changed", msrs[i]);
}

void guest_main(void)
{
	uint64_t seed = option("seed", 1), rounds = option("rounds", 100), spin = option("spin", 1000000);

	CHECK(cpuid(1, 0).ecx & CPUID_1C_XSAVE, "CPUID shows no XSAVE");
	has_rdtscp = cpuid(0x80000001, 0).edx & CPUID_E1D_RDTSCP;
	enable_components();
	print("fpu: components 0x%llx, %llu rounds of %llu ticks\n", (unsigned long long)components,
	      (unsigned long long)rounds, (unsigned long long)spin);
	for (uint64_t i = 0; i < rounds; i++) {
		load_all(&seed);
		spin_ticks(spin);
		cpuid(0, 0); /* an exit in between */
		check_extended();
		check_rest();
		if (i % 64 == 0)
			print("fpu: round %llu\n", (unsigned long long)i);
	}
}
