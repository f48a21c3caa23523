/* SPDX-License-Identifier: Apache-2.0 */
/* See smp.h. One processor starts at a time: what it shall run stands in one place until it has taken it. */
#include "tests/guests/lib/smp.h"

#include <string.h>

#include "tests/guests/lib/acpi.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/trap.h"

#define TRAMPOLINE 0x10000ull
#define MADT_ENTRIES 44u
#define MADT_LOCAL_APIC 0u
#define MADT_ENABLED 1u
#define LEAF_FEATURES 1u
#define PATIENCE_SECONDS 4u
#define SECOND_AFTER 100u /* the second message goes out a 100th of a second after the first */

extern const char smp_trampoline[], smp_trampoline_end[];
extern volatile uint32_t smp_entered;
void smp_enter(uint32_t number);

static struct {
	void (*fn)(uint64_t arg);
	uint64_t arg;
	volatile bool taken;
} job;

uint32_t smp_id(void)
{
	return cpuid(LEAF_FEATURES, 0).ebx >> 24;
}

unsigned smp_count(uint32_t ids[SMP_CPUS_MAX])
{
	const uint8_t *madt = acpi_table("APIC");
	unsigned count = 0;
	uint32_t length;

	CHECK(madt, "there is no MADT");
	length = get_le32(madt + 4);
	for (uint32_t at = MADT_ENTRIES; at + 2 <= length && madt[at + 1] >= 2; at += madt[at + 1]) {
		if (madt[at] == MADT_LOCAL_APIC && (get_le32(madt + at + 4) & MADT_ENABLED) && count < SMP_CPUS_MAX)
			ids[count++] = madt[at + 3];
	}
	return count;
}

void smp_enter(uint32_t number)
{
	void (*fn)(uint64_t arg) = job.fn;
	uint64_t arg = job.arg;

	(void)number;
	trap_load();
	job.taken = true;
	fn(arg);
}

/* Within @ticks. */
static bool await_taken(uint64_t ticks)
{
	uint64_t end = rdtsc() + ticks;

	while (!job.taken && rdtsc() < end)
		cpu_pause();
	return job.taken;
}

void smp_send_startup(uint32_t id)
{
	apic_send(id, (uint32_t)APIC_DELIVERY_STARTUP | (uint32_t)(TRAMPOLINE >> 12));
}

void smp_start(uint32_t id, void (*fn)(uint64_t arg), uint64_t arg)
{
	memcpy((void *)TRAMPOLINE, smp_trampoline, (size_t)(smp_trampoline_end - smp_trampoline));
	job.fn = fn;
	job.arg = arg;
	job.taken = false;
	apic_send(id, (uint32_t)(APIC_DELIVERY_INIT | APIC_ICR_LEVEL | APIC_ICR_ASSERT));
	apic_send(id, (uint32_t)(APIC_DELIVERY_INIT | APIC_ICR_LEVEL)); /* de-assert, as old systems send it */
	smp_send_startup(id);
	if (!await_taken(tsc_hz() / SECOND_AFTER))
		smp_send_startup(id);
	CHECK(await_taken(PATIENCE_SECONDS * tsc_hz()), "processor %u does not start", id);
}
