/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupt controllers and timers, step by step, each step printed when it
 * holds: xAPIC by memory, x2APIC by MSR, priorities, self-IPI, NMI, one-shot,
 * periodic and TSC-deadline timers, the PICs through LINT0, the PIT through the
 * IO-APIC, and every clock against the TSC. The word "shared" says that other
 * guests want the CPU too. The word "lenient" lets a machine pass that lacks
 * x2APIC or TSC-deadline, keeps a deadline that has passed, or cannot switch its
 * APIC back on (QEMU's TCG the first, Bochs the others).
 */
#include "tests/guests/lib/acpi.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "apic";

#define VECTOR_A 0x45
#define VECTOR_B 0x86
#define VECTOR_TIMER 0x51
#define VECTOR_PIT 0x52
#define PIC_BASE 0x30
#define LEAF_TSC 0x15u
#define PIT_COUNT 59659u /* 50 ms */
#define ATTEMPTS 32u
#define SETTLE_TICKS 20000u
#define PATIENCE_SECONDS 2u
#define NMI_ROUNDS 100u /* where others want the CPU */

static struct {
	volatile unsigned count;
	volatile uint64_t last; /* TSC of the latest */
} seen[VEC_COUNT];
static volatile uint8_t order[8];
static volatile unsigned order_len;

static void note(struct trap_frame *f)
{
	seen[f->vector].last = rdtsc();
	seen[f->vector].count++;
	if (order_len < sizeof order)
		order[order_len++] = (uint8_t)f->vector;
}

static void on_apic(struct trap_frame *f)
{
	note(f);
	apic_eoi();
}

static void on_pic(struct trap_frame *f)
{
	note(f);
	pic_eoi((unsigned)f->vector - PIC_BASE);
}

static void clear(void)
{
	for (unsigned i = 0; i < VEC_COUNT; i++)
		seen[i].count = 0;
	order_len = 0;
}

/* Interrupts on for a moment. */
static void open_window(void)
{
	sti();
	spin_ticks(SETTLE_TICKS);
	cli();
}

/* Waits, interrupts on, until @vector came @count times; false when it takes too long. */
static bool await(unsigned vector, unsigned count)
{
	uint64_t end = rdtsc() + PATIENCE_SECONDS * tsc_hz();

	sti();
	while (seen[vector].count < count && rdtsc() < end)
		cpu_pause();
	cli();
	return seen[vector].count >= count;
}

static void step(const char *what)
{
	print("apic: %s ok\n", what);
}

/*
 * What @measure gives is @expected within 1 in @parts. Whoever shares the CPU may take it away in the middle of a
 * measurement, therefore the best of some counts, with pauses of different length: in step with the turns all
 * attempts would meet the same fate.
 */
static void check_rate(const char *what, uint64_t (*measure)(void), uint64_t expected, unsigned parts)
{
	uint64_t measured = 0, off = UINT64_MAX;

	for (unsigned i = 0; i < ATTEMPTS && off > expected / parts; i++) {
		spin_ticks(i * tsc_hz() / 700);
		measured = measure();
		off = measured > expected ? measured - expected : expected - measured;
	}
	print("apic: %s %llu, expected %llu\n", what, (unsigned long long)measured, (unsigned long long)expected);
	CHECK(off <= expected / parts, "%s is off by more than 1/%u", what, parts);
}

/* Bit @vector of the 256-bit register that begins at @reg. */
static bool has_bit(unsigned reg, unsigned vector)
{
	return apic_read(reg + APIC_REG_STEP * (vector / 32)) >> (vector % 32) & 1;
}

static void self_ipi(void)
{
	clear();
	apic_send_self(VECTOR_A);
	CHECK(has_bit(APIC_REG_IRR, VECTOR_A), "IRR does not show the request");
	CHECK(seen[VECTOR_A].count == 0, "an interrupt came with interrupts off");
	open_window();
	CHECK(seen[VECTOR_A].count == 1, "self-IPI: %u deliveries", seen[VECTOR_A].count);
	CHECK(!has_bit(APIC_REG_IRR, VECTOR_A), "IRR still shows it");
	CHECK(!has_bit(APIC_REG_ISR, VECTOR_A), "EOI did not end it");
}

static void priorities(void)
{
	clear();
	apic_send_self(VECTOR_A);
	apic_send_self(VECTOR_B);
	open_window();
	CHECK(order_len == 2 && order[0] == VECTOR_B && order[1] == VECTOR_A, "wrong order of two requests");
	clear();
	apic_write(APIC_REG_TPR, VECTOR_A & 0xf0);
	apic_send_self(VECTOR_A);
	apic_send_self(VECTOR_B);
	open_window();
	CHECK(order_len == 1 && order[0] == VECTOR_B, "TPR does not hold its class back");
	CHECK(read_cr8() == VECTOR_A >> 4, "CR8 does not show the TPR");
	write_cr8(0);
	open_window();
	CHECK(order_len == 2 && apic_read(APIC_REG_TPR) == 0, "lowering CR8 did not let the interrupt in");
}

static void nmi_twice(void)
{
	clear();
	apic_send(0, APIC_DELIVERY_NMI);
	spin_ticks(SETTLE_TICKS);
	CHECK(seen[VEC_NMI].count == 1, "self-NMI: %u deliveries", seen[VEC_NMI].count);
	apic_send(0, APIC_DELIVERY_NMI);
	spin_ticks(SETTLE_TICKS);
	CHECK(seen[VEC_NMI].count == 2, "a second NMI: %u deliveries", seen[VEC_NMI].count);
}

/* Beside other guests often enough to be preempted inside a handler: that blocks nobody else's NMIs. */
static void nmi(void)
{
	for (unsigned i = option_word("shared") ? NMI_ROUNDS : 1; i > 0; i--)
		nmi_twice();
}

/* Between two readings made alike, so that what a reading itself takes cancels out. */
static uint64_t measure_timer_hz(void)
{
	uint64_t start, hz;
	uint32_t first;

	apic_write(APIC_REG_TIMER_DIVIDE, APIC_TIMER_DIVIDE_BY_1);
	apic_write(APIC_REG_LVT_TIMER, APIC_LVT_MASKED);
	apic_write(APIC_REG_TIMER_INITIAL, UINT32_MAX);
	first = apic_read(APIC_REG_TIMER_CURRENT);
	start = rdtsc_ordered();
	spin_ticks(tsc_hz() / 32);
	hz = (uint64_t)(first - apic_read(APIC_REG_TIMER_CURRENT)) * tsc_hz() / (rdtsc_ordered() - start);
	apic_write(APIC_REG_TIMER_INITIAL, 0);
	return hz;
}

/* Timer ticks a second with divider 1: CPUID 15h's crystal, which is checked, else measured. */
static uint64_t timer_hz(void)
{
	static uint64_t hz;

	if (hz)
		return hz;
	if (option_word("measure") || cpuid(0, 0).eax < LEAF_TSC || cpuid(LEAF_TSC, 0).ecx == 0)
		return hz = measure_timer_hz();
	hz = cpuid(LEAF_TSC, 0).ecx;
	check_rate("timer Hz", measure_timer_hz, hz, 200);
	return hz;
}

static void one_shot(void)
{
	uint32_t count = (uint32_t)(timer_hz() / 200);
	uint64_t start, took;

	clear();
	apic_write(APIC_REG_TIMER_DIVIDE, APIC_TIMER_DIVIDE_BY_1);
	apic_write(APIC_REG_LVT_TIMER, VECTOR_TIMER);
	start = rdtsc_ordered();
	apic_write(APIC_REG_TIMER_INITIAL, count);
	CHECK(await(VECTOR_TIMER, 1), "the one-shot timer does not fire");
	took = seen[VECTOR_TIMER].last - start;
	CHECK(took >= tsc_hz() / 200 - tsc_hz() / 20000, "the one-shot timer is early: %llu ticks",
	      (unsigned long long)took);
	print("apic: one-shot late by %lld ticks\n", (long long)(took - tsc_hz() / 200));
	spin_ticks(2 * (tsc_hz() / 200));
	open_window();
	CHECK(seen[VECTOR_TIMER].count == 1, "the one-shot timer fired again");
	CHECK(apic_read(APIC_REG_TIMER_CURRENT) == 0, "the count does not rest at 0");
}

static uint64_t measure_periods(void)
{
	uint64_t start;

	clear();
	apic_write(APIC_REG_LVT_TIMER, APIC_TIMER_PERIODIC | VECTOR_TIMER);
	start = rdtsc_ordered();
	apic_write(APIC_REG_TIMER_INITIAL, (uint32_t)(timer_hz() / 500));
	CHECK(await(VECTOR_TIMER, 20), "the periodic timer gave %u of 20", seen[VECTOR_TIMER].count);
	apic_write(APIC_REG_TIMER_INITIAL, 0);
	return seen[VECTOR_TIMER].last - start;
}

/* While another guest has the CPU, periods that pass become one interrupt: 20 then take longer, never less. */
static void periodic(void)
{
	uint64_t took = measure_periods(), expected = tsc_hz() / 25;

	CHECK(took > expected - expected / 20, "20 periods took %llu ticks", (unsigned long long)took);
	if (!option_word("shared"))
		check_rate("20 periods of 2 ms", measure_periods, expected, 20);
	apic_write(APIC_REG_LVT_TIMER, APIC_LVT_MASKED);
	open_window();
	clear();
	open_window();
	CHECK(seen[VECTOR_TIMER].count == 0, "a stopped timer fired");
}

/* Others may have had the CPU between arming and disarming, and it fired with right: then once more. */
static void disarmed_deadline(void)
{
	unsigned before;
	uint64_t at;

	do {
		open_window();
		before = seen[VECTOR_TIMER].count;
		at = rdtsc_ordered() + tsc_hz() / 1000;
		wrmsr(MSR_IA32_TSC_DEADLINE, at);
		wrmsr(MSR_IA32_TSC_DEADLINE, 0);
	} while (rdtsc_ordered() >= at);
	spin_ticks(tsc_hz() / 500);
	open_window();
	CHECK(seen[VECTOR_TIMER].count == before, "a disarmed deadline fired");
}

static void deadline(void)
{
	uint64_t late = 0, at, back;

	apic_write(APIC_REG_LVT_TIMER, APIC_TIMER_TSC_DEADLINE | VECTOR_TIMER);
	clear();
	for (unsigned i = 1; i <= 16; i++) {
		at = rdtsc_ordered() + tsc_hz() / 1000;
		wrmsr(MSR_IA32_TSC_DEADLINE, at);
		/* Once it has passed it reads as 0: others may have had the CPU for that long. */
		back = rdmsr(MSR_IA32_TSC_DEADLINE);
		CHECK(back == at || (back == 0 && rdtsc() >= at), "the deadline does not read back");
		while (seen[VECTOR_TIMER].count < i) {
			halt();
			CHECK(rdtsc() < at + tsc_hz(), "the deadline was missed");
		}
		CHECK(seen[VECTOR_TIMER].last >= at, "the deadline timer is early by %llu",
		      (unsigned long long)(at - seen[VECTOR_TIMER].last));
		late = seen[VECTOR_TIMER].last - at > late ? seen[VECTOR_TIMER].last - at : late;
		CHECK(rdmsr(MSR_IA32_TSC_DEADLINE) == 0 || option_word("lenient"),
		      "the deadline is not 0 after it fired");
	}
	print("apic: deadline late by at most %llu ticks\n", (unsigned long long)late);
	wrmsr(MSR_IA32_TSC_DEADLINE, 1);
	open_window();
	CHECK(seen[VECTOR_TIMER].count == 17, "a deadline in the past does not fire at once");
	disarmed_deadline();
	apic_write(APIC_REG_LVT_TIMER, APIC_LVT_MASKED);
}

static void x2apic_faults(void)
{
	uint64_t v;

	CHECK(!rdmsr_safe(MSR_X2APIC_EOI, &v), "EOI can be read");
	CHECK(!wrmsr_safe(MSR_X2APIC_ID, 0), "the id can be written");
	CHECK(!wrmsr_safe(MSR_X2APIC_EOI, 1), "EOI takes a value other than 0");
	/* Bochs lets them pass, also where its processor delivers a guest's self-IPI without an exit. */
	if (option_word("silicon"))
		CHECK(!wrmsr_safe(MSR_X2APIC_SELF_IPI, 0x100), "self-IPI takes reserved bits");
	CHECK(!rdmsr_safe(MSR_X2APIC_FIRST, &v), "register 0 exists");
	CHECK(!wrmsr_safe(MSR_IA32_APIC_BASE, APIC_BASE_DEFAULT | APIC_BASE_BSP | APIC_BASE_EN),
	      "x2APIC goes back to xAPIC without being disabled");
}

static void x2apic_self_ipi(void)
{
	clear();
	wrmsr(MSR_X2APIC_SELF_IPI, VECTOR_B);
	open_window();
	CHECK(seen[VECTOR_B].count == 1, "self-IPI by MSR: %u deliveries", seen[VECTOR_B].count);
}

static void pics(void)
{
	unsigned count = 0;

	clear();
	pic_init(PIC_BASE);
	apic_write(APIC_REG_LVT_LINT0, APIC_DELIVERY_EXTINT);
	pit_periodic(PIT_HZ / 500);
	pic_mask(0xfffe);
	CHECK(await(PIC_BASE, 5), "the PIC gave %u of 5 PIT interrupts", seen[PIC_BASE].count);
	pic_mask(0xffff);
	open_window(); /* at most one was on its way */
	count = seen[PIC_BASE].count;
	spin_ticks(tsc_hz() / 100);
	open_window();
	CHECK(seen[PIC_BASE].count == count, "a masked PIC input came through");
	apic_write(APIC_REG_LVT_LINT0, APIC_LVT_MASKED);
}

static void io_apic(void)
{
	clear();
	ioapic_route(2, VECTOR_PIT, false);
	pit_periodic(PIT_HZ / 500);
	CHECK(await(VECTOR_PIT, 5), "the IO-APIC gave %u of 5 PIT interrupts", seen[VECTOR_PIT].count);
	ioapic_route(2, 0, false);
	open_window();
	clear();
	spin_ticks(tsc_hz() / 100);
	open_window();
	CHECK(seen[VECTOR_PIT].count == 0, "a masked IO-APIC input came through");
}

static uint64_t measure_pm_timer(void)
{
	uint16_t port = acpi_fixed()->pm_tmr;
	uint32_t first = in32(port);
	uint64_t start = rdtsc_ordered();

	spin_ticks(tsc_hz() / 50);
	return (uint64_t)(in32(port) - first) * tsc_hz() / (rdtsc_ordered() - start);
}

static uint64_t measure_pit(void)
{
	return PIT_COUNT * tsc_hz() / pit_measure(PIT_COUNT);
}

static void clocks(void)
{
	check_rate("PM timer Hz", measure_pm_timer, ACPI_PM_TMR_HZ, 200);
	check_rate("PIT Hz", measure_pit, PIT_HZ, 200);
}

static void in_either_mode(void)
{
	self_ipi();
	step("self-IPI by ICR");
	priorities();
	step("priorities, TPR, CR8");
	nmi();
	step("NMI");
	one_shot();
	step("one-shot timer");
	periodic();
	step("periodic timer");
}

/* Off is as without an APIC; on again it has its reset state. */
static void off_and_on(void)
{
	uint64_t v;

	apic_set_mode(APIC_OFF);
	CHECK(!(rdmsr(MSR_IA32_APIC_BASE) & APIC_BASE_EN), "the APIC cannot be disabled");
	CHECK(!(cpuid(1, 0).edx & CPUID_1D_APIC), "CPUID shows a disabled APIC");
	CHECK(!rdmsr_safe(MSR_X2APIC_ID, &v), "x2APIC registers remain of a disabled APIC");
	apic_set_mode(APIC_XAPIC);
	CHECK(cpuid(1, 0).edx & CPUID_1D_APIC, "CPUID does not show the APIC again");
	self_ipi();
}

static bool has(uint64_t bit, const char *name)
{
	if (cpuid(1, 0).ecx & bit)
		return true;
	CHECK(option_word("lenient"), "CPUID shows no %s", name);
	print("apic: no %s\n", name);
	return false;
}

void guest_main(void)
{
	set_handler(VECTOR_A, on_apic);
	set_handler(VECTOR_B, on_apic);
	set_handler(VECTOR_TIMER, on_apic);
	set_handler(VECTOR_PIT, on_apic);
	set_handler(PIC_BASE, on_pic);
	set_handler(VEC_NMI, note);
	print("apic: TSC %llu Hz\n", (unsigned long long)tsc_hz());
	clocks();
	step("clocks");
	apic_set_mode(APIC_XAPIC);
	in_either_mode();
	pics();
	step("PIC through LINT0");
	io_apic();
	step("IO-APIC");
	if (has(CPUID_1C_TSC_DEADLINE, "TSC deadline")) {
		deadline();
		step("TSC deadline");
	}
	if (!has(CPUID_1C_X2APIC, "x2APIC"))
		return;
	apic_set_mode(APIC_X2APIC);
	print("apic: x2APIC\n");
	in_either_mode();
	x2apic_self_ipi();
	step("self-IPI by MSR");
	x2apic_faults();
	step("refusals");
	io_apic();
	step("IO-APIC");
	if (has(CPUID_1C_TSC_DEADLINE, "TSC deadline"))
		deadline();
	step("TSC deadline");
	if (option_word("lenient"))
		return;
	off_and_on();
	step("off and on");
}
