/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC, register by register: what SDM 3A chapter 11 says of
 * priorities, EOI, local vectors, the timer's modes, the two register faces and
 * the changes between them.
 */
#include "tests/cmocka_all.h"

#include <stdalign.h>

#include "guest/vlapic.h"
#include "lib/bits.h"
#include "lib/x86_regs.h"
#include "tests/fakes/device_rig.h"

#define HZ 1000000000ull
#define MMIO_RESERVED 0x040

static struct rig rig;
static struct vlapic lapic, other;
static alignas(4096) uint8_t page[4096], other_page[4096];
static struct {
	unsigned changed, posted, nmi, init, startup, ipi, eoi, mode;
	uint8_t posted_vector, startup_vector, eoi_vector;
	uint64_t icr;
	enum vlapic_mode last_mode;
} seen;

static void on_changed(void *ctx) { (void)ctx, seen.changed++; }
static void on_posted(void *ctx, uint8_t vector) { (void)ctx, seen.changed++, seen.posted++, seen.posted_vector = vector; }
static void on_nmi(void *ctx) { (void)ctx, seen.nmi++; }
static void on_init(void *ctx) { (void)ctx, seen.init++; }
static void on_startup(void *ctx, uint8_t vector) { (void)ctx, seen.startup++, seen.startup_vector = vector; }
static void on_eoi(void *ctx, uint8_t vector) { (void)ctx, seen.eoi++, seen.eoi_vector = vector; }
static void on_mode(void *ctx, enum vlapic_mode mode) { (void)ctx, seen.mode++, seen.last_mode = mode; }

static void on_ipi(void *ctx, uint64_t icr)
{
	seen.ipi++;
	seen.icr = icr;
	if (ctx == &lapic)
		if (vlapic_ipi_reaches(&other, icr, false))
			vlapic_receive(&other, icr & APIC_LVT_DELIVERY_MASK, (uint8_t)icr, false);
}

static const struct vlapic_ops ops = {on_changed, on_posted, on_nmi, on_init, on_startup, on_ipi, on_eoi, on_mode};

static int setup(void **state)
{
	(void)state;
	memset(&seen, 0, sizeof seen);
	memset(page, 0xee, sizeof page);
	rig_init(&rig, HZ);
	vlapic_init(&lapic, 0, page, &rig.timers, &rig.time, &ops, &lapic);
	vlapic_init(&other, 5, other_page, &rig.timers, &rig.time, &ops, &other);
	assert_int_equal(seen.changed + seen.mode, 0);
	return 0;
}

static uint32_t get(uint32_t reg) { return (uint32_t)lapic.dev.ops->read(&lapic.dev, reg, 4); }
static void set(uint32_t reg, uint32_t v) { lapic.dev.ops->write(&lapic.dev, reg, 4, v); }
static void set_of(struct vlapic *l, uint32_t reg, uint32_t v) { l->dev.ops->write(&l->dev, reg, 4, v); }

static void wrmsr(uint32_t msr, uint64_t v) { assert_int_equal(vlapic_write_msr(&lapic, msr, v), ST_OK); }
static void wrmsr_gp(uint32_t msr, uint64_t v) { assert_int_equal(vlapic_write_msr(&lapic, msr, v), ST_INVALID); }

static uint64_t rdmsr(uint32_t msr)
{
	uint64_t v = 0x5a5a5a5a5a5a5a5a;

	assert_int_equal(vlapic_read_msr(&lapic, msr, &v), ST_OK);
	return v;
}

static void rdmsr_gp(uint32_t msr)
{
	uint64_t v = 77;

	assert_int_equal(vlapic_read_msr(&lapic, msr, &v), ST_INVALID);
	assert_true(v == 77);
}

static void enable(void) { set(APIC_REG_SVR, 0x1ff); }
static void enter_x2apic(void) { wrmsr(MSR_IA32_APIC_BASE, lapic.base_msr | APIC_BASE_EXTD); }

/* Takes what is deliverable, as the vcpu does. */
static int take(void)
{
	int v = vlapic_deliverable(&lapic);

	if (v >= 0)
		vlapic_accept(&lapic, (uint8_t)v);
	return v;
}

/* ---- power-on ---- */

static void power_on_state(void **state)
{
	(void)state;
	assert_int_equal(get(APIC_REG_ID), 0);
	assert_int_equal(other_page[APIC_REG_ID + 3], 5);
	assert_int_equal(get(APIC_REG_VERSION), 0x01050015);
	assert_int_equal(get(APIC_REG_SVR), 0xff);
	assert_int_equal(get(APIC_REG_DFR), 0xffffffff);
	for (uint32_t reg = APIC_REG_LVT_TIMER; reg <= APIC_REG_LVT_ERROR; reg += APIC_REG_STEP)
		assert_int_equal(get(reg), 0x10000);
	assert_int_equal(get(APIC_REG_TPR) | get(APIC_REG_LDR) | get(APIC_REG_ESR) | get(APIC_REG_ICR_LOW), 0);
	assert_true(rdmsr(MSR_IA32_APIC_BASE) == 0xfee00900);
	assert_int_equal(vlapic_highest_irr(&lapic), -1);
	assert_int_equal(vlapic_highest_isr(&lapic), -1);
	assert_false(vlapic_accepts_pic(&lapic));
	assert_true(other.base_msr == 0xfee00800);
}

static void virtual_wire_passes_the_8259(void **state)
{
	(void)state;
	vlapic_virtual_wire(&lapic);
	assert_true(vlapic_accepts_pic(&lapic));
	assert_true(seen.changed > 0);
	vlapic_local_pin(&lapic, 1);
	assert_int_equal(seen.nmi, 1);
	seen.changed = 0;
	vlapic_local_pin(&lapic, 0);
	assert_int_equal(seen.changed, 1);
	assert_int_equal(vlapic_highest_irr(&lapic), -1);
	set(APIC_REG_LVT_LINT0, 0x10700);
	assert_false(vlapic_accepts_pic(&lapic));
	set(APIC_REG_LVT_LINT0, 0x00433);
	assert_false(vlapic_accepts_pic(&lapic));
}

/* ---- priority ---- */

static void highest_class_first_and_nesting(void **state)
{
	(void)state;
	enable();
	vlapic_post(&lapic, 0x41, false);
	vlapic_post(&lapic, 0x35, false);
	vlapic_post(&lapic, 0xe0, false);
	assert_int_equal(vlapic_highest_irr(&lapic), 0xe0);
	assert_int_equal(take(), 0xe0);
	assert_int_equal(take(), -1); /* 0x41 is below the class in service */
	vlapic_post(&lapic, 0xef, false);
	assert_int_equal(take(), -1); /* same class: waits */
	vlapic_post(&lapic, 0xf1, false);
	assert_int_equal(take(), 0xf1); /* higher class: nests */
	assert_int_equal(get(APIC_REG_PPR), 0xf0);
	set(APIC_REG_EOI, 0);
	assert_int_equal(vlapic_highest_isr(&lapic), 0xe0);
	assert_int_equal(get(APIC_REG_PPR), 0xe0);
	set(APIC_REG_EOI, 0);
	assert_int_equal(take(), 0xef);
	set(APIC_REG_EOI, 0);
	assert_int_equal(take(), 0x41);
	set(APIC_REG_EOI, 0);
	assert_int_equal(take(), 0x35);
	set(APIC_REG_EOI, 0);
	assert_int_equal(take(), -1);
	assert_int_equal(vlapic_highest_isr(&lapic), -1);
	set(APIC_REG_EOI, 0); /* nothing in service: no effect */
	assert_int_equal(seen.eoi, 0);
}

static void task_priority_holds_back(void **state)
{
	(void)state;
	enable();
	vlapic_post(&lapic, 0x5f, false);
	set(APIC_REG_TPR, 0x50);
	assert_int_equal(vlapic_deliverable(&lapic), -1);
	assert_int_equal(get(APIC_REG_PPR), 0x50);
	seen.changed = 0;
	vlapic_set_cr8(&lapic, 4);
	assert_int_equal(seen.changed, 1);
	assert_int_equal(get(APIC_REG_TPR), 0x40);
	assert_int_equal(vlapic_deliverable(&lapic), 0x5f);
	set(APIC_REG_TPR, 0x4f); /* sub-class: PPR is TPR as it is */
	assert_int_equal(get(APIC_REG_PPR), 0x4f);
	assert_int_equal(vlapic_get_cr8(&lapic), 4);
	assert_int_equal(take(), 0x5f);
	assert_int_equal(get(APIC_REG_PPR), 0x50);
	set(APIC_REG_TPR, 0x5a); /* class equal: TPR wins, with its sub-class */
	assert_int_equal(get(APIC_REG_PPR), 0x5a);
	set(APIC_REG_TPR, 0xfff); /* xAPIC: reserved bits are dropped */
	assert_int_equal(get(APIC_REG_TPR), 0xff);
}

static void arbitration_priority_formula(void **state)
{
	(void)state;
	enable();
	set(APIC_REG_TPR, 0x47);
	assert_int_equal(get(APIC_REG_APR), 0x47);
	vlapic_post(&lapic, 0x61, false);
	assert_int_equal(get(APIC_REG_APR), 0x60);
	assert_int_equal(take(), 0x61);
	assert_int_equal(get(APIC_REG_APR), 0x40); /* TPR class AND in-service class */
}

static void every_vector_round_trip(void **state)
{
	(void)state;
	enable();
	for (int v = 16; v < 256; v++) {
		vlapic_post(&lapic, (uint8_t)v, v & 1);
		assert_int_equal(vlapic_highest_irr(&lapic), v);
		assert_int_equal(get(APIC_REG_IRR + (uint32_t)v / 32 * 16), 1u << v % 32);
		assert_int_equal(take(), v);
		assert_int_equal(vlapic_highest_irr(&lapic), -1);
		assert_int_equal(get(APIC_REG_ISR + (uint32_t)v / 32 * 16), 1u << v % 32);
		assert_int_equal(get(APIC_REG_TMR + (uint32_t)v / 32 * 16) >> v % 32 & 1, v & 1);
		set(APIC_REG_EOI, 0);
		assert_int_equal(vlapic_highest_isr(&lapic), -1);
		assert_int_equal(seen.eoi, (v - 15) / 2);
	}
}

static void posts_are_coalesced_and_need_an_enabled_apic(void **state)
{
	(void)state;
	vlapic_post(&lapic, 0x40, false);
	assert_int_equal(vlapic_highest_irr(&lapic), -1);
	enable();
	vlapic_post(&lapic, 0x40, false);
	vlapic_post(&lapic, 0x40, false);
	assert_int_equal(take(), 0x40);
	assert_int_equal(vlapic_highest_irr(&lapic), -1);
	/* Disabled by software: requests are kept, nothing is delivered, nothing new comes in. */
	vlapic_post(&lapic, 0x60, false);
	set(APIC_REG_SVR, 0xff);
	assert_int_equal(vlapic_deliverable(&lapic), -1);
	vlapic_post(&lapic, 0x90, false);
	enable();
	assert_int_equal(vlapic_deliverable(&lapic), 0x60);
}

static void level_eoi_reaches_the_io_apic(void **state)
{
	uint64_t exits[4];

	(void)state;
	enable();
	vlapic_eoi_exits(&lapic, exits);
	assert_true((exits[0] | exits[1] | exits[2] | exits[3]) == 0);
	vlapic_post(&lapic, 0x47, true);
	vlapic_post(&lapic, 0xa9, true);
	vlapic_post(&lapic, 0x33, false);
	vlapic_eoi_exits(&lapic, exits);
	assert_true(exits[0] == 0 && exits[1] == BIT(0x07) && exits[2] == BIT(0x29) && exits[3] == 0);
	assert_int_equal(take(), 0xa9);
	set(APIC_REG_EOI, 0);
	assert_int_equal(seen.eoi, 1);
	assert_int_equal(seen.eoi_vector, 0xa9);
	assert_int_equal(take(), 0x47);
	set(APIC_REG_SVR, 0x11ff); /* EOI broadcast suppressed */
	set(APIC_REG_EOI, 0);
	assert_int_equal(seen.eoi, 1);
	assert_int_equal(vlapic_highest_isr(&lapic), -1);
	/* The vector comes back edge-triggered: its EOI is no one's business any more. */
	enable();
	vlapic_post(&lapic, 0xa9, false);
	assert_int_equal(take(), 0xa9);
	set(APIC_REG_EOI, 0);
	assert_int_equal(seen.eoi, 1);
}

static void the_engine_delivers_from_the_page(void **state)
{
	(void)state;
	enable();
	lapic.hw_delivery = true;
	page[APIC_REG_IRR + 0x20] = 0x02; /* self-IPI of 0x41, virtualised */
	assert_int_equal(vlapic_highest_irr(&lapic), 0x41);
	assert_int_equal(vlapic_deliverable(&lapic), 0x41);
	page[APIC_REG_IRR + 0x20] = 0;
	page[APIC_REG_ISR + 0x20] = 0x02; /* delivered */
	assert_int_equal(vlapic_highest_irr(&lapic), -1);
	assert_int_equal(vlapic_highest_isr(&lapic), 0x41);
	/* An EOI that exits for a level vector: the engine has cleared it already. */
	vlapic_post(&lapic, 0x91, true);
	page[APIC_REG_IRR + 0x42] = 0;
	vlapic_eoi(&lapic, 0x91);
	assert_int_equal(seen.eoi_vector, 0x91);
	assert_int_equal(vlapic_highest_isr(&lapic), 0x41);
	seen.changed = 0;
	vlapic_eoi(&lapic, -1);
	assert_int_equal(vlapic_highest_isr(&lapic), -1);
	assert_int_equal(seen.changed, 1);
}

static void what_was_delivered_too_early_is_requested_again(void **state)
{
	(void)state;
	enable();
	lapic.hw_delivery = true;
	vlapic_post(&lapic, 0x41, false);
	assert_false(vlapic_others_wait(&lapic, 0x41));
	assert_true(vlapic_others_wait(&lapic, 0x40));
	assert_false(vlapic_unaccept(&lapic, 0x41));
	vlapic_accept(&lapic, 0x41);
	assert_false(vlapic_others_wait(&lapic, 0x41));
	vlapic_post(&lapic, 0xef, false);
	assert_true(vlapic_others_wait(&lapic, 0x41));
	assert_false(vlapic_others_wait(&lapic, 0xef));
	assert_true(vlapic_unaccept(&lapic, 0x41));
	assert_true(vlapic_others_wait(&lapic, 0xef));
	assert_int_equal(vlapic_highest_isr(&lapic), -1);
	vlapic_accept(&lapic, 0xef);
	assert_int_equal(vlapic_highest_irr(&lapic), 0x41);
	/* Came again meanwhile: once is enough. */
	vlapic_accept(&lapic, 0x41);
	vlapic_post(&lapic, 0x41, false);
	assert_true(vlapic_unaccept(&lapic, 0x41));
	assert_false(vlapic_unaccept(&lapic, 0x41));
	assert_int_equal(vlapic_highest_irr(&lapic), 0x41);
}

static void eoi_evaluates_only_when_something_waits(void **state)
{
	(void)state;
	enable();
	vlapic_post(&lapic, 0x41, false);
	assert_int_equal(take(), 0x41);
	seen.changed = 0;
	set(APIC_REG_EOI, 0);
	assert_int_equal(seen.changed, 0);
	vlapic_post(&lapic, 0x41, false);
	assert_int_equal(take(), 0x41);
	vlapic_post(&lapic, 0x42, false);
	seen.changed = 0;
	set(APIC_REG_EOI, 0);
	assert_int_equal(seen.changed, 1);
}

/* An engine that delivers by itself is told the vector, unless the list of EOIs that must exit changes with it. */
static void a_lone_request_is_told_by_its_vector(void **state)
{
	(void)state;
	enable();
	vlapic_post(&lapic, 0x41, false);
	assert_int_equal(seen.posted, 1);
	assert_int_equal(seen.posted_vector, 0x41);
	vlapic_post(&lapic, 0x51, true);
	vlapic_post(&lapic, 0x61, false); /* level-triggered ones are about */
	vlapic_post(&lapic, 0x51, false); /* no longer */
	assert_int_equal(seen.posted, 1);
	vlapic_post(&lapic, 0x71, false);
	assert_int_equal(seen.posted, 2);
	assert_int_equal(seen.posted_vector, 0x71);
}

#define CHANGES(statement)                              \
	do {                                            \
		seen.changed = 0;                       \
		statement;                              \
		assert_int_equal(seen.changed, 1);      \
	} while (0)

/* Whatever may make an interrupt deliverable asks the vcpu to look. */
static void changes_are_told(void **state)
{
	(void)state;
	CHANGES(enable());
	CHANGES(vlapic_post(&lapic, 0x50, false));
	CHANGES(set(APIC_REG_TPR, 0));
	CHANGES(set(APIC_REG_LVT_LINT0, 0x700));
	CHANGES(vlapic_reset(&lapic, true));
	CHANGES(enter_x2apic());
	CHANGES(wrmsr(MSR_IA32_APIC_BASE, 0xfee00100));
	assert_true(rdmsr(MSR_IA32_APIC_BASE) == 0xfee00100);
	CHANGES(vlapic_local_pin(&lapic, 0));
	/* A change of the boot-processor flag alone is no change of mode. */
	seen.mode = 0;
	wrmsr(MSR_IA32_APIC_BASE, 0xfee00000);
	assert_true(rdmsr(MSR_IA32_APIC_BASE) == 0xfee00000);
	assert_int_equal(seen.mode, 0);
}

/* ---- local vectors and errors ---- */

static void software_disable_masks_local_vectors(void **state)
{
	(void)state;
	set(APIC_REG_LVT_LINT1, 0x400); /* still disabled: the mask stays */
	assert_int_equal(get(APIC_REG_LVT_LINT1), 0x10400);
	enable();
	set(APIC_REG_LVT_LINT1, 0x400);
	set(APIC_REG_LVT_TIMER, 0x20031);
	assert_int_equal(get(APIC_REG_LVT_LINT1), 0x400);
	set(APIC_REG_SVR, 0xff);
	assert_int_equal(get(APIC_REG_LVT_LINT1), 0x10400);
	assert_int_equal(get(APIC_REG_LVT_TIMER), 0x30031);
	vlapic_local_pin(&lapic, 1);
	assert_int_equal(seen.nmi, 0);
	vlapic_receive(&lapic, APIC_DELIVERY_NMI, 0, false); /* messages still count */
	assert_int_equal(seen.nmi, 1);
}

static void local_pins_by_delivery_mode(void **state)
{
	(void)state;
	enable();
	set(APIC_REG_LVT_LINT0, 0x55);
	vlapic_local_pin(&lapic, 0);
	assert_int_equal(take(), 0x55);
	set(APIC_REG_LVT_LINT1, 0x500);
	vlapic_local_pin(&lapic, 1);
	assert_int_equal(seen.init, 1);
	set(APIC_REG_LVT_LINT0, 0xffffffff); /* reserved and read-only bits are dropped */
	assert_int_equal(get(APIC_REG_LVT_LINT0), 0x1a7ff);
	set(APIC_REG_LVT_ERROR, 0xffffffff);
	assert_int_equal(get(APIC_REG_LVT_ERROR), 0x100ff);
	set(APIC_REG_LVT_PMC, 0xffffffff);
	assert_int_equal(get(APIC_REG_LVT_PMC), 0x107ff);
}

static void errors_are_latched_and_interrupt_once(void **state)
{
	(void)state;
	enable();
	set(APIC_REG_LVT_ERROR, 0xfe);
	set(APIC_REG_ICR_LOW, 0x40003); /* self, vector 3 */
	assert_int_equal(get(APIC_REG_ESR), 0); /* not before a write */
	assert_int_equal(take(), 0xfe);
	set(APIC_REG_EOI, 0);
	set(APIC_REG_ICR_LOW, 0x40003);
	assert_int_equal(take(), -1); /* already recorded */
	vlapic_post(&lapic, 9, false);
	assert_int_equal(take(), 0xfe);
	set(APIC_REG_EOI, 0);
	get(MMIO_RESERVED);
	assert_int_equal(take(), 0xfe);
	set(APIC_REG_EOI, 0);
	set(APIC_REG_ESR, 0x1234);
	assert_int_equal(get(APIC_REG_ESR), APIC_ESR_SEND_ILLEGAL | APIC_ESR_RECV_ILLEGAL | APIC_ESR_ILLEGAL_REG);
	set(APIC_REG_ESR, 0);
	assert_int_equal(get(APIC_REG_ESR), 0);
	set(MMIO_RESERVED, 1);
	set(APIC_REG_ESR, 0);
	assert_int_equal(get(APIC_REG_ESR), APIC_ESR_ILLEGAL_REG);
	/* An error vector that is itself illegal cannot recurse. */
	set(APIC_REG_LVT_ERROR, 0x05);
	set(APIC_REG_ESR, 0);
	set(APIC_REG_ESR, 0);
	set(APIC_REG_ICR_LOW, 0x40003);
	set(APIC_REG_ESR, 0);
	assert_int_equal(get(APIC_REG_ESR), APIC_ESR_SEND_ILLEGAL | APIC_ESR_RECV_ILLEGAL);
}

static void mmio_widths_and_holes(void **state)
{
	(void)state;
	enable();
	assert_int_equal(lapic.dev.ops->read(&lapic.dev, APIC_REG_VERSION, 1), 0x15);
	assert_int_equal(lapic.dev.ops->read(&lapic.dev, APIC_REG_VERSION + 2, 2), 0x0105);
	assert_true(lapic.dev.ops->read(&lapic.dev, APIC_REG_VERSION, 8) == 0x01050015);
	assert_int_equal(lapic.dev.ops->read(&lapic.dev, APIC_REG_VERSION + 3, 1), 0x01);
	assert_int_equal(lapic.dev.ops->read(&lapic.dev, APIC_REG_VERSION + 1, 1), 0);
	page[APIC_REG_VERSION + 4] = 0x77; /* what an engine may have left there is not a register */
	assert_int_equal(lapic.dev.ops->read(&lapic.dev, APIC_REG_VERSION + 4, 4), 0);
	lapic.dev.ops->write(&lapic.dev, APIC_REG_TPR, 1, 0x33);
	lapic.dev.ops->write(&lapic.dev, APIC_REG_TPR + 4, 4, 0x33);
	assert_int_equal(get(APIC_REG_TPR), 0);
	assert_int_equal(get(APIC_REG_EOI), 0);
	set(APIC_REG_ID, 0x3000000); /* read-only here */
	set(APIC_REG_VERSION, 0);
	set(APIC_REG_IRR, 0xffff0000);
	assert_int_equal(get(APIC_REG_ID), 0);
	assert_int_equal(get(APIC_REG_VERSION), 0x01050015);
	assert_int_equal(vlapic_highest_irr(&lapic), -1);
	set(APIC_REG_ESR, 0);
	assert_int_equal(get(APIC_REG_ESR), 0);
	assert_int_equal(get(0x400), 0); /* beyond the last register */
	set(APIC_REG_ESR, 0);
	assert_int_equal(get(APIC_REG_ESR), APIC_ESR_ILLEGAL_REG);
	set(0x480, 0);
	set(APIC_REG_ESR, 0);
	assert_int_equal(get(APIC_REG_ESR), APIC_ESR_ILLEGAL_REG);
}

/* ---- IPIs and destinations ---- */

static void ipi_shorthands(void **state)
{
	(void)state;
	enable();
	set_of(&other, APIC_REG_SVR, 0x1ff);
	set(APIC_REG_ICR_LOW, 0x40050);
	assert_int_equal(vlapic_highest_irr(&lapic), 0x50);
	assert_int_equal(seen.ipi, 0);
	set(APIC_REG_ICR_LOW, 0x80061);
	assert_int_equal(vlapic_highest_irr(&lapic), 0x61);
	assert_int_equal(vlapic_highest_irr(&other), 0x61);
	set(APIC_REG_ICR_LOW, 0xc0072);
	assert_int_equal(vlapic_highest_irr(&lapic), 0x61);
	assert_int_equal(vlapic_highest_irr(&other), 0x72);
	assert_int_equal(seen.ipi, 2);
	assert_int_equal(get(APIC_REG_ICR_LOW), 0xc0072);
}

static void ipi_physical(void **state)
{
	(void)state;
	enable();
	set_of(&other, APIC_REG_SVR, 0x1ff);
	set(APIC_REG_ICR_HIGH, 5u << 24);
	set(APIC_REG_ICR_LOW, 0x4080); /* with the level bit that drivers set */
	assert_int_equal(vlapic_highest_irr(&other), 0x80);
	assert_int_equal(vlapic_highest_irr(&lapic), -1);
	assert_true(seen.icr == (5ull << 32 | 0x4080));
	set(APIC_REG_ICR_HIGH, 0);
	set(APIC_REG_ICR_LOW, 0x81);
	assert_int_equal(vlapic_highest_irr(&lapic), 0x81);
	assert_int_equal(seen.ipi, 1); /* it named this APIC alone */
	set(APIC_REG_ICR_HIGH, 0xffu << 24);
	set(APIC_REG_ICR_LOW, 0x92);
	assert_int_equal(vlapic_highest_irr(&lapic), 0x92);
	assert_int_equal(vlapic_highest_irr(&other), 0x92);
	set(APIC_REG_ICR_HIGH, 9u << 24); /* nobody */
	set(APIC_REG_ICR_LOW, 0xf0);
	assert_int_equal(vlapic_highest_irr(&lapic), 0x92);
	assert_int_equal(vlapic_highest_irr(&other), 0x92);
}

static void ipi_delivery_modes(void **state)
{
	(void)state;
	enable();
	set_of(&other, APIC_REG_SVR, 0x1ff);
	set(APIC_REG_ICR_HIGH, 5u << 24);
	set(APIC_REG_ICR_LOW, 0x4500);
	assert_int_equal(seen.init, 1);
	set(APIC_REG_ICR_LOW, 0x8500); /* INIT level de-assert: nothing */
	assert_int_equal(seen.init, 1);
	assert_int_equal(seen.ipi, 1);
	set(APIC_REG_ICR_LOW, 0x4609);
	assert_int_equal(seen.startup, 1);
	assert_int_equal(seen.startup_vector, 9);
	set(APIC_REG_ICR_LOW, 0x4402);
	assert_int_equal(seen.nmi, 1);
	set(APIC_REG_ICR_LOW, 0x4200); /* SMI */
	set(APIC_REG_ICR_LOW, 0x4700); /* ExtINT */
	assert_int_equal(seen.nmi + seen.init + seen.startup, 3);
	assert_int_equal(vlapic_highest_irr(&other), -1);
	set(APIC_REG_ICR_LOW, 0x4145); /* lowest priority */
	assert_int_equal(vlapic_highest_irr(&other), 0x45);
	assert_int_equal(other.tmr_words, 0); /* IPIs are edge-triggered whatever the ICR says */
	set(APIC_REG_ICR_LOW, 0xc046);
	assert_int_equal(vlapic_highest_irr(&other), 0x46);
	assert_int_equal(other.tmr_words, 0);
}

static void logical_destinations(void **state)
{
	(void)state;
	set(APIC_REG_LDR, 0x04ffffff);
	assert_int_equal(get(APIC_REG_LDR), 0x04000000);
	assert_true(vlapic_matches(&lapic, 0x06, true));
	assert_false(vlapic_matches(&lapic, 0x0b, true));
	assert_true(vlapic_matches(&lapic, 0xff, true));
	assert_true(vlapic_matches(&lapic, 0xffffffff, true));
	set(APIC_REG_DFR, 0x0fffffff); /* cluster */
	set(APIC_REG_LDR, 0x34000000);
	assert_true(vlapic_matches(&lapic, 0x36, true));
	assert_false(vlapic_matches(&lapic, 0x26, true));
	assert_false(vlapic_matches(&lapic, 0x3b, true));
	assert_true(vlapic_matches(&lapic, 0xff, true));
	assert_true(vlapic_matches(&lapic, 0, false));
	assert_true(vlapic_matches(&lapic, 0xff, false));
	assert_false(vlapic_matches(&lapic, 1, false));
	assert_int_equal(vlapic_write_msr(&other, MSR_IA32_APIC_BASE, other.base_msr | APIC_BASE_EXTD), ST_OK);
	assert_true(vlapic_matches(&other, 0x20, true)); /* id 5: cluster 0, bit 5 */
	assert_false(vlapic_matches(&other, 0x10020, true));
	assert_false(vlapic_matches(&other, 0x10, true));
	assert_true(vlapic_matches(&other, 5, false));
	assert_false(vlapic_matches(&other, 0xff, false)); /* an id like any other */
	assert_true(vlapic_matches(&other, 0xffffffff, false));
	assert_true(vlapic_matches(&other, 0xffffffff, true));
	assert_int_equal(vlapic_write_msr(&other, MSR_IA32_APIC_BASE, APIC_BASE_DEFAULT), ST_OK);
	assert_false(vlapic_matches(&other, 0xffffffff, false));
	assert_false(vlapic_matches(&other, 5, false));
}

/* ---- x2APIC ---- */

static void x2apic_registers(void **state)
{
	(void)state;
	enable();
	enter_x2apic();
	assert_int_equal(get(APIC_REG_VERSION), 0xffffffff); /* the memory face is gone */
	set(APIC_REG_TPR, 0x10);
	assert_true(rdmsr(MSR_X2APIC_TPR) == 0);
	assert_true(rdmsr(MSR_X2APIC_ID) == 0);
	assert_true(rdmsr(MSR_X2APIC_LDR) == 1);
	assert_true(rdmsr(MSR_X2APIC_VERSION) == 0x01050015);
	wrmsr(MSR_X2APIC_TPR, 0x20);
	assert_true(rdmsr(MSR_X2APIC_PPR) == 0x20);
	wrmsr(MSR_X2APIC_SELF_IPI, 0x66);
	assert_true(rdmsr(MSR_X2APIC_IRR0 + 3) == BIT(6));
	assert_int_equal(take(), 0x66);
	wrmsr(MSR_X2APIC_EOI, 0);
	assert_int_equal(vlapic_highest_isr(&lapic), -1);
	wrmsr(MSR_X2APIC_ICR, 0x500000040ull);
	assert_true(rdmsr(MSR_X2APIC_ICR) == 0x500000040ull);
	assert_true(seen.icr == 0x500000040ull);
	wrmsr(MSR_X2APIC_LVT_TIMER, 0x31);
	wrmsr(MSR_X2APIC_TIMER_DIVIDE, 0xb);
	wrmsr(MSR_X2APIC_TIMER_INITIAL, 0x1234);
	rig_advance(&rig, 0x34);
	assert_true(rdmsr(MSR_X2APIC_TIMER_INITIAL) == 0x1234);
	assert_true(rdmsr(MSR_X2APIC_TIMER_CURRENT) == 0x1200);
	assert_true(rdmsr(MSR_X2APIC_TIMER_DIVIDE) == 0xb);
	wrmsr(MSR_X2APIC_SELF_IPI, 3);
	wrmsr(MSR_X2APIC_ESR, 0);
	assert_true(rdmsr(MSR_X2APIC_ESR) == APIC_ESR_SEND_ILLEGAL);
	assert_int_equal(vlapic_write_msr(&other, MSR_IA32_APIC_BASE, other.base_msr | APIC_BASE_EXTD), ST_OK);
	assert_int_equal(get_le32(other_page + APIC_REG_ID), 5);
	assert_int_equal(get_le32(other_page + APIC_REG_LDR), 1u << 5);
}

static void x2apic_faults(void **state)
{
	static const uint32_t unreadable[] = {0x800, 0x801, 0x804, 0x809, 0x80b, 0x80c, 0x80e,
					      0x829, 0x82f, 0x831, 0x83a, 0x83f, 0x840, 0x8ff};
	static const uint32_t unwritable[] = {0x802, 0x803, 0x80a, 0x80d, 0x80e, 0x810, 0x827, 0x831, 0x839, 0x840};

	(void)state;
	for (uint32_t msr = 0x800; msr < 0x900; msr++) { /* xAPIC mode: there are no such MSRs */
		rdmsr_gp(msr);
		wrmsr_gp(msr, 0);
	}
	enable();
	enter_x2apic();
	for (unsigned i = 0; i < ARRAY_SIZE(unreadable); i++)
		rdmsr_gp(unreadable[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(unwritable); i++)
		wrmsr_gp(unwritable[i], 0);
	wrmsr_gp(MSR_X2APIC_EOI, 1);
	wrmsr_gp(MSR_X2APIC_ESR, 1);
	wrmsr_gp(MSR_X2APIC_TPR, 0x100);
	wrmsr_gp(MSR_X2APIC_TPR, BIT(32));
	wrmsr_gp(MSR_X2APIC_SVR, 0x400);
	wrmsr_gp(MSR_X2APIC_LVT_TIMER, 0x80031);
	wrmsr_gp(MSR_X2APIC_LVT_ERROR, 0x731);
	wrmsr_gp(MSR_X2APIC_LVT_LINT0, 0x831);
	wrmsr_gp(MSR_X2APIC_TIMER_DIVIDE, 4);
	wrmsr_gp(MSR_X2APIC_TIMER_INITIAL, BIT(32));
	wrmsr_gp(MSR_X2APIC_SELF_IPI, 0x141);
	wrmsr_gp(MSR_X2APIC_ICR, BIT(20) | 0x40);
	wrmsr_gp(MSR_X2APIC_ICR, BIT(16) | 0x40);
	wrmsr_gp(MSR_X2APIC_ICR, BIT(13) | 0x40);
	assert_int_equal(seen.ipi, 0);
	wrmsr(MSR_X2APIC_ICR, BIT(12) | 0x40);
	assert_true(rdmsr(MSR_X2APIC_ICR) == 0x40);
	wrmsr(MSR_X2APIC_LVT_TIMER, 0x71031); /* delivery status is read-only, not reserved */
	assert_true(rdmsr(MSR_X2APIC_LVT_TIMER) == 0x70031);
}

static void base_msr_transitions(void **state)
{
	(void)state;
	wrmsr_gp(MSR_IA32_APIC_BASE, APIC_BASE_DEFAULT | APIC_BASE_EXTD);
	wrmsr_gp(MSR_IA32_APIC_BASE, APIC_BASE_DEFAULT | APIC_BASE_EN | BIT(9));
	wrmsr_gp(MSR_IA32_APIC_BASE, APIC_BASE_DEFAULT | APIC_BASE_EN | BIT(0));
	wrmsr_gp(MSR_IA32_APIC_BASE, 0xfed00000 | APIC_BASE_EN);
	wrmsr_gp(MSR_IA32_APIC_BASE, BIT(52) | APIC_BASE_DEFAULT | APIC_BASE_EN);
	assert_true(rdmsr(MSR_IA32_APIC_BASE) == 0xfee00900);
	assert_int_equal(seen.mode, 0);
	enable();
	set(APIC_REG_TPR, 0x30);
	set(APIC_REG_ICR_HIGH, 7u << 24);
	set(APIC_REG_ICR_LOW, 0xc0040);
	enter_x2apic();
	assert_int_equal(seen.last_mode, VLAPIC_X2APIC);
	assert_true(rdmsr(MSR_X2APIC_TPR) == 0x30); /* state is kept */
	assert_true(rdmsr(MSR_X2APIC_SVR) == 0x1ff);
	assert_true(rdmsr(MSR_X2APIC_ICR) == 0);
	assert_int_equal(get_le32(page + APIC_REG_ICR_HIGH) | get_le32(page + APIC_REG_DFR), 0);
	wrmsr_gp(MSR_IA32_APIC_BASE, 0xfee00900); /* x2APIC to xAPIC */
	wrmsr(MSR_IA32_APIC_BASE, 0xfee00d00);
	assert_int_equal(seen.mode, 1);
	wrmsr(MSR_IA32_APIC_BASE, 0xfee00100);
	assert_int_equal(seen.last_mode, VLAPIC_DISABLED);
	assert_true(vlapic_accepts_pic(&lapic));
	vlapic_local_pin(&lapic, 1);
	assert_int_equal(seen.nmi, 1);
	vlapic_post(&lapic, 0x50, false);
	assert_int_equal(vlapic_highest_irr(&lapic), -1);
	rdmsr_gp(MSR_X2APIC_TPR);
	assert_int_equal(get(APIC_REG_VERSION), 0xffffffff);
	wrmsr_gp(MSR_IA32_APIC_BASE, 0xfee00d00); /* disabled to x2APIC */
	wrmsr(MSR_IA32_APIC_BASE, 0xfee00900);
	assert_int_equal(get(APIC_REG_SVR), 0xff); /* as after power-on */
	assert_int_equal(get(APIC_REG_TPR), 0);
	assert_int_equal(seen.mode, 3);
}

static void init_keeps_the_mode(void **state)
{
	(void)state;
	enable();
	enter_x2apic();
	wrmsr(MSR_X2APIC_SELF_IPI, 0x66);
	wrmsr(MSR_X2APIC_TPR, 0xf0);
	vlapic_reset(&lapic, true);
	assert_int_equal(lapic.mode, VLAPIC_X2APIC);
	assert_int_equal(seen.mode, 1);
	assert_true(rdmsr(MSR_X2APIC_TPR) == 0);
	assert_true(rdmsr(MSR_X2APIC_SVR) == 0xff);
	assert_true(rdmsr(MSR_X2APIC_LDR) == 1);
	assert_int_equal(vlapic_highest_irr(&lapic), -1);
	vlapic_reset(&lapic, false);
	assert_int_equal(lapic.mode, VLAPIC_XAPIC);
	assert_int_equal(seen.mode, 2);
	assert_true(rdmsr(MSR_IA32_APIC_BASE) == 0xfee00900);
}

/* ---- timer ---- */

static void timer_ratio_states_a_crystal_in_32_bits(void **state)
{
	(void)state;
	assert_int_equal(vlapic_timer_ratio(50000000), 1);
	assert_int_equal(vlapic_timer_ratio(4000000000ull), 1);
	assert_int_equal(vlapic_timer_ratio(UINT32_MAX), 1);
	assert_int_equal(vlapic_timer_ratio(4294967296ull), 2);
	assert_int_equal(vlapic_timer_ratio(5000000000ull), 2);
	assert_true(5800000000ull / vlapic_timer_ratio(5800000000ull) <= UINT32_MAX);
}

static void one_shot_counts_down(void **state)
{
	static const struct { uint32_t dcr, divide; } divides[] = {
		{0xb, 1}, {0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}};

	(void)state;
	enable();
	set(APIC_REG_LVT_TIMER, 0x31);
	for (unsigned i = 0; i < ARRAY_SIZE(divides); i++) {
		uint32_t div = divides[i].divide;

		set(APIC_REG_TIMER_DIVIDE, divides[i].dcr);
		set(APIC_REG_TIMER_INITIAL, 1000);
		assert_int_equal(get(APIC_REG_TIMER_CURRENT), 1000);
		rig_advance(&rig, div - 1);
		assert_int_equal(get(APIC_REG_TIMER_CURRENT), 1000);
		rig_advance(&rig, 1);
		assert_int_equal(get(APIC_REG_TIMER_CURRENT), 999);
		rig_advance(&rig, div * 998ull);
		assert_int_equal(get(APIC_REG_TIMER_CURRENT), 1);
		rig_advance(&rig, div - 1);
		assert_int_equal(take(), -1);
		rig_advance(&rig, 1);
		assert_int_equal(take(), 0x31);
		assert_int_equal(get(APIC_REG_TIMER_CURRENT), 0);
		set(APIC_REG_EOI, 0);
		rig_advance(&rig, div * 5000ull);
		assert_int_equal(take(), -1);
		assert_int_equal(get(APIC_REG_TIMER_INITIAL), 1000);
	}
	set(APIC_REG_TIMER_INITIAL, 500);
	set(APIC_REG_TIMER_INITIAL, 0); /* stops it */
	rig_advance(&rig, 1000000);
	assert_int_equal(take(), -1);
	assert_true(rig.timers.next == TIMERQ_NEVER);
}

static void periodic_keeps_phase_when_late(void **state)
{
	(void)state;
	enable();
	set(APIC_REG_TIMER_DIVIDE, 0xb);
	set(APIC_REG_LVT_TIMER, 0x20040);
	set(APIC_REG_TIMER_INITIAL, 100);
	for (unsigned i = 0; i < 1000; i++) {
		rig_advance_to(&rig, (i + 1) * 100 - 1);
		assert_int_equal(take(), -1);
		rig_advance(&rig, 1);
		assert_int_equal(take(), 0x40);
		assert_int_equal(get(APIC_REG_TIMER_CURRENT), 100);
		set(APIC_REG_EOI, 0);
	}
	rig_jump(&rig, 1234); /* the vcpu had no CPU: one interrupt, not twelve */
	assert_int_equal(take(), 0x40);
	set(APIC_REG_EOI, 0);
	assert_int_equal(take(), -1);
	assert_int_equal(get(APIC_REG_TIMER_CURRENT), 66);
	rig_advance(&rig, 65);
	assert_int_equal(take(), -1);
	rig_advance(&rig, 1);
	assert_int_equal(take(), 0x40);
}

static void a_masked_timer_needs_no_exit(void **state)
{
	(void)state;
	enable();
	set(APIC_REG_TIMER_DIVIDE, 0xb);
	set(APIC_REG_LVT_TIMER, 0x30040);
	set(APIC_REG_TIMER_INITIAL, 1000);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	rig_advance(&rig, 3300);
	assert_int_equal(get(APIC_REG_TIMER_CURRENT), 700);
	assert_int_equal(take(), -1);
	set(APIC_REG_LVT_TIMER, 0x20040); /* unmask: what has passed has passed */
	assert_int_equal(take(), -1);
	rig_advance(&rig, 700);
	assert_int_equal(take(), 0x40);
	set(APIC_REG_EOI, 0);
	set(APIC_REG_LVT_TIMER, 0x40); /* to one-shot: the count goes on, once */
	rig_advance(&rig, 999);
	assert_int_equal(take(), -1);
	rig_advance(&rig, 1);
	assert_int_equal(take(), 0x40);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	assert_int_equal(get(APIC_REG_TIMER_CURRENT), 0);
}

static void divide_change_keeps_the_count(void **state)
{
	(void)state;
	enable();
	set(APIC_REG_TIMER_DIVIDE, 0xb);
	set(APIC_REG_LVT_TIMER, 0x40);
	set(APIC_REG_TIMER_INITIAL, 1000);
	rig_advance(&rig, 400);
	set(APIC_REG_TIMER_DIVIDE, 3);
	assert_int_equal(get(APIC_REG_TIMER_CURRENT), 600);
	rig_advance(&rig, 16 * 600 - 1);
	assert_int_equal(take(), -1);
	rig_advance(&rig, 1);
	assert_int_equal(take(), 0x40);
}

static void a_read_does_not_lose_a_due_interrupt(void **state)
{
	(void)state;
	enable();
	set(APIC_REG_TIMER_DIVIDE, 0xb);
	set(APIC_REG_LVT_TIMER, 0x20040);
	set(APIC_REG_TIMER_INITIAL, 1000);
	rig_stall(&rig, 1500); /* the queue is not run before the read */
	assert_int_equal(get(APIC_REG_TIMER_CURRENT), 500);
	assert_int_equal(take(), 0x40);
	assert_true(rig.timers.next == 2000);
}

static void tsc_deadline(void **state)
{
	(void)state;
	wrmsr(MSR_IA32_TSC_DEADLINE, 5000); /* not in this mode: ignored */
	assert_true(rdmsr(MSR_IA32_TSC_DEADLINE) == 0);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	enable();
	set(APIC_REG_LVT_TIMER, 0x400ec);
	wrmsr(MSR_IA32_TSC_DEADLINE, 5000);
	assert_true(rdmsr(MSR_IA32_TSC_DEADLINE) == 5000);
	assert_true(rig.timers.next == 5000);
	rig_advance_to(&rig, 4999);
	assert_int_equal(take(), -1);
	rig_advance(&rig, 1);
	assert_int_equal(take(), 0xec);
	set(APIC_REG_EOI, 0);
	assert_true(rdmsr(MSR_IA32_TSC_DEADLINE) == 0);
	wrmsr(MSR_IA32_TSC_DEADLINE, 4000); /* in the past: at once */
	rig_jump(&rig, 0);
	assert_int_equal(take(), 0xec);
	set(APIC_REG_EOI, 0);
	wrmsr(MSR_IA32_TSC_DEADLINE, 6000);
	wrmsr(MSR_IA32_TSC_DEADLINE, 7000); /* re-armed while pending */
	wrmsr(MSR_IA32_TSC_DEADLINE, 0);    /* disarmed */
	assert_true(rig.timers.next == TIMERQ_NEVER);
	set(APIC_REG_TIMER_INITIAL, 100); /* the counting registers are dead in this mode */
	assert_int_equal(get(APIC_REG_TIMER_INITIAL), 0);
	assert_int_equal(get(APIC_REG_TIMER_CURRENT), 0);
	wrmsr(MSR_IA32_TSC_DEADLINE, UINT64_MAX);
	assert_true(rdmsr(MSR_IA32_TSC_DEADLINE) == UINT64_MAX);
	assert_int_equal(get(APIC_REG_TIMER_CURRENT), 0);
	set(APIC_REG_TIMER_DIVIDE, 3);
	assert_true(rdmsr(MSR_IA32_TSC_DEADLINE) == UINT64_MAX);
}

static void timer_mode_switch_disarms(void **state)
{
	(void)state;
	enable();
	set(APIC_REG_LVT_TIMER, 0x400ec);
	wrmsr(MSR_IA32_TSC_DEADLINE, 5000);
	set(APIC_REG_LVT_TIMER, 0x200ec);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	assert_true(rdmsr(MSR_IA32_TSC_DEADLINE) == 0);
	assert_int_equal(get(APIC_REG_TIMER_CURRENT), 0);
	set(APIC_REG_TIMER_INITIAL, 100);
	set(APIC_REG_LVT_TIMER, 0x400ec);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	assert_int_equal(get(APIC_REG_TIMER_INITIAL), 0);
	rig_advance(&rig, 100000);
	assert_int_equal(take(), -1);
	/* Masked while armed: the deadline passes unheard. */
	wrmsr(MSR_IA32_TSC_DEADLINE, 200000);
	set(APIC_REG_LVT_TIMER, 0x500ec);
	assert_true(rdmsr(MSR_IA32_TSC_DEADLINE) == 200000);
	rig_advance_to(&rig, 200001);
	set(APIC_REG_LVT_TIMER, 0x400ec);
	rig_jump(&rig, 0);
	assert_int_equal(take(), -1);
	assert_true(rdmsr(MSR_IA32_TSC_DEADLINE) == 0);
	/* Read before the queue is run: it has fired all the same. */
	wrmsr(MSR_IA32_TSC_DEADLINE, 200000);
	assert_true(rdmsr(MSR_IA32_TSC_DEADLINE) == 0);
	assert_int_equal(take(), 0xec);
	set(APIC_REG_EOI, 0);
	/* Masked and back in time: still armed. */
	wrmsr(MSR_IA32_TSC_DEADLINE, 300000);
	set(APIC_REG_LVT_TIMER, 0x500ec);
	set(APIC_REG_LVT_TIMER, 0x400ec);
	rig_advance_to(&rig, 300000);
	assert_int_equal(take(), 0xec);
}

static void fast_tsc_counts_by_the_crystal(void **state)
{
	(void)state;
	rig_init(&rig, 5000000000ull);
	vlapic_init(&lapic, 0, page, &rig.timers, &rig.time, &ops, &lapic);
	enable();
	set(APIC_REG_LVT_TIMER, 0x31);
	set(APIC_REG_TIMER_DIVIDE, 0); /* by 2 */
	set(APIC_REG_TIMER_INITIAL, 0xffffffff);
	rig_advance(&rig, 3);
	assert_int_equal(get(APIC_REG_TIMER_CURRENT), 0xffffffff);
	rig_advance(&rig, 1);
	assert_int_equal(get(APIC_REG_TIMER_CURRENT), 0xfffffffe);
	assert_true(rig.timers.next == 4ull * 0xffffffff);
}

static void reset_stops_the_timer(void **state)
{
	(void)state;
	enable();
	set(APIC_REG_LVT_TIMER, 0x20031);
	set(APIC_REG_TIMER_INITIAL, 100);
	vlapic_reset(&lapic, true);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	assert_int_equal(get(APIC_REG_TIMER_CURRENT), 0);
	enable();
	set(APIC_REG_LVT_TIMER, 0x20031);
	set(APIC_REG_TIMER_INITIAL, 100);
	set(APIC_REG_SVR, 0xff); /* software disable masks it */
	assert_true(rig.timers.next == TIMERQ_NEVER);
	wrmsr(MSR_IA32_APIC_BASE, 0xfee00100);
	assert_true(lapic.timer_due == 0);
}

/* The summaries say what is in the page. */
static void summaries_hold(void)
{
	int irr = vlapic_highest_irr(&lapic), isr = vlapic_highest_isr(&lapic);

	lapic.hw_delivery = true; /* then the page is read */
	assert_int_equal(vlapic_highest_irr(&lapic), irr);
	assert_int_equal(vlapic_highest_isr(&lapic), isr);
	lapic.hw_delivery = false;
}

/* The short ways against the long ones, over states that come up by chance. */
static void taking_and_ending_in_one_go(void **state)
{
	static uint8_t before[sizeof page], after[sizeof page];
	unsigned taken = 0, ended = 0, held = 0;
	uint64_t random = 88172645463325252ull;
	struct vlapic was, is;
	int vector;

	(void)state;
	enable();
	for (unsigned i = 0; i < 20000; i++) {
		random ^= random << 13, random ^= random >> 7, random ^= random << 17;
		if (random % 4 == 0)
			vlapic_post(&lapic, (uint8_t)(random >> 8 | 16), false);
		if (random % 64 == 1)
			set(APIC_REG_TPR, (uint8_t)(random >> 16));
		if (random % 64 == 2)
			set(APIC_REG_TPR, 0);
		was = lapic;
		memcpy(before, page, sizeof page);
		vector = take();
		is = lapic;
		memcpy(after, page, sizeof page);
		lapic = was;
		memcpy(page, before, sizeof page);
		assert_int_equal(vlapic_take(&lapic), vector);
		assert_memory_equal(page, after, sizeof page);
		assert_memory_equal(&lapic, &is, sizeof is);
		summaries_hold();
		taken += vector >= 0;
		held += vector < 0 && lapic.irr_words;
		if (random % 3)
			continue;
		was = lapic;
		memcpy(before, page, sizeof page);
		vlapic_eoi(&lapic, -1);
		is = lapic;
		memcpy(after, page, sizeof page);
		lapic = was;
		memcpy(page, before, sizeof page);
		if (!vlapic_end(&lapic)) {
			assert_memory_equal(page, before, sizeof page);
			vlapic_eoi(&lapic, -1);
			continue;
		}
		ended++;
		assert_memory_equal(page, after, sizeof page);
		assert_memory_equal(&lapic, &is, sizeof is);
	}
	assert_true(taken > 1000 && ended > 100 && held > 1000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		T(power_on_state),
		T(virtual_wire_passes_the_8259),
		T(highest_class_first_and_nesting),
		T(taking_and_ending_in_one_go),
		T(task_priority_holds_back),
		T(arbitration_priority_formula),
		T(every_vector_round_trip),
		T(posts_are_coalesced_and_need_an_enabled_apic),
		T(level_eoi_reaches_the_io_apic),
		T(the_engine_delivers_from_the_page),
		T(what_was_delivered_too_early_is_requested_again),
		T(eoi_evaluates_only_when_something_waits),
		T(a_lone_request_is_told_by_its_vector),
		T(changes_are_told),
		T(software_disable_masks_local_vectors),
		T(local_pins_by_delivery_mode),
		T(errors_are_latched_and_interrupt_once),
		T(mmio_widths_and_holes),
		T(ipi_shorthands),
		T(ipi_physical),
		T(ipi_delivery_modes),
		T(logical_destinations),
		T(x2apic_registers),
		T(x2apic_faults),
		T(base_msr_transitions),
		T(init_keeps_the_mode),
		T(timer_ratio_states_a_crystal_in_32_bits),
		T(one_shot_counts_down),
		T(periodic_keeps_phase_when_late),
		T(a_masked_timer_needs_no_exit),
		T(divide_change_keeps_the_count),
		T(a_read_does_not_lose_a_due_interrupt),
		T(tsc_deadline),
		T(timer_mode_switch_disarms),
		T(fast_tsc_counts_by_the_crystal),
		T(reset_stops_the_timer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
