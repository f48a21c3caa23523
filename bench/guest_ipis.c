/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What interrupts between two processors cost, seen from inside a guest whose
 * vcpus have a CPU each: for each state of the receiver the least and the worst of
 * 64 times from the sender's WRMSR to its end, and to the first instruction of the
 * receiver's handler. The two read the same clock. Printed as `bench NAME ticks`.
 */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/smp.h"

const char guest_name[] = "guest_ipis";

#define SAMPLES 64u
#define VECTOR 0x81
#define BETWEEN 30000u /* ticks between two samples: whatever the last one woke sleeps again */
#define SETTLE 2000000u

static uint32_t ids[SMP_CPUS_MAX];
static volatile bool up, halts;
static volatile uint64_t handler_tsc;

void ipi_handler(void);
__asm__(".text\n"
	"ipi_handler:\n\t"
	"pushq %rax\n\tpushq %rcx\n\tpushq %rdx\n\t"
	"rdtsc\n\tmovl %edx, handler_tsc+4\n\tmovl %eax, handler_tsc\n\t"
	"movl $0x80b, %ecx\n\txorl %eax, %eax\n\txorl %edx, %edx\n\twrmsr\n\t"
	"popq %rdx\n\tpopq %rcx\n\tpopq %rax\n\tiretq");

/* The receiver. */
static void receive(uint64_t arg)
{
	(void)arg;
	apic_set_mode(APIC_X2APIC);
	up = true;
	sti();
	for (;;) {
		while (!halts)
			;
		halt();
		sti();
	}
}

static void measure(const char *name)
{
	uint64_t least_sent = UINT64_MAX, least = UINT64_MAX, most = 0;

	for (unsigned i = 0; i < SAMPLES; i++) {
		uint64_t start, sent;

		spin_ticks(BETWEEN);
		handler_tsc = 0;
		start = rdtsc();
		wrmsr(MSR_X2APIC_ICR, (uint64_t)ids[1] << 32 | VECTOR);
		sent = rdtsc() - start;
		while ((uint32_t)handler_tsc == 0)
			;
		least_sent = MIN(least_sent, sent);
		least = MIN(least, handler_tsc - start);
		most = MAX(most, handler_tsc - start);
	}
	print("bench ipi_send_%s %llu\n", name, (unsigned long long)least_sent);
	print("bench ipi_%s %llu\n", name, (unsigned long long)least);
	print("bench ipi_%s_worst %llu\n", name, (unsigned long long)most);
}

void guest_main(void)
{
	CHECK(smp_count(ids) == 2, "this needs two processors");
	set_gate(VECTOR, ipi_handler);
	apic_set_mode(APIC_X2APIC);
	smp_start(ids[1], receive, 0);
	while (!up)
		cpu_pause();
	spin_ticks(SETTLE);
	measure("running");
	halts = true;
	apic_send(ids[1], VECTOR); /* out of its loop, if it was too late to see that */
	spin_ticks(SETTLE);
	measure("halted");
}
