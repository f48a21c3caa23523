/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC against two naive ones: arrays of 256 flags searched from the
 * top for the priorities, and a timer that is stepped tick by tick for the
 * counting modes. Random operations, the seed printed by a failing check.
 */
#include "tests/cmocka_all.h"

#include <stdalign.h>
#include <stdlib.h>

#include "guest/vlapic.h"
#include "lib/bits.h"
#include "lib/x86_regs.h"
#include "tests/fakes/device_rig.h"

#define SEEDS 40
#define STEPS 3000
#define HZ 1000000000ull

static struct rig rig;
static struct vlapic lapic;
static alignas(4096) uint8_t page[4096];
static unsigned eois;
static uint8_t eoi_vector;

static void ignore(void *ctx) { (void)ctx; }
static void ignore_vector(void *ctx, uint8_t vector) { (void)ctx, (void)vector; }
static void ignore_icr(void *ctx, uint64_t icr) { (void)ctx, (void)icr; }
static void ignore_mode(void *ctx, enum vlapic_mode mode) { (void)ctx, (void)mode; }
static void on_eoi(void *ctx, uint8_t vector) { (void)ctx, eois++, eoi_vector = vector; }
static const struct vlapic_ops ops = {ignore, ignore_vector, ignore, ignore, ignore_vector, ignore_icr, on_eoi, ignore_mode};

static uint32_t get(uint32_t reg) { return (uint32_t)lapic.dev.ops->read(&lapic.dev, reg, 4); }
static void set(uint32_t reg, uint32_t v) { lapic.dev.ops->write(&lapic.dev, reg, 4, v); }

static void start(unsigned seed)
{
	srand(seed);
	rig_init(&rig, HZ);
	vlapic_init(&lapic, 0, page, &rig.timers, &rig.time, &ops, &lapic);
	set(APIC_REG_SVR, 0x1ff);
	eois = 0;
}

#define CHECK(cond)                                                                    \
	do {                                                                           \
		if (!(cond))                                                           \
			fail_msg("seed %u step %u: %s", seed, step, #cond);            \
	} while (0)

/* ---- priorities ---- */

static struct {
	bool irr[256], isr[256], tmr[256];
	uint8_t tpr;
} naive;

static int top(const bool *set)
{
	for (int v = 255; v >= 0; v--)
		if (set[v])
			return v;
	return -1;
}

static int naive_ppr(void)
{
	int isr = top(naive.isr) < 0 ? 0 : top(naive.isr) & 0xf0;

	return (naive.tpr & 0xf0) >= isr ? naive.tpr : isr;
}

static int naive_deliverable(void)
{
	int irr = top(naive.irr);

	return irr >= 0 && (irr & 0xf0) > (naive_ppr() & 0xf0) ? irr : -1;
}

static void do_eoi(unsigned seed, unsigned step)
{
	int v = top(naive.isr);
	unsigned before = eois;

	set(APIC_REG_EOI, 0);
	if (v < 0) {
		CHECK(eois == before);
		return;
	}
	naive.isr[v] = false;
	CHECK(eois == before + naive.tmr[v]);
	CHECK(!naive.tmr[v] || eoi_vector == v);
}

/* What an engine with virtual-interrupt delivery does to the page. */
static void poke_page(uint32_t base, int v, bool on)
{
	uint32_t at = base + (uint32_t)v / 32 * 16;
	uint32_t word = get_le32(page + at), bit = 1u << v % 32;

	put_le32(page + at, on ? word | bit : word & ~bit);
}

static void deliver(void)
{
	int v = naive_deliverable();

	if (v < 0)
		return;
	if (lapic.hw_delivery) {
		poke_page(APIC_REG_IRR, v, false);
		poke_page(APIC_REG_ISR, v, true);
	} else {
		vlapic_accept(&lapic, (uint8_t)v);
	}
	naive.irr[v] = false;
	naive.isr[v] = true;
}

static void random_step(unsigned seed, unsigned step)
{
	int v = 16 + rand() % 240;

	switch (rand() % 8) {
	case 0:
	case 1:
	case 2:
		naive.tmr[v] = rand() % 3 == 0;
		naive.irr[v] = true;
		vlapic_post(&lapic, (uint8_t)v, naive.tmr[v]);
		break;
	case 3:
		naive.tpr = rand() % 2 ? 0 : (uint8_t)rand();
		set(APIC_REG_TPR, naive.tpr);
		break;
	case 4:
		if (!lapic.hw_delivery)
			break;
		naive.irr[v] = true; /* virtualised self-IPI */
		poke_page(APIC_REG_IRR, v, true);
		break;
	case 5:
	case 6:
		do_eoi(seed, step);
		break;
	default:
		deliver();
		break;
	}
}

static void check_bitmaps(unsigned seed, unsigned step)
{
	uint64_t exits[4];

	vlapic_eoi_exits(&lapic, exits);
	for (unsigned v = 0; v < 256; v++) {
		CHECK((get(APIC_REG_IRR + v / 32 * 16) >> v % 32 & 1) == naive.irr[v]);
		CHECK((get(APIC_REG_ISR + v / 32 * 16) >> v % 32 & 1) == naive.isr[v]);
		CHECK((get(APIC_REG_TMR + v / 32 * 16) >> v % 32 & 1) == naive.tmr[v]);
		CHECK((exits[v / 64] >> v % 64 & 1) == naive.tmr[v]);
	}
}

static void run_priorities(unsigned seed, bool hw_delivery)
{
	start(seed);
	memset(&naive, 0, sizeof naive);
	lapic.hw_delivery = hw_delivery;
	for (unsigned step = 0; step < STEPS; step++) {
		random_step(seed, step);
		CHECK(vlapic_highest_irr(&lapic) == top(naive.irr));
		CHECK(vlapic_highest_isr(&lapic) == top(naive.isr));
		CHECK(get(APIC_REG_PPR) == (uint32_t)naive_ppr());
		CHECK(vlapic_deliverable(&lapic) == naive_deliverable());
		if (step % 100 == 0)
			check_bitmaps(seed, step);
	}
	check_bitmaps(seed, STEPS);
}

static void priorities(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= SEEDS; seed++) {
		run_priorities(seed, false);
		run_priorities(seed, true);
	}
}

/* ---- counting timer ---- */

static struct {
	uint32_t initial, count, divide, prescale;
	bool periodic, masked, pending;
} naive_timer;

static void naive_tick(void)
{
	if (naive_timer.count == 0 || ++naive_timer.prescale < naive_timer.divide)
		return;
	naive_timer.prescale = 0;
	if (--naive_timer.count > 0)
		return;
	naive_timer.pending |= !naive_timer.masked;
	if (naive_timer.periodic)
		naive_timer.count = naive_timer.initial;
}

static void timer_random_step(void)
{
	static const uint8_t dcr[] = {0xb, 0, 1, 2, 3, 8, 9, 10};
	unsigned n;

	switch (rand() % 8) {
	case 0:
		naive_timer.initial = naive_timer.count = rand() % 3 ? (uint32_t)rand() % 40 : 0;
		naive_timer.prescale = 0;
		set(APIC_REG_TIMER_INITIAL, naive_timer.initial);
		break;
	case 1:
		n = (unsigned)rand() % 8;
		naive_timer.divide = 1u << n;
		naive_timer.prescale = 0; /* the count is kept, the prescaler starts anew */
		set(APIC_REG_TIMER_DIVIDE, dcr[n]);
		break;
	case 2:
		naive_timer.periodic = rand() % 2;
		naive_timer.masked = rand() % 3 == 0;
		set(APIC_REG_LVT_TIMER, 0x40 | (naive_timer.masked ? APIC_LVT_MASKED : 0) |
						(naive_timer.periodic ? APIC_TIMER_PERIODIC : 0));
		break;
	default:
		n = (unsigned)rand() % (rand() % 4 ? 60 : 3000);
		for (unsigned i = 0; i < n; i++)
			naive_tick();
		if (rand() % 2)
			rig_advance(&rig, n);
		else
			rig_jump(&rig, n);
		break;
	}
}

static void counting_timer(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= SEEDS; seed++) {
		start(seed);
		memset(&naive_timer, 0, sizeof naive_timer);
		naive_timer.divide = 2;
		naive_timer.masked = true;
		for (unsigned step = 0; step < STEPS; step++) {
			timer_random_step();
			if (rand() % 3 == 0) /* a read settles the state: not always */
				CHECK(get(APIC_REG_TIMER_CURRENT) == naive_timer.count);
			rig_jump(&rig, 0);
			CHECK((vlapic_deliverable(&lapic) == 0x40) == naive_timer.pending);
			if (!naive_timer.pending)
				continue;
			vlapic_accept(&lapic, 0x40);
			set(APIC_REG_EOI, 0);
			naive_timer.pending = false;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(priorities),
		cmocka_unit_test(counting_timer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
