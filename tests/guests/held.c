/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts that wait while interrupts are off. Each step has one wait in another way (behind a higher one, behind the
 * processor's or the task's priority, sent by the processor itself) and turns interrupts off for a while, in which none
 * may come: not even when the host is interrupted, which whoever runs this sees to. Where each came must have had
 * interrupts on.
 */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "held";

#define LOW 0x45
#define MIDDLE 0x66
#define HIGH 0x87
#define MASKED_PER_SECOND 250u /* 4 ms each time */
#define ROUNDS 20u

static volatile unsigned seen[VEC_COUNT], wrong;
static void (*volatile inside)(void);
static uint64_t masked_ticks;

/*
 * With interrupts off for a while. CLI again and again: the emulator hides a host's interrupt from a guest that was
 * entered with interrupts off until it executes something of the kind.
 */
static void stay_masked(void)
{
	uint64_t end = rdtsc() + masked_ticks;

	while (rdtsc() < end)
		cli();
}

static void on_interrupt(struct trap_frame *f)
{
	void (*then)(void) = inside;

	wrong += !(f->rflags & RFLAGS_IF);
	seen[f->vector]++;
	if (f->vector != HIGH) {
		apic_eoi();
		return;
	}
	inside = NULL;
	if (then)
		then();
	else
		apic_eoi();
}

static void send(bool by_icr, uint8_t vector)
{
	if (by_icr)
		apic_send_self(vector);
	else
		wrmsr(MSR_X2APIC_SELF_IPI, vector);
}

/* ---- what the handler of HIGH does ---- */

static void eoi_first(void)
{
	apic_eoi();
	stay_masked();
}

static void eoi_last(void)
{
	stay_masked();
	apic_eoi();
	stay_masked();
}

/* The lower ones come while it is in service and interrupts are on: they wait for its end. */
static void nested(bool by_icr)
{
	sti();
	send(by_icr, LOW);
	send(by_icr, MIDDLE);
	spin_ticks(1000);
	cli();
	apic_eoi();
	stay_masked();
}

static void nested_icr(void) { nested(true); }
static void nested_msr(void) { nested(false); }

/* ---- steps ---- */

static void behind(bool by_icr, void (*then)(void))
{
	cli();
	inside = then;
	send(by_icr, LOW);
	send(by_icr, HIGH);
	send(by_icr, MIDDLE);
	sti();
	spin_ticks(1000);
}

static void in_service(bool by_icr)
{
	inside = by_icr ? nested_icr : nested_msr;
	send(by_icr, HIGH);
	spin_ticks(1000);
}

static void masked(bool by_icr)
{
	cli();
	send(by_icr, LOW);
	stay_masked();
	sti();
	spin_ticks(1000);
}

static void task_priority(bool by_icr)
{
	write_cr8(15);
	send(by_icr, MIDDLE);
	spin_ticks(1000);
	cli();
	write_cr8(0);
	stay_masked();
	sti();
	spin_ticks(1000);
}

/* Each vector has come as often as @wanted says, and never to code that had interrupts off. */
static void check(const char *what, bool by_icr, unsigned low, unsigned middle, unsigned high)
{
	const char *how = by_icr ? "ICR" : "MSR";

	print("held: %s, by %s\n", what, how);
	CHECK(seen[LOW] == low && seen[MIDDLE] == middle && seen[HIGH] == high, "%s by %s: %u %u %u came", what, how,
	      seen[LOW], seen[MIDDLE], seen[HIGH]);
	CHECK(wrong == 0, "%s by %s: %u times with interrupts off", what, how, wrong);
	seen[LOW] = seen[MIDDLE] = seen[HIGH] = 0;
}

static void all(bool by_icr, unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++)
		behind(by_icr, eoi_first);
	check("behind a higher one that ended", by_icr, rounds, rounds, rounds);
	for (unsigned i = 0; i < rounds; i++)
		behind(by_icr, eoi_last);
	check("behind a higher one", by_icr, rounds, rounds, rounds);
	for (unsigned i = 0; i < rounds; i++)
		in_service(by_icr);
	check("behind one in service", by_icr, rounds, rounds, rounds);
	for (unsigned i = 0; i < rounds; i++)
		masked(by_icr);
	check("masked", by_icr, rounds, 0, 0);
	for (unsigned i = 0; i < rounds; i++)
		task_priority(by_icr);
	check("behind the task priority", by_icr, 0, rounds, 0);
}

void guest_main(void)
{
	unsigned rounds = (unsigned)option("rounds", ROUNDS);

	set_handler(LOW, on_interrupt);
	set_handler(MIDDLE, on_interrupt);
	set_handler(HIGH, on_interrupt);
	apic_set_mode(APIC_X2APIC);
	masked_ticks = tsc_hz() / MASKED_PER_SECOND;
	sti();
	all(true, rounds);
	all(false, rounds);
}
