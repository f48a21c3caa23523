/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU set-up in the order that lets each step be reported when it fails: first
 * the tables that faults need, then features, then the bits that use them.
 */
#include "firmware/cpu.h"

#include <string.h>

#include "firmware/entropy.h"
#include "firmware/stack.h"
#include "firmware/trap.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/x86_asm.h"

#define GDT_CODE64 0x00af9b000000ffffull
#define GDT_DATA 0x00cf93000000ffffull
#define EARLY_STACK_BYTES 8192
#define IST_STACK_PAGES 4
#define XSAVE_LEGACY_BYTES (XSAVE_LEGACY_SIZE + XSAVE_HEADER_SIZE)
#define RDRAND_TRIES 10
#define RDSEED_TRIES 200
#define MIX_MULTIPLIER 0x9e3779b97f4a7c15ull /* 2^64 / golden ratio */

/* PAT: the first four entries are those that PWT and PCD select (paging.c uses WB and UC). */
#define PAT_HOST                                                                                   \
	(PAT_ENTRY(0, MEMTYPE_WB) | PAT_ENTRY(1, MEMTYPE_WC) | PAT_ENTRY(2, MEMTYPE_UC_MINUS) |     \
	 PAT_ENTRY(3, MEMTYPE_UC) | PAT_ENTRY(4, MEMTYPE_WB) | PAT_ENTRY(5, MEMTYPE_WP) |           \
	 PAT_ENTRY(6, MEMTYPE_UC_MINUS) | PAT_ENTRY(7, MEMTYPE_WT))

struct cpu_features the_cpu;

static struct percpu boot_cpu;
static uint8_t early_stack[EARLY_STACK_BYTES] __attribute__((aligned(16)));

/* TSS descriptor, SDM 3A:7.2.3: base and limit scattered over two slots. */
static void set_tss_descriptor(struct percpu *p)
{
	uint64_t base = (uint64_t)&p->tss, limit = sizeof(p->tss) - 1;

	p->gdt[SEL_TSS / 8] = limit | FIELD(base, 23, 0) << 16 | (uint64_t)SEG_TYPE_TSS_AVAIL << 40 | BIT(47) |
			      FIELD(base, 31, 24) << 56;
	p->gdt[SEL_TSS / 8 + 1] = base >> 32;
}

static void load_gdt(struct percpu *p)
{
	struct descriptor_ptr d = {.limit = sizeof(p->gdt) - 1, .base = (uint64_t)p->gdt};

	p->gdt[SEL_NULL / 8] = 0;
	p->gdt[SEL_CODE / 8] = GDT_CODE64;
	p->gdt[SEL_DATA / 8] = GDT_DATA;
	set_tss_descriptor(p);
	lgdt(&d);
	/* CS changes by a far return only; the data segments are flat and unused in 64-bit mode. */
	__asm__ volatile("pushq %[cs]\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n\t"
			 "1: movl %[ds], %%ds\n\t"
			 "movl %[ds], %%es\n\t"
			 "movl %[ds], %%ss\n\t"
			 "movl %[null], %%fs\n\t"
			 "movl %[null], %%gs\n\t"
			 :
			 : [cs] "i"(SEL_CODE), [ds] "r"(SEL_DATA), [null] "r"(SEL_NULL)
			 : "rax", "memory");
	ltr(SEL_TSS);
}

void cpu_early_init(void)
{
	struct percpu *p = &boot_cpu;
	uint64_t top = (uint64_t)early_stack + sizeof(early_stack);

	p->self = p;
	for (unsigned i = IST_NONE + 1; i < IST_COUNT; i++)
		p->tss.ist[i - 1] = top;
	p->tss.iomap_base = sizeof(p->tss);
	load_gdt(p);
	/* After load_gdt(): loading GS clears its base. */
	wrmsr(MSR_IA32_GS_BASE, (uint64_t)p);
	stack_register("early fault", top - sizeof(early_stack), top);
	trap_init();
}

static void copy_text(char *to, const uint32_t *words, unsigned count)
{
	memcpy(to, words, count * sizeof(words[0]));
	to[count * sizeof(words[0])] = '\0';
}

static void detect_names(void)
{
	struct cpuid_regs r = cpuid(CPUID_VENDOR, 0);
	uint32_t brand[12] = {0};

	the_cpu.max_leaf = r.eax;
	copy_text(the_cpu.vendor, (uint32_t[]){r.ebx, r.edx, r.ecx}, 3);
	the_cpu.max_ext_leaf = cpuid(CPUID_EXT_MAX, 0).eax;
	for (unsigned i = 0; i < 3 && the_cpu.max_ext_leaf >= CPUID_BRAND2; i++) {
		r = cpuid(CPUID_BRAND0 + i, 0);
		memcpy(&brand[i * 4], &r, sizeof(r));
	}
	copy_text(the_cpu.brand, brand, ARRAY_SIZE(brand));
}

/* User state that the host switches: all of x87, SSE, AVX, AVX-512 and PKRU that the CPU offers. */
static void detect_xsave(void)
{
	const uint64_t wanted = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU;
	struct cpuid_regs r;

	if (!the_cpu.xsave || the_cpu.max_leaf < CPUID_XSAVE) {
		the_cpu.xsave = false;
		return;
	}
	r = cpuid(CPUID_XSAVE, 0);
	the_cpu.xcr0 = ((uint64_t)r.edx << 32 | r.eax) & wanted;
	the_cpu.xsaveopt = cpuid(CPUID_XSAVE, 1).eax & CPUID_D1A_XSAVEOPT;
	/* Offsets are fixed in the standard format: the size is where the last component ends. */
	the_cpu.xsave_bytes = XSAVE_LEGACY_BYTES;
	for (unsigned i = bit_highest(XCR0_AVX); i < 64; i++) {
		if (!(the_cpu.xcr0 & BIT(i)))
			continue;
		r = cpuid(CPUID_XSAVE, i);
		the_cpu.xsave_bytes = MAX(the_cpu.xsave_bytes, r.ebx + r.eax);
	}
}

void cpu_detect(void)
{
	struct cpuid_regs one, seven = {0}, ext = {0};

	detect_names();
	one = cpuid(CPUID_FEATURES, 0);
	if (the_cpu.max_leaf >= CPUID_EXTENDED_FEATURES)
		seven = cpuid(CPUID_EXTENDED_FEATURES, 0);
	if (the_cpu.max_ext_leaf >= CPUID_EXT_FEATURES)
		ext = cpuid(CPUID_EXT_FEATURES, 0);
	the_cpu.signature = one.eax;
	the_cpu.vmx = one.ecx & CPUID_1C_VMX;
	the_cpu.x2apic = one.ecx & CPUID_1C_X2APIC;
	the_cpu.tsc_deadline = one.ecx & CPUID_1C_TSC_DEADLINE;
	the_cpu.rdrand = one.ecx & CPUID_1C_RDRAND;
	the_cpu.xsave = one.ecx & CPUID_1C_XSAVE;
	the_cpu.pge = one.edx & CPUID_1D_PGE;
	the_cpu.pat = one.edx & CPUID_1D_PAT;
	the_cpu.mtrr = one.edx & CPUID_1D_MTRR;
	the_cpu.mce = one.edx & CPUID_1D_MCE;
	the_cpu.rdseed = seven.ebx & CPUID_7B_RDSEED;
	the_cpu.smep = seven.ebx & CPUID_7B_SMEP;
	the_cpu.smap = seven.ebx & CPUID_7B_SMAP;
	the_cpu.umip = seven.ecx & CPUID_7C_UMIP;
	the_cpu.nx = ext.edx & CPUID_E1D_NX;
	the_cpu.page_1g = ext.edx & CPUID_E1D_PAGE1GB;
	if (the_cpu.max_ext_leaf >= CPUID_EXT_POWER)
		the_cpu.invariant_tsc = cpuid(CPUID_EXT_POWER, 0).edx & CPUID_E7D_INVARIANT_TSC;
	the_cpu.phys_bits = 36;
	the_cpu.linear_bits = 48;
	if (the_cpu.max_ext_leaf >= CPUID_EXT_ADDRESS) {
		uint32_t sizes = cpuid(CPUID_EXT_ADDRESS, 0).eax;

		the_cpu.phys_bits = FIELD(sizes, 7, 0);
		the_cpu.linear_bits = FIELD(sizes, 15, 8);
	}
	detect_xsave();
}

static uint64_t cr4_wanted(void)
{
	uint64_t cr4 = CR4_PAE | CR4_DE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	if (the_cpu.pge)
		cr4 |= CR4_PGE;
	if (the_cpu.mce)
		cr4 |= CR4_MCE; /* a machine check without it shuts the machine down silently */
	if (the_cpu.smep)
		cr4 |= CR4_SMEP;
	if (the_cpu.smap)
		cr4 |= CR4_SMAP;
	if (the_cpu.umip)
		cr4 |= CR4_UMIP;
	if (the_cpu.xsave)
		cr4 |= CR4_OSXSAVE;
	return cr4;
}

enum status cpu_enable(struct error *err)
{
	if (!the_cpu.nx || !the_cpu.pat || !the_cpu.xsave)
		return fail(err, ST_UNSUPPORTED, "this processor (%s) lacks what Corbel needs:%s%s%s", the_cpu.vendor,
			    the_cpu.nx ? "" : " no-execute pages", the_cpu.pat ? "" : " PAT",
			    the_cpu.xsave ? "" : " XSAVE");
	write_cr0(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE);
	write_cr4(cr4_wanted());
	wrmsr(MSR_IA32_EFER, EFER_LME | EFER_LMA | EFER_NXE);
	/* Entries 1, 5 and 7 change type; nothing has been mapped by them. */
	wrmsr(MSR_IA32_PAT, PAT_HOST);
	xsetbv(0, the_cpu.xcr0);
	return ST_OK;
}

enum status cpu_create_ist_stacks(void)
{
	static const char *const names[IST_COUNT] = {
		[IST_DOUBLE_FAULT] = "double fault",
		[IST_NMI] = "nmi",
		[IST_MACHINE_CHECK] = "machine check",
		[IST_FAULT] = "fault",
		[IST_NESTED] = "nested fault",
	};

	for (unsigned i = IST_NONE + 1; i < IST_COUNT; i++) {
		uint64_t top;
		enum status st = stack_create(names[i], IST_STACK_PAGES, &top);

		if (st != ST_OK)
			return st;
		this_cpu()->tss.ist[i - 1] = top;
	}
	return ST_OK;
}

uint64_t hv_seed(void)
{
	uint64_t random = 0;

	for (int i = 0; the_cpu.rdrand && i < RDRAND_TRIES; i++)
		if (rdrand64(&random))
			break;
	return random ^ rdtsc() * MIX_MULTIPLIER;
}

enum status cpu_entropy(void *out, size_t len, struct error *err)
{
	static struct entropy e = {
		.source = {{.name = "RDSEED", .tries = RDSEED_TRIES}, {.name = "RDRAND", .tries = RDRAND_TRIES}},
	};

	e.source[0].next = the_cpu.rdseed ? rdseed64 : NULL;
	e.source[1].next = the_cpu.rdrand ? rdrand64 : NULL;
	return entropy_fill(&e, out, len, err);
}
