/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MC146818A (Motorola data sheet), with the century in byte 0x32. The time lives
 * in its registers, as on the chip; whoever looks first lets it catch up with the
 * seconds that have passed (calendar arithmetic after Howard Hinnant, "chrono-
 * compatible low-level date algorithms"). Interrupt flags are computed the same
 * way, and a timer runs only until a flag that interrupts is up: as long as the
 * guest does not read register C, it costs nothing. Not kept: daylight saving,
 * the square-wave pin, time bases other than 32768 Hz (they stop the clock).
 */
#include "guest/vrtc.h"

#include "guest/pc.h"
#include "lib/bits.h"

enum { SEC, SEC_ALARM, MIN, MIN_ALARM, HOUR, HOUR_ALARM, WEEKDAY, DAY, MONTH, YEAR, REG_A, REG_B, REG_C, REG_D };

#define A_UIP BIT(7)
#define A_DIVIDER MASK(6, 4)
#define A_DIVIDER_32K (2u << 4)
#define A_DIVIDER_RESET MASK(6, 5) /* 11x */
#define A_RATE MASK(3, 0)
#define B_SET BIT(7)
#define B_PIE BIT(6)
#define B_AIE BIT(5)
#define B_UIE BIT(4)
#define B_INTERRUPTS (B_PIE | B_AIE | B_UIE)
#define B_BINARY BIT(2)
#define B_24_HOURS BIT(1)
#define C_IRQF BIT(7)
#define C_PF BIT(6) /* bit for bit under the enables of register B */
#define C_AF BIT(5)
#define C_UF BIT(4)
#define D_VALID BIT(7)
#define HOUR_PM BIT(7)
#define ALARM_ANY 0xc0 /* both bits set: every value matches */

#define SECOND_SHIFT 15      /* ticks of a second */
#define SECOND_TICKS BIT(SECOND_SHIFT)
#define UIP_TICKS 8          /* 244 us before an update */
#define HALF_SECOND (SECOND_TICKS / 2) /* from the end of a divider reset to the first update */
#define DAY_SECONDS 86400
#define CYCLE_YEARS 400
#define CYCLE_DAYS 146097 /* of the Gregorian calendar */
#define DAYS_TO_1970 (719468 + CYCLE_DAYS)
#define INDEX_MASK 0x7f      /* bit 7 masks NMI: there is no source of one */

/* ---- numbers in registers ---- */

static uint8_t encode(const struct vrtc *rtc, unsigned v)
{
	return (uint8_t)(rtc->cmos[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static unsigned decode(const struct vrtc *rtc, uint8_t v)
{
	return rtc->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 15);
}

static uint8_t encode_hour(const struct vrtc *rtc, unsigned hour)
{
	if (rtc->cmos[REG_B] & B_24_HOURS)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct vrtc *rtc, uint8_t v)
{
	if (rtc->cmos[REG_B] & B_24_HOURS)
		return decode(rtc, v);
	return decode(rtc, v & ~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* ---- calendar ---- */

struct date {
	int64_t year;
	unsigned month, day; /* from 1 */
};

/*
 * Days since 1 March of the year -400: far enough back that nothing a guest may write is negative (the calendar
 * repeats after 400 years). A day beyond its month runs into the next.
 */
static int64_t days_from_date(const struct date *d)
{
	int64_t year = d->year + CYCLE_YEARS - (d->month <= 2); /* years begin in March: the leap day is last */
	int64_t month = d->month > 2 ? d->month - 3 : d->month + 9;
	int64_t day_of_year = (153 * month + 2) / 5 + d->day - 1;

	return year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
}

static struct date date_from_days(int64_t days)
{
	int64_t cycle = days / CYCLE_DAYS;
	int64_t day = days % CYCLE_DAYS;
	int64_t year = (day - day / 1460 + day / 36524 - day / (CYCLE_DAYS - 1)) / 365;
	int64_t day_of_year = day - (365 * year + year / 4 - year / 100);
	int64_t month = (5 * day_of_year + 2) / 153;
	unsigned calendar_month = (unsigned)(month < 10 ? month + 3 : month - 9);

	return (struct date){.year = year + (cycle - 1) * CYCLE_YEARS + (calendar_month <= 2),
			     .month = calendar_month,
			     .day = (unsigned)(day_of_year - (153 * month + 2) / 5 + 1)};
}

static unsigned second_of_day(const struct vrtc *rtc)
{
	return decode_hour(rtc, rtc->cmos[HOUR]) * 3600 + decode(rtc, rtc->cmos[MIN]) * 60 + decode(rtc, rtc->cmos[SEC]);
}

/* Seconds, from the origin of the days on, that the registers show: whatever the guest wrote there is some time. */
static int64_t registers_to_seconds(const struct vrtc *rtc)
{
	unsigned month = decode(rtc, rtc->cmos[MONTH]);
	struct date d = {.year = decode(rtc, rtc->cmos[PC_RTC_CENTURY]) * 100 + decode(rtc, rtc->cmos[YEAR]),
			 .month = month < 1 ? 1 : MIN(month, 12u),
			 .day = decode(rtc, rtc->cmos[DAY])};

	return days_from_date(&d) * DAY_SECONDS + second_of_day(rtc);
}

static void seconds_to_registers(struct vrtc *rtc, int64_t seconds)
{
	int64_t days = seconds / DAY_SECONDS;
	unsigned rest = (unsigned)(seconds % DAY_SECONDS);
	struct date d = date_from_days(days);

	rtc->cmos[SEC] = encode(rtc, rest % 60);
	rtc->cmos[MIN] = encode(rtc, rest / 60 % 60);
	rtc->cmos[HOUR] = encode_hour(rtc, rest / 3600);
	rtc->cmos[DAY] = encode(rtc, d.day);
	rtc->cmos[MONTH] = encode(rtc, d.month);
	rtc->cmos[YEAR] = encode(rtc, (unsigned)(d.year % 100));
	rtc->cmos[PC_RTC_CENTURY] = encode(rtc, (unsigned)(d.year / 100 % 100));
}

/* The weekday is a counter of its own: it says what the guest made it say. */
static void advance(struct vrtc *rtc, uint64_t seconds)
{
	int64_t before = registers_to_seconds(rtc);
	int64_t after = before + (int64_t)seconds;
	uint64_t days = (uint64_t)(after / DAY_SECONDS - before / DAY_SECONDS);
	unsigned weekday = decode(rtc, rtc->cmos[WEEKDAY]);

	seconds_to_registers(rtc, after);
	rtc->cmos[WEEKDAY] = encode(rtc, (unsigned)((weekday + 6 + days) % 7 + 1));
}

/* ---- alarm ---- */

/* The least value from @from on that @alarm lets pass below @limit, -1 for none. */
static int next_match(int alarm, int from, int limit)
{
	if (alarm < 0)
		return from < limit ? from : -1;
	return alarm >= from && alarm < limit ? alarm : -1;
}

static int alarm_value(const struct vrtc *rtc, unsigned reg)
{
	uint8_t v = rtc->cmos[reg];

	if ((v & ALARM_ANY) == ALARM_ANY)
		return -1;
	return (int)(reg == HOUR_ALARM ? decode_hour(rtc, v) : decode(rtc, v));
}

/* Finds the first match at or after the given time of day, within the day; -1 for none. */
static int match_from(const struct vrtc *rtc, int hour, int min, int sec)
{
	int h_alarm = alarm_value(rtc, HOUR_ALARM), m_alarm = alarm_value(rtc, MIN_ALARM);
	int s_alarm = alarm_value(rtc, SEC_ALARM);
	int s = next_match(s_alarm, sec, 60);
	int m = next_match(m_alarm, s < 0 ? min + 1 : min, 60);
	int h = next_match(h_alarm, m < 0 ? hour + 1 : hour, 24);

	/* A later field is free to start at its first match once an earlier one has moved on. */
	if (h != hour)
		m = next_match(m_alarm, 0, 60);
	if (h != hour || m != min)
		s = next_match(s_alarm, 0, 60);
	return h < 0 || m < 0 || s < 0 ? -1 : (h * 60 + m) * 60 + s;
}

/* Seconds from the time in the registers to the next alarm, 1..86400; 0 for never. */
static uint64_t seconds_to_alarm(const struct vrtc *rtc)
{
	unsigned now = second_of_day(rtc) % DAY_SECONDS;
	int next = (int)now + 1;
	int at = match_from(rtc, next / 3600, next / 60 % 60, next % 60);

	if (at < 0) {
		at = match_from(rtc, 0, 0, 0);
		if (at >= 0)
			at += DAY_SECONDS;
	}
	return at < 0 ? 0 : (uint64_t)at - now;
}

/* ---- the divider chain ---- */

static bool chain_runs(const struct vrtc *rtc) { return (rtc->cmos[REG_A] & A_DIVIDER) == A_DIVIDER_32K; }
static bool updates_run(const struct vrtc *rtc) { return chain_runs(rtc) && !(rtc->cmos[REG_B] & B_SET); }

/* Ticks of a period as a shift, 0 for none. Rates 1 and 2 repeat 8 and 9 with this time base. */
static unsigned period_shift(const struct vrtc *rtc)
{
	unsigned rate = rtc->cmos[REG_A] & A_RATE;

	if (rate == 0 || !chain_runs(rtc))
		return 0;
	return rate <= 2 ? rate + 6 : rate - 1;
}

static uint64_t chain_ticks(const struct vrtc *rtc, uint64_t tsc) { return rate_ticks(&rtc->rate, tsc) - rtc->chain; }

/* Lets registers and flags follow the time up to chain tick @t. */
static void catch_up(struct vrtc *rtc, uint64_t t)
{
	uint64_t second = t >> SECOND_SHIFT, passed = second - rtc->second, alarm;
	unsigned shift = period_shift(rtc);

	if (shift != 0 && t >> shift != rtc->periods) {
		rtc->periods = t >> shift;
		rtc->flags |= C_PF;
	}
	if (passed == 0)
		return;
	rtc->second = second;
	if (!updates_run(rtc))
		return;
	alarm = seconds_to_alarm(rtc);
	if (alarm != 0 && alarm <= passed)
		rtc->flags |= C_AF;
	rtc->flags |= C_UF;
	advance(rtc, passed);
}

/* The chain tick of the next flag that would interrupt, UINT64_MAX for none. */
static uint64_t next_event(const struct vrtc *rtc)
{
	uint8_t wanted = rtc->cmos[REG_B] & B_INTERRUPTS & ~rtc->flags;
	unsigned shift = period_shift(rtc);
	uint64_t next = UINT64_MAX, alarm;

	if ((wanted & B_PIE) && shift != 0)
		next = (rtc->periods + 1) << shift;
	if (!updates_run(rtc))
		return next;
	if (wanted & B_UIE)
		next = MIN(next, (rtc->second + 1) << SECOND_SHIFT);
	if (!(wanted & B_AIE))
		return next;
	alarm = seconds_to_alarm(rtc);
	return alarm == 0 ? next : MIN(next, (rtc->second + alarm) << SECOND_SHIFT);
}

static bool interrupts(const struct vrtc *rtc) { return rtc->flags & rtc->cmos[REG_B] & B_INTERRUPTS; }

/* Interrupt output and timer by the present state. */
static void update(struct vrtc *rtc)
{
	uint64_t next = interrupts(rtc) ? UINT64_MAX : next_event(rtc);

	irq_line_set(&rtc->irq, interrupts(rtc));
	if (next == UINT64_MAX)
		timerq_cancel(rtc->timers, &rtc->timer);
	else
		timerq_set(rtc->timers, &rtc->timer, rate_tsc(&rtc->rate, next + rtc->chain));
}

static void expired(struct timer *t, uint64_t now)
{
	struct vrtc *rtc = container_of(t, struct vrtc, timer);

	catch_up(rtc, chain_ticks(rtc, now));
	update(rtc);
}

/* ---- registers ---- */

static uint8_t read_a(const struct vrtc *rtc, uint64_t t)
{
	bool uip = updates_run(rtc) && (t & (SECOND_TICKS - 1)) >= SECOND_TICKS - UIP_TICKS;

	return rtc->cmos[REG_A] | (uip ? A_UIP : 0);
}

static uint8_t read_c(struct vrtc *rtc)
{
	uint8_t value = rtc->flags | (interrupts(rtc) ? C_IRQF : 0);

	rtc->flags = 0;
	update(rtc);
	return value;
}

static uint8_t read_data(struct vrtc *rtc)
{
	uint64_t t = chain_ticks(rtc, vm_time_tsc(rtc->time));

	catch_up(rtc, t);
	switch (rtc->index) {
	case REG_A:
		return read_a(rtc, t);
	case REG_C:
		return read_c(rtc);
	default:
		return rtc->cmos[rtc->index];
	}
}

/* The phase counters start from what the chain shows now, so that a change makes no flag by itself. */
static void restart_periods(struct vrtc *rtc, uint64_t t) { rtc->periods = t >> period_shift(rtc); }

static void write_a(struct vrtc *rtc, uint8_t value, uint64_t t)
{
	bool ran = chain_runs(rtc);

	rtc->cmos[REG_A] = value & ~A_UIP;
	if (!ran && chain_runs(rtc)) {
		rtc->chain += t - HALF_SECOND; /* modulo 2^64: the chain's tick is now half a second */
		rtc->second = 0;
		t = HALF_SECOND;
	}
	restart_periods(rtc, t);
}

static void write_data(struct vrtc *rtc, uint8_t value)
{
	uint64_t t = chain_ticks(rtc, vm_time_tsc(rtc->time));

	catch_up(rtc, t);
	switch (rtc->index) {
	case REG_A:
		write_a(rtc, value, t);
		break;
	case REG_B:
		rtc->cmos[REG_B] = value & B_SET ? value & ~B_UIE : value;
		break;
	case REG_C:
	case REG_D:
		return; /* read-only */
	default:
		rtc->cmos[rtc->index] = value;
		break;
	}
	update(rtc);
}

static uint8_t read_byte(struct vrtc *rtc, uint64_t offset) { return offset == 1 ? read_data(rtc) : 0xff; }

static void write_byte(struct vrtc *rtc, uint64_t offset, uint8_t value)
{
	if (offset == 1)
		write_data(rtc, value);
	else
		rtc->index = value & INDEX_MASK;
}

static uint64_t port_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct vrtc *rtc = container_of(dev, struct vrtc, dev);
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read_byte(rtc, offset + i) << 8 * i;
	return value;
}

static void port_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct vrtc *rtc = container_of(dev, struct vrtc, dev);

	for (unsigned i = 0; i < size; i++)
		write_byte(rtc, offset + i, (uint8_t)(value >> 8 * i));
}

/* The RESET pin: interrupts off, flags down; time and memory stay, they are on the battery. */
static void reset(struct device *dev)
{
	struct vrtc *rtc = container_of(dev, struct vrtc, dev);

	catch_up(rtc, chain_ticks(rtc, vm_time_tsc(rtc->time)));
	rtc->index = 0;
	rtc->cmos[REG_B] &= ~B_INTERRUPTS;
	rtc->flags = 0;
	update(rtc);
}

static const struct device_ops ops = {.name = "rtc", .read = port_read, .write = port_write, .reset = reset};

void vrtc_init(struct vrtc *rtc, uint64_t wall, const struct vm_time *time, struct timerq *timers, struct irq_line irq)
{
	*rtc = (struct vrtc){.dev = {.ops = &ops}, .irq = irq, .time = time, .timers = timers};
	rate_init(&rtc->rate, vm_time_hz(time), VRTC_HZ);
	timer_init(&rtc->timer, expired);
	rtc->cmos[REG_A] = A_DIVIDER_32K | 6; /* 1024 Hz, as firmware leaves it */
	rtc->cmos[REG_B] = B_24_HOURS;
	rtc->cmos[REG_D] = D_VALID;
	rtc->chain = rate_ticks(&rtc->rate, vm_time_tsc(time));
	seconds_to_registers(rtc, (int64_t)wall + (int64_t)DAYS_TO_1970 * DAY_SECONDS);
	rtc->cmos[WEEKDAY] = encode(rtc, (unsigned)((wall / DAY_SECONDS + 4) % 7 + 1)); /* 1970-01-01: Thursday */
	reset(&rtc->dev);
}
