/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers are named by their xAPIC offsets; in x2APIC mode the same register is
 * an MSR. The timer runs in TSC-deadline mode where the CPU has it, else one-shot
 * at a rate measured against the TSC. SDM 3A:10.
 */
#include "firmware/apic.h"

#include "firmware/cpu.h"
#include "firmware/irq.h"
#include "firmware/paging.h"
#include "firmware/percpu.h"
#include "firmware/tsc.h"
#include "lib/bits.h"
#include "lib/log.h"
#include "lib/x86_asm.h"

#define SPURIOUS_VECTOR 0xffu
#define TIMER_MEASURE_US 10000u
#define TIMER_PROBE_US 50u
#define ICR_TRIES 100000u
#define XAPIC_ID_SHIFT 24
#define XAPIC_BROADCAST 0xffu
#define LVT_MAX_WITH_CMCI 6u

static bool x2apic;
static volatile uint8_t *registers; /* xAPIC mode; at the same address on each CPU */
static uint64_t registers_at;
static uint8_t error_vector, timer_vector;
static bool timer_by_deadline;
static uint64_t timer_hz; /* of the one-shot timer, divided by 1 */
static void (*timer_expired)(void);

static uint32_t apic_read(uint32_t reg)
{
	return x2apic ? (uint32_t)rdmsr(MSR_X2APIC(reg)) : mmio_read32(registers + reg);
}

static void apic_write(uint32_t reg, uint32_t value)
{
	if (x2apic)
		wrmsr(MSR_X2APIC(reg), value);
	else
		mmio_write32(registers + reg, value);
}

void apic_eoi(void)
{
	apic_write(APIC_REG_EOI, 0);
}

/* Once in x2APIC mode it cannot be left without passing through disabled. */
static void enable_mode(uint64_t base)
{
	wrmsr(MSR_IA32_APIC_BASE, base | APIC_BASE_EN);
	if (x2apic)
		wrmsr(MSR_IA32_APIC_BASE, base | APIC_BASE_EN | APIC_BASE_EXTD);
}

static enum status enable(const struct acpi_info *acpi, bool want_x2apic, struct error *err)
{
	uint64_t base = rdmsr(MSR_IA32_APIC_BASE);

	x2apic = (the_cpu.x2apic && want_x2apic) || (base & APIC_BASE_EXTD);
	enable_mode(base);
	if (x2apic)
		return ST_OK;
	registers_at = base & APIC_BASE_ADDR_MASK;
	registers = mmio_map(hpa(registers_at), PAGE_SIZE);
	if (!registers)
		return fail(err, ST_NO_MEMORY, "local APIC: its registers at 0x%llx cannot be mapped",
			    (unsigned long long)registers_at);
	if (acpi->present && acpi->lapic_address != registers_at)
		log_warn("local APIC: MADT says 0x%llx, the processor 0x%llx", (unsigned long long)acpi->lapic_address,
			 (unsigned long long)registers_at);
	return ST_OK;
}

static uint32_t uid_of(const struct acpi_info *acpi, uint32_t apic_id)
{
	for (unsigned i = 0; i < acpi->cpu_count; i++)
		if (acpi->cpu[i].apic_id == apic_id)
			return acpi->cpu[i].uid;
	return ACPI_ALL_CPUS;
}

/* Pins that the MADT calls NMI for this CPU; all others stay masked: the 8259 is not used. */
static void set_nmi_pins(const struct acpi_info *acpi, uint32_t apic_id)
{
	static const uint32_t lint[] = {APIC_REG_LVT_LINT0, APIC_REG_LVT_LINT1};

	for (unsigned i = 0; i < acpi->nmi_count; i++) {
		const struct acpi_nmi *n = &acpi->nmi[i];

		if (n->lint < ARRAY_SIZE(lint) && (n->uid == ACPI_ALL_CPUS || n->uid == uid_of(acpi, apic_id)))
			apic_write(lint[n->lint], APIC_DELIVERY_NMI);
	}
}

/* A wrong register access or a bad message of ours: told once, counted by the vector. */
static void error_interrupt(void *arg)
{
	static bool told;
	uint32_t esr;

	(void)arg;
	apic_write(APIC_REG_ESR, 0);
	esr = apic_read(APIC_REG_ESR);
	if (!told)
		log_error("local APIC: error status 0x%x", esr);
	told = true;
}

static uint32_t own_id(void)
{
	return apic_read(APIC_REG_ID) >> (x2apic ? 0 : XAPIC_ID_SHIFT);
}

/* Everything masked but errors and the NMI pins. */
static void set_up(const struct acpi_info *acpi)
{
	static const uint32_t masked[] = {APIC_REG_LVT_TIMER, APIC_REG_LVT_THERMAL, APIC_REG_LVT_PMC,
					  APIC_REG_LVT_LINT0, APIC_REG_LVT_LINT1};
	uint32_t version = apic_read(APIC_REG_VERSION);

	for (unsigned i = 0; i < ARRAY_SIZE(masked); i++)
		apic_write(masked[i], APIC_LVT_MASKED);
	if (FIELD(version, 23, 16) >= LVT_MAX_WITH_CMCI)
		apic_write(APIC_REG_LVT_CMCI, APIC_LVT_MASKED);
	apic_write(APIC_REG_TPR, 0);
	apic_write(APIC_REG_SVR, APIC_SVR_ENABLE | SPURIOUS_VECTOR);
	apic_write(APIC_REG_LVT_ERROR, error_vector);
	set_nmi_pins(acpi, own_id());
}

enum status apic_init(const struct acpi_info *acpi, bool want_x2apic, struct error *err)
{
	enum status st = enable(acpi, want_x2apic, err);

	if (st != ST_OK)
		return st;
	st = irq_allocate("local APIC error", error_interrupt, NULL, &error_vector);
	if (st != ST_OK)
		return fail(err, st, "local APIC: no interrupt vector is free");
	set_up(acpi);
	this_cpu()->apic_id = own_id();
	log_info("local APIC: id %u, %s mode, %s timer", this_cpu()->apic_id, x2apic ? "x2APIC" : "xAPIC",
		 the_cpu.tsc_deadline ? "TSC-deadline" : "one-shot");
	return ST_OK;
}

enum status apic_init_cpu(const struct acpi_info *acpi, struct error *err)
{
	uint64_t base = rdmsr(MSR_IA32_APIC_BASE);

	if (!x2apic && (base & APIC_BASE_EXTD))
		return fail(err, ST_UNSUPPORTED, "its local APIC is in x2APIC mode, the boot CPU's is not");
	if (!x2apic && (base & APIC_BASE_ADDR_MASK) != registers_at)
		return fail(err, ST_UNSUPPORTED, "its local APIC is at 0x%llx, the boot CPU's at 0x%llx",
			    (unsigned long long)(base & APIC_BASE_ADDR_MASK), (unsigned long long)registers_at);
	enable_mode(base);
	if (own_id() != this_cpu()->apic_id)
		return fail(err, ST_UNSUPPORTED, "its local APIC says that it has id %u", own_id());
	set_up(acpi);
	return ST_OK;
}

bool apic_can_reach(uint32_t apic_id)
{
	return x2apic || apic_id < XAPIC_BROADCAST;
}

/* ---- the timer ---- */

static void timer_interrupt(void *arg)
{
	(void)arg;
	timer_expired();
}

/* Counts of the undivided timer in TIMER_MEASURE_US, by the TSC. */
static uint64_t measure_timer(void)
{
	uint64_t ticks = ns_to_ticks(TIMER_MEASURE_US * 1000ull, host_clock.hz);
	uint64_t start, elapsed;
	uint32_t left;

	apic_write(APIC_REG_TIMER_INITIAL, UINT32_MAX);
	start = rdtsc();
	do
		elapsed = rdtsc() - start;
	while (elapsed < ticks);
	left = apic_read(APIC_REG_TIMER_CURRENT);
	apic_write(APIC_REG_TIMER_INITIAL, 0);
	return mul_div(UINT32_MAX - left, host_clock.hz, elapsed);
}

/*
 * Whether no deadline comes before its time. Bochs counts deadlines by the time since power-on, but a reset takes
 * the TSC back to 0: then each is long past, and its interrupts would never end.
 */
static bool deadlines_hold(uint8_t vector)
{
	uint64_t deadline = rdtsc() + ns_to_ticks(TIMER_PROBE_US * 1000ull, host_clock.hz), now;
	bool fired;

	wrmsr(MSR_IA32_TSC_DEADLINE, deadline);
	do {
		fired = apic_read(APIC_REG_IRR + APIC_REG_STEP * (vector / 32)) & BIT(vector % 32);
		now = rdtsc();
	} while (!fired && now < deadline);
	wrmsr(MSR_IA32_TSC_DEADLINE, 0);
	return now >= deadline;
}

/* In xAPIC mode the store must not be overtaken by the WRMSR of a deadline, SDM 3A:10.5.4.1. */
static void set_deadline_mode(void)
{
	apic_write(APIC_REG_LVT_TIMER, APIC_TIMER_TSC_DEADLINE | timer_vector);
	mfence();
}

static void set_one_shot_mode(uint32_t mask)
{
	apic_write(APIC_REG_TIMER_DIVIDE, APIC_TIMER_DIVIDE_BY_1);
	apic_write(APIC_REG_LVT_TIMER, mask | timer_vector);
}

enum status host_timer_init(void (*expired)(void), struct error *err)
{
	enum status st = irq_allocate("timer", timer_interrupt, NULL, &timer_vector);

	if (st != ST_OK)
		return fail(err, st, "timer: no interrupt vector is free");
	timer_expired = expired;
	timer_by_deadline = the_cpu.tsc_deadline;
	if (timer_by_deadline) {
		set_deadline_mode();
		if (deadlines_hold(timer_vector))
			return ST_OK;
		log_warn("local APIC: TSC deadlines come early: the one-shot timer is used");
		timer_by_deadline = false;
	}
	set_one_shot_mode(APIC_LVT_MASKED);
	timer_hz = measure_timer();
	if (timer_hz == 0)
		return fail(err, ST_IO, "timer: the local APIC timer stands still");
	set_one_shot_mode(0);
	log_info("local APIC: timer at %llu kHz", (unsigned long long)timer_hz / 1000);
	return ST_OK;
}

void host_timer_init_cpu(void)
{
	if (timer_by_deadline)
		set_deadline_mode();
	else
		set_one_shot_mode(0);
}

void host_timer_arm(uint64_t deadline)
{
	uint64_t now, count;

	if (timer_by_deadline) {
		/* 0 would disarm. */
		wrmsr(MSR_IA32_TSC_DEADLINE, deadline ? deadline : 1);
		return;
	}
	now = rdtsc();
	count = deadline > now ? mul_div(deadline - now, timer_hz, host_clock.hz) + 1 : 1;
	apic_write(APIC_REG_TIMER_INITIAL, (uint32_t)MIN(count, UINT32_MAX));
}

void host_timer_disarm(void)
{
	if (timer_by_deadline)
		wrmsr(MSR_IA32_TSC_DEADLINE, 0);
	else
		apic_write(APIC_REG_TIMER_INITIAL, 0);
}

/* ---- interprocessor interrupts ---- */

static void send(uint32_t apic_id, uint32_t command)
{
	if (x2apic) {
		wrmsr(MSR_X2APIC_ICR, (uint64_t)apic_id << 32 | command);
		return;
	}
	for (unsigned i = 0; i < ICR_TRIES && (apic_read(APIC_REG_ICR_LOW) & APIC_ICR_BUSY); i++)
		cpu_pause();
	apic_write(APIC_REG_ICR_HIGH, apic_id << XAPIC_ID_SHIFT);
	apic_write(APIC_REG_ICR_LOW, command);
}

void apic_send_ipi(uint32_t apic_id, uint8_t vector)
{
	send(apic_id, APIC_DELIVERY_FIXED | APIC_ICR_ASSERT | vector);
}

void apic_send_nmi(uint32_t apic_id)
{
	send(apic_id, APIC_DELIVERY_NMI | APIC_ICR_ASSERT);
}

void apic_send_init(uint32_t apic_id)
{
	send(apic_id, APIC_DELIVERY_INIT | APIC_ICR_ASSERT);
}

void apic_send_startup(uint32_t apic_id, hpa_t page)
{
	send(apic_id, APIC_DELIVERY_STARTUP | APIC_ICR_ASSERT | (uint32_t)(page.v >> PAGE_SHIFT));
}
