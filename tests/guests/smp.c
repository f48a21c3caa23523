/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several processors, step by step: all start, count interrupts that others send
 * them by every way there is, agree on the time, are stopped by INIT in the middle
 * of what they do and start again. "cpus=N" says how many there are, "rounds=N"
 * how long each step lasts, "xapic" which mode; with "mixed" every other one is in
 * xAPIC mode. "patience=N" (seconds) is for a guest whose processors may have to wait
 * long for one of the host's.
 *
 * One word instead makes the guest a bad neighbour for ever: "spin" (interrupts
 * off on every processor), "storm" (all send IPIs to all), "inits" (each is reset
 * and started again and again, in mid-exit or by itself), "timers" (deadlines set anew without
 * end); or ends it: "reset" (INIT to the boot processor), "crash" (a triple fault
 * on the last processor), "off" (power-off on the last one).
 */
#include "tests/guests/lib/smp.h"

#include "tests/guests/lib/acpi.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "smp";

#define VECTOR_TOKEN 0x41
#define VECTOR_COUNT 0x52
#define VECTOR_TIMER 0x63
#define VECTOR_PIT 0x74
#define PATIENCE_SECONDS 10u
#define ROUNDS 200u
#define PIT_COUNT 5966u /* 5 ms */
#define LEAF_TOPOLOGY 0xbu

static uint32_t ids[SMP_CPUS_MAX];
static unsigned cpus;
static uint64_t patience; /* seconds */

/* What happened on each processor, by its place in ids. */
static struct {
	volatile unsigned up;       /* times it has started */
	volatile unsigned tokens, counted, nmis, timers, pits;
	volatile uint64_t beats;
	volatile bool go_on;
} on[SMP_CPUS_MAX];

static volatile unsigned tokens_left;

static unsigned self(void)
{
	uint32_t id = smp_id();

	for (unsigned i = 0; i < cpus; i++) {
		if (ids[i] == id)
			return i;
	}
	fail_with("APIC id %u is not in the MADT", id);
}

static void step(const char *what)
{
	print("smp: %s ok\n", what);
}

/* ---- handlers ---- */

/* Passes the token to the next processor. */
static void on_token(struct trap_frame *f)
{
	unsigned me = self();

	(void)f;
	on[me].tokens++;
	apic_eoi();
	if (tokens_left != 0) {
		tokens_left--;
		apic_send(ids[(me + 1) % cpus], VECTOR_TOKEN);
	}
}

static void on_count(struct trap_frame *f)
{
	(void)f;
	on[self()].counted++;
	apic_eoi();
}

static void on_nmi(struct trap_frame *f)
{
	(void)f;
	on[self()].nmis++;
}

static void on_timer(struct trap_frame *f)
{
	(void)f;
	on[self()].timers++;
	apic_eoi();
}

static void on_pit(struct trap_frame *f)
{
	(void)f;
	on[self()].pits++;
	apic_eoi();
}

/* ---- waiting ---- */

/* Until @counter is @value on all processors from @first on; false after too long. */
#define AWAIT_ALL(first, field, value)                                                                     \
	({                                                                                                 \
		uint64_t end_ = rdtsc() + patience * tsc_hz();                                             \
		unsigned i_ = (first);                                                                     \
		while (i_ < cpus && rdtsc() < end_) {                                                      \
			if (on[i_].field >= (value))                                                       \
				i_++;                                                                      \
			else                                                                               \
				cpu_pause();                                                               \
		}                                                                                          \
		i_ == cpus;                                                                                \
	})

/* ---- what the others do ---- */

static enum apic_mode mode;

static void come_up(unsigned me)
{
	enum apic_mode mine = apic_modes_differ && me % 2 ? APIC_XAPIC : mode;

	apic_set_mode(mine);
	CHECK(self() == me, "processor %u has APIC id %u", me, smp_id());
	CHECK(apic_read(APIC_REG_ID) >> (mine == APIC_XAPIC ? 24 : 0) == ids[me], "the APIC of %u shows another id", me);
	CHECK(!(rdmsr(MSR_IA32_APIC_BASE) & APIC_BASE_BSP), "processor %u says it is the boot processor", me);
	if (mine == APIC_XAPIC) {
		apic_write(APIC_REG_DFR, UINT32_MAX);
		apic_write(APIC_REG_LDR, 1u << (24 + me));
	}
	on[me].up++;
}

static void serve(uint64_t me)
{
	come_up((unsigned)me);
	for (;;)
		halt();
}

static void beat(uint64_t me)
{
	come_up((unsigned)me);
	cli();
	for (;;)
		on[me].beats++;
}

/* ---- steps ---- */

static void topology(void)
{
	unsigned expected = (unsigned)option("cpus", 2);
	uint32_t span;

	cpus = smp_count(ids);
	CHECK(cpus == expected, "the MADT has %u processors, not %u", cpus, expected);
	CHECK(smp_id() == ids[0], "the boot processor is not the first in the MADT");
	CHECK((cpuid(1, 0).ebx >> 16 & 0xff) >= cpus, "CPUID 1 counts %u", cpuid(1, 0).ebx >> 16 & 0xff);
	CHECK(cpuid(LEAF_TOPOLOGY, 1).ebx == cpus, "CPUID 0xb counts %u", cpuid(LEAF_TOPOLOGY, 1).ebx);
	span = 1u << (cpuid(LEAF_TOPOLOGY, 1).eax & 31);
	CHECK(span >= cpus && span < 2 * cpus, "CPUID 0xb spans %u ids", span);
	step("topology");
}

static void start_all(void (*fn)(uint64_t arg))
{
	for (unsigned i = 1; i < cpus; i++)
		on[i].up = 0;
	for (unsigned i = 1; i < cpus; i++)
		smp_start(ids[i], fn, i);
	CHECK(AWAIT_ALL(1, up, 1), "not all processors came up");
}

static void pass_token(unsigned rounds)
{
	uint64_t end = rdtsc() + patience * tsc_hz();

	tokens_left = rounds * cpus - 1;
	sti();
	apic_send(ids[1 % cpus], VECTOR_TOKEN);
	while (on[0].tokens < rounds && rdtsc() < end)
		halt();
	cli();
	for (unsigned i = 1; i < cpus; i++)
		CHECK(on[i].up == 1, "processor %u started %u times", i, on[i].up);
	for (unsigned i = 0; i < cpus; i++)
		CHECK(on[i].tokens == rounds, "processor %u had the token %u times of %u", i, on[i].tokens, rounds);
	step("token");
}

/* Each is answered before the next is sent, so that none may be merged. */
static void count_all(const char *what, uint32_t dest, uint32_t icr, unsigned first, unsigned rounds)
{
	for (unsigned i = 0; i < cpus; i++)
		on[i].counted = 0;
	for (unsigned n = 1; n <= rounds; n++) {
		apic_send(dest, icr | VECTOR_COUNT);
		sti();
		CHECK(AWAIT_ALL(first, counted, n), "%s: IPI %u did not reach all", what, n);
		cli();
	}
	for (unsigned i = 0; i < cpus; i++)
		CHECK(on[i].counted == (i >= first ? rounds : 0), "%s: processor %u counted %u of %u", what, i,
		      on[i].counted, rounds);
	step(what);
}

static void lowest_priority(unsigned rounds)
{
	uint64_t end = rdtsc() + patience * tsc_hz();
	unsigned sum = 0;

	for (unsigned i = 0; i < cpus; i++)
		on[i].counted = 0;
	sti();
	for (unsigned n = 1; n <= rounds && rdtsc() < end; n++) {
		apic_send((1u << cpus) - 1, (uint32_t)(APIC_ICR_LOGICAL | APIC_DELIVERY_LOWEST) | VECTOR_COUNT);
		for (sum = 0; sum < n && rdtsc() < end;) {
			cpu_pause();
			sum = 0;
			for (unsigned i = 0; i < cpus; i++)
				sum += on[i].counted;
		}
	}
	cli();
	CHECK(sum == rounds, "lowest priority: %u of %u were taken", sum, rounds);
	step("lowest priority");
}

static void nmis(void)
{
	apic_send(0, (uint32_t)(APIC_ICR_ALL_BUT_SELF | APIC_DELIVERY_NMI));
	CHECK(AWAIT_ALL(1, nmis, 1), "an NMI did not reach all");
	CHECK(on[0].nmis == 0, "the sender of an NMI got it");
	step("nmi");
}

/* The PIT's input, routed to each processor in turn. */
static void device_interrupts(void)
{
	uint64_t end = rdtsc() + patience * tsc_hz();

	for (unsigned i = cpus; i-- > 0;) {
		ioapic_route(2, VECTOR_PIT, false);
		ioapic_send_to(2, ids[i]);
		pit_periodic(PIT_COUNT);
		sti();
		while (on[i].pits < 3 && rdtsc() < end)
			cpu_pause();
		cli();
		CHECK(on[i].pits >= 3, "the PIT's interrupts do not reach processor %u", i);
	}
	ioapic_route(2, 0, false);
	step("device interrupts");
}

/* ---- time ---- */

static volatile uint32_t time_lock;
static volatile uint64_t latest;
static volatile unsigned backwards;

static void compare_time(unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t now;

		while (__atomic_exchange_n(&time_lock, 1, __ATOMIC_ACQUIRE))
			cpu_pause();
		now = rdtsc_ordered();
		if (now < latest)
			backwards++;
		latest = now;
		__atomic_store_n(&time_lock, 0, __ATOMIC_RELEASE);
	}
}

static void tell_time(uint64_t me)
{
	come_up((unsigned)me);
	compare_time((unsigned)option("rounds", ROUNDS) * 10);
	apic_write(APIC_REG_TIMER_DIVIDE, APIC_TIMER_DIVIDE_BY_1);
	apic_write(APIC_REG_LVT_TIMER, VECTOR_TIMER);
	apic_write(APIC_REG_TIMER_INITIAL, (uint32_t)(tsc_hz() / 1000));
	for (;;)
		halt();
}

static void time_agrees(unsigned rounds)
{
	start_all(tell_time);
	compare_time(rounds * 10);
	CHECK(AWAIT_ALL(1, timers, 1), "the timer of a processor does not fire");
	CHECK(on[0].timers == 0, "another one's timer fires here");
	CHECK(backwards == 0, "time ran backwards between processors %u times", backwards);
	step("time");
}

/* ---- INIT ---- */

static void send_init(uint32_t id)
{
	apic_send(id, (uint32_t)(APIC_DELIVERY_INIT | APIC_ICR_LEVEL | APIC_ICR_ASSERT));
}

static void stops_by_init(void)
{
	start_all(beat);
	for (unsigned i = 1; i < cpus; i++) {
		uint64_t seen, before = on[i].beats;

		CHECK(AWAIT_ALL(i, beats, before + 1000), "processor %u does nothing", i);
		send_init(ids[i]);
		spin_ticks(tsc_hz() / 50);
		seen = on[i].beats;
		apic_send(ids[i], VECTOR_COUNT);
		apic_send(ids[i], (uint32_t)APIC_DELIVERY_NMI);
		spin_ticks(tsc_hz() / 50);
		CHECK(on[i].beats == seen, "processor %u goes on after INIT", i);
	}
	for (unsigned i = 0; i < cpus; i++)
		on[i].nmis = on[i].counted = 0;
	start_all(serve);
	spin_ticks(tsc_hz() / 100);
	for (unsigned i = 1; i < cpus; i++)
		CHECK(on[i].nmis == 0 && on[i].counted == 0, "processor %u kept what came while it waited", i);
	step("init to a sibling");
}

static void init_oneself(uint64_t me)
{
	come_up((unsigned)me);
	send_init(ids[me]);
	on[me].beats = UINT64_MAX;
	for (;;)
		halt();
}

static void stops_itself(void)
{
	for (unsigned i = 1; i < cpus; i++)
		on[i].beats = 0;
	start_all(init_oneself);
	spin_ticks(tsc_hz() / 50);
	for (unsigned i = 1; i < cpus; i++)
		CHECK(on[i].beats == 0, "processor %u survives its INIT", i);
	start_all(serve);
	step("init to oneself");
}

/* ---- bad neighbours ---- */

static void spin(uint64_t me)
{
	if (me)
		come_up((unsigned)me);
	cli();
	for (;;)
		;
}

static void storm(uint64_t me)
{
	if (me)
		come_up((unsigned)me);
	sti();
	for (;;)
		apic_send(0, (uint32_t)APIC_ICR_ALL | VECTOR_COUNT);
}

static void send_without_end(uint64_t me)
{
	come_up((unsigned)me);
	for (;;)
		apic_send_self(VECTOR_COUNT);
}

static void inits(void)
{
	for (unsigned long n = 0;; n++) {
		unsigned i = 1 + (unsigned)(n % (cpus - 1));

		smp_start(ids[i], n / (cpus - 1) % 2 ? init_oneself : send_without_end, i);
		if (n % 100 == 99)
			print("smp: %lu starts\n", n + 1);
	}
}

static void set_timers(uint64_t me)
{
	uint64_t count = option("count", 0);

	if (me)
		come_up((unsigned)me);
	sti();
	apic_write(APIC_REG_LVT_TIMER, APIC_TIMER_TSC_DEADLINE | VECTOR_TIMER);
	for (uint64_t n = 0; count == 0 || n < count; n++)
		wrmsr(MSR_IA32_TSC_DEADLINE, rdtsc() + n % 5000);
	on[me].go_on = true;
	while (me)
		halt();
}

static void reset_boot_processor(uint64_t me)
{
	come_up((unsigned)me);
	send_init(ids[0]);
	for (;;)
		halt();
}

static void crash(uint64_t me)
{
	const struct descriptor_ptr none = {0};

	come_up((unsigned)me);
	lidt(&none);
	__asm__ volatile("ud2");
}

static void power_off(uint64_t me)
{
	const struct acpi_fixed *acpi = acpi_fixed();

	come_up((unsigned)me);
	out16(acpi->pm1_cnt, (uint16_t)(acpi->s5 << ACPI_PM1_SLP_TYP_SHIFT | ACPI_PM1_SLP_EN));
	for (;;)
		halt();
}

static void for_ever(const char *what, void (*fn)(uint64_t arg))
{
	start_all(fn);
	print("smp: %s\n", what);
	fn(0);
}

static void end_by_the_last(void (*fn)(uint64_t arg))
{
	for (unsigned i = 1; i + 1 < cpus; i++)
		smp_start(ids[i], serve, i);
	smp_start(ids[cpus - 1], fn, cpus - 1);
	for (;;)
		cpu_pause();
}

static void misbehave(void)
{
	if (option_word("spin"))
		for_ever("spinning", spin);
	if (option_word("storm"))
		for_ever("storming", storm);
	if (option_word("timers")) {
		for_ever("setting timers", set_timers);
		CHECK(AWAIT_ALL(0, go_on, true), "a processor does not come to its end");
		finish(EXIT_PASS);
	}
	if (option_word("inits"))
		inits();
	if (option_word("reset"))
		end_by_the_last(reset_boot_processor);
	if (option_word("crash"))
		end_by_the_last(crash);
	if (option_word("off"))
		end_by_the_last(power_off);
}

void guest_main(void)
{
	unsigned rounds = (unsigned)option("rounds", ROUNDS);
	/* In x2APIC mode the logical id is cluster 0, one bit for each of its processors (SDM 3A 11.12.10.2). */
	uint32_t all;

	patience = option("patience", PATIENCE_SECONDS);
	mode = option_word("xapic") ? APIC_XAPIC : APIC_X2APIC;
	apic_modes_differ = option_word("mixed");
	apic_set_mode(mode);
	set_handler(VECTOR_TOKEN, on_token);
	set_handler(VECTOR_COUNT, on_count);
	set_handler(VECTOR_TIMER, on_timer);
	set_handler(VECTOR_PIT, on_pit);
	set_handler(VEC_NMI, on_nmi);
	topology();
	if (mode == APIC_XAPIC) {
		apic_write(APIC_REG_DFR, UINT32_MAX);
		apic_write(APIC_REG_LDR, 1u << 24);
	}
	misbehave();
	start_all(serve);
	for (unsigned i = 1; i < cpus; i++)
		smp_send_startup(ids[i]);
	step("start");
	pass_token(rounds);
	all = (1u << cpus) - 1;
	count_all("all but self", 0, (uint32_t)APIC_ICR_ALL_BUT_SELF, 1, rounds);
	count_all("all", 0, (uint32_t)APIC_ICR_ALL, 0, rounds);
	count_all("logical", all, (uint32_t)APIC_ICR_LOGICAL, 0, rounds);
	count_all("broadcast", mode == APIC_XAPIC ? 0xff : UINT32_MAX, 0, 0, rounds);
	lowest_priority(rounds);
	nmis();
	device_interrupts();
	time_agrees(rounds);
	stops_by_init();
	stops_itself();
	for (unsigned i = 0; i < cpus; i++)
		on[i].tokens = 0;
	pass_token(rounds);
}
