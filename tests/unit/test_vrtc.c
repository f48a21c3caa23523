/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real-time clock: its calendar against the C library's, alarms against a
 * second-by-second search, the three interrupts, update-in-progress, and
 * setting the time as drivers do.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <time.h>

#include "guest/vrtc.h"
#include "tests/fakes/device_rig.h"

#define TICK_HZ 32768ull /* guest TSC and the clock's crystal at one rate: exact to the tick */
#define IRQ 8
#define WALL 1700000000ull /* 2023-11-14 22:13:20, a Tuesday */
#define CENTURY 0x32

enum { SEC, SEC_ALARM, MIN, MIN_ALARM, HOUR, HOUR_ALARM, WEEKDAY, DAY, MONTH, YEAR, A, B, C, D };

static struct rig rig;
static struct vrtc rtc;

static void start(uint64_t hz, uint64_t wall)
{
	rig_init(&rig, hz);
	rig_advance(&rig, 777);
	vrtc_init(&rtc, wall, &rig.time, &rig.timers, rig_line(&rig, IRQ));
}

static int setup(void **state)
{
	(void)state;
	start(TICK_HZ, WALL);
	return 0;
}

static uint8_t get(uint8_t reg)
{
	dev_out(&rtc.dev, 0, reg);
	return dev_in(&rtc.dev, 1);
}

static void set(uint8_t reg, uint8_t v)
{
	dev_out(&rtc.dev, 0, reg);
	dev_out(&rtc.dev, 1, v);
}

static void seconds(uint64_t n) { rig_advance(&rig, n * TICK_HZ); }

static void expect_time(unsigned hour, unsigned min, unsigned sec)
{
	assert_int_equal(get(HOUR), hour);
	assert_int_equal(get(MIN), min);
	assert_int_equal(get(SEC), sec);
}

static void expect_date(unsigned century, unsigned year, unsigned month, unsigned day, unsigned weekday)
{
	assert_int_equal(get(CENTURY), century);
	assert_int_equal(get(YEAR), year);
	assert_int_equal(get(MONTH), month);
	assert_int_equal(get(DAY), day);
	assert_int_equal(get(WEEKDAY), weekday);
}

static void starts_at_the_wall_clock(void **state)
{
	(void)state;
	expect_time(0x22, 0x13, 0x20);
	expect_date(0x20, 0x23, 0x11, 0x14, 3);
	assert_int_equal(get(A), 0x26);
	assert_int_equal(get(B), 0x02);
	assert_int_equal(get(C), 0x00);
	assert_int_equal(get(D), 0x80);
	assert_int_equal(dev_in(&rtc.dev, 0), 0xff); /* the index cannot be read */
	assert_true(rig.timers.next == TIMERQ_NEVER);
}

static void goes_on_by_guest_time(void **state)
{
	(void)state;
	rig_advance(&rig, TICK_HZ - 1);
	expect_time(0x22, 0x13, 0x20);
	rig_advance(&rig, 1);
	expect_time(0x22, 0x13, 0x21);
	seconds(3600 * 2);
	expect_time(0x00, 0x13, 0x21);
	expect_date(0x20, 0x23, 0x11, 0x15, 4);
	vm_time_pause(&rig.time); /* a frozen guest's clock stands */
	rig_stall(&rig, 1000 * TICK_HZ);
	expect_time(0x00, 0x13, 0x21);
	vm_time_resume(&rig.time);
	seconds(1);
	expect_time(0x00, 0x13, 0x22);
}

static unsigned bcd(int v) { return (unsigned)(v / 10 << 4 | v % 10); }

static void calendar_as_the_library_has_it(void **state)
{
	(void)state;
	srand(1);
	for (unsigned i = 0; i < 3000; i++) {
		time_t from = (time_t)((uint64_t)rand() << 4), to;
		struct tm tm;
		uint64_t jump = (uint64_t)rand() % (i % 2 ? 100000 : 1000000000);

		start(TICK_HZ, (uint64_t)from);
		if (i % 3)
			seconds(jump);
		to = from + (time_t)(i % 3 ? jump : 0);
		gmtime_r(&to, &tm);
		expect_time(bcd(tm.tm_hour), bcd(tm.tm_min), bcd(tm.tm_sec));
		expect_date(bcd((tm.tm_year + 1900) / 100), bcd(tm.tm_year % 100), bcd(tm.tm_mon + 1), bcd(tm.tm_mday),
			    (unsigned)tm.tm_wday + 1);
	}
}

static void leap_years(void **state)
{
	(void)state;
	start(TICK_HZ, 951782399); /* 2000-02-28 23:59:59 */
	seconds(1);
	expect_date(0x20, 0x00, 0x02, 0x29, 3);
	start(TICK_HZ, 4107542399); /* 2100-02-28 23:59:59 */
	seconds(1);
	expect_date(0x21, 0x00, 0x03, 0x01, 2);
	start(TICK_HZ, 946684799); /* 1999-12-31 23:59:59 */
	expect_date(0x19, 0x99, 0x12, 0x31, 6);
	seconds(1);
	expect_date(0x20, 0x00, 0x01, 0x01, 7);
}

static void formats(void **state)
{
	(void)state;
	set(B, 0x86); /* SET, binary, 24 hours */
	set(HOUR, 22);
	set(MIN, 59);
	set(SEC, 58);
	set(DAY, 31);
	set(MONTH, 12);
	set(YEAR, 99);
	set(CENTURY, 20);
	set(WEEKDAY, 7);
	set(B, 0x06);
	seconds(3);
	expect_time(23, 0, 1);
	seconds(3600);
	expect_time(0, 0, 1);
	expect_date(21, 0, 1, 1, 1);
	set(B, 0x80); /* BCD, 12 hours */
	set(HOUR, 0x12);
	set(MIN, 0x59);
	set(SEC, 0x59);
	set(B, 0x00);
	seconds(1);
	expect_time(0x01, 0x00, 0x00); /* after 12 am comes 1 am */
	seconds(10 * 3600);
	expect_time(0x11, 0x00, 0x00);
	seconds(3600);
	expect_time(0x92, 0x00, 0x00); /* 12 pm */
	seconds(3600);
	expect_time(0x81, 0x00, 0x00);
	seconds(11 * 3600);
	expect_time(0x12, 0x00, 0x00); /* midnight */
}

static void set_bit_stops_updates(void **state)
{
	(void)state;
	rig_advance(&rig, TICK_HZ / 4);
	set(B, 0x92);
	assert_int_equal(get(B), 0x82); /* SET takes the update interrupt with it */
	seconds(100);
	expect_time(0x22, 0x13, 0x20);
	/* Field by field through impossible dates, as drivers do it. */
	set(MONTH, 0x02);
	set(DAY, 0x31);
	assert_int_equal(get(DAY), 0x31);
	set(DAY, 0x28);
	set(YEAR, 0x24);
	set(HOUR, 0x23);
	set(MIN, 0x59);
	set(SEC, 0x59);
	set(WEEKDAY, 4);
	assert_int_equal(get(C), 0x40); /* periods passed, updates did not */
	set(B, 0x02);
	rig_advance(&rig, TICK_HZ * 3 / 4 - 1); /* SET did not stop the divider chain */
	expect_time(0x23, 0x59, 0x59);
	rig_advance(&rig, 1);
	expect_time(0x00, 0x00, 0x00);
	expect_date(0x20, 0x24, 0x02, 0x29, 5);
	/* Without SET a field is just replaced. */
	set(HOUR, 0x05);
	seconds(1);
	expect_time(0x05, 0x00, 0x01);
}

static void divider_reset(void **state)
{
	(void)state;
	rig_advance(&rig, 100);
	get(C);
	set(A, 0x76);
	seconds(50);
	expect_time(0x22, 0x13, 0x20);
	assert_int_equal(get(C), 0);
	set(A, 0x26); /* the first update comes half a second later */
	rig_advance(&rig, TICK_HZ / 2 - 1);
	expect_time(0x22, 0x13, 0x20);
	rig_advance(&rig, 1);
	expect_time(0x22, 0x13, 0x21);
	rig_advance(&rig, TICK_HZ);
	expect_time(0x22, 0x13, 0x22);
	set(A, 0x26); /* running already: no new phase */
	rig_advance(&rig, TICK_HZ - 1);
	expect_time(0x22, 0x13, 0x22);
	rig_advance(&rig, 1);
	expect_time(0x22, 0x13, 0x23);
	set(A, 0x06); /* another crystal than there is */
	seconds(50);
	expect_time(0x22, 0x13, 0x23);
}

static void update_in_progress(void **state)
{
	(void)state;
	rig_advance(&rig, TICK_HZ - 9);
	assert_int_equal(get(A), 0x26);
	rig_advance(&rig, 1);
	assert_int_equal(get(A), 0xa6); /* 244 us before */
	rig_advance(&rig, 7);
	assert_int_equal(get(A), 0xa6);
	rig_advance(&rig, 1);
	assert_int_equal(get(A), 0x26);
	set(A, 0xa6); /* read-only */
	assert_int_equal(get(A), 0x26);
	rig_advance(&rig, TICK_HZ - 4);
	set(B, 0x82); /* no update, no progress */
	assert_int_equal(get(A), 0x26);
}

static void update_interrupt(void **state)
{
	(void)state;
	seconds(5);
	assert_int_equal(get(C), 0x50); /* flags rise without being enabled */
	assert_int_equal(get(C), 0x00);
	assert_int_equal(rig.rises[IRQ], 0);
	rig_advance(&rig, 10);
	set(B, 0x12);
	rig_advance(&rig, TICK_HZ - 11);
	assert_false(rig.level[IRQ]);
	rig_advance(&rig, 1);
	assert_true(rig.level[IRQ]);
	assert_true(rig.timers.next == TIMERQ_NEVER); /* nothing more until C is read */
	seconds(3);
	assert_int_equal(rig.rises[IRQ], 1);
	assert_int_equal(get(C), 0xd0);
	assert_false(rig.level[IRQ]);
	for (unsigned i = 0; i < 10; i++) {
		seconds(1);
		assert_int_equal(get(C), 0xd0);
	}
	assert_int_equal(rig.rises[IRQ], 11);
	set(B, 0x02);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	seconds(1);
	set(B, 0x12); /* the flag is up already: interrupts as soon as it may */
	assert_true(rig.level[IRQ]);
	set(B, 0x02);
	assert_false(rig.level[IRQ]);
}

static void periodic_interrupt(void **state)
{
	static const unsigned ticks[16] = {0, 128, 256, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};

	(void)state;
	for (unsigned rate = 1; rate < 16; rate++) {
		start(TICK_HZ, WALL);
		set(A, (uint8_t)(0x20 | rate));
		set(B, 0x42);
		for (unsigned i = 1; i <= 20; i++) {
			rig_advance(&rig, ticks[rate] - 1);
			assert_false(rig.level[IRQ]);
			rig_advance(&rig, 1);
			assert_true(rig.level[IRQ]);
			assert_int_equal(get(C) & 0xc0, 0xc0);
		}
		rig_advance(&rig, ticks[rate] * 5 + 1); /* read late: one flag, and the phase stays */
		assert_int_equal(get(C) & 0xc0, 0xc0);
		rig_advance(&rig, ticks[rate] - 1);
		assert_true(rig.level[IRQ]);
		assert_int_equal(rig.rises[IRQ], 22);
		set(A, 0x20);
		get(C);
		assert_true(rig.timers.next == TIMERQ_NEVER);
		seconds(1);
		assert_int_equal(get(C) & 0x40, 0);
	}
	start(TICK_HZ, WALL);
	set(B, 0xc2); /* it goes on while the time is being set */
	rig_advance(&rig, 32);
	assert_true(rig.level[IRQ]);
}

static void a_new_rate_makes_no_flag(void **state)
{
	(void)state;
	rig_advance(&rig, 100);
	get(C);
	set(A, 0x23);
	assert_int_equal(get(C), 0);
	set(A, 0x2f);
	assert_int_equal(get(C), 0);
	rig_advance(&rig, 16384 - 100);
	assert_int_equal(get(C), 0x40);
}

/* Seconds until the alarm, by looking at each second of the day. */
static unsigned search(unsigned now, const int alarm[3])
{
	for (unsigned n = 1; n <= 86400; n++) {
		unsigned t = (now + n) % 86400;

		bool hour = alarm[0] < 0 || t / 3600 == (unsigned)alarm[0];
		bool min = alarm[1] < 0 || t / 60 % 60 == (unsigned)alarm[1];
		bool sec = alarm[2] < 0 || t % 60 == (unsigned)alarm[2];

		if (hour && min && sec)
			return n;
	}
	return 0;
}

static int random_alarm(uint8_t reg, int limit)
{
	int v = rand() % 3 ? rand() % limit : -1;

	set(reg, v < 0 ? (uint8_t)(0xc0 | rand()) : (uint8_t)bcd(v));
	return v;
}

static void alarms_as_a_search_finds_them(void **state)
{
	(void)state;
	srand(2);
	for (unsigned i = 0; i < 3000; i++) {
		unsigned now = (unsigned)rand() % 86400, left;
		int alarm[3];

		start(TICK_HZ, WALL / 86400 * 86400 + now);
		alarm[0] = random_alarm(HOUR_ALARM, 24);
		alarm[1] = random_alarm(MIN_ALARM, 60);
		alarm[2] = random_alarm(SEC_ALARM, 60);
		left = search(now, alarm);
		if (i % 2)
			set(B, 0x22);
		seconds(left - 1);
		assert_false(rig.level[IRQ]);
		if (i & 2) /* a read lets the clock catch up: found from afar and from near */
			assert_int_equal(get(C) & 0xa0, 0);
		seconds(1);
		assert_int_equal(rig.level[IRQ], i % 2);
		assert_int_equal(get(C) & 0xa0, i % 2 ? 0xa0 : 0x20);
		assert_int_equal(rig.rises[IRQ], i % 2);
	}
}

static void alarm_formats_and_impossible_alarms(void **state)
{
	(void)state;
	set(B, 0x20); /* 12 hours: 10:13:20 pm is 0x90 now, whatever the register said */
	set(HOUR, 0x90);
	set(HOUR_ALARM, 0x91);
	set(MIN_ALARM, 0x00);
	set(SEC_ALARM, 0x00);
	seconds(46 * 60 + 39);
	assert_false(rig.level[IRQ]);
	seconds(1);
	assert_true(rig.level[IRQ]);
	expect_time(0x91, 0x00, 0x00);
	get(C);
	set(MIN_ALARM, 0x75); /* never */
	assert_true(rig.timers.next == TIMERQ_NEVER);
	seconds(86400 * 2);
	assert_int_equal(get(C) & 0x20, 0);
	/* Several days at once: it has been. */
	set(B, 0x00);
	set(MIN_ALARM, 0x30);
	seconds(86400 * 2);
	assert_int_equal(get(C) & 0x20, 0x20);
}

static void nonsense_in_the_time_registers(void **state)
{
	(void)state;
	srand(3);
	for (unsigned i = 0; i < 2000; i++) {
		set(B, (uint8_t)rand());
		for (uint8_t reg = SEC; reg <= YEAR; reg++)
			set(reg, (uint8_t)rand());
		set(CENTURY, (uint8_t)rand());
		set(B, (uint8_t)(rand() & 0x7f));
		rig_advance(&rig, (uint64_t)rand() % (100000 * TICK_HZ));
		get(SEC);
		get(C);
	}
	set(B, 0x06); /* and it is a clock again */
	seconds(1);
	assert_in_range(get(SEC), 0, 59);
	assert_in_range(get(MIN), 0, 59);
	assert_in_range(get(HOUR), 0, 23);
	assert_in_range(get(DAY), 1, 31);
	assert_in_range(get(MONTH), 1, 12);
	assert_in_range(get(WEEKDAY), 1, 7);
}

static void memory_and_index(void **state)
{
	(void)state;
	for (unsigned i = 0x0e; i < 0x80; i++)
		if (i != CENTURY)
			set((uint8_t)i, (uint8_t)(i ^ 0x5a));
	for (unsigned i = 0x0e; i < 0x80; i++)
		if (i != CENTURY)
			assert_int_equal(get((uint8_t)(i | 0x80)), i ^ 0x5a); /* bit 7 is the NMI mask */
	set(C, 0xff);
	set(D, 0x00);
	assert_int_equal(get(C), 0);
	assert_int_equal(get(D), 0x80);
	rtc.dev.ops->write(&rtc.dev, 0, 2, 0x3340); /* index and data at once */
	assert_int_equal(get(0x40), 0x33);
	dev_out(&rtc.dev, 0, 0x40);
	assert_int_equal(rtc.dev.ops->read(&rtc.dev, 0, 2), 0x33ff);
}

static void reset_keeps_time_and_memory(void **state)
{
	(void)state;
	set(0x40, 0x77);
	set(B, 0x72);
	seconds(10);
	assert_true(rig.level[IRQ]);
	rtc.dev.ops->reset(&rtc.dev);
	assert_false(rig.level[IRQ]);
	assert_true(rig.timers.next == TIMERQ_NEVER);
	assert_int_equal(get(B), 0x02);
	assert_int_equal(get(C), 0x00);
	assert_int_equal(get(0x40), 0x77);
	expect_time(0x22, 0x13, 0x30);
}

static void at_a_real_rate(void **state)
{
	(void)state;
	start(2893300000, WALL);
	set(A, 0x26);
	set(B, 0x52);
	for (unsigned i = 0; i < 1024; i++) {
		rig_advance_to(&rig, rig.timers.next);
		get(C);
	}
	assert_in_range(rig_now(&rig), 777 + 2893300000 - 100000, 777 + 2893300000 + 100000);
	expect_time(0x22, 0x13, 0x21);
	set(B, 0x02);
	rig_advance(&rig, 86400ull * 365 * 2893300000);
	expect_time(0x22, 0x13, 0x21);
	expect_date(0x20, 0x24, 0x11, 0x13, 4);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		T(starts_at_the_wall_clock),
		T(goes_on_by_guest_time),
		T(calendar_as_the_library_has_it),
		T(leap_years),
		T(formats),
		T(set_bit_stops_updates),
		T(divider_reset),
		T(update_in_progress),
		T(update_interrupt),
		T(periodic_interrupt),
		T(a_new_rate_makes_no_flag),
		T(alarms_as_a_search_finds_them),
		T(alarm_formats_and_impossible_alarms),
		T(nonsense_in_the_time_registers),
		T(memory_and_index),
		T(reset_keeps_time_and_memory),
		T(at_a_real_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
