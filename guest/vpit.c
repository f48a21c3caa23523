/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 8254 (Intel data sheet 231164). Nothing ticks: a counter remembers when its
 * count was loaded, and what a guest reads is computed from the time since. Only
 * counter 0 needs a timer, set for its next rising edge. When that comes late,
 * because the vcpu had no CPU, one edge is sent and the phase is kept: a guest
 * that counts ticks without looking at a clock loses some, and none gets a burst.
 * Differences: a new count in mode 3 takes over at the end of the cycle, not of
 * the half cycle; counter 0's output is shown to the interrupt controllers as
 * high but for an instant before each edge.
 */
#include "guest/vpit.h"

#include "lib/assert.h"
#include "lib/bits.h"

#define SPEAKER_COUNTER 2
#define BINARY_RANGE 0x10000u
#define BCD_RANGE 10000u
#define REFRESH_TICKS 18 /* 15.085 us between toggles of the refresh bit */

#define CONTROL_COUNTER(v) ((v) >> 6)
#define CONTROL_READ_BACK 3
#define CONTROL_ACCESS(v) ((v) >> 4 & 3)
#define CONTROL_MODE(v) ((v) >> 1 & 7)
#define CONTROL_BCD BIT(0)
#define READ_BACK_NO_COUNT BIT(5)
#define READ_BACK_NO_STATUS BIT(4)
#define READ_BACK_SELECT(n) BIT((n) + 1)
#define STATUS_OUT BIT(7)
#define STATUS_NULL_COUNT BIT(6)
#define ACCESS_LOW 1
#define ACCESS_HIGH 2
#define ACCESS_BOTH 3

#define PORT_61_GATE BIT(0)
#define PORT_61_WRITABLE MASK(3, 0)
#define PORT_61_REFRESH BIT(4)
#define PORT_61_OUT BIT(5)

enum { MODE_TERMINAL_COUNT, MODE_ONE_SHOT, MODE_RATE, MODE_SQUARE, MODE_SOFT_STROBE, MODE_HARD_STROBE };

static bool is_periodic(const struct vpit_counter *c) { return c->mode == MODE_RATE || c->mode == MODE_SQUARE; }
static bool is_gate_triggered(const struct vpit_counter *c)
{
	return c->mode == MODE_ONE_SHOT || c->mode == MODE_HARD_STROBE;
}

static uint64_t pit_now(const struct vpit *pit) { return rate_ticks(&pit->rate, vm_time_tsc(pit->time)); }

/* ---- a counter at tick @t ---- */

static uint64_t elapsed(const struct vpit_counter *c, uint64_t t)
{
	if (!c->running)
		return c->elapsed;
	return t > c->start ? t - c->start : 0;
}

/* A count written in a periodic mode takes over when the period in progress ends. */
static void settle(struct vpit_counter *c, uint64_t t)
{
	if (c->next_count == 0 || !c->running || t < c->switch_at)
		return;
	c->count = c->next_count;
	c->start = c->switch_at;
	c->next_count = 0;
}

static bool output(const struct vpit_counter *c, uint64_t t)
{
	uint64_t e = elapsed(c, t);

	switch (c->mode) {
	case MODE_TERMINAL_COUNT:
		return c->loaded && e >= c->count;
	case MODE_ONE_SHOT:
		return !c->running || e >= c->count;
	case MODE_RATE:
		return !c->running || e % c->count != c->count - 1;
	case MODE_SQUARE:
		return !c->running || e % c->count < (c->count + 1) / 2;
	case MODE_SOFT_STROBE:
		return !c->loaded || e != c->count;
	default: /* MODE_HARD_STROBE */
		return !c->running || e != c->count;
	}
}

/* Mode 3 counts down by two, twice for each cycle; an odd count is first made even. */
static uint32_t square_value(uint32_t count, uint64_t e)
{
	uint32_t phase = (uint32_t)(e % count);
	uint32_t high = (count + 1) / 2;

	return (count & ~1u) - 2 * (phase < high ? phase : phase - high);
}

/* What the counting element shows. */
static uint16_t value(const struct vpit_counter *c, uint64_t t)
{
	uint32_t range = c->bcd ? BCD_RANGE : BINARY_RANGE;
	uint64_t e = elapsed(c, t);
	uint32_t v;

	if (!c->loaded)
		return 0;
	if (c->mode == MODE_SQUARE)
		v = square_value(c->count, e);
	else if (c->mode == MODE_RATE)
		v = c->count - (uint32_t)(e % c->count);
	else /* counts on below 0 */
		v = c->count + range - (uint32_t)(e % range);
	v %= range;
	if (!c->bcd)
		return (uint16_t)v;
	return (uint16_t)(v / 1000 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

/* Has the written count not reached the counting element yet? */
static bool is_null_count(const struct vpit_counter *c, uint64_t t)
{
	return !c->loaded || c->next_count != 0 || (is_gate_triggered(c) && !c->running) || (c->running && t < c->start);
}

static uint8_t status(const struct vpit_counter *c, uint64_t t)
{
	return (uint8_t)((output(c, t) ? STATUS_OUT : 0) | (is_null_count(c, t) ? STATUS_NULL_COUNT : 0) |
			 (unsigned)c->access << 4 | (unsigned)c->mode << 1 | c->bcd);
}

/* ---- counter 0's interrupt ---- */

/* The first tick after @t at which the output rises, 0 for never. */
static uint64_t next_rise(const struct vpit_counter *c, uint64_t t)
{
	uint64_t e = elapsed(c, t), at;

	if (!c->running)
		return 0;
	if (is_periodic(c))
		return c->start + (e / c->count + 1) * c->count;
	at = c->start + c->count + (c->mode == MODE_TERMINAL_COUNT ? 0 : 1);
	return at > t ? at : 0;
}

static void arm(struct vpit *pit, uint64_t t)
{
	pit->next_edge = next_rise(&pit->counters[0], t);
	if (pit->next_edge != 0)
		timerq_set(pit->timers, &pit->timer, rate_tsc(&pit->rate, pit->next_edge));
	else
		timerq_cancel(pit->timers, &pit->timer);
}

static void set_irq(struct vpit *pit, bool high)
{
	if (high == pit->irq_high)
		return;
	pit->irq_high = high;
	irq_line_set(&pit->irq, high);
}

static void send_edge(struct vpit *pit, uint64_t t)
{
	set_irq(pit, false);
	set_irq(pit, true);
	settle(&pit->counters[0], t);
	arm(pit, t);
}

static void expired(struct timer *timer, uint64_t now)
{
	struct vpit *pit = container_of(timer, struct vpit, timer);

	send_edge(pit, rate_ticks(&pit->rate, now));
}

/* An edge whose time has come is sent before the counter is programmed anew. */
static void catch_up(struct vpit *pit, uint64_t t)
{
	if (timer_is_set(&pit->timer) && t >= pit->next_edge)
		send_edge(pit, t);
}

/* Counter @c was programmed: if it is counter 0, its output shows at once and its edges come from now on. */
static void follow(struct vpit *pit, const struct vpit_counter *c, bool was_high, uint64_t t)
{
	if (c != &pit->counters[0])
		return;
	if (!was_high && output(c, t))
		set_irq(pit, false);
	set_irq(pit, c->mode != MODE_TERMINAL_COUNT);
	arm(pit, t);
}

/* ---- programming ---- */

static void load_now(struct vpit_counter *c, uint32_t count, uint64_t t)
{
	c->count = count;
	c->next_count = 0;
	c->elapsed = 0;
	c->start = t + 1; /* the next clock pulse loads it */
	c->running = c->gate && !is_gate_triggered(c);
}

static void load(struct vpit_counter *c, uint16_t written, uint64_t t)
{
	uint32_t range = c->bcd ? BCD_RANGE : BINARY_RANGE;
	uint32_t count = written;

	if (c->bcd)
		count = (written >> 12) * 1000 + (written >> 8 & 15) * 100 + (written >> 4 & 15) * 10 + (written & 15);
	if (count == 0)
		count = range;
	settle(c, t);
	if (!c->running || c->mode == MODE_TERMINAL_COUNT || c->mode == MODE_SOFT_STROBE) {
		load_now(c, count, t);
	} else if (is_periodic(c)) {
		c->next_count = count;
		c->switch_at = c->start + (elapsed(c, t) / c->count + 1) * c->count;
	} else {
		c->next_count = count; /* a gate-triggered mode: taken at the next trigger */
		c->switch_at = UINT64_MAX;
	}
	c->loaded = true;
}

static void write_count(struct vpit *pit, struct vpit_counter *c, uint8_t byte, uint64_t t)
{
	bool was_high = output(c, t);

	if (c->access == ACCESS_BOTH && !c->write_high) {
		c->write_low = byte;
		c->write_high = true;
		if (c->mode == MODE_TERMINAL_COUNT) { /* the first byte stops the count and lowers the output */
			c->elapsed = 0;
			c->loaded = c->running = false;
			follow(pit, c, was_high, t);
		}
		return;
	}
	if (c->access == ACCESS_BOTH)
		load(c, (uint16_t)(byte << 8 | c->write_low), t);
	else
		load(c, c->access == ACCESS_HIGH ? (uint16_t)(byte << 8) : byte, t);
	c->write_high = false;
	follow(pit, c, was_high, t);
}

static void latch_count(struct vpit_counter *c, uint64_t t)
{
	if (c->latched_bytes != 0)
		return; /* the first latch holds until it is read */
	settle(c, t);
	c->latch = value(c, t);
	c->latched_bytes = c->access == ACCESS_BOTH ? 2 : 1;
}

static void read_back(struct vpit *pit, uint8_t command, uint64_t t)
{
	for (unsigned i = 0; i < VPIT_COUNTERS; i++) {
		struct vpit_counter *c = &pit->counters[i];

		if (!(command & READ_BACK_SELECT(i)))
			continue;
		if (!(command & READ_BACK_NO_COUNT))
			latch_count(c, t);
		if ((command & READ_BACK_NO_STATUS) || c->status_latched)
			continue;
		settle(c, t);
		c->status = status(c, t);
		c->status_latched = true;
	}
}

static void write_control(struct vpit *pit, uint8_t command, uint64_t t)
{
	struct vpit_counter *c;
	bool was_high;

	if (CONTROL_COUNTER(command) == CONTROL_READ_BACK) {
		read_back(pit, command, t);
		return;
	}
	c = &pit->counters[CONTROL_COUNTER(command)];
	if (CONTROL_ACCESS(command) == 0) {
		latch_count(c, t);
		return;
	}
	was_high = output(c, t);
	*c = (struct vpit_counter){
		.mode = CONTROL_MODE(command) > MODE_HARD_STROBE ? CONTROL_MODE(command) & 3 : CONTROL_MODE(command),
		.access = CONTROL_ACCESS(command),
		.bcd = command & CONTROL_BCD,
		.gate = c->gate,
	};
	follow(pit, c, was_high, t);
}

static uint8_t read_counter(struct vpit_counter *c, uint64_t t)
{
	uint16_t v;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	settle(c, t);
	v = c->latched_bytes != 0 ? c->latch : value(c, t);
	if (c->latched_bytes != 0)
		c->latched_bytes--;
	if (c->access == ACCESS_HIGH)
		return (uint8_t)(v >> 8);
	if (c->access != ACCESS_BOTH)
		return (uint8_t)v;
	c->read_high = !c->read_high;
	return (uint8_t)(c->read_high ? v : v >> 8);
}

/* ---- gate ---- */

static void gate_rises(struct vpit_counter *c, uint64_t t)
{
	if (!c->loaded)
		return;
	if (is_gate_triggered(c) || is_periodic(c)) {
		load_now(c, c->next_count != 0 ? c->next_count : c->count, t);
		c->running = true;
	} else {
		c->start = t - c->elapsed;
		c->running = true;
	}
}

static void gate_falls(struct vpit_counter *c, uint64_t t)
{
	settle(c, t);
	if (is_gate_triggered(c))
		return; /* only its edge counts */
	c->elapsed = elapsed(c, t);
	c->running = false;
}

static void set_gate(struct vpit_counter *c, bool gate, uint64_t t)
{
	if (gate == c->gate)
		return;
	c->gate = gate;
	if (gate)
		gate_rises(c, t);
	else
		gate_falls(c, t);
}

static uint8_t read_port_61(struct vpit *pit, uint64_t t)
{
	struct vpit_counter *c = &pit->counters[SPEAKER_COUNTER];

	settle(c, t);
	return (uint8_t)(pit->port_61 | (t / REFRESH_TICKS % 2 ? PORT_61_REFRESH : 0) | (output(c, t) ? PORT_61_OUT : 0));
}

static void write_port_61(struct vpit *pit, uint8_t byte, uint64_t t)
{
	pit->port_61 = byte & PORT_61_WRITABLE;
	set_gate(&pit->counters[SPEAKER_COUNTER], byte & PORT_61_GATE, t);
}

/* ---- ports ---- */

static uint8_t read_byte(struct vpit *pit, uint64_t offset, uint64_t t)
{
	if (offset < VPIT_COUNTERS)
		return read_counter(&pit->counters[offset], t);
	return offset == VPIT_PORT_61 ? read_port_61(pit, t) : 0xff;
}

static void write_byte(struct vpit *pit, uint64_t offset, uint8_t byte, uint64_t t)
{
	if (offset < VPIT_COUNTERS)
		write_count(pit, &pit->counters[offset], byte, t);
	else if (offset == VPIT_CONTROL)
		write_control(pit, byte, t);
	else
		write_port_61(pit, byte, t);
}

static uint64_t port_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct vpit *pit = container_of(dev, struct vpit, dev);
	uint64_t v = 0, t = pit_now(pit);

	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)read_byte(pit, offset + i, t) << 8 * i;
	return v;
}

static void port_write(struct device *dev, uint64_t offset, unsigned size, uint64_t v)
{
	struct vpit *pit = container_of(dev, struct vpit, dev);

	uint64_t t = pit_now(pit);

	catch_up(pit, t);
	for (unsigned i = 0; i < size; i++)
		write_byte(pit, offset + i, (uint8_t)(v >> 8 * i), t);
}

/* No counter runs until it is programmed; output 0 rests high, so that programming it makes no edge. */
static void reset(struct device *dev)
{
	struct vpit *pit = container_of(dev, struct vpit, dev);

	for (unsigned i = 0; i < VPIT_COUNTERS; i++)
		pit->counters[i] = (struct vpit_counter){
			.mode = MODE_SQUARE, .access = ACCESS_BOTH, .gate = i != SPEAKER_COUNTER, .count = BINARY_RANGE};
	pit->port_61 = 0;
	timerq_cancel(pit->timers, &pit->timer);
	pit->irq_high = true;
	irq_line_set(&pit->irq, true); /* whoever listens was reset too, and has forgotten */
}

static const struct device_ops ops = {.name = "pit", .read = port_read, .write = port_write, .reset = reset};

void vpit_init(struct vpit *pit, const struct vm_time *time, struct timerq *timers, struct irq_line irq)
{
	*pit = (struct vpit){.dev = {.ops = &ops}, .irq = irq, .time = time, .timers = timers};
	rate_init(&pit->rate, vm_time_hz(time), VPIT_HZ);
	timer_init(&pit->timer, expired);
	reset(&pit->dev);
}
