/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A beat: the TSC-deadline timer fires every 2 ms, each deadline one period
 * after the last, and the handler reads how late it is. Every 50 beats the worst
 * lateness is printed. Between beats it halts, or with the word "busy" it runs,
 * so that it is always runnable.
 */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "beat";

#define VECTOR_TIMER 0x51
#define BEATS_PER_SECOND 500u
#define BEATS_PER_LINE 50u

static uint64_t period;
static volatile uint64_t due, worst, beats;

static void on_timer(struct trap_frame *f)
{
	uint64_t now = rdtsc(), late = now - due;

	(void)f;
	if (late > worst)
		worst = late;
	beats++;
	due += period;
	if (due < now) /* a whole beat was missed: go on from here */
		due = now + period;
	wrmsr(MSR_IA32_TSC_DEADLINE, due);
	apic_eoi();
}

void guest_main(void)
{
	bool busy = option_word("busy");

	period = tsc_hz() / BEATS_PER_SECOND;
	CHECK(cpuid(1, 0).ecx & CPUID_1C_TSC_DEADLINE, "CPUID shows no TSC deadline");
	set_handler(VECTOR_TIMER, on_timer);
	apic_set_mode(APIC_X2APIC);
	apic_write(APIC_REG_LVT_TIMER, APIC_TIMER_TSC_DEADLINE | VECTOR_TIMER);
	due = rdtsc() + period;
	wrmsr(MSR_IA32_TSC_DEADLINE, due);
	sti();
	for (;;) {
		uint64_t was = beats, last;

		while (beats - was < BEATS_PER_LINE) {
			if (busy)
				cpu_pause();
			else
				halt();
		}
		cli();
		last = worst;
		worst = 0;
		sti();
		print("beat: %llu worst %llu\n", (unsigned long long)beats, (unsigned long long)last);
	}
}
