/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an exit costs, seen from inside a guest: for each operation the least TSC
 * difference of 256 samples around it, less that of an empty pair with the same
 * register moves, printed as `bench NAME ticks`. Where a tick is an instruction
 * (the emulator with sync=none) these are instructions. What this machine does
 * not have is left out. The operations and their names are those of docs/bench.md.
 */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "guest_exits";

#define SAMPLES 256u
#define VECTOR 0x81
#define PORT_UART_LSR 0x3fdu
#define PORT_POST 0x80u
#define IOAPIC_WINDOW 0xfec00010ull
#define HOLE 0xb0000000ull
#define RNG_CONFIG 0xe0008000ull /* ECAM: bus 0, slot 1, the entropy device */
#define RNG_PORTS 0x10u          /* its BARs: notify by port, registers */
#define RNG_MEMORY 0x20u
#define RNG_NOTIFY 0x3000u
#define UNKNOWN_HYPERCALL 0x7fffu
#define HLT_TICKS 20000u
#define IDLE_TICKS 20000000ull /* for the host to clear memory ahead */
#define PAGE 4096u
#define LARGE 0x200000ull

/* Operands of one operation, moved into place between the two readings. */
struct operands {
	uint32_t a, d, c;
	uint64_t di;
};

static uint32_t samples[SAMPLES];
static uint32_t empty;

/* rdtsc, the moves, the operation, rdtsc; the difference in eax. */
#define PAIR(op)                    \
	"rdtsc\n\t"                 \
	"movl %%eax, %%r8d\n\t"     \
	"movl %[a], %%eax\n\t"      \
	"movl %[d], %%edx\n\t"      \
	"movl %[c], %%ecx\n\t"      \
	op "\n\t"                   \
	"rdtsc\n\t"                 \
	"subl %%r8d, %%eax\n\t"

#define ONCE(op, o)                                                                               \
	({                                                                                        \
		uint32_t ticks_;                                                                  \
		__asm__ volatile(PAIR(op)                                                         \
				 : "=&a"(ticks_)                                                  \
				 : [a] "r"((o).a), [d] "r"((o).d), [c] "r"((o).c), "D"((o).di)    \
				 : "rcx", "rdx", "rbx", "r8", "memory");                          \
		ticks_;                                                                           \
	})

/*
 * 256 copies of the same code, each with an encoding of its own: @op names its operand k(%rdi), where k counts up
 * and rdi down, so that the address stays and nothing that was decoded serves again.
 */
#define EACH_ELSEWHERE(op, o)                                                                          \
	do {                                                                                           \
		uint32_t *out_ = samples;                                                              \
		uint64_t di_ = (o).di;                                                                 \
		__asm__ volatile(".set k, 0\n\t.rept 256\n\t" PAIR(op) "movl %%eax, (%[out])\n\t"    \
				 "addq $4, %[out]\n\tdecq %%rdi\n\t.set k, k + 1\n\t.endr"           \
				 : [out] "+&r"(out_), "+D"(di_)                                        \
				 : [a] "r"((o).a), [d] "r"((o).d), [c] "r"((o).c)                      \
				 : "rax", "rcx", "rdx", "rbx", "r8", "memory");                        \
	} while (0)

#define MEASURE(name, op, o)                              \
	do {                                              \
		for (unsigned i_ = 0; i_ < SAMPLES; i_++) \
			samples[i_] = ONCE(op, o);        \
		report(name);                             \
	} while (0)

static uint32_t least(void)
{
	uint32_t min = UINT32_MAX;

	for (unsigned i = 0; i < SAMPLES; i++)
		min = MIN(min, samples[i]);
	return min;
}

static uint32_t most(void)
{
	uint32_t max = 0;

	for (unsigned i = 0; i < SAMPLES; i++)
		max = MAX(max, samples[i]);
	return max;
}

static void report(const char *name)
{
	print("bench %s %d\n", name, (int)(least() - empty));
}

static void measure_empty(void)
{
	struct operands none = {0};

	for (unsigned i = 0; i < SAMPLES; i++)
		samples[i] = ONCE("", none);
	empty = least();
	print("bench empty_pair %u\n", empty);
}

static void plain_exits(void)
{
	struct operands none = {0}, apic_base = {.c = MSR_IA32_APIC_BASE}, lsr = {.d = PORT_UART_LSR},
			post = {.d = PORT_POST}, call = {.a = UNKNOWN_HYPERCALL}, efer = {.c = MSR_IA32_EFER};

	efer.a = (uint32_t)rdmsr(MSR_IA32_EFER);
	MEASURE("cpuid", "cpuid", none);
	MEASURE("rdmsr_apic_base", "rdmsr", apic_base);
	MEASURE("wrmsr_efer", "wrmsr", efer);
	if (TRY("vmcall", "a"(UNKNOWN_HYPERCALL) : "memory"))
		MEASURE("vmcall", "vmcall", call);
	MEASURE("in_uart_lsr", "inb %%dx, %%al", lsr);
	MEASURE("out_port_80", "outb %%al, %%dx", post);
}

static void mmio(const char *first_read, const char *read, const char *first_write, const char *write, uint64_t at)
{
	struct operands o = {.di = at};

	EACH_ELSEWHERE("movl k(%%rdi), %%eax", o);
	report(first_read);
	print("bench %s_worst %u\n", first_read, most() - empty);
	MEASURE(read, "movl (%%rdi), %%eax", o);
	EACH_ELSEWHERE("movl %%eax, k(%%rdi)", o);
	report(first_write);
	MEASURE(write, "movl %%eax, (%%rdi)", o);
}

/* A driver's kick of a queue with nothing in it: what the way to the device costs, by port and by device memory. */
static void kicks(void)
{
	const volatile uint32_t *ports = (const volatile uint32_t *)(RNG_CONFIG + RNG_PORTS);
	const volatile uint32_t *memory = (const volatile uint32_t *)(RNG_CONFIG + RNG_MEMORY);
	struct operands by_port = {.d = *ports & ~3u}, by_memory = {.di = (*memory & ~0xfu) + RNG_NOTIFY};

	MEASURE("kick_port", "outw %%ax, %%dx", by_port);
	MEASURE("kick_memory", "movw %%ax, (%%rdi)", by_memory);
	EACH_ELSEWHERE("movw %%ax, k(%%rdi)", by_memory);
	report("kick_memory_first");
}

/* The shortest handler that ends its interrupt; its first instruction reads the TSC for those who want it. */
static volatile uint64_t handler_tsc;
void bench_handler(void);
__asm__(".text\n"
	"bench_handler:\n\t"
	"pushq %rax\n\tpushq %rcx\n\tpushq %rdx\n\t"
	"movl $0x80b, %ecx\n\txorl %eax, %eax\n\txorl %edx, %edx\n\twrmsr\n\t"
	"popq %rdx\n\tpopq %rcx\n\tpopq %rax\n\tiretq\n"
	"bench_handler_tsc:\n\t"
	"pushq %rax\n\tpushq %rdx\n\t"
	"rdtsc\n\tmovl %eax, handler_tsc\n\tmovl %edx, handler_tsc+4\n\t"
	"popq %rdx\n\tpopq %rax\n\t"
	"jmp bench_handler");
void bench_handler_tsc(void);

/* From the WRMSR of @msr, interrupts enabled, to the handler's RDTSC: with two pushes and moves of the guest's own. */
static void to_handler(const char *name, uint32_t msr, uint64_t value)
{
	uint64_t start;

	set_gate(VECTOR, bench_handler_tsc);
	__asm__ volatile("sti");
	for (unsigned i = 0; i < SAMPLES; i++) {
		handler_tsc = 0;
		start = rdtsc();
		wrmsr(msr, value);
		while (handler_tsc == 0)
			__asm__ volatile("" ::: "memory");
		samples[i] = (uint32_t)(handler_tsc - start) + empty;
	}
	__asm__ volatile("cli");
	report(name);
	set_gate(VECTOR, bench_handler);
}

static void x2apic(void)
{
	struct operands id = {.c = MSR_X2APIC_ID}, eoi = {.c = MSR_X2APIC_EOI},
			self = {.a = VECTOR, .c = MSR_X2APIC_SELF_IPI},
			icr = {.a = VECTOR | (uint32_t)APIC_ICR_SELF, .c = MSR_X2APIC_ICR};

	apic_set_mode(APIC_X2APIC);
	set_gate(VECTOR, bench_handler);
	MEASURE("rdmsr_x2apic_id", "rdmsr", id);
	MEASURE("x2apic_eoi", "wrmsr", eoi);
	MEASURE("self_ipi_msr", "wrmsr\n\tsti\n\tnop\n\tcli", self);
	MEASURE("self_ipi_icr", "wrmsr\n\tsti\n\tnop\n\tcli", icr);
	to_handler("self_ipi_msr_to_handler", MSR_X2APIC_SELF_IPI, VECTOR);
	to_handler("self_ipi_icr_to_handler", MSR_X2APIC_ICR, VECTOR | APIC_ICR_SELF);
}

static void tsc_deadline(void)
{
	struct operands far = {.c = MSR_IA32_TSC_DEADLINE};
	uint64_t at = rdtsc() + BIT(40);

	far.a = (uint32_t)at;
	far.d = (uint32_t)(at >> 32);
	apic_write(APIC_REG_LVT_TIMER, APIC_TIMER_TSC_DEADLINE | VECTOR);
	MEASURE("tsc_deadline_rearm", "wrmsr", far);
	set_gate(VECTOR, bench_handler_tsc);
	for (unsigned i = 0; i < SAMPLES; i++) {
		at = rdtsc() + HLT_TICKS;
		wrmsr(MSR_IA32_TSC_DEADLINE, at);
		handler_tsc = 0;
		while (handler_tsc == 0)
			halt();
		samples[i] = (uint32_t)(handler_tsc - at) + empty;
	}
	report("hlt_to_timer_beyond_deadline");
	apic_write(APIC_REG_LVT_TIMER, APIC_LVT_MASKED);
}

/* ---- first touches ---- */

static uint32_t touch(uint64_t page)
{
	struct operands o = {.di = page};

	return ONCE("movb %%al, (%%rdi)", o);
}

/* Sleeps, so that the host may use the time to clear memory. */
static void let_host_idle(void)
{
	uint64_t end = rdtsc() + IDLE_TICKS;

	set_gate(VECTOR, bench_handler);
	apic_write(APIC_REG_LVT_TIMER, APIC_TIMER_TSC_DEADLINE | VECTOR);
	while (rdtsc() < end) {
		wrmsr(MSR_IA32_TSC_DEADLINE, end);
		halt();
	}
	apic_write(APIC_REG_LVT_TIMER, APIC_LVT_MASKED);
}

/* The RAM that this program lies in, from behind it on: [*start, *end). */
static void find_ram(uint64_t *start, uint64_t *end)
{
	*start = ((uint64_t)image_end + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	*end = 0;
	for (unsigned i = 0; i < boot.ranges; i++) {
		const struct range *r = &boot.map[i];

		if (r->type == 1 && *start >= r->start && *start < r->start + r->size)
			*end = r->start + r->size;
	}
	CHECK(*end > 2 * LARGE, "too little memory to touch");
}

/* The end of RAM, in pages of 4 KiB because it is less than 2 MiB: the VM's size is chosen so. */
static void touch_small_pages(uint64_t at, uint64_t end)
{
	unsigned i;

	CHECK(at < end, "RAM ends on 2 MiB");
	for (i = 0; i < SAMPLES && at < end; at += PAGE)
		samples[i++] = touch(at);
	while (i < SAMPLES)
		samples[i++] = UINT32_MAX;
	report("touch_4k_pool");
}

/*
 * Below, leaves of 2 MiB come as long as the host has cleared ones; a second touch there costs nothing. Then
 * come single pages until their pool is empty, and at last pages cleared on the spot: the end of a long row.
 */
static void touch_the_rest(uint64_t end)
{
	uint32_t leaf = UINT32_MAX, second = UINT32_MAX, worst = 0, ticks;
	unsigned i = 0;

	for (uint64_t at = LARGE; at < end; at += PAGE) {
		ticks = touch(at);
		worst = MAX(worst, ticks);
		if (at % LARGE == 0)
			leaf = MIN(leaf, ticks);
		else if (at % LARGE == PAGE)
			second = MIN(second, ticks);
		samples[i++ % SAMPLES] = ticks;
	}
	print("bench touch_2m_leaf %u\n", leaf - empty);
	print("bench touch_in_2m_mapped %u\n", second - empty);
	if (least() - empty > 1)
		report("touch_4k_inline");
	print("bench touch_worst %u\n", worst - empty);
}

static void first_touches(void)
{
	uint64_t start, end;

	find_ram(&start, &end);
	let_host_idle();
	touch_small_pages(end & ~(LARGE - 1), end);
	touch_the_rest(end & ~(LARGE - 1));
}

/* The last of all: from the 33rd write on, the MSR is ours, and every exit pays for that. */
static void speculation_control(void)
{
	struct operands none = {0}, spec_ctrl = {.c = MSR_IA32_SPEC_CTRL};

	if (!(cpuid(CPUID_EXTENDED_FEATURES, 0).edx & (CPUID_7D_STIBP | CPUID_7D_SSBD)))
		return;
	MEASURE("wrmsr_spec_ctrl", "wrmsr", spec_ctrl);
	MEASURE("rdmsr_spec_ctrl", "rdmsr", spec_ctrl);
	MEASURE("cpuid_with_spec_ctrl", "cpuid", none);
}

void guest_main(void)
{
	measure_empty();
	plain_exits();
	mmio("mmio_read_first", "mmio_read", "mmio_write_first", "mmio_write", IOAPIC_WINDOW);
	mmio("hole_read_first", "hole_read", "hole_write_first", "hole_write", HOLE);
	kicks();
	if (!(cpuid(1, 0).ecx & CPUID_1C_X2APIC))
		return;
	x2apic();
	if (!(cpuid(1, 0).ecx & CPUID_1C_TSC_DEADLINE))
		return;
	tsc_deadline();
	first_touches();
	speculation_control();
}
