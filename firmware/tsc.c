/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One measurement: wait for the reference to change, note the TSC, wait for a
 * number of reference ticks, note it again. Starting on an edge leaves an error
 * of one reference read at each end: under 100 ppm for the 10 ms taken here,
 * less on a machine whose reads are fast.
 */
#include "firmware/tsc.h"

#include <stdbool.h>

#include "firmware/cpu.h"
#include "lib/bits.h"
#include "lib/log.h"
#include "lib/x86_asm.h"

#define PM_TIMER_HZ 3579545u /* ACPI 6.4 section 4.8.3.3 */
#define PIT_HZ 1193182u
#define MEASURE_MS 10u
#define RUNS 3u
#define SPIN_MAX 10000000u /* reads of a reference that stands still */
#define SPREAD_PPM 1000u   /* more between the runs is worth a warning */
#define CPUID_PPM 10000u
#define PPM 1000000u

#define PIT_CHANNEL2 0x42
#define PIT_COMMAND 0x43
#define PIT_CH2_LOHI_MODE0 0xb0
#define PORT_B 0x61
#define PORT_B_GATE2 0x01
#define PORT_B_SPEAKER 0x02
#define PORT_B_OUT2 0x20

static uint64_t boot_tsc;

static uint64_t read_ticks(void)
{
	return rdtsc();
}

struct clock host_clock = {.ticks = read_ticks};

void tsc_mark_boot(void)
{
	boot_tsc = rdtsc();
}

unsigned long long host_uptime_us(void)
{
	return host_clock.hz ? mul_div(rdtsc() - boot_tsc, PPM, host_clock.hz) : 0;
}

void host_delay_us(uint64_t us)
{
	uint64_t start = rdtsc();
	/* Before calibration: more than any CPU's rate, so the wait is rather too long. */
	uint64_t hz = host_clock.hz ? host_clock.hz : 5000000000ull;

	while (rdtsc() - start < us * (hz / PPM))
		cpu_pause();
}

/* Waits until the PM timer moves on from @from by @ticks; false when it stands still. */
static bool pm_wait(uint16_t port, uint32_t mask, uint32_t from, uint32_t ticks, uint32_t *now)
{
	for (uint32_t spins = 0; spins < SPIN_MAX; spins++) {
		*now = in32(port);
		if (((*now - from) & mask) >= ticks)
			return true;
	}
	return false;
}

/* One run against the PM timer; 0 when it does not work. */
static uint64_t measure_pm(const struct acpi_info *acpi)
{
	uint16_t port = (uint16_t)acpi->pm_timer.address;
	uint32_t mask = acpi->pm_timer_32bit ? UINT32_MAX : (uint32_t)MASK(23, 0);
	uint32_t first, last;
	uint64_t start, ticks;

	if (!pm_wait(port, mask, in32(port), 1, &first))
		return 0;
	start = rdtsc();
	if (!pm_wait(port, mask, first, PM_TIMER_HZ / 1000 * MEASURE_MS, &last))
		return 0;
	ticks = rdtsc() - start;
	return mul_div(ticks, PM_TIMER_HZ, (last - first) & mask);
}

/* One run against channel 2 of the PIT: counts down once, its output rises at the end. */
static uint64_t measure_pit(void)
{
	const uint32_t count = PIT_HZ / 1000 * MEASURE_MS;
	uint8_t port_b = in8(PORT_B);
	uint64_t start, ticks = 0;

	out8(PORT_B, (uint8_t)((port_b & ~PORT_B_SPEAKER) | PORT_B_GATE2));
	out8(PIT_COMMAND, PIT_CH2_LOHI_MODE0);
	out8(PIT_CHANNEL2, (uint8_t)count);
	out8(PIT_CHANNEL2, (uint8_t)(count >> 8));
	start = rdtsc();
	for (uint32_t spins = 0; spins < SPIN_MAX; spins++) {
		if (in8(PORT_B) & PORT_B_OUT2) {
			ticks = rdtsc() - start;
			break;
		}
	}
	out8(PORT_B, port_b);
	return mul_div(ticks, PIT_HZ, count);
}

/* What CPUID claims, 0 when it claims nothing. SDM 3B:18.7.3. */
static uint64_t cpuid_hz(void)
{
	struct cpuid_regs r;

	if (the_cpu.max_leaf < CPUID_TSC)
		return 0;
	r = cpuid(CPUID_TSC, 0);
	if (r.eax && r.ebx && r.ecx)
		return mul_div(r.ecx, r.ebx, r.eax);
	if (the_cpu.max_leaf < CPUID_FREQUENCY)
		return 0;
	return (cpuid(CPUID_FREQUENCY, 0).eax & MASK(15, 0)) * PPM;
}

static uint64_t difference_ppm(uint64_t a, uint64_t b)
{
	return mul_div(a > b ? a - b : b - a, PPM, b);
}

static void compare_with_cpuid(uint64_t hz)
{
	uint64_t claimed = cpuid_hz();

	if (claimed && difference_ppm(claimed, hz) > CPUID_PPM)
		log_warn("tsc: CPUID claims %llu kHz, measured are %llu kHz: the measurement holds",
			 (unsigned long long)claimed / 1000, (unsigned long long)hz / 1000);
}

static void sort3(uint64_t v[RUNS])
{
	for (unsigned i = 1; i < RUNS; i++)
		for (unsigned j = i; j > 0 && v[j] < v[j - 1]; j--) {
			uint64_t t = v[j];

			v[j] = v[j - 1];
			v[j - 1] = t;
		}
}

/* All runs against one reference; false when it stands still. */
static bool measure(const struct acpi_info *acpi, bool by_pm, uint64_t run[RUNS])
{
	for (unsigned i = 0; i < RUNS; i++) {
		run[i] = by_pm ? measure_pm(acpi) : measure_pit();
		if (run[i] == 0)
			return false;
	}
	sort3(run);
	return true;
}

enum status tsc_calibrate(const struct acpi_info *acpi, struct error *err)
{
	const struct acpi_address *pm = &acpi->pm_timer;
	bool by_pm = acpi->present && pm->address != 0 && pm->space == ACPI_SPACE_IO;
	uint64_t run[RUNS];

	if (by_pm && !measure(acpi, true, run)) {
		log_warn("tsc: the ACPI PM timer at port 0x%llx stands still, trying the PIT",
			 (unsigned long long)pm->address);
		by_pm = false;
	}
	if (!by_pm && !measure(acpi, false, run))
		return fail(err, ST_IO, "no timer of known rate runs: neither the ACPI PM timer nor the PIT");
	host_clock.hz = run[RUNS / 2];
	log_info("tsc: %llu kHz by the %s, %s", (unsigned long long)host_clock.hz / 1000, by_pm ? "PM timer" : "PIT",
		 the_cpu.invariant_tsc ? "invariant" : "not stated to be invariant");
	if (difference_ppm(run[RUNS - 1], run[0]) > SPREAD_PPM)
		log_warn("tsc: the runs differ by %llu ppm", (unsigned long long)difference_ppm(run[RUNS - 1], run[0]));
	compare_with_cpuid(host_clock.hz);
	return ST_OK;
}
