/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The privileged instructions, one inline function each. For floors 2 and 3
 * only (vmx/, firmware/); nothing pure may include it. A "memory" clobber means
 * that the compiler must not move accesses across, not that the CPU fences.
 *
 * Fault-tolerant accessors: an instruction that may raise #GP or #UD is listed
 * with a fix-up address in section .extable as two 64-bit addresses; the fault
 * handler (firmware/trap.c) resumes at the fix-up when it finds the faulting
 * RIP there. The linker script keeps the section between extable_start and
 * extable_end.
 */
#ifndef CORBEL_LIB_X86_ASM_H
#define CORBEL_LIB_X86_ASM_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/x86_regs.h"

/* One row of .extable. */
struct extable_entry {
	uint64_t fault_rip;
	uint64_t fixup_rip;
};

/* Assembler text that adds the row (local labels @from, @to); for inline assembly. */
#define EXTABLE_ROW(from, to) \
	".pushsection .extable, \"a\"\n\t.balign 8\n\t.quad " #from ", " #to "\n\t.popsection\n\t"

/* Operand of LGDT, SGDT, LIDT, SIDT in 64-bit mode. */
struct descriptor_ptr {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));
_Static_assert(sizeof(struct descriptor_ptr) == 10, "SDM 3A:3.5.1");

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r;

	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
	return r;
}

/* Model-specific registers. An absent one raises #GP: use the _safe form for optional ones. */
static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* False when the read faulted; then *value is unchanged. */
__attribute__((warn_unused_result)) static inline bool rdmsr_safe(uint32_t msr, uint64_t *value)
{
	uint32_t lo, hi;
	uint32_t ok = 0;

	__asm__ volatile("1: rdmsr\n\t"
			 "movl $1, %[ok]\n\t"
			 "2:\n\t" EXTABLE_ROW(1b, 2b)
			 : "=&a"(lo), "=&d"(hi), [ok] "+&r"(ok)
			 : "c"(msr));
	if (ok)
		*value = (uint64_t)hi << 32 | lo;
	return ok;
}

/* False when the write faulted; then the MSR is unchanged. */
__attribute__((warn_unused_result)) static inline bool wrmsr_safe(uint32_t msr, uint64_t value)
{
	uint32_t ok = 0;

	__asm__ volatile("1: wrmsr\n\t"
			 "movl $1, %[ok]\n\t"
			 "2:\n\t" EXTABLE_ROW(1b, 2b)
			 : [ok] "+&r"(ok)
			 : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
	return ok;
}

/* Extended control registers; CR4.OSXSAVE must be set. */
static inline uint64_t xgetbv(uint32_t index)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(index));
	return (uint64_t)hi << 32 | lo;
}

static inline void xsetbv(uint32_t index, uint64_t value)
{
	__asm__ volatile("xsetbv" : : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* False when the value was refused (#GP). */
__attribute__((warn_unused_result)) static inline bool xsetbv_safe(uint32_t index, uint64_t value)
{
	uint32_t ok = 0;

	__asm__ volatile("1: xsetbv\n\t"
			 "movl $1, %[ok]\n\t"
			 "2:\n\t" EXTABLE_ROW(1b, 2b)
			 : [ok] "+&r"(ok)
			 : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
	return ok;
}

/* @area: 64-byte aligned, large enough for the components in @mask (CPUID leaf 0xd). */
static inline void xsave(void *area, uint64_t mask)
{
	__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

static inline void xsaveopt(void *area, uint64_t mask)
{
	__asm__ volatile("xsaveopt64 (%0)" : : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

static inline void xsavec(void *area, uint64_t mask)
{
	__asm__ volatile("xsavec64 (%0)" : : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

static inline void xsaves(void *area, uint64_t mask)
{
	__asm__ volatile("xsaves64 (%0)" : : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

static inline void xrstor(const void *area, uint64_t mask)
{
	__asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

static inline void xrstors(const void *area, uint64_t mask)
{
	__asm__ volatile("xrstors64 (%0)" : : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

/* False when the area was refused (#GP), for areas that came from outside. */
__attribute__((warn_unused_result)) static inline bool xrstor_safe(const void *area, uint64_t mask)
{
	uint32_t ok = 0;

	__asm__ volatile("1: xrstor64 (%[area])\n\t"
			 "movl $1, %[ok]\n\t"
			 "2:\n\t" EXTABLE_ROW(1b, 2b)
			 : [ok] "+&r"(ok)
			 : [area] "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
			 : "memory");
	return ok;
}

/* Control registers. */
#define X86_ASM_CR(n)                                                                  \
	static inline uint64_t read_cr##n(void)                                        \
	{                                                                              \
		uint64_t v;                                                            \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(v));                      \
		return v;                                                              \
	}                                                                              \
	static inline void write_cr##n(uint64_t v)                                     \
	{                                                                              \
		__asm__ volatile("mov %0, %%cr" #n : : "r"(v) : "memory");             \
	}
X86_ASM_CR(0)
X86_ASM_CR(2)
X86_ASM_CR(3)
X86_ASM_CR(4)
X86_ASM_CR(8)
#undef X86_ASM_CR

/* Debug registers. */
#define X86_ASM_DR(n)                                                                  \
	static inline uint64_t read_dr##n(void)                                        \
	{                                                                              \
		uint64_t v;                                                            \
		__asm__ volatile("mov %%dr" #n ", %0" : "=r"(v));                      \
		return v;                                                              \
	}                                                                              \
	static inline void write_dr##n(uint64_t v)                                     \
	{                                                                              \
		__asm__ volatile("mov %0, %%dr" #n : : "r"(v) : "memory");             \
	}
X86_ASM_DR(0)
X86_ASM_DR(1)
X86_ASM_DR(2)
X86_ASM_DR(3)
X86_ASM_DR(6)
X86_ASM_DR(7)
#undef X86_ASM_DR

/* Ports. */
static inline uint8_t in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %w1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %w1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %w1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline void out8(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %w1" : : "a"(v), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t v) { __asm__ volatile("outw %0, %w1" : : "a"(v), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t v) { __asm__ volatile("outl %0, %w1" : : "a"(v), "Nd"(port)); }

/* @words 16-bit words from one port to memory, and the other way. */
static inline void in16s(uint16_t port, void *out, uint64_t words)
{
	__asm__ volatile("rep insw" : "+D"(out), "+c"(words) : "d"(port) : "memory");
}

static inline void out16s(uint16_t port, const void *in, uint64_t words)
{
	__asm__ volatile("rep outsw" : "+S"(in), "+c"(words) : "d"(port) : "memory");
}

/* Memory-mapped registers: one access of the stated width, in program order. */
static inline uint32_t mmio_read32(const volatile void *p) { return *(const volatile uint32_t *)p; }
static inline void mmio_write32(volatile void *p, uint32_t v) { *(volatile uint32_t *)p = v; }
static inline uint64_t mmio_read64(const volatile void *p) { return *(const volatile uint64_t *)p; }
static inline void mmio_write64(volatile void *p, uint64_t v) { *(volatile uint64_t *)p = v; }

/* Time stamp: not ordered against other instructions; add fence() where that matters. */
static inline uint64_t rdtsc(void)
{
	uint64_t lo, hi; /* the instruction clears the upper halves: no zero-extension on the exit path */

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return hi << 32 | lo;
}

/* RDTSC after all earlier instructions have completed (SDM 2B RDTSC: LFENCE first). */
static inline uint64_t rdtsc_ordered(void)
{
	uint32_t lo, hi;

	__asm__ volatile("lfence\n\trdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}

/* False when the generator had nothing ready (retry up to ten times, SDM 1:7.3.17.1). */
static inline bool rdrand64(uint64_t *out)
{
	uint64_t v;
	bool ok;

	__asm__ volatile("rdrand %0" : "=r"(v), "=@ccc"(ok));
	if (ok)
		*out = v;
	return ok;
}

/* The same of the entropy source behind it (SDM 1:7.3.17.2): it may run dry for a while. */
static inline bool rdseed64(uint64_t *out)
{
	uint64_t v;
	bool ok;

	__asm__ volatile("rdseed %0" : "=r"(v), "=@ccc"(ok));
	if (ok)
		*out = v;
	return ok;
}

/* Descriptor tables. */
static inline void lgdt(const struct descriptor_ptr *d) { __asm__ volatile("lgdt %0" : : "m"(*d) : "memory"); }
static inline void lidt(const struct descriptor_ptr *d) { __asm__ volatile("lidt %0" : : "m"(*d) : "memory"); }
static inline void sgdt(struct descriptor_ptr *d) { __asm__ volatile("sgdt %0" : "=m"(*d) : : "memory"); }
static inline void sidt(struct descriptor_ptr *d) { __asm__ volatile("sidt %0" : "=m"(*d) : : "memory"); }
static inline void ltr(uint16_t sel) { __asm__ volatile("ltr %0" : : "r"(sel) : "memory"); }
static inline void lldt(uint16_t sel) { __asm__ volatile("lldt %0" : : "r"(sel) : "memory"); }

#define X86_ASM_SEG(name)                                                              \
	static inline uint16_t read_##name(void)                                       \
	{                                                                              \
		uint16_t v;                                                            \
		__asm__ volatile("mov %%" #name ", %0" : "=r"(v));                     \
		return v;                                                              \
	}
X86_ASM_SEG(cs)
X86_ASM_SEG(ds)
X86_ASM_SEG(es)
X86_ASM_SEG(fs)
X86_ASM_SEG(gs)
X86_ASM_SEG(ss)
#undef X86_ASM_SEG

static inline uint16_t read_tr(void)
{
	uint16_t v;

	__asm__ volatile("str %0" : "=r"(v));
	return v;
}

/* TLB and caches. */
static inline void invlpg(const void *va) { __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory"); }
static inline void wbinvd(void) { __asm__ volatile("wbinvd" : : : "memory"); }
static inline void clflush(const volatile void *p) { __asm__ volatile("clflush (%0)" : : "r"(p) : "memory"); }
static inline void mfence(void) { __asm__ volatile("mfence" : : : "memory"); }
static inline void lfence(void) { __asm__ volatile("lfence" : : : "memory"); }

/* Interrupt flag and waiting. */
static inline void cli(void) { __asm__ volatile("cli" : : : "memory"); }
static inline void sti(void) { __asm__ volatile("sti" : : : "memory"); }
static inline void hlt(void) { __asm__ volatile("hlt" : : : "memory"); }
static inline void cpu_pause(void) { __asm__ volatile("pause" : : : "memory"); }

/*
 * Enables interrupts and halts with no gap between: STI holds interrupts off
 * for one instruction, so a wake-up cannot slip in before the HLT. Returns with
 * interrupts disabled again.
 */
static inline void sti_hlt_cli(void) { __asm__ volatile("sti\n\thlt\n\tcli" : : : "memory"); }

static inline uint64_t read_rflags(void)
{
	uint64_t v;

	__asm__ volatile("pushfq\n\tpopq %0" : "=r"(v) : : "memory");
	return v;
}

/* Masks interrupts; the result goes back into irq_restore(). Nests. */
static inline uint64_t irq_save(void)
{
	uint64_t flags = read_rflags();

	cli();
	return flags & RFLAGS_IF;
}

static inline void irq_restore(uint64_t saved)
{
	if (saved & RFLAGS_IF)
		sti();
}

/* SMAP: not needed while nothing is mapped for user mode, but vmx/ may test with it. */
static inline void clac(void) { __asm__ volatile("clac" : : : "memory"); }
static inline void stac(void) { __asm__ volatile("stac" : : : "memory"); }

#endif
