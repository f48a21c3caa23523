/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sleeps and wakes: halts until the TSC-deadline timer fires, 2 to 6 ms later at
 * random, and reads in the handler's first instruction how late that is. After
 * "count=N" wakes it prints the half, the 99th of a hundred and the worst, in
 * ticks, and begins again, for ever.
 */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "wake";

#define VECTOR_TIMER 0x51
#define COUNT_MAX 1000u
#define COUNT 400u
#define NAPS_PER_SECOND 500u /* the shortest; the longest is three times that */
#define RESTS_PER_SECOND 10u

static volatile uint64_t handler_tsc;
static uint64_t late[COUNT_MAX];

/* The TSC first; the end of the interrupt, then nothing else. */
void wake_handler(void);
__asm__(".text\n"
	"wake_handler:\n\t"
	"pushq %rax\n\tpushq %rcx\n\tpushq %rdx\n\t"
	"rdtsc\n\tmovl %eax, handler_tsc\n\tmovl %edx, handler_tsc+4\n\t"
	"movl $0x80b, %ecx\n\txorl %eax, %eax\n\txorl %edx, %edx\n\twrmsr\n\t"
	"popq %rdx\n\tpopq %rcx\n\tpopq %rax\n\tiretq");

/* How late the handler was that @ticks from now should have run. */
static uint64_t nap(uint64_t ticks)
{
	uint64_t due = rdtsc() + ticks;

	handler_tsc = 0;
	wrmsr(MSR_IA32_TSC_DEADLINE, due);
	while (handler_tsc == 0)
		halt();
	return handler_tsc - due;
}

/* Shell's sort, gaps of Ciura. */
static void sort(uint64_t *a, unsigned count)
{
	static const unsigned gaps[] = {301, 132, 57, 23, 10, 4, 1};

	for (unsigned g = 0; g < ARRAY_SIZE(gaps); g++) {
		for (unsigned i = gaps[g]; i < count; i++) {
			uint64_t x = a[i];
			unsigned j = i;

			for (; j >= gaps[g] && a[j - gaps[g]] > x; j -= gaps[g])
				a[j] = a[j - gaps[g]];
			a[j] = x;
		}
	}
}

void guest_main(void)
{
	unsigned count = (unsigned)option("count", COUNT);
	uint64_t shortest = tsc_hz() / NAPS_PER_SECOND, seed = option("seed", 1);

	CHECK(count > 0 && count <= COUNT_MAX, "count is 1 to %u", COUNT_MAX);
	CHECK(cpuid(1, 0).ecx & CPUID_1C_TSC_DEADLINE, "CPUID shows no TSC deadline");
	set_gate(VECTOR_TIMER, wake_handler);
	apic_set_mode(APIC_X2APIC);
	apic_write(APIC_REG_LVT_TIMER, APIC_TIMER_TSC_DEADLINE | VECTOR_TIMER);
	for (;;) {
		/* What sorting and printing took is not what a sleeper would have taken: a rest makes up for it. */
		nap(tsc_hz() / RESTS_PER_SECOND);
		for (unsigned i = 0; i < count; i++)
			late[i] = nap(shortest + random_next(&seed) % (2 * shortest));
		sort(late, count);
		print("wake: %u half %llu most %llu worst %llu\n", count, (unsigned long long)late[count / 2],
		      (unsigned long long)late[count - 1 - count / 100], (unsigned long long)late[count - 1]);
	}
}
