/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 8254 by its data sheet, at one guest TSC tick for each of its own, and
 * counter 0's interrupt at real rates: no drift over hours, one edge after a
 * gap, no timer when nothing can come. (The modes in all detail: model_vpit.)
 */
#include "tests/cmocka_all.h"

#include "guest/vpit.h"
#include "tests/fakes/device_rig.h"

#define COUNTER(n) (n)
#define CONTROL 3
#define PORT61 4

static struct rig rig;
static struct vpit pit;

static void start(uint64_t hz)
{
	rig_init(&rig, hz);
	vpit_init(&pit, &rig.time, &rig.timers, rig_line(&rig, 0));
	assert_true(rig.level[0]); /* rests high, so that programming makes no edge */
	rig.rises[0] = 0;
}

static int setup(void **state)
{
	(void)state;
	start(VPIT_HZ);
	return 0;
}

static uint8_t in(unsigned reg) { return dev_in(&pit.dev, reg); }
static void out(unsigned reg, uint8_t v) { dev_out(&pit.dev, reg, v); }

static void program(unsigned n, unsigned mode, uint16_t count)
{
	out(CONTROL, (uint8_t)(n << 6 | 0x30 | mode << 1));
	out(n, (uint8_t)count);
	out(n, (uint8_t)(count >> 8));
}

static uint16_t in_word(unsigned n)
{
	uint8_t low = in(n);

	return (uint16_t)(low | in(n) << 8);
}

static uint16_t latched(unsigned n)
{
	out(CONTROL, (uint8_t)(n << 6));
	return in_word(n);
}

static uint8_t status(unsigned n)
{
	out(CONTROL, (uint8_t)(0xe0 | 2 << n));
	return in(n);
}

static void at_rest(void **state)
{
	(void)state;
	assert_true(rig.timers.next == TIMERQ_NEVER);
	assert_int_equal(in(CONTROL), 0xff);
	assert_int_equal(in(PORT61) & ~0x10, 0x20);
	rig_advance(&rig, 1000000);
	assert_int_equal(rig.rises[0], 0);
}

static void rate_generator_interrupts(void **state)
{
	(void)state;
	program(0, 2, 1000);
	assert_int_equal(rig.rises[0], 0);
	rig_advance(&rig, 1000);
	assert_int_equal(rig.rises[0], 0);
	rig_advance(&rig, 1);
	assert_int_equal(rig.rises[0], 1);
	rig_advance(&rig, 999);
	assert_int_equal(rig.rises[0], 1);
	rig_advance(&rig, 1);
	assert_int_equal(rig.rises[0], 2);
	assert_true(rig.level[0]);
	rig_advance(&rig, 98000);
	assert_int_equal(rig.rises[0], 100);
}

static void late_edges_are_one_and_in_phase(void **state)
{
	(void)state;
	program(0, 3, 1000);
	rig_jump(&rig, 7501);
	assert_int_equal(rig.rises[0], 1);
	rig_advance(&rig, 499);
	assert_int_equal(rig.rises[0], 1);
	rig_advance(&rig, 1);
	assert_int_equal(rig.rises[0], 2);
}

static void no_drift_over_a_day(void **state)
{
	const uint64_t hz = 2893300000;
	uint64_t edges = 0;

	(void)state;
	start(hz);
	program(0, 2, 11932); /* 100 Hz and a little less */
	for (unsigned hour = 0; hour < 24; hour++) {
		rig_advance(&rig, 3600 * hz);
		edges = rig.rises[0];
	}
	assert_int_equal(edges, (86400ull * VPIT_HZ - 1) / 11932);
}

static void single_shots(void **state)
{
	(void)state;
	program(0, 0, 500);
	assert_false(rig.level[0]); /* mode 0 rests low */
	rig_advance(&rig, 500);
	assert_int_equal(rig.rises[0], 0);
	rig_advance(&rig, 1);
	assert_int_equal(rig.rises[0], 1);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	rig_advance(&rig, 1000000);
	assert_int_equal(rig.rises[0], 1);
	program(0, 4, 500);
	assert_int_equal(rig.rises[0], 1);
	rig_advance(&rig, 501);
	assert_int_equal(rig.rises[0], 1);
	rig_advance(&rig, 1); /* the strobe's end */
	assert_int_equal(rig.rises[0], 2);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	out(COUNTER(0), 100); /* a new count strobes again */
	out(COUNTER(0), 0);
	rig_advance(&rig, 102);
	assert_int_equal(rig.rises[0], 3);
	program(0, 1, 500); /* wants a gate edge, which counter 0 has not */
	rig_advance(&rig, 1000000);
	program(0, 5, 500);
	rig_advance(&rig, 1000000);
	assert_int_equal(rig.rises[0], 3);
	assert_true(rig.timers.next == TIMERQ_NEVER);
}

static void a_due_edge_is_not_lost_by_programming(void **state)
{
	(void)state;
	program(0, 4, 500);
	rig_stall(&rig, 600);
	assert_int_equal(rig.rises[0], 0);
	program(0, 4, 500);
	assert_int_equal(rig.rises[0], 1);
	rig_advance(&rig, 502);
	assert_int_equal(rig.rises[0], 2);
	program(0, 0, 10); /* programmed away before its time: gone */
	program(0, 2, 1000);
	rig.rises[0] = 0;
	rig_advance(&rig, 1000);
	assert_int_equal(rig.rises[0], 0);
}

static void the_first_byte_stops_mode_0(void **state)
{
	(void)state;
	program(0, 0, 500);
	rig_advance(&rig, 501);
	assert_int_equal(rig.rises[0], 1);
	out(COUNTER(0), 10);
	assert_false(rig.level[0]);
	program(0, 0, 500);
	rig_advance(&rig, 100);
	out(COUNTER(0), 10);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	rig_advance(&rig, 10000);
	assert_int_equal(rig.rises[0], 1);
	out(COUNTER(0), 0);
	rig_advance(&rig, 11);
	assert_int_equal(rig.rises[0], 2);
}

static void one_byte_counts(void **state)
{
	(void)state;
	out(CONTROL, 0x14); /* counter 0, low byte, mode 2 */
	out(COUNTER(0), 200);
	rig_advance(&rig, 201);
	assert_int_equal(rig.rises[0], 1);
	assert_int_equal(in(0), 200);
	rig_advance(&rig, 5);
	assert_int_equal(in(0), 195);
	assert_int_equal(in(0), 195);
	out(CONTROL, 0xa0); /* counter 2, high byte, mode 0 */
	out(PORT61, 1);
	out(COUNTER(2), 0x12);
	rig_advance(&rig, 1);
	assert_int_equal(in(2), 0x12);
	rig_advance(&rig, 1);
	assert_int_equal(in(2), 0x11);
	out(CONTROL, 0x80);
	assert_int_equal(in(2), 0x11); /* a latch of one byte */
	rig_advance(&rig, 0x1000);
	assert_int_equal(in(2), 0x01);
	rig_advance(&rig, 0x1fe);
	assert_int_equal(in(2), 0x00);
	assert_int_equal(in(PORT61)&0x20, 0);
	rig_advance(&rig, 1);
	assert_int_equal(in(PORT61)&0x20, 0x20);
}

static void zero_is_the_largest_count(void **state)
{
	(void)state;
	program(0, 2, 0);
	rig_advance(&rig, 65536);
	assert_int_equal(rig.rises[0], 0);
	rig_advance(&rig, 1);
	assert_int_equal(rig.rises[0], 1);
	assert_int_equal(latched(0), 0);
	out(CONTROL, 0x35); /* BCD */
	out(COUNTER(0), 0);
	out(COUNTER(0), 0);
	rig_advance(&rig, 2);
	assert_int_equal(latched(0), 0x9999);
	rig_advance(&rig, 9998);
	assert_int_equal(rig.rises[0], 1);
	rig_advance(&rig, 1);
	assert_int_equal(rig.rises[0], 2);
}

static void bcd_counts(void **state)
{
	(void)state;
	out(CONTROL, 0x31);
	out(COUNTER(0), 0x34);
	out(COUNTER(0), 0x12);
	rig_advance(&rig, 1);
	assert_int_equal(latched(0), 0x1234);
	rig_advance(&rig, 235);
	assert_int_equal(latched(0), 0x0999);
	rig_advance(&rig, 999);
	assert_int_equal(latched(0), 0x0000);
	assert_int_equal(rig.rises[0], 1);
	rig_advance(&rig, 1);
	assert_int_equal(latched(0), 0x9999);
}

static void latches_hold(void **state)
{
	(void)state;
	out(PORT61, 1);
	program(2, 2, 0x4321);
	rig_advance(&rig, 0x22);
	out(CONTROL, 0x80);
	rig_advance(&rig, 1000);
	out(CONTROL, 0x80); /* the first one holds */
	assert_int_equal(in(2), 0x00);
	assert_int_equal(in(2), 0x43);
	assert_int_equal(in(2), (0x4300 - 1000) & 0xff); /* and is gone once read */
	in(2);
	/* Programming drops a latch. */
	out(CONTROL, 0x80);
	program(2, 0, 0x1111);
	rig_advance(&rig, 1);
	assert_int_equal(in_word(2), 0x1111);
}

static void read_back(void **state)
{
	(void)state;
	program(0, 2, 1000);
	out(PORT61, 1);
	program(2, 3, 2000);
	assert_int_equal(status(0), 0xf4); /* high, not loaded yet, both bytes, mode 2 */
	rig_advance(&rig, 1);
	assert_int_equal(status(0), 0xb4);
	rig_advance(&rig, 999);
	assert_int_equal(status(0), 0x34); /* the last tick of the period is low */
	assert_int_equal(status(2), 0xb6);
	rig_advance(&rig, 1);
	assert_int_equal(status(2), 0x36); /* second half of the square wave */
	/* Count and status of two counters at once: status comes first. */
	out(CONTROL, 0xca);
	rig_advance(&rig, 77);
	assert_int_equal(in(0), 0xb4);
	assert_int_equal(in_word(0), 1000);
	assert_int_equal(in(2), 0x36);
	assert_int_equal(in_word(2), 2000);
	/* A second status latch before the first is read changes nothing. */
	out(CONTROL, 0xe2);
	program(1, 0, 1);
	rig_advance(&rig, 922);
	out(CONTROL, 0xe2);
	assert_int_equal(in(0), 0xb4);
	out(COUNTER(0), 1);
	out(COUNTER(0), 1);
	assert_int_equal(status(0) & 0x40, 0x40); /* the new count waits for the period's end */
	rig_advance(&rig, 1);
	assert_int_equal(status(0) & 0x40, 0);
	assert_int_equal(status(1), 0xb0);
	out(CONTROL, 0x7f); /* modes 6 and 7 are 2 and 3; BCD */
	assert_int_equal(status(1), 0xf7);
	out(CONTROL, 0x7c);
	assert_int_equal(status(1), 0xf4);
}

static void a_new_period_starts_after_the_old_one(void **state)
{
	(void)state;
	program(0, 2, 1000);
	rig_advance(&rig, 101);
	out(COUNTER(0), 300 & 0xff);
	rig_advance(&rig, 100);
	out(COUNTER(0), 300 >> 8);
	assert_int_equal(latched(0), 800);
	rig_advance(&rig, 800);
	assert_int_equal(rig.rises[0], 1);
	assert_int_equal(latched(0), 300);
	rig_advance(&rig, 300);
	assert_int_equal(rig.rises[0], 2);
	rig_jump(&rig, 10000);
	assert_int_equal(rig.rises[0], 3);
	rig_advance(&rig, 200);
	assert_int_equal(rig.rises[0], 4);
	/* A counter that nobody looks at between its changes: 100 clocks, then 50, 30 and 20. */
	out(PORT61, 1);
	program(2, 2, 100);
	rig_advance(&rig, 41);
	out(COUNTER(2), 50);
	out(COUNTER(2), 0);
	rig_advance(&rig, 85);
	out(COUNTER(2), 30);
	out(COUNTER(2), 0);
	rig_advance(&rig, 25);
	assert_int_equal(latched(2), 30);
	out(COUNTER(2), 20);
	out(COUNTER(2), 0);
	rig_advance(&rig, 31);
	assert_int_equal(status(2), 0xb4); /* taken over: not null */
	assert_int_equal(in_word(2), 19);
}

static void speaker_port(void **state)
{
	uint8_t before;
	unsigned toggles = 0;

	(void)state;
	out(PORT61, 0xff);
	assert_int_equal(in(PORT61) & ~0x30, 0x0f);
	out(PORT61, 0x00);
	assert_int_equal(in(PORT61) & ~0x30, 0x00);
	before = in(PORT61)&0x10;
	for (unsigned i = 0; i < 1800; i++) {
		rig_advance(&rig, 1);
		toggles += (in(PORT61) & 0x10) != before;
		before = in(PORT61) & 0x10;
	}
	assert_int_equal(toggles, 100); /* refresh: every 15 us */
}

/* How Linux measures its TSC: counter 2 in mode 0 through the gate, until the output rises. */
static void tsc_calibration(void **state)
{
	const uint64_t hz = 50000000;
	uint64_t from, ticks;

	(void)state;
	start(hz);
	out(PORT61, (in(PORT61) & ~0x02) | 0x01);
	out(CONTROL, 0xb0);
	out(COUNTER(2), 11931 & 0xff);
	out(COUNTER(2), 11931 >> 8);
	from = rig_now(&rig);
	while (!(in(PORT61)&0x20))
		rig_advance(&rig, 10);
	ticks = rig_now(&rig) - from;
	assert_in_range(ticks, hz / 100 - 50, hz / 100 + 100);
}

static void wide_accesses_are_bytes(void **state)
{
	(void)state;
	out(PORT61, 1);
	pit.dev.ops->write(&pit.dev, COUNTER(2), 2, 0xb034); /* a count for a counter without mode, then mode 0 */
	out(COUNTER(2), 5);
	out(COUNTER(2), 0);
	rig_advance(&rig, 1);
	assert_int_equal(pit.dev.ops->read(&pit.dev, COUNTER(2), 2), 0xff05);
}

static void reset_stops_all(void **state)
{
	(void)state;
	program(0, 0, 1000);
	out(PORT61, 3);
	pit.dev.ops->reset(&pit.dev);
	assert_true(rig.level[0]);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	assert_int_equal(in(PORT61) & ~0x10, 0x20);
	assert_false(pit.counters[2].gate);
	assert_true(pit.counters[0].gate && pit.counters[1].gate);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		T(at_rest),
		T(rate_generator_interrupts),
		T(late_edges_are_one_and_in_phase),
		T(no_drift_over_a_day),
		T(single_shots),
		T(a_due_edge_is_not_lost_by_programming),
		T(the_first_byte_stops_mode_0),
		T(one_byte_counts),
		T(zero_is_the_largest_count),
		T(bcd_counts),
		T(latches_hold),
		T(read_back),
		T(a_new_period_starts_after_the_old_one),
		T(speaker_port),
		T(tsc_calibration),
		T(wide_accesses_are_bytes),
		T(reset_stops_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
