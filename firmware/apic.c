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
#define LVT_MAX_WITH_CMCI 6u

static bool x2apic;
static volatile uint8_t *registers; /* xAPIC mode */
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

static enum status enable(const struct acpi_info *acpi, struct error *err)
{
	uint64_t base = rdmsr(MSR_IA32_APIC_BASE);

	/* Once in x2APIC mode it cannot be left without passing through disabled. */
	x2apic = the_cpu.x2apic || (base & APIC_BASE_EXTD);
	if (x2apic) {
		wrmsr(MSR_IA32_APIC_BASE, base | APIC_BASE_EN);
		wrmsr(MSR_IA32_APIC_BASE, base | APIC_BASE_EN | APIC_BASE_EXTD);
		return ST_OK;
	}
	wrmsr(MSR_IA32_APIC_BASE, base | APIC_BASE_EN);
	registers = mmio_map(hpa(base & APIC_BASE_ADDR_MASK), PAGE_SIZE);
	if (!registers)
		return fail(err, ST_NO_MEMORY, "local APIC: its registers at 0x%llx cannot be mapped",
			    (unsigned long long)(base & APIC_BASE_ADDR_MASK));
	if (acpi->present && acpi->lapic_address != (base & APIC_BASE_ADDR_MASK))
		log_warn("local APIC: MADT says 0x%llx, the processor 0x%llx", (unsigned long long)acpi->lapic_address,
			 (unsigned long long)(base & APIC_BASE_ADDR_MASK));
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

enum status apic_init(const struct acpi_info *acpi, struct error *err)
{
	static const uint32_t masked[] = {APIC_REG_LVT_TIMER, APIC_REG_LVT_THERMAL, APIC_REG_LVT_PMC,
					  APIC_REG_LVT_LINT0, APIC_REG_LVT_LINT1};
	enum status st = enable(acpi, err);
	uint32_t version, id;
	uint8_t vector;

	if (st != ST_OK)
		return st;
	st = irq_allocate("local APIC error", error_interrupt, NULL, &vector);
	if (st != ST_OK)
		return fail(err, st, "local APIC: no interrupt vector is free");
	version = apic_read(APIC_REG_VERSION);
	for (unsigned i = 0; i < ARRAY_SIZE(masked); i++)
		apic_write(masked[i], APIC_LVT_MASKED);
	if (FIELD(version, 23, 16) >= LVT_MAX_WITH_CMCI)
		apic_write(APIC_REG_LVT_CMCI, APIC_LVT_MASKED);
	apic_write(APIC_REG_TPR, 0);
	apic_write(APIC_REG_SVR, APIC_SVR_ENABLE | SPURIOUS_VECTOR);
	apic_write(APIC_REG_LVT_ERROR, vector);
	id = apic_read(APIC_REG_ID) >> (x2apic ? 0 : XAPIC_ID_SHIFT);
	this_cpu()->apic_id = id;
	set_nmi_pins(acpi, id);
	log_info("local APIC: id %u, %s mode, %s timer", id, x2apic ? "x2APIC" : "xAPIC",
		 the_cpu.tsc_deadline ? "TSC-deadline" : "one-shot");
	return ST_OK;
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

enum status host_timer_init(void (*expired)(void), struct error *err)
{
	uint8_t vector;
	enum status st = irq_allocate("timer", timer_interrupt, NULL, &vector);

	if (st != ST_OK)
		return fail(err, st, "timer: no interrupt vector is free");
	timer_expired = expired;
	timer_by_deadline = the_cpu.tsc_deadline;
	if (timer_by_deadline) {
		apic_write(APIC_REG_LVT_TIMER, APIC_TIMER_TSC_DEADLINE | vector);
		/* In xAPIC mode the store above must not be overtaken by the deadline's WRMSR, SDM 3A:10.5.4.1. */
		mfence();
		if (deadlines_hold(vector))
			return ST_OK;
		log_warn("local APIC: TSC deadlines come early: the one-shot timer is used");
		timer_by_deadline = false;
	}
	apic_write(APIC_REG_TIMER_DIVIDE, APIC_TIMER_DIVIDE_BY_1);
	apic_write(APIC_REG_LVT_TIMER, APIC_LVT_MASKED | vector);
	timer_hz = measure_timer();
	if (timer_hz == 0)
		return fail(err, ST_IO, "timer: the local APIC timer stands still");
	apic_write(APIC_REG_LVT_TIMER, vector);
	log_info("local APIC: timer at %llu kHz", (unsigned long long)timer_hz / 1000);
	return ST_OK;
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
