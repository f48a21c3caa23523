/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's clock, wall clock and steal time, taken apart: what CPUID offers, the structures
 * against the TSC, the real-time clock and each other, and places that are no memory.
 * "cpus=N": on all of N processors, which then stay busy for "seconds=N"; each prints what was stolen from it.
 */
#include "tests/guests/lib/smp.h"

#include "guest/pvtime.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "pvtime";

#define LEAF_SIGNATURE 0x40000100u
#define LEAF_FEATURES 0x40000101u
#define NS_PER_SECOND 1000000000ull
#define PORT_RTC_INDEX 0x70u
#define PORT_RTC_DATA 0x71u
#define MOVED 123456789ull
#define PATIENCE_SECONDS 20u

static struct {
	_Alignas(64) struct pvtime_steal steal;
	_Alignas(32) struct pvtime_clock clock;
	volatile bool up, done;
} on[SMP_CPUS_MAX];
static struct pvtime_wall wall;
static unsigned cpus;
static uint32_t ids[SMP_CPUS_MAX];

static void step(const char *what)
{
	print("pvtime: %s ok\n", what);
}

/* A consistent copy, by the protocol of versions. */
#define READ(from)                                                                              \
	({                                                                                      \
		volatile __typeof__(from) *at_ = &(from);                                       \
		__typeof__(from) copy_;                                                         \
		uint32_t version_;                                                              \
		do {                                                                            \
			version_ = at_->version;                                                \
			__atomic_thread_fence(__ATOMIC_ACQUIRE);                                \
			copy_ = *at_;                                                           \
			__atomic_thread_fence(__ATOMIC_ACQUIRE);                                \
		} while (version_ % 2 != 0 || version_ != at_->version);                        \
		copy_;                                                                          \
	})

static uint64_t clock_ns(const struct pvtime_clock *c)
{
	uint64_t delta = rdtsc_ordered() - c->tsc_timestamp;

	delta = c->tsc_shift < 0 ? delta >> -c->tsc_shift : delta << c->tsc_shift;
	return c->system_time + (uint64_t)((unsigned __int128)delta * c->tsc_to_system_mul >> 32);
}

static uint64_t now_ns(unsigned cpu)
{
	struct pvtime_clock c = READ(on[cpu].clock);

	return clock_ns(&c);
}

/* ---- steps ---- */

static void features(void)
{
	const uint32_t wanted = (uint32_t)(KVM_FEATURE_NOP_IO_DELAY | KVM_FEATURE_CLOCKSOURCE2 | KVM_FEATURE_STEAL_TIME |
					   KVM_FEATURE_CLOCKSOURCE_STABLE);

	CHECK(cpuid(LEAF_SIGNATURE, 0).ebx == 0x4b4d564b, "no KVM signature");
	CHECK(cpuid(LEAF_FEATURES, 0).eax == wanted, "features %x", cpuid(LEAF_FEATURES, 0).eax);
	step("features");
}

static void the_clock(void)
{
	struct pvtime_clock c;
	uint64_t hz = tsc_hz(), ns, start;

	wrmsr(MSR_KVM_SYSTEM_TIME, (uint64_t)&on[0].clock | MSR_KVM_ENABLED);
	c = READ(on[0].clock);
	CHECK(c.version == 2 && c.flags == PVTIME_TSC_STABLE, "version %u, flags %x", c.version, c.flags);
	start = rdtsc();
	ns = clock_ns(&c);
	spin_ticks(hz / 100);
	ns = clock_ns(&c) - ns;
	start = (rdtsc() - start) * NS_PER_SECOND / hz; /* ns by CPUID's frequency */
	CHECK(ns <= start + 1000 && ns + 100000 > start, "10 ms are %llu ns by the clock", (unsigned long long)ns);
	/* It does not follow the TSC where the guest moves that. */
	ns = now_ns(0);
	wrmsr(MSR_IA32_TSC_ADJUST, rdmsr(MSR_IA32_TSC_ADJUST) + MOVED);
	CHECK(now_ns(0) >= ns && now_ns(0) < ns + NS_PER_SECOND / 100, "the clock jumps by %lld with the TSC",
	      (long long)(now_ns(0) - ns));
	CHECK(on[0].clock.version == 4, "version %u after it", on[0].clock.version);
	wrmsr(MSR_IA32_TSC_ADJUST, 0);
	step("clock");
}

static unsigned rtc(uint8_t index)
{
	unsigned bcd;

	out8(PORT_RTC_INDEX, index);
	bcd = in8(PORT_RTC_DATA);
	return (bcd >> 4) * 10 + (bcd & 15);
}

static void the_wall_clock(void)
{
	uint64_t sec;
	unsigned minute, second;

	wrmsr(MSR_KVM_WALL_CLOCK, (uint64_t)&wall);
	CHECK(wall.version % 2 == 0 && wall.version != 0 && wall.nsec < NS_PER_SECOND, "version %u, nsec %u", wall.version, wall.nsec);
	sec = wall.sec + (wall.nsec + now_ns(0)) / NS_PER_SECOND;
	minute = rtc(2);
	second = rtc(0);
	/* Both are known to the second, and the RTC may tick in between. */
	CHECK((minute * 60 + second + 3600 + 2 - sec % 3600) % 3600 <= 4, "%llu s, but the RTC is at %02u:%02u",
	      (unsigned long long)sec, minute, second);
	step("wall clock");
}

static void refuse(uint32_t msr, uint64_t value)
{
	uint64_t before = rdmsr(msr);

	CHECK(!wrmsr_safe(msr, value), "WRMSR %x, %llx works", msr, (unsigned long long)value);
	CHECK(rdmsr(msr) == before, "MSR %x changes all the same", msr);
}

static void bad_places(void)
{
	static const uint64_t places[] = {0xfec00000, 0xfee00000, 0xd0000000, 1ull << 38, ~0xfffull};

	for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
		refuse(MSR_KVM_WALL_CLOCK, places[i]);
		refuse(MSR_KVM_SYSTEM_TIME, places[i] | MSR_KVM_ENABLED);
		refuse(MSR_KVM_STEAL_TIME, places[i] | MSR_KVM_ENABLED);
	}
	refuse(MSR_KVM_SYSTEM_TIME, (uint64_t)&on[0].clock | 2 | MSR_KVM_ENABLED);
	refuse(MSR_KVM_WALL_CLOCK, (uint64_t)&wall | 1);
	for (unsigned bit = 1; bit < 6; bit++)
		refuse(MSR_KVM_STEAL_TIME, (uint64_t)&on[0].steal | BIT(bit) | MSR_KVM_ENABLED);
	/* Not offered: older clocks, asynchronous faults, EOIs in memory. */
	CHECK(!wrmsr_safe(0x11, 0) && !wrmsr_safe(0x12, 0) && !wrmsr_safe(0x4b564d02, 0) && !wrmsr_safe(0x4b564d04, 0),
	      "more is there than is offered");
	step("refusals");
}

/* ---- all processors ---- */

static void own(unsigned me)
{
	wrmsr(MSR_KVM_SYSTEM_TIME, (uint64_t)&on[me].clock | MSR_KVM_ENABLED);
	wrmsr(MSR_KVM_STEAL_TIME, (uint64_t)&on[me].steal | MSR_KVM_ENABLED);
}

/* Busy for a while; the versions go on meanwhile, and the number never back. */
static void stay_busy(unsigned me)
{
	uint64_t end = now_ns(me) + option("seconds", 1) * NS_PER_SECOND, last = 0;

	while (now_ns(me) < end) {
		struct pvtime_steal s = READ(on[me].steal);

		CHECK(s.steal >= last, "stolen time goes back from %llu to %llu", (unsigned long long)last, (unsigned long long)s.steal);
		CHECK(s.preempted == 0 && s.flags == 0, "preempted %u, flags %x in its own turn", s.preempted, s.flags);
		last = s.steal;
	}
	on[me].done = true;
}

static void sibling(uint64_t me)
{
	apic_set_mode(APIC_X2APIC);
	own((unsigned)me);
	on[me].up = true;
	stay_busy((unsigned)me);
	for (;;)
		halt();
}

static void all_processors(void)
{
	uint64_t first, second;

	cpus = smp_count(ids);
	CHECK(cpus == option("cpus", 1), "%u processors", cpus);
	own(0);
	for (unsigned i = 1; i < cpus; i++) {
		smp_start(ids[i], sibling, i);
		while (!on[i].up)
			cpu_pause();
		/* Each has its own structure, and all the same time. */
		first = now_ns(0);
		second = now_ns(i);
		CHECK(second >= first && now_ns(0) >= second, "the clocks of 0 and %u differ", i);
	}
	stay_busy(0);
	for (unsigned i = 1; i < cpus; i++)
		while (!on[i].done)
			cpu_pause();
	for (unsigned i = 0; i < cpus; i++)
		print("pvtime: stolen %u %llu of %llu\n", i, (unsigned long long)READ(on[i].steal).steal,
		      (unsigned long long)now_ns(0));
}

void guest_main(void)
{
	apic_set_mode(APIC_X2APIC);
	features();
	bad_places();
	the_clock();
	the_wall_clock();
	bad_places();
	all_processors();
}
