/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI fixed hardware: the PM timer's rate and carry, the power button, the SCI
 * as a level of status and enable, and power-off.
 */
#include "tests/cmocka_all.h"

#include "guest/pc.h"
#include "guest/vpm.h"
#include "tests/fakes/device_rig.h"

#define HZ 100000000ull
#define STS 0
#define EN 2
#define CNT 4
#define TMR 8
#define SCI_LINE 9

static struct rig rig;
static struct vpm pm;
static unsigned offs;

static void on_power_off(void *ctx) { assert_ptr_equal(ctx, &offs), offs++; }
static const struct system_ops ops = {.power_off = on_power_off};

static int setup(void **state)
{
	(void)state;
	offs = 0;
	rig_init(&rig, HZ);
	rig_advance(&rig, 12345);
	vpm_init(&pm, &rig.time, &rig.timers, rig_line(&rig, SCI_LINE), &ops, &offs);
	return 0;
}

static uint32_t in(uint64_t offset, unsigned size)
{
	uint64_t v = pm.dev.ops->read(&pm.dev, offset, size);

	return (uint32_t)(size == 4 ? v : v & ((1u << size * 8) - 1));
}

static void out(uint64_t offset, unsigned size, uint32_t v) { pm.dev.ops->write(&pm.dev, offset, size, v); }

/* Guest TSC at which the timer first shows @ticks. */
static uint64_t tsc_of(uint64_t ticks) { return rate_tsc(&pm.rate, ticks); }

static void power_on(void **state)
{
	(void)state;
	assert_int_equal(in(STS, 4), 0);
	assert_int_equal(in(CNT, 2), 1); /* ACPI mode, always */
	assert_int_equal(in(6, 2), 0xffff);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	assert_false(rig.level[SCI_LINE]);
	out(CNT, 2, 0);
	assert_int_equal(in(CNT, 2), 1);
}

static void timer_runs_at_3_58_mhz(void **state)
{
	uint32_t from = in(TMR, 4);

	(void)state;
	rig_advance(&rig, HZ);
	assert_in_range(in(TMR, 4) - from, PC_PM_TMR_HZ, PC_PM_TMR_HZ + 1);
	rig_advance(&rig, 3600 * HZ);
	assert_in_range(in(TMR, 4) - from, (uint32_t)(3601ull * PC_PM_TMR_HZ), (uint32_t)(3601ull * PC_PM_TMR_HZ) + 1);
	rig_advance_to(&rig, tsc_of(0x1a0b0c0d));
	assert_int_equal(in(TMR, 4), 0x1a0b0c0d);
	assert_int_equal(in(TMR, 1), 0x0d);
	assert_int_equal(in(TMR + 1, 1), 0x0c);
	assert_int_equal(in(TMR + 2, 2), 0x1a0b);
	out(TMR, 4, 0);
	assert_int_equal(in(TMR, 4), 0x1a0b0c0d);
}

static void carry_without_interrupt_is_seen_when_looked_for(void **state)
{
	(void)state;
	rig_advance_to(&rig, tsc_of(0x7fffffff));
	assert_int_equal(in(STS, 2), 0);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	rig_advance_to(&rig, tsc_of(0x80000000));
	assert_int_equal(in(STS, 2), 1);
	out(STS, 2, 0xfffe); /* others do not clear it */
	assert_int_equal(in(STS, 2), 1);
	out(STS, 1, 1);
	assert_int_equal(in(STS, 2), 0);
	rig_advance_to(&rig, tsc_of(0x100000000)); /* falls to 0: a change too */
	assert_int_equal(in(TMR, 4), 0);
	assert_int_equal(in(STS, 2), 1);
}

static void carry_interrupts_when_enabled(void **state)
{
	(void)state;
	out(EN, 2, 1);
	assert_true(rig.timers.next == tsc_of(0x80000000));
	rig_advance_to(&rig, tsc_of(0x80000000) - 1);
	assert_false(rig.level[SCI_LINE]);
	rig_advance(&rig, 1);
	assert_true(rig.level[SCI_LINE]);
	assert_true(rig.timers.next == TIMERQ_NEVER); /* until it is cleared */
	out(STS, 2, 1);
	assert_false(rig.level[SCI_LINE]);
	assert_true(rig.timers.next == tsc_of(0x100000000));
	out(EN, 2, 0);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	/* A carry that came while disabled interrupts as soon as it is enabled. */
	rig_advance_to(&rig, tsc_of(0x100000000));
	out(EN, 2, 1);
	assert_true(rig.level[SCI_LINE]);
	assert_int_equal(rig.rises[SCI_LINE], 2);
}

static void power_button(void **state)
{
	(void)state;
	vpm_power_button(&pm);
	assert_int_equal(in(STS, 2), 0x100);
	assert_false(rig.level[SCI_LINE]);
	out(EN + 1, 1, 0x01);
	assert_int_equal(in(EN, 2), 0x100);
	assert_true(rig.level[SCI_LINE]);
	out(STS + 1, 1, 0x01);
	assert_false(rig.level[SCI_LINE]);
	assert_int_equal(in(STS, 2), 0);
	vpm_power_button(&pm);
	vpm_power_button(&pm);
	assert_int_equal(rig.rises[SCI_LINE], 2);
	out(STS, 2, 0x100);
	rig_advance_to(&rig, tsc_of(0x80000000));
	vpm_power_button(&pm);
	assert_int_equal(in(STS, 2), 0x101);
	rig_advance_to(&rig, tsc_of(0x100000000));
	assert_int_equal(in(STS, 2), 0x101);
	out(STS, 2, 0x01);
	rig_advance_to(&rig, tsc_of(0x180000000));
	assert_int_equal(in(STS, 2), 0x101);
	assert_int_equal(offs, 0); /* it asks, the guest decides */
}

static void enables_of_what_exists(void **state)
{
	(void)state;
	out(EN, 2, 0xffff);
	assert_int_equal(in(EN, 2), 0x0521);
	out(EN, 1, 0);
	assert_int_equal(in(EN, 2), 0x0500);
	out(STS, 4, 0); /* one dword: status and enable */
	assert_int_equal(in(EN, 2), 0);
}

static void sleep_type_5_powers_off(void **state)
{
	(void)state;
	out(CNT, 2, PC_S5_SLP_TYP << 10);
	assert_int_equal(offs, 0);
	assert_int_equal(in(CNT, 2), PC_S5_SLP_TYP << 10 | 1);
	out(CNT, 2, 0x2000 | 1 << 10); /* S1 and the like do not exist */
	assert_int_equal(offs, 0);
	out(CNT, 1, 0xff);
	out(CNT, 2, 0x2000 | PC_S5_SLP_TYP << 10);
	assert_int_equal(offs, 1);
	assert_int_equal(in(CNT, 2), PC_S5_SLP_TYP << 10 | 1); /* SLP_EN is write-only */
	out(CNT + 1, 1, 0x20 | PC_S5_SLP_TYP << 2);
	assert_int_equal(offs, 2);
	out(CNT, 1, 0x02);
	assert_int_equal(in(CNT, 2), PC_S5_SLP_TYP << 10 | 3);
	assert_int_equal(offs, 2);
}

static void reset_clears(void **state)
{
	(void)state;
	out(EN, 2, 0x101);
	out(CNT, 2, 0x1c02);
	vpm_power_button(&pm);
	rig_advance_to(&rig, tsc_of(0x80000001));
	pm.dev.ops->reset(&pm.dev);
	assert_false(rig.level[SCI_LINE]);
	assert_int_equal(in(STS, 4), 0);
	assert_int_equal(in(CNT, 2), 1);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	vpm_init(&pm, &rig.time, &rig.timers, rig_line(&rig, SCI_LINE), &ops, &offs);
	assert_int_equal(in(STS, 2), 0); /* a carry before its time is not its own */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(power_on, setup),
		cmocka_unit_test_setup(timer_runs_at_3_58_mhz, setup),
		cmocka_unit_test_setup(carry_without_interrupt_is_seen_when_looked_for, setup),
		cmocka_unit_test_setup(carry_interrupts_when_enabled, setup),
		cmocka_unit_test_setup(power_button, setup),
		cmocka_unit_test_setup(enables_of_what_exists, setup),
		cmocka_unit_test_setup(sleep_type_5_powers_off, setup),
		cmocka_unit_test_setup(reset_clears, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
