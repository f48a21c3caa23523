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
#include "lib/assert.h"
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
static struct percpu *cpus[CPUS_MAX] = {&boot_cpu};
unsigned cpu_count = 1;
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

struct percpu *percpu_of(unsigned index)
{
	ASSERT(index < cpu_count);
	return cpus[index];
}

void cpu_add(struct percpu *p)
{
	ASSERT(p->id == cpu_count && cpu_count < CPUS_MAX);
	cpus[p->id] = p;
	__atomic_store_n(&cpu_count, cpu_count + 1, __ATOMIC_RELEASE);
}

static void load_segments(struct percpu *p)
{
	p->self = p;
	p->tss.iomap_base = sizeof(p->tss);
	load_gdt(p);
	/* After load_gdt(): loading GS clears its base. */
	wrmsr(MSR_IA32_GS_BASE, (uint64_t)p);
}

void cpu_early_init(void)
{
	uint64_t top = (uint64_t)early_stack + sizeof(early_stack);

	for (unsigned i = IST_NONE + 1; i < IST_COUNT; i++)
		boot_cpu.tss.ist[i - 1] = top;
	load_segments(&boot_cpu);
	stack_register("early fault", top - sizeof(early_stack), top);
	trap_init();
}

void cpu_load_tables(struct percpu *p)
{
	load_segments(p);
	trap_load_idt();
}

static void copy_text(char *to, const uint32_t *words, unsigned count)
{
	memcpy(to, words, count * sizeof(words[0]));
	to[count * sizeof(words[0])] = '\0';
}

static void detect_names(struct cpu_features *f)
{
	struct cpuid_regs r = cpuid(CPUID_VENDOR, 0);
	uint32_t brand[12] = {0};

	f->max_leaf = r.eax;
	copy_text(f->vendor, (uint32_t[]){r.ebx, r.edx, r.ecx}, 3);
	f->max_ext_leaf = cpuid(CPUID_EXT_MAX, 0).eax;
	for (unsigned i = 0; i < 3 && f->max_ext_leaf >= CPUID_BRAND2; i++) {
		r = cpuid(CPUID_BRAND0 + i, 0);
		memcpy(&brand[i * 4], &r, sizeof(r));
	}
	copy_text(f->brand, brand, ARRAY_SIZE(brand));
}

/* User state that the host switches: all of x87, SSE, AVX, AVX-512 and PKRU that the CPU offers. */
static void detect_xsave(struct cpu_features *f)
{
	const uint64_t wanted = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU;
	struct cpuid_regs r;

	if (!f->xsave || f->max_leaf < CPUID_XSAVE) {
		f->xsave = false;
		return;
	}
	r = cpuid(CPUID_XSAVE, 0);
	f->xcr0 = ((uint64_t)r.edx << 32 | r.eax) & wanted;
	f->xsaveopt = cpuid(CPUID_XSAVE, 1).eax & CPUID_D1A_XSAVEOPT;
	/* Offsets are fixed in the standard format: the size is where the last component ends. */
	f->xsave_bytes = XSAVE_LEGACY_BYTES;
	for (unsigned i = bit_highest(XCR0_AVX); i < 64; i++) {
		if (!(f->xcr0 & BIT(i)))
			continue;
		r = cpuid(CPUID_XSAVE, i);
		f->xsave_bytes = MAX(f->xsave_bytes, r.ebx + r.eax);
	}
}

static void detect(struct cpu_features *f)
{
	struct cpuid_regs one, seven = {0}, ext = {0};

	detect_names(f);
	one = cpuid(CPUID_FEATURES, 0);
	if (f->max_leaf >= CPUID_EXTENDED_FEATURES)
		seven = cpuid(CPUID_EXTENDED_FEATURES, 0);
	if (f->max_ext_leaf >= CPUID_EXT_FEATURES)
		ext = cpuid(CPUID_EXT_FEATURES, 0);
	f->signature = one.eax;
	f->vmx = one.ecx & CPUID_1C_VMX;
	f->x2apic = one.ecx & CPUID_1C_X2APIC;
	f->tsc_deadline = one.ecx & CPUID_1C_TSC_DEADLINE;
	f->rdrand = one.ecx & CPUID_1C_RDRAND;
	f->xsave = one.ecx & CPUID_1C_XSAVE;
	f->pge = one.edx & CPUID_1D_PGE;
	f->pat = one.edx & CPUID_1D_PAT;
	f->mtrr = one.edx & CPUID_1D_MTRR;
	f->mce = one.edx & CPUID_1D_MCE;
	f->rdseed = seven.ebx & CPUID_7B_RDSEED;
	f->smep = seven.ebx & CPUID_7B_SMEP;
	f->smap = seven.ebx & CPUID_7B_SMAP;
	f->umip = seven.ecx & CPUID_7C_UMIP;
	f->nx = ext.edx & CPUID_E1D_NX;
	f->page_1g = ext.edx & CPUID_E1D_PAGE1GB;
	if (f->max_ext_leaf >= CPUID_EXT_POWER)
		f->invariant_tsc = cpuid(CPUID_EXT_POWER, 0).edx & CPUID_E7D_INVARIANT_TSC;
	f->phys_bits = 36;
	f->linear_bits = 48;
	if (f->max_ext_leaf >= CPUID_EXT_ADDRESS) {
		uint32_t sizes = cpuid(CPUID_EXT_ADDRESS, 0).eax;

		f->phys_bits = FIELD(sizes, 7, 0);
		f->linear_bits = FIELD(sizes, 15, 8);
	}
	detect_xsave(f);
}

void cpu_detect(void)
{
	detect(&the_cpu);
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

/* Registers that must be the same on all CPUs. */
struct control {
	uint64_t cr0, cr4, efer, pat, xcr0;
};

static struct control boot_control;

static void read_control(struct control *c)
{
	c->cr0 = read_cr0();
	c->cr4 = read_cr4();
	c->efer = rdmsr(MSR_IA32_EFER);
	c->pat = rdmsr(MSR_IA32_PAT);
	c->xcr0 = xgetbv(0);
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
	if (this_cpu()->id == 0)
		read_control(&boot_control);
	return ST_OK;
}

static enum status compare(const char *what, uint64_t here, uint64_t boot, struct error *err)
{
	if (here == boot)
		return ST_OK;
	return fail(err, ST_UNSUPPORTED, "its %s is 0x%llx, the boot CPU's 0x%llx", what, (unsigned long long)here,
		    (unsigned long long)boot);
}

struct compared {
	const char *what;
	uint64_t here, boot;
};

static enum status compare_all(const struct compared *rows, unsigned count, struct error *err)
{
	enum status st = ST_OK;

	for (unsigned i = 0; i < count && st == ST_OK; i++)
		st = compare(rows[i].what, rows[i].here, rows[i].boot, err);
	return st;
}

/* The features as one number each: the flags of struct cpu_features lie side by side. */
static uint64_t flags_of(const struct cpu_features *f)
{
	const bool flags[] = {f->nx, f->page_1g, f->smep, f->smap, f->umip, f->pge, f->pat, f->mtrr, f->mce, f->x2apic,
			      f->tsc_deadline, f->invariant_tsc, f->rdrand, f->rdseed, f->vmx, f->xsave, f->xsaveopt};
	uint64_t bits = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++)
		bits |= (uint64_t)flags[i] << i;
	return bits;
}

static enum status compare_features(struct error *err)
{
	struct cpu_features f = {0};

	detect(&f);
	return compare_all((struct compared[]){
		{"model (leaf 1 EAX)", f.signature & ~CPUID_1A_STEPPING_MASK, the_cpu.signature & ~CPUID_1A_STEPPING_MASK},
		{"set of features", flags_of(&f), flags_of(&the_cpu)},
		{"width of physical addresses", f.phys_bits, the_cpu.phys_bits},
		{"width of linear addresses", f.linear_bits, the_cpu.linear_bits},
		{"set of XSAVE components", f.xcr0, the_cpu.xcr0},
		{"XSAVE area size", f.xsave_bytes, the_cpu.xsave_bytes},
	}, 6, err);
}

enum status cpu_enable_same(struct error *err)
{
	struct control c;
	enum status st = compare_features(err);

	if (st == ST_OK)
		st = cpu_enable(err);
	if (st != ST_OK)
		return st;
	read_control(&c);
	return compare_all((struct compared[]){
		{"CR0", c.cr0, boot_control.cr0},
		{"CR4", c.cr4, boot_control.cr4},
		{"IA32_EFER", c.efer, boot_control.efer},
		{"IA32_PAT", c.pat, boot_control.pat},
		{"XCR0", c.xcr0, boot_control.xcr0},
	}, 5, err);
}

enum status cpu_create_ist_stacks(struct percpu *p)
{
	static const char *const names[IST_COUNT] = {
		[IST_DOUBLE_FAULT] = "double fault",
		[IST_NMI] = "nmi",
		[IST_MACHINE_CHECK] = "machine check",
		[IST_FAULT] = "fault",
		[IST_NESTED] = "nested fault",
	};
	char name[STACK_NAME_MAX];

	for (unsigned i = IST_NONE + 1; i < IST_COUNT; i++) {
		uint64_t top;
		enum status st;

		stack_name(name, p->id, names[i]);
		st = stack_create(name, IST_STACK_PAGES, &top);
		if (st != ST_OK) {
			cpu_destroy_ist_stacks(p);
			return st;
		}
		p->tss.ist[i - 1] = top;
	}
	return ST_OK;
}

void cpu_destroy_ist_stacks(struct percpu *p)
{
	/* The boot CPU's early one is none of these. */
	for (unsigned i = 0; i < IST_COUNT - 1 && p != &boot_cpu; i++) {
		if (p->tss.ist[i])
			stack_destroy(p->tss.ist[i]);
		p->tss.ist[i] = 0;
	}
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
