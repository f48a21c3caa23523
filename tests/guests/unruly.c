/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest with several processors that abuses its interrupt controllers, for ever
 * or, with "rounds=N", so many times, and then says whether all that should have
 * come has come. One word chooses the abuse:
 *
 * "selfinit"   each processor but the first sends INIT to itself as soon as it runs
 * "broadcast"  INIT to all but the first at once, again and again
 * "midexit"    INIT to processors in the midst of device accesses and CPUID
 * "nmi"        NMIs to processors that sleep with interrupts off
 * "absent"     messages of all kinds to APIC ids that are not there, start-up
 *              messages to processors that run, and vectors that cannot be
 * "lowest"     all send to all with lowest priority
 * "timers"     all set their timers anew, in all three modes
 */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/smp.h"

const char guest_name[] = "unruly";

#define VECTOR 0x52
#define ROUNDS_PER_LINE 50u
#define PATIENCE_SECONDS 20u
#define PORT_PIT 0x40
#define PORT_RTC 0x70
#define IOAPIC 0xfec00000ull
#define PERIOD_MIN 5000u /* shorter than its handler takes, a periodic timer would leave no time for anything else */
#define STARTUP_ANYWHERE 0u /* a page without code: who took it would end there */

static uint32_t ids[SMP_CPUS_MAX];
static unsigned cpus;
static uint64_t rounds; /* 0: for ever */

static struct {
	volatile uint64_t up, work, nmis, taken;
} on[SMP_CPUS_MAX];

static unsigned self(void)
{
	uint32_t id = smp_id();
	unsigned i = 0;

	while (i < cpus && ids[i] != id)
		i++;
	return i;
}

static void on_nmi(struct trap_frame *f)
{
	(void)f;
	on[self()].nmis++;
}

static void on_vector(struct trap_frame *f)
{
	(void)f;
	on[self()].taken++;
	apic_eoi();
}

static void send_init(uint32_t id, uint64_t shorthand)
{
	apic_send(id, (uint32_t)(APIC_DELIVERY_INIT | APIC_ICR_LEVEL | APIC_ICR_ASSERT | shorthand));
}

static void come_up(uint64_t me)
{
	apic_set_mode(APIC_X2APIC);
	on[me].up++;
}

/* Counts @n of them; true at the last one. */
static bool enough(uint64_t n)
{
	if (n % ROUNDS_PER_LINE == 0)
		print("unruly: %llu rounds\n", (unsigned long long)n);
	return rounds && n >= rounds;
}

static void await(const volatile uint64_t *counter, uint64_t value, const char *what)
{
	uint64_t end = rdtsc() + PATIENCE_SECONDS * tsc_hz();

	while (*counter < value) {
		CHECK(rdtsc() < end, "%s: %llu of %llu", what, (unsigned long long)*counter, (unsigned long long)value);
		cpu_pause();
	}
}

/* ---- INIT ---- */

static void init_myself(uint64_t me)
{
	come_up(me);
	send_init(ids[me], 0);
	on[me].work++; /* nobody gets here */
	for (;;)
		halt();
}

static void work_without_end(uint64_t me)
{
	come_up(me);
	for (;;) {
		on[me].work++;
		out8(PORT_PIT, 0);
		out8(PORT_RTC, 0x0a);
		in8(PORT_RTC + 1);
		mmio_write32((volatile void *)IOAPIC, 1);
		cpuid(0, 0);
		apic_send_self(VECTOR);
	}
}

/* Starts all others with @fn. */
static void start_all(void (*fn)(uint64_t arg))
{
	for (unsigned i = 1; i < cpus; i++)
		smp_start(ids[i], fn, i);
}

static void self_inits(void)
{
	for (uint64_t n = 1;; n++) {
		start_all(init_myself);
		for (unsigned i = 1; i < cpus; i++)
			await(&on[i].up, n, "starts");
		if (enough(n))
			break;
	}
	for (unsigned i = 1; i < cpus; i++)
		CHECK(on[i].work == 0, "processor %u survived its INIT %llu times", i, (unsigned long long)on[i].work);
}

static void broadcasts(void)
{
	for (uint64_t n = 1;; n++) {
		uint64_t seen[SMP_CPUS_MAX];

		start_all(work_without_end);
		for (unsigned i = 1; i < cpus; i++)
			await(&on[i].up, n, "starts");
		send_init(0, APIC_ICR_ALL_BUT_SELF);
		spin_ticks(tsc_hz() / 20);
		for (unsigned i = 1; i < cpus; i++)
			seen[i] = on[i].work;
		spin_ticks(tsc_hz() / 200);
		for (unsigned i = 1; i < cpus; i++)
			CHECK(on[i].work == seen[i], "processor %u goes on after INIT to all", i);
		if (enough(n))
			break;
	}
}

static void inits_in_mid_exit(void)
{
	for (uint64_t n = 1;; n++) {
		unsigned i = 1 + (unsigned)(n % (cpus - 1));
		uint64_t before = on[i].work;

		smp_start(ids[i], work_without_end, i);
		await(&on[i].work, before + n % 7, "accesses");
		if (enough(n))
			break;
	}
}

/* ---- messages ---- */

static void sleep_masked(uint64_t me)
{
	if (me)
		come_up(me);
	cli();
	for (;;)
		__asm__ volatile("hlt");
}

static void nmis(void)
{
	start_all(sleep_masked);
	for (uint64_t n = 1;; n++) {
		apic_send(0, (uint32_t)(APIC_ICR_ALL_BUT_SELF | APIC_DELIVERY_NMI));
		for (unsigned i = 1; i < cpus; i++)
			await(&on[i].nmis, n, "NMIs");
		if (enough(n))
			break;
	}
	CHECK(on[0].nmis == 0, "the sender of NMIs got one");
}

static void send_nonsense(uint32_t id)
{
	static const uint64_t deliveries[] = {APIC_DELIVERY_FIXED, APIC_DELIVERY_LOWEST, 0x200, APIC_DELIVERY_NMI,
					      APIC_DELIVERY_INIT | APIC_ICR_ASSERT, APIC_DELIVERY_STARTUP, 0x300, 0x700};

	for (unsigned i = 0; i < ARRAY_SIZE(deliveries); i++)
		apic_send(id, (uint32_t)deliveries[i] | VECTOR);
	for (uint32_t vector = 0; vector < 16; vector += 5)
		apic_send_self((uint8_t)vector);
}

static volatile bool all_run;

static void call_into_the_void(uint64_t me)
{
	if (me)
		come_up(me);
	while (!all_run) /* who still waits would begin where the message says */
		cpu_pause();
	for (uint64_t n = 1;; n++) {
		for (uint32_t id = 16; id < 0x40000; id = id * 5 + 3)
			send_nonsense(id);
		for (unsigned i = 0; i < cpus; i++)
			apic_send(ids[i], (uint32_t)APIC_DELIVERY_STARTUP | STARTUP_ANYWHERE);
		on[me].work++;
		if (me == 0 && enough(n))
			break;
	}
}

static void absent(void)
{
	start_all(call_into_the_void);
	for (unsigned i = 1; i < cpus; i++)
		await(&on[i].up, 1, "starts");
	all_run = true;
	call_into_the_void(0);
	for (unsigned i = 1; i < cpus; i++) {
		await(&on[i].work, 1, "rounds of the others");
		CHECK(on[i].up == 1, "processor %u started %llu times", i, (unsigned long long)on[i].up);
	}
	CHECK(on[0].nmis == 0 && on[0].taken == 0, "a message to nobody came");
}

static void send_lowest(uint64_t me)
{
	uint32_t all = (1u << cpus) - 1;

	if (me)
		come_up(me);
	sti();
	for (uint64_t n = 1;; n++) {
		apic_send(all, (uint32_t)(APIC_ICR_LOGICAL | APIC_DELIVERY_LOWEST) | (VECTOR + (uint32_t)(n % 16)));
		on[me].work++;
		if (me == 0 && enough(n))
			break;
	}
	cli();
}

static void lowest(void)
{
	start_all(send_lowest);
	send_lowest(0);
}

/* ---- timers ---- */

static void set_timers(uint64_t me)
{
	static const uint64_t modes[] = {APIC_TIMER_ONE_SHOT, APIC_TIMER_PERIODIC, APIC_TIMER_TSC_DEADLINE};

	if (me)
		come_up(me);
	apic_write(APIC_REG_TIMER_DIVIDE, APIC_TIMER_DIVIDE_BY_1);
	sti();
	for (uint64_t n = 1;; n++) {
		apic_write(APIC_REG_LVT_TIMER, (uint32_t)modes[n / 64 % ARRAY_SIZE(modes)] | VECTOR);
		apic_write(APIC_REG_TIMER_INITIAL, PERIOD_MIN + (uint32_t)(n * 77 % 3000));
		wrmsr(MSR_IA32_TSC_DEADLINE, rdtsc() + n % 500);
		on[me].work++;
		if (me == 0 && enough(n))
			break;
	}
	cli();
}

static void timers(void)
{
	start_all(set_timers);
	set_timers(0);
}

void guest_main(void)
{
	static const struct {
		const char *word;
		void (*fn)(void);
	} abuses[] = {{"selfinit", self_inits}, {"broadcast", broadcasts}, {"midexit", inits_in_mid_exit}, {"nmi", nmis},
		      {"absent", absent},       {"lowest", lowest},         {"timers", timers}};

	rounds = option("rounds", 0);
	cpus = smp_count(ids);
	CHECK(cpus == option("cpus", 2), "the MADT has %u processors", cpus);
	apic_set_mode(APIC_X2APIC);
	set_handler(VEC_NMI, on_nmi);
	for (unsigned i = 0; i < 16; i++)
		set_handler(VECTOR + i, on_vector);
	for (unsigned i = 0; i < ARRAY_SIZE(abuses); i++) {
		if (option_word(abuses[i].word)) {
			print("unruly: %s\n", abuses[i].word);
			abuses[i].fn();
			finish(EXIT_PASS);
		}
	}
	fail_with("no word says what to do");
}
