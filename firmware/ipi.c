/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NMIs carry no data: the wish is a bit in the target's block, set before the NMI
 * is sent. A CPU takes one NMI at a time and one more is kept pending, so no wish is
 * lost; a second sender's finds its bit already served at worst.
 */
#include "firmware/ipi.h"

#include "firmware/apic.h"
#include "firmware/irq.h"
#include "firmware/tsc.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/clock.h"
#include "lib/x86_asm.h"

#define ANSWER_US 10000u

static uint8_t kick_vector;
static void (*reset_machine)(void); /* set before anybody wants it */

/* To have been interrupted is all. */
static void kicked(void *arg) { (void)arg; }

void ipi_init(void)
{
	if (irq_allocate("kick", kicked, NULL, &kick_vector) != ST_OK)
		panic("no interrupt vector is free for the kick");
}

void cpu_kick(unsigned cpu)
{
	if (cpu != this_cpu()->id)
		apic_send_ipi(percpu_of(cpu)->apic_id, kick_vector);
}

static void send_nmi(struct percpu *p, enum nmi_want want)
{
	__atomic_fetch_or(&p->nmi_wanted, (uint32_t)want, __ATOMIC_SEQ_CST);
	apic_send_nmi(p->apic_id);
}

static uint64_t answer_limit(void) { return ns_to_ticks(ANSWER_US * 1000ull, host_clock.hz); }

bool ipi_ask_where(unsigned cpu)
{
	struct percpu *p = percpu_of(cpu);
	uint32_t before = __atomic_load_n(&p->nmi_answers, __ATOMIC_ACQUIRE);
	uint64_t start = rdtsc(), limit = answer_limit();

	ASSERT(cpu != this_cpu()->id);
	send_nmi(p, NMI_TELL);
	while (__atomic_load_n(&p->nmi_answers, __ATOMIC_ACQUIRE) == before) {
		if (rdtsc() - start > limit)
			return false;
		cpu_pause();
	}
	return true;
}

static bool is_stopped(unsigned cpu) { return __atomic_load_n(&percpu_of(cpu)->stopped, __ATOMIC_ACQUIRE); }

static bool all_stopped(unsigned self, unsigned spared)
{
	for (unsigned i = 0; i < cpu_count; i++)
		if (i != self && i != spared && !is_stopped(i))
			return false;
	return true;
}

static void stop_others(unsigned spared)
{
	unsigned self = this_cpu()->id;
	uint64_t start, limit = answer_limit();

	for (unsigned i = 0; i < cpu_count; i++)
		if (i != self && i != spared)
			send_nmi(percpu_of(i), NMI_STOP);
	start = rdtsc();
	while (!all_stopped(self, spared) && rdtsc() - start < limit)
		cpu_pause();
}

void ipi_stop_others(void) { stop_others(this_cpu()->id); }

void ipi_reset_elsewhere(void (*reset)(void), unsigned us)
{
	unsigned last = cpu_count - 1;

	if (last == this_cpu()->id || is_stopped(last))
		return;
	stop_others(last);
	reset_machine = reset;
	send_nmi(percpu_of(last), NMI_RESET);
	host_delay_us(us);
}

bool ipi_nmi(void)
{
	struct percpu *p = this_cpu();
	uint32_t wanted = __atomic_exchange_n(&p->nmi_wanted, 0, __ATOMIC_SEQ_CST);

	if (wanted & NMI_RESET)
		reset_machine();
	if (wanted & NMI_STOP) {
		__atomic_store_n(&p->stopped, true, __ATOMIC_RELEASE);
		for (;;)
			hlt();
	}
	if (!(wanted & NMI_TELL))
		return false;
	__atomic_fetch_add(&p->nmi_answers, 1, __ATOMIC_RELEASE);
	return true;
}
