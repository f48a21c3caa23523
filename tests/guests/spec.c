/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IA32_SPEC_CTRL as a kernel uses it that writes it each time it is entered: a random value, some time in which others
 * run, and what is read must be what was written; "seed=N", "rounds=N". The word "zero" writes nothing but 0, and finds
 * what others left.
 */
#include "tests/guests/lib/guest.h"

const char guest_name[] = "spec";

#define ROUNDS 4000u
#define SPIN_MAX 4096u
#define RESERVED BIT(20)

/* What the CPU says that it has. */
static uint64_t allowed(void)
{
	uint32_t edx = cpuid(CPUID_EXTENDED_FEATURES, 0).edx;

	return (edx & CPUID_7D_SPEC_CTRL ? SPEC_CTRL_IBRS : 0) | (edx & CPUID_7D_STIBP ? SPEC_CTRL_STIBP : 0) |
	       (edx & CPUID_7D_SSBD ? SPEC_CTRL_SSBD : 0);
}

static void refusals(uint64_t mask)
{
	uint64_t before = rdmsr(MSR_IA32_SPEC_CTRL);

	CHECK(!wrmsr_safe(MSR_IA32_SPEC_CTRL, mask | RESERVED), "takes a reserved bit");
	CHECK(!wrmsr_safe(MSR_IA32_SPEC_CTRL, mask | BIT(40)), "takes a high bit");
	CHECK(rdmsr(MSR_IA32_SPEC_CTRL) == before, "a refused write changed it");
}

void guest_main(void)
{
	uint64_t mask = allowed(), seed = option("seed", 1), value = 0, rounds = option("rounds", ROUNDS);

	if (!mask) {
		CHECK(!rdmsr_safe(MSR_IA32_SPEC_CTRL, &value), "not shown, and there");
		print("spec: absent\n");
		return;
	}
	CHECK(rdmsr(MSR_IA32_SPEC_CTRL) == 0, "it is %llx at first", (unsigned long long)rdmsr(MSR_IA32_SPEC_CTRL));
	refusals(mask);
	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t next = option_word("zero") ? 0 : random_next(&seed) & mask;

		CHECK(rdmsr(MSR_IA32_SPEC_CTRL) == value, "round %llu: %llx, not %llx", (unsigned long long)i,
		      (unsigned long long)rdmsr(MSR_IA32_SPEC_CTRL), (unsigned long long)value);
		wrmsr(MSR_IA32_SPEC_CTRL, value = next);
		spin_ticks(random_next(&seed) % SPIN_MAX);
	}
	refusals(mask);
	print("spec: %llu rounds of mask %llx\n", (unsigned long long)rounds, (unsigned long long)mask);
}
